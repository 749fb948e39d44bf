"""Commands and scripts: each says how it is used, and finds what it needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from folders import ROOT, TESTS

TOOLS = ROOT / "tools"

# What is typed as it is, and what is run by Python.
COMMANDS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*TOOLS.iterdir(), *(ROOT / ".ci").iterdir()]
    if path.is_file()
)
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for directory in (TOOLS, TESTS / "helpers")
    for path in directory.rglob("*.py")
    if '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")
)
# It runs on MicroPython, where tools/bench starts it.
PROGRAMS.remove("tools/benchmark/bench_board.py")

# A PATH without the environment of the project.
OUTSIDE = os.pathsep.join([f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin"])


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the repository, without what was made in it."""
    clone = tmp_path_factory.mktemp("clone") / "mip"
    made = shutil.ignore_patterns("__pycache__", "corpus")
    for name in (".ci", "mip", "tests", "tools"):
        shutil.copytree(ROOT / name, clone / name, ignore=made)
    shutil.copy(ROOT / "pyproject.toml", clone)
    return clone


def state(directory):
    """What is in a directory: {path: (time of the last change, size)}."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in directory.rglob("*")}


def run(directory, *command):
    """Run a command in a directory, as in a shell that knows nothing of the project."""
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": OUTSIDE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        text=True,
    )


def test_the_commands_are_there():
    """What is directly in tools/ is a command, which can be run."""
    assert {"tools/bench", "tools/demo", "tools/env", "tools/release", "tools/test"} < {*COMMANDS}
    assert all(os.access(ROOT / command, os.X_OK) for command in COMMANDS)
    assert not [command for command in COMMANDS if Path(command).suffix]


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_how_it_is_used(clone, command, option):
    """--help names the command, and nothing is made or changed then, not even .venv."""
    before = state(clone.parent)
    done = run(clone, f"./{command}", option)
    assert (done.returncode, done.stderr) == (0, "")
    usage = [line for line in done.stdout.splitlines() if command in line]
    assert usage, done.stdout
    assert state(clone.parent) == before


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_how_it_is_used(clone, program, option):
    """--help is a usage, and nothing is made or changed then."""
    before = state(clone.parent)
    done = run(clone, sys.executable, "-B", program, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert state(clone.parent) == before


@pytest.mark.parametrize(
    "words",
    [
        ["tools/env", "--no-such-option"],
        ["tools/demo", "--no-such-option"],
        ["tools/release", "--no-such-option"],
    ],
)
def test_an_unknown_option(clone, words):
    """An unknown option ends a command before anything is made."""
    before = state(clone.parent)
    done = run(clone, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{words[0]}: ")
    assert state(clone.parent) == before


# --- The environment ---


def test_env_runs_a_program(tmp_path):
    """tools/env runs a program of the environment, where it is called, with its exit status."""
    code = "import os, sys; print(os.getcwd(), sys.argv[1:], sys.prefix); sys.exit(3)"
    env = ROOT / "tools" / "env"
    done = run(tmp_path, env, "python", "-c", code, "a b", "--help")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"{tmp_path} ['a b', '--help'] {ROOT / '.venv'}\n"
    assert run(tmp_path, env, "no-such-program").returncode == 127


def test_a_script_for_developers(tmp_path):
    """A script of tools/dev finds what it needs, wherever it is called."""
    done = run(tmp_path, ROOT / "tools" / "env", "python", ROOT / "tools" / "dev" / "size.py")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish"])
def test_env_is_a_program(clone, shell):
    """tools/env starts each shell with the tools; read with `.` it says so, and makes nothing."""
    if not shutil.which(shell, path=OUTSIDE):
        pytest.skip(f"{shell} is not installed")
    env = ROOT / "tools" / "env"
    done = run(clone, env, shell, "-c", "command -v mpremote")
    assert done.stdout == f"{ROOT / '.venv'}/bin/mpremote\n"
    before = state(clone)
    done = run(clone, shell, "-c", ". tools/env; echo on")
    if shell != "fish":  # which cannot read it
        assert done.stdout == "on\n"
        assert "tools/env bash" in done.stderr
    assert state(clone) == before
