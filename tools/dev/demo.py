"""Installs packages on a real MicroPython, and shows each command and its output.

To be run by tools/demo, which makes the environment. Builds an index of tests/packages in a
temporary directory under build/, and serves it over HTTPS with a certificate made for now. The
exit status is 0 only if every command had the exit status and the output that it should.
"""

import argparse
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import trustme
from scripted_server import Server

ROOT = Path(__file__).resolve().parents[2]
# Seconds until a command that does not end is ended.
TIMEOUT = 60


class StepError(Exception):
    """A command did not do what it should; the text says what is wrong, in one line."""


class Shell:
    """Runs commands, and shows each as a person would type it, followed by its output.

    programs: a directory that goes before the others on PATH.
    """

    def __init__(self, programs):
        self.directory = ROOT
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            # The order of `sort` is the same everywhere.
            "LC_ALL": "C",
        }

    def say(self, text):
        """Say what the next command is for."""
        self._print(f"\n# {text}")

    def cd(self, directory):
        """Go to a directory, given relative to the current one."""
        self._print(f"$ cd {directory}")
        self.directory = self.directory / directory

    def export(self, name, value):
        """Set an environment variable."""
        self._print(f"$ export {name}={value}")
        self.environment[name] = value

    def run(self, command, *words, status=0):
        """Run a command line.

        words: what has to be in its output.
        status: the exit status that it has to have. Any but 0 is shown.
        Raises StepError when it did anything else.
        """
        self._print(f"$ {command}")
        try:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            self._print((error.stdout or b"").decode(errors="replace"))
            raise StepError(f"still running after {TIMEOUT} s: {command}") from None
        output = done.stdout.decode(errors="replace")
        self._print(output.rstrip("\n"))
        if status:
            self._print(f"$ echo $?\n{done.returncode}")
        if done.returncode != status:
            raise StepError(f"exit status {done.returncode} instead of {status}: {command}")
        for word in words:
            if word not in output:
                raise StepError(f"{word!r} is not in the output: {command}")

    def _print(self, text):
        if text:
            # Flushed: who reads this through a pipe wants to see each step when it is done.
            print(text, flush=True)


def name_interpreter(directory):
    """Make the command `micropython` in `directory`, if MICROPYTHON names another one."""
    named = os.environ.get("MICROPYTHON")
    if named:
        path = shutil.which(named)
        if not path:
            raise StepError(f"MICROPYTHON names no program: {named}")
        (directory / "micropython").symlink_to(Path(path).absolute())


def certificate(path):
    """Return an ssl.SSLContext with a new certificate for localhost.

    The certificate of the authority that vouches for it is written to `path`.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def show(place):
    """Show all of it, in the empty directory `place`. Raises StepError when a step fails."""
    board, site, programs = place / "board", place / "site", place / "bin"
    board.mkdir()
    programs.mkdir()
    name_interpreter(programs)
    shell = Shell(programs)

    shell.say("An index of the packages in tests/packages.")
    output = shlex.quote(str(site.relative_to(ROOT)))
    shell.run(f"mip-index build tests/packages --output {output}", "Published telemetry")
    with Server(site, tls=certificate(place / "ca.pem")) as server:
        shell.say(f"It is served at {server.url} from here on. A directory is the board.")
        shell.say("../ca.pem is the certificate of the authority that vouches for the server.")
        shell.cd(board.relative_to(ROOT))
        shell.export("MICROPYPATH", "../../..:./lib")
        install(shell, server)


def install(shell, server):
    """Show what mip does, in the shell whose directory is the board."""
    mip = f"micropython -m mip install --cafile ../ca.pem --index {server.url}"

    shell.say("A package, and what it needs.")
    shell.run(f"{mip} telemetry", "Installing telemetry", "Copying: [10/10]", "Done")
    if server.connections != 1:
        raise StepError(f"{server.connections} connections to one host")
    shell.say(f"The server counted {len(server.requests)} requests on one connection.")
    shell.run("micropython -m mip list", "telemetry@0.1.0")
    shell.run("find lib -type f | sort", "lib/.mip/record", "lib/frame.mpy", "lib/telemetry.mpy")

    shell.say("It works.")
    shell.run(
        "micropython -c 'import telemetry; telemetry.loopback([20, 20.5, 24])'",
        "channel 1: 20.250",
    )

    shell.say("Once more: the files that are there already are not fetched.")
    server.reset()
    shell.run(f"{mip} telemetry", "Exists: [10/10]", "Done")
    files = [path for _, _, path in server.requests if path.startswith("/file/")]
    if files:
        raise StepError(f"fetched again: {', '.join(files)}")

    shell.say("A version, as source, into another directory.")
    shell.run(f"{mip} --no-mpy --target=third-party morse@1.1.0", "morse/__init__.py", "Done")
    shell.run("micropython -m mip list --target=third-party", "morse@1.1.0")
    shell.run(
        "MICROPYPATH=./third-party micropython -c 'import morse; print(morse.encode(\"SOS\"))'",
        "... --- ...",
    )

    shell.say("A package that does not exist.")
    shell.run(f"{mip} no-such-package", "mip: ", "no-such-package", status=1)
    shell.run("micropython -m mip list", "telemetry@0.1.0")


def main():
    """Run the demo. Returns the exit status."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="demo-", dir=build) as place:
            show(Path(place))
    except StepError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())
