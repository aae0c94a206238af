"""Runs of BIDS data sets as frames: stored values, inheritance, what is missing, and the pace."""

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from rtflow.documents import Event, Frame
from rtflow.errors import SourceError
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.source_settings import BidsSource
from rtflow.sources import open_source

AFFINE = np.array([[-3.1, 0.02, 0.1, 90], [0.03, 3.2, -0.4, -100], [0.01, 0.3, 3.3, -60], [0, 0, 0, 1]])
VOLUMES = 6


def voxels(dtype: str = "int16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (7, 6, 5, VOLUMES)).astype(dtype)


def put(root: Path, name: str, data: np.ndarray, *, kind: Any = nib.Nifti1Image, **scaling: float) -> Path:
    """An image in its place in the data set; ``sub-1/func/NAME`` or with its session."""
    words = name.split("_")
    folder = root.joinpath(*[word for word in words if word.startswith(("sub-", "ses-"))], "func")
    folder.mkdir(parents=True, exist_ok=True)
    image = kind(data, AFFINE.astype(np.float32))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    if scaling:
        image.header.set_slope_inter(scaling["slope"], scaling["intercept"])
    raw = image.to_bytes()
    path = folder / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def described(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "n", "BIDSVersion": "1.10.0"}')
    return root


def replayed(root: Path, **options: Any) -> list[Frame]:
    return list(open_source(BidsSource(path=str(root), **options)).frames(threading.Event()))


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_stored_values_and_the_affine_come_as_they_are(tmp_path, dtype, kind, ending) -> None:
    data = voxels(dtype)
    put(described(tmp_path), f"sub-1_task-a_bold{ending}", data, kind=kind, slope=2.0, intercept=3.0)
    frames = replayed(tmp_path)
    assert [frame.volume for frame in frames] == list(range(1, VOLUMES + 1))
    for frame in frames:
        (one,) = frame_to_incrementals(frame, {})
        assert one.data.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(one.data, data[..., frame.volume - 1])
        np.testing.assert_array_equal(one.affine, AFFINE.astype(np.float32))
        assert (one.slope, one.intercept) == (2.0, 3.0)
        assert one.tr == 1.5  # no sidecar says it, the header does


def test_metadata_are_inherited_and_those_of_one_volume_move_on(tmp_path) -> None:
    root = described(tmp_path)
    put(root, "sub-1_ses-2_task-a_run-01_bold.nii", voxels())
    beside = root / "sub-1" / "ses-2" / "func" / "sub-1_ses-2_task-a_run-01_bold.json"
    (root / "task-a_bold.json").write_text(
        json.dumps({"RepetitionTime": 1.5, "EchoTime": 0.03, "TaskName": "a"})
    )
    (root / "task-b_bold.json").write_text(json.dumps({"FlipAngle": 1}))
    (root / "sub-1" / "sub-1_bold.json").write_text(json.dumps({"EchoTime": 0.04}))
    beside.write_text(
        json.dumps({"AcquisitionTime": "23:59:58.500000", "AcquisitionNumber": 1, "RunUID": "x"})
    )
    found = [frame_to_incrementals(frame, {})[0].metadata for frame in replayed(root)]
    assert {(one["EchoTime"], one["TaskName"], one["RepetitionTime"]) for one in found} == {(0.04, "a", 1.5)}
    assert [one["AcquisitionTime"] for one in found[:3]] == [
        "23:59:58.500000",
        "00:00:00.000000",
        "00:00:01.500000",
    ]
    assert [one.get("AcquisitionNumber") for one in found[:2]] == [1, None]
    assert not any("RunUID" in one or "FlipAngle" in one for one in found)


def test_volumes_that_were_missing_are_missing_again(tmp_path) -> None:
    root = described(tmp_path)
    path = put(root, "sub-1_task-a_bold.nii.gz", voxels())
    sidecar = path.with_name("sub-1_task-a_bold.json")
    sidecar.write_text(json.dumps({"RepetitionTime": 1.5, "MissingVolumes": [1, 4]}))
    frames = replayed(root)
    assert [frame.volume for frame in frames if frame.missing] == [1, 4]
    assert all(bool(frame.parts) != bool(frame.missing) for frame in frames)
    assert "MissingVolumes" not in frame_to_incrementals(frames[1], {})[0].metadata


def test_echoes_are_parts_of_one_volume(tmp_path) -> None:
    root = described(tmp_path)
    echoes = [voxels(seed=echo) for echo in (1, 2, 3)]
    for echo, data in enumerate(echoes, start=1):
        path = put(root, f"sub-1_task-a_echo-{echo}_bold.nii.gz", data)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        sidecar.write_text(json.dumps({"EchoTime": 0.01 * echo, "RepetitionTime": 1.5}))
    put(root, "sub-1_task-a_echo-1_part-phase_bold.nii.gz", voxels(seed=9))
    frames = replayed(root)
    assert len(frames) == VOLUMES
    for frame in frames:
        found = frame_to_incrementals(frame, {})
        assert [one.entities["echo"] for one in found] == ["1", "2", "3"]
        assert [one.metadata["EchoTime"] for one in found] == [0.01, 0.02, 0.03]
        for one, data in zip(found, echoes, strict=True):
            np.testing.assert_array_equal(one.data, data[..., frame.volume - 1])


def test_which_run_is_meant_must_be_said(tmp_path) -> None:
    root = described(tmp_path)
    for name in ("sub-1_ses-1_task-a_run-01", "sub-1_ses-2_task-a_run-01", "sub-2_task-b"):
        put(root, f"{name}_bold.nii", voxels())
    put(root, "sub-2_task-b_bold.nii.gz", voxels())  # the same run once more
    with pytest.raises(
        SourceError, match=r"holds 3 runs; choose one by subject 1, 2; session 1, 2, none; task"
    ):
        open_source(BidsSource(path=str(root)))
    with pytest.raises(SourceError, match=r"2 runs of subject 1; choose one by session 1, 2$"):
        open_source(BidsSource(path=str(root), subject="1"))
    with pytest.raises(SourceError, match=r"no run of task zzz; it has subject 1, 2; .*task a, b"):
        open_source(BidsSource(path=str(root), task="zzz"))
    assert open_source(BidsSource(path=str(root), session="2", run="1")).volumes == VOLUMES
    assert open_source(BidsSource(path=str(root), subject="2")).uri == f"bids:{root}?subject=2"


def test_what_is_no_data_set_is_told(tmp_path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(BidsSource(path=str(tmp_path / "none")))
    with pytest.raises(SourceError, match="holds no functional run"):
        open_source(BidsSource(path=str(described(tmp_path))))
    func = tmp_path / "sub-1" / "func"
    func.mkdir(parents=True)
    (func / "sub-1_task-a_bold.nii.gz").symlink_to("../../.git/annex/objects/x")
    with pytest.raises(SourceError, match=r"a link to a file that is not here; fetch it first \(datalad get"):
        open_source(BidsSource(path=str(tmp_path)))


def test_a_damaged_image_is_told(tmp_path) -> None:
    root = described(tmp_path)
    path = put(root, "sub-1_task-a_bold.nii.gz", voxels())
    whole = path.read_bytes()
    path.write_bytes(b"no image at all" * 100)
    with pytest.raises(SourceError, match="sub-1_task-a_bold"):
        open_source(BidsSource(path=str(root)))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match="sub-1_task-a_bold"):
        replayed(root)


class Clock(threading.Event):
    """An event that is waited for without time passing but here."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1000.0

    def wait(self, timeout: float | None = None) -> bool:
        self.at += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("base", "images", "journal"):
        monkeypatch.setattr(f"rtflow.sources.{module}.now", lambda: clock.at, raising=False)
    return clock


def test_the_scanners_clock_is_kept_whatever_the_consumer_does(tmp_path, clock) -> None:
    put(described(tmp_path), "sub-1_task-a_bold.nii.gz", voxels())
    frames = []
    for frame in open_source(BidsSource(path=str(tmp_path), speed=2.0)).frames(clock):
        frames.append(frame)
        clock.at += 0.3 if frame.volume != 3 else 1.0  # once it is late
    # Volume n is acquired from (n - 1) TR on, half of it at twice the speed: no error that grows.
    assert [frame.acquired for frame in frames] == [1000 + 0.75 * n for n in range(VOLUMES)]
    assert [frame.received for frame in frames] == [1000 + 0.75 * (n + 1) for n in range(VOLUMES)]
    assert clock.at == pytest.approx(1000 + 0.75 * VOLUMES + 0.3)


def test_a_pace_needs_a_repetition_time(tmp_path) -> None:
    path = put(described(tmp_path), "sub-1_task-a_bold.nii", voxels())
    raw = bytearray(path.read_bytes())
    raw[92:96] = bytes(4)  # pixdim[4]
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="so no pace is known"):
        open_source(BidsSource(path=str(tmp_path), speed=1.0))
    assert open_source(BidsSource(path=str(tmp_path))).tr is None


def test_volume_timing_sets_the_pace_of_a_sparse_acquisition(tmp_path, clock) -> None:
    path = put(described(tmp_path), "sub-1_task-a_bold.nii", voxels())
    times = [0.0, 4.0, 9.0, 13.0, 20.0, 22.0]
    path.with_suffix(".json").write_text(json.dumps({"VolumeTiming": times}))
    frames = list(open_source(BidsSource(path=str(tmp_path), speed=1.0)).frames(clock))
    assert [frame.acquired - 1000 for frame in frames] == times
    for wrong in ([0.0, float("nan"), 9.0, 13.0, 20.0, 22.0], [*times[:5], 3.0], [*times[:5], "x"]):
        path.with_suffix(".json").write_text(json.dumps({"VolumeTiming": wrong}))
        with pytest.raises(SourceError, match=r"sub-1_task-a_bold\.nii: VolumeTiming should be seconds in"):
            open_source(BidsSource(path=str(tmp_path), speed=1.0))


def test_times_of_another_number_than_volumes_or_slices_are_refused_or_told(tmp_path) -> None:
    path = put(described(tmp_path), "sub-1_task-a_bold.nii", voxels())
    for wrong, says in (([0.0, 4.0, 9.0], "3 times"), ([0.0] * (VOLUMES + 1), "7 times"), (2.0, "2.0")):
        path.with_suffix(".json").write_text(json.dumps({"VolumeTiming": wrong}))
        with pytest.raises(SourceError, match=f"VolumeTiming has {says}, expected 6, one for each volume"):
            open_source(BidsSource(path=str(tmp_path)))
    shape = voxels().shape
    for direction, axis in (("k", 2), ("i-", 0)):
        told = []
        for count in (shape[axis], shape[axis] - 1):
            about = {"SliceTiming": [0.0] * count, "SliceEncodingDirection": direction, "RepetitionTime": 2.0}
            path.with_suffix(".json").write_text(json.dumps(about))
            open_source(BidsSource(path=str(tmp_path))).begin(tmp_path, told.append)
        (event,) = told
        assert event.data["says"].startswith(
            f"the sidecar's SliceTiming has {shape[axis] - 1} times, and there are {shape[axis]} slices"
        )


def test_a_run_without_volumes_and_echoes_of_other_lengths_are_told(tmp_path) -> None:
    root = described(tmp_path)
    put(root, "sub-1_task-a_bold.nii", voxels()[..., :0])
    with pytest.raises(SourceError, match=r"sub-1_task-a_bold\.nii holds no volume"):
        open_source(BidsSource(path=str(root), subject="1"))
    for echo, length in ((1, VOLUMES), (2, VOLUMES - 1)):
        put(root, f"sub-2_task-a_echo-{echo}_bold.nii", voxels()[..., :length])
    with pytest.raises(SourceError, match=r"the echoes have \[6, 5\] volumes, expected as many of each"):
        open_source(BidsSource(path=str(root), subject="2"))


def test_a_run_may_be_cut_short_and_stopped(tmp_path) -> None:
    put(described(tmp_path), "sub-1_task-a_bold.nii.gz", voxels())
    assert [frame.volume for frame in replayed(tmp_path, volumes=2)] == [1, 2]
    stopping = threading.Event()
    frames = open_source(BidsSource(path=str(tmp_path), speed=1e-6)).frames(stopping)
    threading.Timer(0.05, stopping.set).start()
    assert list(frames) == []  # the first one would have been due in weeks


def test_milliseconds_in_a_sidecar_are_put_right_and_told_or_refused(tmp_path) -> None:
    path = put(described(tmp_path), "sub-1_task-a_bold.nii", voxels())
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps({"RepetitionTime": 1500, "EchoTime": 28, "TaskName": "a"}))
    source = open_source(BidsSource(path=str(tmp_path)))
    assert source.tr == 1.5
    told: list[Event] = []
    source.begin(tmp_path, told.append)
    assert [event.data["says"] for event in told] == [
        "the sidecar's RepetitionTime 1500 was in milliseconds, and is 1.5 s",
        "the sidecar's EchoTime 28 was in milliseconds, and is 0.028 s",
    ]
    metadata = frame_to_incrementals(replayed(tmp_path)[0], {})[0].metadata
    assert (metadata["RepetitionTime"], metadata["EchoTime"]) == (1.5, 0.028)

    sidecar.write_text(json.dumps({"RepetitionTime": 60}))
    with pytest.raises(SourceError, match=r"_bold\.nii: RepetitionTime is 60: in seconds it is at most 30"):
        open_source(BidsSource(path=str(tmp_path)))
