"""Where a stack is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from rtflow.bids.entities import bids_name
from rtflow.dicom.offline.name import echo_name
from rtflow.dicom.offline.sort import Stack


@dataclass(frozen=True)
class Place:
    """Where a stack is written.

    Parameters
    ----------
    folder
        Below the output's folder.
    suffix
        ``bold``, ``T1w``, ...; empty for a name that is not of BIDS.
    entities
        By their long names; of all but the echo.
    name
        The name, where it is not of BIDS.
    note
        Why it stands where it does, if there is something to be said.
    """

    folder: PurePosixPath
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    note: str = ""

    def stem(self, stack: Stack, echo: int) -> PurePosixPath:
        """Folder and name of one echo's file, without its ending."""
        if not self.suffix:
            return self.folder / echo_name(self.name, stack, echo)
        several = {"echo": str(echo)} if len(stack.echoes) > 1 else {}
        return self.folder / f"{bids_name({**self.entities, **several})}_{self.suffix}"
