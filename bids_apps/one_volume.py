"""What passes between the stream and an app's worker: a data set of one volume, and what was made of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rtflow.bids.dataset import add_participant, prepare_dataset
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.nifti import read_nifti
from rtflow.bids.one_volume import write_dataset
from rtflow.bids_apps.descriptor import OUT_DIR, OutputKind
from rtflow.bids_apps.outputs import read_plain
from rtflow.errors import VolumeError

_MEMORY = Path("/dev/shm")
_OURS = "rtflow-volume-"
_ZEROS = (64, 64, 36)
_README = "# One volume of a run\n\nrtflow gives a BIDS App one volume after the other here.\n"


class OneVolume:
    """A data set in memory that holds one volume at a time, and a folder for what is made of it.

    Parameters
    ----------
    name
        Of the app.
    """

    def __init__(self, name: str) -> None:
        place = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
        _sweep(place)
        self.root = Path(tempfile.mkdtemp(prefix=f"{_OURS}{os.getpid()}-{name}-", dir=place))
        self.bids_dir = self.root / "data"
        self.out_dir = self.root / "out"
        self.out_dir.mkdir()
        prepare_dataset(self.bids_dir, "One volume of a run", _README)
        self._participants: set[str] = set()
        self._written: list[Path] = []

    def put(self, incremental: BidsIncremental) -> Path:
        """Write a volume in place of the one before; the folder for what is made of it.

        Raises
        ------
        RtflowError
            If it lacks what BIDS wants, or the memory is full.
        """
        self.clear()
        subject = incremental.entities.get("subject", "")
        if subject and subject not in self._participants:
            add_participant(self.bids_dir, subject)
            self._participants.add(subject)
        images = write_dataset([incremental], self.bids_dir, only_data=True)
        self._written = [path for image in images for path in (image, image.with_suffix(".json"))]
        out = self.out_dir / f"volume-{incremental.volume:04d}"
        out.mkdir(exist_ok=True)
        return out

    def zeros(self) -> tuple[Path, Path]:
        """A data set of zeros, which stays, and a folder for what is made of it; both where outputs are."""
        nothing = BidsIncremental(
            np.zeros(_ZEROS, np.int16, order="F"),
            np.diag([3.0, 3.0, 3.0, 1.0]),
            volume=0,
            metadata={"RepetitionTime": 2.0, "TaskName": "zeros"},
            entities={"subject": "zeros", "task": "zeros"},
        )
        write_dataset([nothing], self.out_dir / "zeros")
        out = self.out_dir / "volume-0000"
        out.mkdir()
        return self.out_dir / "zeros", out

    def clear(self) -> None:
        """Remove the volume that is there, if one is."""
        for path in self._written:
            path.unlink(missing_ok=True)
        self._written = []

    def drop(self, out: Path) -> None:
        """Remove what was made of a volume, once it is read."""
        shutil.rmtree(out, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what processes have left that were killed: memory is not given back by itself."""
    for path in place.glob(f"{_OURS}*"):
        number = path.name.removeprefix(_OURS).partition("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def outputs_of(
    said: Mapping[str, Any],
    kinds: Mapping[str, OutputKind],
    out: Path,
    incremental: BidsIncremental,
) -> dict[str, Any]:
    """What a worker said of a volume, as outputs of the node.

    Parameters
    ----------
    said
        By name.
    kinds
        What was declared; only this is taken. A value that was left out, or is null, is withheld.
    out
        Where its images are.
    incremental
        The volume: an image becomes the next one of it.

    Raises
    ------
    VolumeError
        If a value is not of its kind, or an image is not in the folder or cannot be read.
    """
    outputs: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = said.get(name)
        if value is None:
            continue
        if kind == "image":
            outputs[name] = _image(name, value, out, incremental)
        elif kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            outputs[name] = float(value)
        elif isinstance(value, _PYTHON.get(kind, ())):
            outputs[name] = value
        else:
            raise VolumeError(f"{name}: expected a {kind} from the app, got {str(value)[:80]!r}")
    return outputs


_PYTHON: dict[OutputKind, type] = {"text": str, "list": list}


def _image(name: str, value: Any, out: Path, incremental: BidsIncremental) -> BidsIncremental:
    above = Path(value).parts[:-1] if isinstance(value, str) else None
    inside = above in ((), (*Path(OUT_DIR).parts, out.name), out.parts)
    wrong = f"{name}: expected the name of an image in its out_dir, got {str(value)[:80]!r}"
    if not inside:
        raise VolumeError(wrong)
    try:
        content = read_plain(out, Path(value).name)
    except (OSError, ValueError) as error:
        raise VolumeError(f"{wrong}: {getattr(error, 'strerror', None) or error}") from None
    made = read_nifti(content, volume=incremental.volume, entities=incremental.entities)
    same = (made.grid.shape, made.grid.affine) == (incremental.grid.shape, incremental.grid.affine)
    return BidsIncremental(
        made.data,
        np.array(made.affine),
        volume=incremental.volume,
        metadata=incremental.metadata,
        entities=incremental.entities,
        slope=made.slope,
        intercept=made.intercept,
        reference=incremental.reference if same else "",
        suffix=incremental.suffix,
    )
