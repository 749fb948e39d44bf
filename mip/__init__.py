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

# The sha256 of an empty file.
_EMPTY = hexlify(sha256().digest()).decode()

_BUFFER = const(512)  # bytes: network, hash and file share one buffer
_TIMEOUT = const(15)  # seconds without a byte, on every socket
_HOPS = const(5)  # redirects that are followed for one URL
_HEAD = const(16384)  # bytes in the head of an answer, or of a chunk
_LINE = const(1024)  # bytes of a line there that are kept
_PART = const(64)  # bytes of a line that are read at a time: readline() takes them all from RAM
_ENTRY = const(4096)  # bytes of one entry of a JSON document
_DOCUMENT = const(1 << 20)  # bytes of one JSON document
_PACKAGES = const(200)  # packages of one run
_FIRST = const(11)  # the place of the line after the one that names the format
_SEEN = const(2048)  # bits: which paths the plan may have already

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
    """A connection to one server and, while an answer is read, that answer.

    As an answer it has the shape that `requests` has: status_code, raw.readinto(buf), close().
    OSError means that the network failed, ValueError that the server does not speak HTTP.

    sock: the socket, connected. stream: what is read and written, TLS or the socket itself.
    timeout: seconds. head: what follows the path in a request.
    """

    def __init__(self, sock, stream, timeout, head):
        self.sock = sock
        self.stream = stream
        self.timeout = timeout
        self.head = head
        self.sent = []  # the URLs whose answers are on their way, the next one first
        self.raw = self
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

    def ask(self, urls, start):
        """Sends a request for each of `urls` that is not on its way yet, and reads the head of
        the first one's answer. start: where the paths begin in them."""
        self.start = time.time()
        self.room = _HEAD  # bytes of lines that may come
        self.got = 0  # bytes of the body
        self.status_code = 0
        try:
            # What can be read before it was asked for is the end, or not meant for us.
            if self.sent != urls[: len(self.sent)] or (
                not self.sent and self._ready(select.POLLIN, 0)
            ):
                raise OSError(_ECONNRESET)
            for url in urls[len(self.sent) :]:
                self._write("GET /" + _escaped(url[start:]) + self.head)
                self.sent.append(url)
            while self.status_code < 200:  # 1xx: the answer is yet to come
                self._answer()
            self.sent.pop(0)
            return self
        except (OSError, ValueError):
            self.drop()
            raise

    def _write(self, text):
        data = text.encode()
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
        self.links = {}  # "https://host": its connection
        self.ahead = ()  # the URLs that will be asked for next, in this order
        self.alone = 0  # how many requests are sent one at a time: a connection broke

    def get(self, url):
        """Returns the answer for `url`, redirects followed; to be closed before the next get().

        OSError: the network failed. ValueError: what answers there is not to be trusted, or
        does not speak HTTP.
        """
        for _ in range(_HOPS + 1):
            answer = self._ask(url)
            if answer.status_code // 100 != 3 or answer.location is None:
                return answer
            answer.close()
            secure = url[:6] == "https:"
            url = _join(url, answer.location)
            if not answer.location or secure and url[:6] != "https:":
                break
        raise ValueError("redirected to " + url)

    def close(self):
        """Closes every connection."""
        for link in self.links.values():
            link.drop()

    def _ask(self, url):
        place = "/".join(_escaped(url).split("/", 3)[:3]) + "/"
        link = self.links.get(place)
        urls = [url]
        if self.alone:
            self.alone -= 1
        elif link:  # it has shown that it is kept
            urls += [other for other in self.ahead if other.startswith(place)]
        if link:
            if link.stream:
                try:
                    return link.ask(urls, len(place))
                except OSError:  # it died while it was kept: once more, on a new one
                    if link.room < _HEAD:
                        raise
            self.alone = len(link.sent)
        link = self.links[place] = self._connect(place)
        return link.ask(urls[:1], len(place))

    def _connect(self, place):
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
        gc.collect()
        try:
            addresses = socket.getaddrinfo(host, int(port), 0, socket.SOCK_STREAM)
        except OSError:
            raise ValueError("%s is not known: is the board online?" % host)
        for address in addresses:
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
                stream = self._secure(sock, host) if scheme == "https:" else sock
                return _Connection(sock, stream, self.timeout, head + "\r\n")
            except OSError as e:  # the next address may do
                sock.close()
                error = e
            except ValueError:
                sock.close()
                raise
        raise error

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


def _pieces(stream, buf):
    """Fills `buf` from `stream` until its end, and yields how many bytes there are each time."""
    stream = getattr(stream, "raw", stream)
    while True:
        n = stream.readinto(buf)
        if n is None:  # what took too long for `requests`
            raise OSError(_ETIMEDOUT)
        if not n:
            return
        yield n


def _entries(stream, buf, lists, values=()):
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
    key = nothing = object()
    size = i = n = c = 0
    wanted = lists + values
    try:
        for n in _pieces(stream, buf):
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
                    if level == 1 and key is nothing:
                        key = value
                    else:
                        if key in wanted:
                            yield level == 2, key, value
                        if level == 1:
                            key = nothing
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
                    if depth == 2 and key is nothing:
                        raise ValueError
                    if depth == 2 and c == 91 and key in lists:
                        level = 2
                    if depth <= level:
                        continue
                elif c in b"]}":
                    depth -= 1
                    if depth < level:
                        level = depth
                        key = nothing
                        continue
                if key is nothing or key in wanted:
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

    The first line names the format; iteration begins after it.
    """

    def __init__(self, file, path, mode):
        self.path = path
        self.file = file
        self.end = self.file.seek(0, 2)
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

    def read(self, place):
        """Returns the line at `place`, and the place of the next one; None at the end."""
        if place >= self.end:
            return None, place
        self._seek(place)
        line = self.file.readline()
        try:
            return json.loads(line), place + len(line)
        except ValueError:
            raise ValueError(self.path + " is damaged")

    def __iter__(self):
        """Yields each line, also those that are added meanwhile."""
        place = _FIRST
        while True:
            line, place = self.read(place)
            if not line:
                return
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
        if e.args[0] not in (_ENOENT, _ENOTDIR):
            raise
        return 0


_LISTS = ("hashes", "urls", "deps")
_VALUES = ("v", "version")

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
    arch, version = _platform(_mpy())
    return url.replace("{MPY_ARCH}", arch).replace("{MPY_VERSION}", version)


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


class _Planner:
    """Finds out what is needed for what was asked for, in terms of a plan.

    plan: _Lines, in the order in which they are found out:
    ["ask", name, version]         what the user asks for
    ["pin", name, version, asker]  what an attempt before found to be asked for
    ["package", name, version, asker, asked, index]  opens the lines of a package. asker: who
                                   asked for the version; asked: as in the record
    ["version", name, version]     what its package.json says
    ["dep", name, version]         what it needs
    ["file", path, hash, url]      url is null for a file of the index, else hash is
    ["also", path, null]           a file that a package above has, too
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

    def attempt(self, do, *args):
        """Returns do(*args); what may pass is waited for and tried again, a few times."""
        end = self.plan.end
        for pause in _PAUSES:
            try:
                return do(*args)
            except OSError as e:
                code, *wait = e.args
                if not pause or code not in _PASSING:
                    raise
                if code > 400:
                    pause = min(wait[0] or pause, _LONGEST)
                print("%s: %s, again in %d s" % (self.doing, _reason(e), pause))
                time.sleep(pause)
                self.plan.end = end

    def resolve(self):
        """Adds the lines of every package that is needed, before any file is fetched."""
        start = self.plan.end
        pin = True
        while pin:
            self.seen = bytearray(_SEEN // 8)
            pin = self._walk()
            if pin:  # a version was asked for after the latest had been taken: begin anew
                self.plan.end = start
                self.plan.add("pin", *pin)
                start = self.plan.end

    def _walk(self):
        asker = None
        packages = 0
        for kind, name, version, *_ in self.plan:
            if kind == "package":
                asker = name
                packages += 1
                if packages > _PACKAGES:
                    raise ValueError("more than %d packages" % _PACKAGES)
            elif kind in ("ask", "dep"):
                self.doing = name
                taken = _find(self.plan, "package", name)
                first = taken or _find(self.plan, "pin", name) or ("", "", version, asker)
                if version and version != first[2]:
                    if not first[2]:
                        return name, version, asker
                    raise ValueError(
                        "%s asks for version %s, %s for version %s"
                        % (first[3] or "the user", first[2], asker or "the user", version)
                    )
                if not taken:
                    asked = version or "latest" if kind == "ask" else None
                    self._package(name, first[2], first[3], asked)

    def _package(self, name, version, *askers):
        # Adds the lines of a package, from the first place that has it.
        if _twin(name):
            self.plan.add("package", name, version, *askers, None)
            self._file(name[name.rfind("/") + 1 :], None, _url(name, version))
            return
        if _is_place(name):
            document = name if name.endswith(".json") else name.rstrip("/") + _JSON
            found = self.attempt(self._read, document, self.indexes[0], name, version, *askers)
        else:
            if ".." in name or "/" in (version or ""):
                raise ValueError("not the name of a package")
            for index in self.indexes:
                for kind in self.kinds:
                    document = "/".join((index, "package", kind, name, version or "latest"))
                    document += ".json"
                    found = self.attempt(self._read, document, index, name, version, *askers)
                    if found:
                        if kind != self.kinds[0]:
                            print("There is no bytecode of", name)
                        return
        if not found:
            text = "not found, so there is no package " + name
            if name.startswith("micropython-"):
                text += "; perhaps it is " + name[12:]
            raise ValueError(text)

    def _read(self, document, index, name, version, *askers):
        # Adds the lines of a package, if its package.json is there.
        stream = self.open(_url(document, version))
        if not stream:
            return False
        try:
            print("Installing %s (%s) to %s" % (name, version or "latest", self.target))
            self.plan.add("package", name, version, *askers, index)
            self._document(stream, name, document, version)
            return True
        finally:
            stream.close()

    def _document(self, stream, name, document, ref):
        # Adds the lines for the entries of a package.json. The ref belongs to its repository.
        deps = 0
        empty = True
        for listed, key, value in _entries(stream, self.buf, _LISTS, _VALUES):
            if key == "version":
                if isinstance(value, (dict, type([]))):
                    raise ValueError("bad version")
                if value is not None:
                    self.plan.add(key, name, str(value))
            elif key == "v":
                if value != 1 or value is True:
                    raise ValueError("a newer mip is needed")
            else:
                if isinstance(value, str) and key == "deps":
                    value = [value]
                if not listed or not isinstance(value, type([])) or not value:
                    raise ValueError("bad " + key)
                first, second, third = (value + [None, None])[:3]
                for text in value[:2]:
                    if not isinstance(text, str):
                        raise ValueError("bad " + key)
                if key == "deps":
                    deps += 1
                    if deps > _PACKAGES:
                        raise ValueError("more than %d packages" % _PACKAGES)
                    self._dep(document, ref, first, second)
                elif not second or _control(second):
                    raise ValueError("bad " + key)
                elif isinstance(third, int) and not _fits(third):
                    continue
                elif key == "hashes":
                    self._file(first, second.lower(), None)
                else:
                    self._file(first, None, self._source(document, ref, second))
                empty = False
        if empty:
            raise ValueError("nothing to install on %s %s" % _platform(_mpy()))

    def _dep(self, document, ref, name, version):
        name, own = _parse(name, version)
        if ":" not in name and "/" in name:
            name = _join(document, name)
        if version is None and not own and _same(name, document):
            own = ref
        self.plan.add("dep", name, own)

    def _source(self, document, ref, url):
        # The URL of a file that is listed in `document`.
        if _repository(url) and "@" in url:
            url, ref = url.split("@", 1)
        elif not _same(_join(document, url), document):
            ref = None
        return _url(_join(document, url), _pinned(ref))

    def _file(self, path, hash, url):
        # Adds the line of a file, unless one that is there stands in its way.
        path = _clean(path)
        key = _key(path)
        if hash is not None and (not 8 <= len(hash) <= 64 or hash.strip("0123456789abcdef")):
            raise ValueError("bad hash of " + path)
        suspect = self._seen(key, True) or self._seen(key + "/", False)
        slash = key.find("/")
        while slash > 0:
            suspect = self._seen(key[:slash], False) or suspect
            self._seen(key[: slash + 1], True)
            slash = key.find("/", slash + 1)
        if self.leads_out(path):
            raise ValueError(path + " leads out of the target")
        found = 0  # 1: an earlier package has it, too; 2: so has this one
        for kind, other, *source in self.plan if suspect else ():
            if kind == "package":
                found = found and 1
            elif kind in ("file", "also"):
                if other == path and source in ([hash, url], [None]):
                    found = 2
                    continue
                other = _key(other)
                if other == key or other.startswith(key + "/") or key.startswith(other + "/"):
                    raise ValueError("%s clashes with %s" % (path, other))
        if found == 1:
            self.plan.add("also", path, None)
        elif not found:
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

    def _seen(self, key, mark):
        # Whether `key` was marked before: False is certain, True has to be looked up.
        place = hash(key) % _SEEN
        bit = 1 << (place & 7)
        seen = self.seen[place >> 3] & bit
        if mark:
            self.seen[place >> 3] |= bit
        return seen


# ---- 5. the store: stage, commit, reconcile --------------------------------------------


def _copy(stream, file, buf):
    """Copies a stream into `file`, if there is one; returns the sha256 in hex."""
    sha = sha256()
    view = memoryview(buf)
    for n in _pieces(stream, buf):
        data = buf if n == len(buf) else view[:n]
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

    def __init__(self, target):
        if not target:
            for target in sys.path:
                if target.endswith("/lib") and not target.startswith("/rom/"):
                    break
            else:
                raise InstallError("no entry of sys.path ends in /lib: say target=")
        self.target = target.rstrip("/") + "/"
        self.meta = self.target + ".mip/"
        self.buf = bytearray(_BUFFER)
        self.doing = self.target  # what an error would be about
        self.files = []  # what is to be closed
        self.committed = False
        self.recovered = False  # whether a commit that had been begun was finished
        self.plan = None
        self.session = None

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

    def connect(self, index, session):
        """Takes the places where packages are looked up, and what fetches."""
        if not index or isinstance(index, str):
            index = (index or _INDEX,)
        self.indexes = [url.rstrip("/") for url in index]
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

    def change(self, wanted, gone, index=None, mpy=True, session=None):
        """One transaction: what is `wanted`, pairs of name and version, is installed with all
        that it needs; the packages in `gone` are removed, or those not needed if it is None."""
        self.connect(index, session)
        self.kinds = ("py",)
        if mpy and _mpy():
            self.kinds = (str(_mpy() & 255), "py")
        _make(self.meta)
        self.plan = ()
        self.plan = self.lines("plan", "w+b")
        for name, version in wanted:
            self.plan.add("ask", name, version)
        self.committed = False
        self.resolve()
        self.plan.file.flush()  # so that it is known, even after a power cut, what was made
        self.count = 0
        for kind, name, *_ in self.plan:
            if kind in ("file", "also"):
                self.count += 1
                self.doing = self.target + name
                _make(self.doing)
                if _type(self.doing) & _DIRECTORY:
                    raise ValueError("is a directory")
        self.staged = False
        old = self.lines("record")
        new = self.lines("new", "w+b")
        self._stage(old, new)
        self._keep(old, new, gone)
        if self.staged or _sum(old) != _sum(new):
            self._close()
            os.rename(self.meta + "new", self.meta + "next")
            self._reconcile("next")

    def _stage(self, old, new):
        # Fetches the files of the plan that are not in place; adds its packages to the record.
        missing = ""
        number = 0
        self.seen = None
        ahead = []  # what the next files need
        place = self.place = _FIRST
        while True:
            line, place = self.plan.read(place)
            if not line:
                break
            kind, name = line[:2]
            if kind == "package":
                version = line[2]
                said = _find(self.plan, "version", name)
                if said and not _repository(name):
                    version = said[2]
                was = _find(old, kind, name)
                if was:
                    line[4] = line[4] or was[3]
                    if was[2] != version:
                        print(name, was[2], "->", version)
                new.add(kind, name, version, line[4], None if _is_place(name) else line[5])
            elif kind == "dep":
                new.add(*line)
            elif kind == "also":
                number += 1
                new.add(*_find(new, "file", name))
            elif kind == "file":
                number += 1
                self._look_ahead(ahead)
                need = ahead.pop(0)
                if isinstance(self.session, Session):
                    self.session.ahead = ahead
                sha = self.attempt(self._fetch, name, line[2], need, number, old)
                if sha:
                    new.add(kind, name, sha)
                elif len(missing) < _ENTRY:
                    missing += " " + (line[3] or need)
        if missing:
            self.doing = self.target
            raise ValueError("not found:" + missing)

    def _look_ahead(self, ahead):
        # Adds to `ahead` what the next files of the plan need: the URL to fetch one from, or
        # its sha256 if it is in place.
        while len(ahead) <= _AHEAD:
            line, self.place = self.plan.read(self.place)
            if not line:
                break
            if line[0] == "package":
                self.index = line[5]
            elif line[0] == "file":
                _, name, hash, url = line
                here = hash and _sha(self.target + name, self.buf)
                if not here or not here.startswith(hash):
                    here = _native(url or "/".join((self.index, "file", hash[:2], hash)))
                ahead.append(here)

    def _fetch(self, name, hash, need, number, old):
        # Stages one file unless it is in place; returns its sha256, None when it is not found.
        path = self.target + name
        count = "[%d/%d]" % (number, self.count)
        twin = _twin(name)
        if twin and _type(self.target + twin) and not _find(old, "file", twin):
            print("Of no package, but there: %s. import takes the .py" % twin)
        if hash and need.startswith(hash):
            print("Exists:", count, path)
            self._check(name, path)
            return need
        print("Copying:", count, path)
        stream = self.open(need)
        if not stream:
            return None
        staged = self.meta + str(number)
        try:
            # What does not fit is not begun. Only answers with a length tell it before.
            size = getattr(stream, "left", None) or 0
            disk = os.statvfs(self.target)
            if size > disk[0] * disk[3]:
                raise ValueError("needs %d bytes, %d are free" % (size, disk[0] * disk[3]))
            with open(staged, "wb") as file:
                sha = _copy(stream, file, self.buf)
        finally:
            stream.close()
        if not sha.startswith(hash or ""):
            raise ValueError("the content is not what the index says")
        self._check(name, staged)
        here = _sha(path, self.buf)
        if sha == here:
            os.remove(staged)
        else:
            self.staged = True
            if here and not _find(old, "file", name):
                print("Replacing", path, "of no package")
        return sha

    def _check(self, name, path):
        why = name.endswith(".mpy") and _unloadable(path)
        if why:
            raise ValueError("%s %s" % (name, why))

    def _keep(self, old, new, gone):
        # Adds to the new record the packages of the old one that stay.
        keep = False
        self.doing = self.meta + "record"
        for line in old:
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
                    line = _find(new, kind, name) or twin and _find(new, kind, twin) or line
                new.add(*line)

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
        self.committed = True

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
            for kind, name, *_ in () if self.committed else self.lines("plan"):
                if kind == "file":
                    try:
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


def install(package, index=None, target=None, version=None, mpy=True, session=None):
    """Installs a package, or a list of packages as one transaction, with all that it needs.

    package: a name of the index, a URL, github:ORG/REPO/PATH (gitlab:, codeberg:) or a path,
    each perhaps with @version. index: a URL or path, or a list of them, tried in their order.
    target: a directory; left out, the first entry of sys.path that ends in /lib.
    version: for packages without @version. mpy: whether bytecode is wanted.
    session: what fetches; left out, a Session of its own. Raises InstallError.
    """
    if isinstance(package, str):
        package = (package,)
    with _Store(target) as store:
        wanted = [_parse(text, version) for text in package]
        store.change(wanted, (), index, mpy, session)


def uninstall(package, target=None):
    """Removes a package, or a list of them, and the files that no other package has.

    Raises InstallError when it is not installed or when a package that stays needs it.
    """
    if isinstance(package, str):
        package = (package,)
    with _Store(target) as store:
        gone = []
        for text in package:
            line = _find(store.lines("record"), "package", _parse(text)[0])
            if line:
                gone.append(line[1].lower())
            elif not store.recovered:  # else it is what was interrupted
                raise InstallError(text + " is not installed")
        store.change((), gone)


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
        store.change(asked, None, index or indexes, mpy, session)


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
        store.connect(index, session)
        for url in store.indexes:
            stream = store.open(url + "/index.json")
            if not stream:
                raise ValueError("not found")
            store.files.append(stream)
            for _, _, package in _entries(stream, store.buf, ("packages",)):
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
