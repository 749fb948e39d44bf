"""Puts the figures that tools/bench measured, docs/bench.json, into README.md, and prints them.

    python tools/dev/readme_figures.py           writes README.md
    python tools/dev/readme_figures.py --check   writes nothing; exits 1 when it has other figures

In README.md a figure stands between two comments: <!-- bench:NAME -->3.2 s<!-- /bench -->. The
names are those of FIGURES.
"""

import functools
import json
import re
import sys
from pathlib import Path

import generated

ROOT = Path(__file__).resolve().parents[2]

FIGURE = re.compile(r"(<!-- bench:([\w-]+) -->).*?(<!-- /bench -->)")

# The round trip, in milliseconds, of the figures that are not about the server alone.
RTT = 50
SIDES = ("ours", "upstream")

# What is measured on flash.
SPREAD = "50 files in 5 directories"
BESIDE = ("1 file beside 20 packages with 200 files", "1 file beside 1 package with 10 files")


class FigureError(Exception):
    """A figure of README.md that is not in bench.json, or the other way round."""


def seconds(milliseconds):
    """Return a time with two significant digits."""
    value = milliseconds / 1000
    return f"{value:.0f} s" if value >= 10 else f"{value:#.2g} s".replace(". ", " ")


def _case(found, title, rtt):
    for cell in found["time"]["cells"]:
        if (cell["title"], cell["rtt_ms"]) == (title, rtt):
            return cell
    raise FigureError(f"nothing was measured for {title}, {rtt} ms")


def _heap(found, files):
    for cell in found["heap"]["cells"]:
        if (cell["files"], cell["scheme"]) == (files, "https"):
            return cell
    raise FigureError(f"no heap was measured for {files} files")


def _ram(part, bits, loaded, key):
    """The RAM that a mip needs, in one of the forms that it is loaded in. part: of bench.json."""

    def figure(found, side):
        for row in found[part].get("rows", ()):
            if row["loaded"] == loaded and row[side]:
                return _bytes(row[side][key])
        raise FigureError(f"no RAM was measured on {bits} bits for {side}, {loaded}")

    return figure


# RAM on 32 bits, as on most boards, and on 64.
_narrow = functools.partial(_ram, "wasm", 32)
_wide = functools.partial(_ram, "ram", 64)


def _install(found, side):
    """The RAM on 32 bits that an install of 10 files needs when a mip is loaded."""
    for cell in found["wasm"].get("cells", ()):
        if cell["files"] == 10:
            return _bytes(cell[side])
    raise FigureError("no RAM was measured on 32 bits for an install of 10 files")


def _flash(found, title, file_system, step, side):
    for cell in found["flash"]["cells"]:
        if (cell["title"], cell["file_system"], cell["step"]) == (title, file_system, step):
            return cell[side]
    raise FigureError(f"no flash was measured for {title}, {file_system}, {step}")


def _modelled(file_system, step):
    """The time that a model of flash gives for 50 files."""
    return lambda found, side: seconds(_flash(found, SPREAD, file_system, step, side)["ms"])


def _beside(found, side):
    """How much longer a small package takes beside 20 packages than beside one, on littlefs."""
    many, few = (_flash(found, title, "littlefs", "install", side)["ms"] for title in BESIDE)
    return f"{many / few:.1f} times"


def _instructions(key):
    return lambda found, side: f"{found['instructions'][side][key] / 1e6:.0f} million"


def _peer(name):
    def figure(found):
        for cell in found["peers"]["cells"]:
            if cell["rtt_ms"] == RTT and cell["median_ms"][name]:
                return seconds(cell["median_ms"][name])
        raise FigureError(f"{name} was not timed at {RTT} ms")

    return figure


def _time(title, rtt):
    return lambda found, side: seconds(_case(found, title, rtt)[side]["median_ms"])


def _bytes(value):
    return f"{value:,} bytes"


# Each is there twice: NAME-ours and NAME-upstream. What is found, and for which side, is text.
FIGURES = {
    "time": _time("50 files", RTT),
    "again": _time("50 files, nothing changed", RTT),
    "large": _time("1 file of 1 MiB", 0),
    "connections": lambda found, side: str(_case(found, "50 files", RTT)[side]["connections"]),
    "heap-few": lambda found, side: _bytes(_heap(found, 10)[side]),
    "heap-many": lambda found, side: _bytes(_heap(found, 1000)[side]),
    "ram-kept": _narrow(".mpy", "kept"),
    "ram-kept-source": _narrow("source", "kept"),
    "ram-install": _install,
    "ram-few": _narrow(".mpy", "few"),
    "ram-many": _narrow(".mpy", "many"),
    "ram-source": _narrow("source", "few"),
    "ram-loaded": _wide(".mpy", "install"),
    "ram-frozen": _wide("frozen", "install"),
    "ram-kept-frozen": _wide("frozen", "kept"),
    "flash-install": _modelled("littlefs", "install"),
    "flash-again": _modelled("littlefs", "again"),
    "flash-upgrade": _modelled("littlefs", "upgrade"),
    "flash-fat": _modelled("FAT", "install"),
    "erases": lambda found, side: str(
        _flash(found, SPREAD, "littlefs", "install", side)["erases"]
    ),
    "beside": _beside,
    "growth": lambda found, side: f"{found['growth']['ms'][side]['ratio']:.1f} times",
    "instructions": _instructions("fresh"),
    "instructions-again": _instructions("again"),
    "library": lambda found, side: _bytes(found["size"][side]["library"]),
    "command-line": lambda found, side: _bytes(found["size"][side]["command_line"]),
}


def _build(found, without):
    """What was measured of a build."""
    for row in found["builds"]["rows"]:
        if row["without"] == without:
            return row
    raise FigureError(f"nothing was measured of a build without {without or 'nothing'}")


def _frozen(key, without=""):
    """What a build takes that is frozen into firmware for 32 bits."""

    def figure(found):
        frozen = _build(found, without)["frozen"]
        if not frozen:
            raise FigureError("nothing was measured of a mip that is frozen in")
        return _bytes(frozen[key])

    return figure


def _small(key):
    """What the small mip takes on 32 bits that is loaded."""

    def figure(found):
        if not found["wasm"].get("small"):
            raise FigureError("no RAM was measured on 32 bits for the small mip")
        return _bytes(found["wasm"]["small"][key])

    return figure


# Each is there once: whole commands, and what is measured of ours alone.
SINGLE = {f"peers-{name}": _peer(name) for name in ("ours", "upstream", "mpremote", "curl")} | {
    "frozen-kept": _frozen("kept"),
    "frozen-few": _frozen("install"),
    "frozen-flash": _frozen("flash"),
    "small-frozen-kept": _frozen("kept", "all"),
    "small-frozen-few": _frozen("install", "all"),
    "small-frozen-flash": _frozen("flash", "all"),
    "small-kept": _small("kept"),
    "small-few": _small("few"),
    "small-library": lambda found: _bytes(_build(found, "all")["bytes"]),
}


def figures(found):
    """Return {name: text} of all figures. found: what bench.json has. Raises FigureError."""
    return {
        f"{name}-{side}": figure(found, side) for name, figure in FIGURES.items() for side in SIDES
    } | {name: figure(found) for name, figure in SINGLE.items()}


def fill(text, values):
    """Return the text of README.md with these figures. Raises FigureError for other names."""
    names = [name for _, name, _ in FIGURE.findall(text)]
    wrong = set(names) ^ set(values)
    if wrong:
        raise FigureError(f"not in both, README.md and here: {', '.join(sorted(wrong))}")
    return FIGURE.sub(lambda match: f"{match[1]}{values[match[2]]}{match[3]}", text)


def main(words, root=ROOT):
    """Do it. Returns the exit status."""
    check = generated.checks(words, __doc__)
    readme = root / "README.md"
    try:
        values = figures(json.loads((root / "docs" / "bench.json").read_text(encoding="utf-8")))
        filled = fill(readme.read_text(encoding="utf-8"), values)
    except (FigureError, OSError) as error:
        print(f"readme_figures: {error}", file=sys.stderr)
        return 1
    for name, value in values.items():
        print(f"{name:<24} {value:>16}")
    wrong = "README.md has other figures: run tools/env python tools/dev/readme_figures.py"
    return generated.settle(readme, filled, check, wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
