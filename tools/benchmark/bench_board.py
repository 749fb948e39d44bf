"""Counts what a mip asks of flash: runs on MicroPython, where tools/bench starts it.

The word that it is given is the path of a plan, as JSON:

    client          "ours" or "upstream"
    file_system     "littlefs" or "FAT"
    blocks          how many of 4,096 bytes the disk has
    packages        {name: [path, ...]}
    steps           [[title, verb, [name, ...], edition], ...]; a verb is "install", "upgrade" or
                    "uninstall", an edition tells the contents of the files

For each step with a title it prints a line "## " and, as JSON, the counts of that step.
"""

import json
import os
import sys
import vfs
from binascii import hexlify
from hashlib import sha256

INDEX = "http://index"
TARGET = "/flash/lib"

BLOCK = 4096  # bytes that are erased at once
_BYTECODE = bytes([77, sys.implementation._mpy & 255, 0, 31])  # what an .mpy begins with


class Flash:
    """A block device in RAM that counts.

    FAT writes whole blocks and knows no erasing: each of its writes erases the block and programs
    it. Its sectors are blocks, as where a port has FAT on flash without a layer in between.
    """

    def __init__(self, blocks):
        self.data = memoryview(bytearray(blocks * BLOCK))
        self.clear()

    def clear(self):
        """Counts from nothing on."""
        self.reads = self.read_bytes = 0
        self.programs = self.program_bytes = 0
        self.erases = 0

    def counts(self):
        """What was counted."""
        return {
            "reads": self.reads,
            "read_bytes": self.read_bytes,
            "programs": self.programs,
            "program_bytes": self.program_bytes,
            "erases": self.erases,
        }

    def readblocks(self, block, buf, offset=0):
        """Fills `buf` from `offset` bytes into `block`."""
        start = block * BLOCK + offset
        self.reads += 1
        self.read_bytes += len(buf)
        buf[:] = self.data[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        """Writes `buf` to `offset` bytes into `block`; without an offset, erases it before."""
        if offset is None:
            self.erases += len(buf) // BLOCK
            offset = 0
        start = block * BLOCK + offset
        self.programs += 1
        self.program_bytes += len(buf)
        self.data[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        """What MicroPython's file systems ask of a block device."""
        if op == 4:
            return len(self.data) // BLOCK
        if op == 5:
            return BLOCK
        if op == 6:
            self.erases += 1
        return 0


class Json:
    """The module json, whose loads() counts."""

    def __init__(self):
        self.lines = 0

    def __getattr__(self, name):
        return getattr(json, name)

    def loads(self, text):
        self.lines += 1
        return json.loads(text)


class Index:
    """What both mips fetch from: a session, and the module `requests`. pages: {URL: bytes}."""

    def __init__(self):
        self.pages = {}

    def get(self, url):
        return Answer(self.pages.get(url))

    def publish(self, name, paths, edition):
        """Makes this edition the latest version of a package."""
        hashes = []
        for number, path in enumerate(paths):
            data = content(number, path, edition)
            hash = digest(data)[:8]
            hashes.append([path, hash])
            self.pages["/".join((INDEX, "file", hash[:2], hash))] = data
        document = {"v": 1, "version": str(edition), "hashes": hashes, "deps": []}
        url = "/".join((INDEX, "package", str(_BYTECODE[1]), name, "latest.json"))
        self.pages[url] = json.dumps(document).encode()


class Answer:
    """An answer, as `requests` has it."""

    def __init__(self, data):
        self.status_code = 404 if data is None else 200
        self.data = data or b""
        self.place = 0
        self.raw = self

    def readinto(self, buf):
        n = min(len(buf), len(self.data) - self.place)
        buf[:n] = self.data[self.place : self.place + n]
        self.place += n
        return n

    def json(self):
        return json.loads(self.data)

    def close(self):
        pass


def digest(data):
    """The sha256 of bytes, as text."""
    return hexlify(sha256(data).digest()).decode()


def content(number, path, edition):
    """The content of a file, of 0.5 to 1.5 KB; no two files or editions have the same."""
    line = b"# %s of edition %d\n" % (path.encode(), edition)
    data = line * (1536 // len(line) + 1)
    return _BYTECODE + data[: 512 - len(_BYTECODE) + number * 379 % 1024]


def mount(file_system, blocks):
    """Mounts a new disk, formatted as ports do, and returns its Flash."""
    flash = Flash(blocks)
    kind = {"littlefs": "VfsLfs2", "FAT": "VfsFat"}[file_system]
    getattr(vfs, kind).mkfs(flash)
    vfs.mount(getattr(vfs, kind)(flash), "/flash")
    os.mkdir(TARGET)
    return flash


def call(mip, plan, index, verb, names):
    """Has a mip do a step. Upstream's upgrades by installing, and takes one name at a time."""
    if plan["client"] == "upstream":
        for name in names:
            mip.install(name, index=INDEX, target=TARGET)
    elif verb == "install":
        mip.install(names, index=INDEX, target=TARGET, session=index)
    elif verb == "upgrade":
        mip.upgrade(target=TARGET, session=index)
    else:
        mip.uninstall(names, target=TARGET)


def check(paths, edition):
    """Raises RuntimeError when the files are not those of the edition, or, if None, are there."""
    for number, path in enumerate(paths):
        try:
            with open(TARGET + "/" + path, "rb") as file:
                found = file.read()
        except OSError:
            found = None
        if found != (edition and content(number, path, edition)):
            raise RuntimeError(path + " is not what it should be")


def main(plan):
    """Does the plan."""
    index = Index()
    if plan["client"] == "upstream":
        sys.modules["requests"] = index
    import mip

    mip.json = counter = Json()
    flash = mount(plan["file_system"], plan["blocks"])
    for title, verb, names, edition in plan["steps"]:
        for name in names:
            index.publish(name, plan["packages"][name], edition)
        flash.clear()
        counter.lines = 0
        call(mip, plan, index, verb, names)
        counts = flash.counts()
        counts["lines"] = counter.lines
        for name in names:
            check(plan["packages"][name], None if verb == "uninstall" else edition)
        if title:
            counts["title"] = title
            print("##", json.dumps(counts))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
