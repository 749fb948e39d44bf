"""Memory runs out at every heap level, a user interrupts at every call, and nothing leaks."""

import pytest
from sweeps import CASE_AND_CHECK, listed, sweep

pytestmark = pytest.mark.needs("heap")

SCENARIOS = ("install", "upgrade", "uninstall")

# From a heap without room to one with enough, in steps of `step` bytes. No block device is
# used: one in Python would need memory, too, and be struck within the file system.
LEVELS = (
    CASE_AND_CHECK
    + """
def call(free):
    # A function, because a new global name may need memory.
    held = faults.ballast(free)
    try:
        return case.call()
    except MemoryError as e:
        return e  # it did not even begin


step = int(sys.argv[3])
free = enough = 0
while enough < 20:
    free += step
    case.start(faults.Fault())
    outcome = call(free)
    gc.collect()
    findings.count("levels")
    enough = enough + 1 if outcome == "done" else 0
    findings.count("memory", isinstance(outcome, MemoryError))
    findings.count("refused", isinstance(outcome, mip.InstallError))
    check((free, repr(outcome)), outcome, isinstance(outcome, MemoryError))
    case.stop()
findings.counts["enough"] = free
findings.show()
"""
)

INTERRUPTS = (
    CASE_AND_CHECK
    + """
for fault in faults.strikes(error=KeyboardInterrupt()):
    case.start(fault)
    outcome = case.call()
    number, struck = fault.at, fault.struck
    if struck:
        findings.count("interrupts")
        if not isinstance(outcome, KeyboardInterrupt):
            findings.add((number, struck), ["3 the interrupt became %r" % outcome])
        # Who interrupts the clearing up, too, leaves it to the next verb.
        check((number, struck), outcome, oracle.clearing(case, struck))
    case.stop()
findings.show()
"""
)

MANY = """
import gc, json, sys
import faults, mip, oracle

mip.print = lambda *words: None
case = faults.Case("install", "posix")
findings = oracle.Findings()
case.start(faults.Fault())
levels = [0] * 100
for number in range(100):
    if case.call() != "done":
        findings.add(number, ["3 install"])
    if number % 10 == 5:
        try:
            mip.install("none", faults.INDEX, faults.TARGET, session=case.session)
            findings.add(number, ["3 installed what is not there"])
        except mip.InstallError:
            pass
    mip.uninstall(["app", "tool"], faults.TARGET)
    mip.uninstall("base", faults.TARGET)
    if case.open_files():
        findings.add(number, ["7 %d files and answers are open" % case.open_files()])
    case.session.requests = []
    gc.collect()
    levels[number] = gc.mem_free()
tree = faults.walk(faults.ROOT)
if tree.pop(oracle.RECORD) != b'["mip", 1]\\n':
    findings.add("the end", ["8 the record is not empty"])
tree.pop(oracle.META)
findings.add("the end", ["2 " + text for text in oracle.differences(tree, case.before)])
case.stop()
findings.counts["lost"] = levels[9] - levels[99]
findings.show()
"""


# The bytes between two heap levels.
STEPS = {"install": 40, "upgrade": 80, "uninstall": 80}


@pytest.mark.parametrize("scenario", STEPS)
def test_too_little_memory(device, figures, scenario):
    """At every heap level a call succeeds or fails cleanly, and succeeds with memory again."""
    counts, problems = sweep(device, LEVELS, scenario, "posix", STEPS[scenario], heap="220k")
    figures("heap levels tried", counts["levels"])
    figures("heap levels that were too low", counts["memory"] + counts["refused"])
    assert not problems, listed(problems)
    assert counts["memory"] > 50


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_interrupt_at_every_call(device, figures, scenario):
    """KeyboardInterrupt at any call is passed on, and the next call ends as without it."""
    counts, problems = sweep(device, INTERRUPTS, scenario, "posix", heap="1m")
    figures("interrupts", counts["interrupts"])
    assert not problems, listed(problems)


def test_a_hundred_installs(device):
    """A hundred installs and uninstalls in one process leave memory and files as they were."""
    counts, problems = sweep(device, MANY, heap="1m")
    assert not problems, listed(problems)
    assert counts["lost"] <= 0
