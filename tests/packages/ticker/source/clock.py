"""Time in milliseconds, that wraps around as MicroPython's does."""

import time


class Clock:
    """The board's own clock."""

    def now(self):
        """Return the time now."""
        return time.ticks_ms()

    def later(self, moment, milliseconds):
        """Return the time `milliseconds` after `moment`."""
        return time.ticks_add(moment, milliseconds)

    def until(self, moment, now):
        """Return the milliseconds from `now` to `moment`; negative when it is past."""
        return time.ticks_diff(moment, now)

    def sleep(self, milliseconds):
        """Wait."""
        time.sleep_ms(milliseconds)


class FakeClock(Clock):
    """A clock that stands still, except that sleep() moves it: for trying things out."""

    moment = 0

    def now(self):
        return self.moment

    def sleep(self, milliseconds):
        self.moment = self.later(self.moment, milliseconds)
