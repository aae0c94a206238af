"""Left stays left: from the scanner's file through conversion, realignment and region to the data set."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
import pytest
from scanning import mosaic_file

from rtflow.dicom.writing import ScanSeries
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulator import SimulatorSource

# From this volume on the left half of the head is a tenth brighter.
BRIGHT = 7


def sides(shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels well to the left and well to the right of the middle of the field of view."""
    whole = np.indices(shape).reshape(3, -1)
    across = (affine[:3, :3] @ whole + affine[:3, 3:])[0].reshape(shape)
    # Around the head's own middle: a participant need not lie at the isocentre.
    middle = (affine @ [*((np.array(shape) - 1) / 2), 1.0])[0]
    return across < middle - 8.0, across > middle + 8.0


def check_sides(play, tmp_path: Path, left: np.ndarray, right: np.ndarray, affine: np.ndarray) -> None:
    """What the region says of both sides, and where the brightness stands in the data set."""
    for name, side in (("left", left), ("right", right)):
        path = tmp_path / f"{name}.nii"
        nib.save(nib.Nifti1Image(side.astype(np.uint8), affine), path)
        ran = play(
            "roi_feedback",
            tmp_path / name,
            *(f"source=folder:{tmp_path / 'dicom'}?idle=0", f"mask={path}", "dummy_volumes=1", "opening=8"),
        )
        assert {result.status for result in ran.results} == {"ok"}
        values = ran.values("region.value")
        late = np.mean([value for volume, value in values.items() if volume >= BRIGHT])
        assert late == pytest.approx(10.0 if name == "left" else 0.0, abs=1.5)
    (bold,) = (tmp_path / "left" / "bids").rglob("*_bold.nii")
    image = nib.load(bold)
    data = np.asarray(image.dataobj, dtype=float)
    stands_left, stands_right = sides(image.shape[:3], image.affine)
    for side, gain in ((stands_left, 1.1), (stands_right, 1.0)):
        course = data[side].mean(axis=0)
        assert course[BRIGHT - 1 :].mean() / course[1 : BRIGHT - 1].mean() == pytest.approx(gain, abs=0.015)


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), ()), ((0, 1, 2), (0,)), ((0, 1, 2), (1, 2)), ((1, 0, 2), ()), ((1, 2, 0), (2,))],
    ids=["as simulated", "rows from the left", "from above", "turned in plane", "sagittal"],
)
def test_a_brighter_left_half_stays_on_the_left(play, tmp_path: Path, axes, flips) -> None:
    simulated = SimulatorSource(
        SimulateSource(
            speed="max", volumes=20, shape=(36, 44, 30), voxel=5.0, motion=0, drift=0, activation=0
        )
    )
    frames = simulated.frames(threading.Event())
    volumes = [frame_to_incrementals(frame, {})[0] for frame, _ in zip(frames, range(20), strict=False)][8:18]
    # The same head on a grid whose axes run otherwise.
    affine = volumes[0].affine[:, [*axes, 3]]
    shape = np.array(volumes[0].data.shape)[list(axes)]
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (shape[axis] - 1)
        affine[:, axis] *= -1
    left, right = sides(tuple(shape), affine)
    series = ScanSeries(affine, tr=2.0)
    (tmp_path / "dicom").mkdir()
    for number, volume in enumerate(volumes, start=1):
        data = np.flip(volume.data.transpose(axes), flips).astype(float)
        if number >= BRIGHT:
            data[left] *= 1.1
        data = np.rint(data).astype(np.int16)
        (tmp_path / "dicom" / f"{number}.dcm").write_bytes(mosaic_file(series, data, number))
    check_sides(play, tmp_path, left, right, affine)


@pytest.mark.realdata
def test_a_brighter_left_half_of_a_real_head_stays_on_the_left(
    play, series: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "dicom").mkdir()
    for path in sorted((series("siemens_E11_mosaic_rtcloud") / "dicom").glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        # Columns run to the patient's left (x in DICOM): the second half of each tile is left.
        assert dataset.ImageOrientationPatient[0] > 0.9
        if dataset.AcquisitionNumber >= BRIGHT:
            tiles = dataset.pixel_array.reshape(dataset.Rows, -1, 64).astype(float)
            tiles[:, :, 32:] *= 1.1
            dataset.PixelData = np.rint(tiles).astype("<u2").tobytes()
        dataset.save_as(tmp_path / "dicom" / path.name)
    # The grid, and so the masks, by another program.
    native = Path(dcm2niix.__file__).with_name("dcm2niix")
    command = [native, "-z", "n", "-b", "n", "-f", "grid", "-o", tmp_path, tmp_path / "dicom"]
    subprocess.run(command, check=True, capture_output=True)
    image = nib.load(next(tmp_path.glob("grid*.nii")))
    check_sides(play, tmp_path, *sides(image.shape[:3], image.affine), image.affine)
