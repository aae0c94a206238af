"""What is in a volume and is neither head nor task: noise, drift, breath, and late delivery."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtflow.sources.simulation.motion import remember

Floats = NDArray[np.float64]
Field = NDArray[np.float32]


class NoiseField:
    """Gaussian noise on a grid, one field after another, of standard deviation 1 at every voxel.

    Parameters
    ----------
    shape
        Of a field.
    ar
        Correlation of a voxel with itself one field before (first-order autoregression), 0 <= ar < 1.
    sigma
        Standard deviation of the Gaussian that correlates neighbours, voxels; 0 for none.
    chance
        Where it comes from.
    """

    def __init__(
        self, shape: tuple[int, int, int], *, ar: float, sigma: float, chance: np.random.Generator
    ) -> None:
        self._shape = shape
        self._ar = np.float32(ar)
        self._fresh = np.float32(np.sqrt(1.0 - ar * ar))
        self._sigma = sigma
        self._scale = np.float32(1.0)
        self._chance = chance
        self._last: Field | None = None
        if sigma:
            # The filter wraps around, so every voxel loses the same: the norm of the kernel, per axis.
            self._scale = np.float32(np.prod([1.0 / _kernel_norm(size, sigma) for size in shape]))

    def draw(self) -> Field:
        """The next field, float32; the caller may change it."""
        field = self._chance.standard_normal(self._shape, dtype=np.float32)
        if self._sigma:
            from scipy import ndimage

            field = ndimage.gaussian_filter(field, self._sigma, mode="wrap", truncate=3.0)
            field *= self._scale
        if not self._ar:
            return field
        if self._last is not None:
            field *= self._fresh
            field += self._ar * self._last
        self._last = field
        return field.copy()


def drift(volumes: int, percent: float, chance: np.random.Generator, share: float = 0.0) -> Floats:
    """Slow change of the signal as a fraction: a slope and one and a half turns of a cosine over the run.

    Zero at volume 1; it spans about ``percent``.

    Parameters
    ----------
    volumes
        Of the run.
    percent
        How much the signal changes.
    chance
        Where it comes from.
    share
        How far each volume has come, 0 at its start and 1 at its end.

    Returns
    -------
    ndarray, shape (volumes,)
    """
    phase = chance.uniform(0.0, 2.0 * np.pi)
    sign = 1.0 if chance.random() < 0.5 else -1.0
    at = (np.arange(volumes) + share) / max(volumes - 1, 1)
    wave = np.cos(3.0 * np.pi * at + phase) - np.cos(phase)
    slow: Floats = percent / 100.0 * (0.7 * sign * at + 0.25 * wave)
    return slow


def breath(volumes: int, tr: float, chance: np.random.Generator, share: float = 0.0) -> Floats:
    """A breathing cycle of about 4 s whose rate wanders, between -1 and 1, as each volume sees it.

    Parameters
    ----------
    volumes, tr
        Of the run.
    chance
        Where it comes from.
    share
        How far each volume has come, 0 at its start and 1 at its end.

    Returns
    -------
    ndarray, shape (volumes,)
    """
    wander = remember(0.006 * chance.standard_normal(volumes), 0.9)
    start = chance.uniform(0.0, 2.0 * np.pi)
    turns = np.cumsum(0.25 + wander)
    if share:
        turns += share * (0.25 + wander)
    cycle: Floats = np.sin(start + 2.0 * np.pi * tr * turns)
    return cycle


def unsaturated(volumes: int, tr: float, decay: float = 1.5) -> Floats:
    """How much of the first volume's excess is left in each: it decays with T1, about 1.5 s.

    Returns
    -------
    ndarray, shape (volumes,)
        1 at volume 1; exactly 0 once less than a thousandth is left.
    """
    left: Floats = np.exp(-tr * np.arange(volumes) / decay)
    left[left < 1e-3] = 0.0
    return left


def arrivals(volumes: int, tr: float, *, delay: float, jitter: float, chance: np.random.Generator) -> Floats:
    """When each volume's last byte is there, in seconds from onset 0 on the scanner's clock.

    Volume n cannot come before it is acquired, at n * tr, nor before the one ahead of it: a late one is
    followed by a burst.

    Parameters
    ----------
    delay
        Seconds of reconstruction.
    jitter
        Standard deviation of those seconds.

    Returns
    -------
    ndarray, shape (volumes,)
    """
    late = np.maximum(delay + jitter * chance.standard_normal(volumes), 0.0)
    schedule: Floats = np.maximum.accumulate(np.arange(1, volumes + 1) * tr + late)
    return schedule


def _kernel_norm(size: int, sigma: float) -> float:
    from scipy import ndimage

    impulse = np.zeros(size)
    impulse[size // 2] = 1.0
    kernel = ndimage.gaussian_filter1d(impulse, sigma, mode="wrap", truncate=3.0)
    return float(np.sqrt((kernel**2).sum()))
