"""docs/sizes.md has what the features cost, measured by leaving them out."""

import feature_sizes
import pytest

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
