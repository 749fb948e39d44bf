"""The HTTP/1.1 server of `mip-index serve`.

Python's own http.server writes header and body in two segments, which stalls a kept connection
by some 40 ms a request.  This one sends an answer in one write, and keeps connections open.
"""

import contextlib
import http.server
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

# A file up to this size leaves in one send together with its header; a larger one in such blocks.
BLOCK = 65536
# A connection on which nothing moves for this long is closed: the board went away.
IDLE_SECONDS = 60
# How long to keep reading what a client still sends after the last answer (see _say_goodbye).
LINGER_SECONDS = 1

# What is not just bytes to who reads it.
TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}
# What is sent for a directory.
PAGE = "index.html"


def find_file(root: str | Path, target: str) -> str | None:
    """Return the path of the file below `root` to send for a request, or None if there is none.

    target: the request's path as it was sent: with its query, escaped, and decoded as Latin-1, as
    http.server does.  A query does not matter, unless there is a file whose name ends in it.  A
    path with a slash at its end is a directory's, and means its page; one without means a file.
    """
    root = Path(os.path.realpath(root))
    for name in (target, target.partition("?")[0]):
        name = os.fsdecode(unquote_to_bytes(name.encode("latin-1"))).lstrip("/")
        if "\0" in name:
            continue
        # realpath follows symbolic links too: one that points outside is not served.
        name += PAGE if name.endswith("/") or not name else ""
        path = os.path.realpath(os.path.join(root, name))
        readable = os.path.isfile(path) and os.access(path, os.R_OK)
        if readable and Path(path).is_relative_to(root):
            return path
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection, in its own thread.

    The base class reads requests through a buffer, so that requests which arrive together are
    answered one after the other.
    """

    server: "Server"
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    types = TYPES

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        """Answer a GET or a HEAD request with a file."""
        if self.request_version != "HTTP/1.1":
            self.close_connection = True
        self.send_file(find_file(self.server.root, self.path))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_file(self, path: str | None) -> None:
        """Send the file at `path`, or status 404 when `path` is None."""
        if path is None:
            self.send_error(404)
            return
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            kind = self.types.get(os.path.splitext(path)[1].lower(), "application/octet-stream")
            headers = {"Content-Type": kind, "Content-Length": str(size)}
            if self.server.cache_control:
                headers["Cache-Control"] = self.server.cache_control(self.path.partition("?")[0])
            head = self.head(200, headers)
            left = 0 if self.command == "HEAD" else size
            while head or left:
                data = file.read(min(BLOCK, left))
                left -= len(data)
                self.wfile.write(head + data)
                head = b""
                if not data:
                    break
        if left:
            # The file became shorter while it was sent: the client must see a cut, not wait.
            self.close_connection = True
        self.log(200)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Send an error as a short text; the base class calls this for bad requests too."""
        text = f"{int(code)} {message or self.responses[code][0]}\n".encode()
        head = self.head(code, {"Content-Length": str(len(text)), "Content-Type": "text/plain"})
        self.wfile.write(head if self.command == "HEAD" else head + text)
        self.log(int(code))

    def head(self, status: int, headers: dict[str, str]) -> bytes:
        """Return status line and headers as bytes, with the empty line that ends them."""
        if self.close_connection and "connection" not in {name.lower() for name in headers}:
            headers = {**headers, "Connection": "close"}
        lines = [f"HTTP/1.1 {int(status)} {self.responses.get(status, ['Unknown'])[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def log(self, outcome: object) -> None:
        """Write a line about the request to stderr, if the server is verbose."""
        if self.server.verbose:
            print(f"{self.client_address[0]} {self.requestline} {outcome}", file=sys.stderr)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the base class quiet: log() has said what there is to say."""


class Server(socketserver.ThreadingTCPServer):
    """Serves the files under `root` over HTTP/1.1, GET and HEAD.

    root     the directory to serve; nothing outside it is ever sent, nor any directory listing:
             of a directory its index.html, under its name with a slash
    tls      an ssl.SSLContext with a certificate, or None for plain HTTP
    host     the address to listen on
    port     the port to listen on; 0 takes a free one
    verbose  write a line per request to stderr
    cache_control  a function of a URL's path that returns the Cache-Control of the file there;
             None sends none

    Call serve_forever() and then close().  Raises OSError when the address cannot be had.
    """

    allow_reuse_address = True
    request_queue_size = 128
    handler: type[Handler] = Handler

    def __init__(
        self,
        root: str | Path,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        verbose: bool = False,
        cache_control: Callable[[str], str] | None = None,
    ) -> None:
        self.root = root
        self.verbose = verbose
        self.cache_control = cache_control
        self._tls = tls
        self._lock = threading.Lock()  # of the sockets
        self._sockets: set[socket.socket] = set()
        super().__init__((host, port), self.handler)

    @property
    def port(self) -> int:
        """The port the server listens on."""
        return self.server_address[1]

    def close(self) -> None:
        """Cut every connection, and return when every thread has ended."""
        with self._lock:
            for sock in self._sockets:
                # The other side may be gone already.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self.server_close()

    # What follows is called by socketserver or by the handler, not by users.

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; return its socket, ready for the thread, and the client's address.

        Nothing here waits for the client: the TLS handshake is left to the thread.
        """
        sock, address = super().get_request()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock = self.wrapped(sock)
        except OSError:
            sock.close()
            raise
        with self._lock:
            self._sockets.add(sock)
        return sock, address

    def wrapped(self, sock: socket.socket) -> socket.socket:
        """Return what the thread of a connection reads and writes: its socket, or TLS over it."""
        if not self._tls:
            return sock
        return self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection's socket in good order; called at the end of its thread."""
        _say_goodbye(request)
        self._forget(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of an error in a connection's thread.

        An OSError is no error of ours: the client went away, or failed the TLS handshake.
        """
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def _forget(self, sock: socket.socket) -> None:
        """Close a socket; close() must not meet a number that was given to another one."""
        with self._lock:
            self._sockets.discard(sock)
        sock.close()


def _say_goodbye(sock: Any) -> None:
    """End what we send on a socket, and read what the client still sends for a moment.

    A socket that is closed with unread bytes in it resets the connection, and the reset may
    overtake the last answer: a client that has sent requests ahead would lose it.
    """
    # Every call fails when the client has gone first, which is as good an end.
    with contextlib.suppress(OSError, ValueError):
        if isinstance(sock, ssl.SSLSocket):
            # Without waiting: sends our close_notify, then raises as theirs is not there yet.
            sock.settimeout(0)
            with contextlib.suppress(OSError, ValueError):
                sock.unwrap()
        # The calls of the plain socket: what arrives now is not decrypted any more.
        socket.socket.shutdown(sock, socket.SHUT_WR)
        sock.settimeout(LINGER_SECONDS)
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline and socket.socket.recv(sock, BLOCK):
            continue
