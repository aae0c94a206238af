"""Images to series, and those to volumes: what is whole, what is missing, what is there twice."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from rtflow.dicom.instance import Instance, Series
from rtflow.dicom.offline.counting import countable, counted_by_place, without_same
from rtflow.dicom.offline.found import Form, Found, Left, Traits
from rtflow.errors import DicomError

# Cosines of the angle by which planes may turn within one series: prospective motion correction turns them
# by a degree or two, the views of a localizer by far more.
_TURNED = 0.05
# Kinds whose planes are in one volume even if a header counts them through.
_ONE_VOLUME = ("anatomy", "derived", "fieldmap")

Same = Callable[[Found, Found], bool]


@dataclass(frozen=True)
class Volume:
    """All images of one volume.

    Parameters
    ----------
    number
        As the scanner counts, from 1.
    members
        The images.
    """

    number: int
    members: tuple[Found, ...]


@dataclass(frozen=True)
class Stack:
    """The volumes of one series that lie in one file: those of one size and orientation.

    Parameters
    ----------
    series, vendor, form, traits
        What they have in common.
    slices
        Number of planes of a volume; 0 if no header says it, and the planes that are there are all.
    echoes
        Numbers of the echoes.
    volumes
        Those that are whole, ascending.
    lost
        Number of a volume that is not whole, or not there between others that are: why.
    of
        How many stacks the series has.
    planned
        Number of volumes that the protocol asks for, if the headers say.
    notes
        What else is to be said.
    """

    series: Series
    vendor: str
    form: Form
    traits: Traits
    slices: int
    echoes: tuple[int, ...]
    volumes: tuple[Volume, ...]
    lost: Mapping[int, str] = field(default_factory=dict)
    of: int = 1
    planned: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """The volumes of its file, in their order: of a run those that were lost, too, between the others."""
        there = [volume.number for volume in self.volumes]
        if self.series.kind != "bold" or not there or _scattered(there):
            return there
        return list(range(there[0], there[-1] + 1))

    @property
    def acquired(self) -> float:
        """When its first volume was, seconds since 1970; 0 if that is not known."""
        times = [one.instance.acquired for one in self.volumes[0].members if one.instance.acquired]
        return min(times, default=0.0)


def sort_images(found: Iterable[Found], same: Same) -> tuple[list[Stack], list[Left]]:
    """What was found, by series and volume.

    Parameters
    ----------
    found
        Images in any order. Of two of one place the first counts.
    same
        Whether two images show the same pixels; asked only for two that claim one place.

    Returns
    -------
    tuple
        Stacks in the order of the series' numbers; what is left, with reasons: copies, and series of which
        no volume is whole.
    """
    groups: dict[tuple[str, int, str, str], list[Found]] = {}
    for one in found:
        series = one.instance.series
        groups.setdefault((series.uid, series.number, series.kind, series.part), []).append(one)
    stacks: list[Stack] = []
    left: list[Left] = []
    for members in groups.values():
        forms = _by_form(members)
        for form, images in forms:
            known, unknown = countable(images)
            left += unknown
            if not known:
                continue
            sorter = _Sorter(form, known, len(forms), same)
            stack = sorter.stack()
            if sorter.miscounted(stack):
                with contextlib.suppress(DicomError):
                    sorter = _Sorter(form, counted_by_place(without_same(known)), len(forms), same)
                    stack = sorter.stack()
            left += sorter.left
            if stack.volumes:
                stacks.append(stack)
            else:
                left.append(_none_whole(stack, images))
    stacks.sort(key=lambda stack: (stack.series.number, stack.acquired, stack.series.uid, stack.form.plane))
    return stacks, left


def _by_form(members: list[Found]) -> list[tuple[Form, list[Found]]]:
    exact: dict[Form, list[Found]] = {}
    for one in members:
        exact.setdefault(one.form, []).append(one)
    clusters: list[tuple[Form, list[Found]]] = []
    # The commonest first: a few odd ones do not give their name to all.
    for form, images in sorted(exact.items(), key=lambda item: -len(item[1])):
        near = next((held for known, held in clusters if _alike(known, form)), None)
        if near is None:
            clusters.append((form, images))
        else:
            near += images
    return clusters


def _alike(one: Form, other: Form) -> bool:
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and len(one.orientation) == len(other.orientation)
        and len(one.spacing) == len(other.spacing)
        and all(abs(a - b) < 1e-3 for a, b in zip(one.spacing, other.spacing, strict=True))
        and all(abs(a - b) < _TURNED for a, b in zip(one.orientation, other.orientation, strict=True))
    )


def _none_whole(stack: Stack, images: list[Found]) -> Left:
    reasons = Counter(stack.lost.values()).most_common(1)
    return Left(
        f"{stack.series}, {stack.vendor}",
        f"no volume is whole: {reasons[0][0]}",
        len(images),
        Path(images[0].path).name,
        wanted=True,
    )


Position = tuple[int, int, float | None]


class _Sorter:
    """Puts the images of one series and form to volumes."""

    def __init__(self, form: Form, images: list[Found], of: int, same: Same) -> None:
        self.left: list[Left] = []
        self._form = form
        self._of = of
        self._same = same
        self._series = images[0].instance.series
        self._images = self._without_copies(images)
        slices = max(one.instance.slices for one in self._images)
        # The views of a localizer are counted together in the header.
        self._slices = 0 if of > 1 and self._series.kind in _ONE_VOLUME else slices

    def stack(self) -> Stack:
        """The volumes."""
        members: dict[int, list[Found]] = {}
        for one in self._images:
            for number in {piece.volume for piece in one.instance.pieces}:
                members.setdefault(number, []).append(one)
        members = self._as_one(members)
        echoes = sorted({piece.echo for one in self._images for piece in one.instance.pieces})
        lost = self._lost(members, echoes)
        whole = [Volume(number, tuple(members[number])) for number in sorted(members.keys() - lost.keys())]
        if self._series.kind == "bold" and whole:
            numbers = [volume.number for volume in whole]
            if _scattered(numbers):
                few = f"only {len(numbers)} of the volumes {numbers[0]} to {numbers[-1]} are there"
                self.left.append(
                    Left(str(self._series), f"{few}; in the file they follow one another", wanted=True)
                )
            else:
                between = range(numbers[0], numbers[-1])
                lost |= {number: "no image of it" for number in between if number not in members}
        first = self._images[0]
        planned = first.instance.planned
        return Stack(
            series=self._series,
            vendor=first.instance.vendor,
            form=self._form,
            traits=first.traits,
            slices=self._slices,
            echoes=tuple(echoes),
            volumes=tuple(whole),
            lost=dict(sorted(lost.items())),
            of=self._of,
            planned=planned,
            notes=self._notes(echoes),
        )

    def miscounted(self, stack: Stack) -> bool:
        """Whether the headers count something else than volumes.

        Runs of one series that were numbered anew each are not counted through.
        """
        numbers = {piece.volume for one in self._images for piece in one.instance.pieces}
        return not stack.volumes and (not self._clashes or len(numbers) == 1 or self._series.kind != "bold")

    def _notes(self, echoes: list[int]) -> tuple[str, ...]:
        notes = []
        announced = max(one.instance.echoes for one in self._images)
        if self._series.kind == "bold" and announced > len(echoes):
            notes.append(f"the protocol has {announced} echoes, {len(echoes)} there")
        if len({one.traits.scale for one in self._images}) > 1:
            notes.append("the scale of the values differs from image to image; they are as stored")
        if self._images[0].traits.diffusion and self._series.kind == "spin-echo":
            notes.append("weighted by diffusion: directions and b-values are not written")
        return tuple(notes)

    def _without_copies(self, images: list[Found]) -> list[Found]:
        taken: dict[Position, Found] = {}
        kept: list[Found] = []
        copies: list[tuple[Found, Found]] = []
        self._clashes: dict[int, str] = {}
        for one in images:
            positions = [(piece.volume, piece.echo, piece.place) for piece in one.instance.pieces]
            other = next((taken[position] for position in positions if position in taken), None)
            if other is None:
                kept.append(one)
                taken.update(dict.fromkeys(positions, one))
            elif one.instance.pieces == other.instance.pieces and (
                (one.instance.uid and one.instance.uid == other.instance.uid) or self._same(one, other)
            ):
                copies.append((one, other))
            else:
                why = (
                    f"{Path(one.path).name} and {Path(other.path).name} are of one place, and differ; "
                    "what tells them apart is not known"
                )
                for volume, _, _ in positions:
                    self._clashes.setdefault(volume, why)
        if copies:
            copy, original = (Path(one.path).name for one in copies[0])
            self.left.append(
                Left(str(self._series), f"copies, such as {copy} of {original}", len(copies), copy)
            )
        return kept

    def _as_one(self, members: dict[int, list[Found]]) -> dict[int, list[Found]]:
        """One volume, where a count that is no count of volumes has spread its planes over several."""
        if len(members) < 2 or self._series.kind not in _ONE_VOLUME or self._clashes:
            return members
        places = [(piece.echo, piece.place) for one in self._images for piece in one.instance.pieces]
        if len(set(places)) < len(places):
            return members
        heights = sorted({place for _, place in places if place is not None})
        # Where slices are interpolated or echoes interleaved the number that is stated is another.
        if not heights or (self._slices and not _even(heights)):
            return members
        self._slices = 0
        return {min(members): [one for number in sorted(members) for one in members[number]]}

    def _lost(self, members: Mapping[int, list[Found]], echoes: list[int]) -> dict[int, str]:
        merged = len(members) == 1
        planes: dict[int, dict[int, int]] = {}
        for number, images in members.items():
            planes[number] = dict.fromkeys(echoes, 0)
            for one in images:
                for piece in one.instance.pieces:
                    if merged or piece.volume == number:
                        planes[number][piece.echo] += len(piece.frames)
        usual = Counter(max(counts.values()) for counts in planes.values()).most_common(1)
        wanted = self._slices or usual[0][0]
        lost = dict(self._clashes)
        for number, counts in planes.items():
            short = {echo: count for echo, count in counts.items() if count != wanted}
            if short and number not in lost:
                said = [
                    (f"echo {echo}: " if len(echoes) > 1 else "") + f"{count} of {wanted} slices"
                    for echo, count in short.items()
                ]
                lost[number] = ", ".join(said)
        return lost


def _even(heights: list[float]) -> bool:
    gaps = [above - below for below, above in pairwise(heights)]
    return max(gaps) < 1.1 * min(gaps) + 0.02


def _scattered(numbers: list[int]) -> bool:
    """Whether most are missing: an excerpt, or a count that is none. Zeros would only fill the disk."""
    return numbers[-1] - numbers[0] + 1 > 2 * len(numbers)


def placed(instance: Instance, stack: Stack, volume: int) -> Instance:
    """An image's place in its stack, where that is another than its header says."""
    pieces = instance.pieces
    if len(pieces) == 1 and pieces[0].volume != volume:
        pieces = (replace(pieces[0], volume=volume),)
    if pieces is instance.pieces and (instance.mosaic or instance.slices == stack.slices):
        return instance
    return replace(instance, pieces=pieces, slices=stack.slices)
