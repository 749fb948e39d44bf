"""A board at a serial port, for tests and benchmark: the Unix port at a pseudo-terminal."""

import contextlib
import os
import pty
import select
import subprocess
import threading
import tty


class Plug:
    """A serial port with a MicroPython behind it, which begins again whenever it has ended.

    command: the words that start it. options: those of subprocess.Popen; cwd is the board's disk.
    name: of the port. starts: how often the interpreter was started.

    There are two pseudo-terminals, and a thread that passes bytes between them, so that the port
    stays when the interpreter goes.
    """

    def __init__(self, command, **options):
        self._open = contextlib.ExitStack()
        outer, ours = self._pair()
        self.name = os.ttyname(ours)
        self.starts = 0
        self._command = command
        self._options = options
        stop, self._end = os.pipe()
        for end in stop, self._end:
            self._open.callback(os.close, end)
        self._thread = threading.Thread(target=self._serve, args=(outer, stop), daemon=True)

    def _pair(self):
        pair = pty.openpty()
        for end in pair:
            self._open.callback(os.close, end)
        tty.setraw(pair[1])
        return pair

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        os.write(self._end, b".")
        self._thread.join()
        self._open.close()

    def _serve(self, outer, stop):
        while self._live(outer, stop):
            pass

    def _live(self, outer, stop):
        """From one start of the interpreter to its end; whether it is to begin again."""
        inner, theirs = pty.openpty()
        tty.setraw(theirs)
        options = {name: theirs for name in ("stdin", "stdout", "stderr")}
        process = subprocess.Popen(self._command, **options, **self._options)
        os.close(theirs)
        self.starts += 1
        try:
            while True:
                ready, _, _ = select.select([inner, outer, stop], [], [])
                if stop in ready:
                    return False
                if outer in ready:
                    _write(inner, os.read(outer, 4096))
                if inner in ready:
                    try:
                        data = os.read(inner, 4096)
                    except OSError:  # what Linux says when the other end is closed
                        return True
                    _write(outer, data)
        finally:
            process.kill()
            process.wait()
            os.close(inner)


def _write(end, data):
    while data:
        data = data[os.write(end, data) :]
