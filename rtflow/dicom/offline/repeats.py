"""Several series of one BIDS name: an index for each run, and for what belongs to it the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rtflow.bids.entities import bids_name
from rtflow.dicom.offline.place import Place
from rtflow.dicom.offline.sort import Stack


def numbered(stacks: Sequence[Stack], places: Sequence[Place]) -> list[Place]:
    """The places, with a run index each where several have one name.

    Indices that names ask for are given to the first that asks; others take the next that is free. A
    single-band reference has the index of the run that comes next, a phase image that of the run that was
    acquired with it.
    """
    done = list(places)
    leaders: dict[str, list[int]] = {}
    followers: dict[str, list[int]] = {}
    for index, (stack, place) in enumerate(zip(stacks, places, strict=True)):
        if place.suffix:
            follows = place.suffix in ("bold", "sbref") and not stack.series.streamed
            (followers if follows else leaders).setdefault(_name(place), []).append(index)
    for members in leaders.values():
        _give(done, members, [_run(places[index]) for index in members])
    for members in followers.values():
        run = _name(replace(places[members[0]], suffix="bold"), part="")
        led = leaders.get(run, [])
        wanted = []
        for index in members:
            asked = _run(places[index])
            candidates = [one for one in led if not asked or _run(places[one]) == asked]
            leader = _leader(stacks, index, candidates)
            wanted.append(asked if leader is None else _run(done[leader]))
        _give(done, members, wanted, asked=[_run(places[index]) for index in members])
    return done


def _give(
    places: list[Place], members: Sequence[int], wanted: Sequence[str], asked: Sequence[str] | None = None
) -> None:
    """Set the runs of places that otherwise have one name."""
    alone = len(members) == 1
    runs = ["" if run or alone else None for run in wanted]
    digits = max(map(len, wanted))
    taken: set[int] = set()
    for at, run in enumerate(wanted):
        if run and int(run) not in taken:
            runs[at] = run
            taken.add(int(run))
    for at, (given, first) in enumerate(zip(runs, wanted, strict=True)):
        if given or (alone and not first):
            continue
        number = int(first or 0) + 1
        while number in taken:
            number += 1
        taken.add(number)
        runs[at] = str(number).zfill(digits)
    for at, index in enumerate(members):
        new, before = runs[at] or "", (asked or wanted)[at]
        place = places[index]
        rest = {name: label for name, label in place.entities.items() if name != "run"}
        note = place.note
        if before and new != before:
            note = f"run-{before} is there already, so it is run-{new}"
        places[index] = replace(place, entities=rest | ({"run": new} if new else {}), note=note)


def _leader(stacks: Sequence[Stack], follower: int, candidates: Sequence[int]) -> int | None:
    """The run that a reference comes before, or that a phase image was acquired with."""
    stack = stacks[follower]
    if not candidates:
        return None
    if stack.series.kind == "sbref":
        later = [one for one in candidates if stacks[one].series.number > stack.series.number]
        return later[0] if later else candidates[-1]
    return min(
        candidates,
        key=lambda one: (
            abs(stacks[one].acquired - stack.acquired),
            abs(stacks[one].series.number - stack.series.number),
        ),
    )


def _run(place: Place) -> str:
    return place.entities.get("run", "")


def _name(place: Place, part: str | None = None) -> str:
    """The name without its run, and with another part if one is given."""
    entities = {**place.entities, "run": ""} | ({} if part is None else {"part": part})
    return f"{place.folder / bids_name(entities)}_{place.suffix}"
