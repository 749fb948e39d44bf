"""README.md has the figures that were measured."""

import json
import re

import pytest
import readme_figures
from folders import ROOT
from readme_figures import FigureError, fill, seconds


def case(title, rtt, ours, upstream):
    """A cell of bench.json: what one install took, in milliseconds."""
    sides = {"ours": (ours, 1), "upstream": (upstream, 51)}
    return {"title": title, "rtt_ms": rtt} | {
        side: {"median_ms": ms, "connections": connections}
        for side, (ms, connections) in sides.items()
    }


def flash(title, file_system, step, ours, upstream):
    """A cell of bench.json: milliseconds of the model, and as many erases."""
    sides = {"ours": ours, "upstream": upstream}
    found = {side: {"ms": ms, "erases": ms} for side, ms in sides.items()}
    return {"title": title, "file_system": file_system, "step": step, **found}


def sides(**values):
    """The same values for ours, and a tenth of each for upstream's."""
    return {
        "ours": values,
        "upstream": {key: value and value // 10 for key, value in values.items()},
    }


FOUND = {
    "time": {
        "cells": [
            case("50 files", 0, 1, 2),
            case("50 files", 50, 612.3, 10943.2),
            case("50 files, nothing changed", 50, 251, 400),
            case("1 file of 1 MiB", 0, 2000, 6004),
        ]
    },
    "heap": {
        "cells": [
            {"files": 10, "scheme": "http", "ours": 1, "upstream": 1},
            {"files": 10, "scheme": "https", "ours": 5248, "upstream": 5888},
            {"files": 1000, "scheme": "https", "ours": 5312, "upstream": 262144},
        ]
    },
    "wasm": {
        "rows": [
            {
                "loaded": loaded,
                "ours": {"kept": 1000 * n, "few": 2000 * n, "many": 3000 * n},
                "upstream": {"kept": 100 * n, "few": 200 * n, "many": 300 * n},
            }
            for n, loaded in ((9, "source"), (1, ".mpy"))
        ],
        "small": {"kept": 4, "few": 5, "many": 6},
        "cells": [
            {"files": 1000, "ours": 1, "upstream": 2},
            {"files": 10, "ours": 700, "upstream": 70},
        ],
    },
    "ram": {
        "rows": [
            {"loaded": ".mpy", **sides(kept=4000, install=5000)},
            {"loaded": "frozen", **sides(kept=6000, install=7000)},
        ]
    },
    "flash": {
        "cells": [
            flash("50 files in 5 directories", "littlefs", "install", 4500, 3200),
            flash("50 files in 5 directories", "littlefs", "again", 500, 80),
            flash("50 files in 5 directories", "littlefs", "upgrade", 6500, 3000),
            flash("50 files in 5 directories", "FAT", "install", 23700, 14600),
            flash("1 file beside 20 packages with 200 files", "littlefs", "install", 900, 101),
            flash("1 file beside 1 package with 10 files", "littlefs", "install", 200, 100),
        ]
    },
    "instructions": sides(fresh=70_000_000, again=40_000_000),
    "growth": {"ms": {"ours": {"ratio": 10.32}, "upstream": {"ratio": 10.2}}},
    "peers": {
        "cells": [
            {"rtt_ms": 0, "median_ms": {}},
            {
                "rtt_ms": 50,
                "median_ms": {"ours": 650, "upstream": 11000, "mpremote": 9300, "curl": 2900},
            },
        ]
    },
    "builds": {
        "rows": [
            {"without": "all", "bytes": 9, "frozen": {"kept": 1, "install": 2, "flash": 3}},
            {"without": "", "frozen": {"kept": 5100, "install": 10500, "flash": 46000}},
        ]
    },
    "size": {
        "ours": {"library": 7000, "command_line": 1000},
        "upstream": {"library": 5159, "command_line": 3008},
    },
}


def test_the_figures():
    """Each figure is the one of its case, with its unit."""
    found = readme_figures.figures(FOUND)
    assert list(found.values()) == [
        *("0.61 s", "11 s"),
        *("0.25 s", "0.40 s"),
        *("2.0 s", "6.0 s"),
        *("1", "51"),
        *("5,248 bytes", "5,888 bytes"),
        *("5,312 bytes", "262,144 bytes"),
        *("1,000 bytes", "100 bytes"),
        *("9,000 bytes", "900 bytes"),
        *("700 bytes", "70 bytes"),
        *("2,000 bytes", "200 bytes"),
        *("3,000 bytes", "300 bytes"),
        *("18,000 bytes", "1,800 bytes"),
        *("5,000 bytes", "500 bytes"),
        *("7,000 bytes", "700 bytes"),
        *("6,000 bytes", "600 bytes"),
        *("4.5 s", "3.2 s"),
        *("0.50 s", "0.080 s"),
        *("6.5 s", "3.0 s"),
        *("24 s", "15 s"),
        *("4500", "3200"),
        *("4.5 times", "1.0 times"),
        *("10.3 times", "10.2 times"),
        *("70 million", "7 million"),
        *("40 million", "4 million"),
        *("7,000 bytes", "5,159 bytes"),
        *("1,000 bytes", "3,008 bytes"),
        *("0.65 s", "11 s", "9.3 s", "2.9 s"),
        *("5,100 bytes", "10,500 bytes", "46,000 bytes"),
        *("1 bytes", "2 bytes", "3 bytes"),
        *("4 bytes", "5 bytes", "9 bytes"),
    ]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(9.96, "0.010 s"), (99.9, "0.10 s"), (9940, "9.9 s"), (10e3, "10 s")],
)
def test_two_digits(milliseconds, text):
    """A time has two significant digits, as long as it has no more before the point."""
    assert seconds(milliseconds) == text


def test_what_was_not_measured():
    """A case that is missing in bench.json is named."""
    with pytest.raises(FigureError, match="50 files, 50 ms"):
        readme_figures.figures({**FOUND, "time": {"cells": []}})
    for nothing in ({"missing": "no node"}, {"rows": []}):
        with pytest.raises(FigureError, match="32 bits for ours, .mpy"):
            readme_figures.figures({**FOUND, "wasm": nothing})
    with pytest.raises(FigureError, match="32 bits for an install"):
        readme_figures.figures({**FOUND, "wasm": {**FOUND["wasm"], "cells": []}})
    with pytest.raises(FigureError, match="64 bits for ours, .mpy"):
        readme_figures.figures({**FOUND, "ram": {"rows": []}})
    with pytest.raises(FigureError, match="no flash was measured for 50 files"):
        readme_figures.figures({**FOUND, "flash": {"cells": []}})
    with pytest.raises(FigureError, match="ours was not timed at 50 ms"):
        readme_figures.figures({**FOUND, "peers": {"cells": []}})
    with pytest.raises(FigureError, match="of a mip that is frozen in"):
        readme_figures.figures({**FOUND, "builds": {"rows": [{"without": "", "frozen": None}]}})


def test_other_names():
    """A name that is only in README.md, or only in the table, is an error."""
    text = "| <!-- bench:a --><!-- /bench --> | <!-- bench:b -->1<!-- /bench --> |"
    assert fill(text, {"a": "2", "b": "3"}) == text.replace("--><!--", "-->2<!--").replace(
        "1", "3"
    )
    for names in "a", "abc":
        with pytest.raises(FigureError, match="[bc]$"):
            fill(text, dict.fromkeys(names, "1"))


@pytest.fixture
def place(tmp_path):
    """A directory with the README.md of the repository, and these figures."""
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bench.json").write_text(json.dumps(FOUND))
    return tmp_path


def test_it_writes(place):
    """It fills in what --check missed, and the figures alone."""
    before = (place / "README.md").read_text()
    assert readme_figures.main(["--check"], place) == 1
    assert (place / "README.md").read_text() == before
    assert readme_figures.main([], place) == 0
    after = (place / "README.md").read_text()
    assert "<!-- bench:heap-many-upstream -->262,144 bytes<!-- /bench -->" in after
    assert readme_figures.FIGURE.sub("", after) == readme_figures.FIGURE.sub("", before)
    assert readme_figures.main(["--check"], place) == 0


def test_no_measurement(place, capsys):
    """Without bench.json there is an error, and README.md stays."""
    (place / "docs" / "bench.json").unlink()
    before = (place / "README.md").read_text()
    assert readme_figures.main([], place) == 1
    assert "bench.json" in capsys.readouterr().err
    assert (place / "README.md").read_text() == before


def test_the_readme():
    """README.md has the figures of docs/bench.json."""
    assert readme_figures.main(["--check"]) == 0


def test_the_size_of_the_source():
    """What README says of the source is what it has, within 5 %."""
    (said,) = re.findall(r"about (\d+) KB \|", (ROOT / "README.md").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in (ROOT / "mip").glob("*.py"))
    assert int(said) * 1000 == pytest.approx(size, rel=0.05)
