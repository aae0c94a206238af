"""What the runs of a batch came to: a row each, and a page with a picture each."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtflow.batch.jobs import MADE_BY, made_by, read_batch, results_of, whole_results
from rtflow.documents import Result
from rtflow.errors import JournalError, OutputError
from rtflow.journal import Recording
from rtflow.whole_file import put_whole

COUNTS = ("ok", "late", "missing", "failed", "suspect")
_MISSING = "n/a"
_WIDTH, _HEIGHT = 640, 90
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")

Row = dict[str, Any]


def rows_of(folder: Path) -> list[Row]:
    """A row for each run of a batch, in the order of their names.

    Returns
    -------
    list
        Of each run its entities, ``status`` (``completed``, ``failed``, ``aborted``, ``to do``), how many
        volumes ended how, milliseconds from a volume's last byte to its Result (median and 95th percentile),
        of each scalar that the workflow publishes mean and median over the volumes that have it, and why it
        failed. A run that failed has what it came to.
    """
    batch = read_batch(folder)
    rows = []
    for name in sorted(batch.runs):
        row: Row = {"name": name, **batch.entities[name]}
        place = folder / "runs" / name
        whole = results_of(folder, batch, name)
        told = _json(whole / "result.json" if whole else place / "result.json.part") or {}
        if whole:
            row["status"] = told.get("status", "completed")
        elif _outdated(place, made_by(batch, name)):
            rows.append(
                row | {"status": "to do", "why": "it was done with other options or another workflow"}
            )
            continue
        elif (place / "log.txt").exists():
            # A run can come to its end and still break a limit that the settings give it; one that could
            # not begin has said why, and one that was cut off has said nothing.
            ended = told.get("status") or ("failed" if _said(place) else "aborted")
            row |= {"status": "failed" if ended == "completed" else ended, "why": _why(place, told)}
        else:
            row |= {"status": "to do", "why": ""}
        if told:
            row["run_uid"] = told["run_uid"]
            row |= {count: told["volumes"].get(count, 0) for count in COUNTS}
            latency = told.get("latency_ms") or {}
            row |= {f"latency_{name}_ms": latency.get(name) for name in ("p50", "p95")}
            for key, (_, values) in series_of(place, row["run_uid"]).items():
                row |= {f"mean_{key}": float(np.mean(values)), f"median_{key}": float(np.median(values))}
        rows.append(row)
    return rows


def _outdated(place: Path, made_by: str) -> bool:
    """Whether what a run left is of another command, or another workflow, than it is to be done with now."""
    try:
        return (place / MADE_BY).read_text(encoding="utf-8") != made_by
    except OSError:
        return whole_results(place) is not None


def series_of(place: Path, run_uid: str) -> dict[str, tuple[list[int], list[float]]]:
    """Numbers of volumes, and the values there, of each scalar that a run in a run's folder published."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for result in _results(place, run_uid):
        for key, value in result.values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
                volumes, values = found.setdefault(key, ([], []))
                volumes.append(result.volume)
                values.append(float(value))
    return found


def write_table(folder: Path) -> list[Row]:
    """Write ``group.tsv``, ``group.json`` and ``group.html`` into the folder of a batch.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    rows = rows_of(folder)
    columns = [*dict.fromkeys(name for row in rows for name in row if name != "why"), "why"]
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    files = {
        "group.tsv": table.getvalue(),
        "group.json": json.dumps({"columns": _described(columns), "runs": rows}, indent=2) + "\n",
        "group.html": _page(folder, rows, columns),
    }
    for name, text in files.items():
        try:
            put_whole(folder / name, text.encode())
        except OSError as error:
            raise OutputError(f"{folder / name}: {error.strerror or error}") from None
    return rows


def _described(columns: Sequence[str]) -> dict[str, str]:
    known = {
        "name": "What the run is called",
        "status": "completed, failed or aborted (what ended it stands under why), or to do",
        "run_uid": "Identity of the run in its journal",
        "latency_p50_ms": "Median milliseconds from the last byte of a volume to its Result",
        "latency_p95_ms": "95th percentile of the same",
        "why": "What the command said as it failed",
    }
    known |= {count: f"Volumes whose Result is {count}" for count in COUNTS}
    known["suspect"] = "Volumes that were done (ok or late), and whose quality is suspect"
    return {
        name: known.get(name)
        or (f"{kind.capitalize()} of {scalar} over its volumes" if scalar else f"BIDS entity {name}")
        for name in columns
        for kind, _, scalar in [name.partition("_")]
    }


def _page(folder: Path, rows: Sequence[Row], columns: Sequence[str]) -> str:
    batch = read_batch(folder)
    done = sum(row["status"] == "completed" for row in rows)
    title = html.escape(f"{batch.workflow} over {batch.data}")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in columns) + "</tr>\n"
        for row in rows
    )
    pictures = "".join(
        f"<h2>{html.escape(row['name'])}</h2>\n"
        + (f"<p class='bad'>{html.escape(row['why'])}</p>\n" if row.get("why") else "")
        + ("" if row["status"] == "to do" else _picture(_series(folder, row)))
        + "\n"
        for row in rows
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ padding: .2em .8em .2em 0; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }}
h2 {{ font-size: 1em; margin: 1.5em 0 .3em; }} .bad {{ color: #b00; }}
svg {{ display: block; margin: .2em 0; }}
</style></head><body><h1>{title}</h1><p>{done} of {len(rows)} runs completed.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table>
{pictures}</body></html>
"""


def _series(folder: Path, row: Row) -> dict[str, tuple[list[int], list[float]]]:
    return series_of(folder / "runs" / row["name"], row.get("run_uid", "none"))


def _picture(series: Mapping[str, tuple[list[int], list[float]]]) -> str:
    """What a run published, volume by volume: a line for each scalar, on a scale of its own."""
    if not series:
        return "<p>nothing was published</p>"
    lines = enumerate(series.items())
    return "\n".join(_line(name, *points, _COLOURS[at % len(_COLOURS)]) for at, (name, points) in lines)


def _line(name: str, volumes: Sequence[int], values: Sequence[float], colour: str) -> str:
    low, high = min(values), max(values)
    across = (_WIDTH - 1) / max(volumes[-1] - volumes[0], 1)
    up = (_HEIGHT - 30) / ((high - low) or 1.0)
    points = " ".join(
        f"{(volume - volumes[0]) * across:.1f},{_HEIGHT - 8 - (value - low) * up:.1f}"
        for volume, value in zip(volumes, values, strict=True)
    )
    label = f"{html.escape(name)}, {low:.4g} to {high:.4g}, volumes {volumes[0]} to {volumes[-1]}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f'<text x="0" y="14" fill="{colour}" font-size="12">{label}</text>'
        f'<polyline points="{points}" fill="none" stroke="{colour}"/></svg>'
    )


def _results(place: Path, run_uid: str) -> list[Result]:
    # A run that failed was put aside; one that was cut off was not.
    for name in ("out", "kept", "failed"):
        with contextlib.suppress(JournalError):
            return list(Recording(place / name / "runs" / run_uid).results)
    return []


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _why(place: Path, told: Mapping[str, Any]) -> str:
    if said := _said(place):
        return said
    if not told:
        return "it was cut off"
    errors = told.get("errors") or {}
    most = (
        f", {errors[error]} x {error}" if (error := max(errors, key=errors.__getitem__, default="")) else ""
    )
    return f"the run ended with status {told.get('exit_status', 'unknown')}{most}"


def _said(place: Path) -> str:
    """The last line that the command said as it failed."""
    try:
        lines = (place / "log.txt").read_text(encoding="utf-8").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _cell(value: Any) -> str:
    if value is None or value == "":
        return _MISSING
    return f"{value:.6g}" if isinstance(value, float) else str(value)
