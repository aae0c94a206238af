"""Masks brought on real series: a region of an earlier scan, from where the head lay and from afar."""

import nibabel as nib
import numpy as np
import pytest
from earlier import moved
from phantom import rigid

from rtflow.bids.grid import Grid, identify
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.nodes.masks.bring_job import Loaded
from rtflow.nodes.masks.fmriprep import Way
from rtflow.nodes.masks.job import Job
from rtflow.nodes.motion.alignment import align


def only_volume(path):
    item = read_object(path.read_bytes())
    return to_incrementals([item], item.instance.volume)[0]


@pytest.mark.realdata
def test_a_region_of_an_earlier_scan_comes_to_the_first_volume_of_a_run(series, tmp_path) -> None:
    """The run has a template and regions on it, scanned before: here an image and masks of another time."""
    folder = series("siemens_Trio_mosaic_opennft155")
    template, region = folder / "fanon-0007-00006-000006-01.nii", folder / "ROIs_D1" / "lROI_1.nii"
    today = only_volume(min((folder / "dicom").glob("*.dcm")))
    grid = Grid.of(today.data.shape, today.affine, identify(today.data, today.affine))
    brought = Loaded.of(Job(region, Way(template, "bold"))).bring(today.data, grid, tmp_path / "left.png")
    assert "finely" in brought.says
    assert brought.covered == 1.0
    drawn = np.asarray(nib.load(region).dataobj) != 0
    # The two have voxels of one size.
    assert np.count_nonzero(brought.data) == pytest.approx(np.count_nonzero(drawn), rel=0.1)
    there = moved(brought.transform, moved(today.affine, np.argwhere(brought.data).mean(axis=0)))
    np.testing.assert_allclose(
        there, moved(nib.load(region).affine, np.argwhere(drawn).mean(axis=0)), atol=0.7
    )


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["siemens_Trio_mosaic_opennft155", "siemens_E11_mosaic_rtcloud"])
def test_a_real_head_is_found_from_afar(series, name) -> None:
    """No voxel is resampled: the header of the other image says that the head lies elsewhere."""
    files = sorted((series(name) / "dicom").glob("*.dcm"))
    today, other = only_volume(files[1]), only_volume(files[-2])
    middle = moved(today.affine, np.array(today.data.shape) / 2)
    way = np.random.default_rng(1).normal(size=(2, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    move = rigid(20.0 * way[0], 15.0 * way[1], centre=middle)
    near = align(today.data, today.affine, other.data, other.affine, "bold")
    far = align(today.data, today.affine, other.data, move @ other.affine, "bold")
    assert near.says == far.says == "finely"
    points = middle + np.random.default_rng(0).uniform(-50.0, 50.0, (200, 3))
    apart = moved(far.transform, points) - moved(move @ near.transform, points)
    assert np.linalg.norm(apart, axis=1).max() < 0.1
