"""The picture of a graph: complete, in order, without overlap."""

import re
from dataclasses import dataclass
from itertools import combinations
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from rtflow.drawing import COLOURS, TITLES, draw

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Drawn:
    name: str
    interface: str = "Function"
    when: str = "volume"
    stage: int = 0
    mode: str = "thread"
    on_error: str = "fail"
    deadline: float | None = None
    after: tuple[str, ...] = ()


@dataclass
class Box:
    left: float
    top: float
    width: float
    height: float
    fill: str

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def bottom(self) -> float:
        return self.top + self.height


class Picture:
    """An SVG, read back."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        self.boxes: dict[str, Box] = {}
        self.lines: dict[str, str] = {}
        for group in self.root.iter(f"{SVG}g"):
            rect = group.find(f"{SVG}rect")
            name, second = (text.text for text in group.findall(f"{SVG}text"))
            assert rect is not None
            self.boxes[name] = Box(
                *(float(rect.get(key)) for key in ("x", "y", "width", "height")), rect.get("fill")
            )
            self.lines[name] = second
        paths = [path.get("d") for path in self.root.findall(f"{SVG}path")]
        numbers = [[float(number) for number in re.findall(r"-?\d+\.?\d*", path)] for path in paths]
        self.edges = {(self._at(*path[:2]), self._at(*path[-2:])) for path in numbers}
        self.edge_count = len(paths)

    def _at(self, x: float, y: float) -> str:
        """The box whose upper or lower edge an arrow begins or ends at."""
        near = [
            name
            for name, box in self.boxes.items()
            if abs(box.middle - x) < 0.2 and min(abs(box.top - y), abs(box.bottom - y)) < 1.5
        ]
        assert len(near) == 1, (x, y, near)
        return near[0]


@st.composite
def graphs(draw_: st.DrawFn) -> list[Drawn]:
    """Any graph without circles, each node after those that it takes values from."""
    count = draw_(st.integers(1, 12))
    nodes = []
    for number in range(count):
        after = draw_(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        nodes.append(
            Drawn(
                f"n{number}" * draw_(st.integers(1, 6)),
                when=draw_(st.sampled_from(list(TITLES))),
                after=tuple(nodes[other].name for other in sorted(after)),
            )
        )
    return nodes


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_every_box_and_every_arrow_is_there_and_nothing_overlaps(nodes: list[Drawn]) -> None:
    picture = Picture(draw("any", nodes))
    assert set(picture.boxes) == {node.name for node in nodes}
    wanted = {(name, node.name) for node in nodes for name in node.after}
    assert picture.edges == wanted
    assert picture.edge_count == len(wanted)
    for one, other in wanted:
        assert picture.boxes[one].bottom < picture.boxes[other].top
    for one, other in combinations(picture.boxes.values(), 2):
        beside = one.left + one.width <= other.left or other.left + other.width <= one.left
        assert beside or one.bottom < other.top or other.bottom < one.top
    width, height = (float(picture.root.get(key)) for key in ("width", "height"))
    assert all(box.left >= 0 and box.left + box.width <= width for box in picture.boxes.values())
    assert all(box.top >= 0 and box.bottom <= height for box in picture.boxes.values())


def test_boxes_are_coloured_by_when_they_run_and_the_legend_says_so() -> None:
    nodes = [Drawn("a", when="set-up"), Drawn("b", after=("a",)), Drawn("c", when="end", after=("b",))]
    svg = draw("title", nodes)
    boxes = Picture(svg).boxes
    assert [boxes[name].fill for name in "abc"] == [COLOURS[when][0] for when in ("set-up", "volume", "end")]
    for title in ("title", *TITLES.values()):
        assert f">{title}</text>" in svg


def test_options_that_are_not_the_usual_ones_are_said() -> None:
    nodes = [Drawn("a"), Drawn("b", after=("a",), stage=1, mode="process", on_error="last", deadline=0.5)]
    lines = Picture(draw("t", nodes)).lines
    assert lines == {
        "a": "Function · stage 0",
        "b": "Function · stage 1 · process · on error last · within 0.5 s",
    }
    assert Picture(draw("t", nodes[:1])).lines == {"a": "Function"}


def test_names_are_text() -> None:
    assert set(Picture(draw("<&>", [Drawn("a & <b>")])).boxes) == {"a & <b>"}


def test_a_graph_that_can_be_drawn_without_crossings_is() -> None:
    # Two chains, named so that alphabetical or given order would cross them.
    nodes = [
        *(Drawn("s"), Drawn("x1", after=("s",)), Drawn("y1", after=("s",))),
        *(
            Drawn("y2", after=("y1",)),
            Drawn("x2", after=("x1",)),
            Drawn("x3", after=("x2",)),
            Drawn("y3", after=("y2",)),
        ),
    ]
    boxes = Picture(draw("t", nodes)).boxes
    assert len({boxes[f"x{n}"].left < boxes[f"y{n}"].left for n in (1, 2, 3)}) == 1


def test_what_nothing_comes_before_stands_right_above_its_use() -> None:
    nodes = [
        Drawn("mask", when="set-up"),
        Drawn("s"),
        Drawn("a", after=("s",)),
        Drawn("b", after=("a", "mask")),
    ]
    boxes = Picture(draw("t", nodes)).boxes
    assert boxes["mask"].top == boxes["a"].top
