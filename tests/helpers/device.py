"""Runs programs on a real MicroPython, on the host."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import left_out
import starter
from folders import DEVICE_MODULES, HOSTS

# What starts the MicroPython that is installed along with the running Python. The installed
# command `micropython` is a Python program that calls main(). This one does the same in half
# the time, because it looks for no packages but the one it needs.
_MAIN = (
    f"import sys; sys.path.insert(0, {starter.DIRECTORY!r}); "
    "from micropython_unix import main; sys.argv[0] = 'micropython'; sys.exit(main())"
)
INSTALLED = [sys.executable, "-I", "-S", "-c", _MAIN]


def interpreter():
    """The command that starts MicroPython, as a list of words.

    It is the program that the environment variable MICROPYTHON names, else the one that is
    installed along with the running Python. Raises RuntimeError when there is neither.
    """
    named = os.environ.get("MICROPYTHON")
    if named:
        return [os.path.abspath(named) if os.sep in named else named]
    if starter.DIRECTORY is None:
        raise RuntimeError("no MicroPython: install the dev group, or set MICROPYTHON")
    return list(INSTALLED)


@dataclass(frozen=True)
class Result:
    """What a program did.

    status: its exit status; negative for the signal that ended it.
    out, err: its output. MicroPython prints an uncaught exception to out; one of its releases
    that does so to err is read as if it were out.
    """

    status: int
    out: str
    err: str

    @property
    def lines(self):
        """The lines of `out`, without their ends."""
        return self.out.splitlines()

    def __str__(self):
        return f"exit status {self.status}\n{self.out}{self.err}"


def _skip_where_it_lacks(result):
    # Skips a test whose program imports what another interpreter than the pinned one lacks, or
    # has mip say so. What mip imports is its own affair.
    import abilities

    text = result.out + result.err
    needed = [name for says, name in abilities.SAYS.items() if says in text]
    lines = text.splitlines()
    named = re.fullmatch(r"ImportError: no module named '(\w+)'", lines[-1] if lines else "")
    if named and named[1] in abilities.MODULES and 'File "mip/' not in "".join(lines[-2:-1]):
        needed.append(abilities.MODULES[named[1]])
    abilities.skip_without(*needed)


def error(result):
    """The text of the InstallError with which a program ended, as `InstallError: text`."""
    last = result.lines[-1]
    assert result.status == 1, str(result)
    assert last.startswith("InstallError: "), str(result)
    return last.removeprefix("InstallError: ")


class Device:
    """A board: a directory for its files, and an interpreter that runs in it.

    work: the working directory and the root of the board's files; made when missing. Scripts
    are kept next to it, outside the board.
    path: the directory that contains the mip under test, or a list of entries of sys.path.
    interpreter: the command that starts MicroPython, as a list of words.
    hosts: {host name: port on this machine, or "ip:port"}, where connections to these hosts go.
    cafile: the path of the certificates that mip's command line takes for the system's, or None.
    lib: the directory of the board's packages, work/"lib". mip makes it.
    """

    def __init__(self, work, path, interpreter, hosts=None, cafile=None):
        self.work = Path(work)
        self.path = path
        self.interpreter = interpreter
        self.hosts = hosts or {}
        self.cafile = cafile
        self.lib = self.work / "lib"
        self.work.mkdir(parents=True, exist_ok=True)
        self._scripts = self.work.with_name(self.work.name + "-scripts")
        self._numbers = itertools.count(1)

    def upstream(self):
        """The same board with the mip that is frozen into the interpreter, upstream's."""
        return Device(self.work, ".frozen", self.interpreter, self.hosts, self.cafile)

    def command(self, *words, heap=None):
        """The command that runs MicroPython with these words, as a list; for subprocess.Popen."""
        options = ["-X", f"heapsize={heap}"] if heap else []
        return [str(word) for word in (*self.interpreter, *options, *words)]

    def environment(self, path=None, env=None):
        """The environment that command() is to run in. The parameters are those of run()."""
        path = self.path if path is None else path
        path = [path] if isinstance(path, (str, Path)) else list(path)
        # mip installs into the first entry that ends in /lib: the board's, and none before it.
        entries = [*path, DEVICE_MODULES, self.lib]
        environment = dict(os.environ)
        if self.hosts:
            entries.insert(0, HOSTS)
            environment["MIP_TEST_HOSTS"] = ",".join(
                f"{name}={address if ':' in str(address) else f'127.0.0.1:{address}'}"
                for name, address in self.hosts.items()
            )
        environment.pop("SSL_CERT_FILE", None)
        if self.cafile:
            environment["SSL_CERT_FILE"] = str(self.cafile)
        environment["MICROPYPATH"] = ":".join(map(str, entries))
        environment.update(env or {})
        return environment

    def run(self, code, *args, heap=None, timeout=60, path=None, env=None, check=False):
        """Run the program text `code` with the arguments `args`, which are made text.

        heap: the size of MicroPython's heap, as "64k".
        timeout: seconds after which it is killed.
        path: entries of sys.path instead of self.path, one or a list.
        env: more environment variables.
        check: the program has to succeed.

        Returns a Result. Raises TimeoutError when it took too long, and with `check`
        AssertionError when its exit status was not 0; both have its output in their text.
        """
        command = self.command(self._script(code), *args, heap=heap)
        return self._run(command, timeout, self.environment(path, env), check)

    def start(self, code, heap=None, **options):
        """Start the program text `code`, to be talked to through pipes; return its process.

        options: more of those of subprocess.Popen. The rest is as for run().
        """
        return subprocess.Popen(
            self.command(self._script(code), heap=heap),
            cwd=self.work,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,
        )

    def mip(self, *args, heap=None, timeout=60, path=None, env=None, check=False):
        """Run `micropython -m mip` with the arguments `args`. The rest is as for run()."""
        command = self.command("-m", "mip", *args, heap=heap)
        return self._run(command, timeout, self.environment(path, env), check)

    def _script(self, code):
        self._scripts.mkdir(exist_ok=True)
        script = self._scripts / f"{next(self._numbers)}.py"
        script.write_text(code, encoding="utf-8")
        return script

    def _run(self, command, timeout, environment, check):
        def text(output):
            # It is what the program printed, right or wrong, so bad UTF-8 is shown, not refused.
            return (output or b"").decode("utf-8", "backslashreplace")

        try:
            if starter.AVAILABLE and self.interpreter == INSTALLED:
                words = command[len(self.interpreter) :]
                status, out, err = starter.run(words, self.work, environment, timeout)
            else:
                done = subprocess.run(
                    command,
                    cwd=self.work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=timeout,
                )
                status, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            output = text(error.stdout) + text(error.stderr)
            raise TimeoutError(f"still running after {timeout} s\n{output}") from None
        out, err = text(out), text(err)
        if status == 1:
            err, traceback, rest = err.partition("Traceback (most recent call last):\n")
            out += traceback + rest
        result = Result(status, out, err)
        if os.environ.get("MICROPYTHON"):
            _skip_where_it_lacks(result)
        left_out.skip_after(out + err)
        if check:
            assert result.status == 0, str(result)
        return result

    def tree(self, directory=None, everything=False):
        """The files under `directory`, or under lib: {path relative to it: content}, sorted.

        everything: with the files in .mip, which are mip's own. Nothing there is {}.
        """
        directory = Path(directory or self.lib)
        files = {}
        for file in sorted(directory.rglob("*")):
            name = file.relative_to(directory).as_posix()
            if file.is_file() and (everything or not name.startswith(".mip/")):
                files[name] = file.read_bytes()
        return files

    def record(self, directory=None):
        """The record of what is installed in `directory`, or in lib: its lines, parsed.

        None when there is no record. Raises ValueError when a line is not JSON.
        """
        record = Path(directory or self.lib) / ".mip" / "record"
        if not record.exists():
            return None
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
