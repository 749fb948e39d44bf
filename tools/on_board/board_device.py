"""What tools/board has a board do. It is read from the mounted directory of the computer.

Facts are printed as lines "## " with JSON behind.

Runs on MicroPython.
"""

import gc
import json
import os
import sys
import time
from binascii import hexlify
from hashlib import sha256

REMOTE = "/remote"
INDEX = "http://index"
LARGE = 1 << 18  # bytes of a file whose content is not looked at
RESET = "reset"  # the fact that comes before a reset


def fact(value):
    """Prints a fact for the computer."""
    print("## " + json.dumps(value))


def reset():
    """Resets the board. This alone knows how."""
    from machine import reset

    fact(RESET)
    time.sleep_ms(100)  # until the line is out
    reset()


def can_reset():
    """Whether reset() works here."""
    try:
        import machine
    except ImportError:
        return False
    return hasattr(machine, "reset")


# ---- the disk --------------------------------------------------------------------------


def _sha(path):
    digest = sha256()
    buf = bytearray(256)
    with open(path, "rb") as file:
        while True:
            n = file.readinto(buf)
            if not n:
                return hexlify(digest.digest()).decode()
            digest.update(memoryview(buf)[:n])


def walk(root, without=()):
    """What is under `root`: {path relative to it: [size, sha256]}, None of a directory.

    without: paths that are not looked at. The sha256 of a large file is None.
    """
    found = {}
    todo = [""]
    while todo:
        above = todo.pop()
        for name, kind, *_ in os.ilistdir((root + "/" + above) or "/"):
            name = above + "/" + name if above else name
            path = root + "/" + name
            if path in without:
                continue
            if kind == 0x4000:
                found[name] = None
                todo.append(name)
            else:
                size = os.stat(path)[6]
                found[name] = [size, _sha(path) if size < LARGE else None]
    return found


def make(path):
    """Makes a directory, if it is not there."""
    try:
        os.mkdir(path)
    except OSError as e:
        if e.args[0] != 17:
            raise


def write(path, data):
    """Writes a file."""
    with open(path, "wb") as file:
        file.write(data)


def copy(source, path):
    """Copies a file."""
    buf = bytearray(256)
    with open(source, "rb") as here, open(path, "wb") as there:
        while True:
            n = here.readinto(buf)
            if not n:
                return
            there.write(memoryview(buf)[:n])


def copy_all(source, path):
    """Copies a directory and what is in it."""
    make(path)
    # All of the list first: mpremote has one at a time.
    for name, kind, *_ in list(os.ilistdir(source)):
        (copy_all if kind == 0x4000 else copy)(source + "/" + name, path + "/" + name)


def wipe(path):
    """Removes a directory and what is in it, if it is there."""
    try:
        entries = list(os.ilistdir(path))
    except OSError:
        return
    for name, kind, *_ in entries:
        name = path + "/" + name
        if kind == 0x4000:
            wipe(name)
        else:
            os.remove(name)
    os.rmdir(path)


def file_system(directory):
    """Which file system a directory is on, as text."""
    try:
        import vfs

        mounts = vfs.mount()
    except (ImportError, TypeError):
        mounts = ()  # before 1.25
    kind = ""
    longest = -1
    for disk, path in mounts:
        inside = path == "/" or (directory + "/").startswith(path + "/")
        if inside and len(path) > longest:
            kind = type(disk).__name__
            longest = len(path)
    if not kind:
        # FAT folds letter case; littlefs and the file systems of Unix do not.
        write(directory + "/case", b"")
        try:
            os.stat(directory + "/CASE")
            kind = "folds letter case, so it is FAT"
        except OSError:
            kind = "does not fold letter case, so it is no FAT"
        os.remove(directory + "/case")
    return kind


def facts():
    """What the board is: a dict."""
    gc.collect()
    system = sys.implementation
    try:
        statvfs = os.statvfs(os.getcwd())
    except (AttributeError, OSError):
        statvfs = None
    return {
        "firmware": sys.version,
        "machine": getattr(system, "_machine", sys.platform),
        "platform": sys.platform,
        "mpy": getattr(system, "_mpy", 0) & 255,
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "free": gc.mem_free(),
        "disk": statvfs and [statvfs[0] * statvfs[2], statvfs[0] * statvfs[3]],
        "reset": can_reset(),
        "year": time.gmtime()[0] if hasattr(time, "gmtime") else 0,
    }


# ---- what both mips fetch from -----------------------------------------------------------


class Session:
    """An index in a directory: a session for ours, the module requests for upstream's.

    name: of the index.  root: where it is.  fetched: how many files were asked for.
    """

    def __init__(self, name, root=REMOTE):
        self.site = root + "/" + name
        self.fetched = 0

    def get(self, url):
        self.fetched += "/file/" in url
        return Answer(self.site + url[len(INDEX) :])


class Answer:
    """An answer, as `requests` has it."""

    def __init__(self, path):
        self.raw = self
        self.status_code = 200
        try:
            self.file = open(path, "rb")  # noqa: SIM115
        except OSError:
            self.status_code = 404
            self.file = None

    def readinto(self, buf):
        return self.file.readinto(buf) if self.file else 0

    def json(self):
        return json.load(self.file)

    def close(self):
        if self.file:
            self.file.close()


def timed(function, *words, **options):
    """Calls a function; how many milliseconds it took."""
    gc.collect()
    start = time.ticks_ms()
    function(*words, **options)
    return time.ticks_diff(time.ticks_ms(), start)


# ---- RAM -------------------------------------------------------------------------------


def leave(free):
    """Takes RAM until about so many bytes are free; returns what holds it."""
    held = None
    gc.collect()
    while True:
        more = gc.mem_free() - free
        if more < 256:
            return held
        try:
            held = (held, bytearray(more // 2 if more > 1024 else 128))
        except MemoryError:
            # Nothing is free in one piece of that size.
            held = (held, bytearray(128))


# ---- resets ----------------------------------------------------------------------------


class Counted:
    """The module os of a mip, and its open(): counts what changes the disk, and resets at one.

    at: the number of the change before which the board is reset; 0: none. changes: how many there
    were. commit: how many there were at the commit.
    """

    def __init__(self, at):
        self.at = at
        self.changes = self.commit = 0

    def __getattr__(self, name):
        return getattr(os, name)

    def change(self):
        self.changes += 1
        if self.changes == self.at:
            reset()

    def rename(self, old, new):
        self.change()
        os.rename(old, new)

    def remove(self, path):
        self.change()
        os.remove(path)
        if path.endswith("/.mip/room"):
            self.commit = self.changes

    def mkdir(self, path):
        self.change()
        os.mkdir(path)

    def rmdir(self, path):
        self.change()
        os.rmdir(path)

    def open(self, path, mode="r"):
        if "w" in mode or "a" in mode or "+" in mode:
            self.change()
        return _File(open(path, mode), self.change)


class _File:
    """A file whose writes are counted."""

    def __init__(self, file, change):
        self.file = file
        self.change = change
        for name in ("read", "readinto", "readline", "seek", "tell", "flush", "close"):
            if hasattr(file, name):
                setattr(self, name, getattr(file, name))

    def write(self, data):
        self.change()
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def call(mip, scene, target, session):
    """Has a mip do what a scene says."""
    if scene == "install":
        mip.install("app", index=INDEX, target=target, session=session)
    elif scene == "upgrade":
        mip.upgrade(target=target, index=INDEX, session=session)
    else:
        mip.uninstall("app", target=target)


def struck(mip, scene, target, site, at):
    """Has a mip do a scene, and resets at a change of the disk. Returns the counts."""
    counted = Counted(at)
    mip.os = counted
    mip.open = counted.open
    session = Session(site)
    call(mip, scene, target, session)
    return {"changes": counted.changes, "commit": counted.commit, "fetched": session.fetched}


def state(target):
    """What is in a target, as walk() has it, and the text of its record or None."""
    try:
        with open(target + "/.mip/record") as file:
            record = file.read()
    except OSError:
        record = None
    return [walk(target), record]


# ---- the network -----------------------------------------------------------------------


def join(name, password, seconds):
    """Joins a network; returns the board's address, or None when that took too long."""
    import network

    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    if not wlan.isconnected():
        wlan.connect(name, password)
        for _ in range(seconds * 10):
            if wlan.isconnected():
                break
            time.sleep_ms(100)
    if not wlan.isconnected():
        return None
    return wlan.ifconfig()[0] if hasattr(wlan, "ifconfig") else "unknown"


def set_clock(now):
    """Sets the clock, where it is wrong. now: what machine.RTC().datetime() takes."""
    if time.gmtime()[0] < now[0]:
        import machine

        machine.RTC().datetime(tuple(now))
