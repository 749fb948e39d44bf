"""./tools/demo runs, shows what it is to show, and leaves nothing."""

import os
import re
import subprocess
from types import SimpleNamespace

import demo
import pytest
from folders import ROOT


def run_demo(directory, **environment):
    """Run ./tools/demo with empty directories for HOME and TMPDIR in `directory`.

    Returns an object with its exit status, the lines of its output, its stderr, and what it
    left in these directories.
    """
    places = {"HOME": directory / "home", "TMPDIR": directory / "tmp"}
    for place in places.values():
        place.mkdir()
    done = subprocess.run(
        [ROOT / "tools" / "demo"],
        cwd=directory,
        env={**os.environ, **{name: str(place) for name, place in places.items()}, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        text=True,
    )
    left = [path for place in places.values() for path in place.rglob("*")]
    return SimpleNamespace(
        status=done.returncode, lines=done.stdout.splitlines(), err=done.stderr, left=left
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What ./tools/demo did."""
    return run_demo(tmp_path_factory.mktemp("demo"))


# --- The demo ---


def test_the_demo_succeeds(shown):
    """./tools/demo exits 0, and says nothing on stderr."""
    assert (shown.status, shown.err) == (0, "")


KEY_LINES = {
    "an index is built": r"Published telemetry 0\.1\.0",
    "a package is installed": r"\$ micropython -m mip install .*https://localhost:\S+ tel.*",
    "each file is counted": r"Copying: \[10/10\] \./lib/\S+",
    "connections are counted": r"# The server counted \d+ requests on one connection\.",
    "it is listed": r"telemetry@0\.1\.0",
    "the tree is shown": r"lib/smooth/adaptive/kalman\.mpy",
    "it is used": r"channel 1: 20\.250",
    "nothing is fetched twice": r"Exists: \[10/10\] \./lib/\S+",
    "a version is installed": r"\$ micropython -m mip install .*morse@1\.1\.0",
    "an error is shown": r"mip: .*no-such-package.*",
}


@pytest.mark.parametrize("pattern", KEY_LINES.values(), ids=KEY_LINES)
def test_the_demo_shows(shown, pattern):
    """./tools/demo shows each step of using mip."""
    assert [line for line in shown.lines if re.fullmatch(pattern, line)]


def test_the_demo_shows_exit_statuses(shown):
    """./tools/demo shows the exit status of a command that fails, which is 1."""
    at = shown.lines.index("$ echo $?")
    assert shown.lines[at - 1].startswith("mip: ")
    assert shown.lines[at + 1] == "1"


def test_the_demo_leaves_nothing(shown):
    """./tools/demo leaves no file in the home or temporary directory, nor its own directory."""
    assert shown.left == []
    (place,) = {word for line in shown.lines for word in re.findall(r"build/demo-\w+", line)}
    assert not (ROOT / place).exists()


@pytest.mark.parametrize("interpreter", ["true", "false", "no-such-interpreter"])
def test_the_demo_fails_with_its_interpreter(tmp_path, interpreter):
    """./tools/demo exits 1, with a reason, when MICROPYTHON does not do what mip does."""
    failed = run_demo(tmp_path, MICROPYTHON=interpreter)
    assert failed.status == 1
    assert re.fullmatch(r"demo: .+\n", failed.err)
    assert failed.left == []


@pytest.mark.parametrize(
    ("command", "word", "status"),
    [("exit 3", "", 0), ("exit 3", "", 1), ("true", "", 1), ("echo yes", "no", 0)],
)
def test_a_step_that_fails(tmp_path, command, word, status):
    """A step with another exit status or other output than expected ends the demo."""
    shell = demo.Shell(tmp_path)
    with pytest.raises(demo.StepError, match=re.escape(command)):
        shell.run(command, word, status=status)


def test_a_step_that_succeeds(tmp_path, capsys):
    """A step with the expected exit status is shown as it is typed, with its output."""
    shell = demo.Shell(tmp_path)
    shell.run("echo yes; exit 3", "yes", status=3)
    assert capsys.readouterr().out == "$ echo yes; exit 3\nyes\n$ echo $?\n3\n"
