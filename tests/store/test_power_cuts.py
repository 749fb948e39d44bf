"""The power fails at every block write of an install, an upgrade, an uninstall and a recovery.

The writes of one run are recorded, and every prefix of them is replayed, also with half of the
next write: that is what a board finds which lost power then.
"""

import pytest
from sweeps import CASE, listed, sweep

KINDS = ("lfs2", "fat")

# Scenario and kind of disk: in how many of the cut states some files of the packages are old
# and some new. A rename for each file that changes makes these states; the numbers must not
# grow.
MIXED = {
    ("install", "lfs2"): 12,
    ("install", "fat"): 25,
    ("upgrade", "lfs2"): 20,
    ("upgrade", "fat"): 29,
    ("uninstall", "lfs2"): 18,
    ("uninstall", "fat"): 20,
    ("install many", "fat"): 60,
    ("upgrade many", "fat"): 108,
}

START = (
    CASE
    + """

def recover(thorough=True):
    # Recovers and looks; on FAT also after everything that is free has been overwritten.
    try:
        mip.recover(faults.TARGET)
    except mip.InstallError as e:
        return {}, ["4 recover: %r" % e]
    tree = faults.walk(faults.ROOT)
    wrong = oracle.check(case, oracle.SETTLED, tree)
    if kind == "fat" and thorough:
        faults.fill(faults.ROOT + "/fill")
        then = faults.walk(faults.ROOT)
        wrong += ["1 overwritten: " + text for text in oracle.differences(then, tree)]
    try:
        # A target without a record has nothing to verify; and mip may be without verify().
        verify = getattr(mip, "verify", None)
        if thorough and oracle.RECORD in tree and verify and verify(faults.TARGET):
            wrong.append("1 verify() finds damaged files")
    except mip.InstallError as e:
        wrong.append("1 verify: %r" % e)
    return tree, wrong
"""
)

# Every cut; then recovery and the same call, and the same call alone.
CUTS = (
    START
    + """
if kind == "lfs2":
    case.options = {"readsize": 128}  # reads in larger pieces; the writes to cut are in the log
for number, torn, image in faults.cuts(case.image, case.log):
    place = number, torn
    findings.count("cuts")

    case.start(image=image)
    tree = faults.walk(faults.ROOT)
    findings.count("mixed", oracle.mixed(case, tree))
    findings.add(place, ["1 torn " + path for path in oracle.torn(case, tree)])
    tree = case.look()
    findings.add(place, oracle.check(case, oracle.CUT, tree))
    findings.count("twice", oracle.twice(case, tree))
    case.stop()

    case.start(image=image)
    settled, wrong = recover()
    findings.add(place, wrong)
    outcome = case.again()
    findings.add(place, oracle.check_again(case, outcome, faults.walk(faults.ROOT), settled))
    case.stop()

    case.start(image=image)
    outcome = case.again()
    tree = faults.walk(faults.ROOT)
    findings.add(place, oracle.check_again(case, outcome, tree, settled))
    case.stop()
findings.show()
"""
)

# Cuts during the recovery that follows a cut. Cuts that leave the same files, mip's own
# included, are followed by the same recovery: one of them is tried.
PAIRS = (
    START
    + """
seen = set()
for number, torn, image in faults.cuts(case.image, case.log):
    case.start(image=image)
    tree = case.look()
    case.stop()
    key = hash(str(sorted(tree.items())))
    if key in seen:
        continue
    seen.add(key)
    findings.count("first cuts")

    case.start(image=image)
    log = case.record(lambda: recover(False))
    case.stop()
    base = bytes(image)
    for count, (again, half, image) in enumerate(faults.cuts(base, log)):
        place = number, torn, again, half
        findings.count("pairs")
        case.start(image=image)
        tree = case.look()
        findings.add(place, oracle.check(case, oracle.CUT, tree))
        case.stop()
        case.start(image=image)
        findings.add(place, recover(count % 4 == 0 or oracle.twice(case, tree))[1])
        case.stop()
findings.show()
"""
)

# Upstream's way of writing, for contrast: each file straight to its final name.
IN_PLACE = (
    START
    + """
case.start()
case.disk.start_log()
for path in case.new:
    faults.write(faults.ROOT + "/" + path, case.new[path])
case.stop()
for number, torn, image in faults.cuts(case.image, case.disk.log):
    case.start(image=image)
    tree = faults.walk(faults.ROOT)
    findings.count("cuts")
    findings.count("torn", bool(oracle.torn(case, tree)))
    findings.count("mixed", oracle.mixed(case, tree))
    findings.add((number, torn), oracle.check(case, oracle.CUT, tree))
    case.stop()
findings.show()
"""
)


@pytest.mark.parametrize(("scenario", "kind"), MIXED)
def test_a_power_cut(device, figures, scenario, kind):
    """After a cut at any write the packages are whole, and the next call ends as without it."""
    counts, problems = sweep(device, CUTS, scenario, kind)
    figures(f"power cuts, {kind}", counts["cuts"])
    figures(f"power cuts that leave mixed versions, {kind}", counts["mixed"])
    if kind == "fat":
        figures("power cuts that leave two names for one file, fat", counts["twice"])
    assert not problems, listed(problems)
    assert counts["mixed"] <= MIXED[scenario, kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", ["install", "upgrade", "uninstall"])
def test_a_power_cut_during_recovery(device, figures, scenario, kind):
    """A second cut, during the recovery from the first, is recovered from like the first."""
    counts, problems = sweep(device, PAIRS, scenario, kind)
    figures(f"pairs of power cuts, {kind}", counts["pairs"])
    assert counts["first cuts"] > 10
    assert not problems, listed(problems)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_in_place(device, figures, kind):
    """The sweep sees what is wrong with writing straight to the final names."""
    counts, problems = sweep(device, IN_PLACE, "install", kind)
    assert counts["torn"] > 0
    assert any(text.startswith("1 ") for text in problems)
    counts, problems = sweep(device, IN_PLACE, "upgrade", kind)
    figures(f"power cuts while writing in place, {kind}", counts["cuts"])
    figures(f"power cuts while writing in place, mixed, {kind}", counts["mixed"])
    assert counts["mixed"] > 0.4 * counts["cuts"]
    assert any(text.startswith("8 ") for text in problems)
