"""Which series of the scanner the runs of a data set are, without naming anybody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from rtflow.bids.incremental import BidsIncremental

#: Field of a run's sidecar that says which series it is.
SERIES_HASH = "SeriesHash"


def series_hash(first: BidsIncremental) -> str:
    """What tells one series from all others: a hash over number, time and voxels of its first volume.

    SeriesInstanceUID would tell it too, but leads to the examination, and so to a person.

    Parameters
    ----------
    first
        The first volume of the run.

    Returns
    -------
    str
        SHA-256, or what the metadata say, which a data set that is read again does; empty if the headers have
        no SeriesNumber or AcquisitionTime: it did not come from a scanner.
    """
    about = first.metadata
    if stated := about.get(SERIES_HASH):
        return str(stated)
    number, time = about.get("SeriesNumber"), about.get("AcquisitionTime")
    if number is None or not time:
        return ""
    digest = hashlib.sha256(repr((number, time, first.data.dtype.str, first.data.shape)).encode())
    digest.update(np.ascontiguousarray(first.data).data)
    return digest.hexdigest()


def recorded_series(root: Path) -> dict[str, str]:
    """The series of a data set's runs: hash to name of the run, without suffix; of several the last."""
    found: dict[str, str] = {}
    for sidecar in sorted(root.glob("sub-*/**/func/*_bold.json")):
        try:
            stated = json.loads(sidecar.read_text(encoding="utf-8")).get(SERIES_HASH)
        except (OSError, ValueError, AttributeError):
            continue  # of a damaged one nothing is known
        if stated:
            found[str(stated)] = sidecar.name.removesuffix("_bold.json")
    return found
