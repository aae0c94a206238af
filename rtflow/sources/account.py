"""What came and is no volume of the run: kept where it may be of use, and told in any case."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rtflow.dicom.instance import Series
from rtflow.documents import Event
from rtflow.sources.reading import StoredObject

Emit = Callable[[Event], None]


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
        self._series: Counter[Series] = Counter()

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """From now on there is a run to tell, and a folder to keep things in."""
        self._emit, self._folder = emit, run_dir / "aside"
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            emit(event)
        asides, self._asides = self._asides, []
        for stored in asides:
            self._archive(stored)

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

    def aside(self, stored: StoredObject) -> None:
        """An image of another series."""
        series = stored.instance.series
        self._series[series] += 1
        if self._series[series] == 1:
            why = (
                "another series was chosen" if series.streamed else "kept aside" if _kept(series) else "left"
            )
            self.tell("set_aside", f"{series} is not streamed: {why}", series=series.number)
        if _kept(series):
            self._archive(stored)

    def close(self, others: str) -> None:
        """The run is over: the sum of it."""
        if self._series or others:
            series = {str(series): count for series, count in self._series.items()}
            there = [f"{name}: {count} objects" for name, count in series.items()] + (
                [others] if others else []
            )
            self.tell("not_streamed", f"not streamed: {'; '.join(there)}", series=series, other=others)

    def _archive(self, stored: StoredObject) -> None:
        if self._folder is None:
            self._asides.append(stored.without_data())
            return
        series = stored.instance.series
        folder = self._folder / f"series-{series.number}_{series.kind}_{series.part}"
        # What cannot be kept was told of; the run goes on.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"{stored.instance.uid or stored.arrival.name}.dcm"
            part = target.with_suffix(".part")
            if stored.arrival.data:
                part.write_bytes(stored.arrival.data)
            else:
                shutil.copyfile(stored.path, part)
            part.replace(target)


def _kept(series: Series) -> bool:
    """Whether images of a series are of use beside a run: references, phase images, field maps, anatomy."""
    return not series.streamed and series.kind != "derived"
