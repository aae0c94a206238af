"""How time courses go together within a window that moves along: sums that are added to and taken from."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Below this, relative to their own size, variances and correlations are rounding.
_NOTHING = 1e-10

#: A course that varies by less, relative to its mean, is taken for constant: float32 knows 7 digits.
_CONSTANT = 1e-7


@dataclass
class MovingWindow:
    """Mean and scatter of some time courses over the last volumes of a run.

    A volume is added, and taken out again, by Welford's update (Technometrics 1962; 4:419-420; Chan, Golub
    and LeVeque, American Statistician 1983; 37:242-247): deviations from the running mean, never a difference
    of large sums. What rounding leaves is wiped out each time the window has turned over once: the sums are
    then made anew from the window itself.

    Parameters
    ----------
    size
        How many volumes the window spans, those that never came among them.

    Attributes
    ----------
    rows
        Volumes within the window, oldest first, each with its values, shape (courses,).
    mean, scatter
        Of these: shape (courses,), and the sum of products of deviations, shape (courses, courses).

    Examples
    --------
    >>> window = MovingWindow(3)
    >>> for volume, values in enumerate([(1.0, 9.0), (2.0, 4.0), (3.0, 5.0), (4.0, 9.0)], start=1):
    ...     window.add(volume, np.array(values))
    >>> window.mean.tolist(), len(window.rows)
    ([3.0, 6.0], 3)
    """

    size: int
    rows: deque[tuple[int, Floats]] = field(default_factory=deque)
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    scatter: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    first: int = 0
    _since: int = 0

    def add(self, volume: int, values: NDArray[Any]) -> None:
        """Take a volume; those that are ``size`` volumes older than it go.

        Parameters
        ----------
        volume
            Its number; larger than that of the one before.
        values
            Shape (courses,), finite.
        """
        row = np.array(values, dtype=np.float64)
        self.first = self.first or volume
        while self.rows and self.rows[0][0] <= volume - self.size:
            self._take_out(self.rows.popleft()[1])
        if not self.rows:
            self.mean, self.scatter = row.copy(), np.zeros((row.size, row.size))
            self.rows.append((volume, row))
            return
        self.rows.append((volume, row))
        before = row - self.mean
        self.mean += before / len(self.rows)
        self.scatter += np.outer(before, row - self.mean)
        self._since += 1
        if self._since >= self.size:
            self._anew()

    def full(self, volume: int) -> bool:
        """Whether the window has been open for as long as it is, by the time of a volume."""
        return bool(self.first) and volume - self.first + 1 >= self.size

    @property
    def spread(self) -> Floats:
        """The scatter, exactly 0 for courses that are constant but for rounding."""
        still = np.diagonal(self.scatter) <= len(self.rows) * (_CONSTANT * self.mean) ** 2
        found = self.scatter.copy()
        found[still, :] = found[:, still] = 0.0
        return found

    def clear(self) -> None:
        """Begin anew: the window opens with the next volume."""
        self.rows.clear()
        self.first = 0

    def _take_out(self, row: Floats) -> None:
        if not self.rows:
            return  # it was the last one; the next begins anew
        after = row - self.mean
        self.mean -= after / len(self.rows)
        self.scatter -= np.outer(row - self.mean, after)

    def _anew(self) -> None:
        rows = np.array([row for _, row in self.rows])
        self.mean = rows.mean(axis=0)
        apart = rows - self.mean
        self.scatter = apart.T @ apart
        self._since = 0


def partial_correlations(scatter: NDArray[Any], courses: int) -> Floats | None:
    """Correlations of the first courses, given what the later ones explain.

    That of each pair of the first ``courses``, once all courses after these (confounds, other regions) are
    regressed out of both: the residual scatter ``S_aa - S_ab pinv(S_bb) S_ba`` of the block of these,
    scaled to unit diagonal. With two courses it is their partial correlation given the others, minus the
    scaled off-diagonal of the inverse (Whittaker, Graphical Models, 1990, sec. 5.8; Marrelec et al.,
    NeuroImage 2006; 32:228-237); without others, Pearson's correlation.

    Parameters
    ----------
    scatter
        Shape (n, n), sums of products of deviations, or covariances.
    courses
        How many are correlated; the others are given. It does no harm if some of these do not vary, or go
        together.

    Returns
    -------
    Shape (courses, courses), within [-1, 1]; None if a course does not vary, or the others explain all of it.

    Examples
    --------
    >>> partial_correlations(np.array([[4.0, 2.0], [2.0, 4.0]]), 2).round(3).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    variance = np.diagonal(scatter)[:courses]
    if not (variance > 0).all():
        return None
    scale = np.sqrt(np.where(np.diagonal(scatter) > 0, np.diagonal(scatter), 1.0))
    unit = np.asarray(scatter, dtype=np.float64) / np.outer(scale, scale)
    inside, across = unit[:courses, :courses], unit[:courses, courses:]
    if across.size:
        inside = (
            inside
            - across @ np.linalg.pinv(unit[courses:, courses:], rcond=_NOTHING, hermitian=True) @ across.T
        )
    left = np.diagonal(inside)
    if not (left > _NOTHING).all():
        return None
    found: Floats = np.clip(inside / np.sqrt(np.outer(left, left)), -1.0, 1.0)
    return found


def fisher_z(correlation: float) -> float:
    """Fisher's transform, ``atanh`` (Biometrika 1915; 10:507-521), of at most 1 - 1e-12 in size.

    >>> round(fisher_z(0.5), 4), round(fisher_z(1.0), 1)
    (0.5493, 14.2)
    """
    return float(np.arctanh(np.clip(correlation, -1.0 + 1e-12, 1.0 - 1e-12)))
