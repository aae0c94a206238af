"""The form that a schema makes, and what is read from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rtflow.cli.shipped import shipped_workflows
from rtflow.dash_app.form import GIVEN, OUT, Field, Table, Tables, blank, fields, make_form, read, shown
from rtflow.setting_schema import settings_schema
from rtflow.settings import PlotSettings, RunSettings, settings_from_builtins, settings_to_builtins
from rtflow.source_settings import FolderSource
from rtflow.workflow_file import load_workflow


class Part(msgspec.Struct):
    """A table that may be left out.

    Parameters
    ----------
    height
        Millimetres.
    """

    height: float = 3.0


class Example(RunSettings):
    """For the tests.

    Parameters
    ----------
    part
        May be left out.
    """

    part: Part | None = None


def form_of(settings: RunSettings) -> Table:
    """As the page makes it: over JSON."""
    told = json.loads(json.dumps([settings_schema(type(settings)), settings_to_builtins(settings)]))
    return make_form(*told)


def field(form: Table, name: str) -> Field:
    return next(one for one in fields(form) if one.name == name)


@pytest.mark.parametrize("file", shipped_workflows().values(), ids=shipped_workflows())
def test_what_a_form_shows_is_read_back_as_it_was(file: Path) -> None:
    settings = load_workflow(file).settings_type()
    told = settings_to_builtins(settings)
    seen = 0
    for one in fields(form_of(settings)):
        value: Any = told
        for key in one.name.split("."):
            value = value[key]
        entered = json.loads(json.dumps(shown(one.reads, one.value)))
        assert read(one.reads, one.empty, entered) == value, one
        seen += 1
    assert seen > 30


def test_fields_are_of_the_kind_that_fits() -> None:
    form = form_of(Example())
    assert [field(form, name).reads for name in ("seed", "source.drop", "source.speed", "source.shape")] == [
        "number",
        "switch",
        "word",
        "list",
    ]
    assert field(form, "show").reads == "texts"
    assert field(form, "work_dir").reads == "path"
    assert [field(form, name).optional for name in ("bids.tr", "bids.run")] == [True, False]
    assert field(form, "bids.tr").bounds == "above 0"
    assert field(form, "source.echoes").bounds == "a whole number, at least 1 and at most 16"
    assert field(form, "bids.tr").meaning == "Repetition time in seconds, for series whose headers have none."


def test_a_source_is_one_of_its_kinds() -> None:
    source = next(one for one in form_of(Example()).parts if isinstance(one, Table) and one.name == "source")
    assert source.kind == "simulate"
    assert set(source.kinds) >= {"simulate", "folder", "dicom", "agent", "bids", "journal"}
    folder = form_of(Example(source=FolderSource(path="/data")))
    assert field(folder, "source.path").value == "/data"
    assert not [one for one in fields(folder) if one.name == "source.motion"]


def test_a_table_that_may_be_left_out_can_be_given() -> None:
    form = form_of(Example())
    part = next(one for one in form.parts if isinstance(one, Table) and one.name == "part")
    assert (part.kind, part.kinds, part.parts) == (OUT, (OUT, GIVEN), ())
    given = form_of(Example(part=Part(height=5.0)))
    assert field(given, "part.height").value == 5.0


def test_tables_in_a_row_have_their_fields() -> None:
    form = form_of(Example(plots=(PlotSettings(values=("a.b",)), PlotSettings(values=("c.d",), title="C"))))
    plots = next(one for one in form.parts if isinstance(one, Tables))
    assert [item.name for item in plots.items] == ["plots.0", "plots.1"]
    assert field(form, "plots.1.title").value == "C"


def test_blank_tables_have_the_defaults() -> None:
    schema = settings_schema(Example)
    folder = blank(schema, "source", "folder")
    assert folder is not None
    assert "path" not in folder
    made = settings_from_builtins(Example, {"source": {**folder, "path": "/data"}})
    assert made.source == FolderSource(path="/data")
    assert blank(schema, "part", GIVEN) == {"height": 3.0}
    assert blank(schema, "part", OUT) is None
    assert blank(schema, "plots") == {"title": "", "label": "", "range": None, "thresholds": ()}


@pytest.mark.parametrize(
    ("reads", "empty", "entered", "value"),
    [
        ("number", "none", "", None),
        ("number", "none", 2, 2),
        ("number", "none", "-", "-"),
        ("word", "none", "max", "max"),
        ("word", "none", "1.5", 1.5),
        ("list", "text", "64, 64,30", [64, 64, 30]),
        ("list", "text", "", []),
        ("list", "none", "", None),
        ("list", "text", "1, x", [1, "x"]),
        ("text", "text", "", ""),
        ("path", "none", "", None),
        ("texts", "text", None, []),
        ("json", "none", '{"a": 1}', {"a": 1}),
        ("json", "none", "{", "{"),
    ],
)
def test_what_was_entered_is_read(reads: Any, empty: Any, entered: Any, value: Any) -> None:
    got = read(reads, empty, entered)
    assert got == value
    assert type(got) is type(value)
