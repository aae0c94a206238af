"""A report of a run, read back: its text, its tables, and what its charts show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html.parser import HTMLParser

_EMPTY = {"meta", "path", "rect", "use"}  # of SVG, those that end themselves
_PLACE = re.compile(r"([ML])([-\d.]+) ([-\d.]+)")


class Page(HTMLParser):
    """A report, read back: its text, its tables, its figures; each element must be ended in its turn."""

    def __init__(self, body: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[tuple[str, str]] = []
        self.figures: dict[str, list[tuple[str, dict[str, str | None], list[str]]]] = {}
        self._open: list[str] = []
        self._elements: list[tuple[str, dict[str, str | None], list[str]]] | None = None
        self.source = body.decode()
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "figure":
            self._elements = []
        if self._elements is not None:
            self._elements.append((tag, dict(attrs), []))
            if tag == "svg" and (name := dict(attrs).get("aria-label")):
                self.figures[name] = self._elements
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _EMPTY
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "figure":
            self._elements = None

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))
        if self._elements:
            self._elements[-1][2].append(data)

    def rows(self) -> list[list[str]]:
        """Cells of all rows of all tables."""
        rows = re.findall(r"<tr>(.*?)</tr>", self.source, re.DOTALL)
        return [[Cell(one).text for one in re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)] for row in rows]

    def row(self, first: str) -> list[str]:
        """The only row that begins so."""
        (found,) = (row for row in self.rows() if row and row[0] == first)
        return found

    def fact(self, name: str) -> str:
        """What stands beneath a name at the top."""
        found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", self.source)
        return Cell(found[1]).text if found else ""

    def drawn(self, title: str) -> list[dict[float, float]]:
        """Values of the lines of a chart, read off by its two axes as a person would; volume to value."""
        elements = self.figures[title]
        across = _scale((float(at["x"] or 0), text) for _, at, text in elements if at.get("class") == "x")
        up = _scale((float(at["y"] or 0) - 4, text) for _, at, text in elements if at.get("class") == "y")
        ways = [at["d"] or "" for tag, at, _ in elements if tag == "path" and "l c" in (at["class"] or "")]
        ways = [way for way in ways if way != "M0 6h22"]  # of the key
        return [{across(float(x)): up(float(y)) for _, x, y in _PLACE.findall(way)} for way in ways]


class Cell(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.feed(source)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data


def _scale(marks: Iterable[tuple[float, Sequence[str]]]) -> Callable[[float], float]:
    (at, text), *_, (other, more) = marks
    first, last = float(text[0]), float(more[0])
    return lambda place: first + (place - at) / (other - at) * (last - first)
