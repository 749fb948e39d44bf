"""Measures what installs ask of flash: reads, programs, erases, and the time of a model."""

from dataclasses import dataclass

from bench_report import plural, ratio

# The bytes that are erased at once, as in bench_board.py.
BLOCK = 4096
# The model: milliseconds of a read, of 256 bytes of it; the same of a program; of an erase.
MODEL = {"read": 0.01, "read_256": 0.04, "program": 0.2, "program_256": 0.8, "erase": 50}

FILE_SYSTEMS = ("littlefs", "FAT")
SMALL = "small"


@dataclass(frozen=True)
class Scenario:
    """What is measured on a new disk of each file system.

    title: what it is.  packages: {name: [path, ...]}.  steps: as bench_board.py takes them; a
    step without a title prepares the others and is not counted.
    """

    title: str
    packages: dict
    steps: tuple


def many_files(files, directories):
    """Return the Scenario of a package of so many files, in so many directories."""
    paths = [f"app/part{n * directories // files}/module{n}.mpy" for n in range(files)]
    if directories == 1:
        paths = [f"app/module{n}.mpy" for n in range(files)]
    place = "one directory" if directories == 1 else f"{directories} directories"
    steps = (("install", 1), ("again", 1), ("upgrade", 2))
    return Scenario(
        f"{plural(files)} in {place}",
        {"app": paths},
        tuple(
            (title, "upgrade" if title == "upgrade" else "install", ["app"], edition)
            for title, edition in steps
        ),
    )


def beside(packages, files):
    """Return the Scenario of a package of one file beside so many packages with so many files."""
    names = [f"package{n}" for n in range(packages)]
    found = {name: [f"{name}/module{n}.mpy" for n in range(files // packages)] for name in names}
    return Scenario(
        f"1 file beside {plural(packages, 'package')} with {plural(files)}",
        {**found, SMALL: [f"{SMALL}.mpy"]},
        (
            (None, "install", names, 1),
            ("install", "install", [SMALL], 1),
            ("uninstall", "uninstall", [SMALL], 1),
        ),
    )


def tree(files):
    """Return the Scenario of a fresh install, with no more than ten entries in any directory."""
    width = len(str(files - 1))
    paths = ["/".join(("app", *f"{number:0{width}}")) + ".mpy" for number in range(files)]
    return Scenario(plural(files), {"app": paths}, (("install", "install", ["app"], 1),))


def milliseconds(counts):
    """Return the time that the model gives for the counts of bench_board.py."""
    return (
        counts["reads"] * MODEL["read"]
        + counts["read_bytes"] / 256 * MODEL["read_256"]
        + counts["programs"] * MODEL["program"]
        + counts["program_bytes"] / 256 * MODEL["program_256"]
        + counts["erases"] * MODEL["erase"]
    )


def count(bench, client, scenario, file_system):
    """Run a Scenario; return {title of a step: counts, with "ms", the time of the model}.

    Upstream's mip cannot uninstall, so it has no counts of that.
    """
    steps = [
        step for step in scenario.steps if client.name == bench.ours.name or step[1] != "uninstall"
    ]
    files = sum(map(len, scenario.packages.values()))
    plan = {
        "client": client.name,
        "file_system": file_system,
        # Two blocks for each file and its directory entries, twice while it is replaced.
        "blocks": max(512, 4 * files),
        "packages": scenario.packages,
        "steps": steps,
    }
    found = {}
    for counts in bench.board(client, plan):
        title = counts.pop("title")
        found[title] = {**counts, "ms": round(milliseconds(counts), 1)}
    return found


def measure(bench, sizes, neighbours, say):
    """Measure all scenarios. Returns what bench.json has under "flash".

    sizes: (files, directories) of packages.  neighbours: (packages, files) that a small package
    is installed beside, the most first; the time is compared with that beside the last.
    say: as bench.say().
    """
    beside_them = [beside(*numbers) for numbers in neighbours]
    cells = []
    for scenario in [*(many_files(*numbers) for numbers in sizes), *beside_them]:
        for file_system in FILE_SYSTEMS:
            found = {
                client.name: count(bench, client, scenario, file_system)
                for client in bench.clients
            }
            for title in found["ours"]:
                cell = {name: steps.get(title) for name, steps in found.items()}
                cells.append(
                    {
                        "title": scenario.title,
                        "file_system": file_system,
                        "step": title,
                        **cell,
                    }
                )
                took = [
                    f"{name} {side['ms']:,.0f} ms" if side else f"{name} cannot"
                    for name, side in cell.items()
                ]
                say(f"flash, {file_system}, {scenario.title}, {title}: {', '.join(took)}")
    return {
        "model": MODEL,
        "cells": cells,
        "beside": [
            against(cells, file_system, step, beside_them[0].title, beside_them[-1].title)
            for file_system in FILE_SYSTEMS
            for step in ("install", "uninstall")
        ],
    }


def against(cells, file_system, step, many, few):
    """How much longer a step takes in the scenario `many` than in `few`, by the model."""
    times = {
        cell["title"]: {name: cell[name] and cell[name]["ms"] for name in ("ours", "upstream")}
        for cell in cells
        if (cell["file_system"], cell["step"]) == (file_system, step)
    }
    return {
        "file_system": file_system,
        "step": step,
        "title": many,
        "against": few,
        **{
            name: times[many][name] and ratio(times[many][name], times[few][name])
            for name in ("ours", "upstream")
        },
    }
