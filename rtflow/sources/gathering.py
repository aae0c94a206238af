"""Objects to volumes: which planes of which echoes are there, and when a volume is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.instance import DicomObject, Instance, Piece
from rtflow.documents import Frame, Part
from rtflow.errors import DicomError
from rtflow.sources.reading import Shape, StoredObject

_OTHER_ECHO = 0.1
"""By how much echo times differ where echoes do, ms."""

Plane = tuple[int, float | None]
"""Echo, and place along the normal; no place for what holds all planes."""


@dataclass(frozen=True)
class GatheredVolume:
    """A volume of which all planes of all echoes are there.

    Parameters
    ----------
    volume
        Its number.
    objects
        What holds it, echo by echo, planes in ascending order.
    received
        When the last byte was there; None for what was there at the start.
    """

    volume: int
    objects: tuple[StoredObject, ...]
    received: float | None

    def frame(self, at: float) -> Frame:
        """The volume as a frame; a missing one if its files can no longer be read.

        Parameters
        ----------
        at
            The time, seconds since 1970.
        """
        found = []
        for stored in self.objects:
            try:
                found.append(stored.read_again())
            except (OSError, DicomError) as error:
                why = f"{stored.path.name} can no longer be read ({error})"
                return Frame(self.volume, at, missing=why)
        received = at if self.received is None else self.received
        items = tuple(stored.item for stored in found if stored.item is not None)
        acquired = _acquired(items, self.volume)
        if any(len({piece.volume for piece in item.instance.pieces}) > 1 for item in items):
            return self._taken_out(items, received, acquired)
        parts = tuple(Part(stored.arrival.name, "application/dicom", stored.arrival.data) for stored in found)
        return Frame(self.volume, received, parts, acquired=acquired, payload=items)

    def _taken_out(self, items: Sequence[DicomObject], received: float, acquired: float | None) -> Frame:
        """A volume of an object of many, as files of its own: the journal need not keep all with each."""
        try:
            parts = tuple(
                part
                for incremental in to_incrementals(items, self.volume)
                for part in nifti_parts(incremental)
            )
        except DicomError as error:
            return Frame(self.volume, received, missing=str(error))
        return Frame(self.volume, received, parts, acquired=acquired)


def nifti_parts(incremental: BidsIncremental) -> tuple[Part, Part]:
    """One echo of a volume as a NIfTI file and its JSON sidecar."""
    stem = f"volume-{incremental.volume:04d}_echo-{incremental.entities.get('echo', '1')}"
    return (
        Part(f"{stem}.nii", "application/x-nifti", incremental.image.to_bytes()),
        Part(f"{stem}.json", "application/json", json.dumps(dict(incremental.metadata)).encode()),
    )


def _acquired(items: Sequence[DicomObject], volume: int) -> float | None:
    times = []
    for item in items:
        instance = item.instance
        if instance.acquired is None:
            continue
        # Of an object of several volumes only the first one's time is known: the rest follow at their TR.
        after = (
            (volume - instance.volume) * (instance.tr or 0.0) if instance.last_volume > instance.volume else 0
        )
        times.append(instance.acquired + after)
    return min(times, default=None)


class Gatherer:
    """Holds the planes of volumes until they are whole."""

    def __init__(self) -> None:
        self._held: dict[int, dict[Plane, StoredObject]] = {}
        self._shape: Shape | None = None
        self._echo_times: dict[int, float] = {}

    def add(self, stored: StoredObject, *, live: bool = True) -> list[GatheredVolume]:
        """Take in an object; the volumes that are whole now.

        A plane that is there already is passed over: the first one counts.

        Parameters
        ----------
        stored
            The object.
        live
            Whether it came during the run; what was there before is read again in its turn.

        Raises
        ------
        DicomError
            If its size or orientation is not that of the run.
        """
        instance = stored.instance
        self._compare(stored)
        # An object of many volumes is read once.
        kept = stored if live or instance.last_volume > instance.volume else stored.without_data()
        for piece in instance.pieces:
            self._held.setdefault(piece.volume, {}).setdefault((piece.echo, piece.place), kept)
        volumes = sorted({piece.volume for piece in instance.pieces})
        whole = [volume for volume in volumes if _is_whole(instance, self._held[volume])]
        return [self._gathered(volume, live) for volume in whole]

    def has(self, piece: Piece) -> bool:
        """Whether the plane is there."""
        return (piece.echo, piece.place) in self._held.get(piece.volume, {})

    def drop(self, volume: int) -> list[StoredObject]:
        """Keep nothing of a volume any more; what there was of it."""
        return list(self._held.pop(volume, {}).values())

    def partial(self) -> dict[int, str]:
        """Volumes of which something is there, and what, in words."""
        return {volume: _in_words(held) for volume, held in self._held.items() if held}

    def _gathered(self, volume: int, live: bool) -> GatheredVolume:
        held = self._held.pop(volume)
        ordered = (held[key] for key in sorted(held, key=lambda key: (key[0], key[1] or 0.0)))
        # An object may hold several echoes: it is there once. Two may have the same name, one after another.
        objects = tuple({id(stored): stored for stored in ordered}.values())
        received = max(stored.arrival.received for stored in objects)
        return GatheredVolume(volume, objects, received if live else None)

    def _compare(self, stored: StoredObject) -> None:
        shape = stored.shape
        if self._shape is None:
            self._shape = shape
        shape.compare(self._shape)
        echo, time = shape.echo
        if abs(self._echo_times.setdefault(echo, time) - time) > _OTHER_ECHO:
            # Research sequences number all echoes 1: which one of two is meant would be a guess.
            raise DicomError(
                f"its echo {echo} is at {time:g} ms, that of the run at {self._echo_times[echo]:g} ms"
            )


def _is_whole(instance: Instance, held: Mapping[Plane, StoredObject]) -> bool:
    slices = max(instance.slices, 1)
    if len(held) >= slices * instance.echoes:
        return True
    # One object may hold all planes of an echo; asked for each object that comes, so only then in detail.
    if all(place is not None for _, place in held):
        return False
    return all(
        (echo, None) in held or sum(number == echo for number, _ in held) >= slices
        for echo in range(1, instance.echoes + 1)
    )


def _in_words(held: Mapping[Plane, StoredObject]) -> str:
    instance = next(iter(held.values())).instance
    there = {echo for echo, _ in held}
    lacking = [str(echo) for echo in range(1, instance.echoes + 1) if echo not in there]
    if lacking:
        return f"echo {', '.join(lacking)} of {instance.echoes} did not come"
    return f"only {len(held)} of {instance.slices * instance.echoes} slices came"
