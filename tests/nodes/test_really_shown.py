"""What a stimulus program says that it showed: from its own computer to labels and events.tsv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import shown_workflow
from displays import Running, serving

from rtflow.client import Feedback, now
from rtflow.documents import Event, Result
from rtflow.engine import run
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow


def names(documents: Sequence[object]) -> list[str]:
    return [one.name for one in documents if isinstance(one, Event)]


@pytest.mark.parametrize(
    ("settings", "ignored", "told"),
    [([], "rest", "late"), (["late_after=3600"], "house", "shown")],
    ids=["as it is", "an hour is not late"],
)
def test_what_was_shown_reaches_labels_and_events(
    tmp_path: Path, settings: list[str], ignored: str, told: str
) -> None:
    """Two things are told behind volume 1: a face that is still there, and a house of a minute ago."""
    allowed = tmp_path / "allowed"
    allowed.write_text("1")
    workflow = load_workflow(Path(shown_workflow.__file__))
    loaded = load_settings(workflow.settings_type, None, [f"allowed={allowed}", *settings])

    with serving() as server:

        def job() -> object:
            return run(workflow, loaded, tmp_path, observe=running._see, server=server)

        running = Running(tmp_path, server, job=job)
        with Feedback(server.url, "token") as feedback, running:
            running.until(lambda documents: any(isinstance(one, Result) for one in documents))
            assert feedback.wait_for_run(timeout=30)
            began = now() - 60
            feedback.trigger(1, began)
            feedback.event("house", onset=began + 3, duration=3.0)  # in volume 2; not planned
            feedback.event("face", onset=began + 11, duration=100.0)  # from volume 4 on; planned in volume 3
            running.until(lambda documents: names(documents).count("stimulus") == 2)
            allowed.write_text("8")
    results = running.recording.results
    labels = {
        name: [str(result.values[f"{name}.trial_type"]) for result in results] for name in ("use", "ignore")
    }
    assert labels["use"] == ["scene", "house", "rest", *["face"] * 5]
    assert labels["ignore"] == ["scene", ignored, "rest", *["face"] * 5]
    (path,) = (tmp_path / "bids").rglob("*_events.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["trial_type"], row["told"]) for row in rows] == [
        ("scene", "planned"),
        ("house", told),
        ("face", "shown"),
    ]
    # Half of a round trip is what may be wrong.
    assert [float(row["onset"]) for row in rows] == pytest.approx([0.0, 3.0, 11.0], abs=0.9)
    assert [float(row["duration"]) for row in rows] == [2.0, 3.0, 100.0]
