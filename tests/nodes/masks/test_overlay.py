"""The picture for the operator: left is left, lines are where they belong."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from earlier import ball
from phantom import PHANTOM, oblique

from rtflow.bids.grid import Grid
from rtflow.errors import OutputError
from rtflow.nodes.images.brain import brain_mask
from rtflow.nodes.masks.overlay import BRAIN_COLOUR, MASK_COLOUR, SLICES, draw, write_png

GRIDS = {
    "right-handed": oblique((44, 44, 30), (4.0, 4.0, 4.5)),
    "left-handed": oblique((52, 52, 24), (3.4, 3.4, 5.0), (10.0, -6.0, 4.0), True),
}


def where(picture, colour):
    return np.argwhere((picture == colour).all(axis=2))


@pytest.mark.parametrize("grid", GRIDS)
def test_left_front_and_top_are_where_the_picture_says(grid) -> None:
    shape, affine = GRIDS[grid]
    data = PHANTOM.scan(shape, affine)
    # On the left, in front, and high.
    mask = ball(shape, affine, np.array([-30.0, 15.0, 30.0]), (9.0, 9.0, 9.0)).astype(bool)
    picture = draw(data, Grid.of(shape, affine), mask, brain_mask(data))
    assert picture.dtype == np.uint8
    red, blue = where(picture, MASK_COLOUR), where(picture, BRAIN_COLOUR)
    assert len(red) > 100
    # Rows of axial, coronal and sagittal slices, each of as many panels: told apart by where the brain ends.
    rows = np.flatnonzero(np.diff(np.unique(blue[:, 0])) > 8)
    starts = [0, *(np.unique(blue[:, 0])[rows + 1] - 4), len(picture)]
    assert len(starts) == 4
    for number, (top, bottom) in enumerate(itertools.pairwise(starts)):
        mine = [p[(p[:, 0] >= top) & (p[:, 0] < bottom)] for p in (red, blue)]
        columns = np.unique(mine[1][:, 1])
        middle = columns[(columns >= 0)]
        breaks = np.flatnonzero(np.diff(middle) > 8)
        assert len(breaks) == SLICES - 1, number
        first = middle[: breaks[0] + 1]
        mark = mine[0][mine[0][:, 1] <= first[-1]]
        centre = np.array([mine[1][:, 0].mean(), (first[0] + first[-1]) / 2])
        up, left = centre - mark.mean(axis=0)
        assert up > 10  # in front in axial slices, high in the others
        assert left > 10  # on the left; in sagittal slices the face is there


def test_the_file_is_what_was_drawn(tmp_path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "overlays" / "left.png"
    write_png(picture, path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), picture)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_png(picture, tmp_path / "file" / "left.png")
