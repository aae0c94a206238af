"""What is written of a run once it is over, from its journal and its folder alone: also of an old run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.derivatives import write_derivatives
from rtflow.bids.entities import parse_name, relative_path
from rtflow.bids.grid import Grid
from rtflow.errors import SessionError
from rtflow.journal import Recording
from rtflow.session import read_item

BELOW = Path("derivatives/rtflow")


@dataclass(frozen=True)
class Recorded:
    """Where a run stands in the raw data set.

    Parameters
    ----------
    entities
        By their long names.
    bold
        Its image, relative to the data set; empty if it was not recorded there.
    """

    entities: Mapping[str, str]
    bold: str = ""


def derive(run_dir: Path) -> list[Path]:
    """Write the derivatives of a run into ``derivatives/rtflow`` of the data set that it was recorded into.

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
    start = recording.start
    raw = Path(start.places["bids"])
    recorded = find_recorded(raw, start.run_uid) or _unrecorded(raw, start.settings, start.run_uid)
    return write_derivatives(
        raw / BELOW,
        recorded.entities,
        start.run_uid,
        recording.documents,
        masks=dict(_masks(run_dir)),
        source=recorded.bold,
    )


def find_recorded(raw: Path, run_uid: str) -> Recorded | None:
    """Where a data set holds a run, by the identity in the run's sidecar; None if it does not."""
    for sidecar in sorted(raw.glob("sub-*/**/func/*_bold.json")):
        if _run_uid(sidecar) == run_uid:
            entities, _, _ = parse_name(sidecar.name)
            images = (sidecar.with_suffix(ending) for ending in (".nii", ".nii.gz"))
            bold = next((image.relative_to(raw).as_posix() for image in images if image.exists()), "")
            return Recorded(entities, bold)
    return None


def _unrecorded(raw: Path, settings: Mapping[str, Any], run_uid: str) -> Recorded:
    """A run whose workflow records nothing: the run asked for, or the next that nobody has."""
    bids = settings.get("bids", {})
    entities = {name: str(bids.get(name) or "") for name in ("subject", "session", "task", "run")}
    entities = {name: value for name, value in entities.items() if value}
    requested = entities.get("run", "")
    number = int(requested or 1)
    while True:
        ours = _written(raw / BELOW, entities)
        taken = (raw / relative_path(entities, extension=".json")).exists()
        if not taken and all(_run_uid(path) == run_uid for path in ours):
            return Recorded(entities)
        number += 1
        entities["run"] = str(number).zfill(len(requested))


def _written(root: Path, entities: Mapping[str, str]) -> list[Path]:
    """What stands of a run among the derivatives."""
    pattern = relative_path(entities, extension=".json")
    return sorted((root / pattern.parent).glob(pattern.name.replace("_bold.json", "_desc-*.json")))


def _masks(run_dir: Path) -> Iterator[tuple[str, tuple[NDArray[Any], Grid]]]:
    """The masks that a run took from the session, or made for it, by their labels."""
    for path in sorted([*(run_dir / "session").glob("*.npz"), *(run_dir / "saved").glob("*.npz")]):
        try:
            item = read_item(path)
        except SessionError:
            continue  # a damaged item is no reason to lose the rest
        mask = _mask_of(item.arrays, item.grid)
        if mask is not None and item.grid is not None:
            label = re.sub(r"[^0-9A-Za-z]", "", path.stem)
            yield "brain" if label == "mask" else label, (mask, item.grid)


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


def _run_uid(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("RunUID", ""))
    except (OSError, ValueError, AttributeError):
        return ""
