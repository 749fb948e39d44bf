"""The median: against single readings that are far off."""


class Median:
    """The median of the last `size` readings, or of all as long as there are fewer."""

    def __init__(self, size):
        self._last = []
        self._size = size

    def __call__(self, reading):
        self._last.append(reading)
        if len(self._last) > self._size:
            self._last.pop(0)
        ordered = sorted(self._last)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        return (ordered[middle - 1] + ordered[middle]) / 2
