"""Makes tables, charts and verdicts of what the benchmark measured."""

from dataclasses import dataclass

import bench_chart

# The round trip that the chart of times is for, in milliseconds.
CURVE_RTT = 50

# What upstream's modules take as .mpy, in bytes. They are frozen into the interpreter, where
# their size as .mpy cannot be measured: these figures are quoted. They were made of
# micropython-lib's sources, with `mpy-cross -O3` 1.29.
UPSTREAM_SIZES = {"mip": 2240, "requests": 2919, "mip-cmdline": 627, "argparse": 2381}

# What may not be exceeded, and what is aimed at, None where it is the same: of upstream's, for
# (title of the case, round trip in ms).
TIME_BUDGETS = {
    ("50 files", 50): (0.065, 0.05),
    ("10 files", 50): (0.17, None),
    ("200 files", 0): (0.02, None),
    ("1 file of 1 MiB", 0): (0.4, None),
}
HEAP_BUDGET = (0.9, None)  # of upstream's, for the fewest files
HEAP_GROWTH_BUDGET = (1.1, 1.05)  # from the fewest files to the most
SIZE_BUDGETS = {"library": (16384, 14336), "command_line": (2800, 2400)}
# Seconds, for (title of the scenario, file system, step).
FLASH_BUDGETS = {
    ("50 files in 5 directories", "littlefs", "install"): (4.8, 4),
    ("50 files in 5 directories", "littlefs", "again"): (0.45, 0.3),
    ("50 files in 5 directories", "littlefs", "upgrade"): (6.6, 5),
    ("50 files in 5 directories", "FAT", "install"): (21, 18),
    ("50 files in 5 directories", "FAT", "again"): (2, 0.5),
    ("50 files in 5 directories", "FAT", "upgrade"): (27, 20),
}
# For the small package beside many others, on littlefs.
BESIDE = "1 file beside 20 packages with 200 files"
BESIDE_BUDGETS = {"lines": (1000, 300), "erases": (12, 6)}
BESIDE_RATIO_BUDGET = (4, 2)  # of what it takes beside one package
# The scopes that the budgets of RAM, instructions and growth are for, in files. Those of
# instructions are for both mips frozen: what is loaded is RAM that each collection looks through.
RAM_FILES = 10
WASM_FILES = (10, 1000)
COUNTED = 50
GROWN = (100, 1000)
RAM_BUDGETS = {
    (".mpy", "install"): (40960, 36864),
    ("frozen", "install"): (12288, 10240),
    (".mpy", "kept"): (33000, 28672),
}
INSTRUCTIONS_BUDGETS = {
    "fresh": (40_000_000, 25_000_000),
    "again": (30_000_000, 15_000_000),
}
GROWTH_BUDGET = (13, 10)


# Whole commands that are compared, in the order of the table.
PEERS = {
    "ours": "`micropython -m mip`, this mip",
    "upstream": "`micropython -m mip`, upstream's",
    "mpremote": "`mpremote mip`, onto a board",
    "curl": "`curl`, the same files on one connection",
}


@dataclass(frozen=True)
class Budget:
    """A figure of ours that is limited.

    text: what it is.  ours: the figure.  limits: the most that it may be, and what is aimed at
    or None.  upstream: the same figure of upstream's, or None.
    """

    text: str
    ours: float
    limits: tuple
    upstream: float | None = None

    @property
    def kept(self):
        """Whether it is not more than it may be."""
        return self.ours <= self.limits[0]


def plural(count, noun="file"):
    """Return a number with what it counts."""
    return f"{count:,} {noun}" + ("s" if count != 1 else "")


def ratio(ours, upstreams):
    """Return a ratio with four significant digits."""
    return float(f"{ours / upstreams:.4g}")


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
    """Yield a Budget for each figure of all that was measured that has one."""
    yield from _size_budgets(found)
    yield from _ram_budgets(found)
    yield from _heap_budgets(found)
    yield from _time_budgets(found)
    yield from _flash_budgets(found)
    yield from _instructions_budgets(found)
    yield from _growth_budgets(found)


def _size_budgets(found):
    if size := found.get("size"):
        for key, limits in SIZE_BUDGETS.items():
            text = f"{key.replace('_', ' ')}, .mpy at -O3: bytes"
            yield Budget(text, size["ours"][key], limits, size["upstream"][key])


def _ram_budgets(found):
    ram = found.get("ram", {})
    if ram.get("files") != RAM_FILES:
        return
    texts = {
        "kept": "kept after the import: bytes",
        "install": f"heap for import and {plural(RAM_FILES)} in all, HTTP: bytes",
    }
    rows = {row["loaded"]: row for row in ram["rows"]}
    for (loaded, key), limits in RAM_BUDGETS.items():
        if rows[loaded]["ours"]:
            ours, upstreams = (rows[loaded][name][key] for name in ("ours", "upstream"))
            yield Budget(f"{loaded}, {texts[key]}", ours, limits, upstreams)


def _heap_budgets(found):
    heap = found.get("heap", {}).get("cells", ())
    for scheme in ("http", "https"):
        rows = [cell for cell in heap if cell["scheme"] == scheme]
        if rows:
            few, most = rows[0], rows[-1]
            text = f"heap for {plural(few['files'])}, {scheme}"
            yield Budget(f"{text}: part of upstream's", few["ratio"], HEAP_BUDGET, 1)
            text = f"heap for {plural(most['files'])}, {scheme}: part of that for {few['files']:,}"
            growth, upstreams = (round(most[name] / few[name], 4) for name in ("ours", "upstream"))
            yield Budget(text, growth, HEAP_GROWTH_BUDGET, upstreams)


def _time_budgets(found):
    cells = {
        (cell["title"], cell["rtt_ms"]): cell for cell in found.get("time", {}).get("cells", ())
    }
    for (title, rtt), limits in TIME_BUDGETS.items():
        if (title, rtt) in cells:
            text = f"{title}, TLS, {rtt} ms: part of upstream's time"
            yield Budget(text, cells[title, rtt]["ratio"], limits, 1)
    for cell in cells.values():
        text = f"{cell['title']}, {cell['rtt_ms']} ms"
        counts = {"requests": 1, "written": 0} if cell["again"] else {"connections": 1}
        for key, most in counts.items():
            noun = {"written": "files written", "connections": "handshakes"}.get(key, key)
            upstreams = (cell["upstream"] or {}).get(key)
            yield Budget(f"{text}: {noun}", cell["ours"][key], (most, None), upstreams)


def _flash_budgets(found):
    flash = found.get("flash", {})
    cells = {
        (cell["title"], cell["file_system"], cell["step"]): cell for cell in flash.get("cells", ())
    }
    for key, limits in FLASH_BUDGETS.items():
        if key in cells:
            title, file_system, step = key
            ours, upstreams = (
                round(cells[key][name]["ms"] / 1000, 2) for name in ("ours", "upstream")
            )
            text = f"{title}, {file_system}, {step}: modelled seconds"
            yield Budget(text, ours, limits, upstreams)
    for key, limits in BESIDE_BUDGETS.items():
        if cell := cells.get((BESIDE, "littlefs", "install")):
            noun = {"lines": "lines of JSON parsed", "erases": "erases on littlefs"}[key]
            yield Budget(f"{BESIDE}: {noun}", cell["ours"][key], limits, cell["upstream"][key])
    for row in flash.get("beside", ()):
        if (row["title"], row["file_system"], row["step"]) == (BESIDE, "littlefs", "install"):
            text = f"{BESIDE}: modelled time, times that beside 1"
            yield Budget(text, row["ours"], BESIDE_RATIO_BUDGET, row["upstream"])


def _instructions_budgets(found):
    part = found.get("instructions", {})
    if part.get("files") == COUNTED and part["ours_frozen"]:
        for key, limits in INSTRUCTIONS_BUDGETS.items():
            ours, upstreams = (part[name][key] for name in ("ours", "upstream"))
            yield Budget(f"instructions, {plural(COUNTED)}, {key}", ours, limits, upstreams)
        ours, upstreams = (part[name]["beside"]["ratio"] for name in ("ours", "upstream"))
        text = f"{BESIDE}: instructions, times those beside 1"
        yield Budget(text, ours, BESIDE_RATIO_BUDGET, upstreams)


def _growth_budgets(found):
    part = found.get("growth", {})
    if (part.get("few"), part.get("many")) == GROWN:
        # Not of reads: littlefs looks through the whole disk to allocate, whoever writes.
        for key, noun in (("ms", "modelled time on littlefs"), ("instructions", "instructions")):
            if part[key]:
                ours, upstreams = (part[key][name]["ratio"] for name in ("ours", "upstream"))
                text = f"{plural(GROWN[1])}: {noun}, times those for {GROWN[0]}"
                yield Budget(text, ours, GROWTH_BUDGET, upstreams)


def verdicts(found):
    """Return a text with a line for each budget: what was measured, and whether it is kept."""
    lines = []
    for budget in budgets(found):
        verdict = "" if budget.kept else "   over"
        lines.append(f"{budget.text:<76} {budget.ours:>11,} of {budget.limits[0]:>10,}{verdict}")
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
        f"imported and the rest of the heap is filled before. {_searched(found)} "
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


def flash_table(found):
    """Yield the lines about flash."""
    model = found["model"]
    yield "## Flash"
    yield ""
    yield (
        "What an install asks of a disk in RAM that counts, with a session that has all answers "
        "in memory. littlefs has blocks of 4,096 bytes, and reads and programs 32 bytes at once, "
        "which is MicroPython's default; FAT has sectors of 4,096 bytes, and a write of one "
        f"erases and programs all of it. The time is a model's: a read {model['read']} ms and "
        f"{model['read_256']} ms for 256 bytes, a program {model['program']} and "
        f"{model['program_256']} ms, an erase of 4,096 bytes {model['erase']} ms. Upstream's "
        "upgrade is an install of the new version; it parses no lines, but a whole document at "
        "once, and cannot uninstall."
    )
    yield ""
    columns = ("reads", "programs", "erases", "lines")
    rows = []
    for cell in found["cells"]:
        row = [f"{cell['title']}, {cell['file_system']}, {cell['step']}"]
        row += [
            seconds(cell[name]["ms"]) if cell[name] else "cannot" for name in ("ours", "upstream")
        ]
        row += [
            f"{cell[name][key]:,}" if cell[name] else "cannot"
            for key in columns
            for name in ("ours", "upstream")
        ]
        rows.append(row)
    head = [
        f"{noun}, {name}"
        for noun in ("modelled time", *columns[:-1], "lines of JSON parsed")
        for name in ("ours", "upstream")
    ]
    yield from table(["", *head], rows)
    yield ""
    rows = [
        [
            f"{row['title']}, {row['file_system']}, {row['step']}",
            *(f"{row[name]:.1f}" if row[name] else "cannot" for name in ("ours", "upstream")),
        ]
        for row in found["beside"]
    ]
    against = found["beside"][0]["against"].removeprefix("1 file ")
    yield from table([f"modelled time, times that {against}", "ours", "upstream"], rows)


def ram_table(found):
    """Yield the lines about RAM in all."""
    yield "## RAM in all"
    yield ""
    yield (
        "In bytes, on a 64-bit build, over HTTP: what a mip keeps after `import mip` and a "
        "collection; and the least heap for the import alone and for import and install in one "
        f"interpreter, beyond the least for a program that does nothing. {_searched(found)}"
    )
    if any(row["ours"] is None for row in found["rows"]):
        yield ""
        yield (
            "Ours was not measured where it is frozen: that needs an interpreter that has it, "
            "which BENCH_FROZEN names."
        )
    if any(row["upstream"] and not row["upstream"]["measured"] for row in found["rows"]):
        yield ""
        yield (
            "Upstream's, where it is not frozen, is quoted, not measured here: BENCH_UPSTREAM "
            "names sources of micropython-lib to measure."
        )
    yield ""
    keys = ("kept", "import", "install")
    rows = []
    for row in found["rows"]:
        sides = [
            f"{row[name][key]:,}" if row[name] else "not measured"
            for key in keys
            for name in ("ours", "upstream")
        ]
        rows.append([row["loaded"], *sides])
    head = [
        f"{noun}, {name}"
        for noun in ("kept", "import", f"import and {plural(found['files'])}")
        for name in ("ours", "upstream")
    ]
    yield from table(["", *head], rows)


def wasm_table(found):
    """Yield the lines about RAM on 32 bits."""
    yield "## RAM on 32 bits"
    yield ""
    if found["missing"]:
        yield f"Not measured: {found['missing']}."
        return
    yield (
        "In bytes, on MicroPython for WebAssembly "
        f"({found['release']}), whose objects have 32 bits, as those of most boards. What a mip "
        "keeps after `import mip`; the least heap for the import alone and for import and install "
        "in one interpreter, beyond what is in use before; and the least free heap in which an "
        "install succeeds when mip is loaded. Both have a session of the same kind, which reads "
        "from the disk: what ours has of HTTP is in its figures, the `requests` that upstream's "
        "needs is not in those. This build does not collect when its heap is full. So garbage is "
        "collected at each call of the session and of the file system, but not in the middle of "
        f"an import. {_searched(found)}"
    )
    if not found["measured"]:
        yield ""
        yield (
            "Upstream's are quoted, not measured here: BENCH_UPSTREAM names sources of "
            "micropython-lib to measure."
        )
    yield ""
    keys = ("kept", "import", "few", "many")
    rows = [
        [
            row["loaded"],
            *(
                f"{row[name][key]:,}" if row[name] else "not measured"
                for key in keys
                for name in ("ours", "upstream")
            ),
        ]
        for row in found["rows"]
    ]
    nouns = ("kept", "import", *(f"import and {plural(count)}" for count in found["files"]))
    head = [f"{noun}, {name}" for noun in nouns for name in ("ours", "upstream")]
    yield from table(["", *head], rows)
    yield ""
    pairs = zip(nouns, keys, strict=True)
    small = ", ".join(f"{noun} {found['small'][key]:,}" for noun, key in pairs)
    yield f"The small mip, loaded from .mpy: {small}. A package.json is in RAM there as a whole."
    yield ""
    rows = [
        [
            f"{plural(cell['files'])}, free heap",
            f"{cell['ours']:,}",
            f"{cell['upstream']:,}" if cell["upstream"] else "not measured",
            f"{cell['ratio']:.3f}" if cell["ratio"] else "",
        ]
        for cell in found["cells"]
    ]
    yield from table(["", "ours", "upstream", "ratio"], rows)


def _searched(found):
    """How bench_device.least() was called, as a sentence."""
    return (
        f"It is searched in steps of {found['step']} bytes; "
        f"{plural(found['sure'], 'larger heap')} up to "
        f"{found['step'] * found['sure'] * (found['sure'] + 1) // 2:,} bytes above must do, too."
    )


def _which(frozen):
    """What instructions are of, as a sentence."""
    if frozen:
        return "Both mips are frozen, each into its interpreter."
    return "Ours is loaded from .mpy, upstream's is frozen; the import is in neither."


def instructions_table(found):
    """Yield the lines about instructions."""
    yield "## Instructions"
    yield ""
    if found["missing"]:
        yield f"Not measured: {found['missing']}."
        return
    yield (
        "Of an install over HTTP into a directory of the host, counted with valgrind, without "
        "those of a run that only imports, and without the system's. "
        f"{_which(found['ours_frozen'])}"
    )
    yield ""
    sides = found["ours"], found["upstream"]
    counts = {
        f"{plural(found['files'])}, {key}": [side[key] for side in sides]
        for key in ("fresh", "again")
    }
    for key, (packages, files) in found["beside"].items():
        title = f"1 file beside {plural(packages, 'package')} with {plural(files)}"
        counts[title] = [side["beside"][key] for side in sides]
    rows = [
        [title, f"{ours:,}", f"{upstreams:,}", f"{ratio(ours, upstreams):.3f}"]
        for title, (ours, upstreams) in counts.items()
    ]
    yield from table(["", "ours", "upstream", "ratio"], rows)


def growth_table(found):
    """Yield the lines about growth."""
    yield "## Growth"
    yield ""
    yield (
        "Of a fresh install: block reads on littlefs, where no directory has more than ten "
        "entries, and the modelled time there; and instructions, in a directory of the host. Ten "
        "times the files cost ten times as much where the cost is linear. Reads are not: to "
        "allocate, littlefs looks through the whole disk."
    )
    yield ""
    if found["missing"]:
        yield f"Instructions were not measured: {found['missing']}."
    else:
        yield _which(found["ours_frozen"])
    yield ""
    nouns = {"reads": "reads", "ms": "modelled ms", "instructions": "instructions"}
    rows = [
        [
            f"{noun}, {name}",
            *(f"{found[key][name][side]:,}" for side in ("few", "many", "ratio")),
        ]
        for key, noun in nouns.items()
        if found[key]
        for name in ("ours", "upstream")
    ]
    yield from table(["", plural(found["few"]), plural(found["many"]), "ratio"], rows)


def peers_table(found):
    """Yield the lines about whole commands."""
    yield "## Beside mpremote and curl"
    yield ""
    yield (
        f"Whole commands that fetch {plural(found['files'])} over TLS and check the certificate, "
        "but for upstream's mip, which checks none: from the start of the process to its end. "
        f"The median of {found['rounds']}. mpremote writes to the Unix port behind a "
        "pseudo-terminal, so its serial line costs nothing, as it does on no board. curl fetches "
        "the files one after the other on one connection, and installs nothing."
    )
    yield ""
    rows = [
        [
            PEERS[name],
            *(
                f"{cell['median_ms'][name] / 1000:.3f} s" if cell["median_ms"][name] else ""
                for cell in found["cells"]
            ),
        ]
        for name in PEERS
    ]
    yield from table(["", *(f"{cell['rtt_ms']} ms round trip" for cell in found["cells"])], rows)


# What makes the tables of each part, in their order.
PART_TABLES = {
    "time": time_tables,
    "heap": heap_table,
    "size": size_table,
    "flash": flash_table,
    "ram": ram_table,
    "wasm": wasm_table,
    "instructions": instructions_table,
    "growth": growth_table,
    "peers": peers_table,
}


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
        "- A test counts again what takes some seconds, and fails when the present mip has other "
        "figures. Of times, and of what takes longer, it compares the bytes of the mip that was "
        "measured, or the instructions of an install: within 2 %.",
        "",
        "## Budgets",
        "",
    ]
    rows = []
    for budget in budgets(found):
        numbers = [
            "" if number is None else f"{number:,}"
            for number in (budget.upstream, budget.ours, *budget.limits)
        ]
        rows.append([budget.text, *numbers, "yes" if budget.kept else "no"])
    lines += table(["", "upstream", "ours", "at most", "aim", "kept"], rows)
    for key, part in PART_TABLES.items():
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
