"""docs/faults.md and the tests of it: no row without a test that runs, no marker without a row."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "faults.md"


def rows(text: str) -> list[str]:
    """First cells of a table, without its head."""
    return [cells[1].strip() for line in text.splitlines() if len(cells := line.split("|")) == 4][2:]


def marked(text: str) -> Iterator[tuple[str, str]]:
    """Test and row for each marker of a test that pytest will run: none that is skipped or expected to fail.

    Read, not collected: so it is the same whichever part of the tests runs.
    """
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        names = [ast.unparse(mark) for mark in node.decorator_list]
        if any(re.match(r"pytest\.mark\.(skip|xfail)", name) for name in names):
            continue
        for name, mark in zip(names, node.decorator_list, strict=True):
            if name.startswith("pytest.mark.fault"):
                assert isinstance(mark, ast.Call), f"{node.name}: the marker names no row"
                yield node.name, *[ast.literal_eval(argument) for argument in mark.args]


def found() -> list[tuple[str, str]]:
    return [
        one
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.fault" in (text := path.read_text())
        for one in marked(text)
    ]


def test_every_row_is_tested() -> None:
    untested = set(rows(DOCUMENT.read_text())) - {row for _, row in found()}
    assert not untested, "rows of docs/faults.md without a test that carries pytest.mark.fault(row)"


def test_every_marker_names_a_row() -> None:
    unknown = [(test, row) for test, row in found() if row not in rows(DOCUMENT.read_text())]
    assert not unknown, "tests that hold what docs/faults.md does not say"


@pytest.mark.parametrize("of", ["", "@pytest.mark.skip\n", '@pytest.mark.skipif(True, reason="slow")\n'])
def test_only_what_runs_counts(of: str) -> None:
    text = f'{of}@pytest.mark.fault("a row")\ndef test_one() -> None: ...\n\ndef helper() -> None: ...\n'
    assert list(marked(text)) == ([] if of else [("test_one", "a row")])
