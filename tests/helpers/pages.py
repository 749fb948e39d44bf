"""Runs what a page in Markdown shows, on a real MicroPython, and compares what it shows with it.

A block `pycon` is typed at the REPL of a board that was just reset, a block `console` into a
shell in the root of a clone; a block of another language is a file, if the text before it ends
in its name and a colon: "`boot.py`:". Where a page shows "..." it leaves something out.
"""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from clients import Terminal
from device import Device
from folders import BOARD, HOSTS

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NAMED = re.compile(r"`([^`\n]+)`:\n\n\Z")

PROMPTS = {"pycon": ">>> ", "console": "$ "}


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    language: as after the backticks.  text: its lines, each with its end.  number: that of its
    first line in the page, from 1.  heading: the one that it stands under.  file: the name that
    the text before it gives it, or None.
    """

    language: str
    text: str
    number: int
    heading: str
    file: str

    @property
    def steps(self):
        """What is typed, and what the page shows of its output: pairs (line, list of lines)."""
        found = []
        prompt = PROMPTS[self.language]
        for line in self.text.splitlines():
            if line.startswith(prompt):
                found.append((line.removeprefix(prompt), []))
            else:
                found[-1][1].append(line)
        return found


def blocks(text):
    """Return the Blocks of the Markdown `text`, in order."""
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        above = headings(before)
        named = NAMED.search(before)
        found.append(
            Block(
                match[1],
                match[2],
                before.count("\n") + 2,
                above[-1] if above else "",
                named and named[1],
            )
        )
    return found


def headings(text):
    """Return the headings of the Markdown `text`, in order. What is in blocks is none."""
    return HEADING.findall(FENCE.sub("", text))


def shows(shown, printed):
    """Whether the lines that a page shows are those that were printed.

    A line "..." stands for any number of lines, and "..." in a line for any text in it.
    """
    pattern = ""
    for line in shown:
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("..."))) + r"\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in printed)) is not None


# Makes the interpreter a board: one disk, which is a directory of the computer, upstream's mip
# frozen in, and what its boot.py does. What stands for modules of a board is imported before.
START = """
def start(root):
    import network, ntptime, os, posix_disk, socket, sys, vfs
    disk = posix_disk.Disk(root)
    vfs.umount("/")
    vfs.mount(disk, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
start(%r)
del start
try:
    exec(open("/boot.py").read())
except OSError:
    pass  # it has none
"""


class Board(Device):
    """A Device whose disk has `work` as its root. Without other words, its command is a REPL.

    programs: the directory where the start-up program is written to; outside the board.
    """

    def __init__(self, work, interpreter, hosts, programs):
        super().__init__(work, [HOSTS, BOARD], interpreter, hosts)
        self._start = Path(programs) / "start.py"
        self._start.write_text(START % str(self.work))

    def command(self, *words, heap=None):
        return super().command(*(words or ("-i", self._start)), heap=heap)

    def type_in(self, lines):
        """Reset the board, and type these lines at its REPL.

        Returns a list of (line, lines that were printed).
        """
        done = subprocess.run(
            self.command(),
            cwd=self.work,
            env=self.environment(),
            input="".join(line + "\n" for line in lines),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            text=True,
        )
        _, *answers = done.stdout.split("\n>>> ")
        found = []
        # The last prompt is the one at which the input ended.
        for line, answer in zip(lines, answers, strict=False):
            echo, *printed = answer.splitlines()
            assert echo == line, f"{line!r} was shown as {echo!r}\n{done.stdout}"
            found.append((line, printed))
        assert len(answers) == len(lines) + 1, done.stdout
        return found


class Computer:
    """A computer with a clone of the repository, and mpremote for a board that is plugged in.

    clone: the directory where commands are run.  environment: what they find in theirs.  board:
    the Board that mpremote connects to.  proxy: a clients.Proxy to what mpremote can reach.
    """

    def __init__(self, clone, environment, board, proxy):
        self.clone = clone
        self.board = board
        self._proxy = proxy
        self._terminal = None
        self._programs = clone.with_name("programs")
        self._programs.mkdir(exist_ok=True)
        self._environment = {
            **environment,
            "PATH": f"{self._programs}:{Path(sys.executable).parent}:{environment['PATH']}",
        }
        self._status = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.unplug()

    def unplug(self):
        """Take the board off, if there is one."""
        if self._terminal:
            self._terminal.__exit__()
            self._terminal = None

    def plug_in(self, board):
        """Have mpremote find another board."""
        self.unplug()
        self.board = board

    def _plug(self):
        self._terminal = Terminal(self.board, path=self.board.path).__enter__()
        program = self._programs / "mpremote"
        words = [sys.executable, "-m", "mpremote", "connect", self._terminal.name, "resume"]
        # On the Unix port a reset is the end; so nothing is reset.
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)

    def _export(self, name, value):
        # Later commands find it. The modules of the tests stay in reach of MicroPython.
        assert name == "MICROPYPATH"
        self._environment[name] = f"{value}:{HOSTS}"

    def run(self, command):
        """Run a command line; returns (its exit status, its output as a list of lines)."""
        if command == "echo $?":
            return 0, [str(self._status)]
        if command.startswith("export "):
            self._export(*command.removeprefix("export ").split("=", 1))
            return 0, []
        environment = self._environment
        if command.startswith("mpremote"):
            if not self._terminal:
                self._plug()
            environment = {**environment, **self._proxy.environment}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            text=True,
        )
        self._status = done.returncode
        return done.returncode, done.stdout.splitlines()
