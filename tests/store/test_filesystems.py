"""mip on the file systems that boards have: littlefs and FAT, on a disk in RAM."""

import hashlib
import json
from dataclasses import dataclass

import pytest
from scripted_server import Reply, Server

KINDS = ("lfs2", "fat")

# Mounts a disk; show() prints what is on it. The program of the test comes behind.
START = """
import json, os, sys
from binascii import hexlify
import mip, ramdisk

try:
    import vfs
except ImportError:
    vfs = os  # MicroPython before 1.23

kind, url = sys.argv[1:]

def walk(path):
    files = {}
    for name, type, *_ in os.ilistdir(path or "/"):
        if type == 0x4000:
            files[path + "/" + name] = None
            files.update(walk(path + "/" + name))
        else:
            with open(path + "/" + name, "rb") as file:
                files[path + "/" + name] = hexlify(file.read()).decode()
    return files

def show(path="/ram"):
    print("##", json.dumps(walk(path)))

"""
MOUNTED = START + 'disk = ramdisk.mount(kind, blocks=512)\nos.mkdir("/ram/lib")\n'


@dataclass
class Shown:
    """What was printed up to a call of show(), and what was on the disk then.

    lines: the lines that were printed since the call before. files: {path: content} without
    what is in .mip. directories: their paths, without .mip. record: its lines, parsed, or None.
    debris: what is in .mip besides the record.
    """

    lines: list
    files: dict
    directories: list
    record: list
    debris: list


def run(device, kind, url, code, start=MOUNTED):
    """Run a program with a disk of this kind; return a Shown for each call of show()."""
    shown = []
    lines = []
    for line in device.run(start + code, kind, url, check=True).lines:
        if not line.startswith("## "):
            lines.append(line)
            continue
        disk = json.loads(line[3:])
        content = {path: bytes.fromhex(text) for path, text in disk.items() if text is not None}
        kept = {path: text for path, text in content.items() if "/.mip/" in path}
        records = [text for path, text in kept.items() if path.endswith("/.mip/record")]
        shown.append(
            Shown(
                lines,
                {path: text for path, text in content.items() if path not in kept},
                [path for path in disk if disk[path] is None and not path.endswith("/.mip")],
                [json.loads(line) for line in records[0].splitlines()] if records else None,
                [path for path in kept if not path.endswith("/record")],
            )
        )
        lines = []
    return shown


def version(index, name):
    """The latest version of a package of the index."""
    return json.loads((index / "package" / "6" / name / "latest.json").read_text())["version"]


def published(index, name, mpy="6"):
    """The files of a package of the index: {path: content}."""
    document = json.loads((index / "package" / mpy / name / "latest.json").read_text())
    return {
        path: (index / "file" / digits[:2] / digits).read_bytes()
        for path, digits in document["hashes"]
    }


def publish(root, name, version, files):
    """Put a package of these files, {path: content}, into an index at `root`."""
    hashes = []
    for path, content in files.items():
        digits = hashlib.sha256(content).hexdigest()[:8]
        hashes.append([path, digits])
        file = root / "file" / digits[:2] / digits
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    document = json.dumps({"v": 1, "version": version, "hashes": hashes})
    for mpy in ("6", "py"):
        file = root / "package" / mpy / name / f"{version}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document)


def under(directory, files):
    """The same files in a directory."""
    return {f"{directory}/{path}": content for path, content in files.items()}


def check_record(shown, files, packages):
    """The record names these files, each with its hash, and these packages, {name: version}."""
    assert shown.record[0] == ["mip", 1]
    assert {line[1]: line[2] for line in shown.record if line[0] == "package"} == packages
    assert {line[1]: line[2] for line in shown.record if line[0] == "file"} == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items()
    }
    assert shown.debris == []


@pytest.fixture(params=KINDS)
def kind(request):
    """A kind of file system."""
    return request.param


def test_install(device, kind, index):
    """Packages of an index are there byte for byte, with a record, also after a reboot."""
    with Server(index) as server:
        installed, again = run(
            device,
            kind,
            server.url,
            """
mip.install(["telemetry", "morse"], index=url, target="/ram/lib")
show()
vfs.umount("/ram")
ramdisk.mount(kind, device=disk)
show()
""",
        )
    files = {**published(index, "telemetry"), **published(index, "morse")}
    assert len(files) > 8
    assert installed.files == under("/ram/lib", files)
    versions = {name: version(index, name) for name in ("telemetry", "morse")}
    check_record(installed, files, versions)
    assert (again.files, again.record) == (installed.files, installed.record)
    assert installed.lines[-1] == "Done"


def test_install_twice(device, kind, index):
    """A second install finds every file, fetches none, and leaves everything as it was."""
    with Server(index) as server:
        first, second = run(
            device,
            kind,
            server.url,
            """
mip.install("smooth", index=url, target="/ram/lib")
show()
mip.install("smooth", index=url, target="/ram/lib")
show()
""",
        )
        fetched = [path for _, _, path in server.requests if path.startswith("/file/")]
    files = published(index, "smooth")
    assert len([line for line in first.lines if line.startswith("Copying:")]) == len(files)
    assert [line for line in second.lines if line.startswith("Copying:")] == []
    assert len([line for line in second.lines if line.startswith("Exists:")]) == len(files)
    assert len(fetched) == len(files)
    assert (second.files, second.record) == (first.files, first.record)
    assert second.debris == []


def test_what_was_installed_is_imported(device, kind, index):
    """Modules, bytecode and source, and a package's data file are found on the disk."""
    with Server(index) as server:
        result = device.run(
            MOUNTED
            + """
sys.path.insert(0, "/ram/lib")
mip.install(["telemetry", "morse"], index=url)
mip.install("crc", index=url, mpy=False)
import crc, frame, morse, smooth.median, telemetry
for module in (telemetry, frame, smooth.median, morse, crc):
    print(module.__file__)
print(morse.encode("SOS"))
packets = []
telemetry.Sender(packets.append).send(1, 20.5)
print(len(packets))
""",
            kind,
            server.url,
            check=True,
        )
    assert result.lines[-7:] == [
        "/ram/lib/telemetry.mpy",
        "/ram/lib/frame.mpy",
        "/ram/lib/smooth/median.mpy",
        "/ram/lib/morse/__init__.mpy",
        "/ram/lib/crc.py",
        "... --- ...",
        "1",
    ]


SIZES = (0, 1, 255, 256, 257, 511, 512, 513, 1024, 1025, 5000)


def test_files_of_any_size(device, kind, server):
    """Files of sizes around those of buffer and block are there byte for byte, old or new."""
    old = {f"data/{size}.bin": bytes(range(256)) * 20 for size in SIZES}
    new = {f"data/{size}.bin": (bytes(range(255, -1, -1)) * 20)[:size] for size in SIZES}
    for name, files in (("old", old), ("new", new)):
        urls = [[path, path] for path in files]
        server.routes[f"/{name}/package.json"] = Reply(body=json.dumps({"urls": urls}).encode())
        for path, content in files.items():
            server.routes[f"/{name}/{path}"] = Reply(body=content)
    before, after = run(
        device,
        kind,
        server.url,
        """
mip.install(url + "/old", target="/ram/lib")
show()
mip.uninstall(url + "/old", target="/ram/lib")
mip.install(url + "/new", target="/ram/lib")
show()
""",
    )
    assert before.files == under("/ram/lib", old)
    assert after.files == under("/ram/lib", new)
    check_record(after, new, {f"{server.url}/new": None})


ONE = {
    "thing/__init__.py": b"VERSION = 1\n",
    "thing/old.py": b"OLD = 1\n" * 100,
    "thing/deep/er/old.py": b"",
    "shared.py": b"SHARED = 1\n" * 200,
}
TWO = {
    "thing/__init__.py": b"VERSION = 2\n" * 100,
    "thing/new/new.py": b"NEW = 1\n",
    "shared.py": ONE["shared.py"],
}


@pytest.fixture
def things(tmp_path):
    """A server with an index of a package `thing`, versions 1.0, 2.0 and a broken 3.0."""
    root = tmp_path / "index"
    publish(root, "thing", "1.0", ONE)
    publish(root, "thing", "2.0", TWO)
    publish(root, "thing", "3.0", {**TWO, "thing/new/new.py": b"BROKEN = 0\n"})
    publish(root, "other", "1.0", {"other.py": b"OTHER = 1\n", "shared.py": ONE["shared.py"]})
    for file in root.glob("file/*/*"):
        if file.read_bytes() == b"BROKEN = 0\n":
            file.write_bytes(b"BROKEN = 1\n")
    with Server(root) as server:
        yield server


def test_another_version(device, kind, things):
    """Another version replaces what differs, removes what it lacks, fetches nothing else."""
    before, after = run(
        device,
        kind,
        things.url,
        """
mip.install("thing", index=url, target="/ram/lib", version="1.0")
show()
mip.install("thing@2.0", index=url, target="/ram/lib")
show()
""",
    )
    assert before.files == under("/ram/lib", ONE)
    check_record(before, ONE, {"thing": "1.0"})
    assert after.files == under("/ram/lib", TWO)
    check_record(after, TWO, {"thing": "2.0"})
    assert after.record.count(["package", "thing", "2.0", "2.0", things.url]) == 1
    fetched = [path for _, _, path in things.requests if path.startswith("/file/")]
    assert len(fetched) == len(ONE) + len(TWO) - 1


def test_an_older_version(device, kind, things):
    """An older version replaces a newer one in the same way."""
    (after,) = run(
        device,
        kind,
        things.url,
        """
mip.install("thing@2.0", index=url, target="/ram/lib")
mip.install("thing@1.0", index=url, target="/ram/lib")
show()
""",
    )
    assert after.files == under("/ram/lib", ONE)
    check_record(after, ONE, {"thing": "1.0"})


def test_a_failed_update_changes_nothing(device, kind, things):
    """An update with a file that does not match its hash leaves the disk as it was."""
    before, after = run(
        device,
        kind,
        things.url,
        """
mip.install("thing@1.0", index=url, target="/ram/lib")
show()
try:
    mip.install("thing@3.0", index=url, target="/ram/lib")
except mip.InstallError:
    print("InstallError")
show()
""",
    )
    assert after.lines[-1] == "InstallError"
    assert (after.files, after.directories) == (before.files, before.directories)
    assert (after.record, after.debris) == (before.record, [])


def test_uninstall(device, kind, things):
    """Uninstalling leaves nothing but the record, and what is not of the package."""
    before, between, after = run(
        device,
        kind,
        things.url,
        """
with open("/ram/lib/mine.py", "w") as file:
    file.write("MINE = 1")
mip.install(["thing@1.0", "other@1.0"], index=url, target="/ram/lib")
show()
mip.uninstall("thing", target="/ram/lib")
show()
mip.uninstall("other", target="/ram/lib")
show()
""",
    )
    mine = {"/ram/lib/mine.py": b"MINE = 1"}
    other = {"other.py": b"OTHER = 1\n", "shared.py": ONE["shared.py"]}
    assert before.files == {**under("/ram/lib", {**ONE, **other}), **mine}
    assert between.files == {**under("/ram/lib", other), **mine}
    check_record(between, other, {"other": "1.0"})
    assert after.files == mine
    check_record(after, {}, {})


def test_uninstall_removes_empty_directories(device, kind, things):
    """The directories of a package go with its last file."""
    before, after = run(
        device,
        kind,
        things.url,
        """
mip.install("thing@1.0", index=url, target="/ram/lib")
show()
mip.uninstall("thing", target="/ram/lib")
show()
""",
    )
    lib = ["/ram/lib"]
    assert sorted(before.directories) == sorted(
        [*lib, "/ram/lib/thing", "/ram/lib/thing/deep", "/ram/lib/thing/deep/er"]
    )
    assert after.directories == lib


@pytest.mark.parametrize("target", ["/ram", "/ram/"])
def test_the_root_of_a_disk(device, kind, things, target):
    """The root of a disk that is mounted anywhere is a target."""
    installed, changed, gone = run(
        device,
        kind,
        things.url,
        f"""
mip.install("thing@1.0", index=url, target={target!r})
show()
mip.install("thing@2.0", index=url, target={target!r})
show()
mip.uninstall("thing", target={target!r})
show()
""",
    )
    assert installed.files == under("/ram", ONE)
    assert changed.files == under("/ram", TWO)
    check_record(changed, TWO, {"thing": "2.0"})
    assert gone.files == {}
    check_record(gone, {}, {})


def test_the_root_of_the_board(device, kind, things):
    """A disk that is mounted at / is a board's flash, and / is a target on it."""
    installed, changed, gone = run(
        device,
        kind,
        things.url,
        """
vfs.umount("/")
ramdisk.mount(kind, path="/")
mip.install("thing@1.0", index=url, target="/")
show("")
mip.install("thing@2.0", index=url, target="/")
sys.path.insert(0, "/")
import thing.new.new
print(thing.VERSION, thing.new.new.NEW)
show("")
mip.uninstall("thing", target="/")
show("")
""",
        start=START,
    )
    assert installed.files == under("", ONE)
    assert changed.files == under("", TWO)
    assert changed.lines[-1] == "2 1"
    check_record(changed, TWO, {"thing": "2.0"})
    assert gone.files == {}


def test_lib_of_the_board_is_made(device, kind, things):
    """On a board whose flash is empty, /lib is made, and is the target that is meant."""
    (shown,) = run(
        device,
        kind,
        things.url,
        """
vfs.umount("/")
ramdisk.mount(kind, path="/")
sys.path[:] = ["", ".frozen", "/lib"]
mip.install("thing@1.0", index=url)
show("")
""",
        start=START,
    )
    assert shown.files == under("/lib", ONE)
    check_record(shown, ONE, {"thing": "1.0"})
