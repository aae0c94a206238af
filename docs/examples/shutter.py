"""A service of the scanner's host: ``rtflow scanner ... --service shutter:Shutter``."""

from __future__ import annotations


class Shutter:
    """The shutter of a projector; in place of the list stands what moves it."""

    def __init__(self) -> None:
        self._moves: list[str] = []

    def open(self, side: str, seconds: float = 0.5) -> bool:
        """Open one side; whether that was new. A node calls ``shutter.open``."""
        del seconds
        new = self._moves[-1:] != [side]
        self._moves.append(side)
        return new

    def moves(self) -> list[str]:
        """Which sides were opened, in their order."""
        return list(self._moves)
