"""Alarms that do not flutter: on beyond one threshold, off again only beyond another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rtflow.errors import UsageError


@dataclass(frozen=True)
class Thresholds:
    """Where an alarm begins, and where it ends.

    Parameters
    ----------
    on, off
        An alarm begins when the value passes ``on``, and ends when it has come back past ``off``. With ``on``
        above ``off`` (or equal) high values are the bad ones, with ``on`` below ``off`` low values.
    units
        Of both, for messages.
    clean
        How many volumes in a row must have come back past ``off`` for the alarm to end: for a count that is 0
        as soon as nothing is wrong, and has no value in between.
    """

    on: float
    off: float
    units: str = ""
    clean: int = 1

    @property
    def high(self) -> bool:
        """Whether high values are the bad ones."""
        return self.on >= self.off

    def __str__(self) -> str:
        return f"{'above' if self.high else 'below'} {self.on:g}{' ' * bool(self.units)}{self.units}"


@dataclass
class Alarm:
    """One alarm with its hysteresis.

    Parameters
    ----------
    thresholds
        Where it begins and ends.
    on
        Whether it is on.
    back
        How many volumes in a row have come back past the threshold where it ends.

    Examples
    --------
    >>> alarm = Alarm(Thresholds(0.5, 0.25))
    >>> [alarm.take(value) for value in (0.4, 0.6, 0.4, None, 0.2, 0.4)]
    [False, True, True, True, False, False]
    >>> alarm = Alarm(Thresholds(0, 0, clean=2))
    >>> [alarm.take(value) for value in (1, 0, 3, 0, None, 0)]
    [True, True, True, True, True, False]
    """

    thresholds: Thresholds
    on: bool = False
    back: int = 0

    def take(self, value: float | None, lift: float = 0.0) -> bool:
        """Take the value of one volume; whether the alarm is on.

        Parameters
        ----------
        value
            None where there is none: the alarm stays as it is.
        lift
            By how much both thresholds lie higher for this volume.
        """
        if value is not None:
            sign = 1.0 if self.thresholds.high else -1.0
            limit = self.thresholds.off if self.on else self.thresholds.on
            beyond = sign * value > sign * (limit + lift)
            self.back = 0 if beyond else self.back + 1
            self.on = beyond or (self.on and self.back < self.thresholds.clean)
        return self.on


def alarms(defaults: Mapping[str, Thresholds], given: Mapping[str, object]) -> dict[str, Alarm]:
    """The alarms of a run.

    Parameters
    ----------
    defaults
        Name to thresholds.
    given
        Name to ``(on, off)`` that take the place of a default, or None for no such alarm.

    Raises
    ------
    UsageError
        If there is no alarm of a name, or thresholds are not two numbers.
    """
    chosen = dict(defaults)
    for name, pair in given.items():
        if name not in defaults:
            raise UsageError(f"no alarm of {name!r}; there is one of each of {', '.join(defaults)}")
        if pair is None:
            del chosen[name]
            continue
        numbers = list(pair) if isinstance(pair, tuple | list) else []
        if len(numbers) != 2 or not all(isinstance(n, int | float) and not math.isnan(n) for n in numbers):
            raise UsageError(
                f"alarm of {name!r}: expected two numbers, where it begins and where it ends, or None for no "
                f"alarm, got {pair!r}"
            )
        chosen[name] = replace(defaults[name], on=float(numbers[0]), off=float(numbers[1]))
    return {name: Alarm(thresholds) for name, thresholds in chosen.items()}
