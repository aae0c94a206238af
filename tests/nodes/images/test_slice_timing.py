"""Slice timing against interpolation in time of signals that are known at every moment."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.errors import GridError, VolumeError
from rtflow.nodes.images.slice_timing import SliceTiming, at_start

SHAPE = (4, 5, 6)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
TR = 2.4
INTERLEAVED = [0.0, 1.2, 0.4, 1.6, 0.8, 2.0]
HELD = "slice timing: passed as it was acquired, the volume before it is missing"


def signal(seconds):
    return 500 + 40 * np.sin(0.5 * seconds)


def volume(number, times=INTERLEAVED, axis=2, signal=signal, **changes):
    """A volume each of whose slices shows the signal at the time of its excitation; onset 0 is volume 1."""
    shape = [4, 5, 6]
    shape[axis] = len(times)
    data = np.empty(shape, np.float64)
    np.moveaxis(data, axis, -1)[:] = signal((number - 1) * TR + np.array(times))
    given = {
        "metadata": {"RepetitionTime": TR, "SliceTiming": list(times)},
        "volume": number,
        "data": data.astype(np.float32),
        **changes,
    }
    return BidsIncremental(given.pop("data"), AFFINE, **given)


@pytest.fixture
def node(make_context):
    node = SliceTiming()
    node.start_run(make_context())
    return node


@given(
    times=st.lists(st.floats(0, 0.999), min_size=2, max_size=8).map(lambda at: [TR * t for t in at]),
    axis=st.integers(0, 2),
    order=st.sampled_from("CF"),
)
def test_a_straight_line_in_time_is_found_at_the_start(times, axis, order):
    """Whatever the order of the slices, however many at once: what grows evenly has one value."""
    before, after = (volume(n, times, axis, signal=lambda s: 300 + 7 * s).data for n in (4, 5))
    found = at_start(np.asarray(after, order=order), before, np.array(times), TR, axis)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 300 + 7 * 4 * TR, rtol=1e-5)


@pytest.mark.parametrize(
    "times", [INTERLEAVED, [0.0, 1.2, 0.0, 1.2, 0.0, 1.2]], ids=["interleaved", "multiband"]
)
def test_it_is_linear_interpolation_in_time(node, call, times):
    acquired = np.arange(12)[:, None] * TR + np.array(times)
    for number in range(1, 12):
        found = call(node, number, incremental=volume(number, times))
        if number == 1:
            continue
        start = (number - 1) * TR
        expected = [np.interp(start, acquired[:, k], signal(acquired[:, k])) for k in range(6)]
        np.testing.assert_allclose(found["incremental"].data[1, 2], expected, rtol=1e-6)
        assert found["corrected"]


def test_slices_of_a_signal_agree_better_than_they_did(node, call):
    apart, together = [], []
    for number in range(1, 40):
        found = call(node, number, incremental=volume(number))
        if number > 1:
            apart.append(np.ptp(volume(number).data[0, 0]))
            together.append(np.ptp(found["incremental"].data[0, 0]))
    assert np.median(together) < np.median(apart) / 3


def test_the_reference_time_stands_in_the_metadata(node, call):
    call(node, 1, incremental=volume(1))
    moved = call(node, 2, incremental=volume(2))["incremental"]
    assert moved.metadata["SliceTimingCorrected"] is True
    assert moved.metadata["StartTime"] == 0.0
    assert "SliceTiming" not in moved.metadata
    assert (moved.volume, moved.tr, moved.grid) == (2, TR, volume(2).grid)
    with pytest.raises(VolumeError, match="volume 2: its slices are at one time already"):
        call(node, 2, incremental=moved)


def test_the_first_volume_and_one_after_a_gap_are_passed_as_they_are_and_marked(node, call):
    said = {}
    for number in (1, 2, 4, 5, 8, 9):
        if number == 4:
            node.gap(3)
        found = call(node, number, incremental=volume(number))
        said[number] = node.take_doubts()
        if said[number]:
            np.testing.assert_array_equal(found["incremental"].data, volume(number).data)
            assert found["incremental"].metadata["SliceTiming"] == INTERLEAVED
            assert found["incremental"].data.dtype == np.float32
        assert found["corrected"] is not bool(said[number])
    # Of 6 and 7 nobody told.
    assert said == {1: [HELD], 2: [], 4: [HELD], 5: [], 8: [HELD], 9: []}


def test_after_a_volume_that_failed_the_next_is_passed_as_it_is(node, call):
    call(node, 1, incremental=volume(1))
    broken = volume(2).data.copy()
    broken[1, 1, 1] = np.nan
    for data, says in ((broken, "volume 2 has voxels that are not finite"), (np.ones(SHAPE), "no signal")):
        with pytest.raises(VolumeError, match=says):
            call(node, 2, incremental=volume(2, data=data))
    node.gap(2)
    node.take_doubts()
    call(node, 3, incremental=volume(3))
    assert node.take_doubts() == [HELD]


def test_slices_that_are_all_at_once_need_no_volume_before(node, call):
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    found = call(node, 1, incremental=volume(1, [0.0] * 6, data=data))
    assert found["corrected"]
    assert node.take_doubts() == []
    np.testing.assert_array_equal(found["incremental"].data, data)


def test_slices_may_count_from_the_far_end(node, call):
    found = []
    for direction, times in (("k", INTERLEAVED), ("k-", INTERLEAVED[::-1])):
        metadata = {"RepetitionTime": TR, "SliceTiming": times, "SliceEncodingDirection": direction}
        call(node, 1, incremental=volume(1, metadata=metadata))
        found.append(call(node, 2, incremental=volume(2, metadata=metadata))["incremental"].data)
    np.testing.assert_array_equal(*found)


def test_stored_values_of_other_scaling_are_brought_to_one(node, call):
    """Philips scales each image anew."""
    plain = [call(node, number, incremental=volume(number))["incremental"].data for number in (1, 2)]
    scaled = []
    for number, slope, intercept in ((1, 2.0, 10.0), (2, 0.5, -3.0)):
        stored = (volume(number).data - intercept) / slope
        given = volume(number, data=stored, slope=slope, intercept=intercept)
        scaled.append(call(node, number, incremental=given)["incremental"])
    found = scaled[1].data * scaled[1].slope + scaled[1].intercept
    np.testing.assert_allclose(found, plain[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SliceTiming": None}, "volume 1: it has no SliceTiming in its metadata; leave SliceTiming out"),
        ({"SliceTiming": [0.0, 1.0]}, "has 2 times, expected 6, one for each slice along k"),
        ({"SliceEncodingDirection": "j"}, "has 6 times, expected 5, one for each slice along j"),
        ({"SliceEncodingDirection": "z"}, "SliceEncodingDirection is 'z', expected i, j or k"),
        ({"SliceTiming": [0, 400, 800, 1200, 1600, 2000]}, "goes from 0 to 2000 s, expected times"),
        ({"RepetitionTime": None}, "volume 1 has no RepetitionTime"),
    ],
)
def test_metadata_that_do_not_do_are_refused(node, call, changes, says):
    metadata = {"RepetitionTime": TR, "SliceTiming": INTERLEAVED, **changes}
    metadata = {name: value for name, value in metadata.items() if value is not None}
    with pytest.raises(VolumeError, match=says):
        call(node, 1, incremental=volume(1, metadata=metadata))


def test_a_volume_on_another_grid_is_refused(node, call):
    call(node, 1, incremental=volume(1))
    other = volume(2)
    tilted = other.affine.copy()
    tilted[0, 3] += 1.0
    with pytest.raises(GridError, match="volume 2 lies on another grid than volume 1"):
        call(node, 2, incremental=other.on_affine(other.data, tilted, reference=""))


def test_it_goes_on_in_another_process_and_begins_anew_in_another_run(node, call, make_context):
    whole = [call(node, number, incremental=volume(number))["incremental"] for number in range(1, 6)]
    node.start_run(make_context("b"))
    assert not call(node, 1, incremental=volume(1))["corrected"]
    for number in (2, 3):
        call(node, number, incremental=volume(number))
    other = SliceTiming()
    other.start_run(make_context("c"))
    other.restore(pickle.loads(pickle.dumps(node.snapshot())))
    rest = [call(other, number, incremental=volume(number))["incremental"] for number in (4, 5)]
    assert rest == whole[3:]


def test_later_volumes_change_nothing(node, call, make_context):
    whole = [call(node, number, incremental=volume(number))["incremental"] for number in range(1, 9)]
    node.start_run(make_context("b"))
    cut = [call(node, number, incremental=volume(number))["incremental"] for number in range(1, 5)]
    assert cut == whole[:4]


def echoes_of(number, labels="123"):
    return tuple(
        volume(number, signal=lambda at, n=n: signal(at) / n, entities={"echo": label})
        for n, label in enumerate(labels, start=1)
    )


def test_each_echo_is_brought_to_the_start_as_it_would_be_alone(node, call, make_context):
    for number in range(1, 4):
        echoes = echoes_of(number)
        found = call(node, number, incremental=echoes[1], echoes=echoes)
        assert found["incremental"] is found["echoes"][1]
        assert found["corrected"] is (number > 1)
    for n, echo in enumerate(found["echoes"]):
        alone = SliceTiming()
        alone.start_run(make_context())
        for number in range(1, 4):
            expected = call(alone, number, incremental=echoes_of(number)[n])
        np.testing.assert_array_equal(echo.data, expected["incremental"].data)
        assert echo.metadata == expected["incremental"].metadata
        assert echo.entities["echo"] == str(n + 1)


def test_echoes_that_do_not_go_together_are_refused(node, call):
    with pytest.raises(VolumeError, match=r"incremental is echo None, and echoes are \['1', '2', '3'\]"):
        call(node, 1, incremental=volume(1), echoes=echoes_of(1))
    call(node, 2, incremental=echoes_of(2)[0], echoes=echoes_of(2))
    with pytest.raises(VolumeError, match="volume 3 has 2 echoes, the one before it 3"):
        call(node, 3, incremental=echoes_of(3)[0], echoes=echoes_of(3, "12"))


@pytest.mark.realdata
def test_a_real_volume_is_brought_to_its_start(series, node, call):
    files = sorted((series("siemens_E11_mosaic_nihAP") / "dicom").rglob("*.dcm"))
    volumes = sorted(
        (
            to_incrementals([item], item.instance.volume)[0]
            for item in (read_object(f.read_bytes()) for f in files)
        ),
        key=lambda one: one.volume,
    )
    assert len(volumes) == 2
    call(node, 1, incremental=volumes[0])
    found = call(node, 2, incremental=volumes[1])
    assert found["corrected"]
    times = np.array(volumes[1].metadata["SliceTiming"])
    assert times.min() == 0.0
    first, later = int(times.argmin()), int(times.argmax())
    moved, before, now = (one.data for one in (found["incremental"], *volumes))
    np.testing.assert_array_equal(moved[:, :, first], now[:, :, first])
    share = np.float32(times[later] / volumes[1].tr)
    expected = share * before[:, :, later] + (1 - share) * now[:, :, later]
    np.testing.assert_allclose(moved[:, :, later], expected, rtol=1e-4, atol=1e-2)
