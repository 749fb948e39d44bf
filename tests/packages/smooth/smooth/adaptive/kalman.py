"""The Kalman filter for one value that changes slowly."""


class Kalman:
    """Estimates a value from readings of it.

    noise: the variance of a reading. drift: the variance of the value's own change between two
    readings. The first reading is taken as it is.
    """

    def __init__(self, noise, drift):
        self._noise = noise
        self._drift = drift
        self._value = None
        self._variance = noise

    def __call__(self, reading):
        if self._value is None:
            self._value = reading
            return reading
        self._variance += self._drift
        gain = self._variance / (self._variance + self._noise)
        self._value += gain * (reading - self._value)
        self._variance *= 1 - gain
        return self._value
