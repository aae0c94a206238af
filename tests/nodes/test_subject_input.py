"""What the participant does reaches the next volume, and a replay gives every volume what it had."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass

import pytest
from displays import Display, Running, serving

from rtflow.documents import Delivered, Event, Result, RunStop, now
from rtflow.errors import UsageError
from rtflow.journal import Recording
from rtflow.nodes import SubjectInput
from rtflow.rerun import replay, resume
from rtflow.server.messages import Response, StimulusEvent, Trigger
from rtflow.server.run_clock import RunClock
from rtflow.stream.executor import Decisions
from rtflow.trials import ShownTrial

LISTENS = ("listens=true", "count=8", "interval=0.05")


@dataclass
class Volume:
    tr: float = 2.0


def received(documents) -> list[int]:
    return [d.volume for d in documents if isinstance(d, Delivered) and d.channel == "subject"]


@pytest.fixture
def pressed(tmp_path) -> Recording:
    """A run in which the participant pressed something at each volume that was shown, but for the first."""
    began = now()
    with serving() as server, Display(server.url) as display:
        display.until(lambda: display.link.connected)
        display.say(Trigger(n=1, at=began))  # of no run yet: not heard
        with Running(tmp_path, server, *LISTENS, "halt=8") as running:
            for volume in range(1, 5):
                display.until(lambda: volume in display.volumes)  # noqa: B023
                if volume > 1:
                    display.say(Response(button=f"b{volume}", at=now()))
                if volume == 2:
                    display.say(Trigger(n=1, at=began))
                    display.say(StimulusEvent(name="face", onset=began + 2.0, duration=1.5))
            running.until(lambda ds: len([d for d in ds if getattr(d, "name", "") == "response"]) == 3)
            running.until(lambda documents: 8 in received(documents))
            running.stopping.set()
    return running.recording


def taken(recording: Recording) -> dict[int, list[str]]:
    return {
        event.volume: [one["button"] for one in event.data["responses"]]
        for event in recording.events
        if event.name == "subject_said"
    }


def test_each_press_is_an_input_of_one_later_volume(pressed) -> None:
    buttons = [button for volume in sorted(taken(pressed)) for button in taken(pressed)[volume]]
    assert buttons == ["b2", "b3", "b4"][: len(buttons)]
    assert buttons
    for volume, found in taken(pressed).items():
        assert all(int(button[1:]) < volume for button in found)
        result = pressed.results[volume - 1]
        assert result.values["said.presses"] == len(found)
        if found:
            assert result.values["said.button"] == found[-1]


def test_a_replay_gives_every_volume_what_it_had(pressed, tmp_path) -> None:
    assert taken(pressed)
    stop, comparison = replay(pressed.run_dir, out=tmp_path / "again")
    assert (comparison.equal, comparison.differing) == (8, ())
    again = Recording(next((tmp_path / "again" / "runs").iterdir()))
    assert taken(again) == taken(pressed)
    assert stop.status == "completed"


@pytest.mark.parametrize("whole", [True, False], ids=["with its Result", "before its Result"])
def test_a_run_that_goes_on_gives_what_no_volume_had_taken(pressed, tmp_path, whole) -> None:
    """Cut off in the volume that took the first press; what came after it is there for the next one."""
    run_dir = tmp_path / "copy"
    shutil.copytree(pressed.run_dir, run_dir)
    first = min(volume for volume, found in taken(pressed).items() if found)
    lines = (run_dir / "journal" / "documents.jsonl").read_bytes().splitlines(keepends=True)
    at = _cut(pressed, first, whole)
    (run_dir / "journal" / "documents.jsonl").write_bytes(b"".join(lines[: at + 1]))
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    cut = Recording(run_dir)
    said = [event.data["button"] for event in cut.events if event.name == "response"]
    stopping = threading.Event()

    def stop_at_the_last(document) -> None:
        if isinstance(document, Result) and document.volume == 8:
            stopping.set()

    resume(run_dir, observe=stop_at_the_last, stopping=stopping)
    after = Recording(run_dir)
    buttons = [button for volume in sorted(taken(after)) for button in taken(after)[volume]]
    assert buttons == said
    assert taken(after)[first] == taken(pressed)[first]
    assert isinstance(after.documents[-1], RunStop)


def _cut(recording: Recording, volume: int, whole: bool) -> int:
    wanted = "Result" if whole else "Event"
    return next(
        number
        for number, document in enumerate(recording.documents)
        if type(document).__name__ == wanted and document.volume == volume  # type: ignore[union-attr]
    )


def test_times_are_seconds_from_onset_0(pressed) -> None:
    trigger = next(event.data["at"] for event in pressed.events if event.name == "trigger")
    last = [event for event in pressed.events if event.name == "subject_said"][-1]
    assert last.data["by"] == "trigger"
    for one in last.data["responses"]:
        assert one["time"] == pytest.approx(one["at"] - trigger)
    shown = [one for event in pressed.events if event.name == "subject_said" for one in event.data["shown"]]
    assert [(one["name"], one["duration"]) for one in shown] == [("face", 1.5)]


def test_what_was_shown_comes_out_as_trials(make_context, call) -> None:
    said = [
        Event(
            name="subject_said",
            volume=3,
            data={
                "display": "subject",
                "responses": [{"button": "left", "at": 1.0, "time": 0.5}],
                "shown": [{"name": "face", "onset": 2.0, "duration": 1.5, "at": 9.0, "late": False}],
            },
        ),
        Event(name="subject_said", volume=4, data={"display": "other", "responses": [], "shown": []}),
    ]
    node = SubjectInput()
    node.start_run(make_context(decisions=Decisions(said)))
    assert call(node, 2, incremental=Volume())["presses"] == 0
    third = call(node, 3, incremental=Volume())
    assert third["responses"] == [("left", 0.5)]
    assert (third["button"], third["button_time"], third["presses"]) == ("left", 0.5, 1)
    fourth = call(node, 4, incremental=Volume())
    assert (fourth["responses"], fourth["all_responses"]) == ([], [("left", 0.5)])
    assert fourth["shown"] == [ShownTrial(2.0, 1.5, "face", late=False)]
    assert "button" not in fourth


def test_of_two_that_were_told_for_one_time_the_one_that_no_volume_took_is_left(make_context, call) -> None:
    """The run was cut off when volume 1 had taken the first of each."""

    def told(what: str, /, **data: object) -> Event:
        return Event(name=what, data={"display": "subject", **data})

    face = {"onset": 9.0, "duration": 1.0, "late": False}
    took = {
        "responses": [{"button": "left", "at": 9.0, "time": 1.0}],
        "shown": [{"name": "face", **face, "onset": 1.0, "at": 9.0}],
    }
    events = [
        told("response", button="left", at=9.0),
        told("stimulus", name="face", **face),
        Event(name="subject_said", volume=1, data={"display": "subject", "by": "trigger", **took}),
        told("response", button="right", at=9.0),
        told("stimulus", name="house", **face),
        told("stimulus", name="face", **face),
    ]
    clock = RunClock(tr=2.0)
    clock.trigger(1, 8.0)
    node = SubjectInput()
    node.start_run(
        make_context(decisions=Decisions(events, complete=[1]), clock=clock, emit=lambda document: None)
    )
    assert call(node, 1, incremental=Volume())["responses"] == [("left", 1.0)]
    second = call(node, 2, incremental=Volume())
    assert second["responses"] == [("right", 1.0)]
    assert [trial.trial_type for trial in second["shown"]] == ["face", "house", "face"]


def test_two_nodes_cannot_share_what_one_display_says(make_context) -> None:
    with serving() as server:
        first, second = SubjectInput(), SubjectInput()
        first.start_run(make_context(server=server))
        with pytest.raises(UsageError, match="two nodes SubjectInput listen to the display 'subject'"):
            second.start_run(make_context(server=server))
        first.end_run()
        second.start_run(make_context(server=server))
