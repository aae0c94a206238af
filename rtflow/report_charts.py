"""Charts over volumes, as SVG within a page of HTML; its style has the colours, dark or light."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 960.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 20.0, 18.0, 24.0
COLOURS, SHADES = 8, 5
"""Numbers of classes ``c0`` ... of lines, and ``b0`` ... of blocks, that a page has colours for."""

_MOST = 1600
"""Points of a line; of more volumes, the least and the largest of each few are drawn."""
_LETTER = 6.4
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Block:
    """A time of the design, from which place to which among volumes: 1.5 lies between 1 and 2."""

    label: str
    first: float
    last: float


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Parameters
    ----------
    title, unit
        Above it.
    lines
        Name to the values of volumes; what a volume does not have is a gap.
    limits
        Where lines are drawn across, and what they are.
    crosses
        Values of volumes that are marked by a cross.
    zero
        Whether the axis begins at 0.
    between
        Lowest and highest value of the axis; default what there is.
    """

    title: str
    unit: str
    lines: Mapping[str, Mapping[int, float]]
    limits: Sequence[tuple[float, str]] = ()
    crosses: Mapping[int, float] = field(default_factory=dict)
    zero: bool = False
    between: tuple[float, float] | None = None


def escaped(value: object) -> str:
    """Text for a page of HTML, in elements and attributes; what no page may hold is replaced.

    >>> escaped('<b title="x">\\x00')
    '&lt;b title=&quot;x&quot;&gt;�'
    """
    return html.escape(_CONTROL.sub("\ufffd", str(value)))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two others, at most so many.

    >>> ticks(-0.3, 1.1)
    [0.0, 0.5, 1.0]
    """
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(times for times in (1, 2, 5, 10, 20) if (high - low) / (step * times) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def blocks_of(blocks: Iterable[Block], volumes: tuple[int, int]) -> str:
    """The blocks that every chart of a page has behind its lines: an SVG that is not seen itself."""
    across, made = _Across(volumes), []
    found = list(blocks)
    shade = {label: number % SHADES for number, label in enumerate(dict.fromkeys(one.label for one in found))}
    height = HEIGHT - TOP - BOTTOM
    room = {
        one.label: across(one.last) - across(one.first)
        for one in sorted(found, key=lambda one: one.last - one.first)
    }
    named = all(width > _LETTER * len(label) for label, width in room.items())  # all of them, or none
    for one in found:
        x, width = across(one.first), across(one.last) - across(one.first)
        made.append(
            f'<rect class="b{shade[one.label]}" x="{x:.1f}" y="{TOP:g}" '
            f'width="{max(width, 0.1):.1f}" height="{height:g}"/>'
        )
        if named and width > _LETTER * len(one.label):
            made.append(
                f'<text class="in" x="{x + width / 2:.1f}" y="{TOP - 5:g}">{escaped(one.label)}</text>'
            )
    return f'<svg class="unseen" aria-hidden="true"><defs><g id="blocks">{"".join(made)}</g></defs></svg>'


def key_of(names: Iterable[str], kind: str) -> str:
    """What each colour is: of lines (``c``) or of blocks (``b``)."""
    shape = (
        '<rect width="22" height="10" y="1" class="b{}"/>'
        if kind == "b"
        else '<path d="M0 6h22" class="l c{}"/>'
    )
    count = SHADES if kind == "b" else COLOURS
    return "".join(_key(shape.format(number % count), name) for number, name in enumerate(names))


def _key(shape: str, name: str) -> str:
    svg = f'<svg width="22" height="12" aria-hidden="true">{shape}</svg>'
    return f'<span class="key">{svg}{escaped(name)}</span>'


def draw(chart: Chart, volumes: tuple[int, int]) -> str:
    """A figure of HTML with a chart; behind its lines are the blocks that `blocks_of` puts into the page.

    Parameters
    ----------
    chart
        What is drawn.
    volumes
        The first and the last volume of the axis.
    """
    low, high = _range(chart)
    across = _Across(volumes)

    def up(value: float) -> float:
        inside = HEIGHT - TOP - BOTTOM
        return TOP + (high - min(max(value, low), high)) / (high - low) * inside

    made = ['<use href="#blocks"/>']
    for value in ticks(low, high):
        made.append(f'<path class="grid" d="M{LEFT:g} {up(value):.1f}H{WIDTH - RIGHT:g}"/>')
        made.append(f'<text class="y" x="{LEFT - 6:g}" y="{up(value) + 4:.1f}">{value:.12g}</text>')
    for value in ticks(volumes[0] - 0.5, volumes[1] + 0.5, 12):
        if value == round(value) and volumes[0] <= value <= volumes[1]:
            x = across(value)
            made.append(f'<path class="grid" d="M{x:.1f} {HEIGHT - BOTTOM:g}v4"/>')
            made.append(f'<text class="x" x="{x:.1f}" y="{HEIGHT - 7:g}">{value:g}</text>')
    inside = [(value, words) for value, words in chart.limits if low <= value <= high]
    made += [f'<path class="limit" d="M{LEFT:g} {up(value):.1f}H{WIDTH - RIGHT:g}"/>' for value, _ in inside]
    for number, values in enumerate(chart.lines.values()):
        way = "".join(
            ("L" if joined else "M") + f"{across(x):.1f} {up(y):.1f}" + ("" if joined else "h0")
            for x, y, joined in _points(values)
        )
        made.append(f'<path class="l c{number % COLOURS}" d="{way}"/>')
    if chart.crosses:
        way = "".join(
            f"M{across(x) - 3:.1f} {up(y) - 3:.1f}l6 6m0 -6l-6 6" for x, y in sorted(chart.crosses.items())
        )
        made.append(f'<path class="cross" d="{way}"/>')
    key = key_of(chart.lines, "c") if len(chart.lines) > 1 else ""
    key += _key('<path d="M6 3l6 6m0-6l-6 6" class="cross"/>', "doubted") if chart.crosses else ""
    key += "".join(_key('<path d="M0 6h22" class="limit"/>', words) for _, words in inside)
    for value, words in chart.limits:
        if (value, words) not in inside:
            key += f'<span class="unit">{escaped(words)} lies {"above" if value > high else "below"}</span>'
    unit = f' <span class="unit">{escaped(chart.unit)}</span>' if chart.unit else ""
    return (
        f"<figure><figcaption><b>{escaped(chart.title)}</b>{unit}{key}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{escaped(chart.title)}">'
        f"{''.join(made)}</svg></figure>\n"
    )


class _Across:
    """Where a volume lies; each is as wide as any other."""

    def __init__(self, volumes: tuple[int, int]) -> None:
        self._first, self._count = volumes[0] - 0.5, volumes[1] - volumes[0] + 1

    def __call__(self, volume: float) -> float:
        return LEFT + (volume - self._first) / self._count * (WIDTH - LEFT - RIGHT)


def _range(chart: Chart) -> tuple[float, float]:
    """Lowest and highest value of the axis, with a little room; limits far off do not flatten the lines."""
    if chart.between is not None and chart.between[0] < chart.between[1]:
        return chart.between
    found = [value for values in chart.lines.values() for value in values.values()]
    low, high = min(found, default=0.0), max(found, default=0.0)
    if chart.zero:
        low = min(low, 0.0)
    size = max(abs(low), abs(high))
    near = [value for value, _ in chart.limits if abs(value) < 2 * size]
    low, high = min([low, *near]), max([high, *near])
    room = (high - low) * 0.06 or max(size * 0.05, 1e-9) if size else 1.0
    return (0.0 if chart.zero and low == 0.0 else low - room), high + room


def _points(values: Mapping[int, float]) -> list[tuple[float, float, bool]]:
    """Places of a line, and whether each is joined to the one before; the envelope of a long one."""
    ordered = sorted(values.items())
    if len(ordered) <= _MOST:
        before = [None, *(volume for volume, _ in ordered)]
        return [(x, y, x - 1 == last) for (x, y), last in zip(ordered, before, strict=False)]
    first, last = ordered[0][0], ordered[-1][0]
    wide = max(2.0, (last - first + 1) / (_MOST / 2))
    bins: dict[int, list[tuple[int, float]]] = {}
    for volume, value in ordered:
        bins.setdefault(int((volume - first) / wide), []).append((volume, value))
    made: list[tuple[float, float, bool]] = []
    for number, some in bins.items():
        ends = {min(some, key=lambda one: one[1]), max(some, key=lambda one: one[1])}
        for at, (x, y) in enumerate(sorted(ends)):
            made.append((x, y, at > 0 or number - 1 in bins))
    return made
