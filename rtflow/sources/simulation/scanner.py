"""A scan as the DICOM objects that come of it, in scanner order, each with the time at which it is due."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtflow.dicom.writing import ScanSeries, Written, write_run, write_volume
from rtflow.errors import UsageError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.faults import Action, Due, Faults, Schedule, make_schedule
from rtflow.sources.simulation.others import localizer, stray
from rtflow.sources.simulation.plan import make_plan
from rtflow.sources.simulation.protocol import ONE_OBJECT, ScanProtocol, slice_times
from rtflow.sources.simulation.takes import Role, Take, folder_name, make_take
from rtflow.sources.simulation.truth import Truth
from rtflow.sources.simulator import SimulatorSource
from rtflow.trials import Design

PAUSE = 10.0
"""Seconds from the end of a stopped scan to the start of the next."""

_DELIVERY = 0.25
"""Share of TR over which the objects of a volume are delivered, from its reconstruction on."""

# Volumes of the shortest run that has room for the default design.
_SHORTEST = 17

_ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True)
class ScanObject:
    """A DICOM object as it leaves the scanner.

    Parameters
    ----------
    series
        Which series it belongs to.
    volume
        Number of its volume, from 1 (of an object that holds a whole run, the first); 0 for none.
    name
        File name, unique within the folder of its series.
    data
        Its bytes.
    """

    series: ScanSeries
    volume: int
    name: str
    data: bytes

    @property
    def folder(self) -> str:
        """Name of the folder of its series."""
        return folder_name(self.series)


class Scanner:
    """A simulated scan by one vendor's scanner.

    The objects are a function of what is given here: the same bytes each time.

    Parameters
    ----------
    spec
        What is simulated; ``speed`` and ``truth`` are not looked at.
    protocol
        How the scanner is set.
    design
        What the participant is asked to do; default `rtflow.sources.simulator.default_design`, and
        nothing at all in a run that is too short for it.
    faults
        What goes wrong on the way.
    restart
        Volume in which the scan is stopped, to be started again 10 s later as a new series. The stopped one
        is made from the next seed, the new one from ``spec``'s.

    Attributes
    ----------
    spec, protocol, design, faults
        As given, or by default.
    volumes
        How many the protocol asks for.
    slice_times
        When each slice along k is taken, seconds from the start of its volume.
    restarted
        Whether the scan is stopped and started again.

    Raises
    ------
    UsageError
        If this makes no scan.
    """

    def __init__(
        self,
        spec: SimulateSource,
        protocol: ScanProtocol | None = None,
        *,
        design: Design | None = None,
        faults: Faults | None = None,
        restart: int | None = None,
    ) -> None:
        self.protocol = protocol or ScanProtocol()
        self.faults = faults or Faults()
        if design is None and spec.volumes is not None and spec.volumes < _SHORTEST:
            design = Design(())
        source = SimulatorSource(spec, design)
        self.spec = spec
        self.design = source.design
        self.volumes = source.volumes
        self.slice_times = slice_times(
            spec.shape[2],
            spec.tr,
            self.protocol.slice_order,
            self.protocol.multiband,
            vendor=self.protocol.vendor,
        )
        if self.protocol.echo_times[-1] >= spec.tr:
            raise UsageError(
                f"the last echo, at {self.protocol.echo_times[-1]:g} s, comes after TR, {spec.tr:g} s; "
                "choose a longer TR or earlier echoes"
            )
        if restart is not None:
            if self.faults.abort is not None:
                raise UsageError("abort and restart both stop the scan; give one of them")
            self.faults = replace(self.faults, abort=restart)
        stopped = self.faults.abort
        if stopped is not None and stopped > self.volumes:
            raise UsageError(f"the scan cannot be stopped in volume {stopped}; it has {self.volumes}")
        if stopped is not None and self.protocol.vendor in ONE_OBJECT:
            raise UsageError(
                f"{self.protocol.vendor} writes one object when the scan ends, and none if it is stopped; "
                "choose another vendor for abort and restart"
            )
        self.restarted = restart is not None
        looked_at = msgspec.structs.replace(spec, speed=1.0, truth="", drop=False)
        settings = msgspec.json.encode([msgspec.to_builtins(looked_at), self.protocol, self.design])
        uid = f"{_ROOT}.{int.from_bytes(hashlib.sha256(settings).digest()[:6])}"
        self._sbref_time = spec.tr if self.protocol.sbref else 0.0
        first = (spec.tr if self.protocol.localizer else 0.0) + self._sbref_time
        specs = [spec]
        if self.restarted:
            specs = [msgspec.structs.replace(spec, seed=spec.seed + 1), spec]
        self._takes: list[Take] = []
        number, begins = self.protocol.number, first
        for take, one in enumerate(specs, start=1):
            made = stopped if stopped is not None and take == 1 else self.volumes
            began = self.protocol.began + datetime.timedelta(seconds=begins - first)
            series = ScanSeries(
                np.eye(4),  # the scan's is put in its place
                tr=spec.tr,
                echo_times=self.protocol.echo_times,
                slice_times=self.slice_times,
                number=number,
                name=self.protocol.name,
                planned=self.volumes,
                began=began,
                uid=uid,
                multiband=self.protocol.multiband,
                patient_position=self.protocol.position,
            )
            plan = make_plan(one, self.design, self.volumes)
            self._takes.append(make_take(take, one, plan, self.protocol, series, begins, made))
            begins += made * spec.tr + PAUSE + self._sbref_time
            number += 1 + self.protocol.phase + self.protocol.sbref

    @property
    def series(self) -> tuple[Role, ...]:
        """All series in the order in which they begin."""
        found = []
        if self.protocol.localizer:
            found.append(Role("localizer", self._localizer, 0, self.spec.seed))
        for take in self._takes:
            for role in ("sbref", "magnitude", "phase"):
                series = getattr(take, role)
                if series is not None:
                    found.append(Role(role, series, take.number, take.spec.seed))
        return tuple(found)

    @property
    def _localizer(self) -> ScanSeries:
        first = self._takes[0].magnitude
        earlier = datetime.timedelta(seconds=self._takes[0].begins)
        return replace(
            first,
            number=first.number - 1 - self.protocol.sbref,
            name="localizer",
            began=first.began - earlier,
            planned=None,
        )

    def truth(self) -> Truth:
        """What really happens in the run: in the scan that is not stopped, if there is one."""
        take = self._takes[-1]
        return Truth.of(take.spec, take.plan, take.scan)

    def truth_of_stopped(self) -> Truth | None:
        """The same of the scan before it, if the scan is started again."""
        take = self._takes[0]
        return Truth.of(take.spec, take.plan, take.scan) if self.restarted else None

    @cached_property
    def due(self) -> tuple[Due, ...]:
        """When each of `objects` is due, in the same order."""
        tr = self.spec.tr
        found: list[Due] = []
        if self.protocol.localizer:
            count = len(localizer(self.protocol.vendor, self._localizer))
            found += [Due(0, _DELIVERY * tr * n / count, scan=0, spared=True) for n in range(count)]
        per_volume = self._objects_per_volume
        for take in self._takes:
            if take.sbref is not None:
                at = take.begins - (1 - _DELIVERY) * tr
                found += [Due(0, at, take.number, spared=True)] * per_volume
            if self.protocol.vendor in ONE_OBJECT:
                at = take.begins + float(take.plan.arrivals[-1])
                found += [Due(1, at, take.number)] * per_volume
                found += [Due(1, at, take.number, spared=True)] * (per_volume if take.phase else 0)
                continue
            whole = per_volume * (1 + self.protocol.phase)
            last = -math.inf
            for volume in range(1, take.made + 1):
                start = take.begins + float(take.plan.arrivals[volume - 1])
                for number in range(whole):
                    last = max(last, start + _DELIVERY * tr * number / whole)
                    found.append(Due(volume, last, take.number, spared=number >= per_volume))
        return tuple(found)

    @cached_property
    def schedule(self) -> Schedule:
        """How the objects come."""
        return make_schedule(self.due, self.faults, tr=self.spec.tr, seed=self.spec.seed)

    def missing(self, schedule: Schedule | None = None) -> dict[int, list[int]]:
        """SeriesNumber of each magnitude series to its volumes that are not there, or not all, in the end.

        Parameters
        ----------
        schedule
            What was done; default all of `schedule`.
        """
        lost = (schedule or self.schedule).missing(self.due)
        found = {}
        for take in self._takes:
            volumes = [volume for scan, volume in lost if scan == take.number]
            if self.protocol.vendor in ONE_OBJECT and volumes:
                volumes = list(range(1, self.volumes + 1))
            found[take.magnitude.number] = volumes + list(range(take.made + 1, self.volumes + 1))
        return found

    @property
    def _objects_per_volume(self) -> int:
        blank = [np.zeros(self.spec.shape, dtype=np.int16)] * len(self.protocol.echo_times)
        return len(list(write_run(self.protocol.vendor, self._takes[0].magnitude, [blank])))

    def objects(self) -> Iterator[ScanObject]:
        """The objects in the order in which the scanner makes them; each volume is made when asked for."""
        vendor = self.protocol.vendor
        if self.protocol.localizer:
            yield from _all(self._localizer, 0, localizer(vendor, self._localizer))
        for take in self._takes:
            if take.sbref is not None:
                images = _stored(take.scan.reference(), take)
                yield from _all(take.sbref, 0, write_run(vendor, take.sbref, [images]))
            yield from self._whole(take) if vendor in ONE_OBJECT else self._in_turn(take)

    def stray(self, action: Action) -> ScanObject:
        """Something among the images that is none, in a series of its own; see `others.stray`."""
        assert action.before is not None
        scan, volume = action.before
        run = self._takes[scan - 1].magnitude
        made = stray(action.stray, self.protocol.vendor, replace(run, number=run.number + 90), volume)
        return ScanObject(run, 0, made.name, made.data)

    def _in_turn(self, take: Take) -> Iterator[ScanObject]:
        vendor, echoes = self.protocol.vendor, len(self.protocol.echo_times)
        volumes = take.scan.images(phase=self.protocol.phase)
        for volume, images in zip(range(1, take.made + 1), volumes, strict=False):
            magnitudes = _stored(images[:echoes], take)
            written = write_volume(vendor, take.magnitude, magnitudes, volume)
            yield from _all(take.magnitude, volume, written)
            if take.phase is not None:
                phases = [image.T for image in images[echoes:]]
                yield from _all(take.phase, volume, write_volume(vendor, take.phase, phases, volume))

    def _whole(self, take: Take) -> Iterator[ScanObject]:
        vendor, echoes = self.protocol.vendor, len(self.protocol.echo_times)
        magnitudes = (_stored(images[:echoes], take) for images in take.scan.images())
        yield from _all(take.magnitude, 1, write_run(vendor, take.magnitude, magnitudes))
        if take.phase is not None:
            phases = ([i.T for i in images[echoes:]] for images in take.scan.images(phase=True))
            yield from _all(take.phase, 1, write_run(vendor, take.phase, phases))


def _all(series: ScanSeries, volume: int, written: Iterable[Written]) -> Iterator[ScanObject]:
    for one in written:
        yield ScanObject(series, volume, one.name, one.data)


def _stored(images: Iterable[NDArray[np.int16]], take: Take) -> list[NDArray[Any]]:
    """Images of shape (k, j, i) as the writers take them: 16 bits where 12 might not do."""
    kind = np.int16 if take.scan.peak < 4096 else np.uint16
    return [image.T.astype(kind, copy=False) for image in images]
