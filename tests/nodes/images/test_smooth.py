"""Smoothing against nilearn's, and what a Gaussian must do."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nilearn.image import smooth_img
from scipy.ndimage import gaussian_filter
from traits.api import TraitError

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Mask
from rtflow.errors import VolumeError
from rtflow.nodes.images.smooth import Smooth, smooth
from rtflow.nodes.masks.mask import ApplyMask

AFFINE = np.array([[0, -2.0, 0, 40], [2.5, 0, 0, -30], [0, 0, 4.0, 10], [0, 0, 0, 1.0]])


@pytest.fixture
def volume():
    data = np.random.default_rng(0).integers(0, 2000, (24, 20, 14)).astype(np.int16)
    return BidsIncremental(data, AFFINE, volume=3, metadata={"RepetitionTime": 2.0}, reference="abc")


@pytest.mark.parametrize("fwhm", [2.0, 5.0, 8.0])
def test_it_is_nilearns_up_to_the_border(volume, fwhm):
    theirs = smooth_img(nib.Nifti1Image(volume.data.astype(np.float64), AFFINE), fwhm).get_fdata()
    np.testing.assert_allclose(smooth(volume.data, volume.voxel_size, fwhm), theirs, rtol=1e-5, atol=1e-2)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    sigma=st.tuples(*[st.floats(0.05, 4.0)] * 3),
    order=st.sampled_from("CF"),
)
def test_it_is_scipys_whatever_the_shape_and_the_width(shape, sigma, order):
    """Kernels wider than the volume, volumes of one slice, any order in memory."""
    data = np.random.default_rng(sum(shape)).uniform(0, 2000, shape).astype(np.float32)
    data[data < 500] = 0.0
    theirs = gaussian_filter(data.astype(np.float64), sigma, mode="reflect", truncate=4.0)
    fwhm = 2 * np.sqrt(2 * np.log(2))
    ours = smooth(np.asarray(data, order=order), [1 / one for one in sigma], fwhm)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-2)
    assert ours.flags.c_contiguous
    kept = smooth(data, [1 / one for one in sigma], fwhm, keep_zeros=True)
    np.testing.assert_array_equal(kept, np.where(data == 0, 0, ours))


def test_width_is_in_millimetres_along_every_axis():
    data = np.zeros((41, 51, 31), np.float32)
    data[20, 25, 15] = 1.0
    size = (2.5, 2.0, 4.0)
    smoothed = smooth(data, size, 10.0)
    assert smoothed.sum() == pytest.approx(1.0, abs=1e-4)
    for axis in range(3):
        profile = smoothed.sum(axis=tuple(a for a in range(3) if a != axis))
        where = (np.arange(len(profile)) - [20, 25, 15][axis]) * size[axis]
        assert np.sqrt((profile * where**2).sum()) == pytest.approx(10 / 2.3548, rel=0.01)


def test_no_width_only_makes_floats(volume, call):
    node = Smooth(fwhm=0.0)
    smoothed = call(node, 3, incremental=volume)["incremental"]
    np.testing.assert_array_equal(smoothed.data, volume.data)
    assert smoothed.data.dtype == np.float32


def test_the_next_incremental_keeps_all_but_the_voxels(volume, call):
    before = volume.data.copy()
    smoothed = call(Smooth(fwhm=6), 3, incremental=volume)["incremental"]
    assert smoothed.grid == volume.grid
    assert (smoothed.volume, smoothed.tr, smoothed.reference) == (3, 2.0, "abc")
    np.testing.assert_array_equal(volume.data, before)
    assert smoothed.data.std() < volume.data.std()


def test_what_was_not_seen_does_not_pass_for_signal(volume, call):
    data = volume.data.astype(np.float32) + 1.0
    data[:, :, :3] = 0.0
    # After motion correction 0 is outside the field of view; before, it is a value like others.
    aligned = call(Smooth(fwhm=8), 3, incremental=volume.with_data(data))["incremental"]
    raw = call(Smooth(fwhm=8), 3, incremental=volume.with_data(data, reference=""))["incremental"]
    assert (aligned.data[:, :, :3] == 0).all()
    assert (raw.data > 0).all()
    np.testing.assert_array_equal(aligned.data[:, :, 3:], raw.data[:, :, 3:])
    mask = Mask(np.ones(data.shape, bool), aligned.grid)
    node = ApplyMask()
    call(node, 3, incremental=aligned, mask=mask)
    assert node.take_doubts() == ["mask: only 78.6% of the mask has signal"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_would_spread_is_refused(volume, call, value):
    data = volume.data.astype(np.float32)
    data[3, 4, 5] = value
    with pytest.raises(VolumeError, match="volume 3 has voxels that are not finite"):
        call(Smooth(), 3, incremental=volume.with_data(data))


def test_a_negative_width_is_refused():
    with pytest.raises(TraitError):
        Smooth(fwhm=-1.0)
