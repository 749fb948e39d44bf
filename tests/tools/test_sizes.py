"""docs/sizes.md has what builds take that do without something; limits are kept."""

import json
import os
import re

import bench_report
import pytest
import size
import sizes_page


def test_the_page_is_up_to_date():
    """docs/sizes.md is what the program writes for the modules as they are."""
    assert sizes_page.PAGE.read_text(encoding="utf-8") == sizes_page.page()


def test_the_menu():
    """There is a row for each switch, with what the source says of it, and one for both builds."""
    first, *rows, last = sizes_page.menu()
    assert {name: says for name, says, *_ in rows} == size.switches()
    assert 8 < len(rows) < 13
    assert (first[0], last[0]) == ("whole", "`all`")
    assert all(cell[0] == "\N{MINUS SIGN}" or cell == "0" for row in rows for cell in row[2:])
    assert all(row[2] != "0" for row in rows)


@pytest.mark.skipif("MICROPYTHON" in os.environ, reason="RAM is that of the pinned interpreter")
@pytest.mark.parametrize("without", ["", "all"])
def test_the_ram_on_the_page_is_not_stale(tmp_path, without):
    """What is kept of a build is what was measured, within a hundredth."""
    measured = json.loads(sizes_page.MEASURED.read_text(encoding="utf-8"))["builds"]["rows"]
    (loaded,) = [row["loaded"] for row in measured if row["without"] == without]
    size.compile_modules(tmp_path, without=without)
    assert abs(size.kept(tmp_path) - loaded) < loaded / 100, "./tools/bench --only builds"


def test_above_and_below_a_budget():
    """The page says how far a size is from a budget, and on which side."""
    assert sizes_page.distance(17000, 16384) == "616 bytes over"
    assert sizes_page.distance(15000, 16384) == "1,384 bytes below"


# A session of a board that is not online.
OFFLINE = """
import mip

class Session:
    def get(self, url):
        raise OSError(-2)

"""


@pytest.mark.parametrize("without", ["retries", "retries advice"])
def test_an_error_with_and_without_advice(device, tmp_path, without):
    """The page shows what an error says in both builds."""
    size.compile_modules(tmp_path / "build", without=without)
    code = OFFLINE + "mip.install('github:ORG/REPO', session=Session())"
    error = device.run(code, path=tmp_path / "build").lines[-1]
    shown = sizes_page.TEXT.replace("\n  ", " ")
    ((short, long),) = re.findall(r"`(\S+ OSError \S+)` in place of `([^`]+)`", shown)
    if "advice" not in without:
        short = long.replace("https://...", short.split(": ")[0])
    assert error == f"InstallError: {short}"


# --- tools/dev/size.py ---


def test_the_limits_are_the_sizes(tmp_path):
    """The limit of each module is what it has today, to the byte."""
    limits = {name: limit for name, limit, _, _ in size.BUDGETS}
    written = size.compile_modules(tmp_path)
    assert limits == {
        path.relative_to(tmp_path).with_suffix(".py").as_posix(): path.stat().st_size
        for path in written
    }


def test_the_budgets():
    """Budgets and aims are the project's, and those that the benchmark reports against."""
    budgets = {name: (budget, aim) for name, _, budget, aim in size.BUDGETS}
    assert budgets == {"mip/__init__.py": (16384, 14336), "mip/__main__.py": (2800, 2400)}
    assert list(budgets.values()) == list(bench_report.SIZE_BUDGETS.values())


@pytest.mark.parametrize(("spare", "status"), [(0, 0), (-1, 1)])
def test_a_module_over_its_limit(monkeypatch, capsys, spare, status):
    """A module at its limit passes; one that is a byte larger does not, and is named."""
    (library, limit, *rest), command_line = size.BUDGETS
    monkeypatch.setattr(size, "BUDGETS", ((library, limit + spare, *rest), command_line))
    assert size.limits() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(library)
    assert lines[1].endswith("over its limit by 1") == bool(status)
    assert "over" not in lines[2]
