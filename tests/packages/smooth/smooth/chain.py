"""Filters one after the other."""


class Chain:
    """A filter made of several: each gets what the one before it returns."""

    def __init__(self, *filters):
        self._filters = filters

    def __call__(self, reading):
        for filter in self._filters:
            reading = filter(reading)
        return reading
