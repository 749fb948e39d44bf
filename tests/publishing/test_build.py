"""Publishing: what `mip-index build` writes, and that devices can use it."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import mip_index
import pytest
import trustme
from device import Device, interpreter
from folders import PACKAGES, ROOT
from mip_index import PublishError, build, compiler, sources, store
from mip_index.serving import cache_control, certificate_names, reachable_address
from scripted_server import Server

TOOLS = Path(mip_index.__file__).parent.parent

# One line a package, and what it prints.
DEMOS = {
    "crc": ('import crc; print(hex(crc.crc16(b"123456789")))', "0x29b1"),
    "frame": (
        'import frame; print(frame.decode(frame.encode(b"a\\0b")[:-1]))',
        "b'a\\x00b'",
    ),
    "keyvalue": (
        'import keyvalue; print(keyvalue.parse(["[wifi]", "retries = 3"]))',
        "{'wifi.retries': 3}",
    ),
    "morse": ('import morse; print(morse.encode("SOS"))', "... --- ..."),
    "smooth": (
        "import smooth; print(smooth.run(smooth.Median(3), [20, 21, 95, 22]))",
        "[20, 20.5, 21, 22]",
    ),
    "telemetry": (
        "import telemetry; telemetry.loopback([20, 21])",
        "channel 1: 20.000\nchannel 1: 20.500",
    ),
    "ticker": (
        "import ticker; t = ticker.Ticker(); t.add(1, lambda: print('tick')); t.run(2)",
        "tick\ntick",
    ),
}


def write_package(directory, manifest, **files):
    """Write a package's sources. manifest: the text of manifest.py; files: a="..." is a.py."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.py").write_text(manifest)
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    return directory


def write_simple(directory, version, text="x = 1\n", requires=()):
    """Write a package that is one module of the same name."""
    manifest = f'metadata(version="{version}")\nmodule("{directory.name}.py")\n'
    manifest += "".join(f'require("{name}")\n' for name in requires)
    return write_package(directory, manifest, **{directory.name: text})


def write_json_package(directory, **package):
    """Write a package with a package.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text(json.dumps(package))
    return directory


def read(index, mpy, name, version="latest"):
    """Read the JSON of a package."""
    return json.loads((index / "package" / mpy / name / f"{version}.json").read_text())


def read_file(index, hash):
    """Read a content, and check its hash."""
    content = (index / "file" / hash[:2] / hash).read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith(hash)
    return content


def paths(package):
    """The paths that a package's JSON names."""
    return [path for path, _ in package["hashes"]]


def tree(directory):
    """All files under a directory: path -> content."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def assert_whole(index):
    """Check that every JSON of an index is whole, and that every file it names is there."""
    for path in index.glob("package/*/*/*.json"):
        for _, hash in json.loads(path.read_bytes())["hashes"]:
            read_file(index, hash)
    listing = index / "index.json"
    if listing.exists():
        for entry in json.loads(listing.read_bytes())["packages"]:
            for mpy, versions in entry["versions"].items():
                for version in versions:
                    assert read(index, mpy, entry["name"], version)["version"] == version
                # After an interruption it may be ahead of the list, but it has to be there.
                latest = read(index, mpy, entry["name"])
                assert latest == read(index, mpy, entry["name"], latest["version"])
                assert latest["version"] >= versions[-1]


# --- What is written ---


def test_every_demo_package_is_tried():
    assert set(DEMOS) == {path.name for path in PACKAGES.iterdir()}


def test_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    index = tmp_path / "index"
    build("tests/packages", index)
    listing = json.loads((index / "index.json").read_text())
    assert (listing["v"], type(listing["updated"])) == (2, int)
    assert [entry["name"] for entry in listing["packages"]] == sorted(DEMOS)
    assert listing["packages"][0] == {
        "name": "crc",
        "version": "1.0.0",
        "author": "the authors of mip",
        "description": "Checksums of sensors, serial protocols and files: CRC-8, CRC-16, CRC-32.",
        "license": "MIT",
        "path": "tests/packages/crc",
        "versions": {"6": ["1.0.0"], "py": ["1.0.0"]},
    }
    for entry in listing["packages"]:
        for mpy in ("6", "py"):
            package = read(index, mpy, entry["name"], entry["version"])
            assert package == read(index, mpy, entry["name"])
            assert (package["v"], package["version"]) == (1, entry["version"])
            assert set(package) == {"v", "version", "hashes"}
            assert all(re.fullmatch("[0-9a-f]{8}", hash) for _, hash in package["hashes"])
    assert_whole(index)
    # Nothing else is there: every file is named by a JSON, every JSON by index.json.
    named = {hash for path in index.glob("package/**/*.json") for _, hash in json_hashes(path)}
    assert {path.name for path in index.glob("file/**/*") if path.is_file()} == named
    there = {path.name for path in index.iterdir()}
    assert there == {"index.json", "index.html", "package", "file"}


def json_hashes(path):
    """The `hashes` of the package JSON at `path`."""
    return json.loads(path.read_text())["hashes"]


def test_contents(index):
    for name, path in (("crc", "crc.py"), ("morse", "morse/alphabet.json")):
        source = (PACKAGES / name / path).read_bytes()
        if path.endswith(".py"):
            source += b"\n\n__version__ = '1.0.0'\n"
        assert read_file(index, dict(read(index, "py", name)["hashes"])[path]) == source
    compiled = dict(read(index, "6", "morse")["hashes"])
    assert set(compiled) == {"morse/__init__.mpy", "morse/alphabet.json"}
    assert read_file(index, compiled["morse/alphabet.json"]) == source
    bytecode = read_file(index, compiled["morse/__init__.mpy"])
    assert bytecode[:2] == b"M\x06"
    # The path on the device is what tracebacks show.
    assert b"morse/__init__.py" in bytecode and str(PACKAGES).encode() not in bytecode


def test_dependencies_become_files(index):
    assert paths(read(index, "py", "frame")) == ["crc.py", "frame.py"]
    telemetry = read(index, "6", "telemetry")
    assert {"crc.mpy", "frame.mpy", "telemetry.mpy", "smooth/adaptive/kalman.mpy"} < set(
        paths(telemetry)
    )
    assert set(map(tuple, read(index, "6", "frame")["hashes"])) < set(
        map(tuple, telemetry["hashes"])
    )


def test_builds_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build(PACKAGES, tmp_path / "a")
    build(sorted(PACKAGES.iterdir(), reverse=True), tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert json.loads((tmp_path / "a" / "index.json").read_text())["updated"] == 1700000000


@pytest.mark.parametrize("text", ["yesterday", "9" * 20, "1.5"])
def test_a_wrong_build_time(tmp_path, monkeypatch, text):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(PublishError, match=f"since 1970: {text}$"):
        build(PACKAGES, tmp_path / "index")


@pytest.mark.parametrize("length", [7, 65])
def test_hashes_are_not_too_short_or_long(tmp_path, length):
    with pytest.raises(PublishError, match="8 to 64"):
        build(PACKAGES, tmp_path / "index", hash_length=length)


def test_hash_length(tmp_path):
    write_simple(tmp_path / "a", "1")
    build(tmp_path / "a", tmp_path / "index", hash_length=64)
    ((_, hash),) = read(tmp_path / "index", "py", "a")["hashes"]
    assert hash == hashlib.sha256(b"x = 1\n\n\n__version__ = '1'\n").hexdigest()
    # The index keeps to it, until another length is chosen; what is published stays as it is.
    both = [tmp_path / "a", tmp_path / "b"]
    for version, length, digits in (("1", None, 64), ("2", 12, 12), ("3", None, 12)):
        write_simple(tmp_path / "b", version, requires=["a"])
        assert build(both, tmp_path / "index", hash_length=length) == [("b", version)]
        assert len(read(tmp_path / "index", "py", "b", version)["hashes"][0][1]) == digits
    assert len(read(tmp_path / "index", "py", "a")["hashes"][0][1]) == 64
    assert_whole(tmp_path / "index")


def test_contents_of_the_same_hash(tmp_path):
    write_simple(tmp_path / "a", "1")
    hash = hashlib.sha256(b"x = 1\n\n\n__version__ = '1'\n").hexdigest()[:8]
    other = tmp_path / "index" / "file" / hash[:2] / hash
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    with pytest.raises(PublishError, match=f"{hash} has other content"):
        build(tmp_path / "a", tmp_path / "index")
    assert other.read_bytes() == b"other"


def test_older_bytecode(tmp_path):
    write_simple(tmp_path / "a", "1")
    build(tmp_path / "a", tmp_path / "index", mpy_versions=["6", "5"])
    ((_, hash),) = read(tmp_path / "index", "5", "a")["hashes"]
    assert read_file(tmp_path / "index", hash)[:2] == b"M\x05"
    (entry,) = json.loads((tmp_path / "index" / "index.json").read_text())["packages"]
    assert entry["versions"] == {"5": ["1"], "6": ["1"], "py": ["1"]}
    # The index keeps to these, until others are chosen.
    for version, chosen in (("2", None), ("3", ["6"]), ("4", None)):
        write_simple(tmp_path / "a", version)
        build(tmp_path / "a", tmp_path / "index", mpy_versions=chosen)
    (entry,) = json.loads((tmp_path / "index" / "index.json").read_text())["packages"]
    four = ["1", "2", "3", "4"]
    assert entry["versions"] == {"5": ["1", "2"], "6": four, "py": four}


def test_bytecode_can_be_added_later(tmp_path):
    write_simple(tmp_path / "a", "1")
    build(tmp_path / "a", tmp_path / "index", mpy_versions=["6"])
    assert not (tmp_path / "index" / "package" / "5").exists()
    assert build(tmp_path / "a", tmp_path / "index", mpy_versions=["5"]) == [("a", "1")]
    assert paths(read(tmp_path / "index", "5", "a", "1")) == ["a.mpy"]
    (entry,) = json.loads((tmp_path / "index" / "index.json").read_text())["packages"]
    assert entry["versions"] == {"5": ["1"], "6": ["1"], "py": ["1"]}


def test_unknown_bytecode(tmp_path):
    write_simple(tmp_path / "a", "1")
    with pytest.raises(PublishError, match="mpy-cross"):
        build(tmp_path / "a", tmp_path / "index", mpy_versions=["99"])
    assert not (tmp_path / "index").exists()


def test_a_compiler_of_another_version(tmp_path, monkeypatch):
    write_simple(tmp_path / "a", "1", text="compiled = 'never before'\n")
    monkeypatch.setattr(compiler, "NEWEST_MPY", "5")
    with pytest.raises(PublishError, match="wrote bytecode version 6, not 5"):
        build(tmp_path / "a", tmp_path / "index", mpy_versions=["5"])


# --- Versions ---


def test_nothing_new_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert len(build(PACKAGES, tmp_path)) == len(DEMOS)
    before = tree(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2")
    assert build(PACKAGES, tmp_path) == []
    assert tree(tmp_path) == before


def test_a_published_version_never_changes(tmp_path):
    index = tmp_path / "index"
    for name in "abc":
        write_simple(tmp_path / "in" / name, "1.0")
    build(tmp_path / "in", index)
    before = tree(index)
    write_simple(tmp_path / "in" / "a", "1.1")
    write_simple(tmp_path / "in" / "b", "1.0", text="x = 2\n")
    with pytest.raises(
        PublishError, match=r"^b 1\.0 is published with other content \(b\.py of b"
    ):
        build(tmp_path / "in", index)
    assert tree(index) == before


@pytest.mark.parametrize(
    "manifest, message",
    [
        ('module("a.py")', "b.py is missing"),
        ('module("a.py"); module("b.py"); module("c.py")', "c.py of a"),
        ('module("a.py"); module("b.py"); require("x")', "deps"),
    ],
)
def test_ways_in_which_content_changes(tmp_path, manifest, message):
    modules = dict.fromkeys("abc", "x = 1\n")
    metadata = 'metadata(version="1")\n'
    write_package(tmp_path / "a", metadata + 'module("a.py"); module("b.py")', **modules)
    build(tmp_path / "a", tmp_path / "index")
    write_package(tmp_path / "a", metadata + manifest)
    with pytest.raises(PublishError, match=re.escape(f"({message})")):
        build(tmp_path / "a", tmp_path / "index")


def test_a_new_dependency_needs_a_new_version_too(tmp_path):
    write_simple(tmp_path / "in" / "a", "1", requires=["b"])
    write_simple(tmp_path / "in" / "b", "1")
    build(tmp_path / "in", tmp_path / "index")
    write_simple(tmp_path / "in" / "b", "2", text="x = 2\n")
    with pytest.raises(PublishError, match=r"^a 1 is published .*\(b\.py of b\)"):
        build(tmp_path / "in", tmp_path / "index")


def test_latest_moves(tmp_path):
    index = tmp_path / "index"
    for number in (9, 10):
        write_simple(tmp_path / "a", f"0.{number}", text=f"x = {number}\n")
        assert build(tmp_path / "a", index) == [("a", f"0.{number}")]
        for mpy in ("6", "py"):
            assert read(index, mpy, "a") == read(index, mpy, "a", f"0.{number}")
    (entry,) = json.loads((index / "index.json").read_text())["packages"]
    assert entry["version"] == "0.10"
    assert entry["versions"] == {"6": ["0.9", "0.10"], "py": ["0.9", "0.10"]}
    ((_, hash),) = read(index, "py", "a", "0.9")["hashes"]
    assert read_file(index, hash) == b"x = 9\n\n\n__version__ = '0.9'\n"


def test_latest_never_moves_back(tmp_path):
    index = tmp_path / "index"
    for version in ("2.0", "1.1"):
        manifest = f'metadata(version="{version}", description="{version}")\nmodule("a.py")'
        write_package(tmp_path / "a", manifest, a=f"x = {version}\n")
        build(tmp_path / "a", index)
        assert read(index, "py", "a")["version"] == "2.0"
    (entry,) = json.loads((index / "index.json").read_text())["packages"]
    assert (entry["version"], entry["description"]) == ("2.0", "2.0")
    assert entry["versions"]["py"] == ["1.1", "2.0"]
    before = tree(index)
    assert build(tmp_path / "a", index) == []
    assert tree(index) == before


def test_order_of_versions():
    versions = ["0.9", "0.10", "1.0-alpha", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.1", "10.0"]
    assert sorted(reversed(versions), key=store.version_key) == versions
    # With a v as without; what is worth the same has an order, too.
    for versions in (["1.0", "v1.1", "1.2"], ["01.0", "1.0", "v1.0", "1.0.0"]):
        for given in versions, versions[::-1]:
            assert sorted(given, key=store.version_key) == versions


def test_other_packages_stay(tmp_path):
    write_simple(tmp_path / "a", "1")
    write_simple(tmp_path / "b", "1", text="x = 2\n")
    build(tmp_path / "b", tmp_path / "index")
    build(tmp_path / "a", tmp_path / "index")
    listing = json.loads((tmp_path / "index" / "index.json").read_text())
    assert [entry["name"] for entry in listing["packages"]] == ["a", "b"]


@pytest.fixture(scope="module", params=[[], ["1"]], ids=["new index", "old index"])
def publishing(request, tmp_path_factory):
    """Sources, the index before and the index after they are published, as directories."""
    base = tmp_path_factory.mktemp("publishing")
    sources, old, whole = base / "in", base / "old", base / "whole"
    old.mkdir()
    for version in [*request.param, "2"]:
        if whole.exists():
            whole.rename(old)
        write_simple(sources / "a", version, text=f"x = {version}\n")
        write_simple(sources / "b", version, text=f"y = {version}\n", requires=["a"])
        shutil.copytree(old, whole)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SOURCE_DATE_EPOCH", "1")
            build(sources, whole)
    return sources, old, whole


def assert_recovers(index, publishing):
    """Check an index in which a build was interrupted, and that building again completes it."""
    sources, old, whole = publishing
    old_files, new_files = tree(old), tree(whole)
    assert_whole(index)
    # Every file is as before or as after; none has gone, and none is there for nothing.
    files = tree(index)
    left = {path for path in files if re.search(r"/?\.[^/]+\.tmp$", path)}
    assert len(left) <= 1
    assert set(old_files) <= set(files) - left <= set(new_files)
    for path in set(files) - left:
        assert files[path] in (old_files.get(path), new_files[path])
    build(sources, index)
    assert tree(index) == new_files
    return left


# Builds again and again, each time in a copy of an index and in a process of its own, which
# kills itself right before its 1st, 2nd, 3rd ... change to a file, until one is not killed.
KILL_SWEEP = """
import itertools, os, shutil, signal, sys
from mip_index import build

sources, old, copies = sys.argv[1:]
build(sources, copies + "/warm")  # compiles, once for all

def kill_at(step, index):
    def hook(event, arguments):
        nonlocal step
        changes = event in ("os.rename", "os.mkdir", "os.remove") or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if changes and str(arguments[0]).startswith(index):
            step -= 1
            if not step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

for step in itertools.count(1):
    index = f"{copies}/{step}"
    shutil.copytree(old, index)
    child = os.fork()
    if not child:
        kill_at(step, index)
        build(sources, index)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(status)
"""


def test_killed_at_every_point(publishing, tmp_path, monkeypatch, figures):
    """An index in which a build was killed is whole, whatever the build had just done."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    sources, old, _ = publishing
    tools = {**os.environ, "PYTHONPATH": str(TOOLS)}
    command = [sys.executable, "-c", KILL_SWEEP, sources, old, tmp_path]
    subprocess.run(command, env=tools, check=True)
    shutil.rmtree(tmp_path / "warm")
    steps = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    left = [bool(assert_recovers(index, publishing)) for index in steps]
    # Each of 14 files is opened and renamed, and killed in between it leaves its temporary one.
    assert len(steps) > 28 and sum(left) == 14
    figures("places where a build is killed", len(steps) - 1)


def test_a_full_disk_at_every_write(publishing, tmp_path, monkeypatch):
    """An index on a disk that is full, from the middle of any write on, is whole."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    sources, old, _ = publishing
    write_bytes = Path.write_bytes
    for step in itertools.count(1):
        index = tmp_path / str(step)
        shutil.copytree(old, index)
        writes = 0

        def write(path, data, step=step, index=index):
            nonlocal writes
            writes += path.is_relative_to(index)
            if writes == step:
                write_bytes(path, data[: len(data) // 2])
                raise OSError(28, "No space left on device")
            write_bytes(path, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_bytes", write)
            try:
                build(sources, index)
                break
            except OSError as error:
                assert error.errno == 28
        assert assert_recovers(index, publishing) == set()
    # 4 contents (2 modules, source and compiled), 4 versions, 4 latest, index.json, the page.
    assert step == 15


def test_built_again_published_files_keep_their_bytes(tmp_path):
    """What is published keeps its bytes when its sources change and are built again and again."""
    index = tmp_path / "index"
    published = {}
    for version in ("1.0", "1.1", "1.2"):
        write_simple(tmp_path / "in" / "a", version, text=f"x = {version}\n")
        write_simple(tmp_path / "in" / "b", version, text=f"y = {version}\n", requires=["a"])
        write_simple(tmp_path / "in" / version, version, text="z = 1\n")
        assert ("b", version) in build(tmp_path / "in", index)
        assert_whole(index)
        files = tree(index)
        assert published.items() <= files.items()
        published = {
            path: data
            for path, data in files.items()
            if not path.endswith(("/latest.json", "index.json", "index.html"))
        }
    assert len([path for path in published if path.startswith("package/6/b/")]) == 3


# --- What is read ---


def test_manifest_functions(tmp_path):
    base = tmp_path / "in"
    write_package(
        base / "a",
        """
metadata(version="1.0", description="d", license="l", author="w", pypi="other")
options.defaults(extra=False, more=True)
package("pkg")
package("part", files=["one.py", "data.bin"], base_path="../shared", opt=1)
module("a.py", opt=0)
include("more.py", level=3)
include(["../included", "more.py"])
if options.extra or options.unknown or not options.more:
    module("missing.py")
""",
        a="assert 1\n",
        more='module(f"level{options.level}.py")\n',
        level3="",
    )
    write_package(base / "a" / "pkg" / "sub", "", __init__="", m="")
    (base / "a" / "pkg" / "sub" / "manifest.py").unlink()
    (base / "a" / "pkg" / "notes.txt").write_text("not a module")
    write_package(base / "shared" / "part", "", one="", two="")
    (base / "shared" / "part" / "data.bin").write_bytes(b"\0\xff")
    write_package(base / "included", 'module("inc.py")', inc="")
    source = sources.Found(base / "a", base).read("a")
    assert (source.name, source.version) == ("a", "1.0")
    assert {file.path: file.opt for file in source.files} == {
        "pkg/sub/__init__.py": None,
        "pkg/sub/m.py": None,
        "part/one.py": 1,
        "part/data.bin": 1,
        "a.py": 0,
        "level3.py": None,
        "inc.py": None,
    }
    shutil.rmtree(base / "included")
    (base / "shared" / "part" / "manifest.py").unlink()
    (base / "included.py").write_text("")
    (base / "a" / "manifest.py").write_text(
        (base / "a" / "manifest.py").read_text().replace('["../included", "more.py"]', '"more.py"')
    )
    build(base, tmp_path / "index")
    hashes = dict(read(tmp_path / "index", "6", "a")["hashes"])
    assert read_file(tmp_path / "index", hashes["part/data.bin"]) == b"\0\xff"
    (entry,) = json.loads((tmp_path / "index" / "index.json").read_text())["packages"]
    assert [entry[key] for key in ("description", "license", "author")] == ["d", "l", "w"]


def test_opt_reaches_mpy_cross(tmp_path):
    text = "assert zebra()\n"
    manifest = 'metadata(version="1")\nmodule("a.py")\nmodule("b.py", opt=0)'
    write_package(tmp_path / "p", manifest, a=text, b=text)
    # Asserts are left out from -O1 on; mpy-cross by itself, and the public index, keep them.
    for opt, kept in (None, (True, True)), (3, (False, True)):
        index = tmp_path / f"index{opt}"
        build(tmp_path / "p", index, opt=opt)
        hashes = dict(read(index, "6", "p")["hashes"])
        code = [read_file(index, hashes[path]) for path in ("a.mpy", "b.mpy")]
        assert tuple(b"zebra" in data for data in code) == kept


def test_options_of_required_packages(tmp_path):
    write_package(
        tmp_path / "in" / "a",
        'metadata(version="1"); options(full=False)\n'
        'module("a.py")\nif options.full: module("b.py")',
        a="",
        b="",
    )
    write_package(
        tmp_path / "in" / "c", 'metadata(version="1"); require("a", full=True)', c="x = 1\n"
    )
    build(tmp_path / "in", tmp_path / "index")
    assert paths(read(tmp_path / "index", "py", "a")) == ["a.py"]
    assert paths(read(tmp_path / "index", "py", "c")) == ["a.py", "b.py"]


def test_prebuilt_modules_are_copied(tmp_path):
    """Bytecode and native code that a package has is published as it is, in every kind."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "fast.mpy").write_bytes(b"M\x06\x0a\x1f" + name.encode())
    manifest = 'metadata(version="1")\npackage("", files=["fast.mpy"])\nmodule("slow.py")'
    write_package(tmp_path / "in" / "a", manifest, slow="x = 1\n")
    write_json_package(tmp_path / "in" / "b", version="1", urls=[["b/fast.mpy", "fast.mpy"]])
    build(tmp_path / "in", tmp_path / "index", mpy_versions=["6", "5"])
    for mpy in ("6", "5", "py"):
        for name, path in (("a", "fast.mpy"), ("b", "b/fast.mpy")):
            hash = dict(read(tmp_path / "index", mpy, name)["hashes"])[path]
            assert read_file(tmp_path / "index", hash) == b"M\x06\x0a\x1f" + name.encode()


def test_dependencies_elsewhere(tmp_path):
    base = tmp_path / "in"
    write_simple(base / "a", "1", text="x = 1\n", requires=["b", "os-path"])
    write_simple(base / "b", "1", text="x = 2\n", requires=["a", "collections", "os-path"])
    build(base, tmp_path / "index")
    package = read(tmp_path / "index", "6", "a")
    assert paths(package) == ["a.mpy", "b.mpy"]
    assert package["deps"] == [["collections", "latest"], ["os-path", "latest"]]


def test_package_json(tmp_path):
    base = tmp_path / "in"
    (base / "a" / "src").mkdir(parents=True)
    (base / "a" / "src" / "a.py").write_text("x = 1\n")
    (base / "a" / "page.html").write_text("<p>")
    write_json_package(
        base / "a",
        version="1",
        description="d",
        urls=[["./a//a.py", "src/a.py"], ["/a/page.html", "page.html"]],
        deps=[
            ["b", "latest"],
            ["c"],
            "d",
            "e@2",
            ["github:o/r", "v1", "more"],
            ["github:o/s", "latest"],
            "https://github.com/o/t",
            "https://h/u@i/x.json",
            ["f", "0.1"],
        ],
    )
    write_simple(base / "b", "1", text="x = 2\n")
    write_simple(base / "f", "0.2", text="x = 3\n")
    build(base, tmp_path / "index")
    package = read(tmp_path / "index", "6", "a")
    assert paths(package) == ["a/a.mpy", "a/page.html", "b.mpy"]
    assert package["deps"] == [
        ["c", "latest"],
        ["d", "latest"],
        ["e", "2"],
        ["github:o/r", "v1"],
        # To upstream and mpremote "latest" would be a branch.
        ["github:o/s", ""],
        ["github:o/t", ""],
        ["https://h/u@i/x.json", "latest"],
        ["f", "0.1"],
    ]
    entry = json.loads((tmp_path / "index" / "index.json").read_text())["packages"][0]
    assert (entry["name"], entry["description"], entry["license"]) == ("a", "d", "")


def test_a_manifest_goes_first(tmp_path):
    write_simple(tmp_path / "a", "2")
    write_json_package(tmp_path / "a", version="1", urls=[["b.py", "a.py"]])
    assert build(tmp_path / "a", tmp_path / "index") == [("a", "2")]


def test_packages_are_found_in_directories(tmp_path):
    for path in ("x/a", "x/y/b", "x/.hidden/c", "x/a/tests/d"):
        write_simple(tmp_path / path, "1")
    (tmp_path / "x" / "README").write_text("")
    assert list(sources.find_packages([tmp_path / "x"])) == ["a", "b"]
    with pytest.raises(PublishError, match="README: a file: name its directory"):
        build(tmp_path / "x" / "README", tmp_path / "index")
    write_simple(tmp_path / "z" / "a", "1")
    with pytest.raises(PublishError, match=r"a is also in .*x"):
        build([tmp_path / "x", tmp_path / "z"], tmp_path / "index")
    write_simple(tmp_path / "Z" / "A", "1")
    with pytest.raises(PublishError, match=r"A is also in .*x/a"):
        build([tmp_path / "x", tmp_path / "Z"], tmp_path / "index")
    # The same one twice is no trouble.
    assert build([tmp_path / "x" / "a", tmp_path / "x"], tmp_path / "index")


MANIFEST_ERRORS = [
    ('module("a.py")', "no version"),
    ('metadata(version="latest"); module("a.py")', "'latest'"),
    ('metadata(version="1/2"); module("a.py")', "'1/2'"),
    ('metadata(version=1.0); module("a.py")', 'version: 1.0: write "1.0"'),
    ('metadata(version="1")', "no files"),
    ('metadata(version="1")\nmodule("b.py"); module("c.py")', r"no such file: \S+b.py, \S+c.py"),
    ('metadata(version="1")\npackage("nothing")', "no .py file in .*nothing"),
    ('metadata(version="1")\npackage("p", files=["../../a.py"])', r"'p/../../a.py'"),
    ('metadata(version="1")\nmodule("../a.py")', r"'../a.py'"),
    ("\n\nfreeze('.')", "line 3: NameError: .*freeze"),
    ("x = = 1", "SyntaxError"),
    ("\ninclude('gone.py')", "no manifest to include: .*gone.py"),
    ('metadata(version="1"); module("bad.py")', r"bad.py: mpy-cross: .*line 2.*SyntaxError"),
    ('metadata(version="1"); module("a.py"); package(".", files=["a.mpy"])', "a.mpy clashes with"),
]


@pytest.mark.parametrize("manifest, message", MANIFEST_ERRORS)
def test_mistakes_in_manifests(tmp_path, manifest, message):
    write_package(tmp_path / "p", manifest, a="", bad="\nx = = 1")
    (tmp_path / "p" / "a.mpy").write_bytes(b"M\x06\x00\x1f\x00")
    with pytest.raises(PublishError, match=message) as error:
        build(tmp_path / "p", tmp_path / "index")
    assert str(tmp_path / "p") in str(error.value)
    assert not (tmp_path / "index").exists()


JSON_ERRORS = [
    ("{", "line 1"),
    ("[]", "the document is not an object"),
    ("[" * 100_000, "nested too deeply"),
    ('{"version": "1", "urls": [["a.py"]]}', r"urls\[0\]: an entry is \[destination, URL\]"),
    ('{"version": "1", "urls": [["a.py", 1]]}', r"urls\[0\]: a URL is a text"),
    ('{"version": "1", "urls": [["a.py", "a.py", 1]]}', r"urls\[0\]: an entry has two elem"),
    ('{"version": "1", "urls": [["a.py", "\\ud800"]]}', "half a character"),
    ('{"version": "1", "urls": {"a.py": "a.py"}}', r"urls: a list of \[destination, URL\]"),
    ('{"version": "1", "urls": [["a.py", "a.py"]], "deps": "logging"}', "deps: a list of"),
    ('{"version": "1", "urls": [["a.py", "a.py"]], "deps": {"a": "1"}}', "deps: a list of"),
    ('{"version": "1", "urls": [["a.py", "a.py"]], "urls": []}', "'urls' is there twice"),
    ('{"v": 2, "version": "1", "urls": [["a.py", "a.py"]]}', "v: 1 is the only version"),
    ('{"version": "1", "urls": [["a.py", "github:o/r/a.py"]]}', "relative URL.* github:o/r/a.py"),
    ('{"version": "1", "urls": [["a.py", "/a.py"]]}', "relative URL"),
    ('{"version": "1", "urls": [["../a.py", "a.py"]]}', "'../a.py'"),
    ('{"version": "1", "urls": [["fs:a.py", "a.py"]]}', "'fs:a.py'"),
    ('{"version": "1", "urls": [["b.py", "b.py"], ["c.py", "C.py"]]}', r"b.py, \S+C.py"),
    ('{"version": "1", "deps": [["a", 1]]}', r"deps\[0\]: a version is a text"),
    ('{"version": "1", "deps": [[]]}', r"deps\[0\]: an entry is \[name, version\]"),
    ('{"version": "1", "deps": ["@1"]}', "names no package"),
    ('{"version": "1", "deps": ["./a"]}', "cannot be the name of a dependency: './a'"),
    ('{"version": "1", "urls": [["a.py", "a.py"], ["A.py", "a.py"]]}', "A.py clashes with a.py"),
    ('{"version": "1", "urls": [["b.py", "a.py"], ["b.py", "c.py"]]}', "lists b.py twice: name"),
    ('{"version": "1", "hashes": [["a.py", "12345678"]]}', "another index"),
    ('{"urls": [["a.py", "a.py"]]}', "no version"),
    ('{"version": 1.0, "urls": [["a.py", "a.py"]]}', 'version: write "1.0", in quotes'),
    ('{"version": "1"}', "nothing to install"),
]


@pytest.mark.parametrize("text, message", JSON_ERRORS)
def test_mistakes_in_package_json(tmp_path, text, message):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "package.json").write_text(text)
    (tmp_path / "p" / "a.py").write_text("")
    (tmp_path / "p" / "c.py").write_text("x = 1")
    with pytest.raises(PublishError, match=message) as error:
        build(tmp_path / "p", tmp_path / "index")
    assert str(tmp_path / "p") in str(error.value)


def test_what_editors_of_windows_write(tmp_path):
    """A byte order mark, line ends of Windows and a comma too much do not matter to an index."""
    write_json_package(tmp_path / "p", version="1", urls=[["a.py", "a.py"]])
    (tmp_path / "p" / "a.py").write_bytes(b"x = 1\r\n")
    path = tmp_path / "p" / "package.json"
    text = '{\r\n"version": "1",\r\n"urls": [["a.py", "a.py"],]\r\n}\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert build(tmp_path / "p", tmp_path / "index") == [("p", "1")]
    assert_whole(tmp_path / "index")


@pytest.mark.parametrize("name", ["a b", ".a", "a@1", "a.py", "a.json"])
def test_names_that_cannot_be_installed(tmp_path, name):
    write_package(tmp_path / name, 'metadata(version="1"); module("m.py")', m="")
    with pytest.raises(PublishError, match="cannot be a package's name"):
        build(tmp_path / name, tmp_path / "index")


def test_files_that_collide(tmp_path):
    for name, text in (("a", "x = 1\n"), ("b", "x = 1\n"), ("c", "x = 2\n")):
        manifest = 'metadata(version="1"); module("same.py")'
        write_package(tmp_path / "in" / name, manifest, same=text)
    write_package(tmp_path / "in" / "d", 'metadata(version="1"); require("a"); require("b")')
    build(tmp_path / "in", tmp_path / "index")
    assert paths(read(tmp_path / "index", "py", "d")) == ["same.py"]
    write_package(tmp_path / "in" / "e", 'metadata(version="1"); require("a"); require("c")')
    with pytest.raises(PublishError, match="e/manifest.py: same.py of a and of c are different: "):
        build(tmp_path / "in", tmp_path / "index")


@pytest.mark.parametrize("deps", [["c@1", "c", "c@2"], [["c", "1"], ["c", "2"], "c"]])
def test_versions_elsewhere_that_collide(tmp_path, deps):
    write_json_package(tmp_path / "a", version="1", deps=deps)
    with pytest.raises(PublishError, match="a/package.json: needs c in 1, and in 2: "):
        build(tmp_path / "a", tmp_path / "index")


@pytest.mark.parametrize("deps", [[["b", "1"], "b@0"], ["b@0", "b"]])
def test_versions_that_collide(tmp_path, deps):
    write_json_package(tmp_path / "in" / "a", version="1", deps=deps)
    write_simple(tmp_path / "in" / "b", "1")
    with pytest.raises(
        PublishError, match="a/package.json: needs b in its own version, and in 0: "
    ):
        build(tmp_path / "in", tmp_path / "index")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "line 1"),
        ("[]", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"v": 3}', "version 2"),
        ('{"v": 2}', "version 2"),
        ('{"v": 2, "packages": {}}', "version 2"),
        ('{"v": 2, "packages": [{"name": "a"}]}', "version 2"),
        ('{"v": 2, "packages": [{"name": 1, "version": "1", "versions": {}}]}', "version 2"),
    ],
)
def test_an_index_of_another_kind(tmp_path, text, message):
    write_simple(tmp_path / "a", "1")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "index.json").write_text(text)
    with pytest.raises(PublishError, match=message):
        build(tmp_path / "a", tmp_path / "index")
    assert (tmp_path / "index" / "index.json").read_text() == text


# --- On a device ---


@pytest.mark.parametrize("mpy", ["6", "py"])
@pytest.mark.parametrize("name", sorted(DEMOS))
def test_packages_work_on_micropython(index, tmp_path, name, mpy):
    for path, hash in read(index, mpy, name)["hashes"]:
        target = tmp_path / "board" / "lib" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read_file(index, hash))
        assert path.endswith(".py") == (mpy == "py" and not path.endswith(".json"))
    code, output = DEMOS[name]
    board = Device(tmp_path / "board", tmp_path / "board" / "lib", interpreter())
    assert board.run(code, check=True).out.strip() == output


def test_every_module_loads_on_micropython(index, tmp_path):
    names = set()
    for name in DEMOS:
        for path, hash in read(index, "6", name)["hashes"]:
            target = tmp_path / "board" / "lib" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_file(index, hash))
            if path.endswith(".mpy"):
                names.add(path[:-4].replace("/__init__", "").replace("/", "."))
    assert len(names) == 14
    board = Device(tmp_path / "board", tmp_path / "board" / "lib", interpreter())
    code = "".join(f"import {name}\n" for name in sorted(names))
    assert board.run(code + "print('all')", check=True).out == "all\n"


def test_upstream_installs_from_the_index(index, tmp_path):
    board = Device(tmp_path / "board", ".frozen", interpreter())
    with Server(index) as server:
        board.mip("install", "--index", server.url, "telemetry", check=True)
        board.mip("install", "--index", server.url, "--no-mpy", "morse@1.1.0", check=True)
    code = f"{DEMOS['telemetry'][0]}\n{DEMOS['morse'][0]}"
    output = f"{DEMOS['telemetry'][1]}\n{DEMOS['morse'][1]}\n"
    assert board.run(code, check=True).out == output


def test_what_the_demo_packages_compute(tmp_path):
    """More than the demos show: check values, limits, and both directions."""
    lib = tmp_path / "board" / "lib"
    lib.mkdir(parents=True)
    build(PACKAGES, tmp_path / "index", mpy_versions=[])
    for name in DEMOS:
        for path, hash in read(tmp_path / "index", "py", name)["hashes"]:
            (lib / path).parent.mkdir(parents=True, exist_ok=True)
            (lib / path).write_bytes(read_file(tmp_path / "index", hash))
    result = Device(tmp_path / "board", lib, interpreter()).run(
        """
import crc, frame, io, keyvalue, morse, smooth, ticker
from smooth.adaptive import Kalman
from ticker.clock import FakeClock

check = b"123456789"
for name in ("crc8", "crc8_maxim", "crc8_sensirion", "crc16", "crc16_modbus", "crc32"):
    print(hex(getattr(crc, name)(check)))

for size in (0, 1, 251, 252, 253, 254, 255, 506, 507, 508, 509):
    for payload in (bytes(size), b"x" * size):
        packet = frame.encode(payload)
        print(0 in packet[:-1] or frame.decode(packet[:-1]) != payload, end=" ")
receiver = frame.Receiver(limit=20)
packet = frame.encode(b"hi")
print(receiver.feed(b"\\x03" + packet + packet[:2]), receiver.feed(packet[2:]), receiver.damaged)
print(receiver.feed(b"x" * 100 + b"\\0" + packet), receiver.damaged)

settings = {"a": 1, "s.x": "3", "s.y": True, "s.z": "t", "b": 0.5}
text = io.StringIO()
keyvalue.dump(settings, text)
print(keyvalue.parse(text.getvalue().split("\\n")) == settings)
try:
    keyvalue.parse(["# fine", "wrong"])
except ValueError as error:
    print(error)

message = "".join(sorted(morse.CODES)) + " SOS"
print(morse.decode(morse.encode(message)) == message, sum(ms for _, ms in morse.timing("PARIS")))

print(smooth.run(smooth.Average(2), [1, 2, 3]))
print(smooth.run(smooth.Hysteresis(1, 3), [1, 2, 3, 2, 1, 2]))
print(smooth.run(smooth.Chain(smooth.Median(3), smooth.Exponential(0.5)), [1, 2, 3]))
print([round(x, 3) for x in smooth.run(Kalman(1, 0.1), [1, 2, 1, 2])])

t = ticker.Ticker(FakeClock())
tick, tock = lambda: print("tick", end=" "), lambda: print("tock", end=" ")
t.add(200, tick)
t.add(500, tock)
t.run(5)
t.remove(tick)
t.run(1)
t.remove(tock)
t.run()
""",
        check=True,
    )
    # The check values of the catalogue; PARIS is the word of 50 dots that defines the speed.
    assert result.lines == [
        *("0xf4", "0xa1", "0xf7", "0x29b1", "0x4b37", "0xcbf43926"),
        22 * "False " + "[] [b'hi'] 1",
        "[b'hi'] 2",
        "True",
        "line 2: not a setting: wrong",
        "True 5000",
        "[1.0, 1.5, 2.5]",
        "[False, False, True, True, False, False]",
        "[1.0, 1.25, 1.625]",
        "[1, 1.524, 1.323, 1.544]",
        "tick tick tock tick tick tock ",
    ]


# --- The command line ---


def test_build_command(tmp_path, capsys):
    write_simple(tmp_path / "a", "1")
    arguments = ["build", str(tmp_path / "a"), "--output", str(tmp_path / "index")]
    arguments += ["--hash-length", "12", "--mpy-version", "6", "--mpy-version", "5"]
    assert mip_index.main(arguments) == 0
    assert mip_index.main(arguments) == 0
    assert re.fullmatch(
        "Published a 1\n  a.py\n"
        r"(mip.install\(\"a@1#sha256=\w{64}\", index=\"URL\"\)\n)\1Nothing new\n",
        capsys.readouterr().out,
    )
    assert len(read(tmp_path / "index", "5", "a")["hashes"][0][1]) == 12


def test_errors_are_one_line(tmp_path, capsys):
    write_simple(tmp_path / "a", "1")
    output = str(tmp_path / "index")
    assert mip_index.main(["build", str(tmp_path / "a"), "--output", output]) == 0
    write_package(tmp_path / "b", 'raise ValueError("two\\nlines")')
    (tmp_path / "file").write_text("")
    (tmp_path / "none").mkdir()
    capsys.readouterr()
    for arguments, text in (
        (["build", str(tmp_path / "b"), "--output", output], "line 1: ValueError: two lines"),
        (
            ["build", str(tmp_path / "a"), "--output", str(tmp_path / "file")],
            "file: File exists: a file is in",
        ),
        (["build", str(tmp_path / "gone"), "--output", output], "gone: no such directory"),
        (["serve", str(tmp_path / "a")], "no index in it"),
        (["build", str(tmp_path / "a"), "--output", output, "--url", 'h"'], 'h": not the URL'),
        (
            ["build", str(tmp_path / "a"), "--output", output, "--url", "foo"],
            "foo: not the URL of an index: it begins with https:// or http://",
        ),
        (
            ["build", str(tmp_path / "a"), str(tmp_path / "b"), "--name", "c", "--output", output],
            "one name for two",
        ),
        (["check", str(tmp_path / "none")], "/none: no manifest.py or package.json in it"),
        (["check", str(tmp_path / "a" / "a.py")], "a.py: a file, not a package.json"),
        (["mirror", str(tmp_path / "a"), "--output", output], "/a: has a manifest.py: build it"),
        (
            ["serve", output, "--port", "0", "--cert", "gone", "--key", "gone"],
            "gone, gone: no cer",
        ),
        (["serve", output, "--bind", "192.0.2.77"], "192.0.2.77:8000: Cannot assign requested"),
        (["serve", output, "--bind", "nowhere.invalid"], "nowhere.invalid:8000: "),
    ):
        assert mip_index.main(arguments) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert captured.err.startswith("mip-index: ") and text in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "a"],
        ["build", "a", "--output", "b", "--mpy-version", "py"],
        ["build", "a", "--output", "b", "--mpy-version", "06"],
        ["build", "a", "--output", ""],
        ["build", "", "--output", "b"],
        ["mirror", "", "--output", "b"],
        ["check", ""],
        ["serve", ""],
        ["serve", "a", "--port", "65536"],
        ["serve", "a", "--port", "-1"],
        ["serve", "a", "--tls"],
        ["serve", "a", "--ca", "f"],
        ["serve", "a", "--cert", "f"],
        ["serve", "a", "--tls", "--ca", "f", "--cert", "f", "--key", "f"],
    ],
)
def test_wrong_command_lines(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        mip_index.main(arguments)
    assert error.value.code == 2
    assert f"usage: mip-index {arguments[0]} " in capsys.readouterr().err


def test_no_command(capsys):
    """Without a command the tool prints its help, with status 2."""
    assert mip_index.main([]) == 2
    assert "\ncommands:\n" in capsys.readouterr().err


def test_the_version_of_the_tool(capsys):
    """--version is that of mip, whose code it runs."""
    with pytest.raises(SystemExit) as end:
        mip_index.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"mip-index {mip_index.device.mip.__version__}\n"


@pytest.mark.parametrize(
    ("number", "text", "advice"),
    [
        (13, "Permission denied", "name a place where you may write"),
        (28, "No space left on device", "make room, and run it again"),
        (30, "Read-only file system", "name a place where you may write"),
        (5, "Input/output error", ""),
    ],
)
def test_errors_of_the_disk(tmp_path, monkeypatch, capsys, number, text, advice):
    """An error of the disk names the file of the index, and what to do."""
    write_simple(tmp_path / "a", "1")
    write_bytes = Path.write_bytes

    def write(path, data):
        if path.name == ".latest.json.tmp":
            raise OSError(number, text)
        write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    assert mip_index.main(["build", f"{tmp_path}/a", "--output", f"{tmp_path}/index"]) == 1
    line = f"{tmp_path}/index/package/py/a/latest.json: {text}" + f": {advice}" * bool(advice)
    assert capsys.readouterr() == ("", f"mip-index: {line}\n")


def interrupted(path, data):
    """What Ctrl-C does to whoever writes a file."""
    raise KeyboardInterrupt


def test_ctrl_c(tmp_path, monkeypatch, capsys):
    """A build that is interrupted says so on a line, and what to do."""
    write_simple(tmp_path / "a", "1")
    monkeypatch.setattr(Path, "write_bytes", interrupted)
    assert mip_index.main(["build", f"{tmp_path}/a", "--output", f"{tmp_path}/index"]) == 1
    line = "mip-index: interrupted: the index is whole, run it again\n"
    assert capsys.readouterr() == ("", line)
    monkeypatch.undo()
    assert build(tmp_path / "a", tmp_path / "index") == [("a", "1")]


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ([], "Write MicroPython packages into an index: plain files for any web server."),
        (["build"], "Write packages of your own into an index in DIR, and print the calls"),
        (["mirror"], "Write packages of others into an index in DIR, and print the calls"),
        (["check"], "Print the mistakes in packages, one on a line; without any, that a"),
        (["serve"], "Print the line that installs from the index in DIR, and serve DIR"),
    ],
)
def test_help_begins_with_what_comes_out(command, first, capsys):
    """The help of a command begins with what comes out, and has an example."""
    with pytest.raises(SystemExit) as error:
        mip_index.main([*command, "--help"])
    assert error.value.code == 0
    usage, text = capsys.readouterr().out.split("\n\n", 1)
    assert usage.startswith("usage: mip-index") and text.startswith(first)
    assert "example:\n" in text


def test_options_that_need_others(capsys):
    """The help of `serve` says which options need another."""
    with pytest.raises(SystemExit):
        mip_index.main(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("made for now; needs --ca", "with TLS; needs --key", "key, PEM; needs --cert"):
        assert words in text


@contextlib.contextmanager
def serving(index, *arguments):
    """Run `serve` as a program; yields the line that it prints, then ends it with Ctrl-C."""
    command = [sys.executable, TOOLS / "mip_index", "serve", index, "--port", "0", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_serve(index, tmp_path):
    with serving(index, "--bind", "127.0.0.1") as line:
        assert re.fullmatch(r'mip\.install\("crc", index="http://127\.0\.0\.1:[0-9]+"\)\n', line)
        # The line is what can be pasted at the REPL.
        board = Device(tmp_path / "board", ".frozen", interpreter())
        board.run(f"import mip\n{line}", check=True)
        assert board.run(DEMOS["crc"][0], check=True).out == DEMOS["crc"][1] + "\n"


@pytest.mark.parametrize("name", ["ca.pem", "ca.der"])
def test_serve_with_tls(index, tmp_path, name):
    ca = tmp_path / name
    with serving(index, "--bind", "127.0.0.1", "--tls", "--ca", ca) as line:
        assert line.startswith(f'mip.cafile = "{name}"; mip.install("crc", ')
        port = int(re.search(r'index="https://127\.0\.0\.1:([0-9]+)"', line)[1])
        content = ca.read_bytes()
        context = ssl.create_default_context(
            cadata=content if name.endswith(".der") else content.decode("ascii")
        )
        for host in ("127.0.0.1", "localhost"):
            with (
                socket.create_connection(("127.0.0.1", port), 20) as sock,
                context.wrap_socket(sock, server_hostname=host) as secure,
            ):
                secure.sendall(b"HEAD /index.json HTTP/1.0\r\n\r\n")
                assert secure.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/index.json", False),
        ("/package/6/crc/latest.json", False),
        ("/package/py/crc/latest.json", False),
        ("/package/6/crc/1.0.0.json", True),
        ("/package/py/latest/1.0.json", True),
        ("/file/2a/2a96b5ca", True),
        ("/file/2a/latest.json", False),
        ("/other", False),
    ],
)
def test_what_may_be_kept(path, kept):
    """What never changes may be kept for a year, what moves for a minute."""
    value = cache_control(path)
    assert ("max-age=31536000, immutable" in value, "max-age=60" in value) == (kept, not kept)


def test_serve_says_what_may_be_kept(index):
    """The answers of `serve` say so."""
    with serving(index, "--bind", "127.0.0.1") as line:
        url = re.search(r'index="(.*)"', line)[1]
        for name, kept in (("latest", False), ("1.0.0", True)):
            with urllib.request.urlopen(f"{url}/package/6/crc/{name}.json") as answer:
                assert ("immutable" in answer.headers["Cache-Control"]) == kept


def test_the_names_of_a_certificate(index, tmp_path, monkeypatch):
    """A certificate is for what the server can be reached by, and `serve` says which that is."""
    assert certificate_names("10.0.0.1") == ["10.0.0.1"]
    assert certificate_names("127.0.0.1") == certificate_names("localhost")[::-1]
    hosts = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    every = certificate_names("0.0.0.0")
    assert {"127.0.0.1", "localhost", reachable_address("0.0.0.0")} <= set(every)
    assert {host for host in hosts if ":" not in host} <= set(every)
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, [], ["10.9.8.7"]))
    assert "10.9.8.7" in certificate_names("0.0.0.0")
    command = [sys.executable, TOOLS / "mip_index", "serve", index, "--port", "0", "--tls"]
    ca = tmp_path / "ca.pem"
    with subprocess.Popen(
        [*command, "--ca", ca], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr.readline() == f"{ca} vouches for {', '.join(every)}\n"
            port = int(re.search(r":([0-9]+)\"", process.stdout.readline())[1])
            context = ssl.create_default_context(cafile=ca)
            for name in every:
                with (
                    socket.create_connection(("127.0.0.1", port), 20) as sock,
                    context.wrap_socket(sock, server_hostname=name) as secure,
                ):
                    secure.sendall(b"HEAD /index.json HTTP/1.0\r\n\r\n")
                    assert secure.recv(15) == b"HTTP/1.1 200 OK"
        finally:
            process.kill()


def test_a_port_that_is_taken(index, tmp_path, capsys):
    """A second server on a port says so on one line, and leaves the first one's certificate."""
    (tmp_path / "ca.pem").write_text("of the first")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = str(sock.getsockname()[1])
        words = ["serve", str(index), "--bind", "127.0.0.1", "--port", port]
        for more in [], ["--tls", "--ca", str(tmp_path / "ca.pem")]:
            assert mip_index.main([*words, *more]) == 1
            assert capsys.readouterr().err == (
                f"mip-index: 127.0.0.1:{port}: another program listens there: "
                "end it, or take another --port\n"
            )
    assert (tmp_path / "ca.pem").read_text() == "of the first"


def test_serve_with_a_certificate(index, tmp_path):
    certificate = trustme.CA().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    options = ["--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem"]
    with serving(index, "--bind", "localhost", *options) as line:
        assert 'index="https://localhost:' in line


def test_reachable_address():
    assert reachable_address("10.0.0.1") == "10.0.0.1"
    address = reachable_address("0.0.0.0")
    assert address != "0.0.0.0"
    socket.inet_aton(address)
