"""What is written of a run once it is over, from its journal and its folder alone: also of an old run."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.dataset import BELOW, RUN_STATUS, derived, run_indices, run_uid_in, taken, write_json
from rtflow.bids.derivatives import write_derivatives
from rtflow.bids.entities import parse_name, relative_path
from rtflow.bids.fields import OF_ONE_IMAGE
from rtflow.bids.grid import Grid
from rtflow.bids.physio import PhysioError, cmrr_content, label_of, physio_files, read_cmrr, read_pmu
from rtflow.bids.physio import Recording as Signal
from rtflow.bids.unfinished import ignore
from rtflow.dicom.offline import convert_folder
from rtflow.documents import VolumeReceived
from rtflow.errors import RtflowError, SessionError
from rtflow.items import Item, read_item
from rtflow.journal import Recording
from rtflow.model_maps import read_models
from rtflow.whole_file import write_whole


@dataclass(frozen=True)
class Recorded:
    """Where a run stands in the raw data set.

    Parameters
    ----------
    entities
        By their long names.
    bold
        Its image, relative to the data set; empty if it was not recorded there.
    series
        Number of its series on the scanner, if that is known.
    """

    entities: Mapping[str, str]
    bold: str = ""
    series: str = ""


def planned_run(raw: Path, settings: Mapping[str, Any]) -> str:
    """The run that a run which begins now will be in the data set: the one asked for, or the next free one.

    Parameters
    ----------
    raw
        The data set.
    settings
        Of the run, as RunStart has them.
    """
    return _unrecorded(raw, settings, "").entities.get("run", "")


def derive(run_dir: Path) -> list[Path]:
    """Write the derivatives of a run into ``derivatives/rtflow`` of the data set that it was recorded into.

    If the run was cut short, they say so, and so do its sidecars in the data set (``RunStatus``).

    Parameters
    ----------
    run_dir
        Folder of the run; it may have been cut off.

    Returns
    -------
    list of Path
        The files; what the same run has written earlier is replaced.

    Raises
    ------
    JournalError
        If the journal cannot be read.
    OutputError
        If the derivatives cannot be written.
    """
    recording = Recording(run_dir)
    start, status = recording.start, cut_short(recording)
    raw = recording.located(start.places["bids"])
    mark_ending(raw, start.run_uid, status)
    recorded = find_recorded(raw, start.run_uid) or _unrecorded(raw, start.settings, start.run_uid)

    def image_of(reference: str, maker: str = start.run_uid) -> str:
        maker = _reference_maker(run_dir, reference) or maker
        of = recorded if maker == start.run_uid else find_recorded(raw, maker)
        return of.bold if of else ""

    masks, references = {}, {}
    for label, mask, item in _masks(run_dir):
        assert item.grid is not None
        masks[label] = mask, item.grid
        references[label] = image_of(item.grid.reference, item.run_uid)
    return write_derivatives(
        raw / BELOW,
        recorded.entities,
        start.run_uid,
        recording.documents,
        masks=masks,
        source=recorded.bold,
        references=references,
        models=read_models(run_dir, image_of),
        status=status,
    )


def cut_short(recording: Recording) -> str:
    """How a run ended that did not come to its end: ``aborted``, ``failed`` or ``unfinished``; else empty."""
    status = "unfinished" if recording.stop is None else recording.stop.status
    return "" if status == "completed" else status


def mark_ending(raw: Path, run_uid: str, status: str) -> None:
    """Put into a run's sidecars that it was cut short, and how; or take it out again.

    Parameters
    ----------
    raw
        The data set.
    run_uid
        Identity of the run.
    status
        How it ended; empty if it came to its end.

    Raises
    ------
    OutputError
        If a sidecar cannot be written.
    """
    for path in sorted(raw.glob("sub-*/**/func/*_bold.json")):
        if run_uid_in(path) == run_uid:
            about = json.loads(path.read_text(encoding="utf-8"))
            said = {key: value for key, value in about.items() if key != RUN_STATUS}
            said |= {RUN_STATUS: status} if status else {}
            if said != about:
                write_json(path, said)


def find_recorded(raw: Path, run_uid: str) -> Recorded | None:
    """Where a data set holds a run, by the identity in the run's sidecar; None if it does not."""
    for sidecar in sorted(raw.glob("sub-*/**/func/*_bold.json")):
        if run_uid_in(sidecar) == run_uid:
            entities, _, _ = parse_name(sidecar.name)
            images = (sidecar.with_suffix(ending) for ending in (".nii", ".nii.gz"))
            bold = next((image.relative_to(raw).as_posix() for image in images if image.exists()), "")
            series = json.loads(sidecar.read_text(encoding="utf-8")).get("SeriesNumber", "")
            return Recorded(entities, bold, str(series))
    return None


def _unrecorded(raw: Path, settings: Mapping[str, Any], run_uid: str) -> Recorded:
    """A run whose workflow records nothing: the run asked for, or the next that nobody has."""
    bids = settings.get("bids", {})
    entities = {name: str(bids.get(name) or "") for name in ("subject", "session", "task", "run")}
    entities = {name: value for name, value in entities.items() if value}
    for run in run_indices(entities.get("run", "")):
        named = {**entities, "run": run} if run else entities
        if not taken(raw / relative_path(named)) and not derived(raw, named, run_uid):
            return Recorded(named)
    raise AssertionError("there is always another run")


def _masks(run_dir: Path) -> Iterator[tuple[str, NDArray[Any], Item]]:
    """The masks that a run took from the session, or made for it: label, mask, and the item that it is in."""
    for path, item in _items(run_dir):
        mask = _mask_of(item.arrays, item.grid)
        if mask is not None:
            label = re.sub(r"[^0-9A-Za-z]", "", path.stem)
            yield "brain" if label == "mask" else label, mask, item


def _items(run_dir: Path) -> Iterator[tuple[Path, Item]]:
    for path in sorted([*(run_dir / "session").glob("*.npz"), *(run_dir / "saved").glob("*.npz")]):
        # A damaged item is no reason to lose the rest.
        with contextlib.suppress(SessionError):
            yield path, read_item(path)


def _reference_maker(run_dir: Path, reference: str) -> str:
    """The run that has a reference volume, an earlier one where it was taken; empty if that is not said."""
    for path, item in _items(run_dir):
        if path.stem == "reference" and item.grid and item.grid.reference == reference:
            return item.run_uid
    return ""


def _mask_of(arrays: Mapping[str, NDArray[Any]], grid: Grid | None) -> NDArray[Any] | None:
    """The mask in an item: an array of booleans on its grid, or ``mask``, bits of such a one."""
    if grid is None:
        return None
    data, packed = arrays.get("data"), arrays.get("mask")
    if data is not None and data.dtype == bool and data.shape == grid.shape:
        return data
    size = int(np.prod(grid.shape))
    if packed is not None and packed.dtype == np.uint8 and packed.shape == ((size + 7) // 8,):
        return np.unpackbits(packed, count=size).reshape(grid.shape)
    return None


def add_companions(run_dir: Path, logs: Sequence[Path] = ()) -> list[Path]:
    """Put what was recorded along with a run beside it: ``_sbref``, and ``_physio`` of Siemens' logs.

    Parameters
    ----------
    run_dir
        Folder of the run. Single-band references, and physiological logs in DICOM, that came among its
        images are in its folder ``aside``.
    logs
        Further logs: text logs (``.puls``, ``.resp``, ``.ecg``, ``.ext``), or CMRR's DICOM object.

    Returns
    -------
    list of Path
        What was written; what is there already is left as it is. None where the run was not recorded.

    Raises
    ------
    JournalError
        If the journal cannot be read.
    PhysioError
        If a log of ``logs`` cannot be read, or nothing says when volume 1 began.
    OutputError
        If what a log of ``logs`` holds cannot be written.
    """
    recording = Recording(run_dir)
    raw = recording.located(recording.start.places["bids"])
    recorded = find_recorded(raw, recording.start.run_uid)
    if recorded is None or not recorded.bold:
        return []
    first = _midnight(recording)
    written: list[Path] = []
    # What came by itself may be damaged: that is no reason to fail a run that is over.
    with contextlib.suppress(RtflowError):
        written += _add_sbref(run_dir, raw, recorded)
    for path in sorted((run_dir / "aside").rglob("*.dcm")):
        if cmrr_content(path) is not None:
            with contextlib.suppress(RtflowError):
                written += _add_log(raw, recorded, path, first)
    for path in logs:
        written += _add_log(raw, recorded, path, first)
    return written


def _add_log(raw: Path, recorded: Recorded, path: Path, first: float | None) -> list[Path]:
    return [
        file
        for signal, began in _signals(path, first)
        for file in _add_physio(raw, recorded.entities, signal, began)
    ]


def _add_sbref(run_dir: Path, raw: Path, recorded: Recorded) -> list[Path]:
    """The single-band reference that was scanned last before the run."""
    bold = raw / recorded.bold
    about = json.loads((raw / relative_path(recorded.entities, extension=".json")).read_text("utf-8"))
    target = raw / relative_path(recorded.entities, "func", "sbref", ".nii.gz")
    last = about.get("SeriesNumber")
    kept = {
        int(found[1]): path
        for path in (run_dir / "aside").glob("series-*_sbref_mag")
        if (found := re.match(r"series-(\d+)_", path.name))
    }
    before = [number for number in kept if last is None or number < last]
    if not before or target.exists() or not bold.exists():
        return []
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".sbref-") as folder:
        convert_folder(kept[max(before)], Path(folder))
        images = sorted(Path(folder).glob("*.nii.gz"))
        if len(images) != 1:  # none that is whole, or one for each echo
            return []
        beside = images[0].with_name(images[0].name.replace(".nii.gz", ".json"))
        sidecar = json.loads(beside.read_text("utf-8"))
        about = sidecar | {"TaskName": about.get("TaskName", recorded.entities["task"])}
        return _add_pair(raw, target, images[0].read_bytes(), about)


def _signals(path: Path, first: float | None) -> Iterator[tuple[Signal, float]]:
    """The signals in a log, and when volume 1 began on its clock."""
    content = cmrr_content(path)
    if content is not None:
        log = read_cmrr(content)
        signals, first = log.recordings, log.first_volume if log.first_volume is not None else first
    else:
        try:
            text = path.read_text("latin-1")
        except OSError as error:
            raise PhysioError(f"{path}: {error.strerror or error}; give the path of a log") from None
        signals = (read_pmu(text, path.suffix.lstrip(".").upper()),)
    if first is None:
        raise PhysioError(f"{path}: nothing says when volume 1 was acquired; the log cannot be aligned")
    for signal in signals:
        yield signal, first


def _add_physio(raw: Path, entities: Mapping[str, str], signal: Signal, first: float) -> list[Path]:
    of_run = {name: label for name, label in entities.items() if name not in OF_ONE_IMAGE}
    names = {**of_run, "recording": label_of(signal.channel)}
    target = raw / relative_path(names, "func", "physio", ".tsv.gz")
    if target.exists():
        return []
    data, about = physio_files(signal, first)
    return _add_pair(raw, target, data, about)


def _add_pair(raw: Path, target: Path, data: bytes, about: Mapping[str, Any]) -> list[Path]:
    """A file and its sidecar; the sidecar first, since the file is what says that both are there."""
    json_file = target.with_name(target.name.partition(".")[0] + ".json")
    ignore(raw, target)
    write_json(json_file, about)
    write_whole(target, data)
    ignore(raw, target, unfinished=False)
    return [target, json_file]


def _midnight(recording: Recording) -> float | None:
    """When volume 1 was acquired: seconds after midnight, on the scanner's clock; None if it is not known."""
    for document in recording.volumes:
        if isinstance(document, VolumeReceived) and document.volume == 1 and document.acquired is not None:
            at = datetime.datetime.fromtimestamp(document.acquired)
            return at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6
    return None
