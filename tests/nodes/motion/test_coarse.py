"""Registration from afar: it comes from 20 mm and 15 degrees, and knows when it has not."""

import numpy as np
import pytest
import SimpleITK as sitk
from earlier import T1W, moved, t1w
from phantom import CENTRE, PHANTOM, oblique, rigid
from scipy import ndimage

from rtflow.errors import VolumeError
from rtflow.nodes.motion.alignment import ByAnts, align
from rtflow.nodes.motion.ants import installed
from rtflow.nodes.motion.coarse import distrust, register
from rtflow.nodes.motion.comparison import coarser
from rtflow.nodes.motion.itk import itk_image

# Matrix, voxels and angles of today; each another field of view than that of the earlier day.
GRIDS = {
    "oblique": oblique((56, 56, 32), (3.5, 3.5, 3.5)),
    "left-handed": oblique((72, 72, 26), (2.8, 2.8, 5.0), (-8.0, 10.0, 4.0), True),
    "slab": oblique((80, 80, 22), (2.6, 2.6, 4.0), (20.0, -5.0, 3.0)),
}
EARLIER = oblique((64, 64, 30), (3.2, 3.2, 4.2), (4.0, -3.0, 0.0))


def from_afar(seed):
    """20 mm and 15 degrees, whichever way."""
    way = np.random.default_rng(seed).normal(size=(2, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return rigid(20.0 * way[0], 15.0 * way[1])


def worst(move, found, there=T1W):
    """How far any point of the brain is misplaced in an image where the head lies ``there``, mm."""
    apart = moved(found, moved(move, PHANTOM.points)) - moved(there, PHANTOM.points)
    return float(np.linalg.norm(apart, axis=1).max())


@pytest.mark.parametrize(("grid", "seed"), list(zip(GRIDS, (1, 2, 3), strict=True)))
def test_another_days_image_is_found_from_afar(grid, seed) -> None:
    shape, affine = GRIDS[grid]
    move = from_afar(seed)
    today = PHANTOM.scan(shape, affine, move, seed=seed)
    earlier = PHANTOM.scan(*EARLIER, seed=seed + 10, gain=1.4)
    found = align(today, affine, earlier, EARLIER[1], "bold")
    assert found.says == "finely"
    assert worst(move, found.transform, np.eye(4)) < 0.3
    expected = np.linalg.norm(moved(move, CENTRE) - CENTRE)
    assert found.shift == pytest.approx(expected, abs=3.0)  # about the middle of the brain in view
    assert found.turn == pytest.approx(15.0, abs=1.0)


@pytest.mark.parametrize("grid", ["left-handed", "slab"])
def test_a_t1w_image_is_found_from_afar_to_half_a_millimetre(grid) -> None:
    shape, affine = GRIDS[grid]
    move = from_afar(3)
    image, own = t1w()
    found = register(PHANTOM.scan(shape, affine, move), affine, image, own)
    assert distrust(found) == ""
    assert worst(move, found.transform) < 0.5


@pytest.mark.parametrize(("grid", "scalp"), [("left-handed", False), ("oblique", True)])
def test_ants_comes_from_afar_to_a_fifth_of_a_millimetre(ants, tmp_path, grid, scalp) -> None:
    shape, affine = GRIDS[grid]
    move = from_afar(3)
    image, own = t1w()
    by_ants = ByAnts(installed(), tmp_path, instead=False)
    image = with_scalp(image) if scalp else image
    found = align(PHANTOM.scan(shape, affine, move), affine, image, own, "T1w", by_ants=by_ants)
    assert found.by == str(by_ants.ants)
    assert found.says == f"by {found.by}"
    assert worst(move, found.transform) < 0.2


def with_scalp(image):
    """The head of the template is bare: a dark skull of 6 mm about it, and a bright scalp of 6 mm."""
    voxels = ndimage.distance_transform_edt(image <= 0.1 * image.max(), sampling=2.0)
    return np.where((voxels > 6.0) & (voxels <= 12.0), 1.2 * image.max(), image).astype(np.float32)


def test_a_scalp_does_not_draw_the_brain_to_it() -> None:
    shape, affine = GRIDS["oblique"]
    move = from_afar(4)
    image, own = t1w()
    found = register(PHANTOM.scan(shape, affine, move), affine, with_scalp(image), own)
    assert distrust(found) == ""
    assert worst(move, found.transform) < 1.0


def test_the_same_images_give_the_same_transform_bit_for_bit() -> None:
    shape, affine = oblique((40, 40, 24), (5.0, 5.0, 5.0))
    today = PHANTOM.scan(shape, affine, from_afar(5))
    once, again = (register(today, affine, *coarser(*t1w(), 4.0)) for _ in range(2))
    np.testing.assert_array_equal(once.transform, again.transform)
    assert once.information == again.information


@pytest.mark.parametrize("what", ["noise", "ball", "elsewhere"])
def test_what_is_no_image_of_this_head_is_refused(what) -> None:
    shape, affine = oblique((40, 40, 24), (5.0, 5.0, 5.0))
    today = PHANTOM.scan(shape, affine)
    image, own = coarser(*t1w(), 4.0)
    noise = np.random.default_rng(0).normal(100.0, 5.0, image.shape).astype(np.float32)
    if what == "noise":
        image = noise
    elif what == "ball":
        far = np.linalg.norm(np.indices(image.shape).T - np.array(image.shape) / 2, axis=-1).T
        image = np.where(far < 19.0, 100.0, 0.0).astype(np.float32) + noise / 20
    else:  # a corner of the head: the rest was not scanned
        image = image[:15, :20, :20]
    with pytest.raises(VolumeError, match="cannot be registered with the T1w image"):
        align(today, affine, image, own, "T1w")


@pytest.mark.parametrize("left_handed", [False, True])
def test_itk_sees_voxels_where_they_are(left_handed) -> None:
    shape, affine = oblique((10, 12, 8), (3.0, 2.0, 4.0), left_handed=left_handed)
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    image = itk_image(data, affine)
    lps = np.array([-1.0, -1.0, 1.0])
    for voxel in ((0, 0, 0), (3, 5, 2), (9, 11, 7)):
        there = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(there, lps * moved(affine, np.array(voxel)), atol=1e-6)
        assert image[voxel] == data[voxel]
    assert isinstance(image, sitk.Image)


def test_coarser_images_stay_where_they_are() -> None:
    shape, affine = oblique((40, 48, 20), (2.0, 2.5, 5.0), left_handed=True)
    ramp = moved(affine, np.indices(shape).reshape(3, -1).T) @ np.array([1.0, -2.0, 0.5])
    made, own = coarser(ramp.reshape(shape), affine, 5.0)
    assert made.shape == (16, 24, 20)
    expected = moved(own, np.indices(made.shape).reshape(3, -1).T) @ np.array([1.0, -2.0, 0.5])
    inner = (slice(2, -2), slice(2, -2), slice(1, -1))
    np.testing.assert_allclose(made[inner], expected.reshape(made.shape)[inner], atol=0.05)
