"""A block device in RAM, for tests on the file systems that boards have.

    import ramdisk

    disk = ramdisk.mount("lfs2")        # formatted, and in place at /ram
    disk.start_log()
    ...                                 # whatever may be interrupted by a power cut
    vfs.umount("/ram")
    for n in range(len(disk.log) + 1):
        ramdisk.mount("lfs2", device=disk.replay(n))
        ...                             # what does a board find that lost power after n writes?
        vfs.umount("/ram")

Runs on MicroPython.
"""

try:
    import vfs
except ImportError:
    import os as vfs  # MicroPython before 1.23

_KINDS = {"lfs2": "VfsLfs2", "fat": "VfsFat"}


class RAMBlockDev:
    """A block device whose content is the bytearray `data`.

    blocks: their number. block_size: bytes in each.
    log: None, or after start_log() the list of what was written, each as (offset, bytes). To
    erase a block is to write 0xff to it, as flash does.
    """

    def __init__(self, blocks, block_size=512):
        self.block_size = block_size
        self._hold(bytearray(blocks * block_size))
        self.base = self.log = None

    def _hold(self, data):
        # The view is made once: littlefs reads thousands of times.
        self.data = data
        self._view = memoryview(data)

    def readblocks(self, block, buf, offset=0):
        """Fill `buf` from `offset` bytes into `block`."""
        start = block * self.block_size + offset
        buf[:] = self._view[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        """Write `buf` to `offset` bytes into `block`."""
        start = block * self.block_size + offset
        if self.log is not None:
            self.log.append((start, bytes(buf)))
        self.data[start : start + len(buf)] = buf

    def ioctl(self, op, arg):
        """What MicroPython's file systems ask of a block device."""
        if op == 4:
            return len(self.data) // self.block_size
        if op == 5:
            return self.block_size
        if op == 6:
            self.writeblocks(arg, b"\xff" * self.block_size)
        return 0

    def start_log(self):
        """Begin a new log, which replay() starts from."""
        self.base = bytes(self.data)
        self.log = []

    def replay(self, count, torn=False):
        """A new device as this one was after `count` logged writes.

        torn: the write after them was done half. It must be in the log.
        """
        device = RAMBlockDev(0, self.block_size)
        device._hold(bytearray(self.base))
        for start, data in self.log[:count]:
            device.data[start : start + len(data)] = data
        if torn:
            start, data = self.log[count]
            half = len(data) // 2
            device.data[start : start + half] = data[:half]
        return device


def mount(kind, blocks=256, path="/ram", device=None):
    """Mount a block device and return it. The caller unmounts it.

    kind: "lfs2" or "fat".
    blocks: the size of a new device, which is formatted first.
    device: mount this RAMBlockDev instead, as it is.

    Raises what the file system raises, OSError as a rule, when `device` cannot be mounted or
    `blocks` are too few.
    """
    file_system = getattr(vfs, _KINDS[kind])
    if device is None:
        device = RAMBlockDev(blocks)
        file_system.mkfs(device)
    vfs.mount(file_system(device), path)
    return device
