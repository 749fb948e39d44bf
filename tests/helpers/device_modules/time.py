"""Takes the place of the built-in `time`: sleep() does not wait, but the clock has moved on.

It does wait for a tenth of a second to a whole one: so long another process may need to end.
"""

import utime
from utime import *

_slept = 0


def sleep(seconds):
    global _slept
    if 0.1 <= seconds < 1:
        return utime.sleep(seconds)
    _slept += seconds


def time():
    return utime.time() + _slept
