"""Disks of every fill level: what is Done is there, and what is refused has changed nothing.

A file takes one block more each time, from more room than the call needs to none, then small
files take what is left in the directories. At each level the call is made; when it is refused
room is given, and it is made again. Which files mip keeps meanwhile is of no interest here.

Some steps are larger: eight blocks where there is much room, two between where a call begins to
be refused and where nearly nothing is left. The environment variable MIP_FULL=1 makes all of
them one block, combines all scenarios, shapes and kinds of disks, and takes more full disks.
"""

import os

import pytest
from sweeps import listed, sweep

FULL = bool(os.environ.get("MIP_FULL"))

START = """
import gc, sys
import fills, mip, oracle

mip.print = lambda *words: None
findings = oracle.Findings()
for name in ("levels", "done", "refused", "mixtures", "stuck"):
    findings.count(name, 0)
for name in ("half done", "false done", "damaged"):
    findings.count(name, 0)
"""

LEVELS = (
    START
    + """
scenario, shape, kind, step = sys.argv[1:]
case = fills.Case(scenario, shape, kind)
findings.add("without a fault", ["3 it does not work"] * (not (case.possible and case.sound)))
for place in case.levels(int(step)):
    fills.level(case, findings, place)
findings.show()
"""
)

KINDS = ("lfs2", "lfs2 4096", "fat", "fat 1024", "fat 4096")

# What is installed: scenario and shape of the package; and into which kinds of disks.
ALL = {
    ("install", "usual"): ("lfs2", "fat", "fat 4096"),
    ("upgrade", "usual"): KINDS,
    ("install into a new target", "usual"): ("lfs2", "fat"),
    ("install beside another", "one directory"): ("lfs2", "fat", "fat 4096"),
    ("upgrade", "one directory"): ("lfs2", "fat"),
    ("upgrade", "existing directories"): ("lfs2", "fat"),
    ("install", "tiny"): ("lfs2", "fat"),
    ("install beside another", "tiny"): ("lfs2",),
    ("upgrade", "tiny"): KINDS,
    ("install into a new target", "tiny in new directories"): ("lfs2", "fat", "fat 1024"),
    ("upgrade", "tiny in new directories"): ("lfs2", "fat"),
    ("install", "tiny with long names"): ("lfs2", "lfs2 4096", "fat", "fat 4096"),
    ("upgrade", "tiny with long names"): ("lfs2", "fat"),
    ("upgrade", "long names"): ("lfs2", "fat", "fat 4096"),
}
if FULL:
    KINDS += ("lfs2 4096 32",)
    ALL = {(scenario, shape): KINDS for scenario, _ in ALL for _, shape in ALL}
CASES = [(*what, kind) for what in ALL for kind in ALL[what]]

# The heap for the sweeps: a small one is collected quicker, but has to hold several disks.
HEAPS = {
    "lfs2": "4m",
    "lfs2 4096": "16m",
    "lfs2 4096 32": "16m",
    "fat": "4m",
    "fat 1024": "32m",
    "fat 4096": "16m",
}


def report(figures, counts, kind):
    """Print what a sweep counted."""
    kind = kind.split(" ")[0]
    figures(f"fill levels, {kind}", counts["levels"])
    figures(f"fill levels refused, {kind}", counts["refused"])
    figures(f"fill levels that end stuck, {kind}", counts["stuck"])
    figures(f"fill levels that an error leaves mixed, {kind}", counts["mixtures"])
    figures(f"fill levels with a false Done, {kind}", counts["false done"])
    figures(f"fill levels with damage, {kind}", counts["damaged"])


@pytest.mark.parametrize(("scenario", "shape", "kind"), CASES)
def test_every_fill_level(device, figures, scenario, shape, kind):
    """A call is done, or says that the disk is full and changes nothing; with room it is done."""
    step = 1 if FULL else 8
    counts, problems = sweep(device, LEVELS, scenario, shape, kind, step, heap=HEAPS[kind])
    report(figures, counts, kind)
    assert not problems, listed(problems)
    assert counts["done"] >= 3
    assert counts["refused"] >= 3


PHASES = (
    START
    + """
scenario, shape, kind, phase, step = sys.argv[1:]
case = fills.Case(scenario, shape, kind, phase=int(phase))
for place in case.levels(int(step)):
    fills.level(case, findings, place)
findings.show()
"""
)


@pytest.mark.parametrize("phase", range(16) if FULL else (1, 4, 6))
@pytest.mark.parametrize("scenario", ["install beside another", "upgrade"])
def test_directories_of_every_fill_level(device, figures, scenario, phase):
    """With any number of files in a directory of littlefs a call is done, or changes nothing."""
    step = 1 if FULL else 8
    counts, problems = sweep(device, PHASES, scenario, "tiny", "lfs2", phase, step, heap="4m")
    report(figures, counts, "lfs2")
    assert not problems, listed(problems)
    assert counts["done"] >= 3


ENTRIES = (
    START
    + """
scenario, more, scattered = sys.argv[1:]
case = fills.Case(scenario, "names of all lengths", "fat", target="")
findings.add("without a fault", ["3 it does not work"] * (not (case.possible and case.sound)))
for place in fills.entries(case, int(more), scattered == "True"):
    fills.level(case, findings, place, freed=8)
findings.show()
"""
)


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("scenario", ["install", "install beside another", "upgrade"])
def test_the_root_of_fat(device, figures, scenario, scattered):
    """The root of a FAT disk, which has 512 entries, is large enough, or nothing is changed."""
    counts, problems = sweep(device, ENTRIES, scenario, 60, scattered, heap="4m")
    figures("fill levels of the root of fat", counts["levels"])
    report(figures, counts, "fat")
    assert not problems, listed(problems)
    assert counts["refused"] >= 3
    assert counts["done"] >= 3


# Disks that are full, with some more or less in the directories.
UNINSTALL = (
    START
    + """
scenario, shape, kind, phases = sys.argv[1:]
case = fills.Case(scenario, shape, kind)
findings.add("without a fault", ["3 it does not work"] * (not (case.possible and case.sound)))
for phase in range(int(phases)):
    case.load(case.image)
    case.mount()
    case.fill_up(phase)
    case.umount()
    tiny = shape.startswith("tiny")
    outcome = fills.level(case, findings, "phase %d" % phase, lenient=tiny)
    if outcome != "done" and not tiny:
        findings.add("phase %d: %s" % (phase, outcome), ["uninstall makes no room"])
findings.show()
"""
)


@pytest.mark.parametrize("kind", KINDS if FULL else ("lfs2", "lfs2 4096", "fat", "fat 4096"))
@pytest.mark.parametrize(
    ("scenario", "shape"),
    [
        ("uninstall", "usual"),
        ("uninstall", "tiny"),
        ("uninstall", "tiny in new directories"),
        ("uninstall", "long names"),
        ("uninstall two", "usual"),
        ("uninstall two", "tiny in new directories"),
        ("uninstall all", "usual"),
        ("uninstall all", "tiny"),
    ],
)
def test_uninstall_makes_room(device, figures, scenario, shape, kind):
    """On a disk without any room what has a usual size is uninstalled; what is tiny, too, or
    when a file has been removed."""
    phases = 24 if FULL else 3
    counts, problems = sweep(device, UNINSTALL, scenario, shape, kind, phases, heap=HEAPS[kind])
    figures("full disks, uninstall", counts["levels"])
    figures("full disks, uninstall done", counts["done"])
    figures("full disks, uninstall done when there is room", counts["half done"])
    report(figures, counts, kind)
    assert not problems, listed(problems)


UNINSTALL_CUTS = (
    START
    + """
scenario, shape, kind, phases = sys.argv[1:]
case = fills.Case(scenario, shape, kind)
for phase in range(int(phases)):
    case.load(case.image)
    case.mount()
    case.fill_up(phase)
    case.umount()
    fills.cuts(case, findings, "phase %d" % phase)
findings.show()
"""
)


@pytest.mark.parametrize(
    ("scenario", "shape", "kind"),
    [
        ("uninstall", "usual", "lfs2"),
        ("uninstall", "usual", "lfs2 4096"),
        ("uninstall", "usual", "fat"),
        ("uninstall", "tiny", "lfs2"),
        ("uninstall", "tiny", "fat"),
        ("uninstall all", "usual", "lfs2"),
        ("uninstall all", "usual", "fat"),
        ("uninstall all", "tiny in new directories", "lfs2"),
    ],
)
def test_a_power_cut_on_a_full_disk(device, figures, scenario, shape, kind):
    """A cut at any write of an uninstall on a disk without any room is recovered from."""
    phases = 6 if FULL else 1
    counts, problems = sweep(
        device, UNINSTALL_CUTS, scenario, shape, kind, phases, heap=HEAPS[kind]
    )
    figures(f"power cuts on full disks, {kind.split(' ')[0]}", counts["cuts"])
    assert not problems, listed(problems)
    assert counts["cuts"] > 4


TWO_DISKS = (
    START
    + """
scenario, shape, kind, inner, filled, step = sys.argv[1:]
case = fills.Case(scenario, shape, kind, inner, int(filled))
findings.add("without a fault", ["3 neither old nor new"] * (not case.sound))
for place in case.levels(int(step)):
    fills.level(case, findings, place)
findings.show()
"""
)


@pytest.mark.parametrize("filled", [0, 1])
@pytest.mark.parametrize(
    ("scenario", "shape", "kind", "inner"),
    [
        ("install", "two disks", "lfs2", "fat"),
        ("install", "two disks", "fat", "lfs2"),
        ("install", "two disks", "fat", "fat"),
        ("install", "other disk", "lfs2", "fat"),
        ("install", "other disk", "fat", "lfs2"),
        ("upgrade", "two disks at last", "lfs2", "fat"),
        ("upgrade", "two disks at last", "fat", "lfs2"),
        ("upgrade", "two disks", "lfs2", "fat"),
    ],
)
def test_a_disk_within_the_target(device, figures, scenario, shape, kind, inner, filled):
    """Where a card is mounted within the target, all of a package is there, or nothing."""
    step = 1 if FULL else 8
    counts, problems = sweep(
        device, TWO_DISKS, scenario, shape, kind, inner, filled, step, heap="8m"
    )
    figures("fill levels with two disks", counts["levels"])
    report(figures, counts, kind)
    assert not problems, listed(problems)
