"""What brings DICOM objects to a stream: a watched folder, or a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object that came in, whole or not.

    Parameters
    ----------
    name
        File name without folder.
    path
        Where its bytes stand on disk.
    data
        Its bytes; of a file that is no DICOM, only the first ones.
    received
        When its last byte was there.
    """

    name: str
    path: Path
    data: bytes
    received: float


class Feed(Protocol):
    """Brings objects as they come, each once; a context manager.

    Light to import: the scanner's host has only this part.
    """

    def __enter__(self) -> Feed:
        """Begin to listen."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""

    @property
    def brought_until(self) -> float:
        """Time up to which all that came was brought; patience and silence are counted up to it.

        It never stands still for good.
        """

    def troubles(self) -> list[str]:
        """What keeps things from coming, or does so no more, in sentences; each is said once."""

    @property
    def hint(self) -> str:
        """What else to check if nothing comes, in words: `` and the pattern``."""

    def before(self) -> Iterator[Arrival]:
        """What was there before it began to listen, and belongs to the run."""

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """What has come; waits for the first one, but at most ``timeout`` seconds."""

    def done(self, arrival: Arrival) -> None:
        """Keep nothing of it: it was taken, or will never be of use."""

    def refuse(self, arrival: Arrival) -> None:
        """Bring it again once it has changed: it was not whole."""
