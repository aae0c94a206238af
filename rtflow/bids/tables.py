"""The tables of a run, made of its documents: confounds, results, feedback, timing.

Row n of every table is volume n; what a volume does not have, because it never came, failed, or repeats an
earlier volume's value, is ``n/a``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rtflow.documents import (
    AnyDocument,
    Delivered,
    Result,
    RunStart,
    Scalar,
    VolumeMissing,
    VolumeReceived,
)

_TRANSLATION = "Translation of the head against the reference, along {} (RAS+)"
_ROTATION = "Rotation of the head against the reference, about the {} axis (RAS+)"

#: Columns of fMRIPrep's confounds: description, and units if it has any.
CONFOUNDS: dict[str, tuple[str, str]] = {
    "trans_x": (_TRANSLATION.format("x, to the right"), "mm"),
    "trans_y": (_TRANSLATION.format("y, to the front"), "mm"),
    "trans_z": (_TRANSLATION.format("z, up"), "mm"),
    "rot_x": (_ROTATION.format("x"), "rad"),
    "rot_y": (_ROTATION.format("y"), "rad"),
    "rot_z": (_ROTATION.format("z"), "rad"),
    "framewise_displacement": ("Framewise displacement against the volume before (Power et al. 2012)", "mm"),
    "rmsd": ("Root mean square displacement against the volume before, over a sphere (Jenkinson 1999)", "mm"),
    "dvars": ("Root mean square, over voxels, of the difference to the volume before", ""),
    "std_dvars": ("Standardised DVARS", ""),
    "global_signal": ("Mean signal within the brain", ""),
    "white_matter": ("Mean signal within white matter", ""),
    "csf": ("Mean signal within cerebrospinal fluid", ""),
}

_UNITS = {"mm": "mm", "rad": "rad", "ml": "ml", "seconds": "s", "percent": "%"}
_PERCENT = frozenset(
    f"percent_signal_change{end}" for end in ("", "_difference", "_block_mean", "_difference_block_mean")
)
_KINDS = {
    "neutral": "No value: nothing is to be shown",
    "evidence": "Evidence for the target condition, from -1 to 1",
    "percent_signal_change": "Percent signal change against the baseline",
}


@dataclass
class Table:
    """One ``_timeseries.tsv`` and its JSON.

    Parameters
    ----------
    volumes
        Number of rows.
    columns
        Name to one value per volume; None is ``n/a``.
    about
        Name to what stands of the column in the JSON.
    """

    volumes: int
    columns: dict[str, list[Scalar]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, description: str, units: str = "") -> list[Scalar]:
        """A column of nothing but ``n/a``, to be filled; one that is there is given as it is."""
        if name not in self.columns:
            self.columns[name] = [None] * self.volumes
            self.about[name] = {"Description": description} | ({"Units": units} if units else {})
        return self.columns[name]

    def text(self) -> str:
        """The content of the TSV."""
        rows = zip(*self.columns.values(), strict=True)
        lines = [list(self.columns), *([_cell(value) for value in row] for row in rows)]
        return "".join("\t".join(line) + "\n" for line in lines)


def tables(documents: Iterable[AnyDocument]) -> dict[str, Table]:
    """The tables of a run, by their label ``desc-``: confounds, results, feedback, timing.

    Parameters
    ----------
    documents
        Of one run, in any state: it may have been cut off.

    Returns
    -------
    dict
        As many rows in each as there are volumes up to the last that came or was given up; a table without
        a column (no motion was estimated, say) is left out, as are all of a run without volumes.
    """
    documents = list(documents)
    arrivals = [d for d in documents if isinstance(d, (VolumeReceived, VolumeMissing))]
    results = [d for d in documents if isinstance(d, Result)]
    volumes = max((d.volume for d in (*arrivals, *results)), default=0)
    if not volumes:
        return {}
    delivered = [d for d in documents if isinstance(d, Delivered)]
    start = next((d for d in documents if isinstance(d, RunStart)), None)
    made = {
        "confounds": _confounds(volumes, results),
        "results": _results(volumes, results, start),
        "feedback": _feedback(volumes, results, delivered, start),
        "timing": _timing(volumes, arrivals, results, delivered, start),
    }
    return {name: table for name, table in made.items() if table.columns}


def _confounds(volumes: int, results: list[Result]) -> Table:
    table = Table(volumes)
    publishers: dict[str, str] = {}
    for result in results:
        for key in result.values:
            node, _, name = key.rpartition(".")
            if name in CONFOUNDS:
                publishers.setdefault(name, node)
    for name, (description, units) in CONFOUNDS.items():
        if name in publishers:
            column = table.add(name, f"{description}; node {publishers[name]}", units)
            _fill(column, results, f"{publishers[name]}.{name}")
    return table


def _results(volumes: int, results: list[Result], start: RunStart | None) -> Table:
    table = Table(volumes)
    status = table.add("status", "How the volume ended")
    quality = table.add("quality", "Whether a node doubted what it gave, or a value is stale or skipped")
    table.about["status"]["Levels"] = {
        "ok": "All nodes were done in time",
        "late": "All nodes were done, after the run's deadline",
        "missing": "The volume never came",
        "failed": "A node failed",
    }
    table.about["quality"]["Levels"] = {"good": "No doubt", "suspect": "Doubted"}
    for result in results:
        status[result.volume - 1], quality[result.volume - 1] = result.status, result.quality
        for key in result.values:
            if key not in table.columns:
                node, _, name = key.rpartition(".")
                says = _said_of(start, key)
                what = f"{says[:1].upper()}{says[1:]}; output" if says else "Output"
                units = _units_of_kinds(results, node) if name == "value" else _units(name, says)
                _fill(table.add(key, f"{what} {name} of node {node}", units), results, key)
                if name == "kind":
                    table.about[key]["Levels"] = _levels(results, node)
    return table


def _feedback(
    volumes: int, results: list[Result], delivered: list[Delivered], start: RunStart | None
) -> Table:
    table = Table(volumes)
    keys = {key: None for result in results for key in result.values if key.rpartition(".")[2] == "value"}
    reached = {document.volume for document in delivered}
    for key in keys:
        node = key.rpartition(".")[0]
        prefix = f"{node}." if len(keys) > 1 else ""
        says, units = _said_of(start, key), _units_of_kinds(results, node)
        true = table.add(
            f"{prefix}true_value",
            f"What node {node} made of this very volume" + (f": {says}" if says else ""),
            units,
        )
        shown = table.add(
            f"{prefix}delivered_value",
            f"What the subject's side got of node {node} after this volume; n/a: nothing reached it",
            units,
        )
        repeats = table.add(
            f"{prefix}stale", "Whether the value repeats that of an earlier volume (1) or not (0)"
        )
        _fill(true, results, key)
        for result in results:
            if key in result.values:
                repeats[result.volume - 1] = key in result.stale
                if result.volume in reached:
                    shown[result.volume - 1] = result.values[key]
        kind = f"{node}.kind"
        if any(kind in result.values for result in results):
            _fill(table.add(f"{prefix}kind", f"What the value of node {node} is"), results, kind)
            table.about[f"{prefix}kind"]["Levels"] = _levels(results, node)
    return table


def _timing(
    volumes: int,
    arrivals: list[VolumeReceived | VolumeMissing],
    results: list[Result],
    delivered: list[Delivered],
    start: RunStart | None,
) -> Table:
    table = Table(volumes)
    number = table.add("volume", "Number of the volume, from 1")
    number[:] = list(range(1, volumes + 1))
    began = start.time if start else 0.0
    received = table.add("received", "When the last byte of the volume was there, after the run's start", "s")
    first = next((d.acquired for d in arrivals if isinstance(d, VolumeReceived) and d.acquired), None)
    for arrival in arrivals:
        if isinstance(arrival, VolumeReceived):
            received[arrival.volume - 1] = round(arrival.received - began, 6)
            if first is not None and arrival.acquired is not None:
                acquired = table.add(
                    "acquired", "Acquisition began, on the scanner's clock, after the first known one", "s"
                )
                acquired[arrival.volume - 1] = round(arrival.acquired - first, 6)
    for result in results:
        at = result.volume - 1
        table.add("latency", "From the last byte of the volume to its Result", "ms")[at] = result.latency
        if result.margin is not None:
            table.add("margin", "Left until the deadline when the Result was there", "ms")[at] = result.margin
        for node, spent in result.timings.items():
            table.add(f"duration.{node}", f"Time that node {node} took", "ms")[at] = spent
    for document in delivered:
        name = f"{document.stage}.{document.channel}"
        says = f"When the value was {document.stage} on channel {document.channel}, after the run's start"
        moment = document.time if document.at is None else document.at
        table.add(name, says, "s")[document.volume - 1] = round(moment - began, 6)
    return table


def _fill(column: list[Scalar], results: list[Result], key: str) -> None:
    """The values that are of these very volumes: a stale one is an earlier volume's."""
    for result in results:
        if key in result.values and key not in result.stale:
            column[result.volume - 1] = result.values[key]


def _said_of(start: RunStart | None, key: str) -> str:
    """What the interface of a node says of its output ``node.name``; empty if that is not known."""
    node, _, name = key.rpartition(".")
    outputs = (start.nodes.get(node) or {}).get("outputs") if start else None
    return str((outputs or {}).get(name, ""))


def _units(name: str, says: str) -> str:
    """The units of an output, if what is said of it begins or ends with them.

    >>> _units("rmsd", "mm against the volume before"), _units("dof", "degrees of freedom")
    ('mm', '')
    """
    if name in CONFOUNDS:
        return CONFOUNDS[name][1]
    words = re.findall(r"\w+", says)
    if "in percent of" in says:
        return "%"
    return _UNITS.get(words[0], "") if words else ""


def _units_of_kinds(results: list[Result], node: str) -> str:
    """The units of a node's value: percent, if it is nothing else in any volume."""
    kinds = _kinds(results, node) - {"neutral"}
    return "%" if kinds and kinds <= _PERCENT else ""


def _kinds(results: list[Result], node: str) -> set[str]:
    found = {result.values.get(f"{node}.kind") for result in results}
    return {str(kind) for kind in found if kind}


def _levels(results: list[Result], node: str) -> dict[str, str]:
    """Every kind of a run, in words."""
    return {kind: _KINDS.get(kind, kind.replace("_", " ")) for kind in sorted(_kinds(results, node))}


def _cell(value: Scalar) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, bool):
        return str(int(value))
    # repr of a float gives it back bit for bit.
    text = repr(value) if isinstance(value, float) else " ".join(str(value).split())
    return text or "n/a"
