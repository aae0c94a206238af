"""Every setting is described where it is offered."""

from __future__ import annotations

import msgspec
import pytest

from rtflow.cli.shipped import shipped_workflows
from rtflow.setting_schema import meanings, settings_schema
from rtflow.settings import RunSettings
from rtflow.workflow_file import load_workflow


class Inner(msgspec.Struct):
    """A table.

    Parameters
    ----------
    low, high
        Bounds of
        what is shown.
    """

    low: float = 0.0
    high: float = 1.0


class Outer(RunSettings):
    """Of a workflow.

    Parameters
    ----------
    limits_shown : Inner
        What is shown.

    Raises
    ------
    ValueError
        Never.
    """

    limits_shown: Inner = msgspec.field(default_factory=Inner)
    many: tuple[Inner, ...] = ()


def test_the_section_on_parameters_is_read() -> None:
    assert meanings(Inner) == {"low": "Bounds of what is shown.", "high": "Bounds of what is shown."}
    assert meanings(Outer) == {"limits_shown": "What is shown."}
    assert meanings(object()) == {}


def test_settings_are_described_also_where_they_are_inherited_or_of_a_table() -> None:
    defined = settings_schema(Outer)["$defs"]
    of_run = defined["Outer"]["properties"]
    assert of_run["limits_shown"]["description"] == "What is shown."
    assert of_run["seed"]["description"] == "What all chance in the nodes comes from."
    assert "description" not in of_run["many"]
    assert defined["Inner"]["properties"]["high"]["description"] == "Bounds of what is shown."
    volumes = defined["FolderSource"]["properties"]["volumes"]["description"]
    assert volumes.startswith("Number of volumes of the run")


@pytest.mark.parametrize("name", sorted(shipped_workflows()))
def test_every_setting_of_the_shipped_workflows_is_described(name: str) -> None:
    schema = settings_schema(load_workflow(shipped_workflows()[name]).settings_type)
    missing = [
        f"{table}.{setting}"
        for table, of in schema["$defs"].items()
        for setting, about in of["properties"].items()
        if setting != "kind" and not about.get("description")
    ]
    assert not missing
