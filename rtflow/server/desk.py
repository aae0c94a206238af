"""What an operator decides: the settings of the next run, its beginning and its end."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rtflow.documents import AnyDocument
from rtflow.errors import RtflowError, SettingsError, UsageError
from rtflow.server.runs import Runs
from rtflow.server.states import States
from rtflow.setting_schema import settings_schema
from rtflow.settings import RunSettings, settings_from_builtins, settings_to_builtins

Report = Callable[[Iterable[AnyDocument], bool], bytes]
"""Makes the report of a run of its documents, told whether the run goes on."""

_FIELD = re.compile(r"unknown (?:setting )?'?([\w.]+)|setting '([\w.]+)' has no value|([\w.]+): expected")


class BusyError(UsageError):
    """It cannot be done while the server does something else."""


class FieldError(SettingsError):
    """A setting is wrong.

    Attributes
    ----------
    field
        Its name, ``a.b``; empty where it is not one of them alone.
    """

    def __init__(self, message: str) -> None:
        found = _FIELD.match(message)
        self.field = next(filter(None, found.groups()), "") if found else ""
        super().__init__(message)


class Desk:
    """Settings and orders, for one server; may be used from any thread.

    Parameters
    ----------
    settings
        Those that the next run has, until they are changed.
    out
        Output folder.
    workflow
        Its name.
    waits
        Whether the server waits for orders to run; else it carries one run, which has begun.
    file
        TOML file that the settings are from, if there is one.
    session
        Tells what the session holds, as `rtflow.items.describe_session` does; None where there is none.
    build
        Makes the workflow for settings, or raises what is wrong with them; None: nobody tries.
    report
        Makes the report of a run, as `rtflow.report.report` does; None where nobody does.

    Attributes
    ----------
    states
        What the server is doing.
    waits
        As given.
    stopping
        Set when the run is to end; another one for each run.
    closed
        Whether no more orders are taken.
    trouble
        Why the last run that was ordered could not begin, in words.
    revision
        Of the settings: another one when they are others.
    """

    def __init__(
        self,
        settings: RunSettings,
        out: Path,
        *,
        workflow: str = "",
        waits: bool = False,
        file: Path | None = None,
        session: Callable[[], dict[str, Any]] | None = None,
        build: Callable[[RunSettings], object] | None = None,
        report: Report | None = None,
    ) -> None:
        self.states = States()
        self.stopping = threading.Event()
        self.workflow = workflow
        self.out = out
        self.runs = Runs(out / "runs")
        self.session = session or (lambda: {"folder": "", "items": []})
        self.session_log = out / "logs" / "session.log"
        self.report = report
        self._build = build
        self._file = file
        self._given = settings_to_builtins(settings)
        self._settings = settings
        self.revision = _revision_of(self._given)
        self._changed_by = ""
        self.waits = waits
        self._lock, self._changing = threading.Lock(), threading.Lock()
        self._ordered = threading.Condition()
        self.closed = False
        self.trouble = ""

    # Settings

    @property
    def settings(self) -> RunSettings:
        """Those of the run that there is, or of the next one."""
        return self._settings

    @property
    def locked(self) -> bool:
        """Whether they cannot be changed now."""
        return not self.waits or self.states.now != "idle"

    def describe_settings(self) -> dict[str, Any]:
        """Schema (JSON Schema), values, who changed them, whether they are locked, how they were at first."""
        # Before the values: at worst it is too old for them, and they are asked for again.
        revision = self.revision
        values = settings_to_builtins(self._settings)
        return {
            "schema": settings_schema(type(self._settings)),
            "values": values,
            "revision": revision,
            "changed_by": self._changed_by,
            "locked": self.locked,
            "waits": self.waits,
            "file": {"path": str(self._file or ""), "values": self._given},
            "differences": differences(self._given, values),
        }

    def change_settings(self, values: dict[str, Any], *, who: str = "", base: str = "") -> None:
        """Take other settings; what is not named stays as it is.

        Parameters
        ----------
        values
            Those that are changed.
        who
            Changes them.
        base
            The revision that was looked at before; empty where that does not matter.

        Raises
        ------
        BusyError
            If there is a run, or they were changed since that revision to others than these.
        FieldError
            If a name is unknown, a value is of the wrong type, they make no sense, or no workflow can be made
            with them.
        """
        with self._changing:
            self._require_unlocked()
            if base and base != self.revision:
                present = settings_to_builtins(self._settings)
                if merged(present, values) == present:
                    return  # ordered twice: a double click, an answer that was lost
                by = f" by {self._changed_by}" if self._changed_by else ""
                raise BusyError(
                    f"the settings were changed{by} since they were looked at, and nothing of this is taken; "
                    "look at them again, then apply"
                )
            settings = self.checked_settings(values)
            if self._build is not None:
                try:
                    self._build(settings)
                except RtflowError as error:
                    raise FieldError(str(error)) from None
            revision = _revision_of(settings_to_builtins(settings))
            with self._lock:  # not for as long as to build takes: whoever starts or stops a run waits for it
                self._require_unlocked()
                self._settings = settings
                if revision != self.revision:
                    self._changed_by, self.revision = who, revision

    def _require_unlocked(self) -> None:
        if self.locked:
            raise BusyError("settings are locked while there is a run; wait for its end, or stop it")

    def checked_settings(self, values: dict[str, Any]) -> RunSettings:
        """The settings that these changes would make; nothing is changed. Raises `FieldError`."""
        changed = merged(settings_to_builtins(self._settings), values)
        try:
            settings = settings_from_builtins(type(self._settings), changed)
            settings.require()
        except SettingsError as error:
            raise FieldError(str(error).removeprefix("the recorded settings: ")) from None
        return settings

    def deadline(self, tr: float | None) -> float | None:
        """Seconds from a volume's last byte after which its Result is late, by the settings and the TR."""
        speed = getattr(self._settings.source, "speed", 1.0)
        if self._settings.deadline is not None or tr is None or speed == "max":
            return self._settings.deadline
        return tr / float(speed)

    # Orders

    def start(self) -> None:
        """Order a run.

        Raises
        ------
        BusyError
            If there is one already, or this server carries no other.
        """
        if not self.waits:
            raise BusyError("this server carries one run, which has begun; 'rtflow serve' waits for orders")
        with self._lock:
            if self.closed or not self.states.try_to_enter("preparing"):
                raise BusyError(f"the server is {self.states.now}; it carries one run at a time")
            self.stopping = threading.Event()
            self.trouble = ""
        with self._ordered:
            self._ordered.notify_all()

    def stop(self) -> None:
        """Order the end of the run.

        Raises
        ------
        BusyError
            If there is none.
        """
        with self._lock:  # else it could be the next run that is ended
            if self.states.now == "idle":
                raise BusyError("there is no run to stop")
            self.stopping.set()

    def wait_for_order(self, limit: float) -> bool:
        """Wait until a run is ordered, at most ``limit`` seconds."""
        with self._ordered:
            self._ordered.wait_for(lambda: self.closed or self.states.now == "preparing", limit)
            return not self.closed and self.states.now == "preparing"

    def done(self, trouble: str = "") -> None:
        """The run that was ordered is over, and all that belongs to it; the next may be ordered.

        Parameters
        ----------
        trouble
            Why it could not begin, or was ended by an error.
        """
        with self._lock:
            self.trouble = trouble
            self.states.try_to_enter("finishing")
            self.states.try_to_enter("idle")

    def close(self) -> None:
        """Take no more orders."""
        self.closed = True
        with self._ordered:
            self._ordered.notify_all()


def differences(before: Mapping[str, Any], after: Mapping[str, Any], where: str = "") -> list[dict[str, Any]]:
    """Settings that are not as they were: name, how they were, and how they are; None where there are none.

    >>> differences({"seed": 1, "bids": {"run": 1}}, {"seed": 1, "bids": {"run": 2}})
    [{'name': 'bids.run', 'file': 1, 'now': 2}]
    """
    found = []
    for key in dict.fromkeys((*before, *after)):
        was, now, name = before.get(key), after.get(key), f"{where}{key}"
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += differences(was, now, f"{name}.")
        elif was != now:
            found.append({"name": name, "file": was, "now": now})
    return found


def _revision_of(values: dict[str, Any]) -> str:
    # Of what they are, not of how often they were changed: one of before the server's restart is still true.
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()[:16]


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values with changes, table by table; a table of another kind takes the place of the one there was."""
    made = dict(values)
    for name, change in changes.items():
        before = made.get(name)
        if isinstance(before, dict) and isinstance(change, dict):
            kind = before.get("kind")
            made[name] = merged(before, change) if change.get("kind", kind) == kind else change
        else:
            made[name] = change
    return made
