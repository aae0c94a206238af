"""What the participant did, and the display showed, as an input of the next volume."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.documents import Event
from rtflow.stream.interface import RunContext, StreamInterface
from rtflow.trials import LATE, ShownTrial

if TYPE_CHECKING:
    from rtflow.server.subject_channel import SubjectChannel

TAKEN = "subject_said"
"""Event: which responses and stimulus events a volume took; a replay gives it the same."""


def _when_and_what(said: Event) -> tuple[float, str]:
    if said.name == "response":
        return said.data["at"], said.data["button"]
    return said.data["onset"], said.data["name"]


def _is_late(data: dict[str, Any], limit: float) -> bool:
    """Whether a stimulus was told late; journals of earlier versions say it themselves."""
    return bool(data["after"] > limit if "after" in data else data.get("late"))


def one_line(name: str) -> str:
    r"""A name that can stand in a table.

    >>> one_line("face\t1\n"), one_line(" ")
    ('face 1', 'n/a')
    """
    return " ".join(name.split()) or "n/a"


class SubjectInputInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `SubjectInput`."""

    incremental = traits.Any(
        mandatory=True, desc="the volume, a BidsIncremental: its TR and number count time"
    )
    display = traits.Str("subject", usedefault=True, desc="name of the display, where there are several")
    scanner_dummies = traits.Float(
        0.0,
        usedefault=True,
        desc="seconds from the scanner's first trigger to the first volume that it saves",
    )
    late_after = traits.Range(
        low=0.0,
        value=LATE,
        usedefault=True,
        desc="seconds after the end of what was shown; what is told later is late: marked so in shown",
    )


class SubjectInputOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `SubjectInput`."""

    responses = traits.List(desc="pairs (button, seconds from onset 0) since the volume before")
    all_responses = traits.List(desc="the same of the whole run so far")
    button = traits.Str(desc="the last button since the volume before; withheld without one")
    button_time = traits.Float(desc="when that was, seconds from onset 0; withheld without one")
    presses = traits.Int(desc="how many responses came since the volume before")
    shown = traits.List(desc="Trials that were really shown, of the whole run so far, in the order told")


class SubjectInput(StreamInterface):
    """Give each volume what the participant's side has said since the one before.

    Times are seconds from onset 0, by the scanner's triggers where the display tells them, else by the
    volumes' arrival (`rtflow.server.run_clock`). What a volume took is an Event ``subject_said``, and a
    replay or a run that goes on gives each volume what it took then, whenever it comes. Without a server
    there are no responses.

    A node for a thread: a worker process has no server.
    """

    input_spec = SubjectInputInput
    output_spec = SubjectInputOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Listen to the display from now on.

        Raises
        ------
        UsageError
            If another node listens to it.
        """
        self._context = context
        context.clock.dummies = self.inputs.scanner_dummies
        self._responses: list[tuple[str, float]] = []
        self._shown: list[ShownTrial] = []
        self._recorded: dict[int, Event] = {}
        self._left: list[Event] = []
        self._channel: SubjectChannel | None = None
        if context.decisions is not None:
            self._recall(context.decisions.events)
        if context.server is not None and not context.replaying:
            self._channel = context.server.subject(self.inputs.display)
            self._channel.listen()

    def end_run(self) -> None:
        """Listen no more."""
        if self._channel is not None:
            self._channel.stop_listening()

    def _run_interface(self, runtime: Any) -> Any:
        taken = self._take(self.volume, self.inputs.incremental.tr)
        responses = [(one["button"], one["time"]) for one in taken.get("responses", ())]
        self._responses += responses
        self._shown += [
            ShownTrial(one["onset"], one["duration"], one_line(one["name"]), bool(one.get("late")))
            for one in taken.get("shown", ())
        ]
        self._results = {
            "responses": responses,
            "all_responses": list(self._responses),
            "presses": len(responses),
            "shown": list(self._shown),
        }
        if responses:
            self._results["button"], self._results["button_time"] = responses[-1]
        return runtime

    def _take(self, volume: int, tr: float) -> dict[str, Any]:
        """What this volume takes: what it took in the run that is replayed or goes on, else what is there."""
        decisions, recorded = self._context.decisions, self._recorded.get(volume)
        if recorded is None and (decisions is None or not decisions.all_known(volume)):
            recorded = self._live(volume, tr)
        if recorded is None:
            return {}
        self._context.emit(recorded)
        return recorded.data

    def _live(self, volume: int, tr: float) -> Event | None:
        said, self._left = self._left + (self._channel.take() if self._channel else []), []
        if not said:
            return None
        clock = self._context.clock
        clock.tr = clock.tr or tr
        onset = clock.onset
        if onset is None:  # a response before anything says when the run began
            self._left = said
            return None
        return Event(
            name=TAKEN,
            volume=volume,
            data={
                "display": self.inputs.display,
                "by": clock.by,
                "responses": [
                    {"button": one.data["button"], "at": one.data["at"], "time": one.data["at"] - onset}
                    for one in said
                    if one.name == "response"
                ],
                "shown": [
                    {
                        **one.data,
                        "at": one.data["onset"],
                        "onset": one.data["onset"] - onset,
                        "late": _is_late(one.data, self.inputs.late_after),
                    }
                    for one in said
                    if one.name == "stimulus"
                ],
            },
        )

    def _recall(self, events: tuple[Event, ...]) -> None:
        """What each volume took, and what was said then that none had taken yet."""
        display = self.inputs.display
        ours = [event for event in events if event.data.get("display") == display]
        self._recorded = {
            event.volume: Event(name=TAKEN, volume=event.volume, data=event.data)
            for event in ours
            if event.name == TAKEN and event.volume is not None
        }
        taken = Counter(
            (what, one["at"], one[named])
            for event in self._recorded.values()
            for what, kind, named in (("response", "responses", "button"), ("stimulus", "shown", "name"))
            for one in event.data.get(kind, ())
        )
        for event in ours:
            if event.name in ("response", "stimulus"):
                which = event.name, *_when_and_what(event)
                if taken[which]:
                    taken[which] -= 1
                else:
                    self._left.append(event)
