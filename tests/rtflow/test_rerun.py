"""Replay gives the same values bit for bit, and an interrupted run goes on where it was cut off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import counting_workflow
import pytest
from cutting import cut

from rtflow.documents import Event, Result, RunStop, VolumeReceived
from rtflow.engine import run
from rtflow.errors import JournalError, RtflowError, UsageError
from rtflow.journal import Recording
from rtflow.rerun import replay, resume
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

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
    # How many volumes there are was not known before: a node that counts on it must not know it now.
    assert (again.start.tr, again.start.volumes) == (live.start.tr, live.start.volumes) == (None, None)
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


@pytest.mark.parametrize("volumes", [0, 3])
def test_what_a_replay_that_was_ended_did_not_play_does_not_differ(tmp_path, volumes):
    live = recorded(tmp_path / "out", "interval=0.05")
    stopping = threading.Event()

    def end(document: Any) -> None:
        if getattr(document, "volume", 0) == volumes and (not volumes or isinstance(document, Result)):
            stopping.set()

    stop, comparison = replay(live.run_dir, speed=1, observe=end, stopping=stopping)
    assert stop.status == "aborted"
    assert comparison.differing == ()
    assert comparison.equal + len(comparison.not_played) == len(live.results)
    assert comparison.not_played == tuple(range(comparison.equal + 1, 9))
    assert comparison.equal >= volumes


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
from rtflow.documents import Delivered
from rtflow.engine import run
from rtflow.workflow_file import load_workflow
from rtflow.settings import load_settings

workflow = load_workflow(Path(sys.argv[1]))
settings = load_settings(workflow.settings_type, None, sys.argv[3:])

def told(document):
    if isinstance(document, Delivered):
        print(document.volume, flush=True)

run(workflow, settings, Path(sys.argv[2]), observe=told)
"""


def killed_after(volume: int, out: Path, *overrides: str) -> Path:
    """Folder of a run whose process was killed by SIGKILL when the journal had that a volume was delivered.

    Between a delivery and its line in the journal, no program can tell which of the two was the last.
    """
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


def cut_off(whole: Recording, run_dir: Path, results: int) -> Path:
    """A copy of a run whose process ended after so many Results."""
    shutil.copytree(whole.run_dir, run_dir)
    path = run_dir / "journal" / "documents.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = [n for n, document in enumerate(whole.documents) if isinstance(document, Result)][results - 1]
    path.write_bytes(b"".join(lines[: last + 1]))
    return path


def test_what_cannot_be_taken_up_now_can_be_tried_again(tmp_path):
    refuses = tmp_path / "refuses"
    whole = recorded(tmp_path / "out", f"refuses={refuses}")
    path = cut_off(whole, tmp_path / "cut", 5)
    before = path.read_bytes()
    refuses.touch()
    with pytest.raises(RtflowError, match="the scanner is not there"):
        resume(tmp_path / "cut")
    assert path.read_bytes() == before
    refuses.unlink()
    assert resume(tmp_path / "cut").status == "completed"
    assert [r.volume for r in Recording(tmp_path / "cut").results] == list(range(1, 9))


def test_a_run_with_an_agent_is_not_taken_up_without_a_port(tmp_path):
    path = cut_off(recorded(tmp_path / "out"), tmp_path / "cut", 5)
    start, *others = path.read_bytes().splitlines(keepends=True)
    changed = json.loads(start)
    changed["settings"]["source"] = {"kind": "agent", "name": "scanner"}
    path.write_bytes(json.dumps(changed).encode() + b"\n" + b"".join(others))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="--listen"):
        resume(tmp_path / "cut")
    assert path.read_bytes() == before


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


def received(volume: int) -> Any:
    return lambda document: isinstance(document, VolumeReceived) and document.volume == volume


def test_what_was_not_decided_before_the_crash_is_decided_by_the_clock(tmp_path):
    whole = recorded(tmp_path / "out", "mode=process", "sleep=2.0")
    run_dir = cut(whole.run_dir, tmp_path, received(4))
    resume(run_dir)
    after = Recording(run_dir)
    assert [r.values_sha256 for r in after.results] == [r.values_sha256 for r in whole.results]
    told = [(event.name, event.volume) for event in after.events if event.name == "deadline_missed"]
    assert told == [("deadline_missed", 4)]


def test_what_was_decided_before_the_crash_holds_although_the_volume_was_not_done(tmp_path):
    whole = recorded(tmp_path / "out", "sleep=1.0")
    run_dir = cut(whole.run_dir, tmp_path, lambda d: isinstance(d, Event) and d.name == "deadline_missed")
    path = run_dir / "journal" / "documents.jsonl"
    path.write_text(path.read_text().replace('"sleep":1.0', '"sleep":0.0'))
    resume(run_dir)
    after = Recording(run_dir)
    assert [r.values_sha256 for r in after.results] == [r.values_sha256 for r in whole.results]
    assert [event.volume for event in after.events if event.name == "deadline_missed"] == [4]


def test_a_volume_that_waited_for_the_resumed_run_is_late(tmp_path):
    whole = recorded(tmp_path / "out")
    run_dir = cut(whole.run_dir, tmp_path, received(6))
    path = run_dir / "journal" / "documents.jsonl"
    text = path.read_text()
    assert '"deadline":null' in text.splitlines()[0]
    path.write_text(text.replace('"deadline":null,', '"deadline":0.0001,', 1))
    done = {result.volume for result in Recording(run_dir).results}
    resume(run_dir)
    after = Recording(run_dir)
    assert [r.status == "late" for r in after.results][:6] == [volume not in done for volume in range(1, 7)]
    assert 6 in [event.volume for event in after.events if event.name == "late"]


def test_a_resumed_run_tells_nothing_twice_and_writes_its_files_anew(tmp_path):
    whole = recorded(tmp_path / "out")
    run_dir = cut(whole.run_dir, tmp_path, lambda d: isinstance(d, Result) and d.volume == 5)
    left = run_dir / "work" / "double" / "volume-0001" / "half-written"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    resume(run_dir)
    offered = [event.volume for event in Recording(run_dir).events if event.name == "offered"]
    assert offered == list(range(1, 9))
    assert not left.exists()


def test_a_replay_leaves_the_session_alone_and_takes_nothing_else_from_it(tmp_path):
    live = recorded(tmp_path / "out")
    used, now = live.run_dir / "session", tmp_path / "out" / "session"
    used.mkdir()
    now.mkdir(exist_ok=True)
    (used / "reference.npz").write_text("as the run found it")
    (now / "reference.npz").write_text("of a later run")
    (now / "model.npz").write_text("of a later run")
    stop, _ = replay(live.run_dir, out=tmp_path / "out")
    assert (now / "reference.npz").read_text() == "of a later run"
    found = Path(stop.outputs["session"])
    assert (found / "reference.npz").read_text() == "as the run found it"
    assert not (found / "model.npz").exists()


def test_a_volume_that_was_given_up_is_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr("rtflow.stream.run._GRACE", 0.1)
    workflow = load_workflow(WORKFLOW)
    stopping = threading.Event()

    def stop_in_four(document: Any) -> None:
        if received(4)(document):
            stopping.set()

    stop = run(
        workflow,
        load_settings(workflow.settings_type, None, ["sleep=1.0"]),
        tmp_path / "out",
        observe=stop_in_four,
        stopping=stopping,
    )
    live = Recording(Path(stop.outputs["run"]))
    given_up = [result.volume for result in live.results if result.given_up]
    assert 4 in given_up
    _, comparison = replay(live.run_dir)
    assert comparison.differing == ()
    assert comparison.equal == len(live.results) - len(given_up)


def test_a_replay_finds_the_modules_that_stand_beside_the_workflow(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "beside_the_workflow.py").write_text("from counting_workflow import Settings, build\n")
    (mine / "experiment.py").write_text("from beside_the_workflow import Settings, build\n")
    workflow = load_workflow(mine / "experiment.py")
    stop = run(workflow, load_settings(workflow.settings_type, None, []), tmp_path / "out")
    # As in another process: neither the folder nor the module are known any more.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(mine)])
    monkeypatch.delitem(sys.modules, "beside_the_workflow")
    _, comparison = replay(Path(stop.outputs["run"]))
    assert comparison.equal == 8
