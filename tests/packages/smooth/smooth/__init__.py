"""Filters for noisy readings.

A filter is called with a reading and returns the filtered value:

    temperature = smooth.Average(8)
    while True:
        print(temperature(sensor.read()))
"""

from .average import Average, Exponential
from .chain import Chain
from .hysteresis import Hysteresis
from .median import Median

__all__ = ("Average", "Chain", "Exponential", "Hysteresis", "Median", "run")


def run(filter, readings):
    """Return the list of what `filter` makes of each of `readings`."""
    return [filter(reading) for reading in readings]
