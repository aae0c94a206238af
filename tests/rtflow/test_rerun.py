"""Replay gives the same values bit for bit, and an interrupted run goes on where it was cut off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import counting_workflow
import pytest

from rtflow.documents import Event, Result, RunStop
from rtflow.engine import load_workflow, run
from rtflow.errors import JournalError, UsageError
from rtflow.journal import Recording
from rtflow.rerun import replay, resume
from rtflow.settings import load_settings

WORKFLOW = Path(counting_workflow.__file__)


def recorded(out: Path, *overrides: str) -> Recording:
    workflow = load_workflow(WORKFLOW)
    stop = run(workflow, load_settings(workflow.settings_type, None, overrides), out)
    return Recording(Path(stop.outputs["run"]))


@pytest.mark.parametrize("sleep", [0.0, 1.0], ids=["in-time", "deadline-missed"])
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_replay_equals_the_live_run(tmp_path, mode, stages, sleep):
    live = recorded(
        tmp_path / "out", f"mode={mode}", f"stages={stages}", f"sleep={sleep}", "missing=[3]", "deadline=0.2"
    )
    missed = [event for event in live.events if event.name == "deadline_missed"]
    assert [(event.volume, event.data["killed"]) for event in missed] == (
        [(4, mode == "process")] if sleep else []
    )
    stop, comparison = replay(live.run_dir)
    again = Recording(Path(stop.outputs["run"]))
    assert comparison.equal == 8
    assert comparison.differing == ()
    assert {r.volume: r.values_sha256 for r in again.results} == {
        r.volume: r.values_sha256 for r in live.results
    }
    assert [r.status for r in again.results] == [r.status for r in live.results]
    assert [r.stale for r in again.results] == [r.stale for r in live.results]
    assert again.start.replay_of == live.start.run_uid
    # A replay takes the recorded decisions, and makes none of its own.
    assert [event for event in again.events if event.name in ("deadline_missed", "late")] == []


def test_a_replay_of_a_replay_is_equal_too(tmp_path):
    live = recorded(tmp_path / "out", "sleep=1.0")
    first, _ = replay(live.run_dir)
    # The replay missed no deadline by its own clock: its journal does not say so, and it is no live run.
    recording = Recording(Path(first.outputs["run"]))
    assert [r.values_sha256 for r in recording.results] == [r.values_sha256 for r in live.results]


def test_a_replay_without_the_recorded_decisions_would_differ(tmp_path):
    live = recorded(tmp_path / "out", "sleep=1.0")
    journal = live.run_dir / "journal" / "documents.jsonl"
    lines = [line for line in journal.read_text().splitlines() if "deadline_missed" not in line]
    journal.write_text("\n".join(lines) + "\n")
    _, comparison = replay(live.run_dir)
    assert 4 in comparison.differing


def test_a_replay_notices_changed_bytes(tmp_path):
    live = recorded(tmp_path / "out")
    frames = live.run_dir / "journal" / "frames.bin"
    data = bytearray(frames.read_bytes())
    data[2] ^= 1
    frames.write_bytes(data)
    with pytest.raises(JournalError, match=r"volume 3 .* is not what was recorded"):
        replay(live.run_dir)


def test_a_replay_needs_the_workflow_as_it_ran(tmp_path):
    live = recorded(tmp_path / "out")
    copy = live.run_dir / "workflow" / WORKFLOW.name
    copy.write_text(copy.read_text() + "\n# changed\n")
    with pytest.raises(JournalError, match="was changed"):
        replay(live.run_dir)
    copy.unlink()
    with pytest.raises(JournalError, match="missing"):
        replay(live.run_dir)


def test_a_folder_without_a_journal(tmp_path):
    with pytest.raises(JournalError, match="holds no journal"):
        replay(tmp_path)


RUN = """
import sys
from pathlib import Path
from rtflow.documents import Result
from rtflow.engine import load_workflow, run
from rtflow.settings import load_settings

workflow = load_workflow(Path(sys.argv[1]))
settings = load_settings(workflow.settings_type, None, sys.argv[3:])

def told(document):
    if isinstance(document, Result):
        print(document.volume, flush=True)

run(workflow, settings, Path(sys.argv[2]), observe=told)
"""


def killed_after(volume: int, out: Path, *overrides: str) -> Path:
    """Folder of a run whose process was killed by SIGKILL when a volume had its Result."""
    helpers = WORKFLOW.parent
    path = os.pathsep.join([str(helpers), str(helpers.parents[1])])
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(WORKFLOW), str(out), *overrides],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == str(volume):
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (run_dir,) = (out / "runs").iterdir()
    return run_dir


def shown(run_dir: Path) -> list[Any]:
    return [json.loads(line) for line in (run_dir / "shown.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_run_that_was_killed_goes_on_with_the_same_results(tmp_path, mode):
    options = (f"mode={mode}", "missing=[3]", "interval=0.02")
    whole = recorded(tmp_path / "whole", *options)
    run_dir = killed_after(5, tmp_path / "out", *options, "halt=5")
    before = Recording(run_dir)
    assert before.stop is None
    # The live source goes on: it no longer halts.
    start = before.documents[0]
    text = (run_dir / "journal" / "documents.jsonl").read_text()
    (run_dir / "journal" / "documents.jsonl").write_text(text.replace('"halt":5', '"halt":0'))
    stop = resume(run_dir)
    after = Recording(run_dir)
    assert stop.status == "completed"
    assert stop.run_uid == start.run_uid
    assert [r.volume for r in after.results] == list(range(1, 9))
    assert [r.values_sha256 for r in after.results] == [r.values_sha256 for r in whole.results]
    assert [document.seq for document in after.documents] == list(range(len(after.documents)))
    assert stop.counts == {"ok": 7, "late": 0, "missing": 1, "failed": 0}
    assert [volume for volume, _ in shown(run_dir)] == [1, 2, 4, 5, 6, 7, 8]  # nothing twice
    assert "resume_differs" not in {event.name for event in after.events}


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_line_that_was_not_finished_was_never_said(tmp_path, cut):
    whole = recorded(tmp_path / "out")
    run_dir = tmp_path / "cut"
    shutil.copytree(whole.run_dir, run_dir)
    path = run_dir / "journal" / "documents.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    results = [n for n, document in enumerate(whole.documents) if isinstance(document, Result)]
    keep = results[5]  # the Result of volume 6 is cut off in its middle
    path.write_bytes(b"".join(lines[:keep]) + lines[keep][:cut])
    with (run_dir / "journal" / "frames.bin").open("ab") as file:
        file.write(b"bytes of a volume that no document speaks of")
    stop = resume(run_dir)
    after = Recording(run_dir)
    assert stop.status == "completed"
    assert [r.volume for r in after.results] == list(range(1, 9))
    assert [r.values_sha256 for r in after.results] == [r.values_sha256 for r in whole.results]
    assert list(after.frames())[-1].parts[0].data == b"8"


def test_a_run_that_has_ended_is_not_resumed(tmp_path):
    run_dir = recorded(tmp_path / "out").run_dir
    with pytest.raises(UsageError, match="has ended"):
        resume(run_dir)
    documents = Recording(run_dir).documents
    assert isinstance(documents[-1], RunStop)


def test_a_resumed_run_that_gives_other_values_says_so(tmp_path):
    run_dir = killed_after(5, tmp_path / "out", "interval=0.02", "halt=5")
    path = run_dir / "journal" / "documents.jsonl"
    recording = Recording(run_dir)
    text = path.read_text().replace('"halt":5', '"halt":0')
    first = recording.results[0].values_sha256
    path.write_text(text.replace(first, "0" * 64))
    resume(run_dir)
    told = [event for event in Recording(run_dir).events if event.name == "resume_differs"]
    assert [event.volume for event in told] == [1]
    assert isinstance(told[0], Event)
    assert told[0].data["was"] == "0" * 64
