"""docs/sizes.md has what the features cost, measured by leaving them out; limits are kept."""

import ast
from collections import Counter

import bench_report
import feature_sizes
import pytest
import size

PROGRAM = """
LIMIT = 3


def kept(a):
    return a


class Shape:
    def area(self):
        return "the area of a shape that is left out"

    def name(self):
        return kept(LIMIT)
"""


def test_the_page_is_up_to_date():
    """docs/sizes.md is what the program writes for the modules as they are."""
    assert feature_sizes.PAGE.read_text(encoding="utf-8") == feature_sizes.page()


def test_what_is_left_out_is_not_compiled():
    """Without a method the program is smaller by what the method is, and still a program."""
    left = feature_sizes.without(PROGRAM, ["Shape.area"])
    assert "area" not in left
    assert "def name" in left
    whole, rest = feature_sizes.compiled_size(PROGRAM), feature_sizes.compiled_size(left)
    assert whole - rest > len("the area of a shape that is left out")


def test_a_constant_is_left_out():
    """A constant can be left out, too."""
    assert "LIMIT = 3" not in feature_sizes.without(PROGRAM, ["LIMIT"])


def test_a_feature_that_is_not_there():
    """A name in the table that the module does not have is an error."""
    with pytest.raises(ValueError, match="no Shape.none, none"):
        feature_sizes.without(PROGRAM, ["Shape.none", "none", "kept"])


def functions():
    """The functions of mip that the table can name, with those of its larger classes."""
    found = set()
    for node in ast.parse((feature_sizes.ROOT / feature_sizes.MODULE).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name in ("Session", "_Store"):
            parts = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found |= {f"{node.name}.{part.name}" for part in parts}
    return found


def test_every_function_is_in_one_row():
    """Each function is a part of one feature; what the store begins with is shared."""
    named = Counter(" ".join(feature_sizes.FEATURES.values()).split())
    assert [name for name, count in named.items() if count > 1] == []
    assert functions() - set(named) == {"_Store.__init__"}


def test_what_is_summed_up():
    """The text below the table sums up rows of the table, each once."""
    parts = [part for parts in feature_sizes.SUMS.values() for part in parts]
    assert len(parts) == len(set(parts))
    assert set(parts) <= set(feature_sizes.FEATURES)


def test_above_and_below_a_budget():
    """The page says how far a size is from a budget, and on which side."""
    assert feature_sizes.distance(17000, 16384) == "616 bytes over"
    assert feature_sizes.distance(15000, 16384) == "1,384 bytes below"


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
    assert size.main() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(library)
    assert lines[1].endswith("over its limit by 1") == bool(status)
    assert "over" not in lines[2]
