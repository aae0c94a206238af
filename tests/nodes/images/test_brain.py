"""Brain masks against the phantom's own and nilearn's, and images that cannot be read."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from nilearn.masking import compute_epi_mask
from phantom import PHANTOM, oblique
from scipy import ndimage

from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.images.brain import brain_mask, otsu_threshold, read_mask, read_volume


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.parametrize("left_handed", [False, True])
def test_the_brain_is_where_the_phantom_has_it(left_handed):
    shape, affine = oblique((64, 64, 30), (3.4, 3.4, 4.0), left_handed=left_handed)
    mask = brain_mask(PHANTOM.scan(shape, affine))
    assert dice(mask, PHANTOM.sample(shape, affine) > 350) > 0.96


def test_gain_and_dtype_make_no_difference():
    volume = PHANTOM.scan(*oblique())
    mask = brain_mask(volume)
    np.testing.assert_array_equal(brain_mask(volume.astype(np.float64) * 8), mask)
    np.testing.assert_array_equal(brain_mask(volume.astype(np.uint16) * 8), mask)
    np.testing.assert_array_equal(brain_mask(np.asfortranarray(volume)), mask)


def test_a_bright_piece_apart_is_left_out():
    volume = PHANTOM.scan(*oblique())
    mask = brain_mask(volume)
    assert not mask[:4, :4].any()
    volume[:4, :4] = 2000
    with_piece = brain_mask(volume)
    assert not with_piece[:4, :4].any()
    assert dice(with_piece, mask) > 0.98


def test_a_dark_hole_within_the_brain_belongs_to_it():
    volume = PHANTOM.scan(*oblique())
    mask = brain_mask(volume)
    deep = ndimage.binary_erosion(mask, iterations=6)
    dark = ndimage.binary_dilation(np.indices(deep.shape).sum(0) == np.argwhere(deep)[0].sum(), iterations=1)
    volume[dark & deep] = 0
    assert np.count_nonzero(dark & deep) > 20
    np.testing.assert_array_equal(brain_mask(volume)[dark & deep], True)


def test_erosion_takes_off_the_surface_but_not_the_border():
    mask = brain_mask(PHANTOM.scan(*oblique()))
    eroded = brain_mask(PHANTOM.scan(*oblique()), erode=1)
    assert not (eroded & ~mask).any()
    assert 0.7 < eroded.sum() / mask.sum() < 0.95
    # The field of view cuts through the brain below; that cut is no surface.
    assert eroded[:, :, 0].any() == mask[:, :, 0].any()


def test_a_higher_threshold_gives_a_smaller_mask():
    volume = PHANTOM.scan(*oblique())
    sizes = [brain_mask(volume, threshold=level).sum() for level in (0.2, 0.5, 0.7)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_otsu_finds_the_least_variance_within():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(100, 20, 3000), rng.normal(700, 120, 1000)])
    candidates = np.linspace(110, 690, 300)
    within = [
        values[values <= c].var() * (values <= c).sum() + values[values > c].var() * (values > c).sum()
        for c in candidates
    ]
    best = candidates[int(np.argmin(within))]
    assert otsu_threshold(values) == pytest.approx(best, abs=15)


@pytest.mark.parametrize(
    "volume", [np.zeros((20, 20, 10)), np.full((20, 20, 10), 300), np.eye(30)[:, :, None] * [1, 0, 0]]
)
def test_a_volume_without_a_brain_is_refused(volume):
    with pytest.raises(VolumeError, match="no brain"):
        brain_mask(volume)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "least"), [("siemens_D13_mosaic_ep2dInt", 0.9), ("ge_MR750_slices_nih4", 0.85)]
)
def test_real_brains_agree_with_nilearn(series, name, least):
    image = nib.load(next((series(name) / "ref").glob("*.nii*")))
    data = np.asanyarray(image.dataobj)[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = compute_epi_mask(nib.Nifti1Image(data.astype(np.float32), image.affine))
    assert dice(brain_mask(data), np.asarray(theirs.dataobj) > 0) > least


def save(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1]) if affine is None else affine), path)
    return path


def test_a_mask_is_what_is_not_zero(tmp_path):
    data = np.zeros((5, 6, 7), np.float32)
    data[1, 2, 3], data[4, 5, 6], data[0, 0, 0] = 1, 0.9999, np.nan
    mask = read_mask(save(tmp_path / "mask.nii.gz", data))
    assert mask.indices.tolist() == [1 * 42 + 2 * 7 + 3, 4 * 42 + 5 * 7 + 6]
    assert mask.grid.shape == (5, 6, 7)
    assert mask.grid.reference == ""


def test_a_series_of_one_volume_is_a_volume(tmp_path):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1)
    voxels, affine = read_volume(save(tmp_path / "one.nii", data), "reference")
    np.testing.assert_array_equal(voxels, data[..., 0])
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(affine, np.diag([3.0, 3, 3, 1]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("no image"), "not an image that can be read"),
        (lambda path: save(path, np.ones((3, 3, 3, 2), np.int16)), r"shape \(3, 3, 3, 2\)"),
        (lambda path: save(path, np.zeros((3, 3, 3), np.int16)), "empty"),
        (lambda path: save(path, np.arange(27, dtype=np.float32).reshape(3, 3, 3)), "from 1 to 26.* a map"),
    ],
)
def test_what_is_no_mask_is_named(tmp_path, make, says):
    path = tmp_path / "mask.nii"
    make(path)
    with pytest.raises(UsageError, match=says) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_a_file_that_ends_too_early_is_named(tmp_path):
    path = save(tmp_path / "mask.nii", np.ones((9, 9, 9), np.int16))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UsageError, match="not an image that can be read"):
        read_mask(path)
