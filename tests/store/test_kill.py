"""The real process is killed at the system calls by which it changes the disk.

strace kills it on the way into the call. Where strace may not trace, the test is skipped.
"""

import json
import os
import re
import shutil
import subprocess

import pytest

CALLS = ("mkdir", "rmdir", "rename", "unlink", "write", "openat")

# Makes the disk as it is before the call, in ./disk.
PREPARE = """
import sys, faults, mip
mip.print = lambda *words: None
case = faults.Case(sys.argv[1], "posix")
case.start()
case.stop()
"""

# The call that is killed.
CALL = """
import sys, faults, mip, vfs
mip.print = lambda *words: None
scenario, disk = sys.argv[1:]
vfs.mount(faults.Host(disk), faults.ROOT)
_, latest, call, _ = faults.SCENARIOS[scenario]
call(faults.Session(latest))
"""

# What every killed run left, and the same call again.
CHECK = """
import json, os, sys, faults, mip, oracle
mip.print = lambda *words: None
scenario, killed = sys.argv[1:]
case = faults.Case(scenario, "posix")
findings = oracle.Findings()
findings.add("without a fault", oracle.check_case(case))
for name in sorted(os.listdir(killed)):
    case.attach(killed + "/" + name)
    tree = faults.walk(faults.ROOT)
    findings.count("kills")
    findings.count("changed", tree != case.before)
    findings.count("mixed", oracle.mixed(case, tree))
    findings.add(name, oracle.check(case, oracle.CUT, tree))
    settled = case.final if oracle.committed(case, tree) else tree
    outcome = case.again()
    findings.add(name, oracle.check_again(case, outcome, faults.walk(faults.ROOT), settled))
    case.stop()
findings.show()
"""


def strace(device, log, script, args, *options):
    """Run a script under strace; return its exit status."""
    command = ["strace", "-f", "-qq", "-o", log, *options, *device.command(script, *args)]
    return subprocess.run(
        [str(word) for word in command],
        cwd=device.work,
        env=device.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    ).returncode


def changes(log, directory):
    """The calls in a log of strace that change what is in `directory`: [(call, its number)]."""
    numbers = dict.fromkeys(CALLS, 0)
    files = {}
    found = []
    for line in log.read_text().splitlines():
        match = re.match(r"\d+ +(\w+)\((.*)\) += (-?\d+)", line)
        if not match or match[1] not in numbers:
            continue
        call, args, result = match.groups()
        numbers[call] += 1
        ours = str(directory) in args
        if call == "openat":
            files[result] = ours
            ours = ours and "O_CREAT" in args
        elif call == "write":
            ours = files.get(args.split(",")[0], False)
        if ours:
            found.append((call, numbers[call]))
    return found


@pytest.mark.parametrize("scenario", ["install", "upgrade", "uninstall"])
def test_kill(device, figures, scenario, tmp_path):
    """After kill -9 at any change of the disk it is whole, and the next call ends as without."""
    device.run(PREPARE, scenario, check=True)
    before = device.work / "disk"
    disk = tmp_path / "killed disk"
    killed = tmp_path / "killed"
    killed.mkdir()
    script = tmp_path / "call.py"
    script.write_text(CALL)
    log = tmp_path / "log"
    args = (scenario, disk)
    trace = "trace=" + ",".join(CALLS)

    shutil.copytree(before, disk)
    try:
        status = strace(device, log, script, args, "-e", trace)
    except FileNotFoundError:
        pytest.skip("there is no strace")
    if status and not (log.exists() and log.stat().st_size):
        pytest.skip("strace may not trace here")
    assert status == 0
    points = changes(log, disk)
    assert len(points) > 15
    for place, (call, number) in enumerate(points):
        shutil.rmtree(disk)
        shutil.copytree(before, disk)
        inject = f"inject={call}:signal=KILL:when={number}"
        status = strace(device, os.devnull, script, args, "-e", trace, "-e", inject)
        assert status == -9, (call, number)
        disk.rename(killed / f"{place:04} {call} {number}")
        disk.mkdir()
    shutil.rmtree(before)
    result = device.run(CHECK, scenario, killed, timeout=300, check=True)
    counts, problems = json.loads(result.lines[-1].removeprefix("## "))
    figures("kills at a system call", counts["kills"])
    assert not problems, "\n" + "\n".join(
        f"{text}: {count} times, first at {where}"
        for text, (count, where) in sorted(problems.items())
    )
    assert counts["changed"] > len(points) // 2
