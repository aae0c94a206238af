"""Whatever comes in whatever order: one frame for each volume, in order, with the voxels that it should have.

The schedules are drawn by hypothesis over simulated scans of every layout; time is in the schedule's hands.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from tempfile import TemporaryDirectory

import pytest
from arrivals import (
    LAYOUTS,
    TR,
    VOLUMES,
    WHOLE_RUN,
    ScheduledFeed,
    check_values,
    coming,
    digests_of,
    missing,
    scan,
    streamed,
    truth,
)
from arrivals_workflow import Settings, build
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from rtflow.documents import Frame
from rtflow.errors import SourceError
from rtflow.sources.simulation.faults import STRAYS, Action, Schedule
from rtflow.testing import run_frames

EVERY = [*LAYOUTS, *WHOLE_RUN]
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def fates(draw: st.DrawFn, layout: str, longest: float) -> Schedule:
    """How the objects of a scan come: most as they are due, some not so."""
    actions = []
    kinds = st.sampled_from(["due"] * 8 + ["drop", "late", "cut", "completed", "copied", "stray"])
    late = st.floats(0.0, longest)
    for number, due in enumerate(scan(layout).due):
        kind = draw(kinds)
        at = due.at + draw(late) if kind == "late" else due.at
        if kind == "drop":
            continue
        share = draw(st.floats(0.0, 0.99)) if kind in ("cut", "completed") else 1.0
        actions.append(Action(at, number, share))
        if kind == "completed":
            actions.append(Action(at + draw(late), number))
        if kind == "copied":
            actions.append(Action(at + draw(late), number, copy=True))
        if kind == "stray":
            actions.append(Action(at, None, stray=draw(st.sampled_from(STRAYS)), before=(1, due.volume)))
    return Schedule(tuple(sorted(actions, key=lambda action: action.at)))


def lost(layout: str, schedule: Schedule) -> list[int]:
    """The volumes that cannot be made: something of them is never whole."""
    volumes = [volume for _, volume in schedule.missing(scan(layout).due)]
    return list(range(1, VOLUMES + 1)) if layout in WHOLE_RUN and volumes else volumes


def something_came(schedule: Schedule) -> bool:
    """Whether there is one object that can be read."""
    return bool(schedule.whole)


@pytest.mark.parametrize("layout", EVERY)
@MANY
@given(data=st.data())
def test_missing_is_exactly_what_cannot_be_made(layout: str, data: st.DataObject) -> None:
    """As long as nothing is later than the patience allows."""
    schedule = data.draw(fates(layout, 3 * TR))
    assume(something_came(schedule))
    feed = ScheduledFeed(coming(scan(layout), schedule.actions))
    frames, _ = streamed(feed, patience=8.0)
    assert [frame.volume for frame in frames] == list(range(1, VOLUMES + 1))
    assert missing(frames) == lost(layout, schedule)
    event(f"{len(missing(frames))} missing")
    check_values(frames, truth(layout))
    # What was given up says why; nothing is held that will never be of use.
    assert all(frame.missing for frame in frames if frame.volume in lost(layout, schedule))


@pytest.mark.parametrize("layout", EVERY)
@MANY
@given(data=st.data())
def test_every_volume_has_its_frame_however_impatient(layout: str, data: st.DataObject) -> None:
    """Whatever the settings, however late things come, and however slow the consumer is."""
    schedule = data.draw(fates(layout, 40 * TR))
    assume(something_came(schedule))
    slow = data.draw(st.sampled_from([0.0, 0.01, 0.5, 20.0]))
    feed = ScheduledFeed(coming(scan(layout), schedule.actions), slow=slow)
    frames, events = streamed(
        feed,
        patience=data.draw(st.sampled_from([0.0, 0.5, 2.0, 100.0])),
        idle=data.draw(st.sampled_from([0.5, 5.0, 50.0])),
        wait=1e6,
    )
    assert [frame.volume for frame in frames] == list(range(1, VOLUMES + 1))
    assert set(missing(frames)) >= set(lost(layout, schedule))
    check_values(frames, truth(layout))
    # Volumes without a file of theirs are not told to have come too late.
    assert {one.volume for one in events if one.name == "too_late"} <= set(missing(frames))


@cache
def undisturbed(layout: str) -> tuple[Frame, ...]:
    frames, _ = streamed(ScheduledFeed(coming(scan(layout), scan(layout).scanner.schedule.actions)))
    return tuple(frames)


def results_of(frames: Iterable[Frame]) -> list[tuple[int, str, dict[str, object]]]:
    """What a graph that has a memory makes of frames: a Result for each."""
    with TemporaryDirectory() as folder:
        flow = build(Settings(source="simulate:?volumes=17", work_dir=folder))
        results = run_frames(flow, list(frames), tr=TR)
    return [(one.volume, one.status, dict(one.values)) for one in results]


@pytest.mark.parametrize("layout", EVERY)
@settings(MANY, max_examples=6)
@given(data=st.data())
def test_results_are_those_of_an_undisturbed_run_without_the_same_volumes(
    layout: str, data: st.DataObject
) -> None:
    """One each, in order, of equal values: all the way through a graph that remembers every volume before."""
    schedule = data.draw(fates(layout, 10 * TR))
    assume(something_came(schedule))
    feed = ScheduledFeed(coming(scan(layout), schedule.actions))
    frames, _ = streamed(feed, patience=data.draw(st.sampled_from([0.0, 1.0, 8.0])), wait=1e6)
    found = results_of(frames)
    assert [volume for volume, _, _ in found] == list(range(1, VOLUMES + 1))
    gone = missing(frames)
    assert [volume for volume, status, _ in found if status == "missing"] == gone
    right = [
        replace(one, parts=(), payload=None, missing="as above") if one.volume in gone else one
        for one in undisturbed(layout)
    ]
    assert found == results_of(right)
    assert [values.get("digest.value") for _, _, values in found] == digests_of(layout, VOLUMES, gone)


@pytest.mark.parametrize("layout", EVERY)
@MANY
@given(data=st.data())
def test_any_order_at_once(layout: str, data: st.DataObject) -> None:
    """All there in one moment, in any order, some of it twice: nothing is missing."""
    count = len(scan(layout).objects)
    order = data.draw(st.permutations(range(count)))
    again = data.draw(st.lists(st.sampled_from(range(count)), max_size=count))
    actions = [Action(0.0, number) for number in order] + [Action(0.0, n, copy=True) for n in set(again)]
    frames, events = streamed(ScheduledFeed(coming(scan(layout), actions)), patience=0.0)
    assert [frame.volume for frame in frames] == list(range(1, VOLUMES + 1))
    assert missing(frames) == []
    check_values(frames, truth(layout))
    assert {one.name for one in events} <= {"twice", "not_streamed"}


@pytest.mark.parametrize("layout", EVERY)
def test_nothing_that_can_be_read_is_said_and_not_waited_for(layout: str) -> None:
    actions = [replace(action, share=0.5) for action in scan(layout).scanner.schedule.actions]
    with pytest.raises(SourceError, match=r"no volume came into memory within 30 s"):
        streamed(ScheduledFeed(coming(scan(layout), actions)))


@pytest.mark.parametrize("size", [1, 100, 129, 131, 132, 200])
@pytest.mark.parametrize("preamble", [b"\0", b"II*"])
def test_a_file_cut_off_in_its_first_bytes_is_read_when_it_is_whole(size: int, preamble: bytes) -> None:
    tiny = scan("mosaic")
    whole = coming(tiny, [Action(due.at, number) for number, due in enumerate(tiny.due)])
    whole = [(at, name, preamble.ljust(128, b"\0") + data[128:]) for at, name, data in whole]
    at, name, data = whole[-1]
    frames, _ = streamed(ScheduledFeed([*whole[:-1], (at, name, data[:size]), (at, name, data)]))
    assert missing(frames) == []
    check_values(frames, truth("mosaic"))


@pytest.mark.parametrize(("tr", "seconds"), [(0.5, 2.0), (2.0, 4.0)])
@pytest.mark.parametrize("late", [0.95, 1.05])
def test_patience_is_two_volumes_and_two_seconds_at_least(tr: float, seconds: float, late: float) -> None:
    """Volume 2 comes so much later than volume 3 that it is waited for, or not."""
    tiny = scan("mosaic", 10, tr=tr)
    third = next(due.at for due in tiny.due if due.volume == 3)
    actions = [
        Action(third + late * seconds if due.volume == 2 else due.at, number)
        for number, due in enumerate(tiny.due)
    ]
    frames, _ = streamed(ScheduledFeed(coming(tiny, actions)))
    assert [frame.volume for frame in frames] == list(range(1, 11))
    assert missing(frames) == ([2] if late > 1 else [])


def without(layout: str, keep) -> ScheduledFeed:
    """A feed of the objects whose number and volume ``keep`` says yes to."""
    due = scan(layout).due
    actions = [Action(one.at, n) for n, one in enumerate(due) if keep(n, one.volume)]
    return ScheduledFeed(coming(scan(layout), actions))


def first_of(layout: str, volume: int) -> int:
    return next(n for n, due in enumerate(scan(layout).due) if due.volume == volume)


@pytest.mark.parametrize("layout", ["xa-classic", "ge", "ge-echoes", "philips"])
def test_a_slice_that_is_lost_is_given_up_while_others_keep_coming(layout: str) -> None:
    """Not when at last there is a moment in which nothing comes: with files a slice there may be none."""
    gap = first_of(layout, 2)
    whole = coming(scan(layout), [Action(due.at, n) for n, due in enumerate(scan(layout).due) if n != gap])
    # Between any two there is less time than the stream waits for.
    steps = [(0.05 * n + at - at % 0.05, name, data) for n, (at, name, data) in enumerate(whole)]
    crowded = [
        (at + 0.04 * k, f"{name}.{k}", data if k == 0 else b"no DICOM, and longer than a preamble " * 9)
        for at, name, data in steps
        for k in range(40)
    ]
    frames, _ = streamed(ScheduledFeed(crowded), patience=1.0)
    assert missing(frames) == [2]
    third = next(
        at for at, name, _ in reversed(steps) if name in {f"{i.folder}/{i.name}" for i in scan(layout).of(3)}
    )
    # A frame that is missing says when it was given up: after the patience, and soon after it.
    assert third + TR <= frames[1].received <= third + 1.5 * TR
    check_values(frames, truth(layout))


@pytest.mark.parametrize("layout", ["mosaic-echoes", "xa-classic", "ge", "philips-echoes"])
def test_where_every_volume_lacks_something_each_is_given_up_in_its_time(layout: str) -> None:
    """Not all at once at the end of the run: nobody would have been told until then."""
    firsts = {first_of(layout, volume) for volume in range(1, VOLUMES + 1)}
    feed = without(layout, lambda n, volume: n not in firsts)
    frames, _ = streamed(feed, patience=1.0, idle=2.0)
    assert missing(frames) == list(range(1, VOLUMES + 1))
    began = {
        volume: min(due.at for due in scan(layout).due if due.volume == volume) for volume in range(1, 7)
    }
    for frame in frames[:3]:
        assert frame.received <= began[frame.volume + 1] + 2.0 + TR
        assert "slices came" in frame.missing or "did not come" in frame.missing
