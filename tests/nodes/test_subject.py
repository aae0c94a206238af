import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from rtflow.documents import Delivered, Result, now
from rtflow.engine import run
from rtflow.errors import UsageError, VolumeError
from rtflow.journal import Recording
from rtflow.nodes.decoding.accuracy import Accuracy
from rtflow.nodes.subject import SubjectOutput
from rtflow.rerun import resume
from rtflow.server.run_clock import RunClock
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow
from rtflow.workflows import roi_feedback


def result(volume: int, **fields) -> Result:
    return Result(run_uid="run-a", volume=volume, **{"status": "ok", **fields})


@pytest.fixture
def subject(make_context) -> SubjectOutput:
    node = SubjectOutput()
    node.start_run(make_context())
    return node


def read(make_context, volume: int) -> dict:
    return json.loads((make_context().run_dir / "feedback" / f"volume-{volume:04d}.json").read_text())


def test_what_is_offered_is_handed_over_once_it_is_delivered(call, subject, make_context) -> None:
    offered = call(subject, 13, value=0.25, kind="evidence")
    folder = make_context().run_dir / "feedback"
    assert not list(folder.iterdir())
    assert subject.deliver(result(13), offered)
    found = read(make_context, 13)
    assert isinstance(found.pop("time"), float)
    assert isinstance(found.pop("received"), float)
    assert found == {
        "type": "Value",
        "run_uid": "run-a",
        "volume": 13,
        "value": 0.25,
        "kind": "evidence",
        "stale": False,
        "status": "ok",
        "quality": "good",
        "values": {},
        "delay": 0.0,
        "acquired": None,
        "next_volume": None,
    }
    assert [file.name for file in folder.iterdir()] == ["volume-0013.json"]


def test_nothing_offered_is_nothing_handed_over(subject, make_context) -> None:
    assert subject.deliver(result(1), {}) is False
    assert not list((make_context().run_dir / "feedback").iterdir())


def test_what_the_result_says_of_the_value_is_said_to_the_subject(call, subject, make_context) -> None:
    offered = call(subject, 2, value=1.0)
    doubted = result(2, status="late", stale=("region.value",), quality="suspect", reasons=("stale",))
    assert subject.deliver(doubted, offered)
    found = read(make_context, 2)
    assert (found["stale"], found["status"], found["quality"], found["kind"]) == (True, "late", "suspect", "")


def test_a_value_that_is_no_number_is_null(call, subject, make_context) -> None:
    assert subject.deliver(result(3), call(subject, 3, value=math.nan, kind="evidence"))
    assert read(make_context, 3)["value"] is None


def test_several_values_by_name(make_context, call) -> None:
    node = SubjectOutput()
    node.start_run(make_context())
    given = {
        "left": np.float32(0.5),
        "right": math.inf,
        "both": np.array([1.0, math.nan]),
        "word": "go",
        "n": 3,
    }
    assert node.deliver(result(4), call(node, 4, values=given))
    found = read(make_context, 4)
    assert found["value"] is None
    assert found["values"] == {"left": 0.5, "right": None, "both": [1.0, None], "word": "go", "n": 3}
    with pytest.raises(VolumeError, match="'deep' for the display is a dict"):
        call(node, 5, values={"deep": {"a": 1}})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n" * 101: 1.0}, "is no name of a value"),
        ({"map": np.linspace(0, 1, 40_000)}, "bytes as text, 131072 at most"),
        ({"n": 10**30}, "a whole number of 64 bits"),
        ({"word": "\ud800"}, "are no text"),
    ],
)
def test_what_no_display_could_take_is_refused(call, subject, values, says) -> None:
    with pytest.raises(VolumeError, match=says):
        call(subject, 5, values=values)


@pytest.mark.parametrize("name", ["file", "file.x", "../x", "", "x" * 65, "x\n"])
def test_a_display_has_a_name(make_context, name) -> None:
    with pytest.raises(UsageError, match="a display cannot be called"):
        SubjectOutput(display=name).start_run(make_context())


def test_the_clock_of_the_run_says_when_the_next_volume_begins(make_context, call) -> None:
    clock = RunClock(tr=2.0)
    clock.trigger(1, now() - 5.0)
    node = SubjectOutput(delay=0.5)
    node.start_run(make_context(clock=clock))
    assert node.deliver(result(2), call(node, 2, value=1.0))
    found = read(make_context, 2)
    assert found["delay"] == 0.5
    assert found["acquired"] == clock.acquired(2)
    assert 0 < found["next_volume"] - found["time"] <= 2.0
    assert (found["next_volume"] - found["acquired"]) % 2.0 == pytest.approx(0.0)


def test_zero_is_a_value_like_any_other(call, subject, make_context) -> None:
    assert subject.deliver(result(4), call(subject, 4, value=0.0, kind="neutral"))
    assert read(make_context, 4)["value"] == 0.0


def test_a_volume_delivered_twice_is_one_file(call, subject, make_context) -> None:
    for value in (0.1, 0.2):
        assert subject.deliver(result(5), call(subject, 5, value=value))
    assert read(make_context, 5)["value"] == 0.2
    assert len(list((make_context().run_dir / "feedback").iterdir())) == 1


def test_what_reached_the_display_before_a_crash_is_not_written_again(call, make_context) -> None:
    before, after = SubjectOutput(), SubjectOutput()
    before.start_run(make_context())
    assert before.deliver(result(5), call(before, 5, value=0.1, kind="evidence"))
    shown = read(make_context, 5)
    folder = make_context().run_dir / "feedback"
    (folder / ".volume-0007.json.partial").write_text('{"run')
    (folder / "volume-0006.json").write_text("")  # by a power cut
    after.start_run(make_context(resuming=True))
    for volume in (5, 6):
        assert after.deliver(result(volume), call(after, volume, value=0.2, kind="evidence"))
    assert read(make_context, 5) == shown
    assert read(make_context, 6)["value"] == 0.2
    assert sorted(file.name for file in folder.iterdir()) == ["volume-0005.json", "volume-0006.json"]


TINY = (
    *("source.volumes=18", "source.shape=[20, 24, 16]", "source.voxel=8", "source.speed=max"),
    *("dummy_volumes=2", "opening=6"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Recording:
    """A run that ended."""
    workflow = load_workflow(Path(roi_feedback.__file__))
    settings = load_settings(workflow.settings_type, None, TINY)
    stop = run(workflow, settings, tmp_path_factory.mktemp("whole"))
    return Recording(Path(stop.outputs["run"]))


def files(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run_dir / "feedback").iterdir())}


@pytest.mark.parametrize("cut", ["in its Result", "before Delivered", "after Delivered"])
def test_a_run_that_was_killed_shows_each_volume_once(tmp_path, whole, cut) -> None:
    """Cut off in volume 9: what was on disk then, and the run that goes on with it."""
    run_dir = tmp_path / "run"
    shutil.copytree(whole.run_dir, run_dir)
    expected = files(whole.run_dir)
    journal = run_dir / "journal" / "documents.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    wanted = Result if cut == "in its Result" else Delivered
    (at,) = (n for n, d in enumerate(whole.documents) if isinstance(d, wanted) and d.volume == 9)
    kept = {"in its Result": [*lines[:at], lines[at][:20]], "before Delivered": lines[:at]}
    journal.write_bytes(b"".join(kept.get(cut, lines[: at + 1])))
    there = {name for name in expected if name < f"volume-{10 if wanted is Delivered else 9:04d}"}
    for name in expected.keys() - there:
        (run_dir / "feedback" / name).unlink()
    stop = resume(run_dir)
    after = Recording(run_dir)
    assert stop.status == "completed"
    assert [d.volume for d in after.documents if isinstance(d, Delivered)] == list(range(6, 19))
    found = files(run_dir)
    assert found.keys() == expected.keys() == {f"volume-{volume:04d}.json" for volume in range(6, 19)}
    assert {name: found[name] for name in there} == {name: expected[name] for name in there}
    values = {json.loads(data)["volume"]: json.loads(data)["value"] for data in found.values()}
    assert values == {r.volume: r.values["region.value"] for r in whole.results if r.volume > 5}


def test_a_repeated_value_is_handed_over_as_such(whole) -> None:
    """`stale` of the file is that of the Result."""
    for data in files(whole.run_dir).values():
        shown = json.loads(data)
        assert (shown["stale"], shown["kind"], shown["status"]) == (False, "percent_signal_change", "ok")


def test_accuracy_is_the_share_of_right_decisions() -> None:
    outputs = Accuracy(correct=[1.0, 0.0, 1.0, 1.0]).run().outputs
    assert (outputs.accuracy, outputs.volumes) == (0.75, 4)


def test_accuracy_is_withheld_where_nothing_was_tested() -> None:
    found = Accuracy(correct=[]).run().outputs.get()
    assert found["volumes"] == 0
    assert not isinstance(found["accuracy"], float)
