"""A service of an experimenter, for tests of what can be called and what cannot."""

from __future__ import annotations

import os  # noqa: F401 - what else is in a module is out of reach
import time


class Base:
    """Where a method may come from, too."""

    def name(self) -> str:
        """The room."""
        return "scanner room"


class Lights(Base):
    """Lights of the scanner room."""

    colours = ("red", "green")

    def __init__(self) -> None:
        self.level = 0.0

    def dim(self, level: float, colours: list[str] | None = None) -> dict[str, float]:
        """Set the level of some colours."""
        self.level = level
        return dict.fromkeys(colours or self.colours, level)

    def wait(self, seconds: float) -> None:
        """Take some time."""
        time.sleep(seconds)

    def fail(self) -> None:
        """Break."""
        raise ValueError("the bulb is broken")

    def wrong(self) -> int:
        """Give another type than said."""
        return "many"  # type: ignore[return-value]

    def _secret(self) -> str:
        return "secret"

    @property
    def state(self) -> float:
        """No method."""
        return self.level

    @staticmethod
    def helper() -> int:
        """No method of an object."""
        return 1


def outside() -> str:
    """No method of the class."""
    return "outside"
