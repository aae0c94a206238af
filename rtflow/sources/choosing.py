"""Which of the series that come is that of the run; which of two is meant is never guessed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from rtflow.dicom.instance import Instance, Series
from rtflow.errors import SourceError


class SeriesChoice:
    """The series of a run: the one that was asked for, else the only one that is streamed.

    Another one may come after it, and ends the run; it must not come along with it.

    Parameters
    ----------
    number
        SeriesNumber that was asked for, if one was.
    where
        Where they come to, for messages.

    Attributes
    ----------
    series
        The one of the run, once it is known.
    elsewhere
        What else was there before the run, in words, if it was not among that.
    following
        The first object of the series that came after it.
    """

    def __init__(self, number: int | None, where: str) -> None:
        self._number = number
        self._where = where
        self.series: Series | None = None
        self.elsewhere = ""
        self.following: Instance | None = None
        self._acquired: float | None = None

    def wants(self, series: Series) -> bool:
        """Whether a series could be that of the run."""
        return series.streamed if self._number is None else series.number == self._number

    def choose(self, there: Iterable[Series]) -> None:
        """Choose among what was there before the run, object by object.

        Raises
        ------
        SourceError
            If there are several that could be meant.
        """
        count = Counter(there)
        wanted = [series for series in count if self.wants(series)]
        listed = "; ".join(f"{series} ({files} files)" for series, files in count.items())
        if len(wanted) > 1:
            if len({series.number for series in wanted}) > 1:
                remedy = f"{_by_number(wanted)}, or wait for the next one by --set source.existing=false"
            else:
                remedy = "give each run a folder of its own"
            raise SourceError(f"{self._where} holds several series: {listed}; {remedy}")
        if wanted:
            self.series = wanted[0]
        else:
            # The one that is to be streamed may be yet to come.
            self.elsewhere = listed

    def holds(self, instance: Instance) -> bool:
        """Whether an object is of the run's series; if not, its own follows it.

        Raises
        ------
        SourceError
            If two series come at once.
        """
        if instance.series == self.series:
            following = self.following
            if following is not None and (instance.acquired or 0.0) > (following.acquired or math.inf):
                raise self._two_at_once(following)
            return True
        if self.following is None:
            if instance.acquired is not None and self._acquired is not None:
                # By when it began: the first of it that comes may not be its first volume.
                began = instance.acquired - (instance.volume - 1) * (instance.tr or 0.0)
                if began <= self._acquired:
                    raise self._two_at_once(instance)
            self.following = instance
        return False

    def took(self, instance: Instance) -> None:
        """An object of the run's series was taken in."""
        if instance.acquired is not None:
            self._acquired = max(self._acquired or instance.acquired, instance.acquired)

    def _two_at_once(self, other: Instance) -> SourceError:
        return SourceError(
            f"two series come into {self._where} at once: {self.series} and {other.series}; "
            + _by_number([one for one in (self.series, other.series) if one is not None])
        )


def _by_number(series: Iterable[Series]) -> str:
    numbers = sorted({one.number for one in series})
    return "choose one: " + " or ".join(f"--set source.series={number}" for number in numbers)
