"""A directory of the computer as the disk of a board."""

import vfs


class Disk:
    """What vfs.VfsPosix(root) is, with a rename() that works.

    MicroPython's (1.28) builds both names in one buffer, so that it renames a file to itself.
    """

    def __init__(self, root):
        self._root = root
        self._disk = vfs.VfsPosix(root)
        self._computer = vfs.VfsPosix()

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def rename(self, old, new):
        here = self._disk.getcwd().rstrip("/")
        old, new = [path if path[0] == "/" else here + "/" + path for path in (old, new)]
        self._computer.rename(self._root + old, self._root + new)
