"""Voxels of a map, selected and kept, against the long way round."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rtflow.bids.grid import Grid
from rtflow.derivatives import _masks
from rtflow.errors import RunError, SessionError
from rtflow.nodes.masks import mask as mask_node
from rtflow.nodes.signals.select import SelectVoxels
from rtflow.nodes.signals.selection import select
from rtflow.session import Session

SHAPE = (12, 10, 8)
GRID = Grid.of(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0]), "aaaa")


def smooth_map(seed):
    return 20 * ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.0)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    best=st.integers(0, 60),
    threshold=st.sampled_from([0.0, 1.0, 3.0]),
    cluster=st.integers(1, 12),
)
def test_it_selects_what_it_is_said_to(seed, best, threshold, cluster):
    values = smooth_map(seed)
    values[0] = 0.0
    values[1, :, 0] = np.nan
    within = np.random.default_rng(seed).random(SHAPE) < 0.8
    found = select(values, best=best, threshold=threshold, cluster=cluster, within=within)
    allowed = {
        tuple(at)
        for at in np.ndindex(SHAPE)
        if within[at] and np.isfinite(values[at]) and values[at] > 0 and values[at] >= threshold
    }
    ranked = sorted(allowed, key=lambda at: -values[at])
    taken = set(ranked[:best] if best else ranked)
    assert found.above == len(taken)
    kept = set()
    pieces = 0
    while taken:  # pieces by their faces, by flooding
        piece, edge = set(), [taken.pop()]
        while edge:
            at = edge.pop()
            piece.add(at)
            for axis in range(3):
                for step in (-1, 1):
                    near = tuple(n + step * (axis == k) for k, n in enumerate(at))
                    if near in taken:
                        taken.discard(near)
                        edge.append(near)
        if len(piece) >= cluster:
            kept |= piece
            pieces += 1
    assert {tuple(map(int, at)) for at in np.argwhere(found.data)} == kept
    assert (found.voxels, found.clusters) == (len(kept), pieces)
    if kept:
        assert (found.lowest, found.highest) == (min(values[a] for a in kept), max(values[a] for a in kept))


def test_of_equal_values_the_first_are_taken():
    values = np.random.default_rng(0).integers(1, 4, SHAPE).astype(float)
    flat = values.ravel()
    ranked = sorted(range(flat.size), key=lambda at: (-flat[at], at))
    found = select(values, best=450)
    assert np.flatnonzero(found.data.ravel()).tolist() == sorted(ranked[:450])


def started(context, **inputs):
    node = SelectVoxels(**{"maps": "maps", "within": "anatomy", "save": "localizer", **inputs})
    node.start_run(context)
    return node


def give(context, values, grid=GRID, within=None):
    """What GLM and Mask leave."""
    t = values.astype(np.float32)
    where = np.ones(SHAPE, bool) if within is None else within
    Session(context).save("anatomy", {"data": where}, GRID)
    Session(context).save("maps", {"effect": t, "t": t}, grid, contrast="scene", noise_model="ols")


def test_the_next_run_takes_the_region_and_it_is_among_the_derivatives(make_context, call, leave):
    context = make_context("a")
    values = smooth_map(1)
    give(context, values)
    found = call(started(context, best=40, threshold=0.0, cluster=3), 0)
    wanted = select(values.astype(np.float32), best=40, cluster=3)
    assert found["voxels"] == wanted.voxels
    assert (found["clusters"], found["size"]) == (wanted.clusters, pytest.approx(wanted.voxels * 0.027))
    leave("a")
    item = Session(make_context("b")).load("localizer", GRID)
    np.testing.assert_array_equal(item.arrays["data"], wanted.data)
    assert item.facts["of"]["contrast"] == "scene"
    written = {label: mask for label, mask, _ in _masks(context.run_dir)}
    np.testing.assert_array_equal(written["localizer"], wanted.data)
    assert set(written) == {"localizer", "anatomy"}

    class Reference:
        grid = GRID

    loaded = mask_node.Mask(load="localizer")
    loaded.start_run(make_context("c"))
    np.testing.assert_array_equal(call(loaded, 1, reference=Reference())["mask"].data, wanted.data)


def test_only_the_anatomical_mask_is_looked_at(make_context, call):
    context = make_context()
    half = np.indices(SHAPE)[0] < 6
    give(context, np.full(SHAPE, 5.0), within=half)
    assert call(started(context), 0)["voxels"] == np.count_nonzero(half)
    assert call(started(context, within=""), 0)["voxels"] == half.size


def test_too_few_voxels_are_a_failure_and_nothing_is_kept(make_context, call):
    context = make_context()
    values = np.full(SHAPE, 2.5)
    values[3, 3, 3:7] = 4.0
    give(context, values)
    with pytest.raises(
        RunError, match=r"4 voxels selected .* expected 10 at least \(the largest t there is 4\)"
    ):
        call(started(context), 0)
    assert not (context.run_dir / "saved" / "localizer.npz").exists()
    with pytest.raises(RunError, match=r"0 voxels selected \(t of 9 or more\)"):
        call(started(context, threshold=9.0, least=1), 0)
    assert call(started(context, least=4), 0)["voxels"] == 4


def test_a_run_without_a_map_says_so(make_context, call):
    with pytest.raises(RunError, match="nothing to select from"):
        call(started(make_context("a")), 0)
    context = make_context("b")
    give(context, np.ones(SHAPE))
    with pytest.raises(RunError, match="left no z in 'maps'"):
        call(started(context, stat="z"), 0)
    with pytest.raises(RunError, match="no data in 'other'"):
        call(started(context, within="other"), 0)


def test_a_map_on_another_grid_is_refused(make_context, call):
    context = make_context()
    give(context, np.ones(SHAPE), Grid.of(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0]), "bbbb"))
    with pytest.raises(SessionError, match="bbbb"):
        call(started(context), 0)


def test_the_mask_among_the_derivatives_is_an_image(make_context, call, tmp_path):
    """By the house's own writer: what it writes of the item is what was selected."""
    from rtflow.bids.derivatives import write_derivatives

    context = make_context()
    give(context, smooth_map(2))
    call(started(context, threshold=1.0), 0)
    masks = {label: (mask, item.grid) for label, mask, item in _masks(context.run_dir)}
    entities = {"subject": "01", "task": "localizer", "run": "1"}
    files = write_derivatives(tmp_path / "out", entities, "run-a", [], masks=masks)
    (image,) = (file for file in files if file.name.endswith("_desc-localizer_mask.nii.gz"))
    np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), masks["localizer"][0])
