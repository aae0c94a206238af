"""Volumes of a head whose motion is known, whole and damaged, for the benchmark of motion correction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from rtflow.bench.phantom import TSNR, Floats, Phantom, noisy, oblique, rigid

#: Name to matrix and voxel size, mm.
SIZES = {
    "S": ((64, 64, 36), (3.0, 3.0, 3.0)),
    "M": ((110, 110, 72), (2.0, 2.0, 2.0)),
    "L": ((140, 140, 96), (1.5, 1.5, 1.5)),
}

#: Signal drifts by this fraction from the first volume to the last.
DRIFT = 0.02

#: Head motion: at most this far from the reference, mm and degrees.
_FARTHEST = 2.0

Damage = Callable[[Floats], None]


@dataclass(frozen=True)
class Truth:
    """Volumes of one size.

    Parameters
    ----------
    phantom
        The head.
    affine
        4x4, of all volumes.
    reference
        The first volume, int16, at rest.
    transforms
        Of the other volumes: 4x4, RAS+ mm, reference to moved volume.
    clean
        Those volumes without noise, float32.
    """

    phantom: Phantom
    affine: Floats
    reference: NDArray[np.int16]
    transforms: list[Floats]
    clean: list[NDArray[np.float32]]

    def volume(self, index: int, damage: Damage | None = None) -> NDArray[np.int16]:
        """One of the volumes with noise, damaged before that if asked for; i varies fastest in memory."""
        image = self.clean[index].astype(np.float64)
        if damage is not None:
            damage(image)
        return np.asfortranarray(noisy(image, index + 1, self.phantom.mean / TSNR))


def make_truth(
    shape: tuple[int, int, int], voxel: tuple[float, float, float], volumes: int, seed: int = 1
) -> Truth:
    """A head on an oblique grid: at rest, then each time elsewhere, up to 2 mm and 2 degrees.

    Directions are random, and so are the distances; the signal drifts by 2 % over the volumes.
    """
    phantom = Phantom(float(np.mean(voxel)))
    shape, affine = oblique(shape, voxel)
    rng = np.random.default_rng(seed)
    transforms, clean = [], []
    for number in range(volumes):
        way, axis = rng.normal(size=(2, 3))
        far, angle = rng.uniform(0.0, _FARTHEST, 2)
        euler = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_euler("XYZ", True)
        transforms.append(rigid(far * way / np.linalg.norm(way), euler))
        gain = 1.0 + DRIFT * (number + 1) / volumes
        clean.append((gain * phantom.sample(shape, affine, transforms[-1])).astype(np.float32))
    still = noisy(phantom.sample(shape, affine), 0, phantom.mean / TSNR)
    return Truth(phantom, affine, np.asfortranarray(still), transforms, clean)


def lose_slices(volume: Floats) -> None:
    """Six slices without signal, from the middle up."""
    middle = volume.shape[2] * 5 // 9
    volume[:, :, middle : middle + 6] = 0.0


def dim_slices(volume: Floats) -> None:
    """Every sixth slice has lost 40 %."""
    volume[:, :, ::6] *= 0.6


def drop_out(volume: Floats) -> None:
    """Four fifths of the signal lost in the lower front, with a soft edge."""
    size = volume.shape[1]
    front = 1.0 / (1.0 + np.exp(-0.6 * 64.0 / size * (np.arange(size) - 0.67 * size)))
    volume[:, :, : volume.shape[2] // 2] *= 1.0 - 0.8 * front[:, None]


def spike(volume: Floats) -> None:
    """A block of four times the signal."""
    i, j, k = (size // 3 for size in volume.shape)
    volume[i : i + 10, j : j + 10, k : k + 5] *= 4.0


def tilt(volume: Floats) -> None:
    """10 % more signal at the front than in the middle, 10 % less at the back, linear between."""
    volume *= 1.0 + 0.1 * np.linspace(-1.0, 1.0, volume.shape[1])[:, None]


#: Name to damage and the error of AFNI's 3dvolreg that was measured with it, mm, at size M.
DAMAGES: dict[str, tuple[Damage, float]] = {
    "6 slices lost": (lose_slices, 0.07),
    "every 6th slice -40 %": (dim_slices, 0.01),
    "frontal drop-out -80 %": (drop_out, 0.12),
    "spike block": (spike, 0.01),
    "10 % linear bias": (tilt, 0.03),
}
