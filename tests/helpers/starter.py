"""Starts MicroPython without starting Python, which would take as long again.

MicroPython is a module of Python here. A Python that has loaded it waits for work, and forks for
each program; so every program begins with a MicroPython that has not run yet.

    starter.run(["-c", "print(1)"], "/tmp", os.environ, 60)     # (0, b"1\\n", b"")

Run as a program it is that Python, see serve().
"""

import atexit
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys

_module = importlib.util.find_spec("micropython_unix")

# The directory of the module that is MicroPython, None when it is not installed.
DIRECTORY = os.path.dirname(_module.origin) if _module else None

# Elsewhere there are no such sockets, and no files in memory.
AVAILABLE = sys.platform == "linux" and DIRECTORY is not None

_idle = []  # starters that no one uses: there are as many as run() was called at a time


class _Starter:
    """A process that serves."""

    def __init__(self):
        self.connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-S", __file__, str(other.fileno()), DIRECTORY]
        self.process = subprocess.Popen(command, pass_fds=[other.fileno()])
        other.close()
        atexit.register(self.close)

    def close(self):
        self.connection.close()
        self.process.wait()

    def start(self, words, directory, environment, files):
        """Starts a program; returns the number of its process. files: its input and outputs."""
        message = json.dumps([words, os.path.abspath(directory), environment]).encode()
        socket.send_fds(self.connection, [message], [file.fileno() for file in files])
        return int(self.connection.recv(100))

    def wait(self, seconds):
        """Returns the exit status of the program; TimeoutError when it takes too long."""
        self.connection.settimeout(seconds)
        try:
            return int(self.connection.recv(100))
        finally:
            self.connection.settimeout(None)


def run(words, directory, environment, timeout):
    """Runs MicroPython with these words in a directory and an environment, without input.

    Returns (exit status, output, errors) as subprocess has them. It is killed after `timeout`
    seconds, and subprocess.TimeoutExpired is raised, with the output.
    """
    starter = _idle.pop() if _idle else _Starter()
    with (
        open(os.devnull, "rb") as nothing,
        open(os.memfd_create("out"), "w+b") as out,
        open(os.memfd_create("err"), "w+b") as err,
    ):
        process = starter.start(words, directory, dict(environment), [nothing, out, err])
        late = False
        try:
            status = starter.wait(timeout)
        except TimeoutError:
            late = True
            os.kill(process, signal.SIGKILL)
            status = starter.wait(None)
        _idle.append(starter)
        for file in (out, err):
            file.seek(0)
        texts = out.read(), err.read()
    if late:
        raise subprocess.TimeoutExpired(words, timeout, *texts)
    return status, *texts


def serve(connection, directory):
    """Forks a MicroPython for each message, which says its words, directory and environment.

    directory: where the module is. Answers with the process, and with its status when it ended.
    """
    import ctypes

    sys.path.insert(0, directory)
    from micropython_unix import main

    flush = ctypes.CDLL(None).fflush
    while True:
        message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:
            return
        process = os.fork()
        if not process:
            status = 1
            try:
                connection.close()
                for number, file in enumerate(files):
                    os.dup2(file, number)
                    os.close(file)
                words, work, environment = json.loads(message)
                os.chdir(work)
                os.environ.clear()
                os.environ.update(environment)
                sys.argv = ["micropython", *words]
                status = main()
                flush(None)
            finally:
                # At once: to take Python down would take as long as to start it.
                os._exit(status)
        for file in files:
            os.close(file)
        connection.send(b"%d" % process)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.send(b"%d" % status)


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(f"usage: starter.py SOCKET DIRECTORY\n\n{__doc__}", end="")
        sys.exit()
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
