"""Disks of every fill level, packages of every shape, and what must hold at each level.

    import fills

    case = fills.Case("upgrade", "tiny", "lfs2")        # a disk before the call, and the call
    for place in case.levels():                         # ever less room, down to none
        fills.level(case, findings, place)              # the call, all that follows, a verdict

Nothing here knows how mip does it: what counts is what the verbs return and raise, the files on
the disk, and the record.

Runs on MicroPython.
"""

import gc
import json
import os
from binascii import hexlify
from hashlib import sha256

import faults
import oracle
import ramdisk

import mip

try:
    import vfs
except ImportError:
    vfs = os  # MicroPython before 1.23

ROOT = "/ram"
INDEX = "http://index"

# ---- what is installed -----------------------------------------------------------------


def _many(pattern, count, sizes, start=0):
    return {pattern % (i, i): sizes[i % len(sizes)] for i in range(start, start + count)}


_USUAL = (700, 310, 1500, 3000, 450, 1023, 2100, 513)
_TINY = (5, 17, 33, 60, 48, 25, 59)
_LONG = "n" * 112

# Shape: the paths of version 1 and of version 2, each with the size of the file. They have the
# same number behind them in both versions where the file is replaced.
SHAPES = {
    "usual": (
        _many("kit/%.0s%d.py", 5, _USUAL) | {"kit/sub/old.py": 900, "kit.py": 340},
        _many("kit/%.0s%d.py", 5, _USUAL[1:]) | {"kit/new/deep/one.py": 900, "kit.py": 700},
    ),
    "one directory": (
        _many("%.0smodule_%d.py", 6, _USUAL),
        _many("%.0smodule_%d.py", 6, _USUAL[2:], 1),
    ),
    "existing directories": (
        _many("mine/%.0s%d.py", 3, _USUAL) | _many("empty/in/%.0s%d.py", 2, _USUAL),
        _many("mine/%.0s%d.py", 4, _USUAL[3:]) | _many("empty/in/%.0s%d.py", 2, _USUAL[1:]),
    ),
    "tiny": (
        _many("%.0st%d.py", 12, _TINY),
        _many("%.0st%d.py", 12, _TINY[1:], 1),
    ),
    "tiny in new directories": (
        _many("d%d/t%d.py", 5, _TINY) | _many("e/f/%.0s%d", 5, _TINY),
        _many("d%d/t%d.py", 6, _TINY[1:], 1) | _many("e/f/%.0s%d", 5, _TINY[3:]),
    ),
    "tiny with long names": (
        _many("long/%.0s" + _LONG + "_%03d.py", 6, _TINY)
        | _many("more/%.0s" + _LONG + "_%03d.py", 6, _TINY),
        _many("long/%.0s" + _LONG + "_%03d.py", 6, _TINY[1:], 1)
        | _many("more/%.0s" + _LONG + "_%03d.py", 6, _TINY[1:]),
    ),
    "long names": (
        _many("%.0s" + _LONG + "_%03d.py", 3, _USUAL)
        | _many("long/%.0s" + _LONG + "_%03d.py", 3, _USUAL),
        _many("%.0s" + _LONG + "_%03d.py", 3, _USUAL[1:], 1)
        | _many("long/%.0s" + _LONG + "_%03d.py", 3, _USUAL[1:]),
    ),
    # For a directory that has a fixed number of entries: a long name takes eleven of them.
    "names of all lengths": (
        _many("%.0sA%d", 4, _TINY)
        | _many("%.0sa_module_%03d.py", 3, _USUAL)
        | _many("%.0s" + _LONG + "_%03d.py", 2, _TINY),
        _many("%.0sA%d", 4, _TINY[1:], 2)
        | _many("%.0sa_module_%03d.py", 3, _USUAL[1:], 1)
        | _many("%.0s" + _LONG + "_%03d.py", 2, _TINY[1:], 1),
    ),
    # For a target in which /sd is another disk.
    "two disks": (
        _many("kit/%.0s%d.py", 3, _USUAL) | _many("sd/kit/%.0s%d.py", 3, _USUAL),
        _many("kit/%.0s%d.py", 3, _USUAL[1:]) | _many("sd/kit/%.0s%d.py", 3, _USUAL[1:]),
    ),
    "two disks at last": (
        _many("kit/%.0s%d.py", 3, _USUAL),
        _many("kit/%.0s%d.py", 3, _USUAL[1:]) | _many("sd/kit/%.0s%d.py", 3, _USUAL[1:]),
    ),
    "other disk": (
        _many("sd/%.0s%d.py", 3, _USUAL),
        _many("sd/%.0s%d.py", 3, _USUAL[1:], 1),
    ),
}

# What is on the disk that mip has nothing to do with; None is a directory.
_FOREIGN = faults.FOREIGN

# Packages that stay as they are.
_OTHER = {"other/__init__.py": 400, "other/a.py": 20}
_THIRD = {"third.py": 300}

# Scenario: whether the target is there, what is installed before, the call, what it ends in.
# Packages are {name: version}.
SCENARIOS = {
    "install": (True, {}, "install", {"p": 0}),
    "install into a new target": (False, {}, "install", {"p": 0}),
    "install beside another": (True, {"other": 0}, "install", {"p": 0, "other": 0}),
    "upgrade": (True, {"p": 0, "other": 0}, "upgrade", {"p": 1, "other": 0}),
    "uninstall": (True, {"p": 0, "other": 0}, "uninstall", {"other": 0}),
    "uninstall two": (True, {"p": 0, "other": 0, "third": 0}, "uninstall two", {"third": 0}),
    "uninstall all": (True, {"p": 0, "other": 0}, "uninstall two", {}),
}


def _content(path, edition, size):
    # The first byte tells the edition.
    line = b"%d # %s\n" % (edition, path.encode())
    return (line * (size // len(line) + 1))[:size]


class _Session(faults.Session):
    """What install() takes as `session`; `pages` is {URL without the kind of bytecode: bytes}."""

    def __init__(self, pages):
        super().__init__("")
        self.pages = pages

    def get(self, url):
        self.requests.append(url)
        parts = url.split("/")
        if parts[3] == "package":
            parts.pop(4)
        return faults.Answer(self, self.pages.get("/".join(parts)))


# ---- the disks -------------------------------------------------------------------------

# Kind: the file system, the number of its blocks, their size, options of the file system: as on
# a Pico and, by 32, on an ESP32. FAT's clusters have a block, and two where there are more than
# 2 MiB.
KINDS = {
    "lfs2": ("VfsLfs2", 170, 512, {"readsize": 128}),
    "lfs2 4096": ("VfsLfs2", 140, 4096, {"readsize": 256, "progsize": 256}),
    "lfs2 4096 32": ("VfsLfs2", 140, 4096, {"readsize": 32, "progsize": 32}),
    "fat": ("VfsFat", 180, 512, {}),
    "fat 1024": ("VfsFat", 4200, 512, {}),
    "fat 4096": ("VfsFat", 110, 4096, {}),
}

# The small files that fill directories: the letters of the name and the size, the largest first.
SMALL = {
    "lfs2": ((20, 40), (4, 1), (1, 0)),
    "lfs2 4096": ((90, 400), (40, 40), (4, 1), (1, 0)),
    "lfs2 4096 32": ((90, 100), (40, 40), (4, 1), (1, 0)),
    "fat": ((12, 0), (4, 0)),
    "fat 1024": ((25, 0), (4, 0)),
    "fat 4096": ((120, 0), (4, 0)),
}


class _Disk:
    """A disk of a kind that is mounted at `path`; `image` is what is on it when not mounted."""

    def __init__(self, kind, path):
        name, blocks, size, self.options = KINDS[kind]
        self.kind = kind
        self.system = getattr(vfs, name)
        self.path = path
        self.block = size
        self.device = ramdisk.RAMBlockDev(blocks, size)
        self.system.mkfs(self.device, **({} if "fat" in kind else self.options))
        if kind == "fat 1024":
            self._shrink(170)
        self.mount()
        self.block = os.statvfs(path)[1]
        vfs.umount(path)

    def _shrink(self, free):
        # Leaves that many clusters free. The others belong to a file without a name.
        self.mount()
        size, _, _, there, *_ = os.statvfs(self.path)
        with open(self.path + "/BIG", "wb") as file:
            for _ in range(there - free):
                file.write(b"b" * size)
        vfs.umount(self.path)
        self.device.data[bytes(self.device.data).find(b"BIG     ")] = 0xE5

    def mount(self):
        vfs.mount(self.system(self.device, **self.options), self.path)


def _walk(path):
    # As faults.walk(), and quick with the large files that fill a disk.
    found = {}
    todo = [""]
    while todo:
        above = todo.pop()
        for name, kind, _, size in os.ilistdir(path + "/" + above if above else path):
            name = above + "/" + name if above else name
            if kind == 0x4000:
                found[name] = None
                todo.append(name)
                continue
            data = bytearray(size)
            try:
                with open(path + "/" + name, "rb") as file:
                    found[name] = bytes(data[: file.readinto(data)])
            except OSError as e:
                found[name] = b"unreadable: " + str(e).encode()
    return found


class Case:
    """A scenario, a shape, and a kind of disk.

    inner: the kind of a disk that is mounted in the target at sd/. filled: which disk levels()
    fills, 0 or that one, 1. target: where packages go, below ROOT. phase: how many small files
    of the user's are in lib.

    before, final: what is there before the call, and after one with much room, as tree() has
    it. possible: whether that one succeeds. sound: whether it is then as it was, or everything
    is there. image: what is on the disks before the call. added: the paths of the files that
    fill a disk.
    """

    def __init__(self, scenario, shape, kind, inner=None, filled=0, target="lib", phase=0):
        there, self.installed, self.verb, packages = SCENARIOS[scenario]
        self.target = ROOT + "/" * bool(target) + target
        self.prefix = target + "/" * bool(target)
        self.record = self.prefix + ".mip/record"
        self.latest = max(packages.values(), default=0) if packages else 0
        versions = {"p": SHAPES[shape], "other": (_OTHER,), "third": (_THIRD,)}
        self.contents = {
            (name, version): {path: _content(path, version, size) for path, size in paths.items()}
            for name in versions
            for version, paths in enumerate(versions[name])
        }
        self.old = self._files(self.installed)
        self.new = self._files(packages)
        self.once = len(packages) < len(self.installed)
        self.disks = [_Disk(kind, ROOT)]
        if inner:
            self.disks.insert(0, _Disk(inner, self.target + "/sd"))  # the first one counts
        self.filled = self.disks[0 if filled else -1]
        self.added = []  # the files that fill the disk
        self.outcome = None  # of the last level
        self.mount()
        for path in sorted(_FOREIGN):
            if there or not path.startswith("lib"):
                faults.write(ROOT + "/" + path, _FOREIGN[path])
        for i in range(phase):
            faults.write("%s/lib/own%d" % (ROOT, i), b"o" * 20)
        if self.installed:
            mip.install(*self._asked(self._session(0), list(self.installed)))
        self.umount()
        self.image = self.save()
        # The run that has much room.
        self.mount()
        self.before = self.tree()
        outcome = self.call()
        self.possible = outcome == "done"
        self.final = self.tree()
        self.umount()
        files = self.new if self.possible else self.old
        self.sound = self.final == self.before or self.possible
        for path in set(self.old) | set(self.new):
            self.sound = self.sound and self.final.get(path) == files.get(path)

    def _files(self, packages):
        found = {}
        for name, version in packages.items():
            for path, data in self.contents[name, version].items():
                found[self.prefix + path] = data
        return found

    def _session(self, latest):
        pages = {}
        for (name, version), contents in self.contents.items():
            hashes = []
            for path, data in contents.items():
                sha = hexlify(sha256(data).digest()).decode()
                hashes.append([path, sha])
                pages["/".join((INDEX, "file", sha[:2], sha))] = data
            document = {"v": 1, "version": str(version), "hashes": hashes, "deps": []}
            if version == latest or name != "p":
                pages["/".join((INDEX, "package", name, "latest.json"))] = json.dumps(
                    document
                ).encode()
        return _Session(pages)

    def _asked(self, session, packages):
        # The first parameters of install(): package, index, target, version, mpy, session.
        return packages, INDEX, self.target, None, False, session

    def call(self):
        """Makes the call. Returns its outcome: "done", or the exception."""
        session = self._session(self.latest)
        try:
            if self.verb == "install":
                mip.install(*self._asked(session, "p"))
            elif self.verb == "upgrade":
                mip.upgrade(target=self.target, index=INDEX, session=session)
            elif self.verb == "uninstall":
                mip.uninstall("p", self.target)
            else:
                mip.uninstall(["other", "p"], self.target)
            return "done"
        except Exception as e:
            return e

    # ---- the disks

    def mount(self):
        for disk in self.disks:
            disk.mount()

    def umount(self):
        for disk in self.disks:
            vfs.umount(disk.path)

    def save(self):
        """What is on the disks; for load()."""
        return [bytearray(disk.device.data) for disk in self.disks]

    def load(self, image):
        for disk, data in zip(self.disks, image):
            disk.device.data[:] = data

    def tree(self):
        """What is on the disks, as faults.walk() has it."""
        tree = _walk(ROOT)
        for disk in self.disks[:-1]:
            for path, data in _walk(disk.path).items():
                tree[disk.path[len(ROOT) + 1 :] + "/" + path] = data
        return tree

    # ---- the levels

    def levels(self, step=1):
        """Yields for ever less room, with the disk loaded, the level as text.

        First a file grows by `step` blocks a time until no block is free. Where `step` is more
        than 1 it is 1 around the level from which on calls are refused and where ten blocks are
        left, and 2 at most between them. Then small files are made, one a time, in several
        directories, until none has room.
        """
        block = self.filled.block
        self.load(self.image)
        self.added = [self.filled.path + "/ballast"]
        self.mount()
        free = os.statvfs(self.filled.path)[3]
        room = sum([len(data) // block + 1 for data in self.new.values()])
        room += 4 * len(oracle.above(self.new)) + 12288 // block + 20
        amount = free - room
        if amount < 0:
            raise ValueError("the disk is too small for levels")
        with open(self.added[0], "wb") as file:
            for _ in range(amount):
                file.write(b"b" * block)
        self.umount()
        image = self.save()
        trail = []
        pace = step
        refused = 0
        full = False
        while not full:
            yield "%d blocks" % amount
            trail = trail[-2:] + [(amount, image)]
            refused = 0 if self.outcome == "done" else refused + 1
            if refused and pace == step > 1 and self.possible:
                amount, image = trail[0]
                pace = 1
                refused = 0
            elif free - amount < 10:
                pace = 1
            elif refused > 8:
                pace = max(pace, min(step, 2))
            self.load(image)
            self.mount()
            full = self._grow(pace)
            self.umount()
            amount += pace
            image = self.save()
        places = self.places()
        while places:
            yield "full, %d small files" % (len(self.added) - 1)
            self.load(image)
            self.mount()
            self.add_small(places)
            self.umount()
            image = self.save()
        yield "full, %d small files" % (len(self.added) - 1)

    def _grow(self, blocks):
        # Makes the ballast larger. Returns whether it did not fit.
        try:
            for _ in range(blocks):
                with open(self.added[0], "ab") as file:
                    file.write(b"b" * self.filled.block)
        except OSError:
            return True
        return False

    def places(self):
        """The directories of the filled disk for small files, but not the root of FAT, which
        has room for 512, and none that a package has made."""
        path = self.filled.path
        found = [] if "fat" in self.filled.kind else [path]
        for name in self.before:
            name = ROOT + "/" + name
            if name in (path + "/lib", path + "/lib/mine"):
                found.append(name)
        return found

    def add_small(self, places):
        """Makes a small file in the next of `places`; those where none fits are taken out."""
        while places:
            place = places.pop(0)
            for letters, size in SMALL[self.filled.kind]:
                name = "%s/%s%d" % (place, "f" * letters, len(self.added))
                try:
                    file = open(name, "wb")
                except OSError:
                    continue  # another may
                self.added.append(name)
                places.append(place)
                try:
                    with file:
                        file.write(b"f" * size)
                except OSError:
                    pass  # it is there, and empty
                return

    def fill_up(self, phase):
        """Fills the mounted disk until neither a byte nor an empty file has room anywhere.

        phase: how many small files of the user there are before.
        """
        self.added = []
        for i in range(phase):
            faults.write("%s/lib/mine%d" % (ROOT, i), b"m" * 20)
        for size in (4096, self.filled.block, 256, 16, 1):
            try:
                while True:
                    name = "%s/lib/mine/ballast%d" % (ROOT, len(self.added))
                    with open(name, "wb") as file:
                        self.added.append(name)
                        file.write(b"b" * size)
            except OSError:
                pass
        tree = self.tree()
        places = [ROOT + "/" + path for path in tree if tree[path] is None and ".mip" not in path]
        while places:
            self.add_small(places)
        if "fat" in self.filled.kind:
            # A name of 200 characters takes 17 of the 512 entries of the root.
            for length in (200, 100, 20, 1):
                try:
                    for i in range(512):
                        name = "%s/%s%d" % (ROOT, "F" * length, i)
                        open(name, "wb").close()
                        self.added.append(name)
                except OSError:
                    pass

    # ---- the verdict

    def after(self, before):
        """What the call makes of `before`, when it has room."""
        if not self.possible:
            return before
        fill = {path: before[path] for path in before if path not in self.before}
        tree = {path: None for path in oracle.above(fill) if path in before}
        tree.update(self.final)
        tree.update(fill)
        return tree

    def wrong(self, tree, before, wanted):
        """What is neither as in `before` nor as in `wanted`, as a list of text.

        What mip has left is of no interest; it counts as a mixture.
        """
        found = []
        for path in set(before) | set(wanted):
            have = tree.get(path, 0)
            if have not in (before.get(path, 0), wanted.get(path, 0)):
                if path == self.record:
                    found.append("8 the record is damaged")
                elif path in self.old or path in self.new:
                    found.append("1 a file of a package is damaged")
                else:
                    found.append("2 a file of the user is damaged")
        return found

    def works(self):
        """What is wrong with what is installed, as the verbs see it."""
        try:
            found = ["1 verify() finds damage"] * bool(mip.verify(self.target))
            mip.list(self.target)
            return found
        except Exception as e:
            return ["1 verify() or list() fails: %s" % type(e).__name__]

    def less(self, tree, files):
        """The tree without these files, which fill the disk."""
        return {path: tree[path] for path in tree if ROOT + "/" + path not in files}


def told(error):
    """Whether an error says in words, paths aside, that there is no room."""
    text = " ".join([word for word in str(error).lower().split() if "/" not in word])
    return any([word in text for word in ("full", "room", "free")])


def _attempt(call, *args):
    try:
        call(*args)
    except Exception as e:
        return e


def level(case, findings, place, lenient=False, freed=1):
    """Makes the call on the loaded disk, gives room when it was refused, and judges it all.

    lenient: a call may be refused half done, if it is done when there is room. freed: how many
    of the files that fill the disk are then removed. Returns the outcome.
    """
    gc.collect()
    case.mount()
    before = case.tree()
    wanted = case.after(before)
    findings.count("levels")
    outcome = case.outcome = case.call()
    if outcome == "done":
        tree = case.tree()
    case.umount()
    case.mount()
    there = case.tree()
    if outcome != "done":
        tree = there
    wrong = ["1 it is not the same after a remount"] * (there != tree)
    damaged = wrong + case.wrong(tree, before, wanted)
    if outcome == "done":
        findings.count("done")
        differences = oracle.differences(tree, wanted)
        if differences:
            wrong.append("3 done, but it is not")
            place = "%s: %s" % (place, differences[:3])
        if case.record in wanted:
            wrong += case.works()
        findings.count("false done", bool(wrong))
        findings.count("damaged", bool(damaged))
        findings.add(place, wrong + damaged)
        case.umount()
        return outcome
    findings.count("refused")
    if not isinstance(outcome, mip.InstallError):
        wrong.append("3 it ended with %s" % type(outcome).__name__)
    place = "%s, %s" % (place, outcome)
    old = tree == before
    findings.count("refused, and all is new", tree == wanted)
    if not old and tree != wanted:
        left = oracle.differences(tree, before)
        if lenient:
            findings.count("half done")
        else:
            findings.count("mixtures")
            wrong.append("8 an error left a mixture")
            place += ": %s" % left[:3]
    # Without more room.
    every = findings.counts["levels"]
    if old and case.installed and every % 2:
        wrong += ["after an error: " + text for text in case.works()]
    trouble = _attempt(mip.recover, case.target)
    findings.count("recover() wants room", bool(trouble))
    now = case.tree()
    if old and (trouble or now != before):
        wrong.append("9 recover() has nothing to do, but fails or does something")
    if not trouble and now not in (before, wanted):
        wrong.append("4 recover() left a mixture")
    # With room.
    names = case.added[:freed]
    before, wanted = case.less(before, names), case.less(wanted, names)
    for name in names:
        os.remove(name)
    if every % 2:
        trouble = _attempt(mip.recover, case.target)
        if trouble:
            wrong.append("9 recover() refuses when there is room")
        elif case.tree() not in (before, wanted):
            wrong.append("4 recover() left a mixture when there was room")
    settled = case.tree() == wanted
    again = case.call()
    tree = case.tree()
    damaged += case.wrong(tree, before, wanted)
    if case.possible:
        stuck = again != "done" and not (case.once and settled)
    else:
        stuck = not isinstance(again, mip.InstallError)
    if stuck:
        findings.count("stuck")
        wrong.append("9 stuck")
        place += "; again: %r" % again
    if tree != wanted:
        wrong.append("4 again it does not end as without a fault")
        place += "; again: %s" % oracle.differences(tree, wanted)[:3]
    if case.record in tree and not every % 4:
        wrong += ["4 again: " + text for text in case.works()]
    if case.possible and not told(outcome):
        findings.count("without words")
        wrong.append("the error does not say that the disk is full")
    findings.count("damaged", bool(damaged))
    findings.add(place, wrong + damaged)
    case.umount()
    return outcome


def entries(case, more, scattered=False):
    """Yields for ever more room in the root of a FAT disk, with the disk loaded, as text.

    First no entry of the root's 512 is free, then one, until that many are. scattered: between
    two that are free is one that is not, up to half of them.
    """
    case.load(case.image)
    case.mount()
    case.added = []
    # A name of 200 letters takes 17 entries, one of two letters one.
    for letter, length in (("L", 200), ("S", 1)):
        try:
            while True:
                name = "%s/%s%d" % (ROOT, letter * length, len(case.added))
                open(name, "wb").close()
                case.added.append(name)
        except OSError:
            pass
        if length > 1:
            for _ in range(more // 17 + 1):
                os.remove(case.added.pop())
    last = case.added[-more:]
    if scattered:
        last = last[1::2] + last[::2]
    for count in range(more + 1):
        case.umount()
        image = case.save()
        yield "%d entries" % count
        case.load(image)
        case.mount()
        if last:
            name = last.pop()
            case.added.remove(name)
            os.remove(name)
    case.umount()


def cuts(case, findings, place):
    """Cuts the power at every block write of the call on the loaded disk, and recovers."""
    base = case.save()
    device = case.filled.device
    case.mount()
    before = case.tree()
    wanted = case.after(before)
    device.start_log()
    case.call()
    log, device.log = device.log, None
    case.umount()
    for number, torn, image in faults.cuts(base[0], log):
        where = "%s, write %d%s" % (place, number, " and a half" * torn)
        findings.count("cuts")
        device.data[:] = image
        case.mount()
        wrong = []
        one, two = before, wanted
        trouble = _attempt(mip.recover, case.target)
        if trouble:
            findings.count("recover() wants room")
            where += ": %s" % trouble
            if not told(trouble):
                wrong.append("the error does not say that the disk is full")
            one, two = case.less(one, case.added[:1]), case.less(two, case.added[:1])
            os.remove(case.added[0])
            trouble = _attempt(mip.recover, case.target)
        tree = case.tree()
        if trouble:
            findings.count("stuck")
            wrong.append("9 recover() refuses when there is room")
            where += "; again: %s" % trouble
        elif tree not in (one, two):
            wrong.append("8 recover() left a mixture")
            where += ": %s; %s" % (
                oracle.differences(tree, one)[:3],
                oracle.differences(tree, two)[:3],
            )
        damage = case.wrong(tree, one, two)
        findings.count("damaged", bool(damage))
        outcome = case.call()
        if outcome != "done" and tree != two:  # it wants room
            name = case.added[1]
            os.remove(name)
            two = case.less(two, [name])
            outcome = case.call()
        if outcome != "done" and tree != two or case.tree() != two:
            wrong.append("4 again it does not end as without a fault")
            where += "; again: %r %s" % (outcome, oracle.differences(case.tree(), two)[:3])
        findings.add(where, wrong + damage)
        case.umount()
