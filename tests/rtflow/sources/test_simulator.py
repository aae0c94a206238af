"""The simulator as a source: frames, truth and pace."""

import json
import threading

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rtflow.design import block_design, read_events
from rtflow.errors import OutputError, SourceError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.motion import COLUMNS, parameters
from rtflow.sources.simulator import SimulatorSource, default_design
from rtflow.trials import Design, Trial

SMALL = {"shape": (24, 28, 20), "voxel": 7.0}


class Clock(threading.Event):
    """An event that is waited for without time passing but here."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 5000.0
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.at += timeout or 0.0
        self.waits += 1
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("rtflow.sources.base.now", lambda: made.at)
    monkeypatch.setattr("rtflow.sources.simulator.now", lambda: made.at)
    return made


def test_the_default_design_is_the_template_experiment() -> None:
    source = SimulatorSource(SimulateSource())
    assert (source.volumes, source.tr, source.uri) == (242, 2.0, "simulate:")
    assert source.design.conditions == ("scene", "face")
    assert [trial.onset for trial in source.design.trials] == [20.0 + 58.0 * n for n in range(8)]
    assert {trial.duration for trial in source.design.trials} == {50.0}


@pytest.mark.parametrize("volumes", [17, 40, 100, 241, 242, 243, 600])
def test_the_default_design_fits_any_number_of_volumes(volumes: int) -> None:
    design = default_design(1.5, volumes)
    assert len(design.trials) == 8
    assert design.duration < volumes * 1.5
    labels = [design.label(volume, 1.5) for volume in range(1, volumes + 1)]
    assert labels.count("scene") == labels.count("face") > 0
    assert labels[-1] == "rest"


def test_the_run_lasts_until_the_last_response_is_seen() -> None:
    design = block_design(["a", "b"], blocks=2, block=10.0, rest=4.0, opening=2.0)
    assert SimulatorSource(SimulateSource(tr=0.8), design).volumes == 43  # (26 + 8) / 0.8 = 42.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"volumes": 16}, "16 volumes are too few.*17 or more"),
        ({"shape": (4, 64, 30)}, "hold too little of a head"),
        ({"shape": (300, 64, 30)}, "at most 256"),
    ],
)
def test_what_makes_no_run_is_refused(options: dict, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        SimulatorSource(SimulateSource(**options))


def test_a_frame_is_a_nifti_file_and_its_sidecar() -> None:
    source = SimulatorSource(SimulateSource(speed="max", volumes=18, **SMALL))
    frames = list(source.frames(threading.Event()))
    assert [frame.volume for frame in frames] == list(range(1, 19))
    grid = source.truth().grid
    for frame in frames:
        assert not frame.missing
        assert frame.acquired is not None
        assert frame.acquired <= frame.received
        volume, sidecar = frame.parts
        assert (volume.name, volume.media_type) == (f"volume-{frame.volume:04d}.nii", "application/x-nifti")
        assert (sidecar.name, sidecar.media_type) == (f"volume-{frame.volume:04d}.json", "application/json")
        image = nib.Nifti1Image.from_bytes(volume.data)
        assert image.shape == grid.shape
        assert image.get_data_dtype() == np.int16
        assert np.array_equal(image.affine, grid.matrix())
        assert_allclose(image.header.get_qform(), grid.matrix(), atol=1e-3)
        fields = json.loads(sidecar.data)
        assert fields["RepetitionTime"] == 2.0
        assert fields["AcquisitionNumber"] == frame.volume
        assert len(fields["SliceTiming"]) == grid.shape[2]
    assert json.loads(frames[15].parts[1].data)["AcquisitionTime"] == "10:00:30.000000"
    # The head is where the header says: the brain's mean lies at the middle of the field of view.
    data = np.asarray(image.dataobj, dtype=float)
    data[data < 200] = 0
    middle = image.affine @ [*(np.average(np.indices(data.shape)[n], weights=data) for n in range(3)), 1.0]
    assert_allclose(middle[:3], [0, -17, 5], atol=12)


def test_frames_are_the_same_bytes_at_any_pace_and_every_time(clock: Clock) -> None:
    options = {"volumes": 20, "jitter": 0.5, "ar": 0.3, **SMALL}
    paced = SimulatorSource(SimulateSource(speed=2.0, **options))
    unpaced = SimulatorSource(SimulateSource(speed="max", **options))
    runs = [
        [[part.sha256 for part in frame.parts] for frame in source.frames(clock)]
        for source in (paced, unpaced, unpaced)
    ]
    assert runs[0] == runs[1] == runs[2]


def test_volumes_come_on_an_absolute_schedule(clock: Clock) -> None:
    source = SimulatorSource(SimulateSource(speed=4.0, volumes=30, reconstruction=0.4, **SMALL))
    received, acquired = [], []
    for frame in source.frames(clock):
        received.append(frame.received)
        acquired.append(frame.acquired)
        clock.at += 0.013  # what a consumer does in between adds to no later time
    numbers = np.arange(1, 31)
    assert_allclose(received, 5000.0 + (numbers * 2.0 + 0.4) / 4.0, atol=1e-6)
    assert_allclose(acquired, 5000.0 + (numbers - 1) * 2.0 / 4.0, atol=1e-6)


def test_a_volume_that_waited_for_its_consumer_was_there_in_time(clock: Clock) -> None:
    frames = SimulatorSource(SimulateSource(speed=1.0, volumes=20, **SMALL)).frames(clock)
    assert_allclose(next(frames).received, 5002.0)
    clock.at = 5007.0
    assert_allclose([next(frames).received for _ in range(3)], [5004.0, 5006.0, 5008.0])


def test_full_speed_never_waits(clock: Clock) -> None:
    source = SimulatorSource(SimulateSource(speed="max", volumes=20, **SMALL))
    assert len(list(source.frames(clock))) == 20
    assert clock.waits == 0


@pytest.mark.parametrize("speed", [1.0, "max"])
def test_frames_end_when_told_to_stop(clock: Clock, speed) -> None:
    frames = SimulatorSource(SimulateSource(speed=speed, volumes=20, **SMALL)).frames(clock)
    assert next(frames).volume == 1
    clock.set()
    assert list(frames) == []


def test_the_truth_on_disk_is_the_truth(tmp_path) -> None:
    design = Design((Trial(4.0, 12.0, "face"), Trial(20.0, 10.0, "scene")))
    folder = tmp_path / "deep" / "truth"
    spec = SimulateSource(speed="max", volumes=18, truth=str(folder), shift=3.0, **SMALL)
    source = SimulatorSource(spec, design)
    next(source.frames(threading.Event()))
    truth = source.truth()
    assert read_events(folder / "events.tsv") == design
    rows = np.genfromtxt(folder / "motion.tsv", names=True, missing_values="n/a")
    assert rows.dtype.names == (*COLUMNS, "framewise_displacement")
    assert_allclose(np.array([rows[name] for name in COLUMNS]).T, truth.motion, atol=1e-8)
    assert np.isnan(rows["framewise_displacement"][0])
    transforms = np.load(folder / "transforms.npy")
    assert transforms.shape == (18, 4, 4)
    for six, transform in zip(truth.motion, transforms, strict=True):
        assert_allclose(parameters(transform, truth.centre), six, atol=1e-12)
    assert np.array_equal(transforms[0], np.eye(4))
    assert list(truth.regions) == ["parahippocampal", "fusiform"]
    for name, mask in {"brain": truth.brain, **truth.regions}.items():
        image = nib.load(folder / f"{name}.nii")
        assert mask.data.any()
        assert np.array_equal(np.asarray(image.dataobj) > 0, mask.data)
        assert_allclose(image.affine, truth.grid.matrix())
    responses = np.genfromtxt(folder / "responses.tsv", names=True)
    # Faces come first here, and belong to the fusiform gyrus all the same.
    assert responses["fusiform"][7] > responses["parahippocampal"][7] > 0.1
    facts = json.loads((folder / "simulation.json").read_text())
    assert facts["settings"]["seed"] == 1
    assert facts["pose"][0][3] == 3.0
    assert facts["centre"] == list(truth.centre)


def test_a_truth_that_cannot_be_written_is_said_so(tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    source = SimulatorSource(SimulateSource(speed="max", volumes=18, truth=str(blocked / "x"), **SMALL))
    with pytest.raises(OutputError, match="give another folder"):
        next(source.frames(threading.Event()))


def test_several_echoes_come_with_their_times_and_decay() -> None:
    spec = {**SMALL, "volumes": 2, "speed": "max", "motion": 0.0}
    design = Design((Trial(0.0, 2.0, "scene"),))
    (one, _), (frame, _) = (
        list(SimulatorSource(SimulateSource(echoes=echoes, **spec), design).frames(threading.Event()))
        for echoes in (1, 3)
    )
    assert [part.name for part in one.parts] == ["volume-0001.nii", "volume-0001.json"]
    assert [part.name for part in frame.parts[::2]] == [f"volume-0001_echo-{n}.nii" for n in (1, 2, 3)]
    times = [json.loads(part.data)["EchoTime"] for part in frame.parts[1::2]]
    assert times == [0.013, 0.028, 0.043]
    images = [nib.Nifti1Image.from_bytes(part.data).get_fdata() for part in frame.parts[::2]]
    bright = images[0] > np.percentile(images[0], 80)
    rates = np.polyfit(times, np.log([image[bright].mean() for image in images]), 1)
    assert 10.0 < -rates[0] < 40.0  # tissue at 3 T: T2* of 25 to 100 ms
    with pytest.raises(SourceError, match=r"at 0\.043 s, comes after the TR of 0\.04 s"):
        SimulatorSource(SimulateSource(**{**SMALL, "tr": 0.04, "volumes": 2, "echoes": 3}), design)
