"""An HTTP/1.1 server for the tests, the demo, the benchmark and `mip-index serve`.

Python's own http.server writes header and body in two segments, which stalls a kept connection
by some 40 ms a request, and it cannot misbehave on purpose.  This one sends an answer in one
write, keeps connections open, plays several sites at once, answers as a test tells it to, and
counts what it was asked.

    with Server("site/") as server:
        server.routes["/old.json"] = Reply(302, {"Location": "/new.json"})
        ...                                    # a client fetches server.url + "/new.json"
        print(server.connections, server.requests)
"""

import contextlib
import http
import http.server
import io
import os
import re
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

# A file up to this size leaves in one send together with its header; a larger one in such blocks.
BLOCK = 65536
# A connection on which nothing moves for this long is closed: the board went away.
IDLE_SECONDS = 60
# How long to keep reading what a client still sends after the last answer (see _say_goodbye).
LINGER_SECONDS = 1

# What is not just bytes to who reads it: what a board installs, a page, and what a page loads.
# A browser runs no module, and compiles no WebAssembly on its way, of another type.
TYPES = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# What is sent for a directory.
PAGE = "index.html"

# How a client learns where a body ends, and the header that says so.
_FRAMINGS = {"length": "Content-Length", "chunked": "Transfer-Encoding", "close": "Connection"}
FRAMINGS = tuple(_FRAMINGS)


@dataclass
class Reply:
    """One answer, for `Server.routes`.

    status      the status code
    headers     a dict, sent as it is; a header given here replaces ours of that name, so that
                a wrong Content-Length can be sent
    body        bytes; not sent to a HEAD request
    framing     how the client learns where the body ends (RFC 9112, section 6): "length" sends
                Content-Length, "chunked" sends chunks, "close" closes the connection
    version     the version in the status line; after an "HTTP/1.0" answer the connection closes
    chunk_size  bytes in a chunk, when framing is "chunked"

    The connection also closes after an answer with the header `Connection: close`, and after
    one whose Content-Length promises more than the body holds (a download that was cut) or is
    no number.
    Raises ValueError for a framing that is none of the three.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    framing: str = "length"
    version: str = "HTTP/1.1"
    chunk_size: int = 512

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing {self.framing!r} is none of {', '.join(FRAMINGS)}")

    def all_headers(self) -> dict[str, str]:
        """Return the headers to send: a dict of those of the framing and those given."""
        name = _FRAMINGS[self.framing]
        if name.lower() in {given.lower() for given in self.headers}:
            return self.headers
        value = str(len(self.body)) if self.framing == "length" else self.framing
        return {name: value, **self.headers}

    def payload(self) -> bytes:
        """Return the bytes that follow the header: the body, in chunks when framing says so."""
        if self.framing != "chunked":
            return self.body
        starts = range(0, len(self.body), self.chunk_size)
        chunks = [self.body[start : start + self.chunk_size] for start in starts]
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])

    def ends_connection(self) -> bool:
        """Return whether the client can only go on with a new connection after this answer."""
        headers = {name.lower(): value.lower() for name, value in self.all_headers().items()}
        length = headers.get("content-length", "0")
        cut = not length.isdigit() or int(length) > len(self.body)
        return cut or self.version == "HTTP/1.0" or headers.get("connection") == "close"


class Server(socketserver.ThreadingTCPServer):
    """Serves the files under `root` over HTTP/1.1, GET and HEAD.

    root     the directory to serve; nothing outside it is ever sent, nor any directory listing:
             of a directory its index.html, under its name with a slash
    tls      an ssl.SSLContext with a certificate, or None for plain HTTP
    sites    a dict of host name -> directory: the directory to serve when the request's Host
             header names that host (without port).  All other hosts get `root`
    host     the address to listen on
    port     the port to listen on; 0 takes a free one
    delay    the round trip time to play, in seconds: bytes from the client arrive that much
             later, and the first ones later by another round trip, as on a network that first
             has to connect.  Requests sent ahead share one round trip, as they do there
    verbose  write a line per request to stderr
    cache_control  a function of a URL's path that returns the Cache-Control of the file there;
             None sends none

    Use it as a context manager, which serves from a thread, or call serve_forever() and then
    close().  Raises OSError when the address cannot be had.

    A query string does not matter to which file is sent, unless there is a file whose name ends
    in that query: `package.json?ref=v1` is sent for exactly that, `package.json` for any other.

    `routes` is a dict that tests fill: the key is a path (with or without its query) or a pair
    (host, path); the value is a Reply, or a function that is called with the request's handler
    and either writes the whole answer to `handler.wfile` or returns a Reply.  A function that
    wants the connection closed after its answer sets `handler.close_connection = True`.

    Counters, readable at any time; reset() clears them:
    connections   TCP connections that got as far as HTTP (with TLS: through the handshake)
    requests      a list of (method, host, path), path as it was sent, with its query
    headers_seen  a list of dicts, the headers of each request, names in lower case
    bytes_sent    bytes of headers and bodies, before encryption
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        root: str | Path,
        *,
        tls: ssl.SSLContext | None = None,
        sites: dict[str, Path] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        delay: float = 0,
        verbose: bool = False,
        cache_control: Callable[[str], str] | None = None,
    ) -> None:
        self.root = root
        self.sites = sites or {}
        self.routes: dict[Any, Any] = {}
        self.verbose = verbose
        self.cache_control = cache_control
        self._tls = tls
        self._delay = delay
        self._lock = threading.Lock()  # of the counters and the sockets
        self._sockets: set[socket.socket] = set()
        self._links: list[threading.Thread] = []
        self._thread: threading.Thread | None = None
        self.reset()
        super().__init__((host, port), _Handler)

    def __enter__(self) -> "Server":
        """Start serving from a thread; return the server."""
        # Tests open and close hundreds of servers: close() is noticed after so many seconds.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port the server listens on."""
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The server's URL without a path; with TLS it has a name, as certificates do."""
        host = str(self.server_address[0])
        if not self._tls:
            return f"http://{host}:{self.port}"
        return f"https://{'localhost' if host == '127.0.0.1' else host}:{self.port}"

    def close(self) -> None:
        """Stop serving: cut every connection, and return when every thread has ended."""
        if self._thread:
            self.shutdown()
            self._thread.join()
            self._thread = None
        with self._lock:
            for sock in self._sockets:
                # The other side may be gone already.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self.server_close()
        for link in self._links:
            link.join()

    def reset(self) -> None:
        """Set all counters to zero."""
        with self._lock:
            self.connections = 0
            self.requests: list[tuple[str, str, str]] = []
            self.headers_seen: list[dict[str, str]] = []
            self.bytes_sent = 0

    def find_route(self, host: str, target: str) -> Any:
        """Return the value in `routes` for a request, or None.

        The most exact key wins: with a host before without, with the query before without.
        """
        for name in (target, target.partition("?")[0]):
            for key in ((host, name), name):
                if key in self.routes:
                    return self.routes[key]
        return None

    def find_file(self, host: str, target: str) -> str | None:
        """Return the path of the file to send for a request, or None if there is none.

        target is the request's path as it was sent: with its query, escaped, and decoded as
        Latin-1, as http.server does.  A path with a slash at its end is a directory's, and means
        its page; one without means a file.
        """
        root = Path(os.path.realpath(self.sites.get(host, self.root)))
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

    # What follows is called by socketserver or by the handler, not by users.

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; return its socket, ready for the thread, and the client's address.

        Nothing here waits for the client: the TLS handshake is left to the thread.
        """
        sock, address = super().get_request()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._delay:
                sock = self._delayed(sock)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            raise
        with self._lock:
            self._sockets.add(sock)
        return sock, address

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

    def _delayed(self, sock: socket.socket) -> socket.socket:
        """Put a slow link before `sock`; return the server's end of it."""
        ours, theirs = socket.socketpair()
        with self._lock:
            self._sockets.add(sock)

        def carry() -> None:
            try:
                _carry(sock, theirs, self._delay)
            finally:
                theirs.close()
                self._forget(sock)

        link = threading.Thread(target=carry, daemon=True)
        self._links = [old for old in self._links if old.is_alive()] + [link]
        link.start()
        return ours


class _Writer(io.BufferedIOBase):
    """The file that answers are written to: a write is a send, and is counted."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self._sock = sock
        self._server = server

    def write(self, data: Any) -> int:
        # Counted first: who has read the answer finds it counted.
        with self._server._lock:
            self._server.bytes_sent += len(data)
        self._sock.sendall(data)
        return len(data)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection, in its own thread.

    The base class reads requests through a buffer, so that requests which arrive together are
    answered one after the other.
    """

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()
        self.wfile = _Writer(self.connection, self.server)
        with self.server._lock:
            self.server.connections += 1

    def do_GET(self) -> None:
        """Answer a GET or a HEAD request: from a route, or with a file."""
        if self.request_version != "HTTP/1.1":
            self.close_connection = True
        host = re.sub(r":\d*$", "", self.headers.get("Host", "")).lower()
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server._lock:
            self.server.requests.append((self.command, host, self.path))
            self.server.headers_seen.append(headers)
        route = self.server.find_route(host, self.path)
        if route is None:
            path, mark, query = self.path.partition("?")
            file = self.server.find_file(host, self.path)
            if not file and self.server.find_file(host, f"{path}/"):
                # Links in the page of a directory are relative to its name with the slash.
                there = f"/{path.strip('/')}/{mark}{query}"
                self.send_reply(Reply(301, {"Location": there}))
            else:
                self.send_file(file)
            return
        reply = route(self) if callable(route) else route
        if reply is None:
            self.log("by a route")
        else:
            self.send_reply(reply)

    do_HEAD = do_GET

    def send_reply(self, reply: Reply) -> None:
        """Send a Reply, in one write."""
        if reply.ends_connection():
            self.close_connection = True
        head = self.head(reply.status, reply.all_headers(), reply.version)
        self.wfile.write(head if self.command == "HEAD" else head + reply.payload())
        self.log(reply.status)

    def send_file(self, path: str | None) -> None:
        """Send the file at `path`, or status 404 when `path` is None."""
        if path is None:
            self.send_error(404)
            return
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            kind = TYPES.get(os.path.splitext(path)[1].lower(), "application/octet-stream")
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
        text = f"{int(code)} {message or self.responses[code][0]}\n"
        self.send_reply(Reply(int(code), {"Content-Type": "text/plain"}, text.encode()))

    def head(self, status: int, headers: dict[str, str], version: str = "HTTP/1.1") -> bytes:
        """Return status line and headers as bytes, with the empty line that ends them."""
        if self.close_connection and "connection" not in {name.lower() for name in headers}:
            headers = {**headers, "Connection": "close"}
        lines = [f"{version} {status} {self.responses.get(status, ['Unknown'])[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def log(self, outcome: object) -> None:
        """Write a line about the request to stderr, if the server is verbose."""
        if self.server.verbose:
            print(f"{self.client_address[0]} {self.requestline} {outcome}", file=sys.stderr)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the base class quiet: log() has said what there is to say."""


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


def _carry(client: socket.socket, server: socket.socket, delay: float) -> None:
    """Carry bytes between two sockets until both ends are done; those to `server` come late.

    All of the round trip lies on the way to the server, which the client cannot tell from half
    of it on either way.  The first bytes are late by one more: a real client could only send
    them after the round trip in which TCP connects.
    """
    opened = time.monotonic()
    # (when to deliver, data); b"" is the end of the stream.
    late: deque[tuple[float, bytes]] = deque()
    reading = {client, server}
    # A send fails when its side has gone: then there is nobody to carry for.
    with contextlib.suppress(OSError):
        while reading or late:
            wait = max(0, late[0][0] - time.monotonic()) if late else None
            ready, _, _ = select.select(list(reading), [], [], wait)
            for sock in ready:
                data = sock.recv(BLOCK)
                if not data:
                    reading.discard(sock)
                if sock is client:
                    late.append((max(time.monotonic(), opened + delay) + delay, data))
                elif data:
                    client.sendall(data)
                else:
                    client.shutdown(socket.SHUT_WR)
            while late and late[0][0] <= time.monotonic():
                data = late.popleft()[1]
                if data:
                    server.sendall(data)
                else:
                    server.shutdown(socket.SHUT_WR)
