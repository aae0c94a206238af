"""The raw data set that runs are recorded into: its files, and the names of its runs."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtflow import __version__
from rtflow.bids.entities import check_entities, relative_path
from rtflow.errors import OutputError

BIDS_VERSION = "1.10.0"

README = """# A data set recorded in real time

rtflow recorded these runs while they were scanned: each volume was appended to its run as it came, with
the voxels as the scanner stored them. Volumes that never came are zeros, and are listed (from 1) under
`MissingVolumes` in the sidecar of their run. `RunUID` there is the identity of the run in the journal,
and `RequestedRun` is the run that was asked for where a run of that name was here already.

Say here what the experiment was, who took part, and how the data may be used.
"""

#: Fields that differ from volume to volume: they say nothing of a run.
OF_ONE_VOLUME = frozenset(
    {
        *("AcquisitionTime", "AcquisitionDateTime", "AcquisitionNumber", "ContentTime", "InstanceNumber"),
        *("ImageNumber", "TriggerTime", "SOPInstanceUID", "VolumeNumber"),
    }
)


@dataclass(frozen=True)
class RunEntry:
    """One run in the data set.

    Parameters
    ----------
    bold
        The NIfTI file, ``.nii``.
    requested
        The run that was asked for, where another one had to be taken; else None.
    """

    bold: Path
    requested: str | None = None

    @property
    def sidecar(self) -> Path:
        """The JSON file beside it."""
        return self.bold.with_suffix(".json")

    @property
    def events(self) -> Path:
        """The events.tsv beside it."""
        return self.bold.with_name(self.bold.name.replace("_bold.nii", "_events.tsv"))


def prepare_dataset(root: Path, name: str = "Runs recorded by rtflow", readme: str = README) -> None:
    """Make the files that a data set has at its top, those that are not there yet.

    Parameters
    ----------
    root
        The data set.
    name
        What a new one is called.
    readme
        What a new one says of itself.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds a data set that is damaged or not of raw data.
    """
    description = root / "dataset_description.json"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if description.exists():
            _require_raw(description)
        else:
            write_json(
                description,
                {
                    "Name": name,
                    "BIDSVersion": BIDS_VERSION,
                    "DatasetType": "raw",
                    "GeneratedBy": [{"Name": "rtflow", "Version": __version__}],
                },
            )
        if not any(root.glob("README*")):
            _write(root / "README.md", readme)
    except OSError as error:
        raise OutputError(
            f"data set {root}: {error.strerror or error}; choose a folder that can be written"
        ) from None


def add_participant(root: Path, subject: str) -> None:
    """Add ``sub-SUBJECT`` to participants.tsv, unless it is there.

    Raises
    ------
    OutputError
        If the file has no column participant_id.
    """
    path, name = root / "participants.tsv", f"sub-{subject}"
    if not path.exists():
        _write(path, f"participant_id\n{name}\n")
        return
    text = path.read_text(encoding="utf-8-sig")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    columns = list(rows.fieldnames or ())
    if "participant_id" not in columns:
        raise OutputError(f"{path} has no column participant_id; mend it, or choose another folder")
    if all(row["participant_id"] != name for row in rows):
        row = "\t".join(name if column == "participant_id" else "n/a" for column in columns)
        _write(path, text.rstrip("\n") + f"\n{row}\n")


def claim_run(root: Path, entities: Mapping[str, str], run_uid: str, *, resuming: bool = False) -> RunEntry:
    """A place for a run that no other run has: the one asked for, else the next free run.

    The sidecar is made on the spot, so that no other process gets the same place.

    Parameters
    ----------
    root
        The data set.
    entities
        BIDS entities; subject and task at least.
    run_uid
        Identity of the run; noted in the sidecar.
    resuming
        Whether the place that this very run had before the crash is wanted.

    Raises
    ------
    OutputError
        If subject or task is missing, or the folder cannot be written.
    UsageError
        If an entity cannot stand in a BIDS name.
    """
    check_entities(entities)
    if not entities.get("subject") or not entities.get("task"):
        raise OutputError(
            f"a run needs a subject and a task, got {dict(entities)}; set bids.subject and bids.task"
        )
    requested = entities.get("run", "")
    for number, run in enumerate(run_indices(requested)):
        bold = root / relative_path({**entities, "run": run})
        entry = RunEntry(bold, (requested or "none") if number else None)
        if resuming and run_uid_in(entry.sidecar) == run_uid:
            return entry
        if _taken(entry):
            continue
        try:
            entry.bold.parent.mkdir(parents=True, exist_ok=True)
            ignore(root, entry.bold)
            with entry.sidecar.open("x") as file:
                json.dump({"RunUID": run_uid}, file)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"{entry.sidecar}: {error.strerror or error}; choose another folder") from None
        return entry
    raise AssertionError("there is always another run")


def ignore(root: Path, bold: Path, *, unfinished: bool = True) -> None:
    """Say in ``.bidsignore`` that the files of a run are not whole yet, or that they are now.

    An image and its sidecar cannot appear at once; whoever validates the data set between the two passes over
    both. If the run is cut off just then, they stay passed over.

    Parameters
    ----------
    root
        The data set.
    bold
        Image of the run.
    unfinished
        False once both are there.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path, line = root / ".bidsignore", f"{bold.name.removesuffix('_bold.nii')}_*"
    try:
        with _alone(root):
            before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            after = [one for one in before if one != line] + [line] * unfinished
            if after:
                _write(path, "\n".join(after) + "\n")
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; choose another folder") from None


def of_run(metadata: Mapping[str, Any], entities: Mapping[str, str]) -> dict[str, Any]:
    """What the metadata of a volume say of its whole run, and the task."""
    about = {key: value for key, value in metadata.items() if key not in OF_ONE_VOLUME}
    if task := entities.get("task"):
        about.setdefault("TaskName", task)
    return about


def sidecar(
    metadata: Mapping[str, Any],
    entities: Mapping[str, str],
    entry: RunEntry,
    run_uid: str,
    missing: list[int],
) -> dict[str, Any]:
    """The content of a run's JSON file: metadata of its first volume, and what only the whole run can say."""
    about = of_run(metadata, entities) | {"RunUID": run_uid}
    if missing:
        about["MissingVolumes"] = missing
    if entry.requested is not None:
        about["RequestedRun"] = entry.requested
    return about


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    _write(path, json.dumps(dict(content), indent=2, default=_plain) + "\n")


def run_indices(requested: str) -> Iterator[str]:
    """The run asked for, then those above it, with as many digits."""
    yield requested
    number = int(requested) if requested.isdigit() else 1
    while True:
        number += 1
        yield str(number).zfill(len(requested))


def _taken(entry: RunEntry) -> bool:
    return any(path.exists() for path in (entry.bold, entry.bold.with_suffix(".nii.gz"), entry.sidecar))


def run_uid_in(path: Path) -> str:
    """The identity of the run that a JSON file speaks of; empty if it tells none, or cannot be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("RunUID", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _require_raw(description: Path) -> None:
    try:
        kind = json.loads(description.read_text(encoding="utf-8-sig")).get("DatasetType", "raw")
    except (ValueError, AttributeError) as error:
        raise OutputError(
            f"{description} is not a JSON object ({error}); mend it, or choose another folder"
        ) from None
    if kind != "raw":
        raise OutputError(
            f"{description.parent} is a data set of type {kind!r}, expected 'raw'; choose another folder"
        )


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Nobody else changes the list meanwhile, as far as the file system has locks."""
    folder = os.open(root, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays, as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"sidecar value {value!r} is of type {type(value).__name__}, expected a JSON value")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
