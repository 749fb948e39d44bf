"""The disk fails: at every call, once and for ever, it is full, read-only, or in the way."""

import pytest
from sweeps import CASE_AND_CHECK, listed, sweep

KINDS = ("lfs2", "fat")
SCENARIOS = ("install", "upgrade", "uninstall")

# The fault and the kind of disk: the error, whether all calls after the first one fail, too,
# and which calls fail.
FAULTS = {
    ("EIO", "fat"): (5, False, "DISK"),
    ("EIO for ever", "lfs2"): (5, True, "DISK"),
    ("ENOSPC", "fat"): (28, False, "CHANGES"),
    ("ENOSPC for ever", "lfs2"): (28, True, "CHANGES"),
    ("EROFS", "lfs2"): (30, False, "CHANGES"),
    ("EROFS for ever", "fat"): (30, True, "CHANGES"),
    ("short write", "lfs2"): ("short", False, "WRITES"),
    ("short writes", "fat"): ("short", True, "WRITES"),
}

# An error at every call.
ERRORS = (
    CASE_AND_CHECK
    + """
error, lasting, wanted = eval(sys.argv[3])
error = OSError(error) if isinstance(error, int) else error
if kind == "lfs2":
    case.options = {"readsize": 128}  # the calls that fail are mip's, not those of littlefs
for fault in faults.strikes(error=error, lasting=lasting, wanted=getattr(faults, wanted)):
    case.start(fault)
    outcome = case.call()
    number, struck = fault.at, fault.struck
    if struck:
        findings.count("errors")
        if outcome == "done" and fault.error != "short":
            findings.count("survived")
        # What a failing disk does not let mip remove stays until the next verb.
        debris = fault.lasting or oracle.clearing(case, struck)
        check("%d %s" % (number, struck), outcome, debris)
    case.stop()
findings.show()
"""
)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_an_error_at_every_call(device, figures, fault, scenario, kind):
    """An error of the disk is an InstallError, nothing is broken, and the next call succeeds."""
    counts, problems = sweep(device, ERRORS, scenario, kind, repr(FAULTS[fault, kind]))
    figures("disk errors injected", counts["errors"])
    assert not problems, listed(problems)


# Disks of every size from one that holds what is there before to one that is large enough.
FULL = (
    CASE_AND_CHECK
    + """
least = int(sys.argv[3])
done = 0
for blocks in range(least, faults.BLOCKS[kind]):
    try:
        case.prepare(blocks)
    except (OSError, mip.InstallError):
        continue
    findings.count("sizes")
    case.start()
    outcome = case.call()
    if outcome != "done":
        findings.count("full")
        done = 0
        # FAT has EACCES for a directory that cannot grow.
        said = str(outcome)
        if not ("full" in said or "free" in said or "EACCES" in said and kind == "fat"):
            findings.add(blocks, ["3 a full disk: %r" % outcome])
        tree = case.look()
        findings.add(blocks, oracle.check(case, outcome, tree))
        mip.recover(faults.TARGET)
        findings.add(blocks, oracle.check(case, oracle.SETTLED, faults.walk(faults.ROOT)))
    else:
        findings.add(blocks, oracle.check(case, outcome, faults.walk(faults.ROOT)))
        done += 1
    case.stop()
    if done > 8:
        break
findings.show()
"""
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", ["install", "upgrade"])
def test_a_full_disk(device, figures, scenario, kind):
    """A disk of any size is large enough, or it is as it was and the error says it is full."""
    counts, problems = sweep(device, FULL, scenario, kind, 8)
    figures("sizes of disks that were too small", counts["full"])
    assert not problems, listed(problems)
    assert counts["full"] > 3
    assert counts["sizes"] > counts["full"] + 3


READ_ONLY = (
    CASE_AND_CHECK
    + """
case.start(readonly=True)
outcome = case.call()
findings.add("read-only", ["3 " + repr(outcome)] * (not isinstance(outcome, mip.InstallError)))
findings.add("read-only", ["3 no path: %r" % outcome] * (faults.TARGET not in str(outcome)))
findings.add("read-only", ["3 fetched"] * any("/file/" in url for url in case.session.requests))
findings.add("read-only", oracle.check(case, outcome, faults.walk(faults.ROOT)))
findings.show()
"""
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_read_only_disk(device, scenario, kind):
    """On a read-only disk every verb is refused with the path, before a file is fetched."""
    counts, problems = sweep(device, READ_ONLY, scenario, kind)
    assert not problems, listed(problems)


# What is in the way: the scenario, what is removed, and what is put there; None is a directory.
OBSTACLES = {
    "the target is a file": ("install", ("lib",), "lib", b"x"),
    "a directory of the target is a file": ("install", (), "lib/app", b"x"),
    "a directory below is a file": ("install", (), "lib/app/old", b"x"),
    "a file is an empty directory": ("install", (), "lib/common.py", None),
    "a file is a full directory": ("install", (), "lib/common.py/mine.py", b"x"),
    "a nested file is a directory": ("install", (), "lib/app/turn.py/mine.py", b"x"),
    "a new directory is a file": ("upgrade", (), "lib/app/new", b"x"),
    "a replaced file is a directory": (
        "upgrade",
        ("lib/common.py",),
        "lib/common.py/mine.py",
        b"x",
    ),
    "a replaced bytecode is a directory": ("upgrade", (), "lib/app/turn.mpy/mine.py", b"x"),
    "mip's own directory is a file": ("install", (), "lib/.mip", b"x"),
}

OBSTACLE = (
    CASE_AND_CHECK
    + """
removed, path, data = eval(sys.argv[3])


def clear(path):
    tree = faults.walk(faults.ROOT)
    for name in sorted(tree, reverse=True):
        if name == path or name.startswith(path + "/"):
            (os.rmdir if tree[name] is None else os.remove)(faults.ROOT + "/" + name)


case.start(faults.Fault())
for name in removed:
    clear(name)
faults.write(faults.ROOT + "/" + path, data)
before = faults.walk(faults.ROOT)
outcome = case.call()
wrong = oracle.differences(faults.walk(faults.ROOT), before)
wrong += ["3 %r" % outcome] * (not isinstance(outcome, mip.InstallError))
wrong += ["3 no path: %r" % outcome] * (faults.TARGET not in str(outcome))
wrong += ["7 %d open" % case.open_files()] * bool(case.open_files())
findings.add(path, wrong)
# Once more with the obstacle there, then without it.
case.again()
findings.add("again", oracle.differences(faults.walk(faults.ROOT), before))
faults.restore(case.before)
outcome = case.again()
tree = faults.walk(faults.ROOT)
wrong = ["4 again: %r" % outcome] * (outcome != "done")
for name in case.new:
    wrong += ["4 again: " + name] * (tree.get(name) != case.new[name])
wrong += ["5 debris"] * any(n.startswith("lib/.mip/") and n != oracle.RECORD for n in tree)
findings.add("without " + path, wrong)
findings.show()
"""
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_in_the_way(device, obstacle, kind):
    """What is in the way of a file or a directory is an InstallError that changes nothing."""
    scenario, *rest = OBSTACLES[obstacle]
    counts, problems = sweep(device, OBSTACLE, scenario, kind, repr(rest))
    assert not problems, listed(problems)


# What a run that broke off has left cannot be removed.
STUCK = """
import json, mip, os, sys


class Failing:
    pass


for name in dir(os):
    setattr(Failing, name, getattr(os, name))


def remove(path):
    if path == "lib/" + sys.argv[1]:
        raise OSError(5)
    os.remove(path)


os.mkdir("lib")
os.mkdir("lib/.mip")
lines = ["mip", 2], ["planned", "p", None], ["get", "a.py", None, "a"], ["end"]
for name in ("a.py~mip", ".mip/room", ".mip/new", ".mip/plan"):
    with open("lib/" + name, "w") as file:
        if name == ".mip/plan":
            for line in lines:
                file.write(json.dumps(line) + "\\n")
Failing.remove = remove
mip.os = Failing
try:
    mip.recover("lib")
except mip.InstallError as e:
    print(e)
print(sorted(os.listdir("lib")), sorted(os.listdir("lib/.mip")))
mip.os = os
mip.recover("lib")
print(os.listdir("lib"))
"""


# The file that cannot be removed, and what is in lib and lib/.mip then.
LEFT = [
    ("a.py~mip", [".mip", "a.py~mip"], ["new", "plan", "room"]),
    (".mip/new", [".mip"], ["new", "plan", "room"]),
    (".mip/plan", [".mip"], ["plan", "room"]),
    (".mip/room", [".mip"], ["room"]),
]


@pytest.mark.parametrize(("stuck", "there", "kept"), LEFT)
def test_what_cannot_be_removed(device, stuck, there, kept):
    """It is an InstallError, and the next call does what is left, as nothing was committed."""
    said, names, then = device.run(STUCK, stuck, check=True).lines
    assert said.startswith("lib/.mip") and "[Errno 5] EIO" in said
    assert names == f"{there} {kept}"
    assert then == "[]"


# A directory into which nobody may write, on a disk that tells processes apart.
DENIED = """
import json, os, sys
import faults, mip, oracle, vfs

mip.print = lambda *words: None


class Denied(faults.Host):
    def _ask(self, path):
        if denied and path.startswith(denied):
            raise OSError(13)

    def open(self, path, mode):
        if mode != "rb":
            self._ask(path)
        return super().open(path, mode)

    def rename(self, old, new):
        self._ask(old)
        self._ask(new)
        super().rename(old, new)


scenario, kept = sys.argv[1:]
denied = None
case = faults.Case(scenario, "posix")
findings = oracle.Findings()
disk = Denied(case.disk)
remove = disk.remove
disk.remove = lambda path: (disk.stat(path), disk._ask(path), remove(path))
vfs.mount(disk, faults.ROOT)
faults.restore(case.image)
denied = kept
outcome = case.call()
tree = faults.walk(faults.ROOT)
wrong = oracle.differences(tree, case.before)
wrong += ["3 %r" % outcome] * ("may not be written to" not in str(outcome))
findings.add("denied", wrong)
denied = None
outcome = case.again()
findings.add("again", oracle.check_again(case, outcome, faults.walk(faults.ROOT), tree))
findings.show()
"""


@pytest.mark.parametrize(
    ("scenario", "denied"),
    [
        ("install", "/lib/app"),
        ("upgrade", "/lib/app/new"),
        ("upgrade", "/lib/app/old"),  # only something to remove is in it
        ("uninstall", "/lib/app/old"),
        ("uninstall", "/lib/tool"),
    ],
)
def test_permission(device, scenario, denied):
    """What may not be written to is found out before the commit, and nothing is changed."""
    counts, problems = sweep(device, DENIED, scenario, denied)
    assert not problems, listed(problems)
