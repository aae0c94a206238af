"""The workflows that are there to be copied can be read at one go."""

import pytest

from rtflow.cli.shipped import shipped_workflows

LINES = 80
NAMED = {"template", "roi_feedback", "localizer", "decoding", "connectivity", "glm_monitor"}


def test_all_that_are_named_are_shipped() -> None:
    assert set(shipped_workflows()) == NAMED


@pytest.mark.parametrize("name", shipped_workflows())
def test_it_has_fewer_lines_than_a_person_takes_in(name: str) -> None:
    assert len(shipped_workflows()[name].read_text(encoding="utf-8").splitlines()) < LINES
