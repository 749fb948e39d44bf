"""A server for the tests, the demo and the benchmark: that of the tool, which tells and obeys.

It can misbehave on purpose: it plays several sites at once, answers as a test tells it to, takes
its time as a network does, and counts what it was asked.

    with Server("site/") as server:
        server.routes["/old.json"] = Reply(302, {"Location": "/new.json"})
        ...                                    # a client fetches server.url + "/new.json"
        print(server.connections, server.requests)
"""

import contextlib
import io
import re
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from mip_index import server as shipped
from mip_index.server import BLOCK, find_file

# What pages of the tests load: a browser runs no module, and compiles no WebAssembly on its way,
# of another type.
TYPES = {
    **shipped.TYPES,
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

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

    def __post_init__(self):
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing {self.framing!r} is none of {', '.join(FRAMINGS)}")

    def all_headers(self):
        """Return the headers to send: a dict of those of the framing and those given."""
        name = _FRAMINGS[self.framing]
        if name.lower() in {given.lower() for given in self.headers}:
            return self.headers
        value = str(len(self.body)) if self.framing == "length" else self.framing
        return {name: value, **self.headers}

    def payload(self):
        """Return the bytes that follow the header: the body, in chunks when framing says so."""
        if self.framing != "chunked":
            return self.body
        starts = range(0, len(self.body), self.chunk_size)
        chunks = [self.body[start : start + self.chunk_size] for start in starts]
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])

    def ends_connection(self):
        """Return whether the client can only go on with a new connection after this answer."""
        headers = {name.lower(): value.lower() for name, value in self.all_headers().items()}
        length = headers.get("content-length", "0")
        cut = not length.isdigit() or int(length) > len(self.body)
        return cut or self.version == "HTTP/1.0" or headers.get("connection") == "close"


class _Writer(io.BufferedIOBase):
    """The file that answers are written to: a write is a send, and is counted."""

    def __init__(self, sock, server):
        self._sock = sock
        self._server = server

    def write(self, data):
        # Counted first: who has read the answer finds it counted.
        with self._server._lock:
            self._server.bytes_sent += len(data)
        self._sock.sendall(data)
        return len(data)


class _Handler(shipped.Handler):
    """Answers the requests of one connection, in its own thread."""

    types = TYPES

    def setup(self):
        super().setup()
        self.wfile = _Writer(self.connection, self.server)
        with self.server._lock:
            self.server.connections += 1

    def do_GET(self):
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

    def send_reply(self, reply):
        """Send a Reply, in one write."""
        if reply.ends_connection():
            self.close_connection = True
        head = self.head(reply.status, reply.all_headers())
        head = head.replace(b"HTTP/1.1", reply.version.encode(), 1)
        self.wfile.write(head if self.command == "HEAD" else head + reply.payload())
        self.log(reply.status)


class Server(shipped.Server):
    """Serves the files under `root` over HTTP/1.1, GET and HEAD; as mip_index.server.Server.

    sites    a dict of host name -> directory: the directory to serve when the request's Host
             header names that host (without port).  All other hosts get `root`
    delay    the round trip time to play, in seconds: bytes from the client arrive that much
             later, and the first ones later by another round trip, as on a network that first
             has to connect.  Requests sent ahead share one round trip, as they do there

    Use it as a context manager, which serves from a thread, or call serve_forever() and then
    close().

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

    handler = _Handler

    def __init__(self, root, *, sites=None, delay=0, **options):
        self.sites = sites or {}
        self.routes = {}
        self._delay = delay
        self._links = []
        self._thread = None
        super().__init__(root, **options)
        self.reset()

    def __enter__(self):
        """Start serving from a thread; return the server."""
        # Tests open and close hundreds of servers: close() is noticed after so many seconds.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.close()

    @property
    def url(self):
        """The server's URL without a path; with TLS it has a name, as certificates do."""
        host = str(self.server_address[0])
        if not self._tls:
            return f"http://{host}:{self.port}"
        return f"https://{'localhost' if host == '127.0.0.1' else host}:{self.port}"

    def close(self):
        """Stop serving: cut every connection, and return when every thread has ended."""
        if self._thread:
            self.shutdown()
            self._thread.join()
            self._thread = None
        super().close()
        for link in self._links:
            link.join()

    def reset(self):
        """Set all counters to zero."""
        with self._lock:
            self.connections = 0
            self.requests = []
            self.headers_seen = []
            self.bytes_sent = 0

    def find_route(self, host, target):
        """Return the value in `routes` for a request, or None.

        The most exact key wins: with a host before without, with the query before without.
        """
        for name in (target, target.partition("?")[0]):
            for key in ((host, name), name):
                if key in self.routes:
                    return self.routes[key]
        return None

    def find_file(self, host, target):
        """Return the path of the file to send for a request, or None if there is none."""
        return find_file(self.sites.get(host, self.root), target)

    def wrapped(self, sock):
        """Return what the thread of a connection reads and writes, behind a slow link."""
        return super().wrapped(self._delayed(sock) if self._delay else sock)

    def _delayed(self, sock):
        """Put a slow link before `sock`; return the server's end of it."""
        ours, theirs = socket.socketpair()
        with self._lock:
            self._sockets.add(sock)

        def carry():
            try:
                _carry(sock, theirs, self._delay)
            finally:
                theirs.close()
                self._forget(sock)

        link = threading.Thread(target=carry, daemon=True)
        self._links = [old for old in self._links if old.is_alive()] + [link]
        link.start()
        return ours


def _carry(client, server, delay):
    """Carry bytes between two sockets until both ends are done; those to `server` come late.

    All of the round trip lies on the way to the server, which the client cannot tell from half
    of it on either way.  The first bytes are late by one more: a real client could only send
    them after the round trip in which TCP connects.
    """
    opened = time.monotonic()
    # (when to deliver, data); b"" is the end of the stream.
    late = deque()
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
