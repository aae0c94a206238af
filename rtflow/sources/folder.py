"""A folder that a scanner writes DICOM files to, or wrote them to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rtflow.dicom.identify import Instance, Series
from rtflow.documents import Frame, now
from rtflow.errors import SourceError
from rtflow.source_settings import FolderSource, format_source
from rtflow.sources.assembling import Assembler, Release
from rtflow.sources.reading import Reader, VolumeFile, unusable
from rtflow.sources.watching import Notice, Watcher

# Where no header gives a repetition time, times that are set in TR are taken with this one, seconds.
_USUAL_TR = 2.0
_POLL = 0.1


class FolderStream:
    """Volumes from the DICOM files of a folder, live or after the fact.

    Which series and volume a file holds is read from its header. Files may come in any order, twice, in
    pieces, or not at all. The run ends when the number of volumes is reached (the setting, else the number
    that the protocol in the headers plans), after ``idle`` seconds without a new volume, or when another
    fMRI series begins; what is then not there is missing.

    Files that are there at the start go out at once. If the newest of them is older than ``idle``, the
    folder was finished long ago and the run ends with the last of them: however many volumes were planned,
    no more are missing than the gaps, unless the setting asks for them.

    Parameters
    ----------
    spec
        The source table.

    Raises
    ------
    SourceError
        If the folder does not exist or is none; or if it holds files already, and none of them is a volume
        of a supported kind, or several series are there and none was chosen.
    """

    def __init__(self, spec: FolderSource) -> None:
        self._spec = spec
        self._folder = Path(spec.path).expanduser()
        if not self._folder.exists():
            raise SourceError(f"source folder {self._folder} does not exist; create it or correct the path")
        if not self._folder.is_dir():
            raise SourceError(f"source {self._folder} is a file, expected a folder of DICOM files")
        self._watcher = Watcher(self._folder, spec.pattern)
        self._reader = Reader()
        self._series: Series | None = None
        self._first: Instance | None = None
        self._last_acquired: float | None = None
        self._found: list[VolumeFile] = []
        self._elsewhere = ""
        self._newest = now()
        self._survey()
        self._finished = bool(self._found) and now() - self._newest >= self._idle()
        self._volumes = self._count()

    @property
    def uri(self) -> str:
        """What the source was opened from."""
        return format_source(self._spec)

    @property
    def tr(self) -> float | None:
        """Repetition time in seconds, once a header was seen."""
        return self._first.tr if self._first else None

    @property
    def volumes(self) -> int | None:
        """Number of volumes: the setting, else what is there in a finished folder, else what was planned."""
        if self._volumes is not None:
            return self._volumes
        return self._first.planned if self._first else None

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """Frames in the order of their volumes, one for each; ends soon after ``stopping`` is set.

        Raises
        ------
        SourceError
            If no volume comes within ``wait`` seconds, or two series come at once and none was chosen.
        """
        for release in self._releases(stopping):
            if release.item is None:
                yield Frame(release.volume, now(), missing=release.missing)
            else:
                yield release.item.frame()
            if stopping.is_set():
                return

    def _releases(self, stopping: threading.Event) -> Iterator[Release[VolumeFile]]:
        began = now()
        assembler: Assembler[VolumeFile] | None = None
        if self._found:
            changed = min(self._newest, began)
            assembler = self._assembler(changed)
            found = sorted(self._found, key=lambda file: file.instance.volume)
            self._found = []
            self._remark(assembler)
            for there in found:
                instance = there.instance
                self._note_time(instance)
                yield from assembler.arrive(instance.volume, instance.uid, there, changed, live=False)
            if self._finished:
                yield from assembler.tick(now())
            if assembler.over:
                return
        with self._watcher as watcher:
            while assembler is None or not assembler.over:
                came = False
                for notice in watcher.notices(_POLL):
                    file = self._read(notice)
                    if file is not None:
                        came = True
                        assembler = assembler or self._assembler(notice.at)
                        yield from self._take(assembler, file, notice.at)
                    if stopping.is_set():
                        return
                if stopping.is_set():
                    return
                # Time counts only once all that has come is taken in, however long the consumer took.
                if came or watcher.unsure:
                    continue
                if assembler is not None:
                    self._remark(assembler)
                    yield from assembler.tick(now())
                elif now() - began > self._spec.wait:
                    raise SourceError(self._nothing_came())

    # What is there at the start

    def _survey(self) -> None:
        changes = []
        for path, changed in sorted(self._watcher.listing().items()):
            stamp = self._watcher.stamp(path)
            file = self._reader.read(path) if self._spec.existing else None
            if file is None:
                self._watcher.refuse(path, stamp)
            else:
                self._watcher.done(path)
                self._found.append(file.without_data())
                changes.append(changed)
        if self._found:
            self._newest = max(changes)
            self._choose()
        elif self._reader.others and not self._reader.waiting:
            raise SourceError(unusable(self._folder, self._reader.others))

    def _choose(self) -> None:
        count = Counter(file.instance.series for file in self._found)
        wanted = [series for series in count if self._is_wanted(series)]
        if len(wanted) != 1:
            there = "; ".join(f"{series} ({count[series]} files)" for series in count)
            if not wanted:
                # The chosen one may be yet to come.
                self._elsewhere, self._found = there, []
                return
            if len({series.number for series in wanted}) > 1:
                remedy = "choose one with the option series=NUMBER, or wait for the next with existing=false"
            elif len({series.uid for series in wanted}) == 1:
                remedy = "choose one with the option echo=NUMBER"
            else:
                remedy = "give each run a folder of its own"
            raise SourceError(f"{self._folder} holds several series: {there}; {remedy}")
        self._series = wanted[0]
        self._found = [file for file in self._found if file.instance.series == self._series]
        self._first = self._found[0].instance

    def _is_wanted(self, series: Series) -> bool:
        return self._spec.series in (None, series.number) and self._spec.echo in (None, series.echo)

    def _count(self) -> int | None:
        if self._spec.volumes is not None or not self._finished:
            return self._spec.volumes
        return max((*(file.instance.volume for file in self._found), *self._cut_off()))

    # A run

    def _idle(self) -> float:
        if self._spec.idle is not None:
            return self._spec.idle
        return max(10 * (self.tr or _USUAL_TR), 30.0)

    def _assembler(self, began: float) -> Assembler[VolumeFile]:
        return Assembler(
            patience=self._spec.patience * (self.tr or _USUAL_TR),
            idle=self._idle(),
            volumes=self._spec.volumes,
            planned=self._first.planned if self._first else None,
            began=began,
        )

    def _read(self, notice: Notice) -> VolumeFile | None:
        stamp = self._watcher.stamp(notice.path)
        file = self._reader.read(notice.path, notice.at)
        if file is None:
            self._watcher.refuse(notice.path, stamp)
            return None
        self._watcher.done(notice.path)
        if not self._is_wanted(file.instance.series):
            return None
        if self._series is None:
            self._series, self._first = file.instance.series, file.instance
        return file

    def _take(
        self, assembler: Assembler[VolumeFile], file: VolumeFile, at: float
    ) -> list[Release[VolumeFile]]:
        instance = file.instance
        self._remark(assembler)
        if instance.series != self._series:
            if self._at_once(instance):
                raise SourceError(
                    f"two series come into {self._folder} at once: {self._series} and {instance.series}; "
                    "choose one with the option series=NUMBER or echo=NUMBER"
                )
            return assembler.finish(f"{instance.series} began before it came")
        self._note_time(instance)
        return assembler.arrive(instance.volume, instance.uid, file, at)

    def _cut_off(self) -> dict[int, str]:
        cut_off = self._reader.cut_off.items()
        return {volume: reason for volume, (instance, reason) in cut_off if instance.series == self._series}

    def _remark(self, assembler: Assembler[VolumeFile]) -> None:
        for volume, reason in self._cut_off().items():
            assembler.remark(volume, reason)

    def _note_time(self, instance: Instance) -> None:
        if instance.acquired is not None:
            self._last_acquired = max(self._last_acquired or instance.acquired, instance.acquired)

    def _at_once(self, other: Instance) -> bool:
        """Whether another series is acquired (or reconstructed) along with this one, not after it."""
        if self._series is not None and other.series.uid == self._series.uid:
            return True
        if other.acquired is None or self._last_acquired is None:
            return False
        return other.acquired <= self._last_acquired

    def _nothing_came(self) -> str:
        there = f" (there is other: {self._reader.others})" if self._reader.others else ""
        if self._elsewhere:
            there = f" of the chosen series or echo; there are: {self._elsewhere}"
        return (
            f"no volume came into {self._folder} within {self._spec.wait:g} s{there}; "
            f"check the scanner's export and the pattern {self._spec.pattern!r}, or set a longer wait"
        )
