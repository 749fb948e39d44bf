"""Runs functions at intervals, in turn, without threads.

    every = ticker.Ticker()
    every.add(1000, blink)
    every.add(60000, measure)
    every.run()

A function that takes long makes the others late, but none is left out.
"""

from .clock import Clock


class Ticker:
    """A list of functions with their intervals. clock: see clock.Clock."""

    def __init__(self, clock=None):
        self._clock = clock or Clock()
        self._tasks = []

    def add(self, interval, function):
        """Have function() called every `interval` milliseconds; the first time after one."""
        due = self._clock.later(self._clock.now(), interval)
        self._tasks.append([due, interval, function])

    def remove(self, function):
        """Do not call function() any more."""
        self._tasks = [task for task in self._tasks if task[2] != function]

    def step(self):
        """Wait for the task that is due next, and run it.

        One that is late is run at once, and its next time counts from when it was due.
        """
        now = self._clock.now()
        task = min(self._tasks, key=lambda task: self._clock.until(task[0], now))
        wait = self._clock.until(task[0], now)
        if wait > 0:
            self._clock.sleep(wait)
        task[0] = self._clock.later(task[0], task[1])
        task[2]()

    def run(self, steps=None):
        """Run `steps` tasks, or for ever; returns when there is no task left."""
        while self._tasks and steps != 0:
            self.step()
            if steps is not None:
                steps -= 1
