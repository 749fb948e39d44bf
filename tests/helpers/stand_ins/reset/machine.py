"""What a board has, and the Unix port has not: `machine`, whose reset() is a kill."""

import os


class RTC:
    """The clock, which is right."""

    def datetime(self, now):
        raise AssertionError("the clock is right")


def reset():
    """Ends the interpreter as a reset does: nothing runs any more."""
    os.system("kill -9 $PPID")
