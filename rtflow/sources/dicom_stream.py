"""Arrivals of DICOM objects to the frames of one run, whatever brings them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.instance import Instance
from rtflow.documents import Frame, now
from rtflow.errors import DicomError, SourceError
from rtflow.source_settings import ScannerTable
from rtflow.sources.account import Account, Emit
from rtflow.sources.assembling import Assembler, Release
from rtflow.sources.choosing import SeriesChoice
from rtflow.sources.feed import Arrival, Feed
from rtflow.sources.gathering import GatheredVolume, Gatherer
from rtflow.sources.reading import Reader, StoredObject
from rtflow.sources.taking_up import Standing, standing

# Where no header gives a repetition time, times that are set in TR are taken with this one, seconds.
_USUAL_TR = 2.0
_POLL = 0.1
# A number so far ahead of the run is no volume's: what lies between would all be missing.
_FAR = 10_000

Releases = list[Release[GatheredVolume]]


class DicomStream:
    """Volumes from DICOM objects that may come in any order, twice, in pieces, or not at all.

    Which series, volume and slice an object holds is read from its header. The run ends when the number of
    volumes is reached (the setting, else the number that the headers plan), after ``idle`` seconds without
    anything of it, or when another fMRI series begins; what is then not there is missing.

    Parameters
    ----------
    feed
        What brings the objects.
    spec
        The source table.
    where
        Where they come to, for messages: a folder, an address.
    clock
        The time, seconds since 1970; that of the feed.
    """

    def __init__(self, feed: Feed, spec: ScannerTable, where: str, clock: Callable[[], float] = now) -> None:
        self.account = Account()
        self.first: Instance | None = None
        self._feed = feed
        self._spec = spec
        self._where = where
        self._reader = Reader()
        self._gatherer = Gatherer()
        self._choice = SeriesChoice(spec.series, where)
        self._found: list[StoredObject] = []
        self._clock = clock
        self._newest = clock()
        self._finished = False
        self._standing = Standing()
        self._there: int | None = None
        self._given_up: set[int] = set()
        self._cut_heard: set[int] = set()
        # Hashes: the names themselves, of a long run by the slice, would take tens of megabytes.
        self._seen: set[int] = set()
        self._troubles: list[str] = []

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, once a header was seen."""
        return self.first.tr if self.first else None

    @property
    def volumes(self) -> int | None:
        """Number of volumes: the setting, else what is there of a finished run, else what was planned."""
        if self._spec.volumes is not None:
            return self._spec.volumes
        if self._there is not None:
            return self._there
        return self.first.planned if self.first else None

    def begin(self, run_dir: Path, emit: Emit) -> None:
        """There is a run now; one that was cut off goes on where it stood, in its own series."""
        self.account.begin(run_dir, emit)
        self._standing = standing(run_dir)
        if self._standing.first is not None:
            self.first = self._standing.first
            self._choice.series = self.first.series

    # What is there at the start

    def survey(self) -> None:
        """Look through what was there before the run: which series it is, and whether it is all there.

        Objects that are there go out at once. If the newest of them is older than ``idle``, the run was
        finished long ago and ends with the last of them: however many volumes were planned, no more are
        missing than the gaps, unless the setting asks for them.

        Raises
        ------
        SourceError
            If none of what is there can be streamed; or if several series are there and none was chosen.
        """
        changes = []
        for arrival in self._feed.before():
            stored = self._read(arrival, live=False)
            if stored is not None:
                self._found.append(stored.without_data() if _single(stored) else stored)
                changes.append(arrival.received)
        if not self._found:
            if self._reader.others and not self._reader.waiting:
                raise SourceError(self._reader.unusable(self._where))
            return
        self._newest = max(changes)
        self._choice.choose(stored.instance.series for stored in self._found)
        for stored in self._found:
            if stored.instance.series != self._choice.series:
                self.account.aside(stored)
        self._found = [stored for stored in self._found if stored.instance.series == self._choice.series]
        if self._found:
            self.first = self._found[0].instance
        self._finished = bool(self._found) and self._clock() - self._newest >= self._idle()
        if self._finished:
            self._there = max((*(stored.instance.last_volume for stored in self._found), *self._cut_off()))

    # A run

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set.

        Raises
        ------
        SourceError
            If no volume comes within ``wait`` seconds, or two series come at once and none was chosen.
        """
        try:
            with self._feed:
                for release in self._releases(stopping):
                    if release.item is None:
                        self._given_up.add(release.volume)
                        yield Frame(release.volume, self._clock(), missing=release.missing)
                    else:
                        yield release.item.frame(self._clock())
                    # Whoever asks for the next one has this one in the journal.
                    self._forget(release)
                    if stopping.is_set():
                        return
        finally:
            self.tell_troubles()
            self.account.close(self._reader.others)

    def _releases(self, stopping: threading.Event) -> Iterator[Release[GatheredVolume]]:
        began = self._clock()
        assembler: Assembler[GatheredVolume] | None = None
        if self._found or self._standing.first is not None:
            changed = min(self._newest, began) if self._found else began
            assembler = self._assembler(changed)
            found = sorted(self._found, key=lambda stored: stored.instance.volume)
            self._found = []
            for stored in found:
                yield from self._take(assembler, stored, changed, live=False)
                if stopping.is_set():
                    return
            self._remark(assembler)
            if self._finished:
                yield from assembler.tick(self._clock())
        while assembler is None or not assembler.over:
            for arrival in self._feed.arrivals(_POLL):
                came_in = self._read(arrival)
                if came_in is None:
                    self._hear_of_cut_off(assembler, arrival.received)
                elif self._is_of_the_run(came_in):
                    # Of a receiver's spool it may be older than this run.
                    assembler = assembler or self._assembler(max(began, arrival.received))
                    yield from self._take(assembler, came_in, arrival.received)
                if stopping.is_set() or (assembler is not None and assembler.over):
                    return
            if stopping.is_set():
                return
            self.tell_troubles()
            # Time counts as far as all that came was taken in, however long the consumer took.
            until = self._feed.brought_until
            if assembler is not None:
                self._remark(assembler)
                yield from assembler.tick(until)
            elif until - began > self._spec.wait:
                raise SourceError(self._nothing_came())

    def tell_troubles(self) -> None:
        """Tell the run what keeps things from coming."""
        for what in self._feed.troubles():
            self._troubles.append(what)
            self.account.tell("source_trouble", what)

    def _idle(self) -> float:
        if self._spec.idle is not None:
            return self._spec.idle
        return max(10 * (self.tr or _USUAL_TR), 30.0)

    def _patience(self) -> float:
        tr = self.tr or _USUAL_TR
        if self._spec.patience is not None:
            return self._spec.patience * tr
        # What comes later holds up the feedback of all volumes after it; a folder without events is looked
        # through twice before a file in it counts, however short the TR.
        return max(2 * tr, 2.0)

    def _assembler(self, began: float) -> Assembler[GatheredVolume]:
        return Assembler(
            patience=self._patience(),
            idle=self._idle(),
            volumes=self._spec.volumes,
            planned=self.first.planned if self.first else None,
            began=began,
            first=self._standing.last + 1,
        )

    def _read(self, arrival: Arrival, *, live: bool = True) -> StoredObject | None:
        try:
            stored = self._reader.read(arrival, live=live)
        except IncompleteError:
            self._feed.refuse(arrival)
            return None
        if stored is None:
            self.account.log(arrival)
            self._feed.done(arrival)
        return stored

    def _is_of_the_run(self, stored: StoredObject) -> bool:
        """Whether it belongs to the run, or ends it; else it is set aside."""
        instance = stored.instance
        if not self._choice.wants(instance.series):
            if self.account.aside(stored):
                self._feed.done(stored.arrival)
            return False
        if self._choice.series is None:
            self._choice.series, self.first = instance.series, instance
        return True

    def _take(
        self, assembler: Assembler[GatheredVolume], stored: StoredObject, at: float, *, live: bool = True
    ) -> Releases:
        instance = stored.instance
        ending = self._choice.following is not None
        if not self._choice.holds(instance):
            # It is not done with: it is left for whoever wants it.
            if not ending:
                self.account.tell("next_series", f"{instance.series} began, which ends the run")
                assembler.end(at, f"{instance.series} began before it came")
            return []
        if instance.last_volume <= self._standing.last:  # it stands in the journal
            self._feed.done(stored.arrival)
            return []
        if instance.volume >= assembler.expected + _FAR:
            self._refuse(assembler, stored, f"its volume number is {instance.volume}")
            return []
        new = not instance.uid or hash(instance.uid) not in self._seen
        if not new or not any(
            assembler.wants(piece.volume) and not self._gatherer.has(piece) for piece in instance.pieces
        ):
            self._drop(stored)
            return []
        try:
            whole = self._gatherer.add(stored, live=live)
        except DicomError as error:
            self._refuse(assembler, stored, str(error))
            if live:
                assembler.heard(instance.volume, at)
            return []
        self._choice.took(instance)
        self._seen.add(hash(instance.uid))
        if live:
            assembler.heard(instance.volume, at)
        return [
            release
            for gathered in whole
            for release in assembler.arrive(gathered.volume, gathered, at, live=live)
        ]

    def _refuse(self, assembler: Assembler[GatheredVolume], stored: StoredObject, why: str) -> None:
        """It says that it is of the run, and cannot be."""
        volume = stored.instance.volume
        if volume < assembler.expected + _FAR:
            assembler.remark(volume, f"{stored.arrival.name} is of another acquisition: {why}")
        self.account.tell_once("another_acquisition", f"of another acquisition: {why}", volume)
        self._feed.done(stored.arrival)

    def _drop(self, stored: StoredObject) -> None:
        """It was there before, or it comes too late."""
        volume = stored.instance.volume
        if volume in self._given_up:
            self.account.tell_once(
                "too_late", "came after its volume was given up", volume, file=stored.arrival.name
            )
        elif not stored.instance.uid or hash(stored.instance.uid) in self._seen:
            self.account.tell_once("twice", "came twice", volume, file=stored.arrival.name)
        else:
            says = "another image of the same slice or volume came, the first one counts"
            self.account.tell_once("another_image", says, volume, file=stored.arrival.name)
        self._feed.done(stored.arrival)

    def _forget(self, release: Release[GatheredVolume]) -> None:
        there = self._gatherer.drop(release.volume) if release.item is None else release.item.objects
        for stored in there:
            if stored.instance.last_volume <= release.volume:
                self._feed.done(stored.arrival)

    def _cut_off(self) -> dict[int, str]:
        cut_off = self._reader.cut_off.items()
        return {volume: reason for (series, volume), reason in cut_off if series == self._choice.series}

    def _hear_of_cut_off(self, assembler: Assembler[GatheredVolume] | None, at: float) -> None:
        """The run is not silent while objects come, though each is cut off."""
        if assembler is not None:
            for volume in self._cut_off().keys() - self._cut_heard:
                self._cut_heard.add(volume)
                assembler.heard(volume, at)

    def _remark(self, assembler: Assembler[GatheredVolume]) -> None:
        for volume, reason in (self._gatherer.partial() | self._cut_off()).items():
            assembler.remark(volume, reason)

    def _nothing_came(self) -> str:
        there = f" (there is other: {self._reader.others})" if self._reader.others else ""
        if self._choice.elsewhere:
            there = f" of the series to be streamed; there are: {self._choice.elsewhere}"
        there += "".join(f"; {reason}" for reason in [*self._reader.cut_off.values()][:1])
        there += "".join(f"; {what}" for what in self._troubles)
        return (
            f"no volume came into {self._where} within {self._spec.wait:g} s{there}; "
            f"check the scanner's export{self._feed.hint}, or wait longer: 'wait=SECONDS' in the source"
        )


def _single(stored: StoredObject) -> bool:
    return stored.instance.last_volume == stored.instance.volume
