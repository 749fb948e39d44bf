"""What the sweeps have in common: a call that is struck in every place, one after the other."""

import json

# The beginning of a program: arguments are the scenario and the kind of disk.
CASE = """
import gc, json, os, sys
import faults, mip, oracle

mip.print = lambda *words: None
scenario, kind = sys.argv[1:3]
case = faults.Case(scenario, kind)
findings = oracle.Findings()
findings.add("without a fault", oracle.check_case(case))
"""

# The same, for faults that a call goes on after.
CASE_AND_CHECK = (
    CASE
    + """

def check(place, outcome, debris=False):
    # Looks at a call that was struck, and makes it again without the fault.
    case.fault.at = None
    tree = case.look()
    findings.add(place, oracle.check(case, outcome, tree, debris))
    settled = case.final if oracle.committed(case, tree) else tree
    outcome = case.again()
    findings.add(place, oracle.check_again(case, outcome, faults.walk(faults.ROOT), settled))
"""
)


def sweep(device, program, *args, heap="2m"):
    """Run a sweep; return its counts, and what it found wrong."""
    result = device.run(program, *args, heap=heap, timeout=300, check=True)
    return json.loads(result.lines[-1].removeprefix("## "))


def listed(problems):
    """What a sweep found wrong, as text for people."""
    return "\n" + "\n".join(
        f"{text}: {count} times, first at {place}"
        for text, (count, place) in sorted(problems.items())[:40]
    )
