"""What a mip is measured with on MicroPython for WebAssembly, where bench_wasm.py runs it.

A session, which also is the module `requests`, and a disk. Both have an index and a target in
the file system of the build, and collect garbage at each call: collector.collect() has to be
called often, since the build does not collect when its heap is full. See bench_wasm.mjs.

Runs on MicroPython.
"""

import gc
import json
import os
import sys
import vfs

import collector

# Where the index is, and the files of the disk that is mounted at /flash.
SITE = "/site"
HOST = "http://index"
FILES = "/files"

_collect = collector.collect

# The numbers that WASI has, and those of boards: ENOENT, ENOTDIR, EEXIST, ENOTEMPTY, EISDIR.
_ERRORS = {44: 2, 54: 20, 20: 17, 55: 39, 31: 21}


def get(url):
    """What a session has, and the module `requests`."""
    _collect()
    return Answer(open(SITE + url[len(HOST) :], "rb"))


class Answer:
    """An answer, as `requests` has it."""

    status_code = 200

    def __init__(self, file):
        self.file = file
        self.raw = self

    def readinto(self, buf):
        _collect()
        return self.file.readinto(buf)

    def json(self):
        content = self.file.read()
        return json.loads(content)

    def close(self):
        self.file.close()
        _collect()


class File:
    """A file that collects before each use. (Not before seek(): mip calls that while it makes an
    object, which C has in its hands then.)"""

    def __init__(self, file):
        self.file = file
        self.seek = file.seek
        self.close = file.close
        self.flush = file.flush

    def read(self, size=-1):
        _collect()
        return self.file.read(size)

    def readinto(self, buf):
        _collect()
        return self.file.readinto(buf)

    def readline(self):
        _collect()
        return self.file.readline()

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def write(self, data):
        _collect()
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Disk:
    """A disk that collects before each use, and has the error numbers of boards."""

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        return File(self._do(open, path, mode))

    def stat(self, path):
        return self._do(os.stat, path)

    def statvfs(self, path):
        return self._do(os.statvfs, path)

    def ilistdir(self, path):
        return self._do(os.ilistdir, path)

    def mkdir(self, path):
        self._do(os.mkdir, path)

    def rmdir(self, path):
        self._do(os.rmdir, path)

    def remove(self, path):
        self._do(os.remove, path)

    def rename(self, old, new):
        self._do(os.rename, old, FILES + new)

    def _do(self, function, path, *more):
        _collect()
        try:
            return function(FILES + path, *more)
        except OSError as e:
            number = e.args[0]
        raise OSError(_ERRORS.get(number, number))


class Collector:
    """The module gc of a mip, whose collect() collects at once."""

    def collect(self):
        _collect()


_ballast = None


def fill(free):
    """Leaves so many bytes of gc.mem_free()."""
    global _ballast
    _collect()
    while gc.mem_free() > free:
        # Of the smallest size, so that the gaps go first: what stays free is in one piece.
        _ballast = (_ballast,)


os.mkdir(FILES)
os.mkdir(FILES + "/lib")
vfs.mount(Disk(), "/flash")
sys.modules["requests"] = sys.modules[__name__]
