"""What one sees while a run goes on: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rtflow.documents import Scalar
from rtflow.summary import STATUSES, Seen, percentile, published

LOOKS_PER_SECOND = 4

#: Where lines are printed, it is said that a run waits for its first volume once it was seen to so often.
LOOKS_BEFORE_WAITING = 8

#: From so many volumes in a row that failed, the operator is warned that the participant gets nothing.
FAILING = 3
_BARS = "▁▂▃▄▅▆▇█"
_COLOURS = {"ok": "green", "late": "yellow", "missing": "red", "failed": "red", "suspect": "yellow"}


class Display:
    """Shows a run while it goes on, from a thread of its own.

    Parameters
    ----------
    look
        Gives how things stand.
    console
        Where to show it.
    ending
        Set when the run has been asked to end.

    Attributes
    ----------
    live
        Whether the console is one that can be drawn on.
    """

    def __init__(self, look: Callable[[], Seen], console: Console, ending: threading.Event) -> None:
        self.live = console.is_terminal and console.encoding.startswith("utf") and not console.quiet
        self._look = look
        self._console = console
        self._ending = ending
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | None = None

    def __enter__(self) -> Display:
        if self.live:
            self._live = Live(
                get_renderable=lambda: picture(self._look(), ending=self._ending.is_set()),
                console=self._console,
                refresh_per_second=LOOKS_PER_SECOND,
                transient=True,
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._print_lines, name="display", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def _print_lines(self) -> None:
        said = 0
        warned = False
        over = False
        waited = 0
        while not over:
            over = self._over.wait(1 / LOOKS_PER_SECOND)
            seen = self._look()
            step = max((seen.start.volumes or 0) // 10, 1) if seen.start and seen.start.volumes else 25
            failing = seen.failing >= FAILING
            waited += seen.start is not None and not seen.newest
            try:
                if waited == LOOKS_BEFORE_WAITING:
                    waited += 1
                    assert seen.start is not None
                    self._say(f"waiting for the first volume from {seen.start.source}")
                if seen.done // step > said or failing > warned:
                    said = seen.done // step
                    self._say(line(seen))
            except OSError:  # nobody can be told any more; the run goes on
                return
            warned = failing

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def line(seen: Seen) -> str:
    """How things stand, in a line of ASCII."""
    planned = seen.start.volumes if seen.start else None
    said = [f"volume {seen.done}" + (f" of {planned}" if planned else "")]
    said += [f"{seen.counts[status]} {status}" for status in STATUSES if seen.counts[status]]
    if seen.suspect:
        said.append(f"{seen.suspect} suspect")
    if seen.failing >= FAILING:
        said.append(f"the last {seen.failing} failed, no feedback ({list(seen.errors)[-1]})")
    if seen.latencies:
        said.append(f"latency {seen.latencies[-1]:.1f} ms (median {_median(seen):.1f})")
    if seen.feedback:
        said.append(f"{seen.kind} {seen.feedback[-1]:+.3f}")
    said += [f"{name} {in_words(value)}" for name, value in seen.shown.items()]
    return ", ".join(said)


def in_words(value: Scalar) -> str:
    """A value in few digits.

    >>> in_words(3.14159265), in_words("scene")
    ('3.142', 'scene')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def picture(seen: Seen, *, ending: bool = False) -> RenderableType:
    """How things stand, for a terminal; ``ending`` once the run has been asked to end."""
    if seen.start is None:
        return Text("Preparing the run ...", style="dim")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    if seen.failing >= FAILING:
        rows.add_row("NO FEEDBACK", Text(f"the last {seen.failing} volumes failed", "bold white on red"))
    elif seen.feedback:
        rows.add_row("feedback", _feedback(seen))
    for name, value in seen.shown.items():
        rows.add_row(name, Text(in_words(value), "bold cyan"))
    if seen.latencies:
        longest = max(seen.latencies)
        rows.add_row(
            "latency", f"{seen.latencies[-1]:.1f} ms, median {_median(seen):.1f}, longest {longest:.1f}"
        )
    if motion := _motion(seen):
        rows.add_row("motion", motion)
    rows.add_row("volumes", _counts(seen))
    messages_of = (
        *(("failed", seen.errors, "red"), ("doubt", seen.doubts, "yellow")),
        ("source", seen.notes, ""),
    )
    for name, messages, colour in messages_of:
        if messages:
            message, count = list(messages.items())[-1]
            rows.add_row(
                name,
                Text(
                    message + (f" ({count} x)" if count > 1 or colour else ""),
                    style=colour,
                    overflow="ellipsis",
                    no_wrap=True,
                ),
            )
    if ending:
        rows.add_row("ending", Text("waiting for what is under way; Ctrl-C again ends it at once", "yellow"))
    title = Text.assemble((seen.start.workflow, "bold"), "  ", (seen.start.source, "dim"))
    return Panel(Group(_progress(seen), rows), title=title, title_align="left", expand=True)


def _progress(seen: Seen) -> RenderableType:
    assert seen.start is not None
    planned = seen.start.volumes
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    if planned is None:
        waiting = "waiting for the first volume" if not seen.newest else f"volume {seen.done}"
        row.add_row(waiting)
        return row
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    row.add_row(
        f"volume {seen.done} of {planned}",
        ProgressBar(total=planned, completed=seen.done),
        _left(seen, planned) or "",
    )
    return row


def _left(seen: Seen, planned: int) -> str | None:
    """Time to the end of the run, at the pace so far."""
    if seen.last is None or seen.done < 2 or not seen.began:
        return None
    pace = (seen.last.time - seen.began) / (seen.done - 1)
    seconds = math.ceil(max(pace * (planned - seen.done), 0))
    return f"{seconds // 60}:{seconds % 60:02d} left"


def _feedback(seen: Seen) -> Text:
    """The latest value, its kind, and the way of the last ones around zero."""
    reach = max([1.0, *(abs(value) for value in seen.feedback if math.isfinite(value))])
    bars = "".join(
        _BARS[round((value / reach + 1) / 2 * (len(_BARS) - 1))] if math.isfinite(value) else " "
        for value in seen.feedback[-40:]
    )
    return Text.assemble((f"{seen.feedback[-1]:+.3f}", "bold cyan"), f" {seen.kind}  ", (bars, "cyan"))


def _motion(seen: Seen) -> str | None:
    """Displacement and the six parameters of the latest volume that has them."""
    values = seen.last.values if seen.last else {}

    def first(name: str) -> float | None:
        found = [one for one in published(values, name).values() if isinstance(one, int | float)]
        return float(found[0]) if found else None

    shifts = [first(f"trans_{axis}") for axis in "xyz"]
    turns = [first(f"rot_{axis}") for axis in "xyz"]
    displacement = first("framewise_displacement")
    said = [] if displacement is None else [f"FD {displacement:.2f} mm"]
    if None not in shifts:
        said.append("x y z " + " ".join(f"{value:+.2f}" for value in shifts if value is not None) + " mm")
    if None not in turns:
        degrees = [math.degrees(value) for value in turns if value is not None]
        said.append("turned " + " ".join(f"{value:+.2f}" for value in degrees) + "°")
    return ", ".join(said) or None


def _counts(seen: Seen) -> Text:
    said = Text()
    for status, count in {**seen.counts, "suspect": seen.suspect}.items():
        if count or status == "ok":
            said.append(f"{count} {status}  ", style=_COLOURS[status])
    waiting = seen.newest - seen.done
    if waiting > 0:
        said.append(f"{waiting} under way", style="dim")
    return said


def _median(seen: Seen) -> float:
    return percentile(sorted(seen.latencies), 50)
