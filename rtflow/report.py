"""The report of a run: one file of HTML that needs nothing else, made of the documents of its journal.

It loads nothing and runs nothing, is dark or light as the reader's system is, and can be printed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rtflow
from rtflow.documents import AnyDocument, RunStart, RunStop
from rtflow.errors import JournalError
from rtflow.report_charts import Chart, blocks_of, draw, escaped, key_of
from rtflow.report_course import ByVolume, Course, Said
from rtflow.report_style import STYLE
from rtflow.server.runs import bids_of, run_name
from rtflow.summary import STATUSES, Summary, consecutive, published, spread
from rtflow.toml_text import to_toml

FD_LIMIT = 0.5
"""mm: a customary threshold of framewise displacement, as in the dashboard."""

_ENDINGS = {"completed": "good", "under way": "good", "aborted": "bad", "failed": "bad", "cut off": "bad"}
_MOST = 200  # rows of alarms
_RANGES = 12
_HEAD = (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="rtflow-report" content="{}">\n'
)
_MARK = re.compile(re.escape(_HEAD).replace(r"\{\}", r'([^"]*)'))

Cell = object
"""What stands in a table: text that is to be escaped."""


def report(documents: Iterable[AnyDocument], under_way: bool = False) -> bytes:
    """The report of a run.

    Parameters
    ----------
    documents
        Of its journal, in their order; it may have been cut off anywhere behind the first.
    under_way
        Whether the run goes on; else one without a RunStop was cut off.

    Returns
    -------
    bytes
        HTML in UTF-8: styles and charts (SVG) within, no script, no address of anything else.

    Raises
    ------
    JournalError
        If there is no RunStart among the documents.
    """
    summary, course = Summary(), Course()
    for document in documents:
        summary.add(document)
        course.add(document)
    if course.start is None:
        raise JournalError("the journal does not begin with a RunStart: the run ended before it began")
    title = _title(course.start, course)
    parts = [
        _HEAD.format(escaped(course.start.run_uid)),
        '<meta name="viewport" content="width=device-width">\n',
        f"<title>{escaped(title)}: run {escaped(course.start.run_uid)}</title>\n",
        f"<style>{STYLE}</style>\n<body>\n<main>\n",
        _heading(title, summary, course, under_way),
        _volumes(summary, course),
        _values(summary),
        _section("Notes of the operator", _said(course.notes, notes=True)),
        _section("Errors", _messages(course.errors)),
        _section("Doubts", _messages(course.doubts)),
        _section("Alarms", _said(course.alarms)),
        _charts(course),
        _times(summary, course),
        _told(course),
        _section("Settings", f"<pre>{escaped(to_toml(course.start.settings))}</pre>"),
        _origin(course.start, summary.seen().stop),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts).encode()


def reported_run(path: Path) -> str | None:
    """The run_uid of the run that a file is the report of; None if it is no report, or cannot be read."""
    try:
        with path.open("rb") as file:
            found = _MARK.match(file.read(1024).decode("utf-8", "replace"))
    except OSError:
        return None
    return found[1] if found else None


def _title(start: RunStart, course: Course) -> str:
    bids = bids_of(start.settings) | ({"run": course.became} if course.became else {})
    return run_name(bids, "subject", "session", "task", "run") or "Run"


# Its parts


def _heading(title: str, summary: Summary, course: Course, under_way: bool) -> str:
    assert course.start is not None
    start, seen = course.start, summary.seen()
    stop = seen.stop
    status = stop.status if stop else "under way" if under_way else "cut off"
    reason = stop.reason if stop else "" if under_way else "no end of the run stands in its journal"
    asked = bids_of(start.settings).get("run")
    accuracies = [
        one for one in published(stop.values if stop else {}, "accuracy").values() if one is not None
    ]
    facts = {
        "Run": start.run_uid,
        "Workflow": start.workflow,
        "Source": start.source,
        "Replay of": start.replay_of,
        "Recorded as": f"run {course.became}, as run {asked} was there" if course.became else "",
        "Began": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(start.time)),
        "Took": _duration((stop.time if stop else course.ended) - start.time),
        "Volumes": f"{seen.done}" + (f" of {start.volumes}" if start.volumes else ""),
        "TR": f"{start.tr:g} s" if start.tr else "",
        "Accuracy": _number(accuracies[-1]) if accuracies else "",
        "rtflow": start.versions.get("rtflow", ""),
    }
    told = f"<p class=reason>{escaped(reason)}</p>" if reason else ""
    return (
        f"<header><h1>{escaped(title)}</h1>"
        f'<p class="ending {_ENDINGS[status]}">{escaped(status)}</p>{told}</header>\n{_facts(facts)}'
    )


def _volumes(summary: Summary, course: Course) -> str:
    counts = summary.seen().counts
    rows: list[Sequence[Cell]] = [
        (status, counts[status], _ranges(course.statuses.get(status, ())) if status != "ok" else "")
        for status in STATUSES
    ]
    rows.append(("suspect", len(course.suspect), _ranges(course.suspect)))
    return _section("Volumes", _table(("", "Number", "Which"), rows, numbers=(1,)))


def _values(summary: Summary) -> str:
    seen = summary.seen()
    values = {**seen.shown, **(seen.stop.values if seen.stop else {})}
    rows = [(name, _number(value)) for name, value in values.items()]
    return _section("Values at the end", _table(("Value", ""), rows))


def _charts(course: Course) -> str:
    volumes = course.volumes
    drawn = [draw(chart, volumes) for chart in (*_usual(course), *_of_latency(course))]
    blocks = course.blocks()
    labels = list(dict.fromkeys(one.label for one in blocks))
    shaded = f"<p>Shaded: {key_of(labels, 'b')}</p>" if labels else ""
    return _section("Over the volumes", shaded + blocks_of(blocks, volumes) + "".join(drawn)) if drawn else ""


def _usual(course: Course) -> list[Chart]:
    """The charts that the settings ask for, then those of what nodes measure; as the dashboard has them."""
    charts, there = [], set[str]()
    for plot in course.plots():
        lines = _lines(course, plot.values)
        if lines:
            there |= set(plot.values)
            charts.append(
                Chart(
                    plot.title or ", ".join(plot.values),
                    plot.label or course.meaning(plot.values[0]),
                    lines,
                    limits=[(value, f"{value:g}") for value in plot.thresholds],
                    crosses=_doubted(course, plot.values[0]) if course.feedback == plot.values[0] else {},
                    between=plot.range,
                )
            )
    feedback = course.feedback
    if feedback and feedback not in there:
        unit, crosses = course.meaning(feedback), _doubted(course, feedback)
        charts.append(Chart(f"Feedback: {feedback}", unit, _lines(course, [feedback]), crosses=crosses))
    for title, measures, unit, scale in (
        ("Translation of the head", ("trans_x", "trans_y", "trans_z"), "mm", 1.0),
        ("Rotation of the head", ("rot_x", "rot_y", "rot_z"), "degrees", math.degrees(1.0)),
    ):
        names = [name for measure in measures for name in course.named(measure)]
        if names:
            lines = _lines(course, names, scale)
            if len({name.rpartition(".")[0] for name in names}) == 1:
                lines = {name.rpartition(".")[2]: values for name, values in lines.items()}
            charts.append(Chart(title, unit, lines))
    for measure, title, unit in (
        ("framewise_displacement", "Framewise displacement", "mm"),
        ("dvars", "DVARS", ""),
        ("dvars_running", "DVARS over its median so far", ""),
        ("tsnr", "Temporal signal-to-noise ratio", ""),
    ):
        names = course.named(measure)
        if names and not there.issuperset(names):
            displacement = measure == "framewise_displacement"
            limits = [(FD_LIMIT, f"{FD_LIMIT:g} mm")] if displacement else []
            unit = unit or course.meaning(names[0])
            lines = _lines(course, names)
            charts.append(Chart(title, unit, lines, limits=limits, zero=displacement))
            there |= set(names)
    others = [name for name in course.asked() if name in course.series and name not in there | {feedback}]
    return [*charts, *(Chart(name, course.meaning(name), _lines(course, [name])) for name in others)]


def _of_latency(course: Course) -> list[Chart]:
    rows = {
        "to its Result": course.latency,
        "to the subject's side": course.handed,
        "to the display": course.shown,
    }
    lines = {name: values for name, values in rows.items() if values}
    tr = course.start.tr * 1e3 if course.start and course.start.tr else None
    limits = [(course.deadline, f"deadline {course.deadline:g} ms")] if course.deadline is not None else []
    if tr is not None and tr != course.deadline:
        limits.append((tr, f"TR {tr:g} ms"))
    return [Chart("Latency from a volume's last byte", "ms", lines, limits, zero=True)] if lines else []


def _lines(course: Course, names: Iterable[str], scale: float = 1.0) -> dict[str, ByVolume]:
    there = (name for name in names if name in course.series)
    return {name: {at: value * scale for at, value in course.series[name].items()} for name in there}


def _doubted(course: Course, name: str) -> ByVolume:
    values = course.series[name]
    return {volume: values[volume] for volume in course.suspect if volume in values}


def _times(summary: Summary, course: Course) -> str:
    timings = sorted(summary.timings().items(), key=lambda one: -sum(one[1]))
    rows = [(node, len(times), *_spread(times)) for node, times in timings]
    latencies = summary.seen().latencies
    if latencies:
        rows.append(("last byte to Result", len(latencies), *_spread(latencies)))
    made = _table(("Node", "Volumes", "Median, ms", "95 %", "Largest"), rows, numbers=range(1, 5))
    once = [
        (node, step.get("when", ""), step.get("state", ""), _number(step.get("milliseconds")))
        for node, step in course.steps.items()
    ]
    made += _table(("Once in the run", "When", "", "ms"), once, numbers=(3,))
    return _section("Time", made)


def _told(course: Course) -> str:
    rows = [
        (_clock(said.time), said.volume or "", text, times if times > 1 else "")
        for text, (said, times) in course.told.items()
    ]
    return _section("What else happened", _table(("Time", "Volume", "", "Times"), rows, numbers=(1, 3)))


def _origin(start: RunStart, stop: RunStop | None) -> str:
    paths = stop.outputs if stop and stop.outputs else start.places
    made = _table(("", "Path"), list(paths.items()))
    file = {"workflow file": start.workflow_file, "its SHA-256": start.workflow_sha256}
    rows = [(name, said) for name, said in file.items() if said]
    rows += [(f"seed {name}", str(seed)) for name, seed in start.seeds.items()]
    made += _table(("Made with", ""), [*rows, *start.versions.items()])
    made += f"<p class=unit>Report made by rtflow {escaped(rtflow.__version__)}.</p>"
    return _section("Outputs and versions", made)


# What they are made of


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escaped(title)}</h2>\n{content}</section>\n" if content else ""


def _facts(facts: Mapping[str, str]) -> str:
    made = (
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(said)}</dd></div>" for name, said in facts.items() if said
    )
    return f"<dl>{''.join(made)}</dl>\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]], numbers: Iterable[int] = ()) -> str:
    """A table; nothing without rows."""
    if not rows:
        return ""
    kinds = [' class="n"' if at in set(numbers) else "" for at in range(len(head))]

    def row(tag: str, cells: Iterable[Cell]) -> str:
        made = (f"<{tag}{kind}>{escaped(one)}</{tag}>" for kind, one in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>\n"

    body = "".join(row("td", cells) for cells in rows)
    return f"<table>\n<thead>{row('th', head)}</thead>\n<tbody>{body}</tbody>\n</table>\n"


def _said(said: Sequence[Said], *, notes: bool = False) -> str:
    """What was said, the first first; of notes, all."""
    shown = said if notes else said[:_MOST]
    rows = [(_clock(one.time), one.volume or "", *((one.who,) if notes else ()), one.says) for one in shown]
    made = _table(("Time", "Volume", *(("By",) if notes else ()), ""), rows, numbers=(1,))
    return made + (f"<p>and {len(said) - len(shown)} more</p>" if len(said) > len(shown) else "")


def _messages(messages: Mapping[str, Sequence[int]]) -> str:
    rows = [(said, len(volumes) or "", _ranges(volumes)) for said, volumes in messages.items()]
    return _table(("", "Volumes", "Which"), rows, numbers=(1,))


def _ranges(volumes: Sequence[int]) -> str:
    """Volumes in few words: 3, 7–9, 12."""
    runs = consecutive(sorted(set(volumes)))
    said = [f"{first}" if first == last else f"{first}–{last}" for first, last in runs[:_RANGES]]
    left = sum(last - first + 1 for first, last in runs[_RANGES:])
    return ", ".join(said) + (f", and {left} more" if left else "")


def _spread(values: Sequence[float]) -> tuple[str, str, str]:
    found = spread(values)
    assert found is not None
    return _number(found["p50"]), _number(found["p95"]), _number(found["max"])


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _duration(seconds: float) -> str:
    minutes, left = divmod(max(round(seconds), 0), 60)
    return f"{minutes} min {left} s" if minutes else f"{max(seconds, 0.0):.1f} s"
