"""The schedule of faults: what it says was done is what is in its actions, and nothing else."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.errors import UsageError
from rtflow.sources.simulation.faults import STRAYS, Due, Faults, Schedule, make_schedule

SHARES = ("drop", "duplicate", "delay", "reorder", "truncate", "stray")
TR = 2.0


def scan(volumes: int, pieces: int, scans: int = 1, spared: int = 0) -> list[Due]:
    """Volumes of so many objects each, and of spared ones; a localizer before all."""
    objects = [Due(0, 0.0, scan=0, spared=True)]
    for number in range(1, scans + 1):
        begins = 1000.0 * (number - 1)
        for volume in range(1, volumes + 1):
            objects += [
                Due(volume, begins + TR * volume + 0.01 * piece, number, spared=piece >= pieces)
                for piece in range(pieces + spared)
            ]
    return objects


shares = st.sampled_from([0.0, 0.2, 0.7, 1.0])
scans = st.builds(scan, st.integers(1, 12), st.integers(1, 4), st.integers(1, 2), st.integers(0, 2))
faults = st.builds(Faults, **dict.fromkeys(SHARES, shares))
seeds = st.integers(0, 2**31)


def objects_of(schedule: Schedule, kind: str) -> set[int]:
    return {number for fault in schedule.faults if fault.fault == kind for number in fault.objects}


@given(scans, seeds)
def test_without_faults_all_comes_when_it_is_due(objects: list[Due], seed: int) -> None:
    schedule = make_schedule(objects, Faults(), tr=TR, seed=seed)
    assert [(one.object, one.at, one.share) for one in schedule.actions] == [
        (number, due.at, 1.0) for number, due in enumerate(objects)
    ]
    assert not schedule.faults
    assert not schedule.missing(objects)
    assert not Faults()


@given(scans, faults, seeds)
def test_the_account_tells_all_that_was_done(objects: list[Due], wrong: Faults, seed: int) -> None:
    schedule = make_schedule(objects, wrong, tr=TR, seed=seed)
    assert [one.at for one in schedule.actions] == sorted(one.at for one in schedule.actions)
    firsts = {}
    rest = []
    for action in schedule.actions:
        if action.object is not None and action.object not in firsts and not action.copy:
            firsts[action.object] = action
        else:
            rest.append(action)
    dropped, cut = objects_of(schedule, "drop"), objects_of(schedule, "truncate")
    assert set(firsts) == set(range(len(objects))) - dropped
    assert {number for number, action in firsts.items() if action.share < 1.0} == cut
    told = objects_of(schedule, "delay") | objects_of(schedule, "reorder")
    assert {number for number, action in firsts.items() if action.at != objects[number].at} <= told
    completed = {
        number
        for fault in schedule.faults
        if fault.fault == "truncate" and fault.seconds is not None
        for number in fault.objects
    }
    copied = objects_of(schedule, "duplicate")
    assert Counter((one.object, one.copy) for one in rest if one.object is not None) == Counter(
        [(number, False) for number in completed] + [(number, True) for number in copied]
    )
    strays = [(fault.scan, fault.volume, fault.stray) for fault in schedule.faults if fault.fault == "stray"]
    assert sorted((*(one.before or ()), one.stray) for one in rest if one.object is None) == sorted(strays)
    assert {kind for _, _, kind in strays} <= set(STRAYS)
    assert schedule.whole == set(range(len(objects))) - dropped - (cut - completed - copied)
    lost = set(range(len(objects))) - schedule.whole
    assert schedule.missing(objects) == sorted({(objects[n].scan, objects[n].volume) for n in lost})


@given(scans, faults, seeds)
def test_what_is_spared_comes_when_it_is_due(objects: list[Due], wrong: Faults, seed: int) -> None:
    schedule = make_schedule(objects, wrong, tr=TR, seed=seed)
    spared = {number for number, due in enumerate(objects) if due.spared}
    come = [one for one in schedule.actions if one.object in spared]
    assert {one.object: one.at for one in come} == {number: objects[number].at for number in spared}
    assert len(come) == len(spared)
    assert not spared & {number for fault in schedule.faults for number in fault.objects}


@given(scans, faults, seeds, st.sampled_from(SHARES))
def test_the_same_seed_gives_the_same_and_every_fault_has_a_chance_of_its_own(
    objects: list[Due], wrong: Faults, seed: int, other: str
) -> None:
    schedule = make_schedule(objects, wrong, tr=TR, seed=seed)
    assert make_schedule(objects, wrong, tr=TR, seed=seed) == schedule
    without = make_schedule(objects, replace(wrong, **{other: 0.0}), tr=TR, seed=seed)
    if other in ("duplicate", "delay", "stray"):  # others bear on what is left, or on its times
        kept = [fault for fault in schedule.faults if fault.fault not in (other, "reorder")]
        assert kept == [fault for fault in without.faults if fault.fault != "reorder"]


@given(st.integers(1, 12), st.integers(1, 4), shares, seeds)
def test_a_longer_run_begins_with_the_same_faults(volumes: int, pieces: int, share: float, seed: int) -> None:
    wrong = Faults(drop=share, delay=share, truncate=share)
    short, long = (make_schedule(scan(n, pieces), wrong, tr=TR, seed=seed) for n in (volumes, volumes + 5))
    assert [fault for fault in long.faults if fault.volume <= volumes] == list(short.faults)


@given(scans, seeds)
def test_reordering_keeps_the_times_and_changes_who_has_them(objects: list[Due], seed: int) -> None:
    schedule = make_schedule(objects, Faults(reorder=1.0), tr=TR, seed=seed)
    assert sorted(one.at for one in schedule.actions) == sorted(due.at for due in objects)
    moved = {one.object for one in schedule.actions if one.at != objects[one.object or 0].at}
    assert moved <= objects_of(schedule, "reorder")
    scans_of = {one.object: objects[one.object or 0].scan for one in schedule.actions}
    spans = {
        number: [one.at for one in schedule.actions if scans_of[one.object] == number]
        for number in set(scans_of.values())
    }
    assert all(max(times) < 1000.0 * max(number, 1) for number, times in spans.items())


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 2), seeds, st.data())
def test_a_stopped_scan_leaves_nothing_after_its_last_volume(
    volumes: int, pieces: int, scans: int, seed: int, data: st.DataObject
) -> None:
    last = data.draw(st.integers(1, volumes))
    objects = scan(volumes, pieces, scans, spared=1)
    wrong = Faults(abort=last, delay=0.5, duplicate=0.5, stray=0.5)
    schedule = make_schedule(objects, wrong, tr=TR, seed=seed)
    there = Counter(
        objects[n].volume for n in schedule.whole if objects[n].scan == 1 and not objects[n].spared
    )
    half = {last: pieces // 2} if pieces > 1 else {}
    assert there == dict.fromkeys(range(1, last), pieces) | half
    assert schedule.missing(objects) == [(1, volume) for volume in range(last, volumes + 1)]
    assert [fault.volume for fault in schedule.faults if fault.fault == "abort"] == [last]


def test_shares_are_of_volumes() -> None:
    objects = scan(2000, 3)
    schedule = make_schedule(objects, Faults(**dict.fromkeys(SHARES, 0.1)), tr=TR, seed=4)
    hit = Counter(fault.fault for fault in schedule.faults)
    for kind in SHARES:
        # Five standard deviations of a binomial; those that were dropped suffer nothing else.
        assert 200 - 90 < hit[kind] < 200 + 70, kind
    wholly = [fault for fault in schedule.faults if fault.fault == "drop" and len(fault.objects) == 3]
    assert 0.3 * hit["drop"] < len(wholly) < 0.7 * hit["drop"]


def test_delays_are_as_long_as_was_asked_for() -> None:
    objects = scan(50, 2)
    schedule = make_schedule(objects, Faults(delay=1.0, lateness=(4.0, 6.0)), tr=TR)
    for fault in schedule.faults:
        assert fault.seconds is not None
        assert 8.0 <= fault.seconds <= 12.0
        for number in fault.objects:
            (action,) = (one for one in schedule.actions if one.object == number)
            assert action.at == objects[number].at + fault.seconds


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"drop": 1.5}, "drop: expected a share of volumes from 0 to 1, got 1.5"),
        ({"stray": -0.1}, "stray: expected a share"),
        ({"abort": 0}, "abort: expected the number of a volume"),
        ({"lateness": (3.0, 1.0)}, "lateness: expected the least and the greatest"),
    ],
)
def test_faults_that_cannot_be(wrong: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Faults(**wrong)


def test_a_scan_cannot_be_stopped_where_it_has_no_volume() -> None:
    with pytest.raises(UsageError, match="no volume 9"):
        make_schedule(scan(3, 1), Faults(abort=9), tr=TR)
