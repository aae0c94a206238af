"""What the brain does with the design: a haemodynamic response for every trial."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtflow.trials import Design

Floats = NDArray[np.float64]

# Canonical double gamma (Friston et al. 1998; SPM's defaults): a response gamma(6, 1 s) less a sixth of an
# undershoot gamma(16, 1 s).
_RESPONSE, _UNDERSHOOT, _RATIO = 6.0, 16.0, 1.0 / 6.0

# Which region prefers what, as in people.
_PREFERRED = {"scene": 0, "face": 1}


def settled(seconds: ArrayLike) -> Floats:
    """Response to a trial that began so many seconds ago and still lasts; it settles at 1.

    This is the integral of the canonical haemodynamic response function: exact, with no time step. It
    peaks near 1.2 some 9 s after the onset, before the undershoot sets in.

    >>> [round(float(v), 3) for v in settled([0, 5, 10, 40])]
    [0.0, 0.461, 1.11, 1.0]
    """
    from scipy.special import gammainc

    since = np.maximum(np.asarray(seconds, dtype=float), 0.0)
    integral: Floats = gammainc(_RESPONSE, since) - _RATIO * gammainc(_UNDERSHOOT, since)
    return integral / (1.0 - _RATIO)


def course(design: Design, condition: str, times: ArrayLike, delay: float = 0.0) -> Floats:
    """Response to all trials of one condition at the given times, 1 where a long trial has settled.

    Parameters
    ----------
    design
        Trials, in seconds from onset 0.
    condition
        Whose trials.
    times
        Seconds from onset 0.
    delay
        Seconds by which the response is later than the canonical one.
    """
    at = np.asarray(times, dtype=float) - delay
    total = np.zeros(at.shape)
    for trial in design.trials:
        if trial.trial_type == condition:
            total += settled(at - trial.onset) - settled(at - trial.onset - trial.duration)
    return total


def preferences(design: Design) -> dict[str, int]:
    """Condition to the number of the region that prefers it, whatever comes first in the design.

    A brain does not change with the order of the trials: of two runs that begin with one condition each, the
    regions answer alike. Scenes and faces have regions of their own; others go to them by their names.

    >>> from rtflow.trials import Trial
    >>> preferences(Design((Trial(0, 9, "face"), Trial(9, 9, "scene"))))
    {'face': 1, 'scene': 0}
    """
    return {name: _PREFERRED.get(name, number) for number, name in enumerate(sorted(design.conditions))}


def region_courses(
    design: Design, times: ArrayLike, *, regions: int, delay: float = 0.0, crosstalk: float = 0.35
) -> Floats:
    """Response of each region: in full to what it prefers (`preferences`), to a part to the others.

    Returns
    -------
    ndarray, shape (times, regions)
    """
    at = np.asarray(times, dtype=float)
    total = np.zeros((at.size, regions))
    for condition, number in preferences(design).items():
        own = course(design, condition, at, delay)
        for region in range(regions):
            total[:, region] += own * (1.0 if number % regions == region else crosstalk)
    return total


def on_task(design: Design, times: ArrayLike, tr: float) -> Floats:
    """Share of each volume, ``tr`` seconds from its time on, in which some trial goes on."""
    start = np.asarray(times, dtype=float)
    share = np.zeros(start.shape)
    for trial in design.trials:
        begin = np.maximum(start, trial.onset)
        end = np.minimum(start + tr, trial.onset + trial.duration)
        share += np.clip(end - begin, 0.0, tr) / tr
    return np.minimum(share, 1.0)
