"""A head in EPI contrast, and the grid that a scanner lays over it.

The head is the MNI152 template that nilearn carries (ICBM 152 nonlinear symmetric 2009a, 1 mm, skull
stripped; Fonov et al. 2011). It is blurred once to the point spread of a voxel and from then on taken as
a continuous object: trilinear between the points of the 1 mm grid. A volume is that object, moved, read at
the centres of the scanner's voxels, so that a known motion is exact and no volume is ever made by
resampling another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BUNDLED = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"

CENTRE = (0.0, -17.0, 5.0)
"""Middle of the brain's bounding box in head coordinates, mm: where the field of view is centred."""

CAPSULE = (-86.0, -15.0, 20.0)
"""Where the marker sits in head coordinates, mm: on the skin, left of the brain."""

# The obliquity of a slab tilted along the temporal lobes, with a little roll and yaw: degrees about x, y, z.
_TILT = (-12.0, 3.0, -4.0)

# T1-weighted intensity of air, cerebrospinal fluid, grey and white matter in the template, the T2*-weighted
# intensity each has in an EPI, and how much brighter its first, unsaturated volume is (longer T1, more so).
_TEMPLATE = (0.00, 0.05, 0.25, 0.60, 0.90)
_EPI = (0.0, 900.0, 1300.0, 1000.0, 780.0)
_UNSATURATED = (0.0, 700.0, 1000.0, 380.0, 200.0)

# How fast each decays after excitation, 1/s: T2* at 3 T is some 47 ms in grey and in white matter (Wansapura
# et al. 1999, J Magn Reson Imaging 9: 531) and far longer in fluid.
_DECAY = (5.0, 5.0, 5.0, 21.0, 22.0)

REFERENCE_ECHO = 0.03
"""Echo time, in seconds, at which the intensities and the losses are what they are said to be."""

# Air in the sphenoid sinus and the ear canals takes signal away: centre (mm), radius (mm), loss at the
# centre. The canals differ, as they do in people, so that left and right are not mirror images.
_AIR = (
    ((0.0, 34.0, -24.0), 16.0, 0.85),
    ((-50.0, -22.0, -32.0), 12.0, 0.70),
    ((48.0, -18.0, -34.0), 10.0, 0.55),
)


@dataclass(frozen=True)
class Region:
    """Two spheres, one in each hemisphere, that respond together.

    Parameters
    ----------
    name
        What the region is called.
    centres
        Head coordinates, mm.
    radius
        Distance from the centre at which the response has fallen to a half, mm.
    """

    name: str
    centres: tuple[tuple[float, float, float], ...]
    radius: float = 9.0

    def weight(self, points: Floats) -> Floats:
        """Share of the region's response at points (..., 3) in head coordinates: 1 inside, 0 outside."""
        distance = np.min(
            [np.sqrt(((points - np.array(centre)) ** 2).sum(axis=-1)) for centre in self.centres], axis=0
        )
        # The edge is as soft as the anatomy: nine tenths of the fall within some 4 mm.
        rise: Floats = 0.5 * (1.0 + np.tanh(self.radius - distance))
        return rise


REGIONS = (
    Region("parahippocampal", ((-26.0, -46.0, -8.0), (26.0, -46.0, -8.0))),
    Region("fusiform", ((-40.0, -52.0, -18.0), (40.0, -52.0, -18.0))),
)
"""Near the parahippocampal place area and the fusiform face area."""


@dataclass(frozen=True)
class Head:
    """The continuous object that is scanned.

    Parameters
    ----------
    signal
        Steady-state intensity on a grid, float32, shape (z, y, x): neighbours along x, where most
        reading goes, are neighbours in memory. Zero at its borders.
    excess
        What the first volume has beyond it, before saturation; same shape.
    origin
        Head coordinates of the first voxel, mm.
    step
        Distance of neighbours in the grid, mm.
    """

    signal: NDArray[np.float32]
    excess: NDArray[np.float32]
    origin: tuple[float, float, float]
    step: int

    def indices(self, points: Floats) -> Floats:
        """Where in the grid points (3, n) in head coordinates lie: x, y, z in voxels."""
        found: Floats = (points - np.array(self.origin)[:, None]) / self.step
        return found


def read(values: NDArray[np.float32], indices: Floats) -> NDArray[np.float32]:
    """Trilinear values between the points of a grid; what lies outside reads as its border.

    Parameters
    ----------
    values
        Shape (z, y, x), C order.
    indices
        Shape (3, n): x, y, z in voxels.

    Returns
    -------
    ndarray, shape (n,), float32
        Exact for the piecewise trilinear object but for float32.
    """
    depth, height, width = values.shape
    inside = np.clip(indices, 0.0, np.array([[width], [height], [depth]]) - 1.001).astype(np.float32)
    floor = inside.astype(np.int32)
    x, y, z = inside - floor
    first = (floor[2] * height + floor[1]) * width + floor[0]
    flat = values.reshape(-1)

    def between(near: NDArray[np.float32], far: NDArray[np.float32], share: NDArray[np.float32]) -> Any:
        far -= near
        far *= share
        far += near
        return far

    def line(step: int) -> Any:
        return between(flat.take(first + step), flat.take(first + (step + 1)), x)

    def plane(step: int) -> Any:
        return between(line(step), line(step + width), y)

    whole: NDArray[np.float32] = between(plane(0), plane(height * width), z)
    return whole


def template() -> tuple[NDArray[np.float32], Floats]:
    """The T1-weighted template at 1 mm, scaled to 1 at most, and where its first voxel lies.

    Returns
    -------
    intensity : ndarray, shape (197, 233, 189), float32
    corner : ndarray, shape (3,)
        Head coordinates of voxel (0, 0, 0), mm.
    """
    import nibabel as nib

    package = find_spec("nilearn")
    path = Path(package.origin).parent / _BUNDLED if package and package.origin else Path(_BUNDLED)
    if path.is_file():
        # Straight from the file: importing nilearn.datasets for it takes longer than all the rest.
        image = nib.Nifti1Image.from_filename(path)
    else:
        from nilearn.datasets import load_mni152_template

        image = load_mni152_template(resolution=1)
    intensity = np.asarray(image.dataobj, dtype=np.float32)
    return intensity / intensity.max(), np.array(image.affine[:3, 3], dtype=float)


@lru_cache(maxsize=6)
def make_head(blur: float, *, capsule: bool = False, echo_time: float = REFERENCE_ECHO) -> Head:
    """The template in EPI contrast; made once for a blur and an echo time, and read-only.

    What is lost beside the air is lost because the signal decays faster there, so that earlier echoes
    lose less of it.

    Parameters
    ----------
    blur
        Full width at half maximum of the point spread, mm.
    capsule
        Whether an oil capsule is taped beside the left of the head; it does not decay.
    echo_time
        Seconds from excitation to the echo.
    """
    intensity, corner = template()

    # Only the brain, with room for the capsule: most of the template is air.
    used = intensity > _TEMPLATE[1]
    bounds = [np.flatnonzero(used.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))]
    intensity = intensity[tuple(slice(first, last + 1) for first, last in bounds)]
    sigma = blur / np.sqrt(8.0 * np.log(2.0))
    step = max(1, int(sigma / 2.5))  # what is blurred so much varies no faster
    left = 22 if capsule else 0
    intensity = np.pad(
        intensity,
        [
            (before, -(size + before) % step)
            for size, before in zip(intensity.shape, (left, 0, 0), strict=True)
        ],
    )
    origin = corner + np.array([first for first, _ in bounds]) - np.array([left, 0, 0])
    intensity = np.ascontiguousarray(intensity.T)

    z, y, x = axes = [
        start + np.arange(size) for start, size in zip(origin[::-1], intensity.shape, strict=True)
    ]
    keep = np.ones(intensity.shape, dtype=np.float32)
    for centre, radius, loss in _AIR:
        fall = [
            np.exp(-0.5 * ((axis - at) / radius) ** 2).astype(np.float32)
            for axis, at in zip(axes, centre[::-1], strict=True)
        ]
        keep *= 1.0 - np.float32(loss) * (fall[0][:, None, None] * fall[1][:, None] * fall[2])
    if echo_time != REFERENCE_ECHO:
        # M exp(-TE R2*), known at the reference; of R2*, the air's share is what it takes away there.
        decay = np.interp(intensity, _TEMPLATE, _DECAY)
        keep **= np.float32(echo_time / REFERENCE_ECHO)
        keep *= np.exp((REFERENCE_ECHO - echo_time) * decay).astype(np.float32)
    signal = np.interp(intensity, _TEMPLATE, _EPI).astype(np.float32) * keep
    excess = np.interp(intensity, _TEMPLATE, _UNSATURATED).astype(np.float32) * keep
    if capsule:
        across = (
            (x - CAPSULE[0]) ** 2 + ((y - CAPSULE[1]) ** 2)[:, None] + ((z - CAPSULE[2]) ** 2)[:, None, None]
        )
        signal[across <= 25.0] = 1500.0
    margin = -(-(int(np.ceil(1.5 * blur)) + 2) // step)
    first = origin + (step - 1) / 2.0 - margin * step
    return Head(
        _blur(signal, sigma, step, margin),
        _blur(excess, sigma, step, margin),
        (float(first[0]), float(first[1]), float(first[2])),
        step,
    )


ORIENTATIONS = {
    "axial": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "sagittal": ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
    "coronal": ((-1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "oblique": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
"""Where i, j and k run to (right, front, top) when slices lie so; ``oblique`` is axial, and then tilted.

As in volumes that dcm2niix makes of images with their first row at the top or the front of the head: the
determinant is negative.
"""


def scanner_affine(shape: tuple[int, int, int], voxel: float, orientation: str = "oblique") -> Floats:
    """4x4 of a grid whose middle lies at `CENTRE`; voxel indices to scanner coordinates.

    Parameters
    ----------
    shape
        Voxels along i, j, k.
    voxel
        Size of a voxel, mm.
    orientation
        One of `ORIENTATIONS`.

    Returns
    -------
    ndarray, shape (4, 4)
        Its values are float32, as a NIfTI header holds them.
    """
    from rtflow.sources.simulation.motion import rotation

    affine = np.eye(4)
    affine[:3, :3] = voxel * np.array(ORIENTATIONS[orientation], dtype=float).T
    if orientation == "oblique":
        affine[:3, :3] = rotation(np.radians(_TILT)) @ affine[:3, :3]
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return affine.astype(np.float32).astype(np.float64)


def receive_field(offsets: Floats) -> NDArray[np.float32]:
    """Sensitivity of the coil at offsets (3, n) in mm from the middle of the grid; about 1.

    It stays with the scanner when the head moves: stronger near the coil, and not the same on both sides.
    This is what an image normalised by a prescan still has of it: a tenth or so across the brain.
    """
    x, y, z = offsets / 80.0
    field: Floats = 0.96 + 0.06 * (x * x + y * y + z * z) + 0.02 * x - 0.03 * y + 0.015 * z
    sensitivity: NDArray[np.float32] = np.clip(field, 0.5, 1.6).astype(np.float32)
    return sensitivity


def _blur(values: NDArray[np.float32], sigma: float, step: int, margin: int) -> NDArray[np.float32]:
    """Blur by ``sigma`` mm: from a grid of 1 mm to one of ``step`` mm with ``margin`` more points around."""
    from scipy import ndimage

    if step > 1:
        depth, height, width = (size // step for size in values.shape)
        values = values.reshape(depth, step, height, step, width, step).mean(axis=(1, 3, 5))
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(
        np.pad(values, margin), sigma / step, mode="constant", truncate=3.0
    )
    for axis in range(3):
        border = np.moveaxis(blurred, axis, 0)
        border[0] = border[-1] = 0.0
    blurred.flags.writeable = False
    return blurred
