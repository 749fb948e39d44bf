"""The benchmark counts and computes what it says, on installs that are as small as can be."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import textwrap
import time
import xml.etree.ElementTree
from contextlib import closing
from dataclasses import replace
from functools import partial
from statistics import median

import bench
import bench_chart
import bench_device
import bench_flash
import bench_node
import bench_peers
import bench_report
import bench_site
import bench_wasm
import pytest
from bench_device import BenchError
from folders import BUILD, ROOT
from test_server import read_answer, request

TINY = bench.Scope(
    rounds=2,
    rtts=(15,),
    files=(1, 2),
    large=4096,
    again=2,
    heap_files=(1, 3),
    step=8192,
    sure=1,
    flash=((3, 1),),
    beside=((2, 4), (1, 2)),
    ram=(1, 1024, 1),
    wasm=((1, 2), 65536, 1),
    counted=2,
    growth=(1, 3),
    builds=("", "all"),
)
# Does and says what valgrind does, quicker: each run has more instructions than the last.
VALGRIND = """#!/bin/sh
[ "$1" = --tool=callgrind ] && shift 2
"$@"
status=$?
echo "==1== Collected : $(date +%s%N)"
exit $status
"""
CLIENTS = ("ours", "upstream")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The directory that `tools/bench --quick` has written to, with less to measure."""
    directory = tmp_path_factory.mktemp("bench") / "made"
    programs = tmp_path_factory.mktemp("programs")
    (programs / "valgrind").write_text(VALGRIND)
    (programs / "valgrind").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "QUICK", TINY)
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        assert bench.main(["--quick", "--output", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def found(output):
    """What it has written to bench.json."""
    return json.loads((output / "bench.json").read_text())


@pytest.fixture(scope="module")
def cells(found):
    """The measured times and counts: {(title, round trip): cell}."""
    return {(cell["title"], cell["rtt_ms"]): cell for cell in found["time"]["cells"]}


# What was measured last.
MEASURED = json.loads((ROOT / "docs" / "bench.json").read_text(encoding="utf-8"))


@pytest.fixture
def board(tmp_path):
    """An interpreter with both mips."""
    place = tmp_path / "board"
    place.mkdir()
    return bench_device.Bench(place)


# --- What it writes ---


def test_what_is_written(output):
    """A run writes the figures, the tables and both charts, and leaves nothing in build/."""
    names = ["bench.json", "bench.md", "heap.svg", "time.svg"]
    assert sorted(path.name for path in output.iterdir()) == names
    assert not [path for path in BUILD.glob("bench-*") if str(os.getpid()) in path.name]


def test_what_it_was_measured_on(found, board):
    """Each part says how large the mip was, and where instructions are counted, how many."""
    for part in bench.PARTS:
        assert found[part]["measured_on"]["bytes"] == sum(board.sizes.values())
        counted = found[part]["measured_on"].get("instructions", 0) > 0
        assert counted == (part in ("instructions", "growth"))


def test_every_case_is_measured(cells, found):
    """There is a cell for each case and round trip, with a time for each round."""
    titles = ["1 file", "2 files", "1 file of 4 KiB", "2 files, nothing changed"]
    titles.append("2 files, certificate checked")
    assert list(cells) == [(title, rtt) for title in titles for rtt in TINY.rtts]
    for cell in cells.values():
        assert len(cell["ours"]["ms"]) == TINY.rounds
        assert (cell["upstream"] is None) == cell["checked"]
        if not cell["checked"]:
            assert len(cell["upstream"]["ms"]) == TINY.rounds
    assert found["time"]["server_ms_per_answer"] > 0


def test_counts(cells):
    """Requests, connections and bytes are those of one document and its files."""
    for cell in cells.values():
        for name in CLIENTS:
            if not cell[name]:
                continue
            fetched = 0 if cell["again"] else cell["files"]
            assert cell[name]["requests"] == 1 + fetched
            assert cell[name]["connections"] == (1 if name == "ours" else 1 + fetched)
            assert cell[name]["written"] == fetched
            bodies = 0 if cell["again"] else cell["file_bytes"]
            assert bodies < cell[name]["bytes"] < bodies + 200 * (2 + fetched)


def test_medians_and_ratios(cells):
    """A ratio is that of the medians of the times that are listed."""
    for cell in cells.values():
        for name in CLIENTS:
            if cell[name]:
                assert cell[name]["median_ms"] == median(cell[name]["ms"])
        peer = cells["2 files", cell["rtt_ms"]] if cell["checked"] else cell
        if peer["upstream"]:
            quotient = cell["ours"]["median_ms"] / peer["upstream"]["median_ms"]
            assert cell["ratio"] == pytest.approx(quotient, rel=1e-3)


def test_every_time_has_its_round_trips(cells):
    """No time is shorter than the round trips in it: TCP, TLS and an answer, for each host."""
    for cell in cells.values():
        for name in CLIENTS:
            if cell[name]:
                least = 3 * cell["rtt_ms"] * cell[name]["connections"]
                assert min(cell[name]["ms"]) > least


def test_heaps(found):
    """Each heap is a multiple of the step, and its ratio that of both."""
    heap = found["heap"]["cells"]
    assert [(cell["files"], cell["scheme"]) for cell in heap] == [
        (files, scheme) for files in TINY.heap_files for scheme in ("http", "https")
    ]
    for cell in heap:
        for name in CLIENTS:
            assert cell[name] > 0
            assert cell[name] % TINY.step == 0
        assert cell["ratio"] == pytest.approx(cell["ours"] / cell["upstream"], rel=1e-3)


def test_sizes(found, module_path, request):
    """Our sizes are those of the compiled modules; upstream's are marked as quoted."""
    if request.config.getoption("--source"):
        pytest.skip("--source: the modules are not compiled")
    ours = found["size"]["ours"]
    assert ours["library"] == (module_path / "mip" / "__init__.mpy").stat().st_size
    assert ours["command_line"] == (module_path / "mip" / "__main__.mpy").stat().st_size
    assert found["size"]["upstream"]["library"] == 2240 + 2919
    assert found["size"]["upstream"]["command_line"] == 627 + 2381
    assert found["size"]["upstream"]["measured"] is False


def test_the_tables(output, cells, found):
    """bench.md has a row for each case and round trip with its ratio, and all heaps."""
    text = (output / "bench.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for (title, _), cell in cells.items():
        middle = bench_report.seconds(cell["ours"]["median_ms"])
        pattern = rf"\| {title} \| {middle} \(.* to .* s\) \| .* \| {cell['ratio']:.3f} \|"
        assert [row for row in rows if re.fullmatch(pattern, row)], pattern
    for cell in found["heap"]["cells"]:
        noun = bench_report.plural(cell["files"])
        row = f"| {noun}, {cell['scheme'].upper()} | {cell['ours']:,} | {cell['upstream']:,} | "
        assert row + f"{cell['ratio']:.3f} |" in rows
    # Each table has as many columns in every row as in its head.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_charts(output, cells, found):
    """The charts are XML, with a mark for each figure: in order, and higher for more."""
    times = [cells[title, TINY.rtts[-1]] for title in ("1 file", "2 files")]
    heaps = [cell for cell in found["heap"]["cells"] if cell["scheme"] == "https"]
    curves = {
        "time.svg": {name: [cell[name]["median_ms"] for cell in times] for name in CLIENTS},
        "heap.svg": {name: [cell[name] for cell in heaps] for name in CLIENTS},
    }
    for file, values in curves.items():
        root = xml.etree.ElementTree.parse(output / file).getroot()
        marks = [
            [(float(mark.get("cx")), float(mark.get("cy"))) for mark in root.iter(SVG + "circle")],
            [
                (float(mark.get("x")) + 4, float(mark.get("y")) + 4)
                for mark in root.iter(SVG + "rect")
                if mark.get("class") == "second"
            ],
        ]
        assert [x for x, _ in marks[0]] == sorted(x for x, _ in marks[0])
        heights = []
        for name, places in zip(CLIENTS, marks, strict=True):
            assert len(places) == len(values[name])
            heights += zip(values[name], [-y for _, y in places], strict=True)
        heights.sort()
        # To a tenth, as places are rounded.
        for (_, lower), (_, higher) in zip(heights, heights[1:], strict=False):
            assert lower <= higher + 0.2
        labels = [text.text for text in root.iter(SVG + "text")]
        assert set(CLIENTS) <= set(labels)


def test_budgets():
    """What is over its budget is said to be, what is not is not."""
    side = {"requests": 1, "written": 0, "connections": 1}
    cell = {"title": "50 files", "rtt_ms": 50, "again": False, "ours": side, "upstream": None}
    again = {**cell, "title": "again", "again": True, "ours": {**side, "requests": 2}}
    for ratio, verdict in ((0.065, ""), (0.0651, "   over")):
        lines = bench_report.verdicts({"time": {"cells": [{**cell, "ratio": ratio}, again]}})
        assert lines.splitlines()[0].endswith(f" of      0.065{verdict}")
        assert lines.splitlines()[1].endswith("1 of          1")
        assert lines.splitlines()[2].endswith("2 of          1   over")
        assert lines.splitlines()[3].endswith("0 of          0")
    heap = {"scheme": "http", "upstream": 500}
    cells = [{**heap, "files": 1, "ours": 400, "ratio": 0.8}]
    cells.append({**heap, "files": 9, "ours": 600, "ratio": 1.2})
    assert listed({"heap": {"cells": cells}}) == [
        ("heap for 1 file, http: part of upstream's", 1, 0.8, 0.9, None),
        ("heap for 9 files, http: part of that for 1", 1.0, 1.5, 1.1, 1.05),
    ]


def listed(found):
    """The budgets of what was found: (text, upstream's, ours, at most, aim)."""
    return [
        (budget.text, budget.upstream, budget.ours, *budget.limits)
        for budget in bench_report.budgets(found)
    ]


def test_budgets_of_counts():
    """RAM, flash, instructions and growth have budgets in the scope that these are for."""
    ours, upstreams = {"kept": 5, "install": 7}, {"kept": 3, "install": 4}
    row = {"ours": ours, "upstream": upstreams}
    rows = [{"loaded": ".mpy", **row}, {"loaded": "frozen", **row, "ours": None}]
    assert listed({"ram": {"files": 9, "rows": rows}}) == []
    assert listed({"ram": {"files": 10, "rows": rows}}) == [
        (".mpy, heap for import and 10 files in all, HTTP: bytes", 4, 7, 40960, 36864),
        (".mpy, kept after the import: bytes", 3, 5, 33000, 28672),
    ]
    place = {"file_system": "littlefs", "step": "install"}
    sides = {"ours": {"ms": 4810, "lines": 9, "erases": 8}}
    sides["upstream"] = {"ms": 3229, "lines": 0, "erases": 1}
    beside = {**place, "title": bench_report.BESIDE}
    flash = {"cells": [{**place, "title": "50 files in 5 directories", **sides}]}
    flash["cells"].append({**beside, **sides})
    flash["beside"] = [{**beside, "ours": 4.1, "upstream": 1.0}]
    assert [line[1:] for line in listed({"flash": flash})] == [
        (3.23, 4.81, 4.8, 4),
        (0, 9, 1000, 300),
        (1, 8, 12, 6),
        (1.0, 4.1, 4, 2),
    ]
    counts = {"fresh": 41, "again": 31, "beside": {"ratio": 3}}
    part = {"files": 50, "ours_frozen": True, "ours": counts, "upstream": counts}
    assert [line[1:3] for line in listed({"instructions": part})] == [(41, 41), (31, 31), (3, 3)]
    assert listed({"instructions": {**part, "files": 49}}) == []
    assert listed({"instructions": {**part, "ours_frozen": False}}) == []
    assert listed({"instructions": {"missing": "no valgrind"}}) == []
    growth = {"few": 100, "many": 1000, "instructions": None}
    growth["ms"] = {"ours": {"ratio": 14}, "upstream": {"ratio": 11}}
    assert [line[1:] for line in listed({"growth": growth})] == [(11, 14, 13, 10)]
    assert listed({"growth": {**growth, "many": 999}}) == []


# --- What is counted ---


def test_what_flash_counts(device):
    """A block device counts each read, program and erase, and keeps what was written."""
    device.lib.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "benchmark" / "bench_board.py", device.lib)
    script = """
        import bench_board
        flash = bench_board.Flash(4)
        def say():
            counts = flash.counts()
            print([counts[key] for key in sorted(counts)])
        buf = bytearray(32)
        flash.readblocks(1, buf, 64); say()
        flash.writeblocks(1, b"x" * 32, 64); say()
        flash.ioctl(6, 1); say()
        flash.writeblocks(2, b"y" * 4096); say()
        flash.readblocks(1, buf, 64); print(buf == b"x" * 32)
        flash.readblocks(2, buf, 4064); print(buf == b"y" * 32)
        flash.clear(); say()
        print(flash.ioctl(4, 0), flash.ioctl(5, 0))
    """
    lines = device.run(textwrap.dedent(script), check=True).lines
    # Erases, bytes programmed, programs, bytes read, reads.
    assert lines == [
        "[0, 0, 0, 32, 1]",
        "[0, 32, 1, 32, 1]",
        "[1, 32, 1, 32, 1]",
        "[2, 4128, 2, 32, 1]",
        "True",
        "True",
        "[0, 0, 0, 0, 0]",
        "4 4096",
    ]


def test_the_model():
    """The modelled time is that of reads, programs and erases, each with its bytes."""
    counts = {"reads": 3, "read_bytes": 512, "programs": 5, "program_bytes": 768, "erases": 2}
    expected = 3 * 0.01 + 2 * 0.04 + 5 * 0.2 + 3 * 0.8 + 2 * 50
    assert bench_flash.milliseconds(counts) == pytest.approx(expected)


def test_the_scenarios():
    """Each scenario has as many files, packages and directories as it says."""
    for directories in (1, 5):
        paths = bench_flash.many_files(50, directories).packages["app"]
        above = [path.rpartition("/")[0] for path in paths]
        assert len(set(paths)) == 50
        assert {above.count(path) for path in above} == {50 // directories}
    packages = bench_flash.beside(20, 200).packages
    assert len(packages) == 21
    assert len({path for paths in packages.values() for path in paths}) == 201
    for files in (8, 100, 1000):
        paths = bench_flash.tree(files).packages["app"]
        assert len(set(paths)) == files
        entries = {}
        for path in paths:
            while "/" in path:
                above = path.rpartition("/")[0]
                entries.setdefault(above, set()).add(path)
                path = above
        assert max(map(len, entries.values())) <= 10


def test_flash(found):
    """Every step of every scenario is counted on both file systems, and costs what it must."""
    flash = {
        (cell["title"], cell["file_system"], cell["step"]): cell
        for cell in found["flash"]["cells"]
    }
    titles = {"3 files in one directory": ["install", "again", "upgrade"]}
    for packages, files in ((2, 4), (1, 2)):
        noun = bench_report.plural(packages, "package")
        titles[f"1 file beside {noun} with {files} files"] = ["install", "uninstall"]
    assert list(flash) == [
        (title, file_system, step)
        for title, steps in titles.items()
        for file_system in ("littlefs", "FAT")
        for step in steps
    ]
    for (_, file_system, step), cell in flash.items():
        assert (cell["upstream"] is None) == (step == "uninstall")
        assert cell["ours"]["lines"] > 0
        for side in filter(None, (cell["ours"], cell["upstream"])):
            assert side["reads"] > 0
            assert side["ms"] == pytest.approx(bench_flash.milliseconds(side), abs=0.1)
            if file_system == "FAT":  # each write erases a whole sector
                assert side["programs"] == side["erases"] == side["program_bytes"] / 4096
        if cell["upstream"]:
            assert cell["upstream"]["lines"] == 0
            assert (cell["upstream"]["programs"] > 0) == (step != "again")
    for row in found["flash"]["beside"]:
        place = row["file_system"], row["step"]
        times = [flash[(title, *place)]["ours"]["ms"] for title in (row["title"], row["against"])]
        assert row["title"].startswith("1 file beside 2 packages")
        assert row["ours"] == pytest.approx(times[0] / times[1], rel=1e-3)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_step_that_does_nothing_ends_the_benchmark(board, client):
    """What is counted is a step that did what it should."""
    plan = {"client": client, "file_system": "littlefs", "blocks": 64}
    plan["packages"] = {"app": ["app/a.mpy"], "other": ["other.mpy"]}
    plan["steps"] = [["", "install", ["app"], 1], ["again", "install", ["app"], 1]]
    assert [counts["title"] for counts in board.board(getattr(board, client), plan)] == ["again"]
    # Upstream's takes every step for an install; ours has not what is to be removed.
    plan["steps"][1] = ["gone", "uninstall", ["app" if client == "upstream" else "other"], 1]
    with pytest.raises(BenchError, match=rf"{client}, littlefs: "):
        board.board(getattr(board, client), plan)


def test_ram(found):
    """What a mip keeps, and the heap for import and install, in each form that is at hand."""
    rows = {row["loaded"]: row for row in found["ram"]["rows"]}
    assert list(rows) == ["source", ".mpy", "frozen"]
    assert rows["frozen"]["ours"] is None
    for side in (rows["source"]["ours"], rows[".mpy"]["ours"], rows["frozen"]["upstream"]):
        assert side["measured"]
        assert side["kept"] > 0
        assert side["import"] <= side["install"] > 0
    # The compiler needs more heap than what it makes.
    assert rows["source"]["ours"]["import"] > rows[".mpy"]["ours"]["import"]
    assert rows[".mpy"]["ours"]["import"] > rows["frozen"]["upstream"]["import"]
    assert rows[".mpy"]["upstream"] is None  # what is quoted is for 10 files


@pytest.fixture
def ram(tmp_path, monkeypatch):
    """A function that measures RAM in this environment; returns its rows and bench.md."""

    def measured(tiny=TINY.ram, **environment):
        monkeypatch.setattr(bench, "QUICK", replace(TINY, ram=tiny))
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        assert bench.main(["--quick", "--only", "ram", "--output", str(tmp_path)]) == 0
        rows = json.loads((tmp_path / "bench.json").read_text())["ram"]["rows"]
        return {row["loaded"]: row for row in rows}, (tmp_path / "bench.md").read_text()

    return measured


def test_ram_of_others(ram, board, tmp_path):
    """Ours is measured frozen, and upstream's loaded, where there are such; else it is said."""
    rows, text = ram((10, 65536, 1))
    assert "Ours was not measured where it is frozen" in text
    assert "Upstream's, where it is not frozen, is quoted" in text
    assert rows[".mpy"]["upstream"]["kept"] == 6624
    assert not rows[".mpy"]["upstream"]["measured"]
    # As good as frozen: an interpreter that has it wherever it is told to look.
    frozen = tmp_path / "frozen"
    words = f'MICROPYPATH={board.ours.path} exec {board.interpreter} "$@"'
    frozen.write_text(f"#!/bin/sh\n{words}\n")
    frozen.chmod(0o755)
    rows, text = ram((1, 65536, 1), BENCH_FROZEN=frozen)
    assert rows["frozen"]["ours"]["kept"] == pytest.approx(rows[".mpy"]["ours"]["kept"], abs=500)
    assert "not measured where it is frozen" not in text


def test_upstreams_sources(board, tmp_path, monkeypatch):
    """Upstream's modules are taken from the sources that are named, as they are or compiled."""
    assert board.loaded("upstream", ".mpy") is None
    monkeypatch.setenv("BENCH_UPSTREAM", str(tmp_path))
    with pytest.raises(BenchError, match="no such module"):
        board.loaded("upstream", ".mpy")
    for name, source in bench_device.UPSTREAM_SOURCES.items():
        file = tmp_path / source / name / "__init__.py"
        file.parent.mkdir(parents=True)
        file.write_text("import requests\n" if name == "mip" else "DATA = [0] * 1000\n")
    for form in ("source", ".mpy"):
        kept = board.kept(board.loaded("upstream", form))
        assert 8000 < kept < 10000
    assert board.kept(board.upstream) < 8000


def test_instructions(found):
    """Instructions are counted of each install that there is a row for."""
    part = found["instructions"]
    assert part["files"] == TINY.counted
    assert part["ours_frozen"] is False
    assert part["beside"] == {"many": [2, 4], "few": [1, 2]}
    for name in CLIENTS:
        assert min(part[name]["fresh"], part[name]["again"]) > 0
        beside = part[name]["beside"]
        assert beside["ratio"] == pytest.approx(beside["many"] / beside["few"], rel=1e-3)


@pytest.mark.skipif(not shutil.which("valgrind"), reason="no valgrind")
def test_what_valgrind_counts(board, tmp_path):
    """An install has more instructions than one that finds everything in place."""
    package = bench_site.small_files(3)
    target = board.target()
    with bench_site.serve(bench_site.routes([package]), tmp_path / "nothing") as server:
        fresh, again = (
            board.instructions(board.upstream, package, server.url, target) for _ in range(2)
        )
    assert 100_000 < again < fresh < 10_000_000


def test_growth(found):
    """More files take more reads, and reads and instructions grow as a ratio says."""
    growth = found["growth"]
    for name in CLIENTS:
        assert growth["reads"][name]["many"] > growth["reads"][name]["few"] > 0
        for key in ("reads", "ms", "instructions"):
            counts = growth[key][name]
            assert counts["ratio"] == pytest.approx(counts["many"] / counts["few"], rel=1e-3)


def test_builds(found):
    """A build that does without everything is smaller, in flash and in RAM."""
    whole, part = found["builds"]["rows"]
    assert (whole["without"], part["without"]) == ("", "all")
    assert part["bytes"] < whole["bytes"]
    assert part["loaded"] < whole["loaded"]
    assert whole["frozen"] is part["frozen"] is None


def test_peers(found):
    """Each command is timed; what is not installed is left out."""
    for cell in found["peers"]["cells"]:
        timed = {name for name, took in cell["median_ms"].items() if took}
        assert timed == {"ours", "upstream", "mpremote"} | (
            {"curl"} if shutil.which("curl") else set()
        )


def test_a_command_that_fails(tmp_path, board):
    """A command that does not fetch the package is an error, with what it said."""
    with pytest.raises(BenchError, match="ours: .*no such"):
        bench_peers._time(board, "ours", ["sh", "-c", "echo no such; exit 1"], tmp_path)


def test_no_valgrind(tmp_path, monkeypatch):
    """Where instructions cannot be counted, this is said, and the rest is measured."""
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setenv("PATH", "")
    for part, text in (("instructions", "Not measured"), ("growth", "| reads, ours | ")):
        assert bench.main(["--quick", "--only", part, "--output", str(tmp_path)]) == 0
        written = (tmp_path / "bench.md").read_text()
        assert text in written
        assert "valgrind is not installed" in written


# --- RAM on 32 bits ---


@pytest.fixture
def webassembly(board):
    """A Runner of ours on MicroPython for WebAssembly."""
    try:
        return bench_wasm.runners(board)[0]
    except bench_node.WasmError as error:
        pytest.skip(str(error))


def test_ram_on_32_bits(output, found):
    """What is kept is less than what the import takes, and that is in the table; else why not."""
    part = found["wasm"]
    text = (output / "bench.md").read_text()
    if part["missing"]:
        assert f"Not measured: {part['missing']}." in text
        return
    assert part["files"] == [1, 2]
    source, compiled = (row["ours"] for row in part["rows"])
    for side in source, compiled:
        assert 0 < side["kept"] < side["import"] <= side["few"] <= side["many"]
    assert compiled["import"] < source["import"]
    assert [row["upstream"] for row in part["rows"]] == [None, None]
    assert 0 < part["small"]["kept"] < compiled["kept"]
    assert f"loaded from .mpy: kept {part['small']['kept']:,}, " in text
    assert all(cell["ours"] > 0 for cell in part["cells"])
    assert f"| .mpy | {compiled['kept']:,} | not measured | {compiled['import']:,} | " in text


def test_no_node(monkeypatch, tmp_path):
    """Where there is no node, this is said."""

    def node():
        raise bench_node.WasmError("node is not installed")

    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr(bench_node, "node", node)
    monkeypatch.setattr(bench_node, "release", lambda: tmp_path)
    assert bench.main(["--quick", "--only", "wasm", "--output", str(tmp_path)]) == 0
    assert "Not measured: node is not installed." in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize("collects", [True, False])
def test_a_heap_that_grows(webassembly, collects):
    """Garbage that is collected within a call needs no larger heap; garbage that stays does."""
    collect = "collector.collect()" if collects else "pass"
    program = f"import collector\nfor n in range(1000):\n    bytearray(100)\n    {collect}"
    found = webassembly.run(".mpy", 1 << 16, ["pass", program])
    assert found["grew"] is not collects
    assert found["used"][-1] == pytest.approx(found["used"][0], abs=500)


def test_what_is_reached_stays(webassembly):
    """A collection within a call keeps what the frames of Python and the globals reach."""
    program = """
import collector
def grow(kept, depth):
    mine = {"n": [b"%d" % n for n in range(100)]}
    collector.collect()
    if depth:
        grow(mine, depth - 1)
    bytearray(b"x" * 5000)
    assert mine["n"] == [b"%d" % n for n in range(100)] and kept["n"] == mine["n"]
grow({"n": [b"%d" % n for n in range(100)]}, 5)
"""
    assert webassembly.run(".mpy", 1 << 16, ["pass", program])["error"] is None


@pytest.mark.parametrize("free", [1 << 9, 1 << 15])
def test_a_heap_that_is_left_free(webassembly, free):
    """An install needs some free heap, and no more than enough of it."""
    package = bench_site.small_files(2)
    steps = webassembly.steps(package)
    used = webassembly.run(".mpy", 1 << 20, steps[:3])["used"][-1]
    heap = used + free + bench_wasm.SPARE
    found = webassembly.run(".mpy", heap, steps, package, free)
    assert found["grew"] == (free == 1 << 9)


def test_a_wrong_program_on_32_bits(webassembly):
    """A program that fails, and files that are not what they should be, end the benchmark."""
    with pytest.raises(BenchError, match="ours, WebAssembly: ZeroDivisionError"):
        webassembly.run(".mpy", 1 << 16, ["1 / 0"])
    with pytest.raises(BenchError, match="module_0.mpy is not what it should be"):
        webassembly.run(".mpy", 1 << 16, ["pass"], bench_site.small_files(1))


def test_a_release_that_is_not_there(monkeypatch, tmp_path):
    """Without the release that tools/env fetches, this is said."""
    monkeypatch.setattr(bench_node, "ENVIRONMENT", tmp_path)
    with pytest.raises(bench_node.WasmError, match="is not there: tools/env makes it"):
        bench_node.release()


# --- The link and the server ---


def test_the_link(tmp_path):
    """A round trip takes its time, and so do two that begin one after the other: not twice."""
    package = bench_site.small_files(2)
    paths = [path for path in bench_site.routes([package]) if path.startswith("/file/")]
    bodies = list(package.files.values())
    rtt = 0.06
    with (
        bench_site.serve(bench_site.routes([package]), tmp_path, rtt=rtt * 1000) as server,
        closing(socket.create_connection(server.server_address)) as sock,
        sock.makefile("rb") as file,
    ):
        took = []
        for _ in range(5):
            starts = []
            for path in paths:
                time.sleep(rtt / 10)  # else both would be one piece of data to the link
                starts.append(time.monotonic())
                sock.sendall(request(path))
            for start, body in zip(starts, bodies, strict=True):
                assert read_answer(file)[2] == body
                took.append(time.monotonic() - start)
    assert min(took) >= rtt
    # A link that delays one piece of data after the other takes 1.9 round trips each time.
    assert min(took[1::2]) < 1.5 * rtt


def test_files_are_what_the_index_says(device):
    """The modules that are installed differ, have the hashes of the index, and load."""
    package = bench_site.small_files(6)
    routes = bench_site.routes([package])
    for path, content in package.files.items():
        hash = hashlib.sha256(content).hexdigest()[:8]
        assert f"/file/{hash[:2]}/{hash}" in routes
        file = device.lib / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert len(set(package.files.values())) == 6
    names = [path.removesuffix(".mpy").replace("/", ".") for path in package.files]
    script = (
        "import sys\nfor name in sys.argv[1:]: print(__import__(name, None, None, ['x']).NUMBER)"
    )
    lines = device.run(script, *names, check=True).lines
    assert lines == [f"number {6000 + number:06}" for number in range(6)]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_file_ends_the_benchmark(board, tmp_path, client):
    """An install whose files are not right is not counted as one."""
    package = bench_site.small_files(2)
    routes = bench_site.routes([package])
    path = next(path for path in routes if path.startswith("/file/"))
    routes[path] = bench_site.route(b"something else")
    with (
        bench_site.serve(routes, tmp_path / "nothing") as server,
        pytest.raises(BenchError, match=rf"{client}, files_2: .*"),
    ):
        board.install(getattr(board, client), package, server.url, board.target())


# --- The heap ---


@pytest.mark.parametrize("client", CLIENTS)
def test_a_heap_that_is_too_small(board, tmp_path, client):
    """An install fails with little heap and succeeds with much, and each is noticed."""
    package = bench_site.small_files(2)
    client = getattr(board, client)
    with bench_site.serve(bench_site.routes([package]), tmp_path / "nothing") as server:
        fits = [board.fits(client, package, server.url, free) for free in (1024, 1 << 16)]
    assert fits == [False, True]


def test_the_heap_that_an_install_needs(tmp_path, figures):
    """10 files need at most 1.7 times upstream's heap, and 100 at most 1.25 times that."""
    few, many = bench_site.small_files(10), bench_site.small_files(100)
    # The path of the target is in RAM, several times: it has to be as long everywhere.
    with (
        tempfile.TemporaryDirectory(prefix="mip-", dir="/tmp") as place,
        bench_site.serve(bench_site.routes([few, many]), tmp_path / "nothing") as server,
    ):
        board = bench_device.Bench(place)
        # Where other tests run, answers come in more pieces, and a wait at the peak takes RAM.
        upstreams, ours, many_ours = (
            min(
                bench_device.least(partial(board.fits, *case, server.url), 4608, 64, 6)
                for _ in range(3)
            )
            for case in ((board.upstream, few), (board.ours, few), (board.ours, many))
        )
    figures("heap for 10 files, HTTP, bytes", ours)
    assert ours <= 1.7 * upstreams
    assert many_ours <= 1.25 * ours
    (documented,) = [
        cell["ours"]
        for cell in MEASURED["heap"]["cells"]
        if (cell["files"], cell["scheme"]) == (10, "http")
    ]
    assert ours == pytest.approx(documented, rel=0.1), "./tools/bench --only heap"


@pytest.mark.parametrize("guess", [0, 64, 640, 1280, 100_000])
@pytest.mark.parametrize("need", [1, 64, 65, 1279, 1280])
def test_the_least(guess, need):
    """The least heap is the smallest multiple of the step that does, whatever was guessed."""
    tried = []

    def succeeds(number):
        tried.append(number)
        return number >= need

    assert bench_device.least(succeeds, guess, 64, 3) == -(-need // 64) * 64
    assert len(tried) == len(set(tried)) < 40
    assert all(number % 64 == 0 for number in tried)


@pytest.mark.parametrize(
    ("holes", "least"), [({6}, 7), ({6, 8}, 9), ({8}, 9), ({11}, 12), ({7, 8, 14}, 9), ({99}, 5)]
)
def test_the_least_is_certain(holes, least):
    """Where a larger heap does not do, the search goes on above it."""
    assert bench_device.least(lambda n: n // 64 >= 5 and n // 64 not in holes, 0, 64, 3) == (
        64 * least
    )


def test_no_heap_is_enough():
    """A search that finds nothing ends."""
    with pytest.raises(BenchError, match="not enough"):
        bench_device.least(lambda number: False, 0, 64, 3)


# --- The chart ---


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (3, 30, [2, 5, 10, 20, 50]),
        (0.3, 0.4, [0.2, 0.5]),
        (5, 5, [5]),
        (1, 1000, [1, 10, 100, 1000]),
        (4.4, 240, [2, 5, 10, 20, 50, 100, 200, 500]),
    ],
)
def test_ticks(low, high, numbers):
    """The numbers on an axis are round, and enclose all values."""
    assert bench_chart.ticks(low, high) == pytest.approx(numbers)


# --- The command ---


def run(*words, **environment):
    """Run tools/bench."""
    return subprocess.run(
        [ROOT / "tools" / "bench", *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        text=True,
    )


def test_help():
    """--help says what is measured, and how to begin."""
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "requests",
        "least free heap",
        "ratio",
        "tools/bench --quick",
        "--output",
        "flash",
    ):
        assert word in done.stdout


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--only", "speed"], ["--fast"]])
def test_a_wrong_command_line(words, capsys):
    """A wrong option ends the command with status 2 before anything is measured."""
    with pytest.raises(SystemExit) as ended:
        bench.main(words)
    assert ended.value.code == 2
    assert "usage: tools/bench" in capsys.readouterr().err


def test_an_interpreter_without_a_mip(tmp_path, monkeypatch, capsys):
    """An interpreter that has no mip, or is none, ends the command with status 1 and a reason."""
    for name, reason in (("false", "no mip"), ("no-such-program", "no such interpreter")):
        monkeypatch.setenv("MICROPYTHON", name)
        assert bench.main(["--quick", "--output", str(tmp_path / "out")]) == 1
        assert reason in capsys.readouterr().err
    monkeypatch.delenv("MICROPYTHON")
    monkeypatch.setenv("BENCH_FROZEN", bench_device.interpreter())
    assert bench.main(["--quick", "--output", str(tmp_path / "out")]) == 1
    assert "BENCH_FROZEN has no mip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
