"""Measures mip against the mip that MicroPython ships, in the same interpreter.

To be run by tools/bench, which makes the environment. Both install the same packages from the
same server. The results are written as bench.json and bench.md, with the charts time.svg and
heap.svg.
"""

import contextlib
import functools
import json
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import bench_counts
import bench_device
import bench_flash
import bench_peers
import bench_report
import bench_site
import bench_wasm
import size
import sizes_page
from bench_device import Bench, BenchError
from bench_options import PARTS, ROOT, arguments
from bench_report import plural, ratio
from demo import certificate


@dataclass(frozen=True)
class Scope:
    """How much is measured.

    rounds: how often each time is measured.  rtts: round trips, in milliseconds.
    files: how many small files packages have.  large: the bytes of the one large file.
    again: which of `files` it is that is installed again, and that a certificate is checked for.
    heap_files: as files, for the heap.  step: bytes between two heaps that are tried; a multiple
    of 32.  sure: how many larger ones have to do, too, as for bench_device.least().
    flash: (files, directories) of packages.  beside: (packages, files) that a package of one file
    is installed beside.  ram: files of the package, and step and sure for that heap.
    wasm: files of the packages, few and many, and step and sure for that heap.
    counted: files whose instructions are counted.  growth: files, few and many.
    builds: what builds are without that are measured.
    """

    rounds: int
    rtts: tuple
    files: tuple
    large: int
    again: int
    heap_files: tuple
    step: int
    sure: int
    flash: tuple
    beside: tuple
    ram: tuple
    wasm: tuple
    counted: int
    growth: tuple
    builds: tuple


FULL = Scope(
    rounds=3,
    rtts=(0, 20, 50, 100),
    files=(1, 10, 50, 200),
    large=1 << 20,
    again=50,
    heap_files=(10, 100, 1000),
    step=64,
    sure=6,
    flash=((50, 5), (50, 1)),
    beside=((20, 200), (1, 10)),
    ram=(10, 256, 6),
    wasm=((10, 1000), 256, 3),
    counted=50,
    growth=(100, 1000),
    builds=tuple(dict.fromkeys(["", *size.switches(), "all", *sizes_page.BUILDS])),
)
QUICK = Scope(
    rounds=2,
    rtts=(0, 20),
    files=(1, 3),
    large=1 << 14,
    again=3,
    heap_files=(1, 8),
    step=2048,
    sure=1,
    flash=((4, 2), (4, 1)),
    beside=((2, 4), (1, 2)),
    ram=(1, 2048, 1),
    wasm=((1, 4), 2048, 1),
    counted=2,
    growth=(2, 8),
    builds=("", "all"),
)


@dataclass(frozen=True)
class Case:
    """An install whose time is measured.

    again: it is installed already.  checked: the server's certificate is checked, which only
    ours can.
    """

    title: str
    package: bench_site.Package
    again: bool = False
    checked: bool = False


def say(text):
    """Say what is being done, at once."""
    print(text, flush=True)


def cases(scope):
    """Return the Cases of a Scope, in the order of the tables."""
    found = [Case(plural(count), bench_site.small_files(count)) for count in scope.files]
    size = f"{scope.large >> 20} MiB" if scope.large >> 20 else f"{scope.large >> 10} KiB"
    found.append(Case(f"1 file of {size}", bench_site.large_file(scope.large)))
    package = bench_site.small_files(scope.again)
    found.append(Case(f"{plural(scope.again)}, nothing changed", package, again=True))
    found.append(Case(f"{plural(scope.again)}, certificate checked", package, checked=True))
    return found


class Times:
    """Measures the Cases of a Scope, and keeps what it found.

    runs: {(title, rtt, client's name): list of facts about one install}.
    """

    def __init__(self, bench, scope):
        self.bench = bench
        self.scope = scope
        self.cases = cases(scope)
        self.runs = {}

    def measure(self):
        """Measure all of them. Returns what bench.json has under "time"."""
        cafile = self.bench.place / "ca.pem"
        context = certificate(cafile)
        routes = bench_site.routes(
            {case.package.name: case.package for case in self.cases}.values()
        )
        nothing = self.bench.place / "nothing"
        nothing.mkdir()
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(bench_site.serve(routes, nothing))
            near = stack.enter_context(bench_site.serve(routes, nothing, context))
            servers = {
                rtt: stack.enter_context(bench_site.serve(routes, nothing, context, rtt))
                for rtt in self.scope.rtts
            }
            largest = max((case.package for case in self.cases), key=lambda p: len(p.files))
            answer = bench_site.answer_time(near, largest)
            for client in self.bench.clients:  # what is read from the disk is in its cache then
                self._install(client, self.cases[0], plain, plain)
            for number in range(self.scope.rounds):
                self._round(number, servers, plain, cafile)
        return {
            "rounds": self.scope.rounds,
            "server_ms_per_answer": round(answer, 3),
            "cells": [cell for case in self.cases for cell in self._cells(case)],
        }

    def _round(self, number, servers, plain, cafile):
        # Who comes first takes turns.
        clients = self.bench.clients[:: -1 if number % 2 else 1]
        for case in self.cases:
            for rtt, server in servers.items():
                took = []
                for client in clients:
                    if case.checked and client is not self.bench.ours:
                        continue
                    run = self._install(client, case, server, plain, cafile)
                    self.runs.setdefault((case.title, rtt, client.name), []).append(run)
                    took.append(f"{client.name} {run['ms']:,.0f} ms")
                place = f"round {number + 1}/{self.scope.rounds}, {rtt} ms round trip"
                say(f"{place}, {case.title}: {', '.join(took)}")

    def _install(self, client, case, server, plain, cafile=None):
        target = self.bench.target()
        try:
            if case.again:
                self.bench.install(client, case.package, plain.url, target)
            before = bench_device.snapshot(target)
            server.reset()
            cafile = cafile if case.checked else None
            took = self.bench.install(client, case.package, server.url, target, cafile)
            after = bench_device.snapshot(target)
            return {
                "ms": round(took, 3),
                "requests": len(server.requests),
                "connections": server.connections,
                "bytes": server.bytes_sent,
                "written": sum(before.get(path) != state for path, state in after.items()),
            }
        finally:
            shutil.rmtree(target)

    def _cells(self, case):
        """What was found out about a Case, for each round trip."""
        for rtt in self.scope.rtts:
            cell = {
                "title": case.title,
                "files": len(case.package.files),
                "file_bytes": case.package.bytes,
                "rtt_ms": rtt,
                "again": case.again,
                "checked": case.checked,
            }
            for client in self.bench.clients:
                cell[client.name] = summary(self.runs.get((case.title, rtt, client.name), []))
            peer = cell["upstream"]
            if case.checked:  # compared with the same install, unchecked
                title = plural(self.scope.again)
                peer = summary(self.runs[title, rtt, "upstream"])
            cell["ratio"] = ratio(cell["ours"]["median_ms"], peer["median_ms"])
            yield cell


def summary(runs):
    """Return the median, the spread and the counts of several runs of one install, or None."""
    if not runs:
        return None
    took = [run["ms"] for run in runs]
    # The counts are the same in each run, unless something was tried again.
    counts = {key: max(run[key] for run in runs) for key in runs[0] if key != "ms"}
    return {"ms": took, "median_ms": median(took), **counts}


def measure_heap(bench, scope):
    """Measure the heap that installs need. Returns what bench.json has under "heap"."""
    packages = [bench_site.small_files(count) for count in scope.heap_files]
    nothing = bench.place / "nothing-for-heap"
    nothing.mkdir()
    routes = bench_site.routes(packages)
    context = certificate(bench.place / "ca-for-heap.pem")
    with (
        bench_site.serve(routes, nothing) as plain,
        bench_site.serve(routes, nothing, context) as secure,
        ThreadPoolExecutor(2) as pool,
        ThreadPoolExecutor(2) as probes,
    ):
        servers = {"http": plain, "https": secure}

        def search(client):
            return heaps(bench, client, packages, servers, scope, probes.map)

        # What heap is needed does not depend on what else runs.
        found = dict(zip(bench.clients, pool.map(search, bench.clients), strict=True))
    rows = []
    for number, package in enumerate(packages):
        for scheme in servers:
            ours, upstreams = (found[client][number, scheme] for client in bench.clients)
            rows.append(
                {
                    "files": len(package.files),
                    "scheme": scheme,
                    "ours": ours,
                    "upstream": upstreams,
                    "ratio": ratio(ours, upstreams),
                }
            )
    return {"step": scope.step, "sure": scope.sure, "cells": rows}


def heaps(bench, client, packages, servers, scope, each):
    """Return {(number of the package, scheme): bytes of free heap that `client` needs for it}.

    each: as for bench_device.least().
    """
    found = {}
    for number, package in enumerate(packages):
        for scheme, server in servers.items():
            # What TLS takes beyond HTTP is about the same for each package.
            guess = found.get((number - 1, scheme), 4096)
            if scheme == "https":
                guess = found[number, "http"]
                if number:
                    guess += found[number - 1, "https"] - found[number - 1, "http"]
            fits = functools.partial(bench.fits, client, package, server.url)
            need = bench_device.least(fits, guess, scope.step, scope.sure, each)
            found[number, scheme] = need
            say(f"heap, {scheme}, {plural(len(package.files))}: {client.name} {need:,} bytes")
    return found


def measure(scope, parts, place):
    """Measure `parts` of PARTS, in the empty directory `place`. Returns what bench.json has.

    Raises BenchError when something does not do what is to be measured.
    """
    bench = Bench(place)
    system, ours = bench.versions(bench.ours)
    _, upstreams = bench.versions(bench.upstream)
    if bench.frozen and bench.versions(bench.frozen)[1] != ours:
        raise BenchError(f"BENCH_FROZEN has no mip {ours} frozen in")
    found = {"interpreter": system, "ours": ours, "upstream": upstreams}
    if "size" in parts:
        found["size"] = bench_report.sizes(bench.sizes)
    if "time" in parts:
        found["time"] = Times(bench, scope).measure()
    if "heap" in parts:
        found["heap"] = measure_heap(bench, scope)
    if "flash" in parts:
        found["flash"] = bench_flash.measure(bench, scope.flash, scope.beside, say)
    if "ram" in parts:
        found["ram"] = bench_counts.measure_ram(bench, *scope.ram, say)
    if "wasm" in parts:
        found["wasm"] = bench_wasm.measure(bench, *scope.wasm, say)
    if "instructions" in parts:
        found["instructions"] = bench_counts.measure_instructions(
            bench, scope.counted, scope.beside, say
        )
    if "growth" in parts:
        found["growth"] = bench_counts.measure_growth(bench, *scope.growth, say)
    if "builds" in parts:
        found["builds"] = bench_counts.measure_builds(bench, scope.builds, *scope.ram[1:], say)
    if "peers" in parts:
        found["peers"] = bench_peers.measure(bench, scope.again, scope.rtts, scope.rounds, say)
    for part in parts:
        found[part]["measured_on"] = bench_counts.measured_on(bench, part)
    return found


def main(words=None):
    """Run the benchmark. Returns the exit status."""
    options = arguments(words)
    scope = QUICK if options.quick else FULL
    if options.rounds:
        scope = replace(scope, rounds=options.rounds)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as place:
            found = measure(scope, [options.only] if options.only else PARTS, Path(place))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    options.output.mkdir(parents=True, exist_ok=True)
    before = options.output / "bench.json"
    if options.only and before.exists():  # what else was measured stays
        found = json.loads(before.read_text(encoding="utf-8")) | found
    files = {"bench.json": json.dumps(found, indent=1) + "\n", **bench_report.files(found)}
    for name, text in files.items():
        (options.output / name).write_text(text, encoding="utf-8")
    say(bench_report.verdicts(found))
    say(f"Written to {options.output}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
