"""The course that most of a region's voxels share: its first principal component, frozen once known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.errors import VolumeError

Floats = NDArray[np.float64]

#: Fewest volumes that a component is found from.
LEAST_VOLUMES = 10


@dataclass(frozen=True, eq=False)
class Eigenvariate:
    """How much of a volume lies along a direction that was found in earlier ones, and settled there.

    Parameters
    ----------
    level
        Mean of each voxel over the volumes it was found from, shape (voxels,), float64, scanner's units.
    weights
        The direction, shape (voxels,), float64, of length 1; 0 for voxels that have no say.
    """

    level: Floats
    weights: Floats

    @classmethod
    def of(cls, samples: NDArray[Any]) -> Eigenvariate:
        """The direction along which the voxels of a region vary most together.

        The first right singular vector of the samples, each voxel without its mean and its straight line over
        time (SPM finds it in data that were filtered: a raw series varies most by its drift). The sign is the
        one by which its course goes with that of the region's mean, which is to say that the weights add up
        to more than 0: the covariance of the two courses is the sum of the weights times a positive number.

        Parameters
        ----------
        samples
            Shape (volumes, voxels), scanner's units. A voxel that is exactly 0 in any of them lay outside
            the field of view, and has no say.

        Raises
        ------
        VolumeError
            If there are fewer than `LEAST_VOLUMES`, or nothing varies.

        Notes
        -----
        Friston et al., NeuroImage 2006; 30:1077-1087, p. 1080 (the summary of a region by its first
        eigenvariate); ``spm_regions.m`` of SPM12 for scaling and sign.

        Examples
        --------
        >>> course = np.sin(np.arange(12))
        >>> found = Eigenvariate.of(100 + np.outer(course, [2.0, 2.0, 1.0]))
        >>> found.weights.round(3).tolist()
        [0.667, 0.667, 0.333]
        """
        data = np.asarray(samples, dtype=np.float64)
        if len(data) < LEAST_VOLUMES:
            raise VolumeError(
                f"the first component was to be found from {len(data)} volumes, expected {LEAST_VOLUMES} at "
                "least; make the opening, or the training, longer"
            )
        seen = (data != 0).all(axis=0)
        level = np.where(seen, data.mean(axis=0), 0.0)
        apart = (data - level)[:, seen]
        time = np.arange(len(data)) - (len(data) - 1) / 2
        apart -= np.outer(time, time @ apart / (time @ time))
        # Of the volumes' own small matrix: a region has more voxels than there are volumes.
        size, vectors = np.linalg.eigh(apart @ apart.T)
        if not seen.any() or size[-1] <= 1e-12 * float(np.square(level).sum()):
            raise VolumeError("the region has no first component: none of its voxels varies over time")
        direction = vectors[:, -1] @ apart
        direction /= np.linalg.norm(direction)
        weights = np.zeros(data.shape[1])
        weights[seen] = direction if direction.sum() > 0 else -direction
        return cls(level, weights)

    @property
    def mean(self) -> float:
        """Mean of the region over the volumes that the component was found from, scanner's units."""
        return float(self.level[self.level != 0].mean())

    def course(self, values: NDArray[Any]) -> float:
        """The component of one volume, in the scanner's units and about the region's mean.

        SPM's eigenvariate, ``(values - level) @ weights / sqrt(voxels)``, plus the mean of the region over
        the volumes that the component was found from. So it has a true zero, and percent signal change may
        be computed of it; of a response that is the same in all voxels, it is the mean.

        Parameters
        ----------
        values
            Shape (voxels,); a voxel that is exactly 0 counts for nothing in this volume.
        """
        apart = np.where(values != 0, values - self.level, 0.0)
        voxels = np.count_nonzero(self.level)
        return self.mean + float(apart @ self.weights) / float(np.sqrt(voxels))
