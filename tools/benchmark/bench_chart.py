"""Draws a line chart as SVG, for a page that is light or dark."""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 420
# The sides of the area that the curves are in.
LEFT, TOP, RIGHT, BOTTOM = 84, 76, 608, 356

# A page in a dark mode is known by the same question that the page itself asks. Colours are
# told apart by those who see no red or green, and the marks differ, too.
STYLE = """
    text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
    text { fill: #1f2328 }
    .title { font-size: 17px; font-weight: 600 }
    .small { font-size: 13px; fill: #59636e }
    .paper { fill: #ffffff }
    .grid { stroke: #d1d9e0; stroke-width: 1 }
    .first { stroke: #0550ae; fill: #0550ae }
    .second { stroke: #bc4c00; fill: #bc4c00 }
    .line { fill: none; stroke-width: 2.5 }
    text.first, text.second { stroke: none; font-weight: 600 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .paper { fill: #0d1117 }
      .grid { stroke: #3d444d }
      .first { stroke: #58a6ff; fill: #58a6ff }
      .second { stroke: #f0883e; fill: #f0883e }
      .line { fill: none }
    }
"""


@dataclass(frozen=True)
class Series:
    """A curve: its name, and its points as a list of (x, y), both above 0, in the order of x."""

    name: str
    points: list


class Scale:
    """A logarithmic axis: at(value) is where a value is, between `start` and `end`."""

    def __init__(self, low, high, start, end):
        self._low = math.log(low)
        self._span = (math.log(high) - self._low) or 1
        self._start = start
        self._length = end - start

    def at(self, value):
        """Return the place of a value, rounded to a tenth."""
        part = (math.log(value) - self._low) / self._span
        return round(self._start + part * self._length, 1)


def ticks(low, high):
    """Return the numbers 1, 2 and 5 of each decade that span low to high, or 1 alone of many."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    numbers = [step * 10.0**decade for decade in decades for step in steps]
    first = max(number for number in numbers if number <= low)
    last = min((number for number in numbers if number >= high), default=numbers[-1] * 10)
    return [number for number in numbers if first <= number <= last] or [first, last]


def _mark(number, x, y):
    """A point of the first or the second curve."""
    if number == 0:
        return f'<circle class="first" cx="{x}" cy="{y}" r="4.5"/>'
    return f'<rect class="second" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'


def draw(title, note, x_title, series, unit):
    """Return a chart as the text of an SVG file.

    title, note: two lines above it.  x_title: what the x axis is.  series: two Series with the
    same x values.  unit: that of the y values.  Both axes are logarithmic.
    """
    xs = [x for x, _ in series[0].points]
    ys = [y for one in series for _, y in one.points]
    levels = ticks(min(ys), max(ys))
    across = Scale(xs[0], xs[-1], LEFT + 16, RIGHT - 16)
    up = Scale(levels[0], levels[-1], BOTTOM, TOP)
    parts = [
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text class="title" x="20" y="28">{escape(title)}</text>',
        f'<text class="small" x="20" y="48">{escape(note)}</text>',
    ]
    for level in levels:
        y = up.at(level)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{RIGHT}"/>')
        parts.append(
            f'<text class="small" text-anchor="end" x="{LEFT - 8}" y="{y + 4:.1f}">'
            f"{level:,g} {unit}</text>"
        )
    for x in xs:
        parts.append(
            f'<text class="small" text-anchor="middle" x="{across.at(x)}" y="{BOTTOM + 20}">'
            f"{x:,}</text>"
        )
    middle = (LEFT + RIGHT) / 2
    parts.append(
        f'<text text-anchor="middle" x="{middle:g}" y="{BOTTOM + 44}">{escape(x_title)}</text>'
    )
    ends = []
    for number, one in enumerate(series):
        kind = ("first", "second")[number]
        places = [(across.at(x), up.at(y)) for x, y in one.points]
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        parts.append(f'<path class="line {kind}" d="{path}"/>')
        parts += [_mark(number, x, y) for x, y in places]
        ends.append([places[-1][1], kind, one])
    # The names stand at the ends of the curves, and not one on the other.
    ends.sort(key=lambda end: end[0])
    ends[1][0] = max(ends[1][0], ends[0][0] + 40)
    for y, kind, one in ends:
        for line, text in ((0, one.name), (18, f"{one.points[-1][1]:.3g} {unit}")):
            place = f'x="{RIGHT + 4}" y="{y + line:.1f}"'
            parts.append(f'<text class="{kind}" {place}>{escape(text)}</text>')
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">\n'
        f"  <title>{escape(title)}</title>\n  <style>{STYLE}  </style>\n  {body}\n</svg>\n"
    )
