"""A graph as a picture: boxes in layers, coloured by when they run, as a stand-alone SVG.

The layout is the layered one of Sugiyama, Tagawa & Toda (1981): nodes go to layers by their longest way
from the top, edges over several layers get a bend in each, neighbours are ordered by the barycentre of
what they are joined to, and then drawn towards it. The last step keeps order and distances, which makes
it an isotonic regression, solved exactly by pooling adjacent violators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol
from xml.sax.saxutils import escape

TITLES = {"set-up": "once, at set-up", "volume": "for every volume", "end": "once, at the end"}
#: Fill and stroke of a box, by when the node runs; told apart by people who are colour-blind too.
COLOURS = {"set-up": ("#e8eaf6", "#3949ab"), "volume": ("#e0f2f1", "#00796b"), "end": ("#fff3e0", "#e65100")}

_INK, _FAINT = "#212121", "#757575"
_BOX_HEIGHT, _LAYER_GAP, _GAP, _BEND = 46.0, 44.0, 28.0, 14.0
_MARGIN, _TITLE, _LEGEND = 24.0, 40.0, 44.0
_SWEEPS = 24


class DrawnNode(Protocol):
    """What is drawn of a node; `rtflow.stream.PlannedNode` has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def interface(self) -> str: ...  # noqa: D102
    @property
    def when(self) -> str: ...  # noqa: D102
    @property
    def stage(self) -> int: ...  # noqa: D102
    @property
    def mode(self) -> str: ...  # noqa: D102
    @property
    def on_error(self) -> str: ...  # noqa: D102
    @property
    def deadline(self) -> float | None: ...  # noqa: D102
    @property
    def after(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(eq=False)
class _Place:
    """A box, or (without a node) the bend of an edge in a layer that it only crosses."""

    layer: int
    width: float
    node: DrawnNode | None = None
    above: list[_Place] = field(default_factory=list)
    below: list[_Place] = field(default_factory=list)
    x: float = 0.0

    @property
    def y(self) -> float:
        return _MARGIN + _TITLE + self.layer * (_BOX_HEIGHT + _LAYER_GAP)


def draw(title: str, nodes: Sequence[DrawnNode]) -> str:
    """The SVG of a graph.

    Parameters
    ----------
    title
        What stands above it.
    nodes
        Each after those it takes values from.
    """
    boxes, layers = _layers(nodes)
    _order(layers)
    _spread(layers)
    left = min(place.x - place.width / 2 for layer in layers for place in layer)
    right = max(place.x + place.width / 2 for layer in layers for place in layer)
    for layer in layers:
        for place in layer:
            place.x += _MARGIN - left
    width = max(right - left, 430.0) + 2 * _MARGIN
    bottom = _MARGIN + _TITLE + len(layers) * (_BOX_HEIGHT + _LAYER_GAP) - _LAYER_GAP
    height = bottom + _LEGEND + _MARGIN
    staged = len({node.stage for node in nodes if node.when == "volume"}) > 1
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img" '
            "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\">",
            f"<title>{escape(title)}: which node runs when</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="{_FAINT}"/></marker></defs>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            _text(_MARGIN, _MARGIN + 14, title, size=17, weight=600),
            *(_edge(box, way) for box in boxes for way in _ways(box)),
            *(_box(box, staged) for box in boxes),
            _legend(bottom + _LEGEND),
            "</svg>\n",
        ]
    )


def _layers(nodes: Sequence[DrawnNode]) -> tuple[list[_Place], list[list[_Place]]]:
    """Boxes, and all places (bends too) layer by layer."""
    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.name] = max((depth[name] + 1 for name in node.after), default=0)
    for node in nodes:  # what nothing comes before stands right above what it is for
        followers = [depth[other.name] for other in nodes if node.name in other.after]
        if not node.after and followers:
            depth[node.name] = min(followers) - 1
    boxes = {node.name: _Place(depth[node.name], _box_width(node), node) for node in nodes}
    layers: list[list[_Place]] = [[] for _ in range(max(depth.values()) + 1)]
    for box in boxes.values():
        layers[box.layer].append(box)
    for node in nodes:
        for name in dict.fromkeys(node.after):
            last = boxes[name]
            for layer in range(last.layer + 1, depth[node.name]):
                bend = _Place(layer, _BEND, above=[last])
                last.below.append(bend)
                layers[layer].append(bend)
                last = bend
            last.below.append(boxes[node.name])
            boxes[node.name].above.append(last)
    return list(boxes.values()), layers


def _order(layers: list[list[_Place]]) -> None:
    """Order the places of each layer so that few edges cross."""
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers[1:] if down else layers[-2::-1]:
            beside = {place: at for other in layers for at, place in enumerate(other)}
            centre = {
                place: sum(beside[other] for other in joined) / len(joined)
                for place in layer
                if (joined := place.above if down else place.below)
            }
            layer.sort(key=lambda place: centre.get(place, beside[place]))
        if (crossings := _crossings(layers)) < fewest:
            fewest, best = crossings, [list(layer) for layer in layers]
    layers[:] = best


def _crossings(layers: list[list[_Place]]) -> int:
    count = 0
    for above, below in pairwise(layers):
        at = {place: number for number, place in enumerate(below)}
        ends = [at[other] for place in above for other in sorted(place.below, key=at.__getitem__)]
        count += sum(one > other for number, one in enumerate(ends) for other in ends[number + 1 :])
    return count


def _spread(layers: list[list[_Place]]) -> None:
    """Give every place its x: near what it is joined to, in order, without overlap."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = []
            for place in layer:
                joined = place.above + place.below
                # A bend between two bends pulls harder, so that long edges run straight.
                pull = [3.0 if other.node is None and place.node is None else 1.0 for other in joined]
                total = sum(weight * other.x for weight, other in zip(pull, joined, strict=True))
                wanted.append(total / sum(pull) if joined else place.x)
            _settle(layer, wanted)


def _settle(layer: list[_Place], wanted: list[float]) -> None:
    """Bring places as near to where they want to be as order and distances allow (least squares)."""
    offsets = [0.0]
    for one, other in pairwise(layer):
        offsets.append(offsets[-1] + (one.width + other.width) / 2 + _GAP)
    pools: list[tuple[float, int]] = []  # mean, and number of places in it
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        pools.append((mean, count))
    settled = [mean for mean, count in pools for _ in range(count)]
    for place, base, offset in zip(layer, settled, offsets, strict=True):
        place.x = base + offset


def _ways(box: _Place) -> list[list[_Place]]:
    """The edges that leave a box: each with its bends and the box that it comes to."""
    ways = []
    for first in box.below:
        way = [first]
        while way[-1].node is None:
            way.append(way[-1].below[0])
        ways.append(way)
    return ways


def _edge(start: _Place, way: list[_Place]) -> str:
    x, y = start.x, start.y + _BOX_HEIGHT
    path = [f"M{x:.1f} {y:.1f}"]
    for place in way:
        end = place.y - (1 if place.node is not None else 0)
        half = (y + end) / 2
        path.append(f"C{x:.1f} {half:.1f} {place.x:.1f} {half:.1f} {place.x:.1f} {end:.1f}")
        x, y = place.x, place.y + _BOX_HEIGHT
        if place.node is None:
            path.append(f"L{x:.1f} {y:.1f}")
    line = f'fill="none" stroke="{_FAINT}" stroke-width="1.3" marker-end="url(#tip)"'
    return f'<path d="{" ".join(path)}" {line}/>'


def _box(box: _Place, staged: bool) -> str:
    assert box.node is not None
    fill, stroke = COLOURS[box.node.when]
    left = box.x - box.width / 2
    return "\n".join(
        [
            f'<g><rect x="{left:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{_BOX_HEIGHT}" rx="7" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="1.4"/>',
            _text(box.x, box.y + 20, box.node.name, size=13.5, weight=600, anchor="middle"),
            _text(box.x, box.y + 36, _second_line(box.node, staged), size=11, fill=_FAINT, anchor="middle"),
            "</g>",
        ]
    )


def _second_line(node: DrawnNode, staged: bool = True) -> str:
    """Interface, and the options that are not at their defaults."""
    said = [node.interface]
    if node.when == "volume":
        said += [f"stage {node.stage}"] if staged else []
        said += [node.mode] if node.mode != "thread" else []
        said += [f"on error {node.on_error}"] if node.on_error != "fail" else []
        said += [f"within {node.deadline:g} s"] if node.deadline is not None else []
    return " · ".join(said)


def _box_width(node: DrawnNode) -> float:
    """Wide enough for both lines; letters of a proportional face are about 0.6 of its size."""
    return max(110.0, 24 + 8.3 * len(node.name), 24 + 6.2 * len(_second_line(node)))


def _legend(y: float) -> str:
    said = []
    x = _MARGIN
    for when, title in TITLES.items():
        fill, stroke = COLOURS[when]
        said.append(
            f'<rect x="{x:.0f}" y="{y - 11:.0f}" width="18" height="14" rx="3" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )
        said.append(_text(x + 25, y, title, size=12))
        x += 46 + 6.7 * len(title)
    return "\n".join(said)


def _text(
    x: float, y: float, text: str, *, size: float, weight: int = 400, fill: str = _INK, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
