"""A disk in Python, for MicroPython without file systems of blocks: it knows what was written.

    import blocks

    disk = blocks.Disk()
    vfs.mount(disk, "/ram")
    disk.log = []
    ...                                     # whatever a power cut may interrupt
    for number, torn, tree in blocks.cuts(before, disk.log):
        ...                                 # what a board finds that lost power then

A file has its blocks as soon as they are written; to make, rename or remove something is one step.

Runs on MicroPython.
"""

SIZE = 512
_DIRECTORY = 0x4000
_FILE = 0x8000


def do(tree, step):
    """Changes a tree by one step."""
    kind, path, value = step
    if kind == "write":
        place, data = value
        there = tree[path]
        tree[path] = there[:place] + data + there[place + len(data) :]
    elif kind == "move":
        for old in sorted(tree):
            if old == path or old.startswith(path + "/"):
                tree[value + old[len(path) :]] = tree.pop(old)
    elif kind == "remove":
        del tree[path]
    else:  # "make": a file that is empty, or None, a directory
        tree[path] = value


def cuts(tree, log):
    """Yields (number, torn, tree) for each power cut during the steps in `log`.

    `tree` is what is there before them. It is what is there after that number of steps, torn:
    and half of the next write.
    """
    tree = dict(tree)
    for number, step in enumerate(log):
        yield number, False, tree
        kind, path, value = step
        if kind == "write" and len(value[1]) > 1:
            half = dict(tree)
            do(half, (kind, path, (value[0], value[1][: len(value[1]) // 2])))
            yield number, True, half
        do(tree, step)
    yield len(log), False, tree


class Disk:
    """The file system. tree: {path: bytes, or None of a directory}. log: None, or its steps."""

    def __init__(self):
        self.tree = {}
        self.log = None
        self.files = []  # those that are open
        self.directory = ""

    def _do(self, *step):
        if self.log is not None:
            self.log.append(step)
        do(self.tree, step)

    def _at(self, path):
        # The key of a path. Raises when the directory that it is in is missing.
        path = path if path[:1] == "/" else self.directory + "/" + path
        path = "/".join([part for part in path.split("/") if part])
        above = path[: max(path.rfind("/"), 0)]
        if above and self.tree.get(above, b"") is not None:
            raise OSError(20 if above in self.tree else 2)
        return path

    def _there(self, path):
        path = self._at(path)
        if path and path not in self.tree:
            raise OSError(2)
        return path

    def _names(self, path):
        start = path + "/" if path else ""
        rest = [other[len(start) :] for other in self.tree if other.startswith(start)]
        return [name for name in sorted(rest) if name and "/" not in name]

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def chdir(self, path):
        self.directory = "/" + self._there(path)

    def getcwd(self):
        return self.directory or "/"

    def stat(self, path):
        path = self._there(path)
        data = self.tree[path] if path else None
        kind, size = (_DIRECTORY, 0) if data is None else (_FILE, len(data))
        return kind, 0, 0, 0, 0, 0, size, 0, 0, 0

    def statvfs(self, path):
        return SIZE, SIZE, 1000, 500, 500, 0, 0, 0, 0, 255

    def ilistdir(self, path):
        path = self._there(path)
        for name in self._names(path):
            data = self.tree[path + "/" + name if path else name]
            yield name, _DIRECTORY if data is None else _FILE, 0, len(data or b"")

    def mkdir(self, path):
        path = self._at(path)
        if not path or path in self.tree:
            raise OSError(17)
        self._do("make", path, None)

    def rmdir(self, path):
        path = self._there(path)
        if self.tree[path] is not None:
            raise OSError(20)
        if self._names(path):
            raise OSError(39)
        self._do("remove", path, None)

    def remove(self, path):
        path = self._there(path)
        if self.tree[path] is None:
            raise OSError(21)
        self._do("remove", path, None)

    def rename(self, old, new):
        self._do("move", self._there(old), self._at(new))

    def open(self, path, mode):
        return _File(self, self._at(path), mode)


class _File:
    def __init__(self, disk, path, mode):
        if "r" in mode and path not in disk.tree:
            raise OSError(2)
        if not path or disk.tree.get(path, b"") is None:
            raise OSError(21)
        self.disk = disk
        self.path = path
        self.place = 0
        if "w" in mode:
            disk._do("make", path, b"")
        disk.files.append(self)

    def read(self, size=-1):
        stop = self.place + size if size >= 0 else None
        data = self.disk.tree[self.path][self.place : stop]
        self.place += len(data)
        return data

    def readinto(self, buf):
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def write(self, data):
        data = bytes(data)
        start = 0
        while start < len(data):
            stop = min(len(data), start + SIZE - self.place % SIZE)
            self.disk._do("write", self.path, (self.place, data[start:stop]))
            self.place += stop - start
            start = stop
        return len(data)

    def seek(self, place, whence=0):
        self.place = place + (0, self.place, len(self.disk.tree[self.path]))[whence]
        return self.place

    def close(self):
        if self in self.disk.files:
            self.disk.files.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
