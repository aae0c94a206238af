"""What OpenNeuro has: data sets, and of each its description, README, subjects and files."""

from __future__ import annotations

import json
import re
from typing import Any

from rtflow.errors import SourceError
from rtflow.openneuro.bucket import Bucket, StoredObject

_ACCESSION = re.compile(r"ds[0-9]{6}")


def datasets(bucket: Bucket) -> list[str]:
    """Accession numbers of all data sets, ascending.

    Raises
    ------
    SourceError
        If the server cannot be reached, or refuses.
    """
    return sorted(name for name in bucket.folder()[0] if _ACCESSION.fullmatch(name))


def subjects(bucket: Bucket, dataset: str) -> list[str]:
    """BIDS labels of the participants of a data set, without ``sub-``.

    Raises
    ------
    SourceError
        If there is no such data set, or the server cannot be reached.
    """
    folders, _ = _top(bucket, dataset)
    return [name.removeprefix("sub-") for name in folders if name.startswith("sub-")]


def description(bucket: Bucket, dataset: str) -> dict[str, Any]:
    """The data set's dataset_description.json; raises as `subjects`, and if it is no JSON object."""
    _, files = _top(bucket, dataset)
    for item in files:
        if item.path == "dataset_description.json":
            try:
                about = json.loads(bucket.read(item).decode("utf-8-sig"))
            except ValueError as error:
                raise SourceError(f"{item.key} is not JSON ({error})") from None
            if isinstance(about, dict):
                return about
    raise SourceError(f"{dataset} has no dataset_description.json that is a JSON object")


def readme(bucket: Bucket, dataset: str) -> str:
    """Text of the data set's README, whatever its ending; empty if it has none. Raises as `subjects`."""
    _, files = _top(bucket, dataset)
    for item in files:
        if item.path.partition(".")[0].upper() == "README":
            return bucket.read(item).decode("utf-8-sig", errors="replace")
    return ""


def objects(bucket: Bucket, dataset: str, subject: str = "") -> list[StoredObject]:
    """The files of a data set: those at its top, and all those of its participants (or of one).

    Raises
    ------
    SourceError
        If there is no such data set, or the server cannot be reached.
    """
    folders, files = _top(bucket, dataset)
    if not subject:
        return [
            item
            for item in bucket.listed(f"{dataset}/")
            if "/" not in item.path or item.path.startswith("sub-")
        ]
    if f"sub-{subject}" in folders:
        files += bucket.listed(f"{dataset}/sub-{subject}/")
        return files
    known = [name.removeprefix("sub-") for name in folders if name.startswith("sub-")]
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise SourceError(f"{dataset} has no subject {subject}; it has {shown or 'none'}")


def _top(bucket: Bucket, dataset: str) -> tuple[list[str], list[StoredObject]]:
    if not _ACCESSION.fullmatch(dataset):
        raise SourceError(f"{dataset!r} is no data set of OpenNeuro; give one such as ds002338")
    folders, files = bucket.folder(f"{dataset}/")
    if not folders and not files:
        raise SourceError(
            f"OpenNeuro has no data set {dataset} at {bucket.endpoint}; 'rtflow openneuro' lists those it has"
        )
    return folders, files
