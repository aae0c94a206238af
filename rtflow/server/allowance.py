"""How much one agent may have written into the journal: no flood of messages fills the disk."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """A bucket of so many documents, which fills again with time.

    Parameters
    ----------
    most
        What fits into it: at the beginning it is full.
    each_second
        What comes back in a second.

    Attributes
    ----------
    refused
        How many did not get any.

    Examples
    --------
    >>> seconds = 0.0
    >>> allowance = Allowance(2, 0.5, clock=lambda: seconds)
    >>> [allowance.take() for _ in range(3)], allowance.refused
    ([True, True, False], 1)
    >>> seconds = 2.0
    >>> [allowance.take() for _ in range(2)], allowance.refused
    ([True, False], 2)
    """

    def __init__(self, most: int, each_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        self._most, self._each_second, self._clock = most, each_second, clock
        self._left, self._at = float(most), clock()

    def take(self) -> bool:
        """Whether there is one more."""
        at = self._clock()
        self._left = min(self._most, self._left + (at - self._at) * self._each_second)
        self._at = at
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True
