"""Averages: against noise that is as often too high as too low."""


class Average:
    """The mean of the last `size` readings, or of all as long as there are fewer."""

    def __init__(self, size):
        self._last = []
        self._size = size
        self._sum = 0

    def __call__(self, reading):
        self._last.append(reading)
        self._sum += reading
        if len(self._last) > self._size:
            self._sum -= self._last.pop(0)
        return self._sum / len(self._last)


class Exponential:
    """A mean in which a reading counts the less the older it is; needs no list.

    weight: how much the newest reading counts, above 0 and up to 1.
    """

    def __init__(self, weight):
        self._weight = weight
        self._mean = None

    def __call__(self, reading):
        if self._mean is None:
            self._mean = reading
        self._mean += self._weight * (reading - self._mean)
        return self._mean
