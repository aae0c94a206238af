"""The course of a run for its report: its numbers by volume, and what happened, document by document."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeGuard

import msgspec

from rtflow.design import NO_TRIAL, DesignSettings
from rtflow.documents import (
    AnyDocument,
    Delivered,
    Event,
    Result,
    RunStart,
    Scalar,
    VolumeMissing,
    VolumeReceived,
)
from rtflow.errors import RtflowError
from rtflow.report_charts import Block
from rtflow.settings import PlotSettings
from rtflow.summary import of_any_volume

ByVolume = dict[int, float]

_MEASURES = {
    *("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    *("value", "framewise_displacement", "dvars", "dvars_running", "tsnr"),
}
_FEEDBACK = ("feedback.value", "decode.value", "subject.value")
_KEPT = 100
"""Different messages that are kept; the volumes of further ones stand together."""
_OTHERS = "others"
_LOST = 3  # volumes that were lost within a block do not part it
_LARGEST = 1e100  # what is beyond has no place in a chart


@dataclass(frozen=True)
class Said:
    """What somebody or something said: when (seconds since 1970), at which volume, and in words."""

    time: float
    volume: int | None
    says: str
    who: str = ""


@dataclass
class Course:
    """What a report shows of a run besides its `rtflow.summary.Summary`.

    Parameters
    ----------
    start
        The first document of the run, once it is there.
    ended
        Time of the latest document.
    became
        The run that it became in the data set, where that is another one than was asked for.
    series
        Name to the numbers of volumes, of the measures that have a chart.
    labels
        The condition of each volume, as far as a node tells it.
    latency, handed, shown
        Milliseconds from a volume's last byte to its Result, to the subject's side and to the display.
    deadline
        Milliseconds from the last byte on; None without one.
    statuses
        Volumes of each status.
    suspect
        Volumes that were done, and whose quality is suspect.
    errors, doubts
        Message to the volumes that it stands in; of nodes that run once, to none.
    notes, alarms
        Of the operator, and of the measures of quality.
    told
        What else was told in words: the first time, and how many times.
    steps
        Nodes that run once, at set-up or at the end: how far each came.
    """

    start: RunStart | None = None
    ended: float = 0.0
    became: str = ""
    series: dict[str, ByVolume] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    latency: ByVolume = field(default_factory=dict)
    handed: ByVolume = field(default_factory=dict)
    shown: ByVolume = field(default_factory=dict)
    deadline: float | None = None
    statuses: dict[str, list[int]] = field(default_factory=dict)
    suspect: list[int] = field(default_factory=list)
    errors: dict[str, list[int]] = field(default_factory=dict)
    doubts: dict[str, list[int]] = field(default_factory=dict)
    notes: list[Said] = field(default_factory=list)
    alarms: list[Said] = field(default_factory=list)
    told: dict[str, tuple[Said, int]] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    _received: ByVolume = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)

    def add(self, document: AnyDocument) -> None:
        """Take in one document."""
        self.ended = max(self.ended, document.time)
        match document:
            case RunStart():
                self.start = document
                self._wanted = {name for plot in self.plots() for name in plot.values} | set(self.asked())
            case VolumeReceived(volume=volume, received=received):
                self._received[volume] = received
            case VolumeMissing(volume=volume, reason=reason):
                _keep(self.errors, f"missing: {of_any_volume(reason, volume)}", volume)
            case Delivered(volume=volume) if volume in self._received:
                came = document.time if document.at is None else document.at
                into = self.shown if document.stage == "shown" else self.handed
                into.setdefault(volume, (came - self._received[volume]) * 1e3)
            case Event():
                self._add_event(document)
            case Result():
                self._add_result(document)

    def _add_event(self, event: Event) -> None:
        data = event.data
        says = str(data.get("says", ""))
        said = Said(event.time, event.volume, says, str(data.get("who", "")))
        match event.name:
            case "note":
                self.notes.append(said)
            case "alarm":
                self.alarms.append(said)
            case "step":
                self.steps[event.node] = data
                if error := data.get("error"):
                    _keep(self.errors, f"{event.node}, {data.get('when', '')}: {error}", None)
            case name if says:
                key = (
                    f"{name}: {says}" if f"{name}: {says}" in self.told or len(self.told) < _KEPT else _OTHERS
                )
                first, times = self.told.get(key, (said, 0))
                self.told[key] = first, times + 1
        if event.name == "another_run":
            self.became = str(data.get("run", ""))

    def _add_result(self, result: Result) -> None:
        volume = result.volume
        self.statuses.setdefault(result.status, []).append(volume)
        done = result.status in ("ok", "late")
        if done:
            self.latency[volume] = result.latency
            if result.quality == "suspect":
                self.suspect.append(volume)
        if result.margin is not None:
            # To a thousandth: the two are rounded apart, and their sum is the same for each volume.
            self.deadline = round(result.margin + result.latency, 3)
        for node, message in result.errors.items():
            _keep(self.errors, f"{node}: {of_any_volume(message, volume)}", volume)
        for reason in dict.fromkeys(of_any_volume(one, volume) for one in result.reasons if done):
            _keep(self.doubts, reason, volume)
        for name, value in result.values.items():
            measure = name.rpartition(".")[2]
            if measure == "trial_type" and isinstance(value, str):
                self.labels[volume] = value
            elif (measure in _MEASURES or name in self._wanted) and _drawn(value):
                self.series.setdefault(name, {})[volume] = float(value)

    # What it tells

    @property
    def volumes(self) -> tuple[int, int]:
        """The first and the last volume that there is something of; (1, 1) where there is none."""
        found = [*chain.from_iterable(self.statuses.values()), *self._received]
        return min(found, default=1), max(found, default=1)

    def plots(self) -> tuple[PlotSettings, ...]:
        """The charts that the settings ask for."""
        with contextlib.suppress(msgspec.ValidationError):  # of a version that had others
            return msgspec.convert(self._settings().get("plots") or (), tuple[PlotSettings, ...])
        return ()

    def asked(self) -> list[str]:
        """Names of the values that the settings want shown."""
        return [str(name) for name in self._settings().get("show") or ()]

    def named(self, measure: str) -> list[str]:
        """Names of the values of a measure, one for each node that gives it."""
        return [name for name in self.series if name.rpartition(".")[2] == measure]

    @property
    def feedback(self) -> str:
        """Name of the value that the participant was shown: a Feedback node's, else a decoder's; or empty."""
        nodes = self.start.nodes if self.start else {}
        kinds = [name for name, node in nodes.items() if node.get("interface") in ("Feedback", "Decode")]
        ordered = [*_FEEDBACK, *(f"{name}.value" for name in kinds), *self.named("value")]
        return next((name for name in ordered if name in self.series), "")

    def meaning(self, name: str) -> str:
        """What a node says of an output, up to the first comma: a unit, mostly; empty where that is long."""
        node, _, output = name.rpartition(".")
        outputs = (self.start.nodes.get(node, {}) if self.start else {}).get("outputs") or {}
        said = str(outputs.get(output, "")).replace(";", ",").replace(":", ",").split(",")[0]
        return said if len(said) <= 32 else ""

    def blocks(self) -> list[Block]:
        """What the participant was to do, from which volume's edge to which; none of rest.

        As a node labelled the volumes; where none did, as the settings say. (Labels trail the stimulus by the
        haemodynamic lag; the settings do not.)
        """
        found: list[Block] = []
        for volume in sorted(self.labels):
            label, first, last = self.labels[volume], volume - 0.5, volume + 0.5
            if found and found[-1].label == label and first - found[-1].last <= _LOST:
                found[-1] = Block(label, found[-1].first, last)
            else:
                found.append(Block(label, first, last))
        return [one for one in found or self._planned() if one.label.strip().lower() not in NO_TRIAL]

    def _planned(self) -> Iterator[Block]:
        given, tr = self._settings().get("design"), self.start.tr if self.start else None
        if not isinstance(given, Mapping) or not tr or given.get("events"):
            return
        first, last = self.volumes
        with contextlib.suppress(msgspec.ValidationError, RtflowError):  # of a version that had another
            for trial in msgspec.convert(given, DesignSettings).design().trials:
                begins, ends = trial.onset / tr + 0.5, (trial.onset + trial.duration) / tr + 0.5
                if begins < last + 0.5 and ends > first - 0.5:
                    yield Block(trial.trial_type, max(begins, first - 0.5), min(ends, last + 0.5))

    def _settings(self) -> Mapping[str, Any]:
        return self.start.settings if self.start else {}


def _drawn(value: Scalar) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) < _LARGEST  # and so it is a number


def _keep(messages: dict[str, list[int]], message: str, volume: int | None) -> None:
    kept = message if message in messages or len(messages) < _KEPT else _OTHERS
    messages.setdefault(kept, []).extend(() if volume is None else (volume,))
