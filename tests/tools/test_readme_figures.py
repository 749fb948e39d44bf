"""README.md has the figures that were measured."""

import json

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
        "cells": [
            {"files": 1000, "ours": 1, "upstream": 2},
            {"files": 10, "ours": 700, "upstream": 70},
        ],
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
        *("7,000 bytes", "5,159 bytes"),
        *("1,000 bytes", "3,008 bytes"),
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
