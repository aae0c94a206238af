"""An agent's folder: who it is to the server, and what it keeps from start to start."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rtflow.errors import OutputError, UsageError
from rtflow.sources.spool import exclusive


@dataclass
class State:
    """The agent's folder: who it is to the server, and what it keeps of its runs.

    Parameters
    ----------
    folder
        Made if it does not exist, for its owner only.

    Raises
    ------
    OutputError
        If it cannot be written.
    UsageError
        If another agent uses it.
    """

    folder: Path
    instance: str = ""
    _guard: IO[bytes] | None = None

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = exclusive(self.folder / ".lock")
            if self._guard is None:
                raise UsageError(f"{self.folder} is in use by another agent; give each its own --state")
            name = self.folder / "instance"
            if not name.exists():
                name.write_text(secrets.token_hex(8), encoding="ascii")
            self.instance = name.read_text(encoding="ascii").strip()
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({error.strerror}); give another --state"
            ) from None

    def run_folder(self, run_uid: str) -> Path:
        """Where what is kept of a run stands."""
        return self.folder / "runs" / run_uid


def usual_folder(kind: str, name: str) -> Path:
    """Where an agent keeps its state unless it is told otherwise."""
    states = os.environ.get("XDG_STATE_HOME")
    return (Path(states) / "rtflow" if states else Path.home() / ".rtflow") / f"{kind}-{name}"
