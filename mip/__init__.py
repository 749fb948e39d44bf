# mip: installs MicroPython packages on the device itself.
# MIT license; Copyright (c) 2026 the mip authors
#
# Read from the top: each part is usable without those below it.
#   1. constants, InstallError      4. sources: what a name means
#   2. the HTTP session             5. the store: plan, stage, commit, reconcile
#   3. the streaming JSON reader    6. the public verbs
#
# What is asked for is resolved into a plan on flash. The files of the plan are staged and
# verified, the coming record is written, and then the disk is made to agree with it.

import gc
import json
import os
import sys
import time
from binascii import a2b_base64, hexlify
from hashlib import sha256
from micropython import const

# What a build can do without. manifest.py's without= takes these names in lower case and writes 0
# for 1; the compiler drops what is behind. docs/sizes.md says what each costs and what one loses.

_SEARCH = const(1)  # search()
_VERIFY = const(1)  # verify()
_MANAGE = const(1)  # list(), upgrade(), uninstall(); finishing what 1.0.0 left interrupted
_NATIVE = const(1)  # native code, and the check that this firmware can load a .mpy file
_AHEAD = const(1)  # pipelined requests: the next ones are sent before the answer has come
_RETRIES = const(1)  # another try after a failure that may pass
_PAGES = const(1)  # URLs of repository pages: https://github.com/ORG/REPO
_ADVICE = const(1)  # what to do about an error; what is replaced, hidden, or not protected
_OFFLINE = const(1)  # the check that lets what is pinned and in place need no network
_UNIX = const(1)  # a lock between processes, and the check that files may be removed

# ---- 1. constants, InstallError --------------------------------------------------------

__version__ = "2.0.0"

# A file of certificates, DER or PEM, that vouch for servers; None: servers are not checked.
cafile = None

# Called at least once a second while mip waits, and between blocks while it copies: None, or a
# function without parameters, such as the feed() of a watchdog.
idle = None

# The public index.
_INDEX = const("https://micropython.org/pi/v2")

# Forges: {0} is ORG/REPO, {1} the path in it, {2} the ref.
_FORGES = {
    "github": "https://raw.githubusercontent.com/{0}/{2}/{1}",
    "gitlab": "https://gitlab.com/{0}/-/raw/{2}/{1}",
    "codeberg": "https://codeberg.org/api/v1/repos/{0}/raw/{1}?ref={2}",
}

# Words that are looked up: one text each takes less RAM than a tuple.
_HOSTS = const("github.com gitlab.com codeberg.org")  # where they have their pages
_VIEWS = const("tree blob src")  # what is in such a page's URL, before a ref
_REFS = const("branch tag commit")
_SCHEMES = const("http https")
_ARCHIVES = const(".zip .whl .tgz r.gz")

_DIGITS = const(b"0123456789abcdef")
_NEITHER = const("neither http://HOST nor https://HOST, without a user")
_JSON = const("/package.json")
_SHA256 = const("#sha256=")
_OTHER = const("the content does not match its hash")
_BLANK = const(b"\xef\xbb\xbf\xff\xfe\0 \r\n\t\v\f")  # in front of a web page
_MARK = const(b"\xef\xbb\xbf")  # of the order of bytes, as Windows' editors write it
_PAGE = const("answered with a web page: a captive portal, or the page of a file?")
_LISTS = const(("hashes", "urls", "deps"))
_VALUES = const(("v", "version"))
_LATEST = const("latest")

_BUFFER = const(256)  # bytes: network, hash and file share one buffer
_TIMEOUT = const(15)  # seconds without a byte, on every socket
_SECTOR = const(512)  # bytes of one of FAT, at least
_BLOCK = const(96)  # bytes that are read at a time of a file of lines
_REDIRECTS = const((301, 302, 303, 307, 308))
_HOPS = const(5)  # redirects that are followed for one URL
_HEAD = const(16384)  # bytes in the head of an answer, or of a chunk
_KEPT = const(1024)  # bytes of an answer that are read only to keep the connection
_LINE = const(2304)  # bytes of a Location: those of release assets have a thousand
_PART = const(64)  # bytes of a line that are read at a time: readline() takes them all from RAM
_ENTRY = const(4096)  # bytes of one entry of a JSON document
_DOCUMENT = const(1 << 20)  # bytes of one JSON document
_PACKAGES = const(200)  # packages of one run
_REMOVED = const(30)  # packages of one uninstall: the name that says them has 255 bytes
_TRIES = const(20)  # how often resolving begins anew, for a pin that comes late
_NESTED = const(16)  # brackets in one entry, or line: each takes RAM

# Lines in .mip/: the first of record and new, the first and the last of the plan.
_FORMAT = const(b'["mip", 1]\n')
_PLAN = const(b'["mip", 2]\n')
_END = const(b'["end"]\n')
_FIRST = const(11)  # bytes of the first line
_LINE_SIZE = const(4096)  # bytes of one of them
_ENTRY_ROOM = const(400)  # bytes that a name takes on a disk at most, besides five times its own
_NAME = const(251)  # bytes of a name: a file system allows 255, and ~mip is added

_PAUSES = const((1, 4, 10, 0))  # seconds between attempts; 0: none follows
_LONGEST = const(60)  # seconds that a server may have us wait
_SURPLUS = const(0.05)  # seconds within which an answer is noticed that nobody asked for
_RATE = const(64)  # bytes a second of a body, once it is four times Session.timeout old
_SENT = const(6)  # requests that are sent ahead: 1 KB or so, which any server can hold
_YEAR = const(2026)  # a clock before is wrong

# What may pass: errno values of a connection that broke or stalled, statuses of busy servers.
_PASSING = const(
    (-2, 11, 32, 101, 103, 104, 105, 110, 113, 116, 118, 128, 429, 500, 502, 503, 504)
)

# errno values of a disk, those of WebAssembly behind: EIO, ENOSPC, EROFS. Bytes take less than a
# tuple; what is looked for in a tuple may be a status or a text, which CPython refuses in bytes.
_BROKEN = const(b"\x05\x1c\x1e\x1d\x33\x45")  # 5 28 30, 29 51 69
_DISK = const((13, 21, 28, 30, 31, 36))  # those of all file systems when they do not take a file
_FULL = const((28, 30, 36, 51, 69))  # those of them that are no fault of the file
_DENIED = const(b"\x01\x0d\x1e")  # 1 13 30: EPERM, EACCES, EROFS
_NO_MEMORY = const((12, -16256, -17040, -32512))  # the last ones are mbedtls'
# What other errno values mean to people. One text takes a kilobyte less of RAM than tuples.
_WORDS = const("""\
13=may not be written to, or a directory of FAT is full
20 54=a file is where a directory must be: remove it
21 31 39=is a directory: remove it
28=the disk is full
30=the disk cannot be written to
36=the disk is too full for the name
111=the server refused the connection
-2=the host is not known: is the board online?
-40 -28288 -30592=no TLS version in common, no such host there, or it wants a certificate
-257 -29184=there is no TLS at that port""")
_MISSING = const(b"\x02\x14\x2c\x36")  # 2 20, 44 54, where nothing is: ENOENT, ENOTDIR
_UNDER_WAY = const(b"\x24\x73\x77")  # 36 115 119: EINPROGRESS of macOS, Linux and lwIP, ESP32
_IPPROTO_TCP = const(6)  # as on every port, also on those that do not name them
_POLLIN = const(1)
_POLLOUT = const(4)
_CERT_NONE = const(0)
_CERT_REQUIRED = const(2)
_UNKNOWN = const(-2)
_DIRECTORY = const(0x4000)  # the type bit of os.stat()
_EIO = const(5)
_IS_DIRECTORY = const((21, 31))
_ENOMEM = const(12)
_ENOTDIR = const(20)
_ENOSPC = const(28)
_EADDRINUSE = const(98)
_ECONNRESET = const(104)
_ETIMEDOUT = const(110)


class InstallError(Exception):
    """What mip could not do, in one line: what was being done, to what, and why it failed."""


_WITHOUT = const("this mip was built without ")

if not (_SEARCH and _VERIFY and _MANAGE):

    def __getattr__(name):
        raise AttributeError(_WITHOUT + name)


# ---- 2. the HTTP session ---------------------------------------------------------------


# What idle() has raised in this call: it is not called again, so that mip can clear up.
_raised = []


def _rest():
    if idle and not _raised:
        try:
            idle()
        except BaseException as e:
            _raised.append(e)
            if isinstance(e, StopIteration):  # which would end a loop
                raise ValueError("idle() raised StopIteration")
            raise


def _wait(timeout, poll=None):
    """Waits `timeout` seconds, or until what `poll` looks after is ready: returns whether it is.

    All waiting is done here, in slices of a second at most.
    """
    while timeout > 0:
        part = min(timeout, 1)
        ready = poll.poll(int(part * 1000)) if poll else time.sleep(part)
        _rest()
        if ready:
            return True
        timeout -= part
    return False


def _number(text, base):
    # int() takes signs, underscores and prefixes, too.
    for c in text or b"-":
        if c not in _DIGITS[:base]:
            raise ValueError("bad chunk")
    return int(text, base)


def _mark(path):
    # What tells paths apart and takes no RAM: hash() has 8 bits on some boards.
    mark = 0
    for c in path.encode():
        mark = mark * 33 + c & 0xFFFFFF
    return mark


class _Connection:
    """The connection to one server and, while an answer is read, that answer.

    As an answer it has the shape that `requests` has: status_code, raw.readinto(buf), close().
    OSError means that the network failed, ValueError that the server does not speak HTTP.

    place: "https://host". sock: a socket. stream: what is read and written, TLS or the socket
    itself; None while there is no connection. poll: waits for the socket; None on a port that can
    only block. head: what follows the path in a request, as bytes. timeout: seconds.
    """

    def __init__(self, timeout):
        # All attributes are made here, when little else is in RAM: a table that grows is there
        # twice.
        self.timeout = timeout
        self.place = self.sock = self.stream = self.poll = self.head = None
        self.sent = []  # _mark() of the paths whose answers are on their way, the next one first
        self.raw = self
        self.start = 0  # in ms, when the answer was asked for
        self.room = 0  # bytes of lines that may come
        self.got = 0  # bytes of the body
        self.status_code = 0
        self.location = None
        self.left = None
        self.chunked = self.html = self.keep = False
        self.wait = 0

    def open(self, socket, address):
        """Connects to an address of getaddrinfo()."""
        self.start = time.ticks_ms()
        self.sent = []
        self.keep = False  # it has yet to answer
        self.sock = self.stream = sock = socket.socket(address[0])
        try:
            # Else each request that is sent ahead waits for the one before. Unix does not name it.
            sock.setsockopt(_IPPROTO_TCP, getattr(socket, "TCP_NODELAY", 1), 1)
        except (AttributeError, OSError):
            sock.close()  # as NINA-W10 has done, which does not know the option
            self.sock = self.stream = sock = socket.socket(address[0])
        try:
            import select

            sock.setblocking(False)
            self.poll = select.poll()
        except (ImportError, AttributeError, OSError):
            self.poll = None  # it goes on blocking: WIZnet, Zephyr, cc3200
        try:
            sock.connect(address[-1])
        except OSError as e:
            if e.args[0] not in _UNDER_WAY:
                raise
            self.until(_POLLOUT)
        # What went wrong is told by the first read; and a server does not speak first.
        if self.poll and sock.readinto(bytearray(1)) is not None:
            raise OSError(_ECONNRESET)

    def until(self, mode):
        # Until the socket is ready, with limits for silence and for slowness.
        late = 4 * self.timeout + self.got // _RATE
        late -= time.ticks_diff(time.ticks_ms(), self.start) // 1000
        if self.poll:
            self.poll.register(self.sock, mode)
            if _wait(min(self.timeout, late), self.poll):
                return
        raise OSError(_ETIMEDOUT)

    def heard(self):
        """What can be read when nothing was asked for: None for nothing, 0 for the end."""
        if self.poll and self.stream:
            try:
                # Only TLS itself knows what it has read, and what of it is its own.
                return self.stream.readinto(bytearray(1))
            except OSError:
                return 0

    def line(self):
        # The next line; of one that is too long only what is before a colon.
        line = part = b""
        while not part.endswith(b"\n"):
            part = self.stream.readline(_PART)
            if part is None:
                self.until(_POLLIN)
                part = b""
                continue
            self.room -= len(part)
            if not part:
                raise OSError(_ECONNRESET)
            if self.room < 0:
                raise ValueError("endless headers")
            most = _LINE if line[:9].lower() == b"location:" else 2 * _PART
            if len(line) < most:
                line += part
        return line if len(line) < most else line.split(b":")[0] + b":"

    def ask(self, path):
        """Reads the head of the answer for `path`, which is asked for unless it was by send().

        Returns False where there is no connection, or one that was kept turns out to be dead.
        """
        self.start = time.ticks_ms()
        self.room = _HEAD
        self.got = 0
        self.status_code = 0
        try:
            if not self.stream:
                return False
            if not self.sent:
                self.send(path)
            if self.sent.pop(0) != _mark(path):
                raise OSError(_ECONNRESET)
            while self.status_code < 200:  # 1xx: the answer is yet to come
                self.answer()
            return True
        except BaseException as e:  # nobody goes on reading in the middle of a head
            self.drop()
            if not isinstance(e, OSError) or not self.keep or self.room < _HEAD:
                raise
            return False

    def send(self, path):
        """Asks for `path`."""
        if self.keep and not self.sent and self.heard() is not None:
            raise OSError(_ECONNRESET)  # nobody asked for it
        data = b"GET " + path.encode() + self.head
        self.start = time.ticks_ms()
        self.sent.append(_mark(path))
        while data:
            n = self.stream.write(data)
            if n:
                data = data[n:]
            elif n is None:  # the first write of TLS is a handshake, which mostly reads
                self.until(_POLLOUT if self.keep or self.stream is self.sock else _POLLIN)
            else:
                raise OSError(_ECONNRESET)

    def answer(self):
        self.location = None
        self.left = None  # bytes left of the body or the chunk; None: until the connection ends
        self.chunked = self.html = False
        self.wait = 0  # seconds, for a Retry-After
        line = self.line()
        try:
            version, code = line.split()[:2]
            if not version.startswith(b"HTTP/1."):
                raise ValueError
            self.keep = version[7:] != b"0"
            self.status_code = _number(code, 10)
            while True:
                line = self.line()
                if not line.strip():
                    break
                name, value = line.split(b":", 1)
                self.header(name.lower(), value.strip())
        except ValueError:
            raise ValueError("not HTTP: %s" % line)
        if self.status_code in (204, 304):  # they have no body, whatever the head says
            self.chunked = False
            self.left = 0
        elif self.chunked:
            self.left = 0

    def header(self, name, value):
        if name == b"location":
            self.location = value.decode()
            return
        low = value.lower()
        if name == b"content-length":
            size = _number(value, 10)
            if self.left not in (None, size):
                raise ValueError
            self.left = size
        elif name == b"content-type":
            self.html = low.startswith(b"text/html")
        elif name == b"connection":
            self.keep = b"close" not in low
        elif name == b"retry-after":
            if value.isdigit():
                self.wait = int(value)
        elif name == b"transfer-encoding":
            if low != b"chunked":
                raise ValueError
            self.chunked = True
        elif name != name.strip() or name == b"content-encoding" and low != b"identity":
            raise ValueError

    def readinto(self, buf):
        """Reads what there is of the body into `buf`, returns how many bytes; 0 is the end."""
        if self.chunked and not self.left:
            # The head of a chunk; the last one is empty and followed by trailers.
            self.room = _HEAD
            self.left = _number(self.line().split(b";")[0].strip().lower(), 16)
            while not self.left and self.chunked:
                self.chunked = self.line() != b"\r\n"
        if self.left == 0:
            return 0
        size = len(buf)
        if self.left is not None:
            size = min(size, self.left)
        while True:
            n = self.stream.readinto(buf, size)
            if n is not None:
                break
            self.until(_POLLIN)
        self.got += n
        if self.left is not None:
            if not n:
                raise OSError(_ECONNRESET, "%d of %d bytes" % (self.got, self.got + self.left))
            self.left -= n
            if self.chunked and not self.left and self.line() != b"\r\n":
                raise ValueError("bad chunk")
        return n

    def close(self):
        """Ends this answer. The connection is kept if it can carry another one."""
        try:
            # The page that comes with an error is read: a new connection would cost more.
            while self.keep and (self.left or self.chunked) and self.got < _KEPT:
                self.readinto(bytearray(_PART))
        except (OSError, ValueError):
            self.keep = False
        if self.left != 0 or self.chunked or not self.keep:
            self.drop()

    def drop(self):
        if self.stream:
            self.stream.close()
            if self.stream is not self.sock:
                self.sock.close()  # a handshake that failed has let go of it
            self.stream = None


def _certificates(path):
    """Yields the certificates of a file as DER, the only form that every build takes."""
    with open(path, "rb") as file:
        if file.read(1) == b"0":  # DER begins so, PEM does not
            yield b"0" + file.read()
        text = b""
        for line in file:
            if b"-END CERT" in line:
                yield a2b_base64(text)
            text = b"" if line.startswith(b"-") else text + line


def _escaped(url):
    # Bytes are looked at, here and below, because each character of a text becomes a name in RAM.
    data = url.encode()
    if not data or min(data) > 32 and max(data) < 127:
        return url
    url = ""
    for c in data:
        url += chr(c) if 32 < c < 127 else "%%%02X" % c
    return url


def _split(url):
    """The part of a URL that one connection is for, in its one spelling, and the rest as it is
    sent."""
    url = _escaped(url.split("#")[0])
    start = url.find("//") + 2
    stop = url.find("/", start)
    place = _shown(url if stop < 0 else url[:stop])
    path = url[len(place) :]
    place = place.lower()
    if "@" in place:  # the password is not to be printed
        raise ValueError(_NEITHER)
    if place.endswith(":443" if place.startswith("https:") else ":80"):
        place = place[: place.rfind(":")]
    return place, path if path.startswith("/") else "/" + path


def _context(cafile):
    """What wraps sockets in TLS; `cafile` has to vouch for the servers, if there is one.

    Raises ValueError where that cannot be.
    """
    # `tls` came with MicroPython 1.23, SSLContext with 1.21; axTLS cannot check.
    try:
        import tls
    except ImportError:
        try:
            import ssl as tls
        except ImportError:
            raise ValueError("this firmware has no TLS")
    context = tls
    if hasattr(tls, "SSLContext"):
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if not cafile:
        if hasattr(context, "verify_mode"):
            context.verify_mode = _CERT_NONE
        return context
    if not hasattr(context, "load_verify_locations"):
        raise ValueError("this firmware cannot check a server")
    why = "no certificate in it"
    try:
        for der in _certificates(cafile):
            why = None
            try:
                context.load_verify_locations(cadata=der)
            except TypeError:  # from 1.23 on it takes no names
                context.load_verify_locations(der)
    except (OSError, ValueError) as e:
        why = e
    if why:
        raise ValueError("%s: %s" % (cafile, why))
    context.verify_mode = _CERT_REQUIRED
    return context


class Session:
    """Fetches URLs over two kept connections at most, with the interface of `requests`.

    headers: {host: {name: value}}, each sent to that host alone, and over TLS alone unless the
    key is "http://host". cafile: a file of certificates (DER or PEM) that have to vouch for every
    TLS server; left out, it is mip.cafile, and if that is None, no server is checked. timeout:
    seconds without a byte from the server; four times as long an answer may take to begin.
    """

    def __init__(self, headers=None, cafile=None, timeout=_TIMEOUT):
        self.headers = headers or {}
        self.cafile = cafile or globals()["cafile"]
        self.timeout = timeout
        self.context = None
        self.unchecked = False  # whether a server was not checked
        self.links = []  # the connections; the one that was used last is the last
        self.answer = None  # the one that was returned last
        self.alone = 0  # how many requests are sent one at a time: a connection broke

    def get(self, url):
        """Returns the answer for `url`, redirects followed; to be closed before the next get().

        OSError: the network failed. ValueError: what answers there is not to be trusted, or
        does not speak HTTP.
        """
        for _ in range(_HOPS + 1):
            self.answer = answer = self._ask(*_split(url))
            if answer.status_code not in _REDIRECTS or answer.location is None:
                return answer
            answer.close()
            if not answer.location:
                raise ValueError("redirected to a URL that is too long")
            url = _join(url, answer.location)
            if answer.place[:6] == "https:" != url[:6].lower():
                break
        raise ValueError("redirected to " + _shown(url))

    if _AHEAD:

        def send(self, url):
            """Asks for `url` ahead of its get(), if that may be: returns whether it was sent.

            What was sent comes first, and in the order in which it was sent.
            """
            place, path = _split(url)
            link = self._link(place)
            # A connection has shown that it is kept when it has answered once.
            if self.alone or not link or not link.stream or len(link.sent) > _SENT:
                return False
            try:
                link.send(path)
                return True
            except BaseException as e:
                link.drop()  # it may be in the middle of a request
                if not isinstance(e, OSError):
                    raise
                return False

    def settle(self, timeout):
        """Raises ValueError when a server has sent more than it was asked for, or does so soon."""
        if timeout:
            _wait(timeout)
        for link in self.links:
            if not link.sent and link.heard():
                raise ValueError("%s sends what nobody asked for" % link.place)

    def close(self):
        """Closes every connection."""
        while self.links:
            self.links.pop().drop()

    def _link(self, place):
        for link in self.links:
            if link.place == place:
                return link

    def _ask(self, place, path):
        if self.alone:
            self.alone -= 1
        link = self._link(place)
        if link:
            self.links.remove(link)
        elif len(self.links) < 2:
            link = _Connection(self.timeout)
        else:
            link = self.links.pop(0)
            link.drop()
        self.links.append(link)
        link.place = place
        if not link.ask(path):
            self.alone = len(link.sent)
            try:
                self._connect(link, path)
            except (OSError, MemoryError):
                # Two TLS connections do not fit into the memory of many boards.
                if not self.links[0].stream:
                    raise
                self.links[0].drop()
                self._connect(link, path)
            link.ask(path)
        return link

    def _connect(self, link, path):
        import socket

        scheme, _, host, *_ = (link.place + "//").split("/")
        port = {"http:": "80", "https:": "443"}.get(scheme)
        name, *ports = host.split(":")
        ports.append(port)
        if not port or not name or "[" in host or not ports[0].isdigit():
            raise ValueError(_NEITHER)
        head = "HTTP/1.1\r\nHost: %s\r\nUser-Agent: mip\r\nAccept-Encoding: identity" % host
        for key, headers in self.headers.items():
            if key.lower() == (name if scheme == "https:" else scheme + "//" + name):
                for header in headers.items():
                    # Else one with the end of a line would be another one.
                    head += "\r\n" + _printable("%s: %s" % header)
        link.head = head = (" %s\r\n\r\n" % head).encode()  # the text is not kept
        gc.collect()  # so that what stays lies together: TLS needs 3 KB in one piece
        addresses = ()
        trouble = OSError(_UNKNOWN)
        try:
            addresses = socket.getaddrinfo(name, int(ports[0]))
        except OSError as e:
            if _ENOMEM in e.args:
                raise
        for address in addresses:
            if address[1] not in (0, socket.SOCK_STREAM):
                continue
            try:
                link.open(socket, address)
                if scheme == "https:":
                    link.stream = self._secure(link.sock, name, link.poll)
                return link.send(path)
            except BaseException as e:
                link.drop()
                if not isinstance(e, OSError):
                    raise
                trouble = e  # the next address may do
        raise trouble

    def _secure(self, sock, name, poll):
        if not self.context:
            self.context = _context(self.cafile)
        context = self.context
        self.unchecked = not self.cafile
        if poll and hasattr(context, "load_verify_locations"):
            # Only mbedtls can do the handshake in parts, with the first request.
            return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        if poll:
            getattr(sock, "settimeout", sock.setblocking)(self.timeout)
        stream = context.wrap_socket(sock, server_hostname=name)
        if poll:
            stream.setblocking(False)
        return stream


# ---- 3. the streaming JSON reader ------------------------------------------------------


def _piece(stream, buf):
    """Reads what there is of a stream into `buf`: how many bytes; 0 is the end."""
    n = getattr(stream, "raw", stream).readinto(buf)
    _rest()
    if n is None:  # what took too long for `requests`
        raise OSError(_ETIMEDOUT)
    return n


def _entries(stream, buf, lists=_LISTS, values=_VALUES, sha=None):
    """Yields (listed, key, value) for the keys of the JSON object in `stream` that are wanted.

    A key of `lists` comes once for each element of its value, with `listed` true; so does one
    of `values`, or of `lists` where the value is no list, with the whole value. One entry is
    in RAM at a time, read by MicroPython's own json; one that is too long is an error, or 0 where
    there are no `values`; between entries as much is allowed as
    there: commas and colons are white space. Raises ValueError when it is not a JSON object.
    """
    text = bytearray()  # the key or entry that is being collected
    depth = 0  # how many brackets are open
    level = 1  # the depth at which entries stand: 2 within a list; 0 behind the document
    quote = 0  # 1 in a string, 2 behind a backslash there
    key = ...  # none yet; None: one that is not wanted
    size = at = i = n = c = brackets = 0  # brackets: in the entry, each takes RAM
    part = memoryview(buf)
    try:
        while True:
            at = i = 0
            n = None
            n = _piece(stream, buf)
            if not n:
                break
            if sha:
                sha.update(part[:n])
            size += n
            if size > _DOCUMENT:
                raise ValueError
            while i < n:
                at = i
                c = buf[i]
                i += 1
                if (
                    depth == level
                    and text
                    and not quote
                    and (c in b' \t\r\n,:"[]{}' or text[-1] in b'"]}')
                ):
                    value = json.loads(text)
                    text = bytearray()
                    brackets = 0
                    if level == 1 and key is ...:
                        key = value if value in lists or value in values else None
                    else:
                        if key:
                            yield level == 2, key, value
                        if level == 1:
                            key = ...
                if quote == 2:
                    quote = 1
                elif quote:
                    # The rest of the string at once, or as far as it goes.
                    i = buf.find(b'"', at, n) + 1 or n
                    i = buf.find(b"\\", at, i) + 1 or i
                    c = buf[i - 1]
                    quote = 2 if c == 92 else c != 34
                elif depth <= level and (
                    c in (b" \t\r\n,:" if level else b" \t\r\n\v\f") or not depth and c in _MARK
                ):
                    continue
                elif not depth and (c != 123 or not level):
                    raise ValueError
                elif c == 34:
                    quote = 1
                elif c in b"[{":
                    depth += 1
                    if depth == 2 and key is ...:
                        raise ValueError
                    if depth == 2 and c == 91 and key in lists:
                        level = 2
                    if depth <= level:
                        continue
                    brackets += 1
                elif c in b"]}":
                    depth -= 1
                    if depth < level:
                        level = depth
                        key = ...
                        continue
                if brackets < _ENTRY and key:
                    text += part[at:i]
                    if len(text) > _ENTRY or brackets > _NESTED:
                        if values:
                            raise ValueError
                        brackets = _ENTRY  # it is passed over
                else:
                    text = b"0"  # what is not wanted is not kept
        if level:
            raise ValueError
    except ValueError:
        if n is None:  # it is not the document's fault
            raise
        if level and not depth and c == 60:  # "<"
            raise ValueError(_PAGE)
        raise ValueError("not a package.json, from byte %d on" % (size - n + at))


# ---- 4. sources: what a name means ------------------------------------------------------


def _pinned(version):
    # None where the latest version, or a forge's default branch, is meant.
    return None if version in ("", "latest", "*") else version


def _unpin(text):
    """A text without its #sha256=, and the hash behind it or None."""
    text, *sha = (text or "").split(_SHA256)
    return text, sha[0].lower() if sha else None


def _parse(text, version=None):
    """Takes "name@version#sha256=HEX" apart and gives the name its one spelling: (name, version).

    The version has the hash with it; it is None where none or the latest is meant. `version` is
    for a text without.
    """
    if not isinstance(text, str):
        raise ValueError("%r names no package" % (text,))
    text, sha = _unpin(text.strip(" "))
    if text == ".":
        text = "./"
    query = ""
    if "//" in text:
        text = text.split("#")[0]
    if ("/" in text or ":" in text) and "?" in text:
        text, query = text.split("?", 1)
        query = "?" + query if "//" in text else ""
    text = _meant(text)
    # In a URL or a path only an @ in the last part starts a version.
    local = ":" not in text and "/" in text
    at = text.rfind("@", text.rfind("/")) if local or "//" in text else text.find("@")
    if at >= 0:
        version = text[at + 1 :]
        text = text[:at]
    version, own = _unpin(str(version or ""))
    if not text or "?" in text or _control(text + version):
        raise ValueError("%r names no package" % text)
    if "://" in text:
        place, text = _split(text)
        while "//" in text:
            text = text.replace("//", "/")
        text = _join(place, "." + text)
    if _repository(text):
        query = ""  # a forge takes a token as a header
        text = (text + "/").replace(".git/", "/")
    if not local:
        text = _directory(text)
    version = _pinned(version)
    if sha is None:
        sha = own
    if sha is not None:
        if len(sha) != 64:
            raise ValueError(text + ": #sha256= takes 64 digits")
        version = (version or "") + _SHA256 + sha
    return text + query, version


def _directory(text):
    """A URL or path without the package.json and the slashes at its end."""
    text = text.rstrip("/")
    return text[: -len(_JSON)] if text.endswith(_JSON) else text


if _PAGES:

    def _meant(text):
        """What was meant by a page of a forge, and by capitals where they do not matter."""
        prefix = text.split("/")[0].split("@")[0]
        if ":" in prefix:
            prefix, rest = text.split(":", 1)
            prefix = prefix.lower()
            text = prefix + ":" + rest
            if prefix not in _FORGES and prefix not in _SCHEMES.split():
                raise ValueError(
                    "%r names no package: it begins with none of http https %s"
                    % (prefix + ":", " ".join(sorted(_FORGES)))
                )
        page, *ref = text.split("://")[-1].split("@", 1)
        host, *parts = page.rstrip("/").split("/")
        host = host.lower()
        if host not in _HOSTS.split() or len(parts) < 2:
            return text
        org, repo, *more = parts
        if more[:1] == ["-"]:
            more.pop(0)
        if more:
            if more[0] not in _VIEWS.split():
                return text
            if more[1:] and more[1] in _REFS.split():
                more.pop(1)
            ref = more[1:2]
        forge = host.split(".")[0]
        return "@".join(["/".join([forge + ":" + org, repo] + more[2:])] + ref)

else:

    def _meant(text):
        return text


if _ADVICE:

    def _built_in(name):
        """Whether a module is a part of the firmware."""
        path = sys.path[:]
        sys.path.clear()
        try:
            return bool(__import__(name))
        except Exception:  # whatever it lacks
            return False
        finally:
            sys.path[:] = path


def _printable(text):
    """It on one line, without what could move a cursor."""
    data = bytearray(text.encode())
    for i in range(len(data)):
        if data[i] < 32 or data[i] == 127:
            data[i] = 32
    return data.decode()


def _control(text):
    """Whether there is a control character in it."""
    data = text.encode()
    return min(data) < 32 or 127 in data


def _is_place(name):
    """Whether a package is named by where it is, not by a name in an index."""
    return ":" in name or "/" in name or _twin(name)


def _key(name):
    """What tells a package: names of an index are the same in any letter case."""
    return _shown(name) if _is_place(name) else name.lower()


def _shown(url):
    """A URL without its query, which may be secret: it is neither printed nor recorded."""
    return url.split("?")[0]


# What there is of a package of a run, by its place in a list.
_KEYED = const(0)
_NAMED = const(1)
_VERSION = const(2)
_HASH = const(3)
_ASKED = const(4)
_INDEXED = const(5)
_FOUND = const(6)
_SAID = const(7)
_PLANNED = const(8)
_FORM = const(9)


def _repository(name):
    """The part of a forge's name that tells the repository; "" for any other name."""
    parts = name.lower().split("/")
    return "/".join(parts[:2]) if parts[0].split(":")[0] in _FORGES else ""


def _same(url, base):
    return _repository(url) and _repository(url) == _repository(base)


def _join(base, url):
    """What the relative or full `url` means in the document `base`."""
    path = _shown(url)
    parts = _shown(base).split("/")
    root = 3 if "//" in base else 2 if ":" in base else 0  # parts that name a host or repository
    if ":" in path.split("/")[0]:
        return url
    if path.startswith("//"):
        return parts[0] + url
    if path.startswith("/"):
        return "/".join(parts[:root]) + url
    if path:
        del parts[max(root, len(parts) - 1) :]
        for part in path.split("/"):
            if part == ".." and parts[root:] and parts[-1] not in ("", ".", ".."):
                parts.pop()
            elif part != "." and (part != ".." or not root):
                parts.append(part)
    return "/".join(parts) + url[len(path) :]


def _url(name, ref):
    """The URL or path of the file `name`; `ref` is for one of a forge."""
    forge, *path = name.split(":", 1)
    if forge not in _FORGES:
        return name
    parts = path[0].split("/", 2)
    if len(parts) < 3 or "" in parts:
        raise ValueError("%s names no file: a repository is %s:ORG/REPO" % (name, forge))
    ref = (ref or "HEAD").replace("#", "%23")
    return _FORGES[forge].format("/".join(parts[:2]), parts[2], ref)


def _source(base, ref, url):
    """The URL of a file that is listed as `url` in the package.json `base`, which is of `ref`."""
    full = _join(base, url)
    if not _same(full, base):
        ref = None
    if _repository(url) and "@" in url:
        full, ref = url.split("@", 1)
    return _url(full, _pinned(ref))


def _located(name, base):
    """The name of a package; a path is relative to `base`, None: to the board's own directory."""
    if ":" in name or not _is_place(name):
        return name
    return _directory(_join(base or os.getcwd().rstrip("/") + "/", name))


def _line(*values):
    """A line of the files in .mip/, as bytes."""
    return (json.dumps(values) + "\n").encode()


def _head(kind, name):
    """The beginning of such a line. There is none within one: quotes are escaped there."""
    return _line(kind, name)[:-2] + b","


class _Lines:
    """The lines of a file of .mip/ behind the first one, which names the format.

    They are read in blocks, because readline() asks for each byte alone. Raises ValueError for a
    line that mip did not write. check: whether that is looked at, as for what an earlier run
    has left. size: where they end. place: where the next one begins.
    """

    hit = 0  # where has() found something

    def __init__(self, file, check):
        self.file = file
        self.check = check
        self.size = file.seek(0, 2)
        self.seek(_FIRST)

    def seek(self, place):
        self.file.seek(place)
        self.place = place
        self.data = b""  # what was read and not returned

    def __iter__(self):
        return self

    def __next__(self):
        _rest()
        if self.place >= self.size:
            raise StopIteration
        while b"\n" not in self.data and len(self.data) < _LINE_SIZE:
            more = self.file.read(_BLOCK)
            if not more:
                break
            self.data += more
        stop = self.data.find(b"\n") + 1
        text = self.data[:stop]
        self.data = self.data[stop:]
        self.place += stop
        if not self.check:
            return json.loads(text)
        try:
            # Up to 1.25 json.loads() does without the bracket at the end; those within take RAM.
            if (
                not text.startswith(b'["')
                or not text.endswith(b"]\n")
                or text.count(b"[") > _NESTED
            ):
                raise ValueError
            line = json.loads(text)
            kind = line[0]
            for value in line:
                if value is not None and not isinstance(value, str):
                    raise ValueError
            if (
                len(line) < (5 if kind == "package" else 3)
                or not line[1]
                or kind in ("file", "get", "dir")
                and _clean(line[1]) != line[1]
                or kind == "file"
                and len(line[2] or "") < 8
            ):
                raise ValueError
            return line
        except ValueError:
            raise ValueError("damaged from byte %d on: remove it" % self.place)

    def has(self, text, fold):
        """Whether `text` is there; as a rule it is behind what was looked for before."""
        place = self.find(text, self.hit, fold)
        if place < 0:
            place = self.find(text, 0, fold)
        self.hit = max(place, self.hit)
        return place >= 0

    def find(self, text, place, fold=False):
        """Where `text` is from `place` on; -1 where it is not. fold: letter case aside.

        What comes next has to be sought then.
        """
        if fold:
            text = text.lower()
        data = b""
        self.file.seek(place)
        while True:
            more = self.file.read(_BUFFER)
            if not more:
                return -1
            place += len(more)
            data = data[-len(text) :] + (more.lower() if fold else more)
            at = data.find(text)
            if at >= 0:
                return place - len(data) + at


def _write(file, data):
    if file.write(data) != len(data):
        raise OSError(_ENOSPC)


def _clean(path):
    """The one spelling of a destination; ValueError where a package may put no file: `~` is for
    what is staged, and for FAT's short names; what FAT refuses is refused everywhere."""
    # `in` is fastest for texts, and what this makes is not kept: it is done for each file.
    parts = [part for part in path.encode().split(b"/") if part not in (b"", b".")]
    clean = b"/".join(parts).decode()
    data = "/%s/" % clean.lower()
    bad = len(data) < 3 or path[-1] == "/" or _control(clean)
    for part in "./", " /", "/ ", "/.mip/":
        bad = bad or part in data
    for c in '~\\:?*"<>|':
        bad = bad or c in data
    for part in parts:
        bad = bad or len(part) > _NAME
    if bad:
        raise ValueError("%r is a URL or an unsafe path" % path)
    return clean


def _twin(path):
    """The other form of the module `path`: bytecode of source, source of bytecode; or None."""
    if path.endswith(".py"):
        return path[:-2] + "mpy"
    if path.endswith(".mpy"):
        return path[:-3] + "py"


def _type(path):
    """The type bits of what is at `path`, 0 where nothing is."""
    try:
        return os.stat(path)[0]
    except OSError as e:
        if e.args[0] not in _MISSING:
            raise
        return 0


def _remove(path):
    """Removes the file at `path`, if there is one."""
    try:
        os.remove(path)
    except OSError as e:
        if e.args[0] not in _MISSING and not _type(path) & _DIRECTORY:
            raise


# What .mpy files this firmware loads, as a tag: the version, the sub-version << 8, the
# architecture << 10, its flags << 16. 0: none.
_mpy = getattr(sys.implementation, "_mpy", 0)


if _NATIVE:
    # The architectures of native code, in the order of their numbers.
    _ARCHITECTURES = const(
        "bytecode x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin"
        " rv32imc rv64imc"
    )

    def _platform(tag):
        """The names of the architecture and of the version in a tag."""
        arch = tag >> 10 & 15
        names = _ARCHITECTURES.split()[arch:]
        return names[0] if names else str(arch), "%d.%d" % (tag & 255, tag >> 8 & 3)

    def _fits(tag):
        """Whether this firmware loads code with this tag."""
        mine = _mpy
        arch = tag >> 10 & 15
        own = mine >> 10 & 15
        # Of the ARM architectures, numbers 4 to 8, a processor runs the lesser ones, too.
        return not (
            (tag ^ mine) & (0x3FF if arch else 0xFF)
            or arch not in (0, own)
            and not 4 <= arch < own < 9
            or (tag & ~mine) >> 16
        )

    def _native(url):
        """The URL for this firmware."""
        if "{" in url:
            arch, version = _platform(_mpy)
            url = url.replace("{MPY_ARCH}", arch).replace("{MPY_VERSION}", version)
        return url

    def _unloadable(path):
        """Why this firmware cannot load the .mpy file at `path`, or None when it can."""
        with open(path, "rb") as file:
            head = file.read(16)
        if len(head) < 5 or head[0] != 77:
            return "is not bytecode"
        tag = head[1] | (head[2] & 63) << 8
        if not tag >> 10:
            tag &= 255
        needs = 0
        for c in head[4:] if head[2] & 64 else b"":
            needs = needs << 7 | c & 127
            if c < 128:
                break
        tag |= needs << 16
        if not _fits(tag) or head[2] & 64 and not _mpy >> 16 or head[2] & 128:
            kind = "native code for " if tag >> 10 else ""
            return "is %s%s %s, this is %s %s" % ((kind,) + _platform(tag) + _platform(_mpy))

else:

    def _platform(tag):
        return "bytecode", tag & 255

    def _fits(tag):
        return tag == _mpy & 255

    def _native(url):
        return url

    def _unloadable(path):
        return None


if _ADVICE:

    def _reason(error):
        """What an OSError or ValueError means to people."""
        code = error.args[0] if error.args else ""
        text = " ".join(str(error).split())  # mbedtls breaks lines
        if code in _NO_MEMORY:
            return "out of memory, with %d bytes free" % gc.mem_free()
        if isinstance(error, OSError):
            for line in _WORDS.split("\n"):
                codes, words = line.split("=")
                if str(code) in codes.split():
                    return words
            if code in _PASSING:
                if code > 400:
                    return "the server answers %d" % code
                return "the connection broke (%s)" % ": ".join(map(str, error.args))
        elif not isinstance(error, ValueError):  # of a session
            text = "in session, idle or an argument: %s %s" % (type(error).__name__, text)
        if text.startswith("The cert") or code == -9984:  # mbedtls has checked one
            text = "the server is not to be trusted: " + text
            year = time.gmtime()[0]
            if year < _YEAR:
                text += "; the clock says %d: ntptime.settime()" % year
        return text or type(error).__name__

else:

    def _reason(error):
        return "%s %s" % (type(error).__name__, " ".join(str(error).split()))


# ---- 5. the store: plan, stage, commit, reconcile ---------------------------------------


def _hex(sha):
    return hexlify(sha.digest()).decode()


def _short(text):
    """A name of 12 characters for a text, which every file system takes as it is."""
    sha = _hex(sha256(text.encode()))
    return sha[:8] + "." + sha[8:11]


def _size(path):
    return os.stat(path)[6] if _type(path) else -1


def _copy(stream, file, buf):
    """Copies a stream into `file`, if there is one; returns the sha256 in hex."""
    sha = sha256()
    whole = memoryview(buf)
    n = 1
    while n:
        # FAT writes whole sectors at once, and parts of one by way of its only buffer.
        size = 0
        while n and size < len(buf):
            n = _piece(stream, whole[size:] if size else buf)
            size += n
        data = buf if size == len(buf) else whole[:size]
        sha.update(data)
        if file and size:
            _write(file, data)
    return _hex(sha)


def _matches(sha, wanted):
    """Whether a sha256 is the one that is wanted, of which the beginning may be all."""
    return sha and wanted and sha.startswith(wanted)


if _ADVICE or _VERIFY or _OFFLINE:

    def _wanting(owners, sha):
        """The first of _Store.owners() that has the file with this sha256, or None."""
        for owner, wanted in owners:
            if _matches(sha, wanted):
                return owner


def _where(line, package):
    """The URL of a line "get" of the plan, in that package."""
    return line[3] or "/".join((package[_INDEXED], "file", line[2][:2], line[2]))


def _above(path):
    """The directory that `path` is in; "" where there is none."""
    return path[: max(path.rfind("/"), 0)]


def _make(path):
    """Makes the directories above `path`."""
    slash = path.find("/", 1)
    while slash > 0:
        kind = _type(path[:slash])
        if not kind:
            os.mkdir(path[:slash])
        elif not kind & _DIRECTORY:
            raise ValueError("there is a file at %s: remove it" % path[:slash])
        slash = path.find("/", slash + 1)


def _prune(path, stop):
    """Removes the directories above `path` that are empty, up to `stop`; some may be gone."""
    path = _above(path)
    while len(path) > len(stop):
        try:
            # On littlefs rmdir() removes files, too.
            if _type(path) & _DIRECTORY:
                os.rmdir(path)
        except OSError as e:
            if e.args[0] in _BROKEN:
                raise
            return  # it is not empty
        path = _above(path)


def _row(lists, key):
    """The list in a list of lists that begins with `key`, or None."""
    for row in lists:
        if row[0] == key:
            return row


# The targets that calls are at work on: one at a time.
_busy = []

# What has happened to the transaction of a _Store: nothing; what is in .mip/ is to be cleared;
# it is committed; the disk agrees with the record.
_BEGUN = const(1)
_COMMITTED = const(2)
_DONE = const(3)


class _Store:
    """A target and what mip keeps in its .mip/, opened for one verb.

    The plan has these lines, a package after the other:
    ["planned", name, null]   opens the lines of a package
    ["dir", path, above]      a directory that the run makes, and the one above that was there
    ["get", path, hash, url]  url is null for a file of the index, else hash is
    ["dep", name, version]
    """

    def __init__(self, target, new=False):
        # new: whether a target that somebody names may be a new one.
        new = new or not target
        if not target and target is not False:
            for target in sys.path:
                if target.endswith("/lib") and not target.startswith("/rom/"):
                    break
            else:
                raise InstallError("no entry of sys.path ends in /lib: say target=")
        # False: none is needed, to search.
        self.target = target
        self.meta = ""
        self.buf = bytearray(_BUFFER)
        self.doing = self.target or "search"  # what an error would be about
        self.files = []  # what is to be closed
        # The packages of the record, [key, start, stop, its line]; and those of this run,
        # [key, name, version, the hash of its document, asked, index, document (a query before it
        # is read; None for what is recorded and in place), what it says its version is, its place
        # in the plan, ("py",) if source was asked for].
        self.old = []
        self.packages = []
        # Of an upgrade: names of packages that could not be upgraded; keys of those that stay.
        self.failed = []
        self.staying = []
        # What is asked for, {(key, key of the asker, None for the user): version or None}.
        self.asks = {}
        # What is there of the next files: the path, the sha256 of what was staged for an earlier
        # package, that of what is there, None for nothing.
        self.ahead = []
        # Attributes are made here, when little else is in RAM: a table that grows is there twice,
        # and in one piece. With these 39 it has room for 47, so six are made where they are set
        # before they are read: dirs, count, sum, coming, later, block.
        # lock: a socket. made: the directory above the first one that was made for the target.
        # removal: the name in .mip/ that says which packages go. From connect(): indexes, mpy,
        # session. fold: whether letter case is folded. recovered: whether an uninstall was
        # finished. changed: whether a file was; staged: whether one is to be. as_recorded: 1 for
        # an upgrade, 2 if source is fetched where it was asked for.
        self.loaded = None  # a file that was replaced after it had been imported
        self.lock = self.made = self.removal = self.indexes = self.mpy = self.session = None
        self.new = new
        self.fold = self.recovering = self.recovered = False
        self.changed = self.staged = self.as_recorded = False
        self.deps = True  # whether what a package needs is wanted, too
        self.state = 0
        # Resolving. upgrading: whether packages that are not needed any more go. again: whether
        # it begins anew; first: whether it has not yet. directory: of the last file. dirs:
        # directories that are missing; count: files.
        self.upgrading = self.again = self.first = False
        self.directory = None
        # What is being written, plan or new: the file, what is yet to be written, how many bytes
        # were, and their sha256; same: the lines of the record, as long as `new` is as they are.
        self.out = self.same = None
        self.batch = b""
        self.end = 0
        # Staging. coming: where the plan goes on behind the files ahead; line: its next one, if it
        # has to wait. later, number: packages that have begun there, and in the plan. search: the
        # record. free: bytes of the disk; block: of one of its blocks.
        self.line = self.free = None
        self.number = 0
        self.search = ()

    def __enter__(self):
        """Finishes a commit that was begun, clears up after a run that was not."""
        if _busy:
            raise InstallError("%s: another call of mip is at work" % self.target)
        _busy.append(self.target)
        _raised.clear()
        try:
            if self.target:
                self.target = self.doing = self.target.rstrip("/") + "/"
                self.meta = self.target + ".mip/"
                if _UNIX:
                    self.alone()
                if not self.new and not _type(self.meta[:-1]):
                    raise InstallError("%s: nothing is installed there" % self.target)
                self.recover()
            return self
        except BaseException as e:
            self.__exit__(None, e, None)
            raise

    def __exit__(self, kind, error, value):
        try:
            self._end(error)
        finally:
            _busy.clear()
            if _UNIX and self.lock:
                self.lock.close()

    def _end(self, error):
        doing = self.doing
        done = self.state == _DONE  # of recover() nothing is said
        pending = self.state > _BEGUN or self.removal
        if getattr(self.session, "unchecked", False):
            print("Servers were not checked: there is no cafile")
        for step in self.close, gc.collect, self.clear, self.close:
            try:
                step()
            except (OSError, ValueError, MemoryError) as e:
                error = error or e
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, Exception) and not isinstance(error, InstallError):
            raise InstallError(_printable(self.told(error, doing, pending)))
        if done and not error:
            if self.loaded:
                print("Reset the board: %s was loaded before it was replaced" % self.loaded)
            print("Done")
        if isinstance(error, KeyboardInterrupt):
            print("Interrupted:", "the next call finishes" if pending else "nothing was changed")

    if _ADVICE:

        def told(self, error, doing, pending):
            # What went wrong, with what to do about it.
            code = error.args[0] if error.args else None
            if isinstance(error, OSError) and code in _DISK and "//" in doing:
                doing = self.target  # where the plan was being written
            text = "%s: %s" % (doing, _reason(error))
            for package in self.packages[self.number - 1 : self.number]:
                name = package[_NAMED]
                for need, asker in self.asks:
                    if need == package[_KEYED] and asker and not package[_ASKED]:
                        text += " (needed by %s)" % asker
                        break
                if not text.startswith(name) and "/%s/" % name not in text:
                    text = "%s: %s" % (name, text)
            if "{MPY_" in text:
                text += " (for %s %s)" % _platform(_mpy)
            if pending:
                text += "; the next call finishes it"
                if code == _ENOSPC:
                    text += ", when a file has been removed"
            elif (
                isinstance(error, OSError)
                and code not in _FULL
                and code not in _IS_DIRECTORY
                and doing.startswith(self.meta)
                and doing[len(self.meta) :] in ["record", "plan", "new"]
            ):
                text += ": remove it"
            return text

    else:

        def told(self, error, doing, pending):
            return "%s: %s" % (doing, _reason(error))

    if _UNIX:

        def alone(self):
            # A socket that has the name of the target: it goes with the process. Before the record
            # is read, because what was read has to hold.
            if sys.platform != "linux":
                return
            path = self.target[:-1] or "/"  # FAT takes no slash at the end
            if not _type(path):
                return
            inode, device = os.stat(path)[1:3]
            if inode:
                try:
                    import usocket
                except ImportError:
                    return  # this one has no sockets
                self.lock = usocket.socket(1, 2)  # AF_UNIX, SOCK_DGRAM
                for pause in 0.1, 0.3, 0:  # it may just be about to end
                    try:
                        self.lock.bind(b"\x01\0\0mip %d %d" % (device, inode))
                        return
                    except OSError as e:
                        if e.args[0] != _EADDRINUSE:
                            return  # a kernel without
                    time.sleep(pause)
                raise ValueError("another process is at work there")

    def close(self):
        # All of them, also when one does not want to.
        trouble = None
        while self.files:
            try:
                self.files.pop().close()
            except OSError as e:
                trouble = e
        if trouble:
            raise trouble

    def _open(self, path, mode):
        self.doing = path
        file = open(path, mode)
        self.files.append(file)
        return file

    def lines(self, name="record", first=_FORMAT, check=False):
        """The lines of a file of .mip/; none where there is none.

        first: that of its format; with another one it is an error, and a plan is not to be used.
        check: as for _Lines; while a run is recovered all are.
        """
        path = self.present(self.meta + name)
        if not path:
            return ()
        file = self._open(path, "rb")
        if file.read(_FIRST) == first:
            return _Lines(file, check or self.recovering)
        if first == _FORMAT:
            raise ValueError("damaged, or made by another version of mip: remove it")
        return ()

    def plan(self):
        # The lines of the plan; none where it is not whole, and so was not acted on.
        lines = self.lines("plan", _PLAN)
        if lines:
            lines.size = lines.find(_END, 0)
            lines.seek(_FIRST)
            if lines.size < 0:
                return ()
        return lines

    def hits(self, lines, text):
        """Every place where `text` is in lines."""
        found = []
        place = -1
        while lines:
            place = lines.find(text, place + 1, self.fold)
            if place < 0:
                break
            found.append(place)
        return found

    def sha(self, path):
        """The sha256 of the file at `path`; None where nothing is, "" for a directory."""
        try:
            with open(path, "rb") as file:
                return _copy(file, None, self.buf)
        except OSError:  # asked for afterwards: as a rule it is there
            kind = _type(path)
            if kind and not kind & _DIRECTORY:
                raise
            return "" if kind else None

    def connect(self, index, mpy, session, check=True):
        """Takes the places where packages are looked up, whether bytecode is wanted, and what
        fetches. check: whether an index that is a directory has to be there."""
        if not index or isinstance(index, str):
            index = (index or _INDEX,)
        self.indexes = []
        for url in index:
            if "://" not in url:
                url = _join(os.getcwd().rstrip("/") + "/", url)
            url = url.rstrip("/")
            self.indexes.append(url)
            _split(url)
            if "://" not in url and "{" not in url and check and not _type(url):
                raise InstallError(
                    "there is no index %r: a URL begins with https://; several packages are a list"
                    % url
                )
        self.mpy = str(_mpy & 255) if mpy and _mpy else None
        if not session:
            try:
                import socket  # noqa: F401

                session = Session()
                self.files.append(session)
            except ImportError:  # PyScript, and boards with a modem
                try:
                    import requests as session
                except ImportError:
                    pass  # what is in a path can be installed
        self.session = session

    # ---- what is wanted: the transaction, and the record as it is

    def change(self, wanted, gone):
        """One transaction. Returns whether a file was changed.

        wanted: pairs of name and version, which are installed with all that they need.
        gone: keys of the packages to remove; None: those that are not needed any more.
        """
        self.packages = []
        self.doing = self.meta
        self.made = self.target[:-1]
        while self.made and not _type(self.made):
            self.made = _above(self.made)
        try:
            _make(self.meta)
        except BaseException:
            _prune(self.meta, self.made)
            raise
        if _UNIX and not self.lock:
            self.alone()
            if self.lock:
                self.look()  # another process may have made it meanwhile
        self.state = _BEGUN  # not before: what another process has there is not ours to clear
        self.fold = _type(self.target + ".MIP") > 0
        self.search = self.lines()
        self.upgrading = gone is None
        if self.upgrading:
            self.asks = {}
        # While it is there, nothing has been committed.
        self._open(self.meta + "room", "wb").close()
        while True:
            if wanted:
                self.resolve(wanted)
            self.create("new", _FORMAT, self.search)
            self.keep(gone)
            if wanted:
                self.stage()
            if not self.again:
                break
            self.finish()
            self.unstage()  # and once more, without what is gone
        if self.commit():
            self.reconcile()
            if _ADVICE:
                self.warn(self.plan(), "get")
        self.state = _DONE
        return self.changed

    def look(self):
        """Reads the record: old, and what is asked for."""
        self.old = []
        self.asks = {}
        lines = self.lines(check=True)
        place = _FIRST
        key = None
        for line in lines:
            if line[0] == "package":
                key = _key(line[1])
                self.old.append([key, place, 0, line])
                self.asks[key, None] = _pinned(line[3])
            elif not key:
                raise ValueError("damaged: remove it")
            elif line[0] == "dep":
                self.asks[_key(line[1]), key] = _pinned(line[2])
            place = self.old[-1][2] = lines.place
        self.fold = _type(self.target + ".MIP") > 0

    # ---- resolving

    def open(self, url):
        """Returns the stream of a URL or a path, or None when nothing is there."""
        self.doing = _shown(url)
        url = _native(url)
        if ":" not in url:
            return open(url, "rb") if _type(url) & ~_DIRECTORY & 0xF000 else None
        if not self.session:
            raise ValueError("this firmware has no socket and no requests: say session=")
        answer = self.session.get(url)
        if answer.status_code == 200:
            return answer
        answer.close()
        code = answer.status_code
        if code in _PASSING:
            raise OSError(code, getattr(answer, "wait", 0))
        if code not in (404, 410):
            raise ValueError("the server answers %d" % code)

    # Frames of up to 11 words are not on the heap, so what is on the way to a connection has few
    # variables and little nesting.

    if _RETRIES:

        def attempt(self, do, line):
            """Returns do(line); what may pass is waited for and tried again, a few times."""
            start = self.end + len(self.batch)
            for pause in _PAUSES:
                try:
                    return do(line)
                except OSError as e:
                    code, *wait = e.args or [0]
                    if not pause or code not in _PASSING or code == _UNKNOWN and pause > 1:
                        raise  # a name that is not known twice is a slip, or nobody is online
                    if code > 400 and wait and isinstance(wait[0], int):
                        pause = min(wait[0] or pause, _LONGEST)
                    print("%s: %s (again in %d s)" % (self.doing, _reason(e), pause))
                _wait(pause)
                # What was added meanwhile is taken back.
                if start < self.end:
                    self.out.seek(start)
                    self.end = start
                self.batch = self.batch[: start - self.end]

    else:

        def attempt(self, do, line):
            return do(line)

    def resolve(self, wanted):
        # Writes the lines of every package that is needed, before any file is fetched.
        gc.collect()  # as before a connection is made
        self.again = True
        for name, version in wanted:  # noqa: B007
            # What the user asks for now takes the place of what was asked.
            keys = [_key(name)]
            self.forget(keys, keys)
        tries = 0
        while self.again:
            tries += 1
            if tries > _TRIES + len(self.failed):
                raise ValueError("is asked for in versions that do not fit together")
            self.again = False
            self.first = tries == 1
            self.packages = []
            self.count = self.dirs = self.number = 0
            self.create("plan", _PLAN)
            for name, version in wanted:
                if _key(name) not in self.staying:
                    self.need(name, version, None)
            while self.number < len(self.packages) and not self.again:
                package = self.packages[self.number]
                self.number += 1
                try:
                    self.package(package)
                except (OSError, ValueError) as e:
                    self.stays(package, e)
            self.add(_END)
            self.finish()

    if _MANAGE:

        def stays(self, package, error):
            # What cannot be upgraded stays as it is: a package, who asks for it, and what they
            # need.
            code = error.args[0] if error.args else 0
            stuck = [package[_KEYED]]
            for key in stuck:
                for need, asker in self.asks:
                    if need == key and asker and asker not in stuck:
                        stuck.append(asker)
            for key in stuck[:]:
                if not _row(self.old, key) or key in self.staying:
                    stuck.remove(key)
            if (
                not stuck
                or not self.as_recorded
                or self.doing.startswith(self.target)
                or isinstance(error, OSError)
                and code in range(100)  # the disk's
            ):
                raise error
            name = _row(self.old, stuck[0])[3][1]
            if self.doing != name:
                name += ": " + self.doing
            self.failed.append("%s: %s" % (name, _reason(error)))
            self.staying += stuck
            # What they asked for is asked for still.
            self.look()
            for key in self.staying:
                for need, asker in self.asks:
                    if asker == key and need not in self.staying:
                        self.staying.append(need)
            if self.upgrading:
                for pair in tuple(self.asks):
                    if pair[1] not in self.staying:
                        del self.asks[pair]
            self.again = True

    else:

        def stays(self, package, error):
            raise error

    def forget(self, packages, keys):
        # Forgets what the packages with the keys `packages` ask for, and what the user asks for of
        # `keys`.
        for pair in tuple(self.asks):
            if pair[1] in packages or not pair[1] and pair[0] in keys:
                # What was taken for an asker who now asks anew is looked at again.
                self.again = self.again or self.first and _row(self.packages, pair[0])
                del self.asks[pair]

    def need(self, name, version, asker):
        # Takes note of what the user, None, or the package with the key `asker` asks for.
        if asker and not self.deps:
            return
        key = _key(name)
        query = name[len(_shown(name)) :]
        name = _shown(name)
        asked = None if asker else version or _LATEST
        taken = _row(self.packages, key)
        ref, sha = _unpin(version)
        for (other, by), pinned in self.asks.items():
            if other == key:
                pin, digits = _unpin(pinned)
                if pin and ref not in ("", pin) or digits and sha not in (None, digits):
                    self.doing = name
                    raise ValueError(
                        "%s asks for version %s, %s for version %s: install another version of one"
                        % (by or "the user", pinned, asker or "the user", version)
                    )
                ref = ref or pin
                sha = sha or digits
        self.asks[key, asker] = ref + (_SHA256 + sha if sha else "")
        if taken and asked and version:
            taken[_ASKED] = asked
        if not taken:
            if len(self.packages) == _PACKAGES:
                raise ValueError("more than %d packages" % _PACKAGES)
            if self.first:
                self.forget([key], ())  # what the record says that it asks for
            at = len(self.packages)
            old = _row(self.old, key)
            if old:
                name = old[3][1]  # in the letter case in which it was found
            # An upgrade follows the record: of two that have one path it is the later one's.
            while old and self.upgrading and at > self.number:
                other = _row(self.old, self.packages[at - 1][_KEYED])
                if other and other[1] < old[1]:
                    break
                at -= 1
            ref = _pinned(ref)
            self.packages.insert(at, [key, name, ref, sha, asked, None, query, None, 0, ()])
        elif ref not in ("", taken[_VERSION]) or sha not in (None, taken[_HASH]):
            self.doing = name
            # A version was asked for after the latest had been taken.
            self.again = self.again or self.packages.index(taken) < self.number
            taken[_VERSION] = _pinned(ref)
            taken[_HASH] = sha

    def package(self, package):
        # Writes the lines of a package, from the first place that has it.
        name = self.doing = package[_NAMED]
        self.directory = ""
        package[_PLANNED] = self.end + len(self.batch)
        self.put("planned", name, None)
        if _OFFLINE and self.is_there(package):
            return
        if _twin(name):
            url = _url(name, package[_VERSION]) + package[_FOUND]
            self.file(name[name.rfind("/") + 1 :], package[_HASH], url)
            return
        if _is_place(name):
            package[_INDEXED] = self.indexes[0]
            package[_FOUND] = (name if name.endswith(".json") else name + _JSON) + package[_FOUND]
            found = self.attempt(self.read, package)
        else:
            found = self.look_up(package)
        if not found:
            self.absent(package)

    if _ADVICE:

        def absent(self, package):
            # Raises ValueError for a package that is not found, with what may help.
            name = package[_NAMED]
            version = package[_VERSION]
            text = "not found, so there is no package " + name
            if _is_place(name):
                if version:
                    text += " at " + version
                if name[-4:].lower() in _ARCHIVES.split():
                    text = "an archive: mip installs a package.json, or .py and .mpy files"
            else:
                if version:
                    for index in self.indexes:
                        stream = self.open("%s/package/py/%s/latest.json" % (index, name))
                        if stream:
                            stream.close()
                            text = "there is no version %s of %s" % (version, name)
                if name.startswith("micropython-"):
                    text += "; perhaps it is " + name[12:]
                elif name != name.lower():
                    text += "; perhaps it is " + name.lower()
                elif _built_in(name):
                    text += ": it is built into this firmware"
            raise ValueError(text)

    else:

        def absent(self, package):
            raise ValueError("not found")

    if _OFFLINE:

        def is_there(self, package):
            # Writes the lines of a package that is recorded as it is asked for, and in place:
            # whether it is. Nothing is fetched then. What such a package needs is there, too.
            old = _row(self.old, package[_KEYED])
            if self.upgrading or not old:
                return False
            _, start, stop, (_, name, version, asked, index, *form) = old
            sha = _unpin(asked)[1]
            if package[_HASH] or package[_VERSION]:
                fits = package[_VERSION] in (None, version) and package[_HASH] in (None, sha)
                if _is_place(name) and not package[_HASH]:
                    # A ref without a digit is a branch, which moves, and a URL is none.
                    fits = fits and _repository(name) and any(map(str.isdigit, version))
            else:
                fits = not package[_ASKED]
                for key, asker in self.asks:
                    asker = _row(self.packages, asker)
                    if key == package[_KEYED] and asker:
                        fits = fits and asker[_FOUND] is None
            if not fits or (
                index
                and package[_ASKED]
                and (
                    index not in self.indexes
                    or self.as_recorded < 2
                    and bool(form) != (self.mpy is None)
                )
            ):
                return False
            for there in False, True:
                self.search.seek(start)
                while self.search.place < stop:
                    kind, path, sha, *_ = next(self.search)
                    if there and kind == "dep":
                        self.put(kind, path, sha)
                        self.need(path, sha, package[_KEYED])
                    elif there and kind == "file":
                        self.file(path, sha, None)
                    elif kind == "file":
                        here = self.sha(self.target + path)
                        if not _matches(here, sha):
                            # A later package of this run may have it so: then it is in place.
                            owner = _wanting(self.owners(self.lines(), path), here)
                            if not owner or not _row(self.packages[self.number :], owner[0]):
                                return False
            package[_SAID] = version
            package[_INDEXED] = index
            package[_FORM] = form
            package[_FOUND] = None
            return True

    def look_up(self, package):
        # In each index, as bytecode if that is wanted, else as source.
        name = package[_NAMED]
        version = package[_VERSION] or _LATEST
        text = name + "@" + (package[_VERSION] or "")
        for c in b"=<>!~^#, ":
            if c in text.encode():
                text = text.split("#")[0]
                for mark in "=<>!~^, ":
                    text = text.replace(mark, "@")
                text = "@".join(tuple(filter(None, text.split("@")))[:2])
                raise ValueError("there are no ranges, a version is exact: " + text)
        if ".." in name or "/" in version:
            raise ValueError(text + " is not the name of a package")
        # Where it was found, and in which form it was asked for; of a new one, who needs it.
        where = form = None
        old = _row(self.old, package[_KEYED])
        if old:
            where = old[3][4]
            form = old[3][5:]
        else:
            for need, asker in self.asks:
                asker = _row(self.packages, asker)
                if need == package[_KEYED] and asker:
                    where = asker[_INDEXED]
                    form = asker[_FORM]
        mpy = self.mpy
        if form and (self.as_recorded > 1 or not package[_ASKED]):
            mpy = None
        indexes = self.indexes
        if self.as_recorded and where in indexes:
            # What has its name elsewhere is another one.
            indexes = (where,) if old else [where] + indexes
        for index in indexes:
            for form in (mpy, "py") if mpy else ("py",):
                package[_INDEXED] = index
                package[_FOUND] = "%s/package/%s/%s/%s.json" % (index, form, name, version)
                if self.attempt(self.read, package):
                    package[_FORM] = () if mpy else ("py",)
                    if mpy and form == "py":
                        print("There is no bytecode of", name)
                    return True

    def read(self, package):
        # Writes the lines of a package, if its package.json is there.
        stream = self.open(_url(package[_FOUND], package[_VERSION]))
        if not stream:
            return False
        try:
            version = package[_VERSION] or _LATEST
            print("Installing %s (%s) to %s" % (package[_NAMED], version, self.target))
            self.forget([package[_KEYED]], ())
            deps = 0
            empty = 1  # 2: for this firmware; 0: not at all
            sha = sha256()
            for entry in _entries(stream, self.buf, sha=sha):
                deps += entry[1] == "deps"
                if deps > _PACKAGES:
                    raise ValueError("more than %d packages" % _PACKAGES)
                if self.entry(package, entry):
                    empty = 0
                elif empty and entry[0]:
                    empty = 2
            if package[_HASH] not in (None, _hex(sha)):
                raise ValueError(_OTHER)
            if empty:
                raise ValueError(
                    "nothing to install on %s %s" % _platform(_mpy)
                    if empty > 1
                    else "nothing to install: it is empty, or for npm"
                )
            return True
        finally:
            stream.close()

    def entry(self, package, entry):
        # Writes the line for an entry of a package.json. Returns whether it is to be installed.
        key = entry[1]
        value = entry[2]
        if key == "version":
            if isinstance(value, (dict, type([]))) or _control(str(value) + "."):
                raise ValueError("bad version")
            if value is not None:
                package[_SAID] = str(value)
            return False
        if key == "v":
            if value != 1 or value is True:
                raise ValueError("a newer mip is needed")
            return False
        if isinstance(value, str) and key == "deps":
            value = [value]
        if not entry[0] or not isinstance(value, type([])) or not value:
            raise ValueError("bad " + key)
        for text in value[:2]:
            if not isinstance(text, str):
                raise ValueError("bad " + key)
        value += [None, None]
        if key == "deps":
            self.dep(package, value[0], value[1])
        elif not value[1] or _control(value[1]):
            raise ValueError("bad " + key)
        elif isinstance(value[2], int) and not _fits(value[2]):
            return False
        elif key == "hashes":
            self.file(value[0], value[1].lower(), None)
        else:
            url, sha = _unpin(value[1])
            url = _source(package[_FOUND], package[_VERSION], url)
            if _ADVICE:
                self.plain(package, url, sha)
            self.file(value[0], sha, url)
        return True

    if _ADVICE:

        def plain(self, package, url, sha):
            # Says that something is neither protected on its way nor checked when it comes.
            if not sha and url.startswith("http:") and not package[_FOUND].startswith("http:"):
                print("%s: http, without a hash: anyone on the way may change it" % _shown(url))

    def dep(self, package, name, version):
        name, own = _parse(name, version)
        # A path, or a file, is that of the package.json, not one of the board.
        name = _located(name, package[_FOUND])
        # A ref belongs to its repository.
        if version is None and not own and _same(name, package[_FOUND]):
            own = package[_VERSION]
        if _ADVICE:
            self.plain(package, name, _unpin(own)[1])
        self.put("dep", _shown(name), own)
        self.need(name, own, package[_KEYED])

    def file(self, path, hash, url):
        # Writes the line of a file, and before it that of its directory, if it is to be made.
        path = _clean(path)
        if hash is not None and (not 8 <= len(hash) <= 64 or hash.encode().strip(_DIGITS)):
            raise ValueError("bad hash of " + path)
        self.count += 1
        above = _above(path)
        if above != self.directory:  # many files are in one
            self.directory = there = above
            while there:
                kind = _type(self.target + there)
                if kind & _DIRECTORY:
                    break
                if kind:
                    self.in_the_way(there, b'"')
                there = _above(there)
                self.dirs += 1
            if there != above:
                self.put("dir", above, there)
        self.put("get", path, hash, url)

    if _ADVICE:

        def in_the_way(self, path, end):
            # A file, `end` is b'"', is where a directory has to be, or the reverse: b"/".
            text = _head("file", path)[:-2] + end
            hits = self.hits(self.search, text)
            if hits:
                why = "uninstall %s first" % self.owner(hits[0])[3][1]
            elif self.hits(self.plan(), text.replace(b"file", b"get", 1)):
                why = "what is asked for has both"
            else:
                why = "remove it first"
            self.doing = self.target + path
            raise ValueError("a file and a directory at once: " + why)

    else:

        def in_the_way(self, path, end):
            self.doing = self.target + path
            raise ValueError("a file and a directory at once")

    def owner(self, place):
        # The package of the record that has the line there.
        for old in self.old:
            if place < old[2]:
                return old

    if _ADVICE or _VERIFY or _OFFLINE or _MANAGE:

        def owners(self, lines, path):
            """Yields each package of the record that has a file, as in `old`, and its hash there.

            lines: the record.
            """
            for hit in self.hits(lines, _head("file", path)):
                lines.seek(hit)
                yield self.owner(hit), next(lines)[2]

    # ---- what is being written

    def create(self, name, first, same=()):
        # same: lines that it may come out as; nothing is written until it differs. It is made all
        # the same: on FAT its name is in the same half of a sector then as that of the record.
        self.same = same
        self.out = self._open(self.meta + name, "wb")
        self.batch = first
        self.end = 0
        self.sum = sha256()

    def put(self, *values):
        # A line, if it is one that _Lines takes.
        line = _line(*values)
        if len(line) > _LINE_SIZE or line.count(b"[") > _NESTED:
            raise ValueError("the name, version or URL of %s is too long" % values[1])
        self.add(line)

    def add(self, data):
        # On FAT in batches, because it has one buffer for what is read and what is written.
        self.batch += data
        size = len(self.batch)
        if self.fold:
            size -= size % _SECTOR
        if size:
            self.flush(size)

    def flush(self, size):
        data = self.batch[:size]
        if self.same:
            self.same.file.seek(self.end)
            if self.same.file.read(size) != data:
                self.differs()
                return
        else:
            self.sum.update(data)
            _write(self.out, data)
        self.end += size
        self.batch = self.batch[size:]

    def differs(self):
        # What was the same so far is written.
        rest = self.batch
        end = self.end
        self.same = self.batch = b""
        self.end = 0
        self.take(0, end)
        self.add(rest)

    def take(self, place, stop):
        # Copies a part of the record to the coming one.
        file = self.search.file
        while place < stop:
            file.seek(place)
            data = file.read(min(stop - place, _BUFFER))
            if not data:
                raise OSError(_EIO)
            place += len(data)
            self.add(data)

    def finish(self):
        if self.same and (self.staged or self.end + len(self.batch) != self.same.size):
            self.differs()
        while self.batch:
            self.flush(len(self.batch))
        out = self.out
        self.out = None
        out.close()
        self.files.remove(out)

    # ---- staging

    def _staged(self, path):
        # Where a file is staged: beside its place. On FAT half of a sector can be all of a rename
        # within a directory, and then both names are lost.
        if self.fold:
            return self.meta + _short(path.lower())
        return self.target + path + "~mip"

    def make_directory(self, path):
        # For the file to be staged, and for those in the same directory that follow.
        self.directory = above = path
        while above and not _type(self.target + above):
            if _type(self._staged(above)) or _row(self.ahead, above):
                self.in_the_way(above, b'"')
            above = _above(above)
        if path:
            self.doing = self.target + path
            _make(self.doing + "/")
            # On FAT it has to be on the same disk.
            up = "/.." * (path.count("/") + 1)
            if self.fold and not _type(self.doing + up + "/.mip/room"):
                raise ValueError("is on another disk: install there, with target=")

    def stage(self):
        # Fetches the files of the plan that are not in place, and writes the coming record.
        missing = ""
        surplus = 0  # seconds that an answer may come late that nobody asked for
        self.number = self.later = number = 0
        self.directory = None
        self.coming = self.plan()
        for line in self.plan():
            if line[0] == "planned":
                self.turn()
            elif line[0] == "dep":
                self.put(*line)
            elif line[0] == "get":
                number += 1
                if not line[2]:
                    surplus = _SURPLUS
                sha = self.stage_file(line, number)
                if sha:
                    self.put("file", line[1], sha)
                elif len(missing) < _ENTRY:
                    if not missing:
                        first = self.number
                    missing += " " + _shown(line[3])
        if missing:
            self.number = first
            self.doing = self.packages[first - 1][_NAMED]
            self.stays(self.packages[first - 1], ValueError("not found:" + missing))
        self.number = 0
        if isinstance(self.session, Session):
            self.session.settle(surplus)

    def turn(self):
        # The next package.
        key, name, version, _, asked, index, _, said, _, form = self.packages[self.number]
        self.number += 1
        if said and not _repository(name):
            version = said
        old = _row(self.old, key)
        if old:
            if not asked or self.as_recorded and asked == _LATEST:
                asked = old[3][3]  # what is upgraded is not asked for more than it was
            before = old[3][2]
            if before != version:
                print("%s %s -> %s" % (name, before or _LATEST, version or _LATEST))
        if _is_place(name):
            index = None
        elif asked and asked[0] == "#" and said:
            asked = said + asked
        self.put("package", name, version, asked, index, *form)

    def keep(self, gone):
        # Copies to the coming record, as they are, the packages of the old one that stay.
        for key, place, stop, line in self.old:
            if not _row(self.packages, key):
                if key in self.staying if gone is None else key not in gone:
                    self.take(place, stop)
                elif gone is None:
                    print("Removing", line[1])

    def look_ahead(self):
        # Finds out what there is of the next files, as things are, and asks for those that are
        # not in place.
        most = _SENT if _AHEAD and isinstance(self.session, Session) else 0
        while len(self.ahead) <= most:
            line = self.line
            self.line = None
            if not line:
                for line in self.coming:  # noqa: B007
                    break
                else:
                    return
            kind, path, wanted, *_ = line
            if kind == "planned":
                self.later += 1
            elif kind == "get":
                # What is on its way may be the same one.
                wait = _row(self.ahead, path)
                if not wait:
                    early = here = None
                    if len(self.packages) > 1:  # what an earlier package has there
                        early = here = self.sha(self._staged(path))
                    if not here:
                        here = self.sha(self.target + path)
                        if here == "":
                            self.in_the_way(path, b"/")
                    if not _matches(here, wanted):
                        url = _native(_where(line, self.packages[self.later - 1]))
                        wait = not (most and self.session.send(url)) and self.ahead
                if wait:
                    self.line = line
                    return
                self.ahead.append((path, early, here))

    def stage_file(self, line, number):
        # Returns the sha256 of the file, None when it is not found.
        path = line[1]
        place = self.target + path
        self.look_ahead()
        early, here = self.ahead.pop(0)[1:]
        fits = _matches(here, line[2])
        later = here and not fits and not early and self.comes_later(path, line[2])
        if later and line[2]:
            fits = True
            here = line[2]
            hits = self.hits(self.search, _line("file", path, here)[:-3])
            if hits:
                self.search.seek(hits[0])
                here = next(self.search)[2]
            else:
                print("%s stays that of %s" % (place, later))
        print("Exists:" if fits else "Copying:", "[%d/%d]" % (number, self.count), place)
        if fits:
            self.doing = place
            if not later:
                self.check(path, self._staged(path) if early else place)
            if early:
                self.staged = True
            elif not self.fold and _type(self._staged(path)):  # somebody has left it
                self.doing = self._staged(path)
                os.remove(self.doing)
            return here
        if _above(path) != self.directory:
            self.make_directory(_above(path))
        line[3] = _where(line, self.packages[self.number - 1])
        sha = self.attempt(self.fetch, line)
        if sha:
            if _ADVICE and here and here != sha and not later:
                self.replacing(path, here, sha, early)
            if early:
                here = self.sha(place)
            if sha == here or later:
                os.remove(self._staged(path))
            else:
                self.staged = True
        return sha

    def fetch(self, line):
        # Stages one file; returns its sha256, None when it is not found.
        stream = self.open(line[3])
        if not stream:
            return None
        path = line[1]
        staged = self._staged(path)
        sha = self.save(stream, staged, path)
        if not sha.startswith(line[2] or ""):
            raise ValueError(_OTHER)
        # Without a hash it may be the page of a portal.
        if not line[2] and _twin(path):
            with open(staged, "rb") as file:
                if getattr(stream, "html", False) or file.read(_SECTOR).lstrip(_BLANK).startswith(
                    b"<"
                ):
                    raise ValueError(_PAGE)
        self.check(path, staged)
        # The root of a FAT disk, above which it is again, has room for a number of names.
        if (
            self.fold
            and "/" not in path
            and not _type(self.target + path)
            and _type(self.target + ".." + "/.mip/room")
        ):
            open(self.target + path + "~mip", "wb").close()
        return sha

    def save(self, stream, staged, path):
        # Renames take room, too: directories of littlefs are split, those of FAT grow; and a
        # littlefs that is full damages them. (tests/store/test_fill_levels.py)
        try:
            if self.free is None:
                try:
                    disk = os.statvfs(self.target)
                    self.block = disk[0]
                    # On a full littlefs it counts on below zero.
                    free = disk[3] if disk[3] <= disk[2] else 0
                    self.free = disk[0] * (free - 4 - 2 * self.dirs)
                    if self.same:  # it may yet be written
                        self.free -= self.same.size
                except (AttributeError, OSError):  # not every file system can tell
                    self.block = 1
                    self.free = 1 << 29
            left = self.free - 5 * len(path) - _ENTRY_ROOM
            size = getattr(stream, "left", None) or 0  # only answers with a length tell it before
            if size and size > left:
                raise ValueError("needs %d bytes, %d are free" % (size, max(left, 0)))
            if left < 0:
                raise OSError(_ENOSPC)
            with open(staged, "wb") as file:
                sha = _copy(stream, file, self.buf)
                size = file.seek(0, 1)
            if size > 64 or self.fold:  # littlefs keeps what is small in the directory
                size += -size % self.block
            self.free = left - size
            if self.free < 0:
                raise OSError(_ENOSPC)
            return sha
        except OSError as e:
            if e.args[0] in _DISK:  # else it is the network's
                self.doing = staged if e.args[0] in _IS_DIRECTORY else self.target + path
            raise
        finally:
            stream.close()

    def check(self, name, path):
        why = name.endswith(".mpy") and _unloadable(path)
        if why:
            raise ValueError("%s %s" % (name, why))

    if _ADVICE:

        def replacing(self, path, old, sha, staged):
            # Says whose file is replaced, or that it is not as it was installed; nothing if it is
            # the package's own. staged: `old` was staged for an earlier package.
            this = self.packages[self.number - 1]
            what = " of no package"
            own = False
            known = staged  # for this one, if for none before
            for owner, wanted in self.owners(self.search, path):
                if _matches(old, wanted) and not _row(self.packages, owner[0]):
                    what = " of " + owner[3][1]
                    known = False
                    break
                known = known or _matches(old, wanted)
                own = own or known and owner[0] == this[_KEYED]
                what = ", which was changed"
            else:
                # A package that came before it in this run is to have it otherwise.
                plan = self.plan() if staged or not own else ()
                for hit in self.hits(plan, _head("get", path)):
                    plan.seek(hit)
                    if hit < this[_PLANNED] and not _matches(sha, next(plan)[2]):
                        known = False
                        for package in self.packages:
                            if package[_PLANNED] < hit:
                                what = " of " + package[_NAMED]
            if not known:
                print("Replacing %s%s" % (self.target + path, what))

    def comes_later(self, path, sha):
        # The name of a later package of this run that has the file otherwise: that one's is there.
        if self.number < len(self.packages):
            plan = self.plan()
            hit = self.hits(plan, _head("get", path))[-1]
            plan.seek(hit)
            other = next(plan)[2]
            name = None
            for package in self.packages[self.number :]:
                if package[_PLANNED] < hit:
                    name = package[_NAMED]
            if not (_matches(sha, other) or _matches(other, sha)):
                return name

    # ---- commit, reconcile, recovery

    def commit(self):
        # Returns whether there is something to commit. What the renames may need is free, see
        # save().
        self.finish()
        if self.same:
            return False
        self.doing = self.meta + "new"
        if self.sha(self.doing) != _hex(self.sum):
            raise ValueError("the disk does not keep what is written to it")
        if _UNIX and self.lock:
            self.dropped(self.may_go)
        self.close()
        self.doing = self.meta + "room"
        self.state = _COMMITTED
        try:
            os.remove(self.doing)
        except OSError:
            self.state = _BEGUN
            raise
        return True

    if _ADVICE:

        def warn(self, lines, files):
            # Says what import takes instead of the files in lines of that kind.
            before = []
            for entry in sys.path:
                entry = entry.rstrip("/") + "/" if entry else ""
                if entry == self.target:
                    break
                before.append(entry)
            else:
                before = []  # who imports from there changes sys.path
            done = None
            for kind, path, *_ in lines:
                if kind == files:
                    if _twin(path):
                        self.hidden(path, self.target + path)
                    path = path.split("/")[0]
                    if path != done:
                        done = path
                        for entry in before:
                            self.hidden(path, entry + path)

        def hidden(self, path, place):
            if _twin(path):
                place = place[: place.rfind(".")]
            for end in "", ".py", ".mpy":
                kind = _type(place + end)
                if end and kind or kind & _DIRECTORY:
                    if place + end != self.target + path:
                        text = "import takes %s, which hides %s"
                        print(text % (place + end, self.target + path))
                    break

    def reconcile(self):
        # Makes the disk agree with the record `new`, which becomes the record. Done again after
        # a power cut, it goes on where it was.
        self.state = _COMMITTED
        for _ in self.lines("new") if self.recovering else ():
            pass  # it is as mip wrote it
        for kind, name, *_ in self.plan():
            if kind == "planned" and self.recovering:
                self.packages.append([_key(name)])
            elif kind == "get":
                self.settle(self._staged(name), name)
        if self.recovering:
            self.look()
        self.dropped(self.drop)
        self.close()
        self.doing = self.meta + "record"
        self.move(self.present(self.meta + "new"), self.doing)
        self.state = _DONE

    def dropped(self, do):
        # Calls do(path, sha256) for the files of the record that the coming one has not. What is
        # of a package that stays, is there; without packages of this run all are looked at.
        if not self.old:
            return
        new = self.lines("new")
        plan = self.plan()
        lines = self.lines()
        other = self.lines()
        for key, start, stop, line in self.old:
            there = new.has(_head("package", line[1]), False)
            if not there or not self.packages or _row(self.packages, key):
                lines.seek(start)
                while lines.place < stop:
                    kind, name, sha, *_ = next(lines)
                    if kind != "file":
                        continue
                    if not new.has(_head(kind, name), self.fold):
                        do(name, sha)
                    elif (
                        _MANAGE
                        and self.state == _COMMITTED
                        and plan
                        and not plan.has(_head("get", name), self.fold)
                    ):
                        self.left(name, sha, other)

    def settle(self, staged, path):
        # What was staged comes to its place.
        staged = self.present(staged)
        if staged:
            self.doing = self.target + path
            self.changed = True
            if self.fold:
                if "/" not in path:
                    _remove(self.doing + "~mip")
                if self.recovering:
                    _make(self.doing)
            self.move(staged, self.doing)
            for module in sys.modules.values():
                if getattr(module, "__file__", None) == self.doing:
                    self.loaded = self.doing

    if _UNIX:

        def may_go(self, path, sha):
            # Fails where a file may not be removed.
            self.doing = self.target + path
            try:
                # A file never takes the place of a directory, but whether it might go is asked
                # first.
                os.rename(self.doing, self.meta[:-1])
            except OSError as e:
                if e.args[0] in _DENIED:
                    raise

    def drop(self, path, sha):
        # Removes a file that no package has any more.
        place = self.target + path
        here = self.sha(place)
        if (
            _ADVICE
            and here
            and not _matches(here, sha)
            # Another package may have it otherwise.
            and not _wanting(self.owners(self.lines(), path), here)
        ):
            print("Removing %s, which was changed" % place)
        self.doing = place
        if here:
            os.remove(place)
            self.changed = True
        _prune(place, self.target)

    def present(self, path):
        # Under which name move() left a file: the copy is whole when it is alone. None: no more.
        for end in "", "+", "++":
            if _type(path + end):
                return path + end
            if not self.fold or not self.recovering:
                break

    def move(self, name, path):
        # A power cut within a rename can leave FAT with two names for the same clusters, which
        # are free as soon as one of the names is removed. So where both may have been left,
        # there first is a copy, and then both are removed, with nothing written in between.
        if self.fold and self.recovering:
            copy = name + "+"
            size = _size(name)
            if size == _size(path) and size != _size(copy):
                with open(name, "rb") as source, open(copy, "wb") as file:
                    _copy(source, file, self.buf)
            if size == _size(copy):
                _remove(path)
                os.remove(name)
                name = copy
        os.rename(name, path)

    def recover(self):
        # Finishes a commit that was begun, clears up after a run that was not.
        name = None
        left = 0
        try:
            for name, *_ in os.ilistdir(self.meta[:-1]):  # FAT takes no slash at the end
                left += name != "record"
                if name.endswith(".rm"):
                    self.removal = name
                    self.recovered = True
        except OSError as e:
            if e.args[0] not in _MISSING:
                raise
        if not name:
            self.doing = self.meta[:-1]
            left = _type(self.doing)
            if left and not left & _DIRECTORY:
                raise OSError(_ENOTDIR)
        if not left:
            return
        self.recovering = True
        self.fold = _type(self.target + ".MIP") > 0
        # Before it writes, and not earlier, littlefs mends a rename that was interrupted; and only
        # when something is written a rename finds the room that there is again.
        self.doing = self.meta + "none"
        try:
            with open(self.doing, "wb") as file:
                file.write(b"1")
        except OSError as e:
            if e.args[0] not in _FULL:
                raise
        _remove(self.doing)
        for _ in self.plan():
            pass  # it is as mip wrote it
        if self.present(self.meta + "next"):
            self.adopt()
        elif (
            not _type(self.meta + "room")
            and self.present(self.meta + "new")
            and (self.removal or self.plan())
        ):
            self.reconcile()
        self.close()
        self.state = self.state or _BEGUN
        self.clear()
        self.recovering = False
        if self.removal:
            self.look()
            self.finish_removal()
            self.clear()
        self.changed = False  # by this call

    if _MANAGE:

        def adopt(self):
            # Finishes a commit of 1.0.0, which had staged the file N of the coming record as N.
            number = 0
            for kind, name, *_ in self.lines("next"):
                if kind == "file":
                    number += 1
                    self.settle(self.meta + str(number), name)
            self.close()
            # It names no package; without a plan of ours it says that `new` is committed.
            self.removal = ".rm"
            open(self.meta + self.removal, "wb").close()
            _remove(self.meta + "plan")
            self.move(self.present(self.meta + "next"), self.meta + "new")
            self.reconcile()

    def unstage(self):
        # Removes what was staged of the plan, and the directories that were made for it.
        self.free = None
        for kind, path, *_ in self.plan():
            if kind == "get":
                _remove(self._staged(path))
                _remove(self.target + path + "~mip")  # what fetch() made in the root of FAT
        for kind, path, above, *_ in self.plan():
            if kind == "dir":
                _prune(self.target + path + "/", self.target + (above or ""))

    def clear(self):
        # Removes all but the record; the reserve last, because without it what is there is
        # committed. What says that packages go stays until they are gone.
        if self.state == _DONE:
            self.removal = None
        elif self.state == _BEGUN:
            self.unstage()
            self.close()
        else:
            return
        _remove(self.meta + "new")
        names = _type(self.meta[:-1])
        while names:
            names = []
            for name, *_ in os.ilistdir(self.meta[:-1]):
                if name not in ("record", "room", self.removal) and len(names) < 10:
                    names.append(name)
            for name in names:
                self.doing = self.meta + name
                os.remove(self.doing)
        _remove(self.meta + "room")
        self.state = 0
        if not _type(self.meta + "record"):
            _prune(self.meta, self.target if self.made is None else self.made)

    # ---- removing packages

    if _MANAGE:

        def remove(self, gone):
            """Uninstalls the packages with these keys. Returns whether a file was removed.

            A disk that is full has no room to write down what is to be; so a name says which
            packages go, and then what only they have is removed, first of all.
            """
            for need, asker in self.asks:
                if asker and need in gone and asker not in gone:
                    names = _row(self.old, need)[3][1], _row(self.old, asker)[3][1]
                    raise InstallError("%s is needed by %s" % names)
            self.doing = self.meta
            if len(gone) > _REMOVED:
                raise ValueError("more than %d packages" % _REMOVED)
            removal = ".rm"
            for key in gone:
                removal = _short(key)[:8] + removal
            if _UNIX and self.lock:
                self.only_theirs(removal, self.may_go)
            self._open(self.meta + removal, "wb").close()
            self.removal = removal
            return self.finish_removal()

        def finish_removal(self):
            gone = self.only_theirs(self.removal, self.drop)
            self.close()
            return self.change((), gone)

        def only_theirs(self, removal, do):
            # Calls do(path, sha256) for each file that only the packages to remove have, and once;
            # returns their keys.
            gone = []
            lines = self.lines()
            other = self.lines()
            for key, start, stop, _ in self.old:
                if _short(key)[:8] in removal:
                    gone.append(key)
                    lines.seek(start)
                    while lines.place < stop:
                        kind, name, sha, *_ = next(lines)
                        if kind == "file":
                            if len(self.hits(other, _head(kind, name))) < 2:
                                do(name, sha)
                            elif self.removal:
                                self.left(name, sha, other)
            return gone

        def left(self, path, sha, lines):
            # Says which package is left with the file of another one that goes. lines: the record.
            left = None
            here = self.sha(self.target + path)
            if _matches(here, sha):
                for owner, wanted in self.owners(lines, path):
                    if not (
                        _row(self.packages, owner[0])
                        or self.removal
                        and _short(owner[0])[:8] in self.removal
                    ):
                        if _matches(here, wanted):
                            return
                        left = owner[3][1]
            if left:
                print("%s%s stays for %s: install that again" % (self.target, path, left))

    else:

        def finish_removal(self):
            raise ValueError(_WITHOUT + "uninstall(), which was interrupted")

        adopt = finish_removal


# ---- 6. the public verbs ---------------------------------------------------------------


def _pairs(package, version=None):
    # Name and version of a package, or of each of a list. A path is that of the board's directory.
    pairs = []
    for text in package if isinstance(package, (tuple, type([]))) else (package,):
        try:
            name, ref = _parse(text, version)
        except ValueError as e:
            raise InstallError(e.args[0])
        place = _located(name, None) or "/"
        if place != name and name[0] not in "./" and name.count("/") == 1 and not _type(place):
            name = _shown(name)
            raise InstallError(
                "there is no directory %s; a repository is github:%s" % (name, name)
            )
        pairs.append((place, ref))
    return pairs


def install(package, index=None, target=None, version=None, mpy=True, session=None, deps=True):
    """Installs a package, or a list of packages as one transaction, with all that it needs.

    package: a name of the index, a URL, github:ORG/REPO/PATH (gitlab:, codeberg:) or a path,
    each perhaps with @version and #sha256=HEX. index: a URL or path, or a list of them,
    tried in their order. target: a directory; left out, the first entry of sys.path that ends
    in /lib. version: for packages without @version. mpy: whether bytecode is wanted.
    session: what fetches; left out, a Session of its own. deps: whether what it needs is
    installed, too. Returns whether a file was changed. Raises InstallError.
    """
    with _Store(target, True) as store:
        store.connect(index, mpy, session)
        store.deps = deps
        store.look()
        return store.change(_pairs(package, version), ())


if _MANAGE:

    def _is_target(path):
        try:
            return os.stat(path.rstrip("/") + "/.mip")
        except OSError:
            return False

    def uninstall(package, target=None):
        """Removes a package, or a list of them, and the files that no other package has.

        Returns whether a file was removed. A disk may be full. Raises InstallError when it is not
        installed or when a package that stays needs it.
        """
        with _Store(target) as store:
            store.look()
            gone = []
            for name, version in _pairs(package):
                old = _row(store.old, _key(name))
                ref = _unpin(version)[0]
                if old and ref not in ("", old[3][2]):
                    name += "@" + ref
                    old = None
                if old:
                    gone.append(old[0])
                elif not store.recovered:  # else it is what was interrupted
                    raise InstallError(name + " is not installed")
            return store.remove(gone) if gone else store.recovered

    def upgrade(package=None, index=None, target=None, mpy=None, session=None):
        """Installs what was asked for again, at the version it was asked at, as one transaction.

        package: one of what is installed, or a list, each perhaps at another version; left out,
        all that was asked for, and packages that nothing needs any more go. index: left out, every
        index that the record names. mpy: left out, source where source was asked for. The rest is
        as for install(). Returns whether a file was changed. Raises InstallError, also for
        packages that cannot be found any more: they stay as they are, the others are upgraded.
        """
        if isinstance(package, str) and _is_target(package):
            target = package  # what 1.0.0 took first
            package = None
        with _Store(target) as store:
            store.look()
            asked = []
            indexes = []
            for *_, (_, name, _, version, where, *_) in store.old:
                if version:
                    asked.append((name, _pinned(version)))
                if where and where not in indexes:
                    indexes.append(where)
            if package is not None:
                asked = []
                for name, version in _pairs(package):
                    old = _row(store.old, _key(name))
                    if not old:
                        raise InstallError(name + " is not installed")
                    pin = _pinned(old[3][3])
                    if pin and not version and not _is_place(name):
                        print("%s stays at %s: it is pinned" % (name, pin))
                    asked.append((name, version or pin))
            store.connect(index or indexes, mpy is not False, session, index)
            store.as_recorded = 2 if mpy is None else 1
            changed = False
            if asked or package is None and store.old:
                changed = store.change(asked, None if package is None else ())
            if store.failed:
                raise InstallError("not upgraded: " + "; ".join(store.failed))
            return changed

    def list(target=None):
        """Prints and returns what is installed, one a line, each as install() takes it."""
        found = []
        with _Store(target) as store:
            store.look()
            for *_, (_, name, version, asked, *_) in store.old:
                text = name + "@" + (version or "") if version or "@" in name else name
                sha = _unpin(asked)[1]
                if sha:
                    text += _SHA256 + sha
                found.append(text)
                print(text)
        return found


if _VERIFY:

    def verify(target=None):
        """Prints and returns the paths of installed files that are missing, differ from what every
        package that has them wants, or are .mpy files that this firmware cannot load."""
        bad = []
        with _Store(target) as store:
            store.look()
            others = store.lines()
            for kind, name, *rest in store.lines():
                if kind == "file":
                    path = store.target + name
                    sha = store.sha(path)
                    if _matches(sha, rest[0]) or sha and _wanting(store.owners(others, name), sha):
                        why = name.endswith(".mpy") and _unloadable(path)
                    else:
                        why = "differs" if sha else "is missing"
                    if why and path not in bad:
                        print(path, why)
                        bad.append(path)
            if _ADVICE:
                store.warn(store.lines(), "file")
        return bad


if _SEARCH:

    def search(text, index=None, session=None):
        """Prints name, version and description of each package in whose name or description there
        is every word of `text`, letter case aside. Returns how many there are. index and session:
        as for install(). Raises InstallError."""
        count = 0
        missing = None
        with _Store(False) as store:
            store.connect(index, True, session)
            for url in store.indexes:
                stream = store.open(url + "/index.json")
                if not stream:
                    missing = store.doing
                    continue
                store.files.append(stream)
                for _, _, package in _entries(stream, store.buf, ["packages"], ()):
                    if package == 0:  # it is too long
                        continue
                    if not isinstance(package, dict):
                        raise ValueError("bad packages")
                    name = str(package.get("name") or "")
                    version = str(package.get("version") or "")
                    about = str(package.get("description") or "")
                    for word in text.lower().split():
                        if word not in name.lower() and word not in about.lower():
                            break
                    else:
                        count += 1
                        print(_printable("%s %s %s" % (name, version, about)))
            if missing:
                store.doing = missing
                raise ValueError("not found")
            if not count:
                print("nothing found for", text)
        return count


def recover(target=None):
    """Finishes an interrupted commit, or clears up after an interrupted run.

    Every verb does that first; boot.py may, so that no program sees a half-done commit.
    """
    with _Store(target, True):
        pass
