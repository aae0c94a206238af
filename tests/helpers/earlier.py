"""An earlier session of the phantom, as fMRIPrep leaves it, made by ITK; where everything lies is known.

The head is `phantom.PHANTOM`, at rest where the template is. In the T1w image it lies `T1W` away from there,
in the boldref `BOLDREF`; the template ("MNI") lies beyond a smooth warp of a few millimetres.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nilearn.datasets import load_mni152_template
from numpy.typing import NDArray
from phantom import PHANTOM, oblique, rigid

Floats = NDArray[np.float64]

T1W = rigid((4.0, -7.0, 11.0), (6.0, -4.0, 3.0))
BOLDREF = rigid((-3.0, 5.0, -6.0), (-5.0, 3.0, 2.0))
SPACE = "MNI152NLin2009cAsym"

#: What stands between the T1w image and the template beside the warp: heads differ in size.
_SCALE = np.diag([1.06, 1.04, 1.08, 1.0])

_FLIP = np.diag([-1.0, -1.0, 1.0])


def moved(transform: Floats, points: Floats) -> Floats:
    """Points, shape (n, 3) or (3,), under a 4x4."""
    return points @ transform[:3, :3].T + transform[:3, 3]


@cache
def t1w() -> tuple[NDArray[np.float32], Floats]:
    """The T1w image, on voxels of 2 mm that lie obliquely, and its affine."""
    image = load_mni152_template(resolution=2)
    return np.array(image.dataobj, dtype=np.float32), T1W @ np.asarray(image.affine)


def itk_affine(ras: Floats) -> sitk.AffineTransform:
    """A 4x4 in RAS+ mm as a transform of ITK."""
    made = sitk.AffineTransform(3)
    made.SetMatrix((_FLIP @ ras[:3, :3] @ _FLIP).ravel().tolist())
    made.SetTranslation((_FLIP @ ras[:3, 3]).tolist())
    return made


def warp() -> sitk.DisplacementFieldTransform:
    """Displacements of up to 4 mm, of long waves, on voxels of 6 mm that fill a box of 240 mm."""
    size = 40
    places = (np.arange(size) - size / 2) * 6.0
    x, y, z = np.meshgrid(places, places, places, indexing="ij")
    waves = [4.0 * np.sin((y + 10) / 30), 3.0 * np.cos((z - 5) / 35), 3.5 * np.sin((x + z) / 40)]
    field = sitk.GetImageFromArray(np.stack(waves, axis=-1).transpose(2, 1, 0, 3), isVector=True)
    field.SetSpacing((6.0, 6.0, 6.0))
    field.SetOrigin((-size / 2 * 6.0,) * 3)
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def t1w_to_template() -> sitk.CompositeTransform:
    """What takes positions in the T1w image to positions in the template: first affine, then the warp."""
    return sitk.CompositeTransform([warp(), itk_affine(_SCALE @ np.linalg.inv(T1W))])


def through(transform: sitk.Transform, points: Floats) -> Floats:
    """Points in RAS+ mm, shape (n, 3), through a transform of ITK, by ITK."""
    return np.array([transform.TransformPoint((_FLIP @ point).tolist()) for point in points]) @ _FLIP


def ball(
    shape: Sequence[int], affine: Floats, centre: Floats, radii: Sequence[float] = (13.0, 16.0, 11.0)
) -> NDArray[np.uint8]:
    """An ellipsoid along the world's axes on a grid."""
    points = moved(affine, np.indices(tuple(shape)).reshape(3, -1).T.astype(float))
    inside: NDArray[np.uint8] = (
        (np.linalg.norm((points - centre) / np.array(radii), axis=1) <= 1.0).reshape(shape).astype(np.uint8)
    )
    return inside


def save(path: Path, data: NDArray[np.generic], affine: Floats) -> Path:
    """Write an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def write_fmriprep(root: Path, *, boldref: bool = True) -> Path:
    """The derivatives of sub-01, ses-1: T1w image, transforms and the boldref of task-nf; their folder."""
    folder = root / "fmriprep" / "sub-01" / "ses-1"
    data, affine = t1w()
    save(folder / "anat" / "sub-01_ses-1_desc-preproc_T1w.nii.gz", data, affine)
    brain = (data > 0.1 * data.max()).astype(np.uint8)
    save(folder / "anat" / "sub-01_ses-1_desc-brain_mask.nii.gz", brain, affine)
    name = f"sub-01_ses-1_from-{SPACE}_to-T1w_mode-image_xfm.h5"
    sitk.WriteTransform(t1w_to_template(), str(folder / "anat" / name))
    if boldref:
        shape, grid = oblique((64, 64, 34), (3.2, 3.2, 3.6), (3.0, -2.0, 1.0))
        volume = PHANTOM.scan(shape, grid, BOLDREF, seed=77, gain=1.3)
        save(folder / "func" / "sub-01_ses-1_task-nf_desc-coreg_boldref.nii.gz", volume, grid)
        # For images from boldref to T1w: positions in T1w to those in boldref.
        coregistration = itk_affine(BOLDREF @ np.linalg.inv(T1W))
        name = "sub-01_ses-1_task-nf_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
        sitk.WriteTransform(coregistration, str(folder / "func" / name))
    return root / "fmriprep"
