"""Volumes counted by their places, where headers do not count them: only once all of a series is there.

Each plane of each echo comes once a volume; the order of those of one place is that of their times, or of
their numbers. Whatever leaves a choice is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rtflow.dicom.instance import Instance
from rtflow.dicom.offline.found import Found, Left
from rtflow.errors import DicomError

_Key = tuple[int, float | None]


def countable(images: list[Found]) -> tuple[list[Found], list[Left]]:
    """Images whose volumes are known, if need be by their places; and those of which they are not."""
    uncounted = [one for one in images if one.instance.uncounted is not None]
    if not uncounted:
        return images, []
    try:
        return counted_by_place(without_same(images)), []
    except DicomError as error:
        if len({one.instance.volume for one in uncounted}) > 1:
            # Volumes are numbered; how many slices they have is what most of them have.
            return images, []
        what, _, why = str(uncounted[0].instance.uncounted).partition(": ")
        # All of GE's are counted by one rule: where some contradict it, it holds for none.
        others = [one for one in images if one.instance.uncounted is None and one.instance.vendor != "GE"]
        lost = len(images) - len(others)
        left = Left(what, f"{why}; {error}", lost, Path(uncounted[0].path).name, wanted=True)
        return others, [left]


def without_same(images: list[Found]) -> list[Found]:
    """The images, each object once."""
    return list({one.instance.uid or one.path: one for one in images}.values())


def counted_by_place(images: Sequence[Found]) -> list[Found]:
    """The images with the volumes that they must be of.

    Parameters
    ----------
    images
        All of one series and form, without copies, each with planes of one volume.

    Raises
    ------
    DicomError
        If some places are there more often than others, or fewer of them than the header states, or nothing
        tells their order; says which.
    """
    places: dict[_Key, list[Found]] = {}
    for one in images:
        if len(one.instance.pieces) != 1:
            raise DicomError("objects of several volumes, or echoes, cannot be counted by their places")
        piece = one.instance.pieces[0]
        places.setdefault((piece.echo, piece.place), []).append(one)
    counts = {len(members) for members in places.values()}
    if len(counts) != 1:
        raise DicomError(f"some of its places are there {min(counts)} times, others {max(counts)} times")
    count = counts.pop()
    planes = len({place for _, place in places if place is not None})
    stated = max(one.instance.slices for one in images)
    announced = max(one.instance.echoes for one in images)
    if images[0].instance.vendor == "GE" and len({echo for echo, _ in places}) < announced:
        # Research sequences give all echoes the first's number and time (dcm2niix, GE/README.md).
        raise DicomError(f"its {announced} echoes are not told apart")
    if 0 < planes < stated:
        raise DicomError(f"{planes} of {stated} slices")
    if count > 1:
        order = _order(places)
        for members in places.values():
            members.sort(key=order)
    return [
        replace(one, instance=_of(one, volume, planes))
        for members in places.values()
        for volume, one in enumerate(members, start=1)
    ]


def _of(one: Found, volume: int, planes: int) -> Instance:
    instance = one.instance
    (piece,) = instance.pieces
    # What is no single plane is a whole volume.
    slices = instance.slices if piece.place is None else planes
    return replace(instance, pieces=(replace(piece, volume=volume),), slices=slices, uncounted=None)


def _order(places: dict[_Key, list[Found]]) -> Callable[[Found], float]:
    """By what the images of each place are ordered."""
    orders = [order for order in (_time, _number) if _tells(places, order)]
    if not orders:
        raise DicomError("neither times nor numbers tell the order of those of one place")
    if len(orders) == 2 and any(
        sorted(members, key=orders[0]) != sorted(members, key=orders[1]) for members in places.values()
    ):
        raise DicomError("by their times those of one place follow in another order than by their numbers")
    if orders == [_number] and not _in_blocks(places):
        raise DicomError("their numbers run neither through places nor through volumes")
    return orders[0]


def _time(one: Found) -> float:
    return -1.0 if one.began is None else one.began


def _number(one: Found) -> float:
    return -1.0 if one.number is None else float(one.number)


def _tells(places: dict[_Key, list[Found]], order: Callable[[Found], float]) -> bool:
    """Whether all images have it, and those of one place each another."""
    return all(
        len({order(one) for one in members}) == len(members) and min(map(order, members)) >= 0
        for members in places.values()
    )


def _in_blocks(places: dict[_Key, list[Found]]) -> bool:
    """Whether numbers run through all of one volume, or of one place (of one echo), before the next.

    Some exports number at random: what is first of each place is then no volume.
    """
    of_place: dict[Hashable, list[float]] = {}
    of_plane: dict[Hashable, list[float]] = {}
    of_volume: dict[Hashable, list[float]] = {}
    for (echo, place), members in places.items():
        numbers = sorted(map(_number, members))
        of_place.setdefault(place, []).extend(numbers)
        of_plane[echo, place] = numbers
        for volume, number in enumerate(numbers):
            of_volume.setdefault(volume, []).append(number)
    return any(map(_apart, (of_place, of_plane, of_volume)))


def _apart(blocks: dict[Hashable, list[float]]) -> bool:
    ranges = sorted((min(numbers), max(numbers)) for numbers in blocks.values())
    return all(end < begin for (_, end), (begin, _) in pairwise(ranges))
