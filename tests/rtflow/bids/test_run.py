import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incrementals import AFFINE, DATA, ENTITIES, METADATA, incremental

from rtflow.bids.run import BidsRun
from rtflow.errors import UsageError, VolumeError


def run_of(*numbers: int) -> BidsRun:
    return BidsRun(map(incremental, numbers))


def echoes(*numbers: int) -> BidsRun:
    return BidsRun(
        incremental(number).set("echo", echo).set("EchoTime", 0.01 * echo)
        for number in numbers
        for echo in (1, 2)
    )


def test_a_run_gives_back_what_was_appended_by_index_and_by_number() -> None:
    volumes = [incremental(number) for number in (3, 4, 6)]
    run = BidsRun(volumes)
    assert len(run) == 3
    assert run.incrementals == tuple(volumes) == tuple(run)
    assert run[0] is volumes[0]
    assert run[-1] is run.volume(6) is volumes[2]
    assert run[1:] == BidsRun(volumes[1:])
    assert run.numbers == (3, 4, 6)
    assert run.missing == (5,)
    assert run.entities == ENTITIES
    for number in (2, 5, 7):
        with pytest.raises(UsageError, match=f"no volume {number}; it has volumes 3 to 6"):
            run.volume(number)
    with pytest.raises(IndexError, match="the run has 3 images, and none at 3"):
        run[3]
    with pytest.raises(UsageError, match="a run goes forward"):
        run[::-1]


def test_an_empty_run() -> None:
    run = BidsRun()
    assert len(run) == 0
    assert (run.numbers, run.missing, dict(run.entities), run.incrementals) == ((), (), {}, ())
    with pytest.raises(UsageError, match="no volume 1; it has no volumes"):
        run.volume(1)
    with pytest.raises(UsageError, match="the run is empty"):
        run.as_incremental()
    assert run == BidsRun() != run_of(1)


def test_memory_is_shared_on_the_way_in_and_out() -> None:
    data = DATA.copy(order="F")
    run = BidsRun([incremental(1, data=data), incremental(2)])
    assert np.shares_memory(run[0].data, data)
    assert np.shares_memory(run[:1][0].data, data)
    assert np.shares_memory(run.find({"run": 1})[0].data, data)
    with pytest.raises(UsageError, match="'ses' is no BIDS entity; did you mean 'session'"):
        run.find({"ses": "02"})


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({"entities": {**ENTITIES, "run": "2"}}, ["run 2, the run has 1"]),
        (
            {"entities": {"subject": "02", "task": "faces", "run": "1", "direction": "AP"}},
            [
                "subject 02, the run has 01",
                "session none, the run has 02",
                "direction AP, the run has none",
            ],
        ),
        ({"data": DATA[:2]}, ["shape (2, 4, 5), the run has (3, 4, 5)"]),
        ({"data": DATA.astype(np.float32)}, ["type float32, the run has int16"]),
        (
            {"slope": 1.0, "intercept": 0.0},
            ["scaling (1.0, 0.0), the run has (2.0, -3.0)"],
        ),
        ({"affine": np.eye(4)}, [f"affine {np.eye(4).tolist()}, the run has {AFFINE.tolist()}"]),
        ({"suffix": "sbref"}, ["suffix sbref, the run has bold"]),
        ({"reference": "aaaa"}, ["reference aaaa, the run has none"]),
        (
            {"metadata": {"RepetitionTime": 2.0, "FlipAngle": 80}},
            [
                "RepetitionTime 2.0, the run has 1.5",
                "EchoTime none, the run has 0.028",
                "FlipAngle 80, the run has none",
            ],
        ),
    ],
)
def test_each_mismatch_is_named_with_both_values(changes, differences) -> None:
    run = run_of(1, 2)
    with pytest.raises(VolumeError) as refused:
        run.append(incremental(3, **changes))
    assert str(refused.value) == (
        f"volume 3 is of another run: {'; '.join(differences)}; append it to a run of its own"
    )
    assert run == run_of(1, 2)


def test_what_differs_from_volume_to_volume_is_no_mismatch() -> None:
    run = run_of(1)
    run.append(incremental(2, metadata={**METADATA, "AcquisitionTime": "09:31:04.000000", "TriggerTime": 5}))
    run.append(incremental(3, entities={**ENTITIES, "run": "01"}))
    run.append(incremental(4, metadata={**METADATA, "RepetitionTime": 1.5 * (1 + 1e-9)}))
    run.append(incremental(5, affine=AFFINE + 1e-5))
    assert len(run) == 5


@pytest.mark.parametrize("number", [1, 2, 3])
def test_volumes_come_in_order(number: int) -> None:
    run = run_of(1, 3)
    with pytest.raises(VolumeError, match=f"volume {number} comes after volume 3 was appended"):
        run.append(incremental(number))


def test_echoes_of_a_run() -> None:
    run = echoes(1, 2, 3)
    assert len(run) == 6
    assert run.numbers == (1, 2, 3)
    assert dict(run.entities) == ENTITIES
    assert run.volume(2).get("echo") == "1"
    second = run.find({"echo": 2})
    assert [one.get("EchoTime") for one in second] == [0.02] * 3
    assert second.entities["echo"] == "2"
    assert second.volume(2) is run[3]
    assert len(run.find({"echo": 3})) == 0
    with pytest.raises(UsageError, match="the run has echo 1, echo 2, and an image is of one; choose one"):
        run.as_incremental()
    assert second.as_incremental().data.shape == (3, 4, 5, 3)
    with pytest.raises(VolumeError, match="echo 3, of which the run has no first volume"):
        run.append(incremental(4).set("echo", 3))
    with pytest.raises(VolumeError, match=r"EchoTime 0.02, the run has 0.01"):
        run.append(incremental(4).set("echo", 1).set("EchoTime", 0.02))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True).map(sorted))
def test_a_run_as_one_image(numbers: list[int]) -> None:
    run = run_of(*numbers)
    whole = run.as_incremental()
    assert whole.volume == numbers[0]
    assert whole.data.shape == (*DATA.shape, numbers[-1] - numbers[0] + 1)
    for at in range(whole.data.shape[3]):
        here = numbers[0] + at
        expected = incremental(here).data if here in numbers else np.zeros(DATA.shape)
        assert np.array_equal(whole.data[..., at], expected)
    assert whole.metadata.get("MissingVolumes", []) == list(run.missing)
    assert whole.image.shape == whole.data.shape
    assert (whole.tr, dict(whole.entities)) == (1.5, ENTITIES)
    # Memory holds the volumes once, and they are what they were.
    assert all(np.shares_memory(one.data, whole.data) for one in run)
    assert run == run_of(*numbers)
    assert run.as_incremental() is whole
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_volumes_that_lie_one_behind_the_other_are_not_copied() -> None:
    data = np.asfortranarray(np.random.default_rng(1).integers(0, 999, (3, 4, 5, 6), dtype=np.int16))
    run = BidsRun(incremental(number, data=data[..., number - 1]) for number in range(1, 7))
    whole = run.as_incremental()
    assert np.array_equal(whole.data, data)
    assert np.shares_memory(whole.data, data)
    assert not whole.data.flags.writeable
    later = run[2:5].as_incremental()
    assert np.array_equal(later.data, data[..., 2:5])
    assert np.shares_memory(later.data, data)
    # Every second one: a copy, without those between.
    apart = BidsRun(incremental(at + 1, data=data[..., 2 * at]) for at in range(3)).as_incremental()
    assert np.array_equal(apart.data, data[..., ::2])
    assert not np.shares_memory(apart.data, data)


def test_the_view_keeps_the_memory_it_is_of() -> None:
    def made() -> BidsRun:
        data = np.full((3, 4, 5, 6), 7, dtype=np.int16, order="F")
        return BidsRun(incremental(number, data=data[..., number - 1]) for number in range(1, 7))

    whole = made().as_incremental().data
    others = [np.zeros((3, 4, 5, 6), dtype=np.int16) for _ in range(50)]
    assert (whole == 7).all()
    assert len(others) == 50


def test_a_volume_after_the_image_was_made() -> None:
    run = run_of(1, 2)
    first = run.as_incremental()
    run.append(incremental(3))
    assert first.data.shape[3] == 2
    assert run.as_incremental().data.shape[3] == 3
    assert run == run_of(1, 2, 3)


def test_runs_that_are_not_equal() -> None:
    assert run_of(1, 2) == run_of(1, 2)
    assert run_of(1, 2) != run_of(1, 3)
    assert run_of(1, 2) != run_of(1)
    assert run_of(1) != BidsRun([incremental(1).set("FlipAngle", 80)])
    assert run_of(1) != [incremental(1)]
    assert repr(run_of(1, 2)) == "BidsRun(sub-01_ses-02_task-faces_run-1, 2 volumes)"
