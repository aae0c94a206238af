"""What came and is no volume of the run: kept where it may be of use, and told in any case."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rtflow.dicom.instance import Series
from rtflow.documents import Event
from rtflow.sources.feed import Arrival
from rtflow.sources.reading import StoredObject

Emit = Callable[[Event], None]

# ImageType of a physiological log, which stands at the head of its header.
_PHYSIO = b"PHYSIO"
_HEADER = 4096


class Account:
    """Tells, as events of the run, of everything that came and was not streamed.

    Images of other kinds (single-band references, phase images, field maps) are archived beside the run's
    journal, in ``aside/``; another run's volumes are left where they are.
    """

    def __init__(self) -> None:
        self._emit: Emit | None = None
        self._folder: Path | None = None
        self._waiting: list[Event] = []
        self._asides: list[StoredObject] = []
        self._logs: list[Arrival] = []
        self._series: Counter[Series] = Counter()
        self._repeats: Counter[tuple[str, int]] = Counter()
        self._unkept = ""

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """From now on there is a run to tell, and a folder to keep things in."""
        self._emit, self._folder = emit, run_dir / "aside"
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            emit(event)
        asides, self._asides = self._asides, []
        for stored in asides:
            self._archive(stored)
        logs, self._logs = self._logs, []
        for arrival in logs:
            self.log(arrival)

    def tell(self, name: str, says: str, volume: int | None = None, **data: object) -> None:
        """Tell of something.

        Parameters
        ----------
        name
            Name of the event.
        says
            The same for a person, in words that do not change from volume to volume.
        volume
            Number of the volume that it is about.
        data
            What else is known.
        """
        event = Event(name=name, volume=volume, data={"says": says, **data})
        if self._emit is None:
            self._waiting.append(event)
        else:
            self._emit(event)

    def tell_once(self, name: str, says: str, volume: int, **data: object) -> None:
        """Tell of something that may befall every slice of a volume: once for the volume."""
        self._repeats[name, volume] += 1
        if self._repeats[name, volume] == 1:
            self.tell(name, says, volume, **data)

    def aside(self, stored: StoredObject) -> bool:
        """An image of another series; whether it is taken care of, and not needed any more where it is."""
        series = stored.instance.series
        self._series[series] += 1
        if self._series[series] == 1:
            why = (
                "another series was chosen" if series.streamed else "kept aside" if _kept(series) else "left"
            )
            self.tell("set_aside", f"{series} is not streamed: {why}", series=series.number)
        return self._archive(stored) if _kept(series) else True

    def log(self, arrival: Arrival) -> None:
        """What is no image: a physiological log is kept in ``aside/physio``, all else is left."""
        if _PHYSIO not in arrival.data[:_HEADER]:
            return
        if self._folder is None:
            self._logs.append(arrival)
            return
        name = hashlib.sha256(arrival.data).hexdigest()[:16]  # the same log twice is one file
        self._write(self._folder / "physio" / f"{name}.dcm", arrival.data, Path(arrival.path))

    def close(self, others: str) -> None:
        """The run is over: the sum of it."""
        repeats: Counter[str] = Counter()
        for (name, _), count in self._repeats.items():
            repeats[name.replace("_", " ")] += count
        if not (self._series or others or repeats):
            return
        series = {str(series): count for series, count in self._series.items()}
        there = [f"{name}: {count} objects" for name, count in (series | repeats).items()]
        says = f"not streamed: {'; '.join([*there, others] if others else there)}"
        self.tell("not_streamed", says, series=series, repeats=dict(repeats), other=others)

    def _archive(self, stored: StoredObject) -> bool:
        if self._folder is None:
            self._asides.append(stored.without_data())
            return True
        series = stored.instance.series
        folder = self._folder / f"series-{series.number}_{series.kind}_{series.part}"
        # A name out of a stranger's header: nothing that leads elsewhere.
        name = re.sub(r"[^0-9A-Za-z._-]", "", stored.instance.uid or stored.arrival.name)[:100]
        return self._write(folder / f"{name}.dcm", stored.arrival.data, Path(stored.path))

    def _write(self, target: Path, data: bytes, path: Path) -> bool:
        """Keep the bytes, or the file if they are held no more; whether it is kept."""
        part = target.with_suffix(".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if data:
                part.write_bytes(data)
            else:
                shutil.copyfile(path, part)
            part.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            why = f"images of other series cannot be kept in {self._folder} ({error.strerror or error})"
            if why != self._unkept:  # the run goes on
                self._unkept = why
                self.tell("source_trouble", why)
            return False
        return True


def _kept(series: Series) -> bool:
    """Whether images of a series are of use beside a run: references, phase images, field maps, anatomy."""
    return not series.streamed and series.kind != "derived"
