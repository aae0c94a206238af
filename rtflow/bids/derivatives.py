"""What a run found out, as BIDS derivatives: confounds, results, feedback, timing, masks and maps.

Everything is made from the documents of the run, so that it can be written at any time after it. Row n of
every table is volume n; what a volume does not have, because it never came, failed, or repeats an earlier
volume's value, is ``n/a``.
"""

from __future__ import annotations

import datetime
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow import __version__
from rtflow.bids.dataset import BIDS_VERSION, RUN_STATUS, write_json
from rtflow.bids.entities import relative_path
from rtflow.bids.grid import Grid
from rtflow.bids.tables import tables
from rtflow.bids.unfinished import leave_to_others, put_in_order
from rtflow.documents import AnyDocument, Event
from rtflow.errors import OutputError
from rtflow.whole_file import write_whole


@dataclass(frozen=True)
class OfModel:
    """A file of a linear model, under the names that tools of the BIDS Stats Models (FitLins) give.

    Parameters
    ----------
    contrast
        ``contrast-LABEL_stat-LABEL`` of a map; empty for what is of the whole model.
    suffix, extension
        Of its name.
    label
        Of the model, where there are several in a run (``desc-LABEL``); else empty.
    data
        Its bytes.
    about
        What its sidecar says.
    """

    contrast: str
    suffix: str
    extension: str
    label: str
    data: bytes
    about: Mapping[str, Any]

    def path(self, entities: Mapping[str, str]) -> PurePosixPath:
        """Where it lies, from the root of the data set of derivatives.

        >>> of_t = OfModel("contrast-a_stat-t", "statmap", ".nii.gz", "", b"", {})
        >>> str(of_t.path({"subject": "01", "task": "faces", "run": "1"}))
        'sub-01/func/sub-01_task-faces_run-1_contrast-a_stat-t_statmap.nii.gz'
        """
        bold = relative_path(entities, suffix="bold", extension="")
        end = f"desc-{self.label}" if self.label else ""
        stem = "_".join(filter(None, (bold.name.removesuffix("_bold"), self.contrast, end, self.suffix)))
        return bold.with_name(stem + self.extension)


def write_derivatives(
    root: Path,
    entities: Mapping[str, str],
    run_uid: str,
    documents: Iterable[AnyDocument],
    *,
    masks: Mapping[str, tuple[NDArray[Any], Grid]] | None = None,
    source: str = "",
    references: Mapping[str, str] | None = None,
    models: Iterable[OfModel] = (),
    status: str = "",
) -> list[Path]:
    """Write what a run found out into a data set of derivatives.

    What the same run has written earlier is replaced; another run's is never touched.

    Parameters
    ----------
    root
        The data set, ``derivatives/rtflow`` of the raw one.
    entities
        Of the run as it was recorded, by their long names.
    run_uid
        Identity of the run.
    documents
        Of the run.
    masks
        Label to mask (i, j, k; not 0 is inside) and its grid.
    source
        The run's image relative to the raw data set, if it was recorded.
    references
        Label of a mask to the image, relative to the raw data set, that its grid is of; empty if that is
        not known. Default: the run's own.
    models
        Files of its linear models.
    status
        How the run ended, if it was cut short.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If the folder cannot be written, is no data set of derivatives, or holds another run of these
        entities.
    """
    about: dict[str, Any] = {"RunUID": run_uid} | ({"Sources": [f"bids:raw:{source}"]} if source else {})
    about |= {RUN_STATUS: status} if status else {}
    made: list[tuple[Path, bytes, dict[str, Any]]] = []
    documents = list(documents)
    noted = {"Notes": notes} if (notes := _notes(documents)) else {}
    for label, table in tables(documents).items():
        said = noted if label == "results" else {}
        path = root / relative_path({**entities, "description": label}, "func", "timeseries", ".tsv")
        made.append((path, table.text().encode(), about | said | table.about))
    for label, (mask, grid) in (masks or {}).items():
        path = root / relative_path({**entities, "description": label}, "func", "mask", ".nii.gz")
        kind = {"Type": "Brain"} if label == "brain" else {"Type": "ROI"}
        says = {"Description": f"Mask {label!r} of the session, on the grid of its reference volume"}
        image = (references or {}).get(label, source)
        place = {"SpatialReference": f"bids:raw:{image}"} if image else {}
        made.append((path, _nifti(mask, grid), about | kind | says | place))
    made += [(root / one.path(entities), one.data, about | dict(one.about)) for one in models]
    try:
        _prepare(root)
    except OSError as error:
        raise OutputError(
            f"derivatives {root}: {error.strerror or error}; choose a folder that can be written"
        ) from None
    for path, _, _ in made:
        _require_own(_beside(path), run_uid)
    for path, data, says_of_it in made:
        # A file may be without its JSON for a moment, and no JSON without its file.
        write_whole(path, data)
        write_json(_beside(path), says_of_it)
    return [file for path, _, _ in made for file in (path, _beside(path))]


def _notes(documents: Iterable[AnyDocument]) -> list[dict[str, Any]]:
    """Notes of the operators; times in UTC, volumes as they were counted."""
    return [
        {
            "Time": datetime.datetime.fromtimestamp(one.time, datetime.UTC).isoformat(timespec="seconds"),
            "Volume": one.volume or "n/a",
            "Author": str(one.data.get("who", "")),
            "Text": str(one.data.get("says", "")),
        }
        for one in documents
        if isinstance(one, Event) and one.name == "note"
    ]


def _beside(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def _nifti(mask: NDArray[Any], grid: Grid) -> bytes:
    import nibabel

    image = nibabel.Nifti1Image((np.asarray(mask) != 0).astype(np.uint8), grid.matrix())
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.matrix(), code=1)
    image.set_sform(grid.matrix(), code=1)
    # No time in the gzip header: the same mask gives the same file.
    return gzip.compress(image.to_bytes(), mtime=0)


def _prepare(root: Path) -> None:
    description = root / "dataset_description.json"
    if description.exists():
        try:
            kind = json.loads(description.read_text(encoding="utf-8-sig")).get("DatasetType")
        except (ValueError, AttributeError) as error:
            raise OutputError(f"{description} is not a JSON object ({error}); mend or remove it") from None
        if kind != "derivative":
            raise OutputError(f"{root} is a data set of type {kind!r}, expected 'derivative'; remove it")
        put_in_order(root)
    else:
        # The first one: from then on the folder is a data set, whatever else is there.
        write_json(description, _DESCRIPTION)
    if not (root / "README.md").exists():
        write_whole(root / "README.md", _README.encode())
    leave_to_others(root, _UNKNOWN)


_DESCRIPTION = {
    "Name": "Results of rtflow, made while the runs were scanned",
    "BIDSVersion": BIDS_VERSION,
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "rtflow", "Version": __version__}],
    "DatasetLinks": {"raw": "../.."},
}

_README = """# Results of rtflow

Made while the runs were scanned. `desc-confounds` has motion under fMRIPrep's column names, `desc-results`
every output of every volume (and in its JSON the operator's `Notes`), `desc-feedback` what the participant
got and what was true of the volume, `desc-timing` when everything happened. Row n is volume n; `n/a`: the
volume does not have it. `statmap` are maps of a linear model, `design` its rows. The
JSON file beside each describes it.
"""

#: BIDS has no name for them yet; fMRIPrep's and FitLins' are left out of validation in this way, too.
_UNKNOWN = ("*_timeseries.*", "*_design.*", "*_statmap.*")


def _require_own(beside: Path, run_uid: str) -> None:
    """Refuse to replace what another run has written."""
    if not beside.exists():
        return
    try:
        found = json.loads(beside.read_text(encoding="utf-8")).get("RunUID")
    except (ValueError, AttributeError):
        found = None
    if found != run_uid:
        raise OutputError(
            f"{beside} is of run {found}, expected {run_uid}; move it away, or set another bids.run"
        )
