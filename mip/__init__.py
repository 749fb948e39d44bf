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

__version__ = "0.1.0"

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
_LINE = const(1024)  # bytes of a header line in RAM at a time
_HEAD = const(100)  # such pieces in the head of an answer
_ENTRY = const(2048)  # bytes of one entry of a JSON document
_DOCUMENT = const(1 << 20)  # bytes of one JSON document
_PACKAGES = const(200)  # packages of one run
_SEEN = const(2048)  # bits: which paths the plan may have already

_PAUSES = (1, 4, 10, 0)  # seconds between attempts; 0: none follows
_LONGEST = const(60)  # seconds that a server may have us wait
_RATE = const(64)  # bytes a second that have to arrive, after the first minute
_YEAR = const(2026)  # a clock before is wrong

# What may pass: errno values of a connection that broke or stalled, statuses of busy servers.
_PASSING = (11, 32, 103, 104, 110, 111, 113, 116, 118, 119, 429, 500, 502, 503, 504)

_BROKEN = (5, 28, 30)  # errno values of a disk: EIO, ENOSPC, EROFS
_DIRECTORY = const(0x4000)  # the type bit of os.stat()
_ENOENT = const(2)
_EAGAIN = const(11)
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
    """

    def __init__(self, sock):
        self.sock = sock
        self.raw = self

    def _line(self):
        # The next line, or the first _LINE bytes of a longer one.
        line = self.sock.readline(_LINE)
        if len(line) < _LINE and line[-1:] != b"\n":
            raise OSError(_ECONNRESET)
        return line

    def _short(self):
        # The next line, where none is long.
        line = self._line()
        if line[-1:] != b"\n":
            raise ValueError("endless line")
        return line

    def answer(self):
        """Reads the head of the next answer."""
        self.location = None
        self.left = None  # bytes left of the body or the chunk; None: until the connection ends
        self.chunked = False
        self.wait = 0  # seconds, for a Retry-After
        self.status_code = 0
        whole = True  # whether the last piece ended its line
        for _ in range(_HEAD):
            line = self._line()
            if whole:
                text = line.strip()
                if not self.status_code:
                    version, code = text.split()[:2]
                    if version[:7] != b"HTTP/1.":
                        raise ValueError(text)
                    self.keep = version[7:] != b"0"
                    self.status_code = _number(code, 10)
                elif text:
                    self._header(text)
                elif self.status_code >= 200:
                    return
                else:
                    self.status_code = 0  # 1xx: the answer is yet to come
            whole = line[-1:] == b"\n"
        raise ValueError("endless headers")

    def _header(self, line):
        name, value = line.split(b":", 1)
        name = name.lower()
        value = value.strip()
        low = value.lower()
        if name == b"location":
            if len(line) > _LINE - 4:
                raise ValueError("the Location is too long")
            self.location = value.decode()
        elif name == b"content-length":
            size = _number(value, 10)
            if self.left not in (None, size):
                raise ValueError(line)
            self.left = size
        elif name == b"connection":
            self.keep = low != b"close"
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
        """Reads a part of the body into `buf`, returns how many bytes; 0 is the end."""
        if self.chunked and not self.left:
            self._chunk()
        if self.left == 0:
            return 0
        size = len(buf)
        if self.left is not None:
            size = min(size, self.left)
        n = self.sock.readinto(buf, size)
        if self.left is not None:
            if not n:
                raise OSError(_ECONNRESET)
            self.left -= n
            if self.chunked and not self.left and self._short() != b"\r\n":
                raise ValueError("bad chunk")
        return n

    def _chunk(self):
        # The head of a chunk; the last one is empty and followed by trailers.
        self.left = _number(self._short().split(b";")[0].strip().lower(), 16)
        if not self.left:
            self.chunked = False
            for _ in range(_HEAD):
                if self._short() == b"\r\n":
                    return
            raise ValueError("bad chunk")

    def close(self):
        """Ends this answer. The connection is kept if it can carry another one."""
        if self.left != 0 or self.chunked or not self.keep:
            self.drop()

    def drop(self):
        if self.sock:
            self.sock.close()
            self.sock = None


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
        self.links = {}  # "https:" + host: its connection

    def get(self, url):
        """Returns the answer for `url`, redirects followed; to be closed before the next get().

        OSError: the network failed. ValueError: what answers there is not to be trusted, or
        does not speak HTTP.
        """
        for _ in range(_HOPS + 1):
            answer = self._ask(url)
            if answer.status_code // 100 != 3 or not answer.location:
                return answer
            answer.close()
            secure = url[:6] == "https:"
            url = _join(url, answer.location)
            if secure and url[:6] != "https:":
                break
        raise ValueError("redirected to " + url)

    def close(self):
        """Closes every connection."""
        for link in self.links.values():
            link.drop()

    def _ask(self, url):
        url = url.split("#")[0].encode()
        url = "".join([chr(c) if 32 < c < 127 else "%%%02X" % c for c in url])
        scheme, _, host, path = (url + "/" * (3 - url.count("/"))).split("/", 3)
        link = self.links.get(scheme + host)
        if link and link.sock:
            # What can be read before it was asked for is the end, or not meant for us.
            poll = select.poll()
            poll.register(link.sock, select.POLLIN)
            try:
                if not poll.poll(0):
                    return self._exchange(link, host, path)
            except OSError:  # it died while it was kept: once more, on a new one
                if link.status_code:
                    raise
            link.drop()
        self.links[scheme + host] = link = _Connection(self._connect(scheme, host))
        return self._exchange(link, host, path)

    def _exchange(self, link, host, path):
        try:
            link.status_code = 0
            text = "GET /%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mip\r\n" % (path, host)
            for header in self.headers.get(host.split(":")[0], {}).items():
                text += "%s: %s\r\n" % header
            link.sock.write(text + "\r\n")
            link.answer()
            return link
        except (OSError, ValueError):
            link.drop()
            raise

    def _connect(self, scheme, host):
        import socket

        port = {"http:": 80, "https:": 443}.get(scheme)
        if not port:
            raise ValueError("no such scheme")
        if ":" in host:
            host, port = host.split(":")
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
                sock.connect(address[-1])
                return self._secure(sock, host) if scheme == "https:" else sock
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
            self.context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            self.context.verify_mode = tls.CERT_REQUIRED if self.cafile else tls.CERT_NONE
            try:
                for der in _certificates(self.cafile) if self.cafile else ():
                    self.context.load_verify_locations(der)
            except (OSError, ValueError) as e:
                self.context = None
                raise ValueError("%s: %s" % (self.cafile, e))
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
    start = time.time()
    size = 0
    while True:
        n = stream.readinto(buf)
        if n is None:
            raise OSError(_EAGAIN)
        if not n:
            return
        size += n
        if time.time() - start > 60 + size // _RATE:
            raise OSError(_ETIMEDOUT)
        yield n


def _entries(stream, buf, wanted):
    """Yields (listed, key, value) for each `wanted` key of the JSON object in `stream`.

    A key whose value is a list comes once for each element, with `listed` true. One entry is
    in RAM at a time, read by MicroPython's own json; between entries as much is allowed as
    there: commas and colons are white space. Raises ValueError when it is not a JSON object.
    """
    text = bytearray()  # the key or entry that is being collected
    depth = 0  # how many brackets are open
    level = 1  # the depth at which entries stand: 2 within a list; 0 behind the document
    quote = 0  # 1 in a string, 2 behind a backslash there
    key = nothing = object()
    size = i = n = c = 0
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
                    if depth == 2 and c == 91:
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
    if not text:
        raise InstallError("a package without a name")
    return text, _pinned(version)


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

    def __iter__(self):
        """Yields each line, also those that are added meanwhile."""
        place = 11  # after the first line
        while place < self.end:
            self._seek(place)
            line = self.file.readline()
            place += len(line)
            try:
                line = json.loads(line)
            except ValueError:
                raise ValueError(self.path + " is damaged")
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
        bad = bad or part == ".." or part != part.strip() or len(part.encode()) > 255
    for c in path:
        bad = bad or c < " " or c in "\\:\x7f"
    if bad:
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


_KEYS = ("v", "version", "hashes", "urls", "deps")


def _reason(e):
    """What an OSError or ValueError means to people."""
    code = e.args[0] if e.args else ""
    if code == _ENOMEM:
        return "out of memory, with %d bytes free" % gc.mem_free()
    if isinstance(e, OSError) and code in _PASSING:
        return "the server answers %d" % code if code > 400 else "the connection broke (%d)" % code
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
        if ":" not in url:
            return open(url, "rb") if _type(url) else None
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
        if ":" in name or "/" in name:
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
        empty = True
        for listed, key, value in _entries(stream, self.buf, _KEYS):
            if key == "version":
                self.plan.add(key, name, str(value))
            elif key == "v":
                if value != 1:
                    raise ValueError("a newer mip is needed")
            else:
                empty = False
                if isinstance(value, str) and key == "deps":
                    value = [value]
                if not listed or not isinstance(value, type([])) or not value:
                    raise ValueError("bad " + key)
                for text in value[:2]:
                    if not isinstance(text, str):
                        raise ValueError("bad " + key)
                if key == "deps":
                    dep, version = _parse(*value[:2])
                    if ":" not in dep and "/" in dep:
                        dep = _join(document, dep)
                    if len(value) < 2 and not version and _same(dep, document):
                        version = ref
                    self.plan.add("dep", dep, version)
                else:
                    path, source = value[:2]
                    if key == "hashes":
                        self._file(path, source.lower(), None)
                    else:
                        own = None
                        if _same(_join(document, source), document):
                            own = ref
                        if _repository(source) and "@" in source:
                            source, own = source.split("@", 1)
                        self._file(path, None, _url(_join(document, source), _pinned(own)))
        if empty:
            raise ValueError("nothing to install")

    def _file(self, path, hash, url):
        # Adds the line of a file, unless one that is there stands in its way.
        path = _clean(path)
        key = _key(path)
        if hash is not None:
            _number(hash.encode(), 16)
            if not 8 <= len(hash) <= 64:
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
    mine = getattr(sys.implementation, "_mpy", 0)
    with open(path, "rb") as file:
        head = file.read(16)
    if len(head) < 5 or head[0] != 77:
        return "is not bytecode"
    if head[1] != mine & 255:
        return "is bytecode of version %d, this firmware takes %d" % (head[1], mine & 255)
    arch = head[2] >> 2 & 15
    own = mine >> 10 & 15
    needs = 0
    for c in head[4:] if head[2] & 64 else b"":
        needs = needs << 7 | c & 127
        if c < 128:
            break
    # Of the ARM architectures, numbers 4 to 8, a processor runs the lesser ones, too.
    if (
        arch
        and (head[2] & 3 != mine >> 8 & 3 or arch != own and not 4 <= arch < own < 9)
        or head[2] & 64
        and (needs & ~(mine >> 16) or not mine >> 16)
        or head[2] & 128
    ):
        return "is native code for %d.%d.%d" % (arch, head[2] & 3, needs)


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
        for step in (
            (self._close,) if self.plan is None else (self._close, self._clear, self._close)
        ):
            try:
                step()
            except OSError as e:
                error = error or e
        if isinstance(error, (OSError, ValueError)):
            raise InstallError("%s: %s" % (doing, _reason(error)))
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

    def change(self, wanted, gone, index=None, mpy=True, session=None):
        """One transaction: what is `wanted`, pairs of name and version, is installed with all
        that it needs; the packages in `gone` are removed, or those not needed if it is None."""
        if not index or isinstance(index, str):
            index = (index or _INDEX,)
        self.indexes = [url.rstrip("/") for url in index]
        self.kinds = ("py",)
        if mpy and hasattr(sys.implementation, "_mpy"):
            self.kinds = (str(sys.implementation._mpy & 255), "py")
        if not session:
            try:
                import socket  # noqa: F401

                session = Session()
                self.files.append(session)
            except ImportError:  # PyScript, and boards with a modem
                import requests as session
        self.session = session
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
        self.staged = False
        old = self.lines("record")
        new = self.lines("new", "w+b")
        self._stage(old, new)
        if getattr(session, "context", None) and not session.cafile:
            print("Servers were not checked: mip.cafile names no certificates")
        self._keep(old, new, gone)
        if self.staged or _sum(old) != _sum(new):
            self._close()
            os.rename(self.meta + "new", self.meta + "next")
            self._reconcile("next")

    def _stage(self, old, new):
        # Fetches the files of the plan that are not in place; adds its packages to the record.
        missing = ""
        number = 0
        for kind, name, *rest in self.plan:
            if kind == "package":
                version, _, asked, index = rest
                said = _find(self.plan, "version", name)
                if said and not _repository(name):
                    version = said[2]
                was = _find(old, kind, name)
                if was:
                    asked = asked or was[3]
                    if was[2] != version:
                        print(name, was[2], "->", version)
                new.add(kind, name, version, asked)
            elif kind == "dep":
                new.add(kind, name, rest[0])
            elif kind == "also":
                number += 1
                new.add(*_find(new, "file", name))
            elif kind == "file":
                number += 1
                hash, url = rest
                url = url or "/".join((index, "file", hash[:2], hash))
                sha = self.attempt(self._fetch, name, hash, url, number, old)
                if sha:
                    new.add(kind, name, sha)
                else:
                    missing += " " + url
        if missing:
            raise ValueError("not found:" + missing)

    def _fetch(self, name, hash, url, number, old):
        # Stages one file unless it is in place; returns its sha256, None when it is not found.
        path = self.target + name
        count = "[%d/%d]" % (number, self.count)
        twin = _twin(name)
        if twin and _type(self.target + twin) and not _find(old, "file", twin):
            print("Of no package, but there: %s. import takes the .py" % twin)
        here = _sha(path, self.buf)
        if here == "":
            raise ValueError("there is a directory at " + path)
        if hash and here and here.startswith(hash):
            print("Exists:", count, path)
            self._check(name, path)
            return here
        print("Copying:", count, path)
        stream = self.open(url)
        if not stream:
            return None
        staged = self.meta + str(number)
        try:
            with open(staged, "wb") as file:
                sha = _copy(stream, file, self.buf)
        finally:
            stream.close()
        if not sha.startswith(hash or ""):
            raise ValueError("the content is not what the index says")
        self._check(name, staged)
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


def upgrade(target=None, **options):
    """Installs everything that was asked for again, at the version it was asked at, as one
    transaction; packages that nothing needs any more go. options: index, mpy and session, as
    for install()."""
    with _Store(target) as store:
        asked = [
            (line[1], _pinned(line[3]))
            for line in store.lines("record")
            if line[0] == "package" and line[3]
        ]
        store.change(asked, None, **options)


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


def recover(target=None):
    """Finishes an interrupted commit, or clears up after an interrupted run.

    Every verb does that first; boot.py may, so that no program sees a half-done commit.
    """
    with _Store(target):
        pass
