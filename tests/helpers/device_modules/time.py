"""Takes the place of the built-in `time`: sleep() does not wait, but the clock has moved on."""

import utime
from utime import *

_slept = 0


def sleep(seconds):
    global _slept
    _slept += seconds


def time():
    return utime.time() + _slept
