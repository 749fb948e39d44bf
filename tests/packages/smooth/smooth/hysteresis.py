"""Hysteresis: against an output that flutters around a threshold."""


class Hysteresis:
    """False until a reading reaches `high`, then True until one falls to `low`."""

    def __init__(self, low, high):
        self._low = low
        self._high = high
        self._state = False

    def __call__(self, reading):
        self._state = reading > self._low if self._state else reading >= self._high
        return self._state
