"""The transforms of a run as files that other programs read, by way of nitransforms.

A transform is a 4x4 in RAS+ mm, reference to moved volume (`rigid`), which is nitransforms' own
convention, too. Text formats keep six to eight digits: 1e-4 mm at the head's surface.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import UsageError

if TYPE_CHECKING:
    import nibabel as nib

#: Format to what its file names end in; ``fsl`` is one file a volume: ``.mat.000``, ``.mat.001``.
FORMATS = {"itk": ".txt", "fsl": ".mat", "afni": ".aff12.1D", "x5": ".x5"}


def write_transforms(
    path: Path | str, transforms: NDArray[Any], reference: Grid, moving: Grid, fmt: str
) -> list[Path]:
    """Write the transforms of a run.

    Parameters
    ----------
    path
        Without the ending of the format (`FORMATS`).
    transforms
        Shape (volumes, 4, 4), RAS+ mm, reference to moved volume.
    reference, moving
        Grids of the reference and of the volumes; FSL's and AFNI's numbers depend on them.
    fmt
        A key of `FORMATS`.

    Returns
    -------
    The files.

    Raises
    ------
    UsageError
        If there is no such format.
    """
    from nitransforms.linear import LinearTransformsMapping

    target = _target(path, fmt)
    mapping = LinearTransformsMapping(np.asarray(transforms, dtype=float), reference=_image(reference))
    if fmt == "x5":
        mapping.to_filename(str(target), fmt="X5")
    else:
        mapping.to_filename(str(target), moving=_image(moving), fmt=fmt)
    if fmt != "fsl":
        return [target]
    return sorted(target.parent.glob(f"{target.name}.[0-9]*"))


def read_transforms(path: Path | str, reference: Grid, moving: Grid, fmt: str) -> NDArray[np.float64]:
    """Read what `write_transforms` wrote, or another program; the same parameters.

    Returns
    -------
    Shape (volumes, 4, 4), RAS+ mm, reference to moved volume.
    """
    from nitransforms.linear import LinearTransformsMapping

    mapping = LinearTransformsMapping.from_filename(
        str(_target(path, fmt)),
        fmt="X5" if fmt == "x5" else fmt,
        reference=_image(reference),
        moving=_image(moving),
    )
    matrices = np.asarray(mapping.matrix, dtype=np.float64)
    return matrices.reshape(-1, 4, 4)


def _target(path: Path | str, fmt: str) -> Path:
    if fmt not in FORMATS:
        raise UsageError(f"no format {fmt!r} of transforms; take one of {', '.join(FORMATS)}")
    return Path(f"{path}{FORMATS[fmt]}")


def _image(grid: Grid) -> nib.Nifti1Image:
    import nibabel as nib

    return nib.Nifti1Image(np.zeros(grid.shape, dtype=np.uint8), grid.matrix())
