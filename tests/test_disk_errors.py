"""The disk fails: at every call, once and for ever, it is full, read-only, or in the way."""

import pytest
from sweeps import CASE_AND_CHECK, listed, sweep

KINDS = ("lfs2", "lfs1", "fat")
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
        debris = fault.lasting or "lib/.mip" in struck[1] and struck[0] in oracle.CLEARING
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
        if not (said.endswith(": 28") or "ENOSPC" in said or "EACCES" in said and kind == "fat"):
            findings.add(blocks, ["3 a full disk: %r" % outcome])
        tree = case.look()
        # littlefs 1 may need a free block to remove a file.
        findings.add(blocks, oracle.check(case, outcome, tree, debris=kind == "lfs1"))
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
import mip, os, sys


class Failing:
    pass


for name in dir(os):
    setattr(Failing, name, getattr(os, name))


def remove(path):
    if path == "lib/.mip/" + sys.argv[1]:
        raise OSError(5)
    os.remove(path)


os.mkdir("lib")
os.mkdir("lib/.mip")
for name in ("plan", "1", "2"):
    with open("lib/.mip/" + name, "w") as file:
        file.write('["mip", 1]\\n')
Failing.remove = remove
mip.os = Failing
try:
    mip.recover("lib")
except mip.InstallError as e:
    print(e)
print(sorted(os.listdir("lib/.mip")))
mip.os = os
mip.recover("lib")
print(os.listdir("lib"))
"""


@pytest.mark.parametrize(("stuck", "left"), [("1", ["1", "plan"]), ("plan", ["plan"])])
def test_what_cannot_be_removed(device, stuck, left):
    """It is an InstallError, the rest is removed, and the next call does what is left."""
    said, names, then = device.run(STUCK, stuck, check=True).lines
    assert said == "lib/.mip/plan: [Errno 5] EIO"
    assert names == repr(left)
    assert then == "[]"
