"""docs/bench.json has the figures of mip as it is here; and the pages, those of docs/bench.json.

What can be counted in some seconds is counted again. The rest is times, RAM where mip is frozen,
and what takes minutes to count: of that, what it was measured on is compared.
"""

import json
import tempfile
from functools import partial

import bench
import bench_counts
import bench_device
import bench_flash
import bench_node
import bench_report
import bench_site
import bench_wasm
import pytest
from demo import certificate
from folders import ROOT

DOCS = ROOT / "docs"
MEASURED = json.loads((DOCS / "bench.json").read_text(encoding="utf-8"))
PAGES = bench_report.files(MEASURED)


def stale(part):
    """Return what a test says that fails."""
    return (
        f"docs/bench.json, {part}: run ./tools/bench --only {part} (CONTRIBUTING.md says with "
        "which interpreters), and then ./tools/env python tools/dev/readme_figures.py"
    )


def quiet(text):
    """Says nothing of what is measured."""


def still(fits, heap, part):
    """Return whether such a part more heap than was measured is enough, and as much less is not.

    Enough is what does once in three times: beside other tests, answers come in more pieces, and
    a wait takes RAM.
    """
    less, more = (int(heap * factor) // 32 * 32 for factor in (1 - part, 1 + part))
    return not fits(less) and any(fits(more) for _ in range(3))


@pytest.fixture(scope="module")
def board():
    """Both mips, and the interpreter of tools/env, whichever other tests use."""
    # The path of the target is in RAM, several times: it has to be as long everywhere.
    with (
        tempfile.TemporaryDirectory(prefix="mip-", dir="/tmp") as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("MICROPYTHON", "BENCH_FROZEN"):
            patch.delenv(name, raising=False)
        yield bench_device.Bench(place)


@pytest.fixture
def nothing(tmp_path):
    """An empty directory, for servers that have all in memory."""
    (tmp_path / "nothing").mkdir()
    return tmp_path / "nothing"


@pytest.mark.parametrize("part", bench.PARTS)
def test_what_a_part_was_measured_on(board, part):
    """Mip is as large as when the part was measured, within 2 %, and has as many instructions.

    Figures have two digits, and times differ by more from run to run. So a small change needs no
    hour of measuring, and many small ones do. Instructions are compared for the parts that have
    them: they are little of a time over the network. What this misses is a change of few bytes
    that has an install wait longer.
    """
    was, now = MEASURED[part]["measured_on"], bench_counts.measured_on(board, part)
    assert now["bytes"] == pytest.approx(was["bytes"], rel=0.02), stale(part)
    if part in bench_counts.OF_INSTRUCTIONS:
        if reason := board.uncounted():
            pytest.skip(reason)
        assert now["instructions"] == pytest.approx(was.get("instructions", 0), rel=0.02), stale(
            part
        )


def test_sizes(board):
    """Sizes are exact, and the version is that of mip."""
    assert MEASURED["ours"] == board.versions(board.ours)[1], stale("size")
    for side, sizes in bench_report.sizes(board.sizes).items():
        assert MEASURED["size"][side] == sizes, stale("size")


def test_flash(board):
    """All counts are exact, and so is the modelled time: the disk is in RAM."""
    found = bench_flash.measure(board, bench.FULL.flash, bench.FULL.beside, quiet)
    for key, figures in found.items():
        assert MEASURED["flash"][key] == figures, stale("flash")


def test_growth(board, monkeypatch):
    """Reads and modelled time of 100 and 1,000 files are exact."""
    monkeypatch.setattr(board, "uncounted", lambda: "it takes minutes")
    found = bench_counts.measure_growth(board, *bench.FULL.growth, quiet)
    for key in "reads", "ms":
        assert MEASURED["growth"][key] == found[key], stale("growth")


def test_requests(board, nothing, tmp_path):
    """Requests, connections, bytes and files written are exact, whatever the round trip is."""
    times = bench.Times(board, bench.FULL)
    cafile = tmp_path / "ca.pem"
    context = certificate(cafile)
    routes = bench_site.routes(case.package for case in times.cases)
    with (
        bench_site.serve(routes, nothing) as plain,
        bench_site.serve(routes, nothing, context) as server,
    ):
        for case in times.cases:
            counts = times._install(board.ours, case, server, plain, cafile)
            del counts["ms"]
            cells = [cell for cell in MEASURED["time"]["cells"] if cell["title"] == case.title]
            assert len(cells) == len(bench.FULL.rtts), stale("time")
            for cell in cells:
                assert counts.items() <= cell["ours"].items(), stale("time")


def test_ram(board, nothing):
    """What is kept is within 2 %, from source and .mpy; of .mpy also the heap, within 3 %.

    What was measured is another build of the same interpreter.
    """
    rows = {row["loaded"]: row["ours"] for row in MEASURED["ram"]["rows"]}
    for loaded in "source", ".mpy":
        kept = board.kept(board.loaded("ours", loaded))
        assert kept == pytest.approx(rows[loaded]["kept"], rel=0.02), stale("ram")
    package = bench_site.small_files(MEASURED["ram"]["files"])
    with bench_site.serve(bench_site.routes([package]), nothing) as server:
        run = partial(board.runs, board.ours)
        empty = bench_device.least(partial(run, "nothing", package, server.url), 0, 256, 1)
        for what in "import", "install":

            def fits(heap, what=what):
                return run(what, package, server.url, empty + heap)

            assert still(fits, rows[".mpy"][what], 0.03), stale("ram")


def test_heap(board, nothing, tmp_path):
    """The free heap for an install over TLS is within a tenth."""
    cells = [cell for cell in MEASURED["heap"]["cells"] if cell["scheme"] == "https"]
    packages = [bench_site.small_files(cell["files"]) for cell in cells]
    context = certificate(tmp_path / "ca.pem")
    with bench_site.serve(bench_site.routes(packages), nothing, context) as server:
        for cell, package in zip(cells, packages, strict=True):
            fits = partial(board.fits, board.ours, package, server.url)
            assert still(fits, cell["ours"], 0.1), stale("heap")


def test_ram_on_32_bits(board):
    """What is kept is within 2 %, and the free heap for 10 files within a tenth."""
    try:
        runner = bench_wasm.runners(board)[0]
    except bench_node.WasmError as error:
        pytest.skip(str(error))
    for row in MEASURED["wasm"]["rows"]:
        kept = row["ours"]["kept"]
        assert runner.kept(row["loaded"]) == pytest.approx(kept, rel=0.02), stale("wasm")
    cell = MEASURED["wasm"]["cells"][0]
    package = bench_site.small_files(cell["files"])
    steps = runner.steps(package)
    used = runner.run(".mpy", 1 << 20, steps[:3])["used"][-1]

    def fits(free):
        heap = used + free + bench_wasm.SPARE
        return not runner.run(".mpy", heap, steps, package, free)["grew"]

    assert still(fits, cell["ours"], 0.1), stale("wasm")


@pytest.mark.parametrize("name", PAGES)
def test_the_pages(name):
    """Tables and charts are those of docs/bench.json."""
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name], "docs/ has other figures: run ./tools/bench --only size"
