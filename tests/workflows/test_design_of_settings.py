"""How a workflow is told of its design: a table, or the path of an events.tsv in its place."""

from pathlib import Path

import pytest
from building import WORKFLOWS

from rtflow.design import block_design, write_events
from rtflow.errors import UsageError
from rtflow.settings import RunSettings, load_settings
from rtflow.workflow_file import load_workflow, plan

DESIGN = block_design(["scene", "face"], blocks=4, block=12.0, rest=9.0, opening=21.0)
HAVE_ONE = [
    path.stem
    for path in sorted(WORKFLOWS.glob("*.toml"))
    if "design" in load_workflow(path.with_suffix(".py")).settings_type.__struct_fields__
]


def settings_of(name: str, folder: Path, toml: str, *overrides: str) -> RunSettings:
    (folder / "given.toml").write_text(toml)
    workflow = load_workflow(WORKFLOWS / f"{name}.py")
    return load_settings(workflow.settings_type, folder / "given.toml", overrides)


def test_there_are_workflows_with_a_design() -> None:
    assert {"template", "roi_feedback", "localizer", "glm_monitor", "connectivity"} <= set(HAVE_ONE)


@pytest.mark.parametrize("name", HAVE_ONE)
def test_a_path_in_place_of_the_table_is_that_of_the_events(tmp_path, monkeypatch, name) -> None:
    """From the folder of the TOML file, or from the current one; the rest of the table stays."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write_events(DESIGN, tmp_path / "events.tsv")
    write_events(DESIGN.later(3.0), elsewhere / "events.tsv")
    by_file = settings_of(name, tmp_path, 'design = "events.tsv"')
    by_word = settings_of(name, tmp_path, "", "design=events.tsv", "design.scanner_dummies=3")
    for settings in (by_file, by_word):
        assert settings.design.conditions == ("scene", "face")
        assert settings.design.design() == DESIGN


@pytest.mark.parametrize("name", sorted(set(HAVE_ONE) - {"decoding"}))
def test_a_path_that_leads_nowhere_is_said_before_the_run(tmp_path, name) -> None:
    settings = settings_of(name, tmp_path, 'design = "evnets.tsv"')
    with pytest.raises(UsageError, match=r"events file .*evnets.tsv: No such file"):
        plan(load_workflow(WORKFLOWS / f"{name}.py"), settings)


def test_none_is_still_no_design(tmp_path) -> None:
    assert settings_of("roi_feedback", tmp_path, 'design = "none"').design is None
