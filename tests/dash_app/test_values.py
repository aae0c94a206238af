"""Values by dotted names, and what differs."""

from __future__ import annotations

from typing import Any

from rtflow.dash_app.values import changes, differences, value_at, with_value
from rtflow.server.desk import merged
from rtflow.settings import RunSettings, settings_to_builtins
from rtflow.source_settings import FolderSource

BEFORE: dict[str, Any] = {"a": 1, "b": {"c": [1, 2], "d": {"kind": "x", "e": None}}, "rows": [{"f": 1}]}


def test_values_are_found_and_put_by_name() -> None:
    assert value_at(BEFORE, "b.d.e", "?") is None
    assert value_at(BEFORE, "rows.0.f") == 1
    assert value_at(BEFORE, "rows.1.f", "?") == "?"
    changed = with_value(with_value(BEFORE, "b.d.e", 2), "rows.0.f", 3)
    assert (value_at(changed, "b.d.e"), value_at(changed, "rows.0.f")) == (2, 3)
    assert BEFORE["b"]["d"]["e"] is None
    assert with_value(BEFORE, "rows.1", {"f": 4})["rows"] == [{"f": 1}, {"f": 4}]
    assert with_value(BEFORE, "rows.0")["rows"] == []
    assert "a" not in with_value(BEFORE, "a")


def test_a_value_whose_table_is_left_out_has_no_place() -> None:
    for name in ("b.d.e.f", "rows.7.f", "gone.f", "a.f"):
        assert with_value(BEFORE, name, 1) == with_value(BEFORE, name) == BEFORE


def test_differences_are_told_in_words() -> None:
    after = with_value(with_value(BEFORE, "b.c", [1.5, True]), "b.d.e", "max")
    assert differences(BEFORE, after) == [
        {"name": "b.c", "before": "1, 2", "after": "1.5, yes"},
        {"name": "b.d.e", "before": "none", "after": "max"},
    ]
    other = with_value(BEFORE, "b.d", {"kind": "y", "g": 1})
    assert differences(BEFORE, other) == [{"name": "b.d", "before": "x", "after": "y"}]
    assert differences(BEFORE, BEFORE) == []


def test_changes_make_the_one_of_the_other() -> None:
    before = settings_to_builtins(RunSettings())
    after = settings_to_builtins(RunSettings(seed=3, deadline=2.0, source=FolderSource(path="/data")))
    sent = changes(before, after)
    assert set(sent) == {"seed", "deadline", "source"}
    assert merged(before, sent) == after
    assert changes(before, with_value(before, "source.tr", 1.5)) == {"source": {"tr": 1.5}}
