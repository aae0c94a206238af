"""The errors that rtflow raises.

::

    RtflowError                 what went wrong, in one sentence, and what to do
    |-- UsageError              what was asked for cannot be done (exit status 2)
    |   |-- SettingsError       a setting is unknown, or of the wrong type
    |   |-- WorkflowError       the workflow file is missing or does not build a workflow
    |   |-- CompileError        the graph cannot be run as a stream
    |   |-- SourceError         the source of volumes does not exist or holds none
    |   |-- OutputError         the output folder cannot be written
    |   |-- AccessError         who asks is not known, or may not do that
    |   |-- PackageError        a workflow cannot be packaged, or may not be
    |   `-- ArchiveError        a BIDS data set cannot be read
    |       |-- NoMatchError        it holds nothing that fits
    |       `-- SeveralMatchError   it holds several that fit, and one was asked for
    |-- RunError                the run ended before its time (exit status 1)
    |   |-- AppError            a BIDS App failed; its kind says how
    |   |-- JournalError        the journal of a run cannot be read
    |   `-- ProtocolError       another host says what this one does not understand
    |-- VolumeError             one volume cannot be processed: it fails, the run goes on
    |   |-- DicomError          a DICOM object is damaged or of an unsupported kind
    |   |-- GridError           two images that must share a grid do not
    |   |-- CommandError        a command ended with a non-zero status
    |   |-- RemoteError         an agent cannot do what it was asked, or not in time
    |   `-- DeadlineError       a node took longer than it may
    `-- SessionError            an item that an earlier run should have left is missing or differs

A command prints the message of any of these in one line, without a traceback.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class RtflowError(Exception):
    """Base of every error that rtflow raises on purpose."""


class UsageError(RtflowError):
    """What was asked for cannot be done."""


class SettingsError(UsageError):
    """A setting is unknown, or its value is of the wrong type."""


class WorkflowError(UsageError):
    """The workflow file is missing, or does not build a workflow."""


class CompileError(UsageError):
    """The graph cannot be run as a stream.

    Parameters
    ----------
    node
        Name of the node at fault, or of the workflow.
    cause
        What is wrong.
    remedy
        What to do about it.
    """

    def __init__(self, node: str, cause: str, remedy: str) -> None:
        self.node = node
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{node}: {cause}; {remedy}")

    def __reduce__(self) -> tuple[type[CompileError], tuple[str, str, str]]:
        return type(self), (self.node, self.cause, self.remedy)


class SourceError(UsageError):
    """The source of volumes does not exist, or holds none."""


class OutputError(UsageError):
    """The output folder cannot be written."""


class AccessError(UsageError):
    """Who asks is not known, or may not do what was asked.

    Trying again as before would not help, so it is wrong usage: a program that is started again when it fails
    must not knock on a closed door for ever.

    Parameters
    ----------
    message
        What who asked may be told: not whether a name exists.
    reason
        Why, in a word, for the audit log alone.
    retry_after
        Seconds after which it may be tried again; 0 where waiting does not help.
    """

    def __init__(self, message: str, reason: str = "refused", *, retry_after: float = 0.0) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(message)


class PackageError(UsageError):
    """A workflow cannot be packaged as it is, or holds what must not be given away."""


class ArchiveError(UsageError):
    """A BIDS data set cannot be read."""


class NoMatchError(ArchiveError):
    """A data set holds nothing that fits."""


class SeveralMatchError(ArchiveError):
    """A data set holds several things that fit, and one was asked for."""


class RunError(RtflowError):
    """The run ended before its time."""


class AppError(RunError):
    """A BIDS App failed.

    Parameters
    ----------
    message
        What went wrong, and what to do.
    kind
        ``runtime``, ``image``, ``usage``, ``invalid BIDS``, ``no match``, ``killed``, ``out of memory``,
        ``time-out``, ``empty`` (it wrote nothing) or ``failed`` (by itself, for a reason of its own).
    argv
        The command line that was run.
    stderr
        The end of what it said there.
    log
        File with all that it said, if there is one.
    """

    def __init__(
        self, message: str, kind: str, *, argv: Sequence[str] = (), stderr: str = "", log: Path | None = None
    ) -> None:
        self.message, self.kind = message, kind
        self.argv, self.stderr, self.log = tuple(argv), stderr, log
        parts = [message]
        if stderr:
            parts.append(f"the end of its stderr: {stderr}")
        if argv:
            parts.append(f"it was run as: {shlex.join(argv)}")
        if log:
            parts.append(f"all that it said is in {log}")
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return _app_error, (self.message, self.kind, self.argv, self.stderr, self.log)


def _app_error(message: str, kind: str, argv: tuple[str, ...], stderr: str, log: Path | None) -> AppError:
    return AppError(message, kind, argv=argv, stderr=stderr, log=log)


class JournalError(RunError):
    """The journal of a run cannot be read or written."""


class ProtocolError(RunError):
    """Another host says what this one does not understand, or may not say."""


class VolumeError(RtflowError):
    """One volume cannot be processed."""


class DicomError(VolumeError):
    """A DICOM object is damaged, or of a kind that is not supported."""


class GridError(VolumeError):
    """Two images that must share a grid do not."""


class CommandError(VolumeError):
    """A command ended with a non-zero status."""


class RemoteError(VolumeError):
    """An agent on another host cannot do what it was asked, or not in time."""


class DeadlineError(VolumeError):
    """A node took longer than it may."""


class SessionError(RtflowError):
    """An item that an earlier run should have left is missing, or differs."""


def needs_all(what: str, error: ModuleNotFoundError) -> UsageError:
    """Only the agents' part of rtflow is installed here, and ``what`` was asked for."""
    return UsageError(
        f"{what} needs all of rtflow on this machine, and {error.name} is missing: only what agents need is "
        "installed here; install rtflow again without --no-deps"
    )


def in_words(error: BaseException) -> str:
    """Kind and message of an error, and the line of the experimenter's own code that it came from, if any."""
    line = ""
    trace = None if isinstance(error, RtflowError) else error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        installed = "site-packages" in path.parts or path.is_relative_to(sys.base_prefix)
        if package not in ("rtflow", "nipype") and path.is_file() and not installed:
            line = f" ({path.name} line {trace.tb_lineno})"
        elif code.co_filename == "<string>":  # a Function node keeps its source, and no file
            line = f" ({code.co_name}() line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{line}"
