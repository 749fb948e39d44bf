"""Takes the place of `socket`, `tls` and `select`: a network and its servers in memory.

    import fake_socket as net               # before mip

    net.serve = lambda host, path: net.frame(b"content", "length")
    mip.install("name", "http://index", "lib", mpy=False)
    net.requests                            # what was asked for, as (host, path)

Runs on MicroPython.
"""

import io
import sys

AF_INET = 2
SOCK_STREAM = 1

KNOWN = ("length", "chunked", "close")  # the framings of frame()

serve = None  # function(host, path): an answer as bytes, or an Answer
fault = None  # a faults.Fault that is asked before "resolve", "connect", "write" and "read"
addresses = ["10.0.0.1"]  # what every name is resolved to
dead = ()  # the addresses that refuse
piece = 1 << 30  # the most bytes that one read gives

requests = []
connections = 0
opened = 0  # sockets that are open
handed = 0  # bytes that were read


class Answer:
    """What a server does with a request.

    data: the bytes that it sends. end: whether it closes the connection then. more: bytes that
    it sends after them, for ever.
    """

    def __init__(self, data, end=False, more=b""):
        self.data = data
        self.end = end
        self.more = more


def reset():
    """Forgets what was asked for, and all faults."""
    global fault, addresses, dead, piece, connections, opened, handed
    fault = None
    addresses = ["10.0.0.1"]
    dead = ()
    piece = 1 << 30
    connections = opened = handed = 0
    requests.clear()


def chunks(body, sizes=(1, 100)):
    """The body in chunks of these sizes and one of the rest, with an extension and a trailer."""
    text = b""
    for size in sizes + (len(body),):
        part = body[:size]
        body = body[size:]
        if part:
            text += b"%x;a=b\r\n%s\r\n" % (len(part), part)
    return text + b"0\r\nX-Sum: 1\r\n\r\n"


def frame(body, framing, keep=True, status=b"200 OK", headers=b""):
    """The Answer with this body; `headers` are whole lines."""
    if framing == "close":
        return Answer(b"HTTP/1.0 %s\r\n%s\r\n%s" % (status, headers, body), True)
    if framing == "chunked":
        headers += b"Transfer-Encoding: chunked\r\n"
        body = chunks(body)
    else:
        headers += b"Content-Length: %d\r\n" % len(body)
    if not keep:
        headers += b"Connection: close\r\n"
    return Answer(b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, headers, body), not keep)


def _ask(operation):
    if fault:
        fault(operation, "")


def getaddrinfo(host, port, *hints):
    _ask("resolve")
    return [(AF_INET, SOCK_STREAM, 6, "", (address, port)) for address in addresses]


class socket(io.IOBase):
    def __init__(self, *kind):
        global opened
        opened += 1
        self.closed = False
        self.end = False  # whether the server closed the connection
        self.data = b""  # what was received
        self.place = 0  # how much of it was read
        self.more = b""
        self.request = b""
        self.blocking = True

    def settimeout(self, seconds):
        self.blocking = seconds != 0

    def setblocking(self, flag):
        self.blocking = flag

    def setsockopt(self, level, option, value):
        pass

    def connect(self, address):
        global connections
        _ask("connect")
        if address[0] in dead:
            raise OSError(111)
        connections += 1

    def write(self, data):
        _ask("write")
        if self.closed:
            raise OSError(9)
        self.request += data if isinstance(data, bytes) else data.encode()
        while b"\r\n\r\n" in self.request and not self.end:
            text, self.request = self.request.split(b"\r\n\r\n", 1)
            lines = text.decode().split("\r\n")
            host = [line[6:] for line in lines if line.startswith("Host: ")][0]
            path = lines[0].split(" ")[1]
            requests.append((host, path))
            answer = serve(host, path)
            if not isinstance(answer, Answer):
                answer = Answer(answer)
            self.data = self.data[self.place :] + answer.data
            self.place = 0
            self.end = answer.end
            self.more = answer.more
        return len(data)

    def _fill(self):
        # Makes sure that there is something to read: whether there is; None: not yet.
        _ask("read")
        if self.closed:
            raise OSError(9)
        if self.place == len(self.data):
            self.data = self.more
            self.place = 0
            if not self.data and not self.end:
                if not self.blocking:
                    return None
                raise OSError(110)  # the server is silent for longer than the timeout
        return self.data

    def readinto(self, buf, size=None):
        global handed
        if self._fill() is None:
            return None
        n = min(len(buf) if size is None else size, len(self.data) - self.place, piece)
        buf[:n] = self.data[self.place : self.place + n]
        self.place += n
        handed += n
        return n

    def readline(self, size=-1):
        global handed
        line = b""
        while len(line) != size and line[-1:] != b"\n":
            more = self._fill()
            if not more:
                return line or more
            stop = self.data.find(b"\n", self.place) + 1 or len(self.data)
            if size >= 0:
                stop = min(stop, self.place + size - len(line))
            line += self.data[self.place : stop]
            handed += stop - self.place
            self.place = stop
        return line

    def ioctl(self, op, arg):
        if op == 3:  # poll
            return arg & 1 if self.end or self.more or self.place < len(self.data) else 0
        return 0 if op == 4 else -22

    def close(self):
        global opened
        if not self.closed:
            self.closed = True
            opened -= 1


class SSLContext:
    """TLS that trusts everyone, and changes nothing."""

    def __init__(self, protocol):
        pass

    def wrap_socket(self, sock, server_hostname=None):
        return sock


PROTOCOL_TLS_CLIENT = CERT_NONE = CERT_REQUIRED = 0

POLLIN = 1
POLLOUT = 4


class poll:
    """Waits for nothing, because nothing comes by itself. The real one waits 1 ms at least."""

    def __init__(self):
        self.wanted = []  # [socket, what for]

    def register(self, sock, what=POLLIN | POLLOUT):
        self.unregister(sock)
        self.wanted.append([sock, what])

    def unregister(self, sock):
        self.wanted = [pair for pair in self.wanted if pair[0] is not sock]

    def poll(self, timeout=-1):
        ready = [(sock, sock.ioctl(3, what)) for sock, what in self.wanted]
        return [pair for pair in ready if pair[1]]


for name in ("socket", "tls", "select"):
    sys.modules[name] = sys.modules[__name__]
