"""The raw data set that runs are recorded into: its files, and the names of its runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtflow import __version__
from rtflow.bids.entities import check_entities, file_name, folded, parse_name, relative_path
from rtflow.bids.fields import OF_ONE_IMAGE
from rtflow.bids.unfinished import alone, claim, put_in_order
from rtflow.errors import ArchiveError, OutputError, UsageError
from rtflow.whole_file import write_whole

BIDS_VERSION = "1.10.0"

#: Where derivatives stand in a raw data set.
BELOW = Path("derivatives/rtflow")

README = """# A data set recorded in real time

rtflow recorded these runs while they were scanned: each volume was appended to its run as it came, with
the voxels as the scanner stored them. Volumes that never came are zeros, and are listed (from 1) under
`MissingVolumes` in the sidecar of their run. `RunUID` there is the identity of the run in the journal,
`RequestedRun` is the run that was asked for where a run of that name was here already, and `RunStatus`
says how a run ended that was cut short.

Say here what the experiment was, who took part, and how the data may be used.
"""

#: Field of a run's sidecar that says how a run ended that did not come to its end.
RUN_STATUS = "RunStatus"

_DESCRIPTION = "dataset_description.json"
_BOM = b"\xef\xbb\xbf"
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
        """The events.tsv beside it: those of all echoes and parts are the same."""
        entities = parse_name(self.bold.name)[0]
        of_run = {name: label for name, label in entities.items() if name not in OF_ONE_IMAGE}
        return self.bold.with_name(file_name(of_run, "events", ".tsv"))


def prepare_dataset(root: Path, name: str = "Runs recorded by rtflow", readme: str = README) -> None:
    """Make the files that a data set has at its top, those that are not there yet.

    What a process has left half done there that was killed is put in order.

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
    description = root / _DESCRIPTION
    try:
        root.mkdir(parents=True, exist_ok=True)
        if description.exists():
            _require_raw(root)
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
            write_whole(root / "README.md", readme.encode())
        put_in_order(root)
    except OSError as error:
        raise OutputError(
            f"data set {root}: {error.strerror or error}; choose a folder that can be written"
        ) from None


def read_description(root: Path) -> dict[str, Any]:
    """What ``dataset_description.json`` says.

    Raises
    ------
    ArchiveError
        If there is none, it cannot be read, or it lacks what every data set has.
    """
    content = _described(root)
    if not {"Name", "BIDSVersion"} <= content.keys():
        raise ArchiveError(f"{root / _DESCRIPTION} has no Name or no BIDSVersion; mend it first")
    return content


def _described(root: Path) -> dict[str, Any]:
    path = root / _DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ArchiveError(
            f"{root} has no {_DESCRIPTION}, so it is no BIDS data set; give the root of one"
        ) from None
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path} cannot be read as JSON ({error}); mend it first") from None
    if not isinstance(content, dict):
        raise ArchiveError(f"{path} should be a JSON object; mend it first")
    return content


def add_participant(root: Path, subject: str) -> None:
    """Add ``sub-SUBJECT`` to participants.tsv, unless it is there.

    Raises
    ------
    OutputError
        If the file has no column participant_id, or cannot be written.
    """
    path, name = root / "participants.tsv", f"sub-{subject}".encode()
    with alone(root):
        if not path.exists():
            write_whole(path, b"participant_id\n" + name + b"\n")
            return
        try:
            text = path.read_bytes()
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}; choose another folder") from None
        # Bytes, since it may be in any encoding; a quotation mark says nothing in these tables.
        rows = [line.split(b"\t") for line in text.removeprefix(_BOM).splitlines()]
        if not rows or b"participant_id" not in rows[0]:
            raise OutputError(f"{path} has no column participant_id; mend it, or choose another folder")
        at = rows[0].index(b"participant_id")
        if all(row[at : at + 1] != [name] for row in rows[1:]):
            end = b"\r\n" if b"\r\n" in text else b"\n"
            row = b"\t".join(name if column == at else b"n/a" for column in range(len(rows[0])))
            write_whole(path, text + (b"" if text.endswith(b"\n") else end) + row + end)


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
        named = {**entities, "run": run} if run else entities
        if taken(bold) or derived(root, named, run_uid):
            continue
        if claim(root, bold, json.dumps({"RunUID": run_uid}) + "\n"):
            return entry
    raise AssertionError("there is always another run")


def derived(root: Path, entities: Mapping[str, str], run_uid: str) -> bool:
    """Whether another run has left derivatives under these names: it was one that recorded nothing itself."""
    pattern = relative_path(entities, extension=".json")
    ours = (root / BELOW / pattern.parent).glob(pattern.name.replace("_bold.json", "_desc-*.json"))
    return any(run_uid_in(path) != run_uid for path in ours)


def taken(bold: Path) -> list[Path]:
    """What keeps a run from having this image: the image or its sidecar, or those of a run of a like name.

    Names that differ in upper and lower case alone are no two names in BIDS, and run ``01`` is run ``1``.

    Parameters
    ----------
    bold
        The NIfTI file, ``.nii``.

    Raises
    ------
    OutputError
        If the folder cannot be read.
    """
    names = {folded(bold.with_suffix(ending).name) for ending in (".nii", ".nii.gz", ".json")}
    try:
        return sorted(path for path in bold.parent.iterdir() if folded(path.name) in names)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"{bold.parent}: {error.strerror or error}; choose another folder") from None


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
    about.pop(RUN_STATUS, None)  # of the run that is read again, not of this one
    if missing:
        about["MissingVolumes"] = missing
    if entry.requested is not None:
        about["RequestedRun"] = entry.requested
    return about


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step, as `json_text`.

    Raises
    ------
    UsageError
        If a value is none of JSON, nor of numpy.
    OutputError
        If the file cannot be written.
    """
    write_whole(path, json_text(content).encode())


def json_text(content: Mapping[str, Any]) -> str:
    """The content of a JSON file.

    JSON knows no number that is not finite: a field that is one is left out, for it says nothing.

    Raises
    ------
    UsageError
        If a value is none of JSON, nor of numpy.
    """
    plain = {name: _plain(value) for name, value in content.items()}
    known = {name: value for name, value in plain.items() if value is not None or content[name] is None}
    return json.dumps(known, indent=2) + "\n"


def run_indices(requested: str) -> Iterator[str]:
    """The run asked for, then those above it, with as many digits."""
    yield requested
    number = int(requested) if requested.isdigit() else 1
    while True:
        number += 1
        yield str(number).zfill(len(requested))


def run_uid_in(path: Path) -> str:
    """The identity of the run that a JSON file speaks of; empty if it tells none, or cannot be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("RunUID", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _require_raw(root: Path) -> None:
    try:
        kind = _described(root).get("DatasetType", "raw")
        if kind != "raw":
            raise OutputError(f"{root} is a data set of type {kind!r}, expected 'raw'; choose another folder")
        read_description(root)
    except ArchiveError as error:
        raise OutputError(f"{error}, or choose another folder") from None


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays as JSON has them, and None for what is no finite number."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise UsageError(f"sidecar value {value!r} is of type {type(value).__name__}, expected a JSON value")
