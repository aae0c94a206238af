import gzip

import nibabel as nib
import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.masked import Features, Mask
from rtflow.bids.picture import picture, pictures

SHAPE = (5, 7, 4)
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, -0.15) @ np.array([[0, 0, 3.5], [-2.0, 0, 0], [0, -2.5, 0]]),
    (40, 50, -30),
)


def volume(data, affine=OBLIQUE, **more) -> BidsIncremental:
    return BidsIncremental(np.asarray(data), affine, volume=3, **more)


def voxels(drawn, window=None):
    shown = drawn.picture(window or drawn.window(None))
    return np.frombuffer(shown.voxels, np.uint8).reshape(shown.shape, order="F"), shown


@pytest.mark.parametrize("affine", [OBLIQUE, np.eye(4), np.diag([-2.0, -2, 3, 1])])
def test_a_picture_lies_as_nibabel_turns_the_image(affine):
    data = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.int16)
    drawn = picture(volume(data, affine))
    shown, told = voxels(drawn, (0.0, 255.0))
    reference = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    assert shown.shape == reference.shape == drawn.shape
    np.testing.assert_array_equal(shown, np.asarray(reference.dataobj))
    np.testing.assert_allclose(told.affine, reference.affine, atol=1e-5)
    assert nib.aff2axcodes(np.array(told.affine)) == ("R", "A", "S")


def test_the_window_of_a_volume_is_robust_and_stays():
    data = np.linspace(0, 1000, 1000).reshape(10, 10, 10)
    data.flat[-1] = 1e6
    drawn = picture(volume(data))
    low, high = drawn.window(None)
    assert low == pytest.approx(10, abs=2)
    assert 980 < high < 1001
    assert picture(volume(data * 7)).window((low, high)) == (low, high)
    shown, _ = voxels(drawn)
    assert (shown.min(), shown.max()) == (0, 255)


def test_slope_and_intercept_count_in_the_window_and_not_twice():
    data = np.arange(140, dtype=np.int16).reshape(SHAPE)
    drawn = picture(volume(data, slope=2.0, intercept=-10.0))
    assert drawn.window(None) == pytest.approx(tuple(np.percentile(data * 2.0 - 10, (1, 99.5))), rel=1e-6)


def test_what_is_no_number_is_drawn_and_so_is_a_flat_image():
    data = np.full(SHAPE, 3.0)
    assert voxels(picture(volume(data)))[0].max() == 0
    data[0, 0, 0], data[0, 0, 1] = np.nan, np.inf
    shown, _ = voxels(picture(volume(data)))
    assert sorted(np.unique(shown).tolist()) == [0, 255]
    voxels(picture(volume(np.full(SHAPE, np.nan))))


def test_a_mask_is_0_and_255():
    data = np.zeros(SHAPE, bool)
    data[1:3, 2:4] = True
    shown, told = voxels(picture(Mask(data, Grid.of(SHAPE, np.eye(4)))))
    np.testing.assert_array_equal(shown, data * np.uint8(255))
    assert told.window == (0.0, 1.0)


def test_a_map_has_zero_at_128_and_its_magnitudes_on_both_sides():
    mask = Mask(np.zeros(SHAPE, bool), Grid.of(SHAPE, np.eye(4)))
    mask.data[2, :, 1] = True
    values = np.array([-4.0, -2, 0, 1, 2, 4, np.nan], np.float32)
    drawn = picture(Features(values, mask))
    shown, told = voxels(drawn)
    assert told.window == (-5.0, 5.0)
    assert shown[2, :, 1].tolist() == [26, 77, 128, 153, 179, 230, 128]
    assert set(np.delete(shown, 2, axis=0).ravel().tolist()) == {128}
    at_the_ends, _ = voxels(drawn, (-4.0, 4.0))
    assert at_the_ends[2, [0, 5], 1].tolist() == [0, 255]


def test_the_window_of_a_map_grows_and_never_shrinks():
    mask = Mask(np.ones(SHAPE, bool), Grid.of(SHAPE, np.eye(4)))
    weak, strong, none = (picture(Features(np.full(140, v, np.float32), mask)) for v in (0.3, -8.0, 0.0))
    assert weak.window(None) == (-0.5, 0.5)
    assert strong.window((-0.5, 0.5)) == (-10.0, 10.0)
    assert weak.window((-10.0, 10.0)) == (-10.0, 10.0)
    assert none.window(None) == (-1.0, 1.0)


def test_the_file_is_the_image_itself():
    data = np.arange(140, dtype=np.int16).reshape(SHAPE)
    found = nib.Nifti1Image.from_bytes(
        gzip.decompress(picture(volume(data, slope=2.0, intercept=1.0)).nifti())
    )
    np.testing.assert_array_equal(found.get_fdata(), data * 2.0 + 1)
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-4)
    mask = Mask(data > 70, Grid.of(SHAPE, OBLIQUE))
    features = Features(np.arange(69, dtype=np.float32), mask)
    found = nib.Nifti1Image.from_bytes(gzip.decompress(picture(features).nifti()))
    np.testing.assert_array_equal(found.get_fdata()[mask.data], np.arange(69))


def test_echoes_are_several_and_what_is_no_image_is_none():
    echoes = tuple(volume(np.ones(SHAPE)) for _ in range(3))
    assert [name for name, _ in pictures("convert.echoes", echoes)] == [
        f"convert.echoes.{n}" for n in (1, 2, 3)
    ]
    for value in (0.5, "x", None, np.ones(SHAPE), [1.0, 2.0], volume(np.ones(SHAPE, complex))):
        assert list(pictures("a.b", value)) == []
