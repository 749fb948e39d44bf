"""A directory in RAM for what tests write, on Linux: a disk takes an eighth of all their time.

    place = quick_disk.make()
    ...
    quick_disk.clear(place, BUILD / "tmp")

What is left there is then in build/tmp/left.
"""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 3 << 30  # bytes: all tests leave a quarter of that until they have ended
NAME = "mip-tests-"


def make():
    """Make the directory of this process, or return None. Those of runs that died go."""
    try:
        for other in MEMORY.glob(f"{NAME}*"):
            if not Path("/proc", other.name.removeprefix(NAME)).exists():
                shutil.rmtree(other, ignore_errors=True)
        if shutil.disk_usage(MEMORY).free < ROOM:
            return None
        place = MEMORY / f"{NAME}{os.getpid()}"
        place.mkdir(mode=0o700)
        return place
    except OSError:
        return None


def clear(place, keep):
    """Remove the directory. Files that are left there are moved to `keep`/left."""
    left = Path(keep, "left")
    shutil.rmtree(left, ignore_errors=True)
    if any(path.is_file() for path in place.rglob("*")):
        shutil.move(place, left)
    shutil.rmtree(place, ignore_errors=True)
