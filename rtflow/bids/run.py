"""A run in memory: its volumes, checked to be of one run, and held without a copy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.agreement import entity_differences, header_differences, metadata_differences
from rtflow.bids.entities import ENTITIES, bids_name, matches, unknown_entity
from rtflow.bids.fields import OF_ONE_IMAGE
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import UsageError, VolumeError


class RunIncremental(BidsIncremental):
    """All volumes of a run as one image: as a `BidsIncremental`, with data of shape (i, j, k, volumes).

    ``volume`` is the number of the first one. Volumes that are missing are zeros, and are listed by their
    numbers under ``MissingVolumes`` of the metadata; all else there is that of the first volume.
    """

    __slots__ = ()
    _dimensions: ClassVar[int] = 4


class BidsRun:
    """The volumes of one run, in their order.

    Voxels are never copied on the way in or out: an incremental that was appended and the one that is got
    back have the same memory.

    Parameters
    ----------
    incrementals
        What is appended at once.

    Raises
    ------
    VolumeError
        As `append`.
    """

    def __init__(self, incrementals: Iterable[BidsIncremental] = ()) -> None:
        self._held: list[BidsIncremental] = []
        self._whole: RunIncremental | None = None
        for incremental in incrementals:
            self.append(incremental)

    def append(self, incremental: BidsIncremental) -> None:
        """Add the next volume, or the next echo of the last one.

        Parameters
        ----------
        incremental
            Its number is above those that are here; numbers may be left out. The first one says what run
            this is.

        Raises
        ------
        VolumeError
            If the number is not above the last one, or entities, header or metadata are those of another
            run; the message names each difference with both values. The run stays as it was.
        """
        self._check(incremental)
        self._held.append(incremental)
        self._whole = None

    def _check(self, incremental: BidsIncremental) -> None:
        if not self._held:
            return
        what = f"volume {incremental.volume}"
        if _place(incremental) <= _place(self._held[-1]):
            raise VolumeError(
                f"{what} comes after volume {self._held[-1].volume} was appended; volumes must come in order"
            )
        kin = next((one for one in self._held if _image(one) == _image(incremental)), None)
        differences = entity_differences(incremental.entities, self._held[0].entities)
        if kin is not None:
            differences += header_differences(incremental, kin)
            differences += metadata_differences(incremental.metadata, kin.metadata)
        elif incremental.volume != self._held[0].volume:
            differences.append(f"{_image_name(incremental)}, of which the run has no first volume")
        if differences:
            raise VolumeError(
                f"{what} is of another run: {'; '.join(differences)}; append it to a run of its own"
            )

    @property
    def incrementals(self) -> tuple[BidsIncremental, ...]:
        """All that was appended, in its order."""
        return tuple(self._held)

    @property
    def entities(self) -> Mapping[str, str]:
        """The entities of the run: without echo and part, where it has several."""
        if not self._held:
            return MappingProxyType({})
        several = len({_image(one) for one in self._held}) > 1
        entities = self._held[0].entities
        return MappingProxyType(
            {name: label for name, label in entities.items() if not (several and name in OF_ONE_IMAGE)}
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the volumes that are here."""
        return tuple(dict.fromkeys(one.volume for one in self._held))

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers between the first and the last one that are not here."""
        numbers = self.numbers
        return tuple(sorted(set(range(numbers[0], numbers[-1])) - set(numbers))) if numbers else ()

    def volume(self, number: int) -> BidsIncremental:
        """The volume of a number, from 1; of several echoes the first one.

        Raises
        ------
        UsageError
            If it is not here.
        """
        at = bisect_left(self._held, number, key=lambda one: one.volume)
        if at == len(self._held) or self._held[at].volume != number:
            numbers = self.numbers
            there = f"volumes {numbers[0]} to {numbers[-1]}" if numbers else "no volumes"
            raise UsageError(f"the run has no volume {number}; it has {there}")
        return self._held[at]

    def find(self, entities: Mapping[str, object]) -> BidsRun:
        """The part of the run whose images have these entities, say one echo; it may be empty.

        Parameters
        ----------
        entities
            By their long names; indices are compared as numbers.

        Raises
        ------
        UsageError
            If one of the names is no entity's.
        """
        for name in entities:
            if name not in ENTITIES:
                raise unknown_entity(name)
        found = BidsRun()
        found._held = [one for one in self._held if matches(one.entities, entities)]
        return found

    def as_incremental(self) -> RunIncremental:
        """All volumes as one image of four dimensions.

        Where the volumes lie in memory one behind the other, as those of an archive do, it is a view of
        them. Else their voxels are copied once, and the volumes of this run are views of it from then on,
        so that memory holds them once. Until the next volume is appended, the same one is returned.

        Raises
        ------
        UsageError
            If the run is empty, or has several echoes or parts.
        """
        if self._whole is None:
            self._whole = self._join()
        return self._whole

    def _join(self) -> RunIncremental:
        if not self._held:
            raise UsageError("the run is empty, and an image has one volume at least; append one")
        images = dict.fromkeys(map(_image_name, self._held))
        if len(images) > 1:
            raise UsageError(
                f"the run has {', '.join(images)}, and an image is of one; choose one: find({{'echo': '1'}})"
            )
        first, numbers = self._held[0], self.numbers
        data = None if self.missing else _one_behind_the_other([one.data for one in self._held])
        if data is None:
            shape = (*first.data.shape, numbers[-1] - numbers[0] + 1)
            data = np.zeros(shape, dtype=first.data.dtype, order="F")
            for one in self._held:
                data[..., one.volume - numbers[0]] = one.data
            self._held = [one.with_data(data[..., one.volume - numbers[0]]) for one in self._held]
        metadata = dict(first.metadata) | ({"MissingVolumes": list(self.missing)} if self.missing else {})
        return RunIncremental(
            data,
            first.affine,
            volume=first.volume,
            metadata=metadata,
            entities=first.entities,
            slope=first.slope,
            intercept=first.intercept,
            reference=first.reference,
            suffix=first.suffix,
        )

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[BidsIncremental]:
        return iter(tuple(self._held))

    @overload
    def __getitem__(self, index: int) -> BidsIncremental: ...
    @overload
    def __getitem__(self, index: slice) -> BidsRun: ...
    def __getitem__(self, index: int | slice) -> BidsIncremental | BidsRun:
        """By place, from 0, as in a list; a slice is a run."""
        if isinstance(index, slice):
            if index.step is not None and index.step < 0:
                raise UsageError("a run goes forward; take its volumes by a step above 0")
            part = BidsRun()
            part._held = self._held[index]
            return part
        try:
            return self._held[index]
        except IndexError:
            # An IndexError it must be, for those who go through a sequence by it.
            raise IndexError(f"the run has {len(self._held)} images, and none at {index}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BidsRun):
            return NotImplemented
        return self._held == other._held

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = bids_name(self.entities)
        return f"BidsRun({name}, {len(self.numbers)} volumes)" if self._held else "BidsRun(empty)"


def _image(one: BidsIncremental) -> tuple[str, ...]:
    return tuple(one.entities.get(name, "") for name in sorted(OF_ONE_IMAGE))


def _image_name(one: BidsIncremental) -> str:
    names = [f"{name} {one.entities[name]}" for name in sorted(OF_ONE_IMAGE) if one.entities.get(name)]
    return " ".join(names) or "an image without an echo"


def _place(one: BidsIncremental) -> tuple[int, int, str]:
    echo = one.entities.get("echo", "")
    return one.volume, int(echo) if echo.isdigit() else 0, one.entities.get("part", "")


def _one_behind_the_other(volumes: list[NDArray[Any]]) -> NDArray[Any] | None:
    """A view of volumes that follow each other in the memory of one array; else None."""
    first = volumes[0]
    owner = first.base
    address = first.__array_interface__["data"][0]
    for number, data in enumerate(volumes):
        if not data.flags.f_contiguous or data.base is None or data.base is not owner:
            return None
        if data.__array_interface__["data"][0] != address + number * first.nbytes:
            return None
    # The view holds the first volume, and that the memory of all of them.
    return np.lib.stride_tricks.as_strided(
        first, (*first.shape, len(volumes)), (*first.strides, first.nbytes), writeable=False
    )
