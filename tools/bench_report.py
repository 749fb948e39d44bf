"""Makes tables, charts and verdicts of what the benchmark measured."""

import bench_chart

# The round trip that the chart of times is for, in milliseconds.
CURVE_RTT = 50

# What upstream's modules take as .mpy, in bytes. They are frozen into the interpreter, where
# their size as .mpy cannot be measured: these figures are quoted. They were made of
# micropython-lib's sources, with `mpy-cross -O3` 1.29.
UPSTREAM_SIZES = {"mip": 2240, "requests": 2919, "mip-cmdline": 627, "argparse": 2381}

# What may not be exceeded: (title of the case, round trip in ms, ratio of the times).
TIME_BUDGETS = (
    ("50 files", 50, 0.08),
    ("10 files", 50, 0.17),
    ("200 files", 0, 0.02),
    ("1 file of 1 MiB", 0, 0.4),
)
HEAP_BUDGET = 0.9  # of upstream's, for the fewest files
GROWTH_BUDGET = 1.1  # from the fewest files to the most
SIZE_BUDGETS = {"__init__.mpy": 7168, "__main__.mpy": 1024}


def plural(count, noun="file"):
    """Return a number with what it counts."""
    return f"{count:,} {noun}" + ("s" if count != 1 else "")


def sizes(ours):
    """Return what bench.json has under "size". ours: {name of a module: bytes as .mpy}."""
    library = ("mip", "requests")
    return {
        "ours": {"library": ours["__init__.mpy"], "command_line": ours["__main__.mpy"]},
        "upstream": {
            "library": sum(UPSTREAM_SIZES[name] for name in library),
            "command_line": sum(UPSTREAM_SIZES.values())
            - sum(UPSTREAM_SIZES[name] for name in library),
            "modules": UPSTREAM_SIZES,
            "measured": False,
        },
    }


def budgets(found):
    """Yield (text, what was measured, the most that it may be) for all that was measured."""
    cells = {
        (cell["title"], cell["rtt_ms"]): cell for cell in found.get("time", {}).get("cells", ())
    }
    for title, rtt, most in TIME_BUDGETS:
        if (title, rtt) in cells:
            text = f"{title}, TLS, {rtt} ms: part of upstream's time"
            yield text, cells[title, rtt]["ratio"], most
    for cell in cells.values():
        if cell["again"]:
            text = f"{cell['title']}, {cell['rtt_ms']} ms"
            yield f"{text}: requests", cell["ours"]["requests"], 1
            yield f"{text}: files written", cell["ours"]["written"], 0
    heap = found.get("heap", {}).get("cells", ())
    for scheme in ("http", "https"):
        rows = [cell for cell in heap if cell["scheme"] == scheme]
        if rows:
            few, most = rows[0], rows[-1]
            text = f"heap for {plural(few['files'])}, {scheme}"
            yield f"{text}: part of upstream's", few["ratio"], HEAP_BUDGET
            growth = round(most["ours"] / few["ours"], 4)
            text = f"heap for {plural(most['files'])}, {scheme}: part of that for {few['files']:,}"
            yield text, growth, GROWTH_BUDGET
    if "size" in found:
        for key, name in (("library", "__init__.mpy"), ("command_line", "__main__.mpy")):
            yield f"mip/{name}: bytes", found["size"]["ours"][key], SIZE_BUDGETS[name]


def verdicts(found):
    """Return a text with a line for each budget: what was measured, and whether it is kept."""
    lines = []
    for text, value, most in budgets(found):
        verdict = "" if value <= most else "   over"
        lines.append(f"{text:<56} {value:>8,} of {most:>6,}{verdict}")
    return "\n".join(lines)


def table(head, rows):
    """Return the lines of a Markdown table: the first column is text, the others are numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def seconds(milliseconds):
    """Return a time as text, with three significant digits."""
    return f"{milliseconds / 1000:#.3g}".rstrip(".") + " s"


def _spread(side):
    least, most = seconds(min(side["ms"])), seconds(max(side["ms"]))
    return f"{seconds(side['median_ms'])} ({least.removesuffix(' s')} to {most})"


def time_tables(found):
    """Yield the lines about times and counts."""
    cells = found["cells"]
    yield "## Time"
    yield ""
    yield (
        "Over TLS. The time is that of `mip.install()`, without the start of the interpreter and "
        f"the import of mip: the median of {found['rounds']} and, in brackets, the shortest and "
        "the longest. The ratio is that of the medians, ours divided by upstream's."
    )
    for rtt in sorted({cell["rtt_ms"] for cell in cells}):
        yield ""
        yield f"### {rtt} ms round trip" if rtt else "### No delay"
        yield ""
        rows = []
        for cell in cells:
            if cell["rtt_ms"] == rtt:
                sides = [
                    _spread(side) if side else "cannot"
                    for side in (cell["ours"], cell["upstream"])
                ]
                rows.append([cell["title"], *sides, f"{cell['ratio']:.3f}"])
        yield from table(["", "ours", "upstream", "ratio"], rows)
    if any(cell["checked"] for cell in cells):
        yield ""
        yield (
            "Upstream's mip checks no certificate, so ours does not either, but in the row that "
            "says so. The ratio of that row is to upstream's time without a check."
        )
    yield ""
    yield "## What the server counted"
    yield ""
    rtt = cells[0]["rtt_ms"]
    rows = []
    for cell in cells:
        if cell["rtt_ms"] == rtt and not cell["checked"]:
            counts = [
                f"{cell[name][key]:,}"
                for key in ("requests", "connections", "bytes", "written")
                for name in ("ours", "upstream")
            ]
            rows.append([cell["title"], *counts])
    head = [
        f"{noun}, {name}"
        for noun in ("requests", "connections", "bytes sent", "files written")
        for name in ("ours", "upstream")
    ]
    yield from table(["", *head], rows)
    yield ""
    yield (
        "Bytes are those of heads and bodies, before encryption. Files written are those of the "
        "package, as the file system tells. From a request to its answer the server itself "
        f"takes {found['server_ms_per_answer']:.2f} ms, which is in every time above; it was "
        "measured with another client, which does nothing else."
    )


def heap_table(found):
    """Yield the lines about the heap."""
    yield "## Working heap"
    yield ""
    yield (
        "The least free heap in which an install succeeds, in bytes, on a 64-bit build, where "
        "objects are twice as large as on a board: the ratio is what counts. All modules are "
        "imported and the rest of the heap is filled before. It is searched in steps of "
        f"{found['step']} bytes; {plural(found['sure'], 'larger heap')} up to "
        f"{found['step'] * found['sure'] * (found['sure'] + 1) // 2:,} bytes above must do, too. "
        "Of TLS, the context is in this heap, and what mbedtls allocates for a connection is not: "
        "on this build it comes from the system."
    )
    yield ""
    rows = [
        [f"{plural(cell['files'])}, {cell['scheme'].upper()}"]
        + [f"{cell['ours']:,}", f"{cell['upstream']:,}", f"{cell['ratio']:.3f}"]
        for cell in found["cells"]
    ]
    yield from table(["", "ours", "upstream", "ratio"], rows)


def size_table(found):
    """Yield the lines about sizes."""
    ours, upstream = found["ours"], found["upstream"]
    modules = {name: f"{size:,}" for name, size in upstream["modules"].items()}
    yield "## Size"
    yield ""
    yield (
        "Bytes as .mpy, compiled with `mpy-cross -O3`. Upstream's are quoted, not measured here: "
        "they are frozen into the interpreter, and were compiled from micropython-lib's sources."
    )
    yield ""
    rows = [
        [
            "library, with what it needs",
            f"{ours['library']:,}",
            f"{upstream['library']:,} (mip {modules['mip']}, requests {modules['requests']})",
        ],
        [
            "command line, with what it needs",
            f"{ours['command_line']:,}",
            f"{upstream['command_line']:,} (mip-cmdline {modules['mip-cmdline']}, "
            f"argparse {modules['argparse']})",
        ],
    ]
    yield from table(["", "ours", "upstream"], rows)


def markdown(found):
    """Return bench.md, the tables of all that was measured."""
    lines = [
        "# Benchmark",
        "",
        f"Written by `tools/bench`: mip {found['ours']}, compiled as firmware freezes it, against "
        f"upstream's mip {found['upstream']}, which the interpreter has frozen in "
        f"({found['interpreter']}).",
        "",
        "- Both install the same packages from the same server, on one machine. Only ratios say "
        "something about another one.",
        "- Packages are of an index: a package.json with hashes, and files of 0.5 to 1.5 KB.",
        "- Each install has a new interpreter and a new directory; both take turns; one install "
        "of each goes before and does not count.",
        "- The server holds all answers in memory, sends each in one write, with TCP_NODELAY, and "
        "keeps connections open.",
        "- The link is a proxy in between. It delays bytes, and limits neither how many are on "
        "the way nor how fast they go. It does not delay the acknowledgements of TCP, so it is "
        "kind to clients that write in small pieces. Names are not looked up.",
        "",
        "## Budgets",
        "",
    ]
    rows = [
        [text, f"{value:,}", f"{most:,}", "yes" if value <= most else "no"]
        for text, value, most in budgets(found)
    ]
    lines += table(["", "measured", "at most", "kept"], rows)
    for key, part in (("time", time_tables), ("heap", heap_table), ("size", size_table)):
        if key in found:
            lines += ["", *part(found[key])]
    return "\n".join(lines) + "\n"


def _series(cells, value):
    names = ("ours", "upstream")
    return [
        bench_chart.Series(name, [(cell["files"], value(cell[name])) for cell in cells])
        for name in names
    ]


def time_chart(found):
    """Return time.svg: the time over the number of small files."""
    cells = found["cells"]
    rtts = sorted({cell["rtt_ms"] for cell in cells})
    rtt = CURVE_RTT if CURVE_RTT in rtts else rtts[-1]
    curve = [
        cell
        for cell in cells
        if cell["rtt_ms"] == rtt and cell["title"].split(" ", 1)[1] in ("file", "files")
    ]
    return bench_chart.draw(
        "Time to install a package",
        f"TLS, {rtt} ms round trip; both axes logarithmic; less is better",
        "files in the package",
        _series(curve, lambda side: side["median_ms"] / 1000),
        "s",
    )


def heap_chart(found):
    """Return heap.svg: the working heap over the number of small files."""
    curve = [cell for cell in found["cells"] if cell["scheme"] == "https"]
    return bench_chart.draw(
        "Free heap that an install needs",
        "TLS, 64-bit build; both axes logarithmic; less is better",
        "files in the package",
        _series(curve, lambda value: value / 1000),
        "kB",
    )


def files(found):
    """Return {name: text} of the files for people, for all that was measured."""
    charts = {"time": time_chart, "heap": heap_chart}
    drawn = {f"{key}.svg": chart(found[key]) for key, chart in charts.items() if key in found}
    return {"bench.md": markdown(found), **drawn}
