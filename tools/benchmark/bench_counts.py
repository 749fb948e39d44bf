"""Measures what depends on no clock: RAM in all, instructions, and how costs grow."""

import functools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import bench_device
import bench_flash
import bench_site
import size
from bench_report import COUNTED, RAM_FILES, plural, ratio

# What upstream's mip takes that is loaded: bytes kept, heap for the import, heap for an install of
# RAM_FILES as well. They are quoted where BENCH_UPSTREAM names no sources, and were measured here
# with those of micropython-lib c266d302, which are mip 0.4.2, as the interpreter has it frozen.
UPSTREAM_RAM = {"source": (7808, 28416, 28416), ".mpy": (6624, 7168, 10240)}

# The parts of bench.json that have instructions.
OF_INSTRUCTIONS = ("instructions", "growth")


def measured_on(bench, part):
    """Return what tells, of another checkout, whether a part of bench.json is still about its mip.

    {"bytes": those of both modules as .mpy}.  A part that has instructions also has
    {"instructions": those of an install of COUNTED files}, if they can be counted: with mip loaded
    from .mpy in the interpreter of tools/env. They are others than those of a frozen mip, but
    anyone can count them again.
    """
    found = {"bytes": sum(bench.sizes.values())}
    if part in OF_INSTRUCTIONS and not bench.uncounted():
        found["instructions"] = _reference(bench)
    return found


@functools.cache
def _reference(bench):
    client = replace(bench.ours, interpreter=bench_device.pinned())
    return _installs(bench, client, [], bench_site.small_files(COUNTED), 1)[0]


def measure_ram(bench, files, step, sure, say):
    """Measure RAM in all. Returns what bench.json has under "ram".

    files: how many the package has that is installed.  step, sure: as for bench_device.least().
    say: as bench.say().
    """
    package = bench_site.small_files(files)
    nothing = bench.place / "nothing-for-ram"
    nothing.mkdir()
    rows = []
    with bench_site.serve(bench_site.routes([package]), nothing) as server:
        for loaded in ("source", ".mpy", "frozen"):
            row = {"loaded": loaded}
            for name in ("ours", "upstream"):
                client = bench.loaded(name, loaded)
                if client:
                    row[name] = _ram(bench, client, package, server.url, step, sure)
                    row[name]["measured"] = True
                elif name == "upstream" and files == RAM_FILES:
                    kept, imported, installed = UPSTREAM_RAM[loaded]
                    row[name] = {"kept": kept, "import": imported, "install": installed}
                    row[name]["measured"] = False
                else:
                    row[name] = None
                say(f"ram, {loaded}: {name} {_told(row[name])}")
            rows.append(row)
    return {"files": files, "step": step, "sure": sure, "rows": rows}


def _told(side):
    if not side:
        return "not measured"
    text = "kept {kept:,}, import {import:,}, install {install:,} bytes".format(**side)
    return text if side["measured"] else text + " (quoted)"


def _ram(bench, client, package, url, step, sure):
    """What a mip keeps, and the least heaps beyond that of a program that does nothing."""
    found = {"kept": bench.kept(client)}
    empty = 0
    for what in ("nothing", "import", "install"):
        fits = functools.partial(bench.runs, client, what, package, url)
        need = bench_device.least(fits, empty + found["kept"], step, sure)
        if what == "nothing":
            empty = need
        else:
            found[what] = need - empty
    return found


def measure_instructions(bench, files, neighbours, say):
    """Count instructions. Returns what bench.json has under "instructions".

    files: how many the package has.  neighbours: (packages, files) that a package of one file is
    installed beside, the most first.
    """
    if reason := bench.uncounted():
        say(f"instructions: not measured: {reason}")
        return {"missing": reason}
    (many, most), (few, least) = neighbours[0], neighbours[-1]

    def count(client):
        fresh, again = _installs(bench, client, [], bench_site.small_files(files), 2)
        say(f"instructions, {plural(files)}: {client.name} fresh {fresh:,}, again {again:,}")
        # From the least neighbours to the most.
        beside = _growth(
            _installs(
                bench, client, bench_site.neighbours(*numbers), bench_site.small_files(1), 1
            )[0]
            for numbers in (neighbours[-1], neighbours[0])
        )
        title = f"1 file beside {plural(many, 'package')}"
        say(f"instructions, {title}: {client.name} {beside['ratio']:,} times those beside {few}")
        return {"fresh": fresh, "again": again, "beside": beside}

    sides = _for_both(bench, count)
    return {
        "files": files,
        "ours_frozen": bool(bench.frozen),
        "missing": None,
        "beside": {"many": [many, most], "few": [few, least]},
        **sides,
    }


def _for_both(bench, count):
    """Return {name: count(Client)} of both mips, ours where it is frozen if it is.

    Both at once: what is counted does not depend on what else runs.
    """
    clients = (bench.frozen or bench.ours, bench.upstream)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(("ours", "upstream"), pool.map(count, clients), strict=True))


def _installs(bench, client, others, package, times):
    """The instructions of so many installs of a package, one by one, beside other packages."""
    nothing, target = bench.target(), bench.target()
    try:
        with bench_site.serve(bench_site.routes([package, *others]), nothing) as server:
            for other in others:
                bench.install(client, other, server.url, target)
            return [bench.instructions(client, package, server.url, target) for _ in range(times)]
    finally:
        shutil.rmtree(target)


def measure_growth(bench, few, many, say):
    """Measure how a fresh install grows from `few` files to `many`.

    Returns what bench.json has under "growth": block reads on littlefs, the time of the model
    there, and instructions.
    """
    missing = bench.uncounted()

    def on_flash(client):
        scenarios = [bench_flash.tree(files) for files in (few, many)]
        counts = [bench_flash.count(bench, client, item, "littlefs") for item in scenarios]
        found = {
            key: _growth(count["install"][key] for count in counts) for key in ("reads", "ms")
        }
        ratios = [found[key]["ratio"] for key in ("reads", "ms")]
        say("growth, {}: reads {:,} times, modelled time {:,} times".format(client.name, *ratios))
        return found

    def instructions(client):
        packages = [bench_site.small_files(files) for files in (few, many)]
        found = _growth(_installs(bench, client, [], package, 1)[0] for package in packages)
        say(f"growth, instructions: {client.name} {found['ratio']:,} times")
        return found

    flash = {client.name: on_flash(client) for client in bench.clients}
    return {
        "few": few,
        "many": many,
        "ours_frozen": bool(bench.frozen),
        "missing": missing,
        **{key: {name: flash[name][key] for name in flash} for key in ("reads", "ms")},
        "instructions": None if missing else _for_both(bench, instructions),
    }


def _growth(values):
    """What is counted for few and for many, and how much more that is."""
    least, most = values
    return {"few": least, "many": most, "ratio": ratio(most, least)}


def measure_builds(bench, builds, step, sure, say):
    """Measure builds that do without something.

    builds: what each is without, as for manifest.py; "" is the whole.  step, sure: as for
    bench_device.least().  say: as bench.say().
    Returns what bench.json has under "builds": {"rows": [{"without": words, "bytes": of the .mpy,
    "loaded": bytes of RAM that are kept after the import, "frozen": those of the interpreters that
    BENCH_BUILDS names, or None}]}. "frozen" is {"kept": bytes of RAM, "import", "install": the
    least heap for the import, and an install of RAM_FILES files too, "flash": what the image is
    larger than that of "none"}.
    """
    interpreters = os.environ.get("BENCH_BUILDS")
    package = bench_site.small_files(RAM_FILES)
    nothing = bench.place / "nothing-for-builds"
    nothing.mkdir()
    empty = interpreters and _image(os.path.join(interpreters, "none"))
    rows = []
    with bench_site.serve(bench_site.routes([package]), nothing) as server:
        for words in builds:
            directory = bench.place / f"without-{words}"
            library, *_ = size.compile_modules(directory, without=words)
            row = {"without": words, "bytes": library.stat().st_size}
            row["loaded"] = bench.kept(bench_device.Client("ours", str(directory)))
            row["frozen"] = None
            if interpreters:
                path = os.path.join(interpreters, words or "whole")
                client = bench_device.Client("ours", ".frozen", path)
                ram = _ram(bench, client, package, server.url, step, sure)
                row["frozen"] = {**ram, "flash": _image(path) - empty}
            rows.append(row)
            say("builds: without {without!r}, {bytes:,} bytes, kept {loaded:,}".format(**row))
    return {"rows": rows}


def _image(path):
    """The bytes of code and data of a program, as `size` of binutils tells them."""
    told = subprocess.run(["size", path], check=True, capture_output=True, text=True).stdout
    text, data, *_ = told.splitlines()[1].split()
    return int(text) + int(data)
