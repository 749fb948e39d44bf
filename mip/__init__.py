# mip: installs MicroPython packages on the device itself.
# MIT license; Copyright (c) 2026 the mip authors
#
# Read from the top: each part is usable without those below it.
#   1. constants, InstallError      4. sources: what a name means; the plan
#   2. the HTTP session             5. the store: stage, commit, reconcile
#   3. the streaming JSON reader    6. the public verbs
#
# What is asked for is resolved into a plan on flash. The files of the plan are staged and
# verified, the coming record is written, and then the disk is made to agree with it.

import gc
import json
import os
import select
import sys
import time
from binascii import a2b_base64, hexlify
from hashlib import sha256
from micropython import const

# ---- 1. constants, InstallError --------------------------------------------------------

__version__ = "1.0.0"

# A file of certificates, DER or PEM, that vouch for servers; None: servers are not checked.
cafile = None

# The public index.
_INDEX = "https://micropython.org/pi/v2"

# Forges: {0} is ORG/REPO, {1} the path in it, {2} the ref.
_FORGES = {
    "github": "https://raw.githubusercontent.com/{0}/{2}/{1}",
    "gitlab": "https://gitlab.com/{0}/-/raw/{2}/{1}",
    "codeberg": "https://codeberg.org/api/v1/repos/{0}/raw/{1}?ref={2}",
}

_JSON = "/package.json"
_LISTS = ("hashes", "urls", "deps")
_VALUES = ("v", "version")

# The sha256 of an empty file.
_EMPTY = hexlify(sha256().digest()).decode()

_BUFFER = const(256)  # bytes: network, hash and file share one buffer
_TIMEOUT = const(15)  # seconds without a byte, on every socket
_HOPS = const(5)  # redirects that are followed for one URL
_HEAD = const(16384)  # bytes in the head of an answer, or of a chunk
_LINE = const(1024)  # bytes of a line there that are kept
_PART = const(64)  # bytes of a line that are read at a time: readline() takes them all from RAM
_ENTRY = const(4096)  # bytes of one entry of a JSON document
_DOCUMENT = const(1 << 20)  # bytes of one JSON document
_PACKAGES = const(200)  # packages of one run
_FIRST = const(11)  # the place of the line after the one that names the format

_PAUSES = (1, 4, 10, 0)  # seconds between attempts; 0: none follows
_LONGEST = const(60)  # seconds that a server may have us wait
_GRACE = const(60)  # seconds until an answer has to come at
_RATE = const(64)  # bytes a second
_AHEAD = const(6)  # requests that are sent ahead: 1 KB or so, which any server can hold
_YEAR = const(2026)  # a clock before is wrong

# What may pass: errno values of a connection that broke or stalled, statuses of busy servers.
_PASSING = (11, 32, 103, 104, 110, 111, 113, 116, 118, 119, 429, 500, 502, 503, 504)

_BROKEN = (5, 28, 30)  # errno values of a disk: EIO, ENOSPC, EROFS
_IPPROTO_TCP = const(6)  # as on every port, also on those that do not name them
_TCP_NODELAY = const(1)
_DIRECTORY = const(0x4000)  # the type bit of os.stat()
_ENOENT = const(2)
_ENOMEM = const(12)
_ENOTDIR = const(20)
_ENOSPC = const(28)
_ECONNRESET = const(104)
_ETIMEDOUT = const(110)


class InstallError(Exception):
    """What mip could not do, in one line: what was being done, to what, and why it failed."""


# ---- 2. the HTTP session ---------------------------------------------------------------


def _number(text, base):
    # int() takes signs, underscores and prefixes, too.
    for c in text:
        if c not in b"0123456789abcdef"[:base]:
            raise ValueError(text)
    return int(text, base)


class _Connection:
    """The connection to one server and, while an answer is read, that answer.

    As an answer it has the shape that `requests` has: status_code, raw.readinto(buf), close().
    OSError means that the network failed, ValueError that the server does not speak HTTP.

    timeout: seconds. sock: a socket. stream: what is read and written, TLS or the socket itself;
    None while there is no connection. head: what follows the path in a request, as bytes.
    """

    def __init__(self, timeout):
        # All attributes are made here, when little else is in RAM: a table that grows is there
        # twice.
        self.timeout = timeout
        self.sock = self.stream = self.head = self.poll = None
        self.sent = []  # hash() of the URLs whose answers are on their way, the next one first
        self.raw = self
        self.start = 0  # when the answer was asked for
        self.room = 0  # bytes of lines that may come
        self.got = 0  # bytes of the body
        self.status_code = 0
        self.location = None
        self.left = None
        self.chunked = False
        self.wait = 0
        self.keep = False

    def open(self, sock, stream):
        """Takes a connection that was made."""
        self.sock = sock
        self.stream = stream
        self.sent = []
        self.keep = False  # it has yet to answer
        self.poll = select.poll()
        # A read that waits until the buffer is full gives a server that sends a byte now and
        # then hours; so all waiting is done in _ready().
        sock.setblocking(False)

    def _ready(self, what, seconds):
        self.poll.register(self.sock, what)
        return self.poll.poll(int(seconds * 1000))

    def _wait(self, what):
        # Until the socket is ready, with limits for silence and for slowness.
        if (
            not self._ready(what, self.timeout)
            or time.time() - self.start > _GRACE + self.got // _RATE
        ):
            raise OSError(_ETIMEDOUT)

    def _line(self):
        # The next line; of one that is longer than _LINE only what is before a colon.
        line = part = b""
        while part[-1:] != b"\n":
            part = self.stream.readline(_PART)
            if part is None:
                self._wait(select.POLLIN)
                part = b""
                continue
            self.room -= len(part)
            if not part:
                raise OSError(_ECONNRESET)
            if self.room < 0:
                raise ValueError("endless headers")
            if len(line) < _LINE:
                line += part
        return line if len(line) < _LINE else line.split(b":")[0] + b":"

    def ask(self, path, key):
        """Reads the head of the answer for `path`, which is asked for unless it was by send().

        key: its hash(), or None when what was sent is not what is asked for. Returns False
        when a connection that was kept turns out to be dead: it has to be asked on a new one.
        """
        self.start = time.time()
        self.room = _HEAD
        self.got = 0
        self.status_code = 0
        try:
            # What can be read before it was asked for is the end, or not meant for us.
            if not self.sent and not self._ready(select.POLLIN, 0):
                self.send(path, key)
            if not self.sent or self.sent.pop(0) != key:
                raise OSError(_ECONNRESET)
            while self.status_code < 200:  # 1xx: the answer is yet to come
                self._answer()
            return True
        except OSError:
            self.drop()
            if not self.keep or self.room < _HEAD:
                raise
            return False
        except BaseException:  # nobody goes on reading in the middle of a head
            self.drop()
            raise

    def send(self, path, key):
        """Asks for `path`."""
        data = b"GET /" + _escaped(path).encode() + self.head
        self.start = time.time()
        self.sent.append(key)
        while data:
            n = self.stream.write(data)
            if n is None:
                self._wait(select.POLLOUT)
            else:
                data = data[n:]

    def _answer(self):
        self.location = None
        self.left = None  # bytes left of the body or the chunk; None: until the connection ends
        self.chunked = False
        self.wait = 0  # seconds, for a Retry-After
        version, code = self._line().split()[:2]
        if version[:7] != b"HTTP/1.":
            raise ValueError(version)
        self.keep = version[7:] != b"0"
        self.status_code = _number(code, 10)
        while True:
            line = self._line()
            if not line.strip():
                if self.status_code in (204, 304):  # they have no body, whatever the head says
                    self.chunked = False
                    self.left = 0
                elif self.chunked:
                    self.left = 0
                return
            name, value = line.split(b":", 1)
            self._header(name.lower(), value.strip(), line)

    def _header(self, name, value, line):
        low = value.lower()
        if name == b"location":
            self.location = value.decode()
        elif name == b"content-length":
            size = _number(value, 10)
            if self.left not in (None, size):
                raise ValueError(line)
            self.left = size
        elif name == b"connection":
            self.keep = b"close" not in low
        elif name == b"retry-after":
            if value.isdigit():
                self.wait = int(value)
        elif name == b"transfer-encoding":
            if low != b"chunked":
                raise ValueError(line)
            self.chunked = True
        elif name == b"content-encoding" and low != b"identity":
            raise ValueError(line)

    def readinto(self, buf):
        """Reads what there is of the body into `buf`, returns how many bytes; 0 is the end."""
        if self.chunked and not self.left:
            self._chunk()
        if self.left == 0:
            return 0
        size = len(buf)
        if self.left is not None:
            size = min(size, self.left)
        while True:
            n = self.stream.readinto(buf, size)
            if n is not None:
                break
            self._wait(select.POLLIN)
        self.got += n
        if self.left is not None:
            if not n:
                raise OSError(_ECONNRESET, "%d of %d bytes" % (self.got, self.got + self.left))
            self.left -= n
            if self.chunked and not self.left and self._line() != b"\r\n":
                raise ValueError("bad chunk")
        return n

    def _chunk(self):
        # The head of a chunk; the last one is empty and followed by trailers.
        self.room = _HEAD
        self.left = _number(self._line().split(b";")[0].strip().lower(), 16)
        while not self.left and self.chunked:
            self.chunked = self._line() != b"\r\n"

    def close(self):
        """Ends this answer. The connection is kept if it can carry another one."""
        try:
            # The page that comes with an error is read: a new connection would cost more.
            while self.keep and (self.left or self.chunked) and self.got < _LINE:
                self.readinto(bytearray(_PART))
        except (OSError, ValueError):
            self.keep = False
        if self.left != 0 or self.chunked or not self.keep:
            self.drop()

    def drop(self):
        if self.stream:
            self.stream.close()
            self.stream = None


def _certificates(path):
    """Yields the certificates of a file as DER, the only form that every build takes."""
    with open(path, "rb") as file:
        if file.read(1) == b"0":  # DER begins so, PEM does not
            yield b"0" + file.read()
        text = b""
        for line in file:
            if b"-BEGIN CERT" in line:
                text = b""
            elif b"-END CERT" in line:
                yield a2b_base64(text)
            else:
                text += line


def _escaped(url):
    # What may not stand in a request as it is.
    url = url.split("#")[0]
    for c in url:
        if not " " < c < "\x7f":
            url = url.replace(c, "".join(["%%%02X" % b for b in c.encode()]))
    return url


def _place(url):
    # "https://host/", the part of a URL that one connection is for.
    return "/".join(_escaped(url).split("/", 3)[:3]) + "/"


class Session:
    """Fetches URLs over one kept connection per host, with the interface of `requests`.

    headers: {host: {name: value}}, each sent to that host alone. cafile: a file of certificates
    (DER or PEM) that have to vouch for every TLS server; left out, it is mip.cafile, and if that
    is None, no server is checked. timeout: seconds without a byte from the server.
    """

    def __init__(self, headers=None, cafile=None, timeout=_TIMEOUT):
        self.headers = headers or {}
        self.cafile = cafile or globals()["cafile"]
        self.timeout = timeout
        self.context = None
        self.links = {}  # "https://host/": its connection
        self.alone = 0  # how many requests are sent one at a time: a connection broke

    def get(self, url):
        """Returns the answer for `url`, redirects followed; to be closed before the next get().

        OSError: the network failed. ValueError: what answers there is not to be trusted, or
        does not speak HTTP.
        """
        key = hash(url)
        for _ in range(_HOPS + 1):
            answer = self._ask(url, _place(url), key)
            if answer.status_code // 100 != 3 or answer.location is None:
                return answer
            answer.close()
            secure = url[:6] == "https:"
            url = _join(url, answer.location)
            key = None
            if not answer.location or secure and url[:6] != "https:":
                break
        raise ValueError("redirected to " + url)

    def send(self, url):
        """Asks for `url` ahead of its get(), if that may be: returns whether it was sent.

        What was sent comes first, and in the order in which it was sent.
        """
        place = _place(url)
        link = self.links.get(place)
        # A connection has shown that it is kept when it has answered once. Only the hash of a
        # URL is kept, which has to tell those apart that are on their way.
        if (
            self.alone
            or not link
            or not link.stream
            or len(link.sent) > _AHEAD
            or hash(url) in link.sent
        ):
            return False
        try:
            link.send(url[len(place) :], hash(url))
            return True
        except OSError:
            link.drop()
            return False

    def close(self):
        """Closes every connection."""
        for link in self.links.values():
            link.drop()
        self.links = {}

    def _ask(self, url, place, key):
        link = self.links.get(place)
        if not link:
            gc.collect()  # so that what stays lies together: TLS needs 3 KB in one piece
            link = self.links[place] = _Connection(self.timeout)
        if self.alone:
            self.alone -= 1
        url = url[len(place) :]
        if not link.stream or not link.ask(url, key):
            self.alone = len(link.sent)
            self._connect(link, place)
            link.ask(url, key)
        return link

    def _connect(self, link, place):
        import socket

        scheme, _, host, _ = place.split("/")
        port = {"http:": 80, "https:": 443}.get(scheme)
        if not port:
            raise ValueError("no such scheme")
        head = " HTTP/1.1\r\nHost: %s\r\nUser-Agent: mip\r\nAccept-Encoding: identity\r\n" % host
        if ":" in host:
            host, port = host.split(":")
        for header in self.headers.get(host, {}).items():
            head += "%s: %s\r\n" % header
        link.head = (head + "\r\n").encode()
        gc.collect()
        try:
            addresses = socket.getaddrinfo(host, int(port), 0, socket.SOCK_STREAM)
        except OSError:
            raise ValueError("%s is not known: is the board online?" % host)
        while True:
            address = addresses.pop(0)
            sock = socket.socket(*address[:3])
            try:
                if hasattr(sock, "settimeout"):
                    sock.settimeout(self.timeout)
                try:
                    # Else each request that is sent ahead waits for the one before.
                    sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
                except (AttributeError, OSError, ValueError):
                    pass  # not every port can, and all work without
                sock.connect(address[-1])
                link.open(sock, self._secure(sock, host) if scheme == "https:" else sock)
                return
            except (OSError, ValueError) as e:
                sock.close()
                if not addresses or isinstance(e, ValueError):  # else the next one may do
                    raise

    def _secure(self, sock, host):
        # `tls` came with MicroPython 1.23, SSLContext with 1.22.
        try:
            import tls
        except ImportError:
            import ssl as tls
        if not self.context:
            if not hasattr(tls, "SSLContext"):
                if self.cafile:
                    raise ValueError("this firmware cannot check a server")
                return tls.wrap_socket(sock, server_hostname=host)
            context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            context.verify_mode = tls.CERT_REQUIRED if self.cafile else tls.CERT_NONE
            try:
                for der in _certificates(self.cafile) if self.cafile else ():
                    context.load_verify_locations(der)
            except (OSError, ValueError) as e:
                raise ValueError("%s: %s" % (self.cafile, e))
            self.context = context
        try:
            return self.context.wrap_socket(sock, server_hostname=host)
        except (OSError, ValueError) as e:
            if not self.cafile or e.args[0] in _PASSING:
                raise
            text = "%s is not to be trusted: %s" % (host, e)
            year = time.gmtime()[0]
            if year < _YEAR:
                text += "; the clock says %d: ntptime.settime()" % year
            raise ValueError(text)


# ---- 3. the streaming JSON reader ------------------------------------------------------


def _piece(stream, buf):
    """Reads what there is of a stream into `buf`: how many bytes; 0 is the end."""
    n = getattr(stream, "raw", stream).readinto(buf)
    if n is None:  # what took too long for `requests`
        raise OSError(_ETIMEDOUT)
    return n


def _entries(stream, buf, lists=_LISTS, values=_VALUES):
    """Yields (listed, key, value) for the keys of the JSON object in `stream` that are wanted.

    A key of `lists` comes once for each element of its value, with `listed` true; so does one
    of `values`, or of `lists` where the value is no list, with the whole value. One entry is
    in RAM at a time, read by MicroPython's own json; between entries as much is allowed as
    there: commas and colons are white space. Raises ValueError when it is not a JSON object.
    """
    text = bytearray()  # the key or entry that is being collected
    depth = 0  # how many brackets are open
    level = 1  # the depth at which entries stand: 2 within a list; 0 behind the document
    quote = 0  # 1 in a string, 2 behind a backslash there
    key = ...  # none yet
    size = i = n = c = 0
    try:
        while True:
            n = _piece(stream, buf)
            if not n:
                break
            size += n
            if size > _DOCUMENT:
                raise ValueError
            for i in range(n):
                c = buf[i]
                if (
                    depth == level
                    and text
                    and not quote
                    and (c in b' \t\r\n,:"[]{}' or text[-1] in b'"]}')
                ):
                    value = json.loads(text)
                    text = bytearray()
                    if level == 1 and key is ...:
                        key = value
                    else:
                        if key in lists or key in values:
                            yield level == 2, key, value
                        if level == 1:
                            key = ...
                if quote:
                    quote = 1 if quote == 2 else 2 if c == 92 else c != 34
                elif c in (b" \t\r\n,:" if level else b" \t\r\n\v\f") and depth <= level:
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
                elif c in b"]}":
                    depth -= 1
                    if depth < level:
                        level = depth
                        key = ...
                        continue
                if key is ... or key in lists or key in values:
                    text.append(c)
                else:
                    text = b"0"  # what is not wanted is not kept
                if len(text) > _ENTRY:
                    raise ValueError
        if level:
            raise ValueError
    except ValueError:
        if level and not depth and c == 60:  # "<"
            raise ValueError("answered with a web page, not a package: a captive portal?")
        raise ValueError("not a package.json, from byte %d on" % (size - n + i))


# ---- 4. sources: what a name means; the plan -------------------------------------------


def _pinned(version):
    # None where the latest version, or a forge's default branch, is meant.
    return None if version in ("", "latest", "*") else version


def _parse(text, version=None):
    """Takes "name@version" apart and gives the name its one spelling: (name, version).

    The version is None where none or the latest is meant; `version` is for a text without.
    """
    page = text[19:] if text.startswith("https://github.com/") else ""
    if page.split("@")[0].strip("/").count("/") == 1:
        text = "github:" + page  # the page of a repository
    # In a URL or a path only an @ in the last part starts a version.
    local = ":" not in text and "/" in text
    at = text.rfind("@", text.rfind("/")) if local or "//" in text else text.find("@")
    if at >= 0:
        version = text[at + 1 :]
        text = text[:at]
    if not local:
        text = text.rstrip("/")
        if text.endswith(_JSON):
            text = text[: -len(_JSON)]
    if not text or _control(text + (version or "")):
        raise ValueError("%r names no package" % text)
    return text, _pinned(version)


def _control(text):
    """Whether there is a control character in it."""
    return min(text) < " " or "\x7f" in text


def _is_place(name):
    """Whether a package is named by where it is, not by a name in an index."""
    return ":" in name or "/" in name


def _repository(name):
    """The part of a forge's name that tells the repository; "" for any other name."""
    parts = name.lower().split("/")
    return "/".join(parts[:2]) if parts[0].split(":")[0] in _FORGES else ""


def _same(a, b):
    return _repository(a) and _repository(a) == _repository(b)


def _join(base, url):
    """What the relative or full `url` means in the document `base`."""
    path = url.split("?")[0]
    parts = base.split("?")[0].split("/")
    root = 3 if "//" in base else 2 if ":" in base else 0  # parts that name a host or repository
    if ":" in path.split("/")[0]:
        return url
    if path[:2] == "//":
        return parts[0] + url
    if path[:1] == "/":
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
        raise ValueError(name + " names no file")
    return _FORGES[forge].format("/".join(parts[:2]), parts[2], ref or "HEAD")


class _Lines:
    """JSON lines in a file that is read from anywhere and added to, through one handle.

    The first line names the format; iteration begins after it. start: where the lines begin
    that are taken back when what adds them fails; only the plan has it.
    """

    def __init__(self, file, path, mode):
        self.path = path
        self.file = file
        self.end = self.file.seek(0, 2)
        self.next = _FIRST
        if mode != "rb":
            self.add("mip", 1)
        self.file.seek(0)
        if self.file.readline() != b'["mip", 1]\n':
            raise ValueError("made by another version of mip")

    def _seek(self, place):
        # A needless seek makes littlefs write the block that it is filling once more.
        if self.file.tell() != place:
            self.file.seek(place)

    def add(self, *line):
        self._seek(self.end)
        text = (json.dumps(line) + "\n").encode()
        _write(self.file, text)
        self.end += len(text)

    def mark(self, place, kind):
        """Changes the kind of the line at `place` to another of as many letters."""
        self._seek(place + 2)
        _write(self.file, kind.encode())

    def read(self, place):
        """Returns the line at `place`, None at the end. The one behind it is at `next` then."""
        if place >= self.end:
            return None
        self._seek(place)
        line = self.file.readline()
        self.next = place + len(line)
        try:
            return json.loads(line)
        except ValueError:
            raise ValueError(self.path + " is damaged")

    def __iter__(self):
        """Yields each line, also those that are added meanwhile."""
        place = _FIRST
        while True:
            line = self.read(place)
            if not line:
                return
            place = self.next
            yield line


def _write(file, data):
    if file.write(data) != len(data):
        raise OSError(_ENOSPC)


def _find(lines, kind, key):
    """Returns the first line of that kind and key, letter case aside, or None."""
    key = key.lower()
    for line in lines:
        if line[0] == kind and line[1].lower() == key:
            return line


def _clean(path):
    """The one spelling of a destination; ValueError where a package may put no file."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    bad = not parts or path[-1] == "/" or parts[0].lower() == ".mip"
    for part in parts:
        bad = bad or part[-1] == "." or part != part.strip() or len(part.encode()) > 255
    if bad or "\\" in path or ":" in path or _control(path):
        raise ValueError("%r is a URL or an unsafe path" % path)
    return "/".join(parts)


def _key(path):
    """What two paths have in common that cannot both be there: FAT folds letter case, and of
    the two forms of a module only one is loaded."""
    path = path.lower()
    return path[:-3] + "py" if path.endswith(".mpy") else path


def _clash(key, other):
    """Whether two keys cannot both be there: they are one, or one is above the other."""
    return key == other or key.startswith(other + "/") or other.startswith(key + "/")


def _twin(path):
    """The other form of the module `path`: bytecode of source, source of bytecode; or None."""
    if path.endswith(".py"):
        return path[:-2] + "mpy"
    if path.endswith(".mpy"):
        return path[:-3] + "py"


def _seen(bits, key, mark):
    # Whether `key` was marked before: False is certain, True has to be looked up.
    place = hash(key) % (_BUFFER * 8)
    bit = 1 << (place & 7)
    seen = bits[place >> 3] & bit
    if mark:
        bits[place >> 3] |= bit
    return seen


def _suspect(bits, key):
    """Whether there may have been a key before that clashes with `key`: False is certain."""
    suspect = _seen(bits, key, True) or _seen(bits, key + "/", False)
    slash = key.find("/")
    while slash > 0:
        suspect = _seen(bits, key[:slash], False) or suspect
        _seen(bits, key[: slash + 1], True)
        slash = key.find("/", slash + 1)
    return suspect


def _type(path):
    """The type bits of what is at `path`, 0 where nothing is."""
    try:
        return os.stat(path)[0]
    except OSError as e:
        if e.args[0] not in (_ENOENT, _ENOTDIR):
            raise
        return 0


# The architectures of native code, in the order of their numbers.
_ARCHITECTURES = (
    "bytecode x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin"
    " rv32imc rv64imc"
)


def _mpy():
    """What .mpy files this firmware loads, as a tag: the version, the sub-version << 8, the
    architecture << 10, its flags << 16. 0: none."""
    return getattr(sys.implementation, "_mpy", 0)


def _platform(tag):
    """The names of the architecture and of the version in a tag."""
    arch = tag >> 10 & 15
    names = _ARCHITECTURES.split()[arch:]
    return names[0] if names else str(arch), "%d.%d" % (tag & 255, tag >> 8 & 3)


def _fits(tag):
    """Whether this firmware loads code with this tag."""
    mine = _mpy()
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
        arch, version = _platform(_mpy())
        url = url.replace("{MPY_ARCH}", arch).replace("{MPY_VERSION}", version)
    return url


def _reason(e):
    """What an OSError or ValueError means to people."""
    code = e.args[0] if e.args else ""
    if code == _ENOMEM:
        return "out of memory, with %d bytes free" % gc.mem_free()
    if isinstance(e, OSError) and code in _PASSING:
        if code > 400:
            return "the server answers %d" % code
        return "the connection broke (%s)" % ": ".join([str(arg) for arg in e.args])
    return " ".join(str(e).split())  # mbedtls breaks lines


def _three(entry):
    """The first three elements of a list in an entry of a package.json; the first are strings."""
    listed, key, value = entry
    if isinstance(value, str) and key == "deps":
        value = [value]
    if not listed or not isinstance(value, type([])) or not value:
        raise ValueError("bad " + key)
    for text in value[:2]:
        if not isinstance(text, str):
            raise ValueError("bad " + key)
    return value + [None, None]


def _refuse(name):
    # There is no such package.
    text = "not found, so there is no package " + name
    if name.startswith("micropython-"):
        text += "; perhaps it is " + name[12:]
    raise ValueError(text)


class _Planner:
    """Finds out what is needed for what was asked for, in terms of a plan.

    plan: _Lines, in the order in which they are found out:
    ["ask", name, version]         what the user asks for
    ["pin", name, version, asker]  what an attempt before found to be asked for
    ["package", name, version, asker, asked, index, document]  opens the lines of a package.
                                   asker: who asked for the version; asked: as in the record;
                                   document: where its package.json is
    ["version", name, version]     what its package.json says
    ["dep", name, version]         what it needs
    ["file", path, hash, url]      url is null for a file of the index, else hash is
    Then, of a file that is there twice, "file" is made "also", if an earlier package has it, too,
    or "skip", if the same package has.
    """

    def open(self, url):
        """Returns the stream of a URL or a path, or None when nothing is there."""
        self.doing = url
        url = _native(url)
        if ":" not in url:
            return open(url, "rb") if _type(url) else None
        if not self.session:
            raise ValueError("this firmware has no socket and no requests")
        answer = self.session.get(url)
        if answer.status_code == 200:
            return answer
        answer.close()
        code = answer.status_code
        if code in _PASSING:
            raise OSError(code, getattr(answer, "wait", 0))
        if code != 404:
            raise ValueError("the server answers %d" % code)

    # Frames of up to 11 words are not on the heap, so what is on the way to a connection has few
    # variables and little nesting.

    def attempt(self, do, line):
        """Returns do(line); what may pass is waited for and tried again, a few times."""
        self.plan.start = self.plan.end
        tries = 0
        while True:
            try:
                return do(line)
            except OSError as e:
                self._pause(e, tries)
            tries += 1

    def _pause(self, e, tries):
        # Waits before what failed with `e` is tried again; if it is not, raises `e`.
        code, *wait = e.args
        pause = _PAUSES[tries]
        if not pause or code not in _PASSING:
            raise e
        if code > 400:
            pause = min(wait[0] or pause, _LONGEST)
        print("%s: %s, again in %d s" % (self.doing, _reason(e), pause))
        time.sleep(pause)
        self.plan.end = self.plan.start

    def resolve(self):
        """Adds the lines of every package that is needed, before any file is fetched."""
        gc.collect()  # as before a connection is made
        start = self.plan.end
        while True:
            pin = self._walk()
            if not pin:
                break
            # A version was asked for after the latest had been taken: begin anew.
            self.plan.end = start
            self.plan.add(*pin)
            start = self.plan.end

    def _walk(self):
        # Adds what the lines of the plan ask for. Returns the line to begin anew with, or None.
        asker = None
        packages = 0
        place = _FIRST
        while True:
            line = self.plan.read(place)
            if not line:
                return None
            place = self.plan.next
            if line[0] == "package":
                asker = line[1]
                packages += 1
                if packages > _PACKAGES:
                    raise ValueError("more than %d packages" % _PACKAGES)
            elif line[0] in ("ask", "dep"):
                line = self._need(line, asker)
                if line and line[0] == "pin":
                    return line
                if line:
                    self._package(line)

    def _need(self, line, asker):
        # The line "package" that a line "ask" or "dep" leads to, None if there is one, or "pin".
        kind, name, version = line
        self.doing = name
        taken = _find(self.plan, "package", name)
        first = taken or _find(self.plan, "pin", name) or ("", "", version, asker)
        if version and version != first[2]:
            if not first[2]:
                return "pin", name, version, asker
            raise ValueError(
                "%s asks for version %s, %s for version %s"
                % (first[3] or "the user", first[2], asker or "the user", version)
            )
        if not taken:
            asked = version or "latest" if kind == "ask" else None
            return ["package", name, first[2], first[3], asked, None, None]

    def _package(self, package):
        # Adds the lines of a package, from the first place that has it.
        name = package[1]
        if _twin(name):
            self.plan.add(*package)
            url = _url(name, package[2])
            self._file(name[name.rfind("/") + 1 :], None, url)
            return
        if _is_place(name):
            package[5] = self.indexes[0]
            package[6] = name if name.endswith(".json") else name.rstrip("/") + _JSON
            found = self.attempt(self._read, package)
        else:
            found = self._look_up(package)
        if not found:
            _refuse(name)

    def _look_up(self, package):
        if ".." in package[1] or "/" in (package[2] or ""):
            raise ValueError("not the name of a package")
        for index in self.indexes:
            if self._look_in(package, index):
                return True

    def _look_in(self, package, index):
        # As bytecode if that is wanted, else as source.
        if self.mpy and self._look(package, index, self.mpy):
            return True
        found = self._look(package, index, "py")
        if found and self.mpy:
            print("There is no bytecode of", package[1])
        return found

    def _look(self, package, index, form):
        package[5] = index
        name = (package[1], package[2] or "latest")
        package[6] = "%s/package/%s/%s/%s.json" % ((index, form) + name)
        return self.attempt(self._read, package)

    def _read(self, package):
        # Adds the lines of a package, if its package.json is there.
        stream = self.open(_url(package[6], package[2]))
        if not stream:
            return False
        try:
            print("Installing %s (%s) to %s" % (package[1], package[2] or "latest", self.target))
            self.plan.add(*package)
            self.count = 0
            empty = True
            for entry in _entries(stream, self.buf):
                empty = not self._entry(package, entry) and empty
            if empty:
                raise ValueError("nothing to install on %s %s" % _platform(_mpy()))
            return True
        finally:
            stream.close()

    def _entry(self, package, entry):
        # Adds the line for an entry of a package.json. Returns whether it is to be installed.
        key = entry[1]
        value = entry[2]
        if key == "version":
            if isinstance(value, (dict, type([]))):
                raise ValueError("bad version")
            if value is not None:
                self.plan.add(key, package[1], str(value))
            return False
        if key == "v":
            if value != 1 or value is True:
                raise ValueError("a newer mip is needed")
            return False
        value = _three(entry)
        if key == "deps":
            self._dep(package, value[0], value[1])
        elif not value[1] or _control(value[1]):
            raise ValueError("bad " + key)
        elif isinstance(value[2], int) and not _fits(value[2]):
            return False
        elif key == "hashes":
            self._file(value[0], value[1].lower(), None)
        else:
            value[1] = self._source(package, value[1])
            self._file(value[0], None, value[1])
        return True

    def _dep(self, package, name, version):
        self.count += 1
        if self.count > _PACKAGES:
            raise ValueError("more than %d packages" % _PACKAGES)
        name, own = _parse(name, version)
        if ":" not in name and "/" in name:
            name = _join(package[6], name)
        # A ref belongs to its repository.
        if version is None and not own and _same(name, package[6]):
            own = package[2]
        self.plan.add("dep", name, own)

    def _source(self, package, url):
        # The URL of a file that is listed in a package.json.
        ref = package[2]
        if _repository(url) and "@" in url:
            url, ref = url.split("@", 1)
        elif not _same(_join(package[6], url), package[6]):
            ref = None
        return _url(_join(package[6], url), _pinned(ref))

    def _file(self, path, hash, url):
        # Adds the line of a file.
        path = _clean(path)
        if hash is not None and (not 8 <= len(hash) <= 64 or hash.strip("0123456789abcdef")):
            raise ValueError("bad hash of " + path)
        self.plan.add("file", path, hash, url)

    def leads_out(self, path):
        """Whether a symbolic link on the way to `path` leads out of the target."""
        home = self.real(".mip")[:-5]
        slash = path.find("/")
        while slash > 0 and _type(self.target + path[:slash]) & _DIRECTORY:
            if not self.real(path[:slash]).startswith(home):
                return True
            slash = path.find("/", slash + 1)

    def real(self, path):
        """Where the directory `path` of the target is, symbolic links followed."""
        here = os.getcwd()
        os.chdir(self.target + path)
        real = os.getcwd() + "/"
        os.chdir(here)
        os.chdir(self.target[:-1] or "/")  # FAT removes no directory that it was last in
        os.chdir(here)
        return real


# ---- 5. the store: stage, commit, reconcile --------------------------------------------


def _copy(stream, file, buf):
    """Copies a stream into `file`, if there is one; returns the sha256 in hex."""
    sha = sha256()
    while True:
        n = _piece(stream, buf)
        if not n:
            break
        data = buf if n == len(buf) else memoryview(buf)[:n]
        sha.update(data)
        if file:
            _write(file, data)
    return hexlify(sha.digest()).decode()


def _sha(path, buf):
    """The sha256 of the file at `path`; None where nothing is, "" for a directory."""
    kind = _type(path)
    if kind & _DIRECTORY:
        return ""
    if kind:
        with open(path, "rb") as file:
            return _copy(file, None, buf)


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
    if not _fits(tag) or head[2] & 64 and not _mpy() >> 16 or head[2] & 128:
        kind = "native code for " if tag >> 10 else ""
        return "is %s%s %s, this is %s %s" % ((kind,) + _platform(tag) + _platform(_mpy()))


def _fit(size, path):
    """Raises ValueError when `size` bytes are more than what is free there."""
    disk = os.statvfs(path)
    if size > disk[0] * disk[3]:
        raise ValueError("needs %d bytes, %d are free" % (size, disk[0] * disk[3]))


def _where(line, index):
    """The URL of a line "file" of the plan, in a package of that index."""
    return line[3] or "/".join((index, "file", line[2][:2], line[2]))


def _size(path):
    return os.stat(path)[6] if _type(path) else -1


def _sum(lines):
    """A number for the lines of a record that does not depend on the order of its packages."""
    total = 0
    for line in lines:
        if line[0] == "package":
            owner = line[1]
        total += int.from_bytes(sha256((owner + json.dumps(line)).encode()).digest()[:4], "big")
    return total


def _make(path):
    """Makes the directories above `path`."""
    slash = path.find("/", 1)
    while slash > 0:
        kind = _type(path[:slash])
        if not kind:
            os.mkdir(path[:slash])
        elif not kind & _DIRECTORY:
            raise ValueError("there is a file at " + path[:slash])
        slash = path.find("/", slash + 1)


def _prune(path):
    """Removes the directories above `path` that are empty; some may be gone already."""
    while "/" in path[1:]:
        path = path[: path.rfind("/")]
        kind = _type(path)
        if kind and not kind & _DIRECTORY:
            return  # on littlefs rmdir() removes files, too
        try:
            if kind:
                os.rmdir(path)
        except OSError as e:
            if e.args[0] in _BROKEN:
                raise
            return  # it is not empty


class _Store(_Planner):
    """A target and what mip keeps in its .mip/, opened for one verb.

    The staged file N belongs to the file line N of the coming record, counted from 1.
    """

    recovered = False  # whether a commit that had been begun was finished

    def __init__(self, target):
        if not target:
            for target in sys.path:
                if target.endswith("/lib") and not target.startswith("/rom/"):
                    break
            else:
                raise InstallError("no entry of sys.path ends in /lib: say target=")
        # All attributes are made here, as for a connection.
        self.target = target.rstrip("/") + "/"
        self.meta = self.target + ".mip/"
        self.buf = bytearray(_BUFFER)
        self.doing = self.target  # what an error would be about
        self.files = []  # what is to be closed
        self.indexes = self.mpy = self.session = None  # from connect()
        self.plan = self.old = self.new = None  # lines: what is needed, both records
        self.step = 0  # 1: a file has been staged; 2: what was wanted is done
        self.count = 0  # dependencies of a package; later, files of the plan
        self.number = 0  # of the file that is being staged
        # What is ahead of that file: the sha256 of each of the next ones that is in place, else
        # None; where the plan goes on behind them, and the index that they are from.
        self.ahead = []
        self.place = _FIRST
        self.index = None

    def __enter__(self):
        """Finishes a commit that was begun, clears up after a run that was not."""
        try:
            if _type(self.meta + "plan"):
                self._recover()
                self._clear()
            return self
        except (OSError, ValueError) as e:
            self.__exit__(None, e, None)

    def __exit__(self, kind, error, trace):
        doing = self.doing
        gc.collect()
        if getattr(self.session, "context", None) and not self.session.cafile:
            print("Servers were not checked: mip.cafile names no certificates")
        for step in (
            (self._close,) if self.plan is None else (self._close, self._clear, self._close)
        ):
            try:
                step()
            except OSError as e:
                error = error or e
        if isinstance(error, (OSError, ValueError)):
            text = "%s: %s" % (doing, _reason(error))
            if "{MPY_" in text:
                text += " (for %s %s)" % _platform(_mpy())
            raise InstallError(text)
        if isinstance(error, KeyboardInterrupt):
            pending = self._name("next")
            print("Interrupted:", "the next call finishes" if pending else "nothing was changed")
        if not error and self.plan is not None:
            print("Done")

    def _close(self):
        # All of them, also when one does not want to; that one can be tried again.
        trouble = None
        for file in self.files[:]:
            try:
                file.close()
                self.files.remove(file)
            except OSError as e:
                trouble = e
        if trouble:
            raise trouble

    def lines(self, name, mode="rb"):
        """Opens a file of .mip/ as lines; one that is missing has none."""
        self.doing = self.meta + name
        if mode == "rb" and not _type(self.doing):
            return ()
        file = open(self.doing, mode)
        self.files.append(file)
        return _Lines(file, self.doing, mode)

    def connect(self, index, mpy, session):
        """Takes the places where packages are looked up, whether bytecode is wanted, and what
        fetches."""
        if not index or isinstance(index, str):
            index = (index or _INDEX,)
        self.indexes = [url.rstrip("/") for url in index]
        self.mpy = str(_mpy() & 255) if mpy and _mpy() else None
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

    def change(self, gone):
        """One transaction: what was asked for is installed with all that it needs; the packages
        in `gone` are removed, or those not needed any more if it is None."""
        self.resolve()
        self.plan.file.flush()  # so that it is known, even after a power cut, what was made
        self._prepare()
        self.old = self.lines("record")
        self.new = self.lines("new", "w+b")
        self._stage()
        self._keep(gone)
        if self.step or _sum(self.old) != _sum(self.new):
            self._close()
            os.rename(self.meta + "new", self.meta + "next")
            self._reconcile("next")

    def ask(self, wanted):
        """Begins a plan with what is wanted: pairs of name and version."""
        _make(self.meta)
        self.step = 0
        self.plan = ()  # there is something to clear up
        self.plan = self.lines("plan", "w+b")
        for name, version in wanted:
            self.plan.add("ask", name, version)

    def _prepare(self):
        # Refuses files that stand in each other's way; makes directories for the rest.
        bits = self.buf  # nothing is copied meanwhile
        for i in range(_BUFFER):
            bits[i] = 0
        self.count = 0
        done = None
        behind = _FIRST
        while True:
            here = behind
            line = self.plan.read(here)
            if not line:
                break
            behind = self.plan.next
            kind, name = line[:2]
            if kind == "package":
                document = line[6] or name
            elif kind == "file":
                self.doing = document
                if _suspect(bits, _key(name)):
                    kind = self._earlier(line, here)
                    if kind != "file":  # littlefs writes anew what is behind a change
                        self.plan.mark(here, kind)
                if kind != "skip":
                    self.count += 1
                above = name[: name.rfind("/") + 1]
                if above != done and self.leads_out(name):
                    raise ValueError(name + " leads out of the target")
                self.doing = self.target + name
                if above != done:  # many files are in one directory
                    _make(self.doing)
                    done = above
                if _type(self.doing) & _DIRECTORY:
                    raise ValueError("is a directory")

    def _earlier(self, line, here):
        # What the kind of the line "file" that is `here` in the plan becomes.
        kind, name = line[:2]
        place = _FIRST
        while place < here:
            other = self.plan.read(place)
            place = self.plan.next
            if other[0] == "package":
                kind = "also" if kind != "file" else kind
            elif other[0] in ("file", "also", "skip"):
                if other[1:] == line[1:]:
                    kind = "skip"
                elif _clash(_key(other[1]), _key(name)):
                    raise ValueError("%s clashes with %s" % (name, other[1]))
        return kind

    def _stage(self):
        # Fetches the files of the plan that are not in place; adds its packages to the record.
        missing = ""
        place = _FIRST
        index = None
        while True:
            line = self.plan.read(place)
            if not line:
                break
            place = self.plan.next
            if line[0] == "package":
                index = line[5]
                self._stage_package(line)
            elif line[0] == "dep":
                self.new.add(*line)
            elif line[0] == "also":
                self.number += 1
                line = _find(self.new, "file", line[1])
                self.new.add(*line)
            elif line[0] == "file":
                self.number += 1
                if not self._stage_file(line, index) and len(missing) < _ENTRY:
                    missing += " " + line[3]
        if missing:
            self.doing = self.target
            raise ValueError("not found:" + missing)

    def _stage_package(self, line):
        kind, name, version, _, asked, index, _ = line
        said = _find(self.plan, "version", name)
        if said and not _repository(name):
            version = said[2]
        was = _find(self.old, kind, name)
        if was:
            asked = asked or was[3]
            if was[2] != version:
                print(name, was[2], "->", version)
        self.new.add(kind, name, version, asked, None if _is_place(name) else index)

    def _stage_file(self, line, index):
        self._look_ahead()
        sha = self.ahead.pop(0)
        self._announce(line, sha)
        line[3] = _where(line, index)
        if not sha:
            sha = self.attempt(self._fetch, line)
        if sha:
            self.new.add("file", line[1], sha)
        return sha

    def _look_ahead(self):
        # Finds out which of the next files are in place, and asks for those that are not.
        while len(self.ahead) <= _AHEAD:
            line = self.plan.read(self.place)
            if not line:
                return
            if line[0] == "package":
                self.index = line[5]
            elif line[0] == "file":
                sha = line[2] and _sha(self.target + line[1], self.buf)
                if not sha or not sha.startswith(line[2]):
                    sha = None
                    if not self._send(line) and self.ahead:
                        return
                self.ahead.append(sha)
            self.place = self.plan.next

    def _send(self, line):
        # Asks for a file ahead. Returns whether that could be.
        if isinstance(self.session, Session):
            return self.session.send(_native(_where(line, self.index)))

    def _announce(self, line, sha):
        # Says what happens to a file. What is in place already is looked at.
        path = self.target + line[1]
        twin = _twin(line[1])
        if twin and _type(self.target + twin) and not _find(self.old, "file", twin):
            print("Of no package, but there: %s. import takes the .py" % twin)
        print("Exists:" if sha else "Copying:", "[%d/%d]" % (self.number, self.count), path)
        if sha:
            self._check(line[1], path)

    def _fetch(self, line):
        # Stages one file; returns its sha256, None when it is not found.
        stream = self.open(line[3])
        if not stream:
            return None
        staged = self.meta + str(self.number)
        sha = self._save(stream, staged)
        if not sha.startswith(line[2] or ""):
            raise ValueError("the content is not what the index says")
        self._check(line[1], staged)
        here = _sha(self.target + line[1], self.buf)
        if sha == here:
            os.remove(staged)
        else:
            self.step = 1
            if here and not _find(self.old, "file", line[1]):
                print("Replacing", self.target + line[1], "of no package")
        return sha

    def _save(self, stream, path):
        try:
            # What does not fit is not begun. Only answers with a length tell it before.
            _fit(getattr(stream, "left", None) or 0, self.target)
            with open(path, "wb") as file:
                return _copy(stream, file, self.buf)
        finally:
            stream.close()

    def _check(self, name, path):
        why = name.endswith(".mpy") and _unloadable(path)
        if why:
            raise ValueError("%s %s" % (name, why))

    def _keep(self, gone):
        # Adds to the new record the packages of the old one that stay.
        keep = False
        self.doing = self.meta + "record"
        for line in self.old:
            kind, name = line[:2]
            if kind == "package":
                owner = name
                keep = gone is not None and name.lower() not in gone
                keep = keep and not _find(self.plan, kind, name)
            if keep:
                if kind == "dep" and name.lower() in gone:
                    raise ValueError("%s is needed by %s" % (name, owner))
                if kind == "file":
                    twin = _twin(name)
                    line = (
                        _find(self.new, kind, name) or twin and _find(self.new, kind, twin) or line
                    )
                self.new.add(*line)

    def _reconcile(self, coming):
        # Makes the disk agree with the record `coming`, which becomes the record. Done again
        # after a power cut, it goes on where it was.
        if not _type(self.meta + "next+"):  # else this much has been done
            lines = self.lines(coming)
            for kind, name, *_ in self.lines("record"):
                if kind == "file" and not _find(lines, kind, name) and not self.leads_out(name):
                    path = self.target + name
                    if _type(path) and not _type(path) & _DIRECTORY:
                        os.remove(path)
                    _prune(path)
            number = 0
            for kind, name, *rest in lines:
                if kind == "file":
                    number += 1
                    staged = self._name(str(number))
                    path = self.target + name
                    if staged:
                        _make(path)
                        self._move(staged, path)
                    elif rest[0] == _EMPTY and not _type(path):
                        # littlefs 1 takes two empty files for one that was renamed, and after
                        # a power cut it removes the one.
                        open(path, "wb").close()
        self._close()
        self._move(coming, self.meta + "record")
        self.step = 2

    def _move(self, name, path):
        # A power cut within a rename can leave FAT with two names for the same clusters, which
        # are free as soon as one of the names is removed. So where both may have been left,
        # there first is a copy, and then both are removed, with nothing written in between.
        name = self.meta + name
        copy = name + "+"
        if self.recovered:
            size = _size(name)
            if size == _size(path) and size != _size(copy):
                with open(name, "rb") as source, open(copy, "wb") as file:
                    _copy(source, file, self.buf)
            if size == _size(copy):
                if _type(path):
                    os.remove(path)
                os.remove(name)
                name = copy
        os.rename(name, path)

    def _name(self, name):
        # Under which name _move() left a file of .mip/: the copy is whole when it is alone.
        for found in (name, name + "+", name + "++"):
            if _type(self.meta + found):
                return found

    def _recover(self):
        # Finishes a commit that was begun. That is when `next` is there, or was.
        try:
            # Before it writes, and not earlier, littlefs mends a rename that was interrupted;
            # until then it hides a neighbour of the file that was renamed, too.
            os.remove(self.meta + "none")
        except OSError as e:
            if e.args[0] != _ENOENT:
                raise
        new = self._name("new")
        coming = self._name("next")
        if coming or new and new != "new":
            self.recovered = True
            if new:
                self._move(new, self.meta + "next")
                coming = "next"
            self._reconcile(coming)

    def _clear(self):
        # Removes all but the record; the plan last, because it says that there is work left.
        if self._name("next"):
            return  # a commit is to be finished
        trouble = None
        try:
            for kind, name, *_ in () if self.step == 2 else self.lines("plan"):
                if kind == "file":
                    try:
                        if not self.leads_out(name):
                            _prune(self.target + name)
                    except OSError as e:
                        trouble = e
        except ValueError:
            pass  # torn: it was being written, and no directory had been made
        self._close()
        removed = True
        while removed:  # littlefs 1 goes astray when it removes while it lists
            removed = False
            names = []
            for name, *_ in os.ilistdir(self.meta[:-1]):  # FAT takes no slash at the end
                if name not in ("record", "plan") and len(names) < 10:
                    names.append(name)
            for name in names:
                try:
                    os.remove(self.meta + name)
                    removed = True
                except OSError as e:
                    trouble = e
        if not names:
            os.remove(self.meta + "plan")
            if not _type(self.meta + "record"):
                os.rmdir(self.meta[:-1])
        if trouble:
            raise trouble


# ---- 6. the public verbs ---------------------------------------------------------------


def _pairs(package, version=None):
    # Name and version of a package, or of each of a list.
    if isinstance(package, str):
        package = (package,)
    return [_parse(text, version) for text in package]


def install(package, index=None, target=None, version=None, mpy=True, session=None):
    """Installs a package, or a list of packages as one transaction, with all that it needs.

    package: a name of the index, a URL, github:ORG/REPO/PATH (gitlab:, codeberg:) or a path,
    each perhaps with @version. index: a URL or path, or a list of them, tried in their order.
    target: a directory; left out, the first entry of sys.path that ends in /lib.
    version: for packages without @version. mpy: whether bytecode is wanted.
    session: what fetches; left out, a Session of its own. Raises InstallError.
    """
    with _Store(target) as store:
        store.connect(index, mpy, session)
        store.ask(_pairs(package, version))
        store.change(())


def uninstall(package, target=None):
    """Removes a package, or a list of them, and the files that no other package has.

    Raises InstallError when it is not installed or when a package that stays needs it.
    """
    with _Store(target) as store:
        gone = []
        for name, _ in _pairs(package):
            line = _find(store.lines("record"), "package", name)
            if line:
                gone.append(line[1].lower())
            elif not store.recovered:  # else it is what was interrupted
                raise InstallError(name + " is not installed")
        store.ask(())
        store.change(gone)


def upgrade(target=None, index=None, mpy=True, session=None):
    """Installs everything that was asked for again, at the version it was asked at, as one
    transaction; packages that nothing needs any more go. index: left out, every index that the
    record names. The rest is as for install()."""
    with _Store(target) as store:
        asked = []
        indexes = []
        for kind, name, *rest in store.lines("record"):
            if kind == "package":
                if rest[1]:
                    asked.append((name, _pinned(rest[1])))
                indexes += [url for url in rest[2:] if url and url not in indexes]
        store.connect(index or indexes, mpy, session)
        store.ask(asked)
        store.change(None)


def list(target=None):
    """Prints what is installed, one a line, each as install() takes it."""
    with _Store(target) as store:
        for kind, name, *rest in store.lines("record"):
            if kind == "package":
                version = rest[0] or ""
                print(name + "@" + version if version or "@" in name else name)


def verify(target=None):
    """Prints and returns the paths of installed files that are missing, differ from what was
    installed, or are .mpy files that this firmware cannot load."""
    bad = []
    with _Store(target) as store:
        for kind, name, *rest in store.lines("record"):
            if kind == "file":
                path = store.target + name
                sha = _sha(path, store.buf)
                if sha != rest[0]:
                    why = "is missing" if sha is None else "differs"
                else:
                    why = name.endswith(".mpy") and _unloadable(path)
                if why and path not in bad:
                    print(path, why)
                    bad.append(path)
    return bad


def search(text, index=None, session=None):
    """Prints name, version and description of each package in whose name or description there
    is `text`, letter case aside. index and session: as for install(). Raises InstallError."""
    with _Store(None) as store:
        store.connect(index, True, session)
        for url in store.indexes:
            stream = store.open(url + "/index.json")
            if not stream:
                raise ValueError("not found")
            store.files.append(stream)
            for _, _, package in _entries(stream, store.buf, ("packages",), ()):
                if not isinstance(package, dict):
                    raise ValueError("bad packages")
                name, version, about = [
                    str(package.get(key) or "") for key in ("name", "version", "description")
                ]
                if text.lower() in name.lower() or text.lower() in about.lower():
                    print(name, version, about)


def recover(target=None):
    """Finishes an interrupted commit, or clears up after an interrupted run.

    Every verb does that first; boot.py may, so that no program sees a half-done commit.
    """
    with _Store(target):
        pass
