"""Runs both mips in a real MicroPython: how long they take, and how much heap they need."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import size

# Seconds until an install that does not end is ended. The slowest takes two minutes.
TIMEOUT = 900
# The heap sizes that are tried: what a probe leaves free is at most this.
MOST_FREE = 16 << 20
# Bytes of heap for what is there before an install: the interpreter's, and a mip that was loaded.
LOADED = 128 << 10

# Installs, and prints how many microseconds that took.
_TIMED = """
import sys, time
import mip
name, index, target, cafile = sys.argv[1:]
options = {"session": mip.Session(cafile=cafile)} if cafile else {}
start = time.ticks_us()
mip.install(name, index=index, target=target, **options)
print("##", time.ticks_diff(time.ticks_us(), start))
"""

# Installs with so many bytes of free heap. Whatever is imported by either mip is there before,
# so that code from a file compares with frozen code. Prints the bytes that were free, and
# "done" when they were enough.
_LIMITED = """
import gc, sys
import mip
for module in ("requests", "socket", "ssl", "tls"):
    try:
        __import__(module)
    except ImportError:
        pass
name, index, target, free = sys.argv[1:]
free = int(free)
# Blocks of the smallest size fill the gaps first, so that what stays free is in one piece.
ballast = None
gc.collect()
for _ in range((gc.mem_free() - free) // 32 - 20):
    ballast = (ballast,)
gc.collect()
while gc.mem_free() > free:
    ballast = (ballast,)
print("##", gc.mem_free())
mip.install(name, index=index, target=target)
ballast = None
print("## done")
"""


class BenchError(Exception):
    """Something did not do what is to be measured; the text says what, in one line."""


@dataclass(frozen=True)
class Client:
    """A mip to measure: its name in the tables, and the entry of sys.path that it comes from."""

    name: str
    path: str


def interpreter():
    """Return the command that starts MicroPython: the one that MICROPYTHON names, else ours.

    Raises BenchError when there is none.
    """
    named = os.environ.get("MICROPYTHON")
    if named:
        found = shutil.which(named)
    else:
        found = shutil.which("micropython", path=os.path.dirname(sys.executable))
    if not found:
        raise BenchError(f"no such interpreter: {named or 'micropython'}")
    return os.path.abspath(found)


class Bench:
    """An interpreter, both mips, and a directory for all that is installed.

    place: an empty directory; it is on the file system that the installs are measured on.
    """

    def __init__(self, place):
        self.place = Path(place)
        self.interpreter = interpreter()
        modules = self.place / "modules"
        compiled = size.compile_modules(modules)
        self.sizes = {path.name: path.stat().st_size for path in compiled}
        self.ours = Client("ours", str(modules))
        self.upstream = Client("upstream", ".frozen")
        # The directory of a script is in sys.path, so there is nothing else in this one.
        self._scripts = self.place / "scripts"
        self._scripts.mkdir()
        (self._scripts / "timed.py").write_text(_TIMED)
        (self._scripts / "limited.py").write_text(_LIMITED)
        (self._scripts / "version.py").write_text(
            "import mip, sys\nprint(sys.version)\nprint(mip.__version__)\n"
        )

    @property
    def clients(self):
        """Both mips, in the order of the tables."""
        return self.ours, self.upstream

    def versions(self, client):
        """Return the version of the interpreter, and that of a mip.

        Raises BenchError when there is no such mip, as in an interpreter without a frozen one.
        """
        done = self._run(client, "version.py")
        if done.returncode:
            raise BenchError(f"no mip ({client.name}) in this interpreter: {_last(done.stdout)}")
        system, mip = done.stdout.splitlines()
        return system.split("; ")[-1], mip

    def target(self):
        """Return a new directory to install into."""
        return Path(tempfile.mkdtemp(prefix="target-", dir=self.place))

    def install(self, client, package, url, target, cafile=None):
        """Install a package from the index at `url`; return how many milliseconds it took.

        That is the time of mip.install() in the interpreter, whose start is not in it.
        cafile: certificates to check the server with; only ours can.
        Raises BenchError when not every file of the package is in place then.
        """
        done = self._run(client, "timed.py", package.name, url, target, cafile or "")
        took = _facts(done.stdout)
        if done.returncode or len(took) != 1:
            raise BenchError(f"{client.name}, {package.name}: {_last(done.stdout)}")
        if wrong := _wrong(package, target):
            raise BenchError(f"{client.name}, {package.name}: {wrong} is not what it should be")
        return int(took[0]) / 1000

    def fits(self, client, package, url, free):
        """Return whether an install succeeds with `free` bytes of free heap.

        free: bytes, a multiple of 32, which is the size of a block on a 64-bit build.
        Whatever else a mip says, it is for want of memory: upstream's takes a MemoryError for
        a directory that is missing, and fails with EEXIST.
        Raises BenchError when there could not be as many free bytes.
        """
        heap = 1 << (free + LOADED - 1).bit_length()
        words = (package.name, url, target := self.target(), free)
        try:
            done = self._run(client, "limited.py", *words, options=("-X", f"heapsize={heap}"))
            facts = _facts(done.stdout)
            if facts[:1] != [str(free)] and "MemoryError" not in _last(done.stdout):
                raise BenchError(f"{client.name}, {free} bytes free: {_last(done.stdout)}")
            return facts[1:] == ["done"] and not _wrong(package, target)
        finally:
            shutil.rmtree(target)

    def _run(self, client, script, *words, options=()):
        return subprocess.run(
            [self.interpreter, *options, self._scripts / script, *map(str, words)],
            cwd=self.place,
            env={**os.environ, "MICROPYPATH": client.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            text=True,
            errors="replace",
        )


def _facts(output):
    """What a script says of itself, the lines that begin with ##."""
    return [line[3:] for line in output.splitlines() if line.startswith("## ")]


def _last(output):
    """The last line that a program printed, where the reason of a failure is."""
    return [line for line in ["no output", *output.splitlines()] if line[:2] != "##"][-1]


def _wrong(package, target):
    """The path of a file of a package that is not there or has another content, or None."""
    for path, content in package.files.items():
        file = target / path
        if not file.is_file() or file.read_bytes() != content:
            return path
    return None


def snapshot(target):
    """Return what is in a directory but for .mip/: {path: what changes when it is written}."""
    found = {}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_file() and not name.startswith(".mip/"):
            status = path.stat()
            found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def least(succeeds, guess, step, sure, each=map):
    """Return the smallest multiple of `step` from which on something succeeds.

    succeeds: a function of a number; it is called once for each, from near `guess` on.
    sure: so many larger numbers have to succeed as well, at growing distances: 1, 3, 6, 10 ...
    steps above the smallest.  A heap that is in pieces may do where a larger one does not.  Then
    the search goes on above that: what is returned is where success begins to be certain.
    each: calls a function with several numbers, as map() does; that of an executor does so at
    once.

    Raises BenchError when there is none up to MOST_FREE.
    """
    known = {}

    def tried(number):
        if number not in known:
            if number > MOST_FREE:
                raise BenchError(f"{MOST_FREE} bytes of heap are not enough")
            known[number] = number > 0 and succeeds(number)
        return known[number]

    low = max(0, guess // step * step - step)
    high = None
    stride = step
    while tried(low):
        high, low = low, max(0, low - stride)
        stride *= 2
    while True:
        if high is None:
            # From below, where a failure comes early, in strides that double.
            high = low + step
            while not tried(high):
                low, high = high, high + 2 * stride
                stride *= 2
        while high - low > step:
            middle = (low + high) // 2 // step * step
            low, high = (low, middle) if tried(middle) else (middle, high)
        above = [high + n * (n + 1) // 2 * step for n in range(1, sure + 1)]
        failed = [
            number for number, done in zip(above, each(tried, above), strict=True) if not done
        ]
        if not failed:
            return high
        low, high, stride = failed[-1], None, step
