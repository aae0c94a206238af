"""A data set of one volume, or of one run: what a program that reads BIDS can be given meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtflow.bids.dataset import add_participant, of_run, prepare_dataset, taken, write_json
from rtflow.bids.entities import folded
from rtflow.bids.fields import require_complete
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run_file import run_header, stored, stored_dtype
from rtflow.errors import OutputError
from rtflow.whole_file import partial_name

README = """# A part of a run

rtflow wrote this part of a run as a data set of its own, with the voxels as the scanner stored them, so that
programs that read BIDS can be given it. Of a single volume, `VolumeNumber` in the sidecar says which one of
the run it is, from 1; of several, `FirstVolume` says it of the first, if that is not 1. Volumes that are
missing among several are zeros, and `MissingVolumes` lists them, from 1 for the first of the file.

The run as a whole is recorded elsewhere.
"""


def write_dataset(echoes: Sequence[BidsIncremental], root: Path, *, only_data: bool = False) -> list[Path]:
    """Write one volume as a BIDS data set: a run that has one volume, each echo an image.

    Parameters
    ----------
    echoes
        The volume, echo by echo; they differ in their entity ``echo``. One alone is one echo. What
        `rtflow.bids.run.BidsRun.as_incremental` gave is written as the run it is.
    root
        The folder; made if it is not there.
    only_data
        Whether images and sidecars alone are written, into a data set that is there.

    Returns
    -------
    list
        The images.

    Raises
    ------
    UsageError
        If a field is missing that BIDS wants, or an entity cannot stand in a name.
    OutputError
        If one of the files is there already, two echoes have the same name, or the folder cannot be written.
    """
    paths: list[Path] = []
    for one in echoes:
        require_complete(one.entities, one.metadata, one.suffix, f"volume {one.volume}")
        path = root / one.path()
        if folded(path.name) in {folded(one.name) for one in paths}:
            raise OutputError(f"two images would be {path.name}; give each echo an entity echo of its own")
        paths.append(path)
    for path in paths:
        if there := taken(path):
            raise OutputError(f"{there[-1]} is there already; choose another folder")
    if not only_data:
        prepare_dataset(root, "A part of a run", README)
        for subject in dict.fromkeys(one.entities["subject"] for one in echoes):
            add_participant(root, subject)
    for one, path in zip(echoes, paths, strict=True):
        try:
            _write(one, path)
        except OSError as error:
            raise OutputError(f"{path.parent}: {error.strerror or error}; choose another folder") from None
    return paths


def _write(one: BidsIncremental, path: Path) -> None:
    dtype = stored_dtype(one.data)
    image = run_header(one, dtype) + stored(one, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        partial.write_bytes(image)
        write_json(path.with_suffix(".json"), sidecar(one))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sidecar(one: BidsIncremental) -> dict[str, Any]:
    """The content of the JSON file beside an image."""
    if one.data.ndim > 3:
        about = of_run(one.metadata, one.entities)
        if one.volume > 1:
            # In a file, volumes are numbered from its own first one.
            about["FirstVolume"] = one.volume
            if missing := about.get("MissingVolumes"):
                about["MissingVolumes"] = [number - one.volume + 1 for number in missing]
        return about
    return {**one.metadata, **of_run(one.metadata, one.entities), "VolumeNumber": one.volume}
