"""The maps and the design of a linear model, as a run left them in its folder, for its derivatives."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rtflow.bids.derivatives import OfModel

_MAP = re.compile(r"contrast-([0-9A-Za-z]+)_stat-([0-9A-Za-z]+)_statmap\.nii\.gz")
_SAYS = {
    "effect": "Effect",
    "t": "t of the effect, by ordinary least squares, not corrected for autocorrelation,",
    "z": "Normal deviate about as unlikely as the t of the effect, not corrected for autocorrelation,",
}


def read_models(run_dir: Path, image_of: Callable[[str], str]) -> Iterator[OfModel]:
    """What every linear model of a run has left: a table of its design, and its maps.

    Parameters
    ----------
    run_dir
        Folder of the run; a model has a folder in it, with ``glm.json`` (`rtflow.nodes.models.glm.GLM`).
    image_of
        From the identity of a reference to the image, relative to the raw data set, that has it; empty if
        that is not known.

    Yields
    ------
    OfModel
        One for each file. A model whose files cannot be read has none: that is no reason to lose the rest.
    """
    for about in sorted(run_dir.glob("*/glm.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
            facts = json.loads(about.read_text(encoding="utf-8"))
            yield from _of_one(about.parent, facts, image_of(facts.get("reference", "")))


def _of_one(folder: Path, facts: dict[str, Any], image: str) -> Iterator[OfModel]:
    # One model is the rule, and needs no name.
    label = "" if folder.name == "glm" else re.sub(r"[^0-9A-Za-z]", "", folder.name)
    model = {
        "NoiseModel": facts["noise_model"],
        "DegreesOfFreedom": facts["degrees_of_freedom"],
        "HRFModel": facts["hrf_model"],
        "DriftModel": facts["drift_model"],
        "SliceTimeRef": facts["slice_time_ref"],
    }
    design = {"Description": "Rows of the linear model; volume: number of the volume, from 1", **model}
    yield OfModel("", "design", ".tsv", label, (folder / "design.tsv").read_bytes(), design)
    for path in sorted(folder.glob("*_statmap.nii.gz")):
        if (found := _MAP.fullmatch(path.name)) is None:
            continue
        contrast, stat = found.groups()
        of = facts.get("contrasts", {}).get(contrast, contrast)
        says = f"{_SAYS.get(stat, stat)} of the contrast {of}; 0 where it is not known"
        about = {"Description": says, "Contrast": of, "Statistic": stat, **model}
        about |= {"Units": "arbitrary"} if stat == "effect" else {}
        about |= {"SpatialReference": f"bids:raw:{image}"} if image else {}
        beginning = f"contrast-{contrast}_stat-{stat}"
        yield OfModel(beginning, "statmap", ".nii.gz", label, path.read_bytes(), about)
