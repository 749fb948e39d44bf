"""What README.md shows is true: the demo runs, and so does every command in it."""

import os
import re
import shlex
import shutil
import subprocess
from types import SimpleNamespace

import conftest
import demo
import pytest
from test_bootstrap import MODULES, Terminal

ROOT = conftest.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Command lines of README.md that no test runs, and why.
NOT_RUN = {
    "./tools/test": "it runs this test",
}


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


def fold(line):
    """A line of the demo without what is different each time."""
    return re.sub(r"localhost:\d+", "localhost:PORT", line)


def blocks(language):
    """The code blocks of that language in README.md, in order: a list of lists of lines."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]


def commands(lines):
    """The commands in the lines of a console."""
    return [line[2:] for line in lines if line.startswith("$ ")]


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


# --- README.md ---


def test_the_first_commands():
    """README.md begins with what mip is, and two commands, which are there to be run."""
    first = README.index("```console")
    assert README.startswith("# mip\n\nmip is ")
    assert README[:first].count("\n") < 10
    names = commands(blocks("console")[0])
    assert names == ["./tools/demo", "./tools/test"]
    for name in names:
        assert os.access(ROOT / name, os.X_OK)


def test_the_length_of_the_readme():
    """README.md is read in one go: it has fewer than 140 lines."""
    assert README.count("\n") < 140


def test_the_session(shown):
    """The session in README.md is what ./tools/demo shows, in its order, lines left out aside."""
    transcript = "\n".join(["", *map(fold, shown.lines), ""])
    session = "\n".join(map(fold, blocks("console")[1]))
    # Lines are left out between two commands that mip runs and, in their output, for "...".
    place = 0
    for part in re.split(r"\n\.\.\.\n|\n(?=\$ micropython )", session):
        found = transcript.find(f"\n{part}\n", place)
        assert found >= 0, part
        place = found + len(part)


def test_the_usage(device):
    """The command line in README.md is what --help prints."""
    (usage,) = blocks("text")
    assert "\n".join(usage) == device.mip("--help", check=True).out.strip()


def test_mpremotes_commands(device, tmp_path):
    """The mpremote commands in README.md put mip into lib, the copied and the installed one."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / "package.json", clone)
    shutil.copytree(ROOT / "mip", clone / "mip", ignore=shutil.ignore_patterns("__pyc*"))
    mip = {f"mip/{path.name}": path.read_bytes() for path in (clone / "mip").iterdir()}
    lines = [line for line in commands(blocks("console")[2]) if line.startswith("mpremote ")]
    *copy, install = [shlex.split(line)[1:] for line in lines]
    assert install[:2] == ["mip", "install"]
    with Terminal(device, path=[]) as terminal:
        for words in copy:
            terminal.run(*words, cwd=clone)
        assert device.tree() == mip
        shutil.rmtree(device.lib)
        terminal.run(*install, cwd=clone)
        assert device.tree() == mip


def test_no_command_is_left_out(shown):
    """Every command in README.md is run by the demo or by a test, or there is a reason not to."""
    run = {fold(command) for command in commands(shown.lines)}
    run |= set(commands(blocks("console")[2]))  # by test_mpremotes_commands
    run |= {"./tools/demo"}  # by the fixture `shown`
    written = {fold(command) for block in blocks("console") for command in commands(block)}
    assert written - run == set(NOT_RUN)
    assert all(line.startswith("mpremote ") for line in commands(blocks("console")[2]))


# Does what a REPL does with the lines in sys.argv.
REPL = """
import sys
for line in sys.argv[1:]:
    print(">>> " + line)
    try:
        compile(line, "", "eval")
    except SyntaxError:
        exec(line)
    else:
        value = eval(line)
        if value is not None:
            print(repr(value))
"""


def outputs(lines):
    """What a REPL showed, as a list of (line that was typed, lines of its output)."""
    found = []
    for line in lines:
        if line.startswith(">>> "):
            found.append((line[4:], []))
        else:
            found[-1][1].append(line)
    return found


def type_in(device, block, lib="/lib"):
    """Type the lines of a block of README.md at a REPL; compare what the block shows of it.

    A line without output there may have any. lib: what "/lib" is on the board.
    """
    expected = outputs(block)
    typed = [line.replace('"/lib"', repr(str(lib))) for line, _ in expected]
    shown = outputs(device.run(REPL, *typed, check=True).lines)
    assert [line for line, _ in shown] == typed
    for (line, output), (_, wanted) in zip(shown, expected, strict=True):
        assert wanted in ([], output), line
        if "install(" in line:
            assert output[-1] == "Done", line


@pytest.fixture
def internet(device, server, secure_server, index):
    """The hosts that README.md names have what it names; the board is connected to them."""
    secure = ("micropython.org", "host", "raw.githubusercontent.com")
    device.hosts = {"example.com": server.port, **dict.fromkeys(secure, secure_server.port)}
    root = secure_server.root
    shutil.copytree(index, root / "pi", dirs_exist_ok=True)
    shutil.copytree(index, root / "pi" / "v2")
    (server.root / "x").mkdir()
    (server.root / "x" / "foo.py").write_bytes(b"foo = 1\n")
    branch, default = root / "ORG" / "REPO" / "branch-or-tag", root / "ORG" / "REPO" / "HEAD"
    branch.mkdir(parents=True)
    (branch / "package.json").write_text('{"urls": [["inside.py", "inside.py"]]}')
    (branch / "inside.py").write_bytes(b"inside = 1\n")
    # What is at the placeholder's default branch is this repository.
    for name in ("package.json", *MODULES):
        (default / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, default / name)


def test_the_lines_at_the_repl(device, internet):
    """The calls of mip in README.md install what they name, and remove morse in the end."""
    type_in(device, blocks("pycon")[0])
    assert list(device.tree()) == ["foo.py", "inside.py"]
    assert list(device.tree(device.work / "third-party")) == ["crc.mpy", "frame.mpy"]


def test_the_lines_for_the_mip_of_the_firmware(device, internet):
    """The lines in README.md for upstream's mip have it install this one."""
    type_in(device.upstream(), blocks("pycon")[1])
    assert list(device.tree()) == MODULES


def test_the_lines_that_prefer_a_copied_mip(device):
    """The lines in README.md for a board with a frozen mip have it run the copied one."""
    shutil.copytree(ROOT / "mip", device.lib / "mip")
    type_in(device.upstream(), blocks("pycon")[2], lib=device.lib)


def test_every_block_is_checked():
    """README.md has no code block but those that are run here."""
    fences = re.findall(r"^```(\w+)$", README, re.MULTILINE)
    assert sorted(fences) == ["console"] * 3 + ["pycon"] * 3 + ["text"]
