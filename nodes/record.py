"""Append each volume to the raw BIDS data set, as it comes."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.bids.dataset import (
    RUN_STATUS,
    RunEntry,
    add_participant,
    claim_run,
    json_text,
    prepare_dataset,
    sidecar,
    write_json,
)
from rtflow.bids.entities import parse_name
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run_file import RunFile, compress, stored_dtype, volumes_in
from rtflow.bids.series import SERIES_HASH, recorded_series, series_hash
from rtflow.bids.unfinished import ignore
from rtflow.design import TOLD, events_text, write_events
from rtflow.documents import Event
from rtflow.nodes.given_design import DESIGN, given_design
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import Design
from rtflow.whole_file import partial_name


class RecordRunInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `RecordRun`."""

    incremental = traits.Any(mandatory=True, desc="the volume, a BidsIncremental")
    design = traits.Any(desc=f"{DESIGN}; becomes the run's events.tsv")
    shown = traits.List(
        desc="Trials that the display told of (SubjectInput): the run's events.tsv at its end"
    )
    compress = traits.Bool(False, usedefault=True, desc="whether the run becomes .nii.gz at its end")


class RecordRunOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `RecordRun`."""

    bold_file = traits.Str(
        desc="absolute path of the run's NIfTI file; it grows while the run lasts; a compressed one follows"
    )


class RecordRun(StreamInterface):
    """Record the run in the data set of the output folder.

    The run is one NIfTI file that grows in place (`RunFile`), with its sidecar, and its events where there
    is a design. Stored integers stay what they are; computed values become float32. Volumes that never came,
    or that do not fit, are zeros, and are listed under ``MissingVolumes``.

    A run that is there already is never touched: a repeated one becomes the next free run, and its sidecar
    says which was asked for. Only a run that goes on after a crash replaces its own earlier file, once the
    new one holds as many volumes.

    Where the display tells what it showed, that stands in the events at the end, marked (`Design.as_shown`).
    Events that are there already stay: somebody has written them for this run. Those of the design that begin
    after the end of the run are taken out again, which is said: it may be another scan's.

    A series that comes from a scanner and is recorded in the data set already is recorded once more, and
    that is said: it may be an earlier run's files that are still in the folder.

    Raises
    ------
    VolumeError
        If shape, affine, type or scaling of a volume are not those of the first, or that one has no
        RepetitionTime.
    OutputError
        If the data set cannot be written, or is not one of raw data, or subject or task are missing.
    """

    input_spec = RecordRunInput
    output_spec = RecordRunOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Make the data set; the run gets its place with its first volume."""
        self._design = given_design(self, context)
        self._context = context
        self._root = context.bids_dir.absolute()
        self._run_uid = context.run_uid
        self._resuming = context.resuming
        self._file: RunFile | None = None
        self._entry: RunEntry | None = None
        self._first: BidsIncremental | None = None
        self._replaces = 0
        self._series = ""
        self._listed = 0
        self._last = 0
        prepare_dataset(self._root)
        # Before the first volume: it should not wait for this.
        self._known = {} if context.replaying or context.resuming else recorded_series(self._root)

    def gap(self, volume: int) -> None:
        """Zeros for a volume that does not come."""
        self._last = volume
        if self._file is not None:
            self._file.skip_to(volume)
            self._settle()

    def end_run(self) -> None:
        """Close the file, and compress it if that is wanted."""
        file, entry = self._file, self._entry
        if file is None or entry is None:
            return
        file.skip_to(self._last)
        self._settle()
        file.close()
        if isdefined(self.inputs.shown) and self.inputs.shown:
            self._write_shown(entry, max(file.volumes, self._replaces))
        elif self._design is not None:
            self._end_events(entry, max(file.volumes, self._replaces))
        if file.path != entry.bold:
            # The run ended with fewer volumes than were there before the crash: those stay.
            file.path.unlink()
        elif self.inputs.compress:
            compress(entry.bold)

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        self._last = incremental.volume
        if self._file is None:
            self._begin(incremental)
        assert self._file is not None
        assert self._entry is not None
        self._file.append(incremental)
        self._settle()
        if self._file.present == 1:
            ignore(self._root, self._entry.bold, unfinished=False)
        bold = self._entry.bold
        self._results = {"bold_file": str(bold.with_suffix(".nii.gz") if self.inputs.compress else bold)}
        return runtime

    def _begin(self, first: BidsIncremental) -> None:
        if self._entry is None:
            # Before it takes a place: what cannot be recorded needs none.
            _ = first.tr
            stored_dtype(first.data)
            json_text(first.metadata)
            self._entry = claim_run(self._root, first.entities, self._run_uid, resuming=self._resuming)
        entry = self._entry
        add_participant(self._root, first.entities["subject"])
        if self._design is not None and not entry.events.exists():
            self._write_events(entry, self._design)
        if self._resuming:
            self._replaces = max(map(volumes_in, (entry.bold, entry.bold.with_suffix(".nii.gz"))))
        path = entry.bold.with_name(f".{entry.bold.name}.resumed") if self._replaces else entry.bold
        self._file, self._first = RunFile(path, first, replaces=self._resuming), first
        self._series = series_hash(first)
        self._note(entry)
        if entry.requested is not None and not self._resuming:
            run = parse_name(entry.bold.name)[0]["run"]
            says = f"run {entry.requested} is in the data set already, and this one becomes run {run}"
            self._tell("another_run", says, first.volume, run=run)
        self._tell_again(first, entry)
        if (status := first.metadata.get(RUN_STATUS)) and not self._resuming:
            says = f"the run that is read here was cut short when it was recorded (RunStatus {status})"
            self._tell("cut_short", says, first.volume)

    def _tell_again(self, first: BidsIncremental, entry: RunEntry) -> None:
        """Say that the series is here already: somebody may have forgotten it in the scanner's folder."""
        known = self._known.get(self._series, "")
        if known and SERIES_HASH not in first.metadata:  # a data set that is read again is meant
            number, name = first.metadata["SeriesNumber"], entry.bold.name.removesuffix("_bold.nii")
            says = (
                f"series {number} is recorded already, as {known}, and becomes {name} as well: if it is not "
                "meant, end this run; 'folder:DIR?existing=false' leaves the files of earlier runs alone"
            )
            self._tell("series_again", says, first.volume, recorded=known)

    def _end_events(self, entry: RunEntry, volumes: int) -> None:
        """Leave out what the design has after the end of the run; what others wrote stays."""
        assert self._first is not None
        assert self._design is not None
        design, tr = self._design, self._first.tr
        end = volumes * tr
        ours = self._is_ours(entry)
        kept = design.until(end)
        left = len(design.trials) - len(kept.trials)
        if not ours or not (left or design.duration >= end + tr):  # the last volume may well be missing
            return
        what = f"{left} of its events begin later and are left out of" if left else "its last event stays in"
        says = (
            f"the design goes on to {design.duration:g} s, the run ended at {end:g} s: {what} "
            f"{entry.events.name}"
        )
        if not self._context.was_ended():  # the scanner may have been stopped early, or it is another scan's
            says += "; if nobody ended the run early, check that it is the design of this scan"
        self._write_events(entry, kept)
        self._tell("design_too_long", says, None, left_out=left)

    def _write_shown(self, entry: RunEntry, volumes: int) -> None:
        """Put what was really shown in place of what was planned; what others wrote stays."""
        assert self._first is not None
        planned = self._design or Design(())
        if entry.events.exists() and not self._is_ours(entry):
            says = f"{entry.events.name} was written by somebody else: what the display showed is not in it"
            self._tell("events_left", says, None)
            return
        self._write_events(entry, planned.as_shown(self.inputs.shown).until(volumes * self._first.tr))
        write_json(entry.events.with_suffix(".json"), TOLD)

    def _is_ours(self, entry: RunEntry) -> bool:
        """Whether the events beside the run are those of its design."""
        try:
            there = entry.events.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False
        return self._design is not None and there == events_text(self._design)

    def _write_events(self, entry: RunEntry, design: Design) -> None:
        partial = partial_name(entry.events)
        write_events(design, partial)
        partial.replace(entry.events)

    def _tell(self, name: str, says: str, volume: int | None, **data: object) -> None:
        self._context.emit(Event(name=name, volume=volume, data={"says": says, **data}))

    def _settle(self) -> None:
        """Swap a resumed run in once it is no shorter; keep the list of missing volumes up to date."""
        file, entry = self._file, self._entry
        assert file is not None
        assert entry is not None
        if file.path != entry.bold and file.volumes >= self._replaces:
            file.path.replace(entry.bold)
            file.path = entry.bold
            entry.bold.with_suffix(".nii.gz").unlink(missing_ok=True)
        if len(file.missing) != self._listed:
            self._note(entry)

    def _note(self, entry: RunEntry) -> None:
        file, first = self._file, self._first
        assert file is not None
        assert first is not None
        content = sidecar(first.metadata, first.entities, entry, self._run_uid, file.missing)
        if self._series:
            content[SERIES_HASH] = self._series
        write_json(entry.sidecar, content)
        self._listed = len(file.missing)
