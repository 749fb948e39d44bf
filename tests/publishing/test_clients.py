"""What is published is installed alike by mpremote, by upstream's mip and by this one."""

import json
import shlex
import shutil
from dataclasses import dataclass, field

import mip_index
import pytest
from clients import CLIENTS, Terminal, install
from device import Device
from folders import ROOT
from internet import content
from mip_index import compiler

GITHUB = "https://raw.githubusercontent.com"
GITLAB = "https://gitlab.com"
CODEBERG = "https://codeberg.org/api/v1/repos"
WEB = "http://example.com"

# Where the index of tests/packages is, and where a mirror. Not with TLS, because upstream's mip
# shakes hands anew for each file; the forges are.
INDEX = "index.example"
MIRROR = "mirror.example"
FROM_INDEX = ["--index", f"http://{INDEX}"]
FROM_MIRROR = ["--index", f"http://{MIRROR}"]

DOCUMENT = ROOT / "docs" / "firmware.md"


# --- Where they install from, and to ---


@pytest.fixture(scope="session")
def mirror(index, tmp_path_factory):
    """The directory of a mirror of telemetry and all that it needs."""
    output = tmp_path_factory.mktemp("mirror")
    mip_index.mirror(["telemetry"], output, indexes=[str(index)])
    return output


@pytest.fixture
def internet(net, index, mirror):
    """An internet with an index and its mirror."""
    for host, directory in (INDEX, index), (MIRROR, mirror):
        net.plain.sites[host] = directory
        net.hosts[host] = net.plain.port
    return net


def computer(internet, device, work):
    """As `device`, in another directory and on this internet."""
    return Device(work, device.path, device.interpreter, internet.hosts, internet.cafile)


@pytest.fixture
def boards(internet, device, tmp_path):
    """A board without files for each client: {name of the client: device.Device}."""
    return {name: computer(internet, device, tmp_path / name / "device") for name in CLIENTS}


# --- What they install ---


@dataclass
class Source:
    """Something that can be installed.

    words: what is said to a client to have it installed.
    documents: {URL: a package.json}. A path instead of a URL is one in the working directory.
    tree: {path on the board: the URL it comes from}, of files that are not from an index.
    packages: {package of the index: "6" for its bytecode or "py"}, whose files come along.
    clients: who can do it.
    """

    words: list
    documents: dict = field(default_factory=dict)
    tree: dict = field(default_factory=dict)
    packages: dict = field(default_factory=dict)
    clients: tuple = tuple(CLIENTS)


def indexed(index, name, mpy):
    """The files of the latest version of a package: {path on the board: content}."""
    document = json.loads((index / "package" / mpy / name / "latest.json").read_text())
    return {
        path: (index / "file" / digits[:2] / digits).read_bytes()
        for path, digits in document["hashes"]
    }


def publish(source, net, boards, index):
    """Publish what a Source names; returns what is to be installed: {path: content}."""
    files = {url: json.dumps(document) for url, document in source.documents.items()}
    files |= {url: content(url.partition("?")[0], url) for url in source.tree.values()}
    for url, data in files.items():
        if ":" in url:
            net.put(url, data)
            continue
        for board in boards.values():
            file = board.work / url
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data if isinstance(data, bytes) else data.encode())
    tree = {path: content(path, url) for path, url in source.tree.items()}
    for name, mpy in source.packages.items():
        tree |= indexed(index, name, mpy)
    return dict(sorted(tree.items()))


def repository(*entries, **keys):
    """A package.json with these entries of `urls`."""
    return {"version": "1.0", "urls": list(entries), **keys}


# A package.json with all that one can have: relative URLs, other hosts, and what it needs.
APP = repository(
    ["app/__init__.py", "source/__init__.py"],
    ["app/fast.mpy", "build/fast.mpy"],
    ["app/shared.py", "../shared/shared.py"],
    ["web.py", "https://gitlab.com/pages/web.py"],
    ["driver.py", "github:org/drivers/driver.py"],
    deps=[
        ["frame", "latest"],
        ["keyvalue", "0.2.1"],
        ["github:org/needed", "v2"],
        [f"{WEB}/other/", "latest"],
    ],
)
APP_DOCUMENTS = {
    f"{GITHUB}/org/needed/v2/package.json": repository(["needed/__init__.py", "needed.py"]),
    f"{WEB}/other/package.json": repository(["other.py", "other.py"]),
}
APP_TREE = {
    "web.py": "https://gitlab.com/pages/web.py",
    "driver.py": f"{GITHUB}/org/drivers/HEAD/driver.py",
    "needed/__init__.py": f"{GITHUB}/org/needed/v2/needed.py",
    "other.py": f"{WEB}/other/other.py",
}


def app(base):
    """What APP and all that it needs installs when it is in the directory `base` of a URL."""
    return APP_TREE | {
        "app/__init__.py": f"{base}/app/source/__init__.py",
        "app/fast.mpy": f"{base}/app/build/fast.mpy",
        "app/shared.py": f"{base}/shared/shared.py",
    }


SOURCES = {
    "index": Source([*FROM_INDEX, "telemetry"], packages={"telemetry": "6"}),
    "index, source": Source(["--no-mpy", *FROM_INDEX, "telemetry"], packages={"telemetry": "py"}),
    "index, a version": Source([*FROM_INDEX, "frame@0.3.0"], packages={"frame": "6"}),
    "index, two packages": Source(
        [*FROM_INDEX, "morse", "ticker"], packages={"morse": "6", "ticker": "6"}
    ),
    "URL of a package.json": Source(
        [*FROM_INDEX, f"{WEB}/app/package.json"],
        {f"{WEB}/app/package.json": APP, **APP_DOCUMENTS},
        app(WEB),
        {"frame": "6", "keyvalue": "6"},
    ),
    "URL of a directory": Source(
        ["--no-mpy", *FROM_INDEX, f"{WEB}/app"],
        {f"{WEB}/app/package.json": APP, **APP_DOCUMENTS},
        app(WEB),
        {"frame": "py", "keyvalue": "py"},
    ),
    "local package.json": Source(
        [*FROM_INDEX, "./app/package.json"],
        {"app/package.json": APP, **APP_DOCUMENTS},
        app("."),
        {"frame": "6", "keyvalue": "6"},
        clients=("mpremote", "mip"),  # upstream's mip takes the path for a name
    ),
    "github": Source(
        ["github:org/repo"],
        {f"{GITHUB}/org/repo/HEAD/package.json": repository(["a.py", "a.py"])},
        {"a.py": f"{GITHUB}/org/repo/HEAD/a.py"},
    ),
    "github, a tag": Source(
        ["github:org/repo/sub@v1"],
        {
            f"{GITHUB}/org/repo/v1/sub/package.json": repository(
                ["a.py", "a.py"], ["b.py", "github:org/repo/b.py"]
            )
        },
        {"a.py": f"{GITHUB}/org/repo/v1/sub/a.py", "b.py": f"{GITHUB}/org/repo/v1/b.py"},
    ),
    "gitlab": Source(
        ["gitlab:org/repo@v1"],
        {f"{GITLAB}/org/repo/-/raw/v1/package.json": repository(["a.py", "lib/a.py"])},
        {"a.py": f"{GITLAB}/org/repo/-/raw/v1/lib/a.py"},
    ),
    "codeberg": Source(
        ["codeberg:org/repo@v1"],
        {f"{CODEBERG}/org/repo/raw/package.json?ref=v1": repository(["a.py", "lib/a.py"])},
        {"a.py": f"{CODEBERG}/org/repo/raw/lib/a.py?ref=v1"},
        clients=("mpremote", "mip"),  # the interpreter's is older than its codeberg:
    ),
    "files": Source(
        [f"{WEB}/x/one.py", "github:org/repo/two.mpy@v1"],
        tree={"one.py": f"{WEB}/x/one.py", "two.mpy": f"{GITHUB}/org/repo/v1/two.mpy"},
    ),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_trees_are_equal(internet, boards, index, source):
    """Every client installs the same files, which are those that were published."""
    tree = publish(source, internet, boards, index)
    installed = {}
    for name in source.clients:
        install(name, boards[name], internet, *source.words)
        installed[name] = boards[name].tree()
    assert tree
    assert installed == dict.fromkeys(source.clients, tree)
    recorded = {line[1] for line in boards["mip"].record()[1:] if line[0] == "file"}
    assert recorded == set(tree)


@pytest.mark.parametrize(("mpy", "words"), [("6", []), ("py", ["--no-mpy"])])
def test_a_mirror_stands_alone(internet, boards, index, mirror, mpy, words):
    """Every client installs from a mirror what the index has that it mirrors, which is gone."""
    del internet.plain.sites[INDEX]
    document = mirror / "package" / mpy / "telemetry" / "latest.json"
    assert {len(digits) for _, digits in json.loads(document.read_text())["hashes"]} == {64}
    installed = {}
    for name, board in boards.items():
        install(name, board, internet, *words, *FROM_MIRROR, "telemetry")
        installed[name] = board.tree()
    assert installed == dict.fromkeys(CLIENTS, indexed(index, "telemetry", mpy))


@pytest.mark.parametrize("name", ["mpremote", "upstream"])
def test_mip_takes_over(internet, boards, index, name):
    """Where another client has installed, mip fetches no file, and has a record from then on."""
    board = boards[name]
    words = [*FROM_INDEX, "telemetry"]
    install(name, board, internet, *words)
    internet.reset()
    assert install("mip", board, internet, *words).count("Exists:") == 10
    assert internet.files == []
    assert board.tree() == indexed(index, "telemetry", "6")
    assert board.mip("list", check=True).lines == ["telemetry@0.1.0"]
    assert board.mip("verify", check=True).lines == []
    board.mip("uninstall", "telemetry", check=True)
    assert board.tree() == {}


@pytest.mark.parametrize("name", ["mpremote", "upstream"])
def test_others_take_over(internet, boards, name):
    """Where mip has installed, another client fetches no file, and leaves the record alone."""
    board = boards["mip"]
    words = [*FROM_INDEX, "telemetry"]
    install("mip", board, internet, *words)
    before = board.tree(everything=True)
    internet.reset()
    assert install(name, board, internet, *words).count("Exists:") == 10
    assert internet.files == []
    assert board.tree(everything=True) == before


# --- Boards without a network ---

# Turns the interpreter at the serial port into a board: one disk, and nothing frozen.
BOARD = """
import os, ramdisk, sys
try:
    import vfs
except ImportError:
    vfs = os  # MicroPython before 1.23
vfs.umount("/")
ramdisk.mount(%r, 512, "/")
os.chdir("/")
sys.path[:] = ["", "/lib"]
"""


def documented(start):
    """The command of docs/firmware.md that starts so, as a list of its words after `start`."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"$ {start} ")]
    return shlex.split(line.removeprefix(f"$ {start} "))


@pytest.fixture
def pc(internet, device, tmp_path):
    """A computer with a MicroPython and mpremote, on an internet that has mip's repository."""
    clone = f"{GITHUB}/ORG/REPO/HEAD"
    for file in ("package.json", "mip/__init__.py", "mip/__main__.py"):
        internet.put(f"{clone}/{file}", (ROOT / file).read_bytes())
    return computer(internet, device, tmp_path / "pc")


@pytest.mark.parametrize(("kind", "there"), [("lfs2", False), ("fat", True)])
def test_staged_and_copied(pc, boards, kind, there):
    """What mip installs into a directory of the PC works when mpremote has copied it.

    there: whether the board has a directory lib before.
    """
    words = documented("micropython -m mip")
    words[words.index("--index=https://host/pi")] = f"--index=http://{INDEX}"
    assert pc.mip(*words, check=True).lines[-1] == "Done"
    copy = ["fs", *documented("mpremote fs")]
    prepare = BOARD % kind + ('os.mkdir("lib")' if there else "")
    use = "import mip, telemetry; mip.list(); telemetry.loopback([20]); print(mip.verify())"
    with Terminal(boards["mip"], path=[]) as terminal:
        done = terminal.run("exec", prepare, "+", *copy, "+", "exec", use, cwd=pc.work)
        again = terminal.run(*copy, cwd=pc.work)
    said = ["telemetry@0.1.0", "github:ORG/REPO", "channel 1: 20.000", "[]"]
    assert done.splitlines()[-4:] == said
    staged = pc.tree(pc.work / "staging", everything=True)
    assert again.count("Up to date:") == len(staged) == len(again.splitlines()) - 1


def test_installed_from_a_mounted_directory(pc, boards, index):
    """A board without a network installs from an index on the PC, which mpremote mounts."""
    shutil.copytree(index, pc.work / "site")
    prepare = "import mip, sys\n" + BOARD % "lfs2"
    mount = ["mount", *documented("mpremote mount")]
    use = "import telemetry; mip.list(); telemetry.loopback([20]); print(mip.verify())"
    with Terminal(boards["mip"], path=boards["mip"].path) as terminal:
        done = terminal.run("exec", prepare, "+", *mount, "+", "exec", use, cwd=pc.work)
    assert done.split("Done\n")[1].split("\n")[:3] == [
        "telemetry@0.1.0",
        "channel 1: 20.000",
        "[]",
    ]


def test_a_firmware_without_sockets(device, index, tmp_path):
    """A board that cannot have a network installs from a directory, upgrades and uninstalls."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in "socket", "requests":
        (modules / f"{name}.py").write_text(f"raise ImportError(\"no module named '{name}'\")\n")
    code = "import json, mip, sys; getattr(mip, sys.argv[1])(**json.loads(sys.argv[2]))"

    def run(verb, **options):
        return device.run(
            code, verb, json.dumps(options), path=[modules, device.path], check=True
        ).lines

    assert run("install", package="telemetry", index=str(index))[-1] == "Done"
    assert device.tree() == indexed(index, "telemetry", "6")
    assert run("upgrade", index=str(index))[-1] == "Done"
    assert run("verify") == []
    assert run("uninstall", package="telemetry")[-1] == "Done"
    assert device.tree(everything=True) == {".mip/record": b'["mip", 1]\n'}


# --- What is published of sources like those of micropython-lib ---

LIBRARY = "library.example"
# The sources, the packages, and what is where: {package: paths in its bytecode}.
SOURCES_OF_LIBRARY = {
    "fast/manifest.py": 'metadata(version="1.0")\nmodule("fast.py", opt=3)',
    "fast/fast.py": "assert print\n",
    "plain/manifest.py": 'metadata(version="0.2")\npackage("plain")',
    "plain/plain/__init__.py": "from .part import x\n",
    "plain/plain/part.py": "assert print\nx = 1\n",
    "needs/manifest.py": 'metadata(version="1.1")\nrequire("plain")\nmodule("needs.py")',
    "needs/needs.py": "import plain\n",
    "data/manifest.py": 'metadata(version="1.0")\n'
    'package("data", files=["__init__.py", "t.json"])',
    "data/data/__init__.py": "",
    "data/data/t.json": "[1, 2]\n",
    "native/package.json": json.dumps(
        {
            "version": "1.0",
            "urls": [["native.mpy", "{MPY_ARCH}/native.mpy"], ["native.py", "native.py"]],
        }
    ),
    "native/native.py": "def double(x):\n    return 2 * x\n",
}
PACKAGES_OF_LIBRARY = {
    "fast": ["fast.mpy"],
    "plain": ["plain/__init__.mpy", "plain/part.mpy"],
    "needs": ["needs.mpy", "plain/__init__.mpy", "plain/part.mpy"],
    "data": ["data/__init__.mpy", "data/t.json"],
    "native": ["native.mpy"],
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The directory of an index of such sources."""
    sources, output = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("library")
    for path, text in SOURCES_OF_LIBRARY.items():
        (sources / path).parent.mkdir(parents=True, exist_ok=True)
        (sources / path).write_text(text)
    for arch in "x64", "armv7emsp":
        (sources / "native" / arch).mkdir()
        code = b"@micropython.native\ndef double(x):\n    return 2 * x\n"
        module = compiler.compile_module(code, "native.py", None, "6", arch)
        (sources / "native" / arch / "native.mpy").write_bytes(module)
    mip_index.build(sources, output)
    return output


@pytest.fixture
def serving(library, internet):
    """The internet, with that index."""
    internet.plain.sites[LIBRARY] = library
    internet.hosts[LIBRARY] = internet.plain.port
    return internet


@pytest.mark.parametrize("mpy", ["6", "py"])
@pytest.mark.parametrize("package", PACKAGES_OF_LIBRARY)
def test_the_trees_of_what_was_built(serving, boards, library, package, mpy):
    """Every client installs the same files of a package, with opt, data, native code, or none."""
    words = [*(["--no-mpy"] if mpy == "py" else []), "--index", f"http://{LIBRARY}", package]
    installed = {}
    for name, board in boards.items():
        install(name, board, serving, *words)
        installed[name] = board.tree()
    tree = dict(sorted(indexed(library, package, mpy).items()))
    suffix = ".py" if mpy == "py" else ".mpy"
    assert list(tree) == [path.replace(".mpy", suffix) for path in PACKAGES_OF_LIBRARY[package]]
    assert installed == dict.fromkeys(CLIENTS, tree)


def test_the_trees_of_native_code(serving, boards, library):
    """From the index of its architecture every client installs a board's native code."""
    installed = {}
    for name, board in boards.items():
        install(name, board, serving, "--index", f"http://{LIBRARY}/x64_6.3", "native")
        installed[name] = board.tree()
        used = board.run("import native; print(native.double(21))", path=[], check=True)
        assert used.lines == ["42"]
    assert installed == dict.fromkeys(CLIENTS, indexed(library / "x64_6.3", "native", "6"))
    assert installed["mip"]["native.mpy"][2] >> 2 == 2
    assert indexed(library / "armv7emsp_6.3", "native", "6")["native.mpy"][2] >> 2 == 7


def test_mip_chooses_the_architecture(serving, boards):
    """This mip finds the index of its architecture by itself, and for the rest the other one."""
    board = boards["mip"]
    native = f"http://{LIBRARY}/{{MPY_ARCH}}_{{MPY_VERSION}}"
    indexes = ["--index", native, "--index", f"http://{LIBRARY}"]
    install("mip", board, serving, *indexes, "native", "plain")
    tree = board.tree()
    assert tree["native.mpy"][2] >> 2 == 2 and "plain/part.mpy" in tree
    board.mip("upgrade", check=True)
    assert board.tree() == tree
