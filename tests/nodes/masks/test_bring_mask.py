"""BringMask: masks of another image and another day come to the reference, at a moment that is known."""

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from earlier import BOLDREF, T1W, ball, moved, save, t1w, t1w_to_template, through, write_fmriprep
from phantom import PHANTOM, oblique, rigid

from rtflow.bids.grid import identify
from rtflow.bids.incremental import BidsIncremental
from rtflow.documents import Event
from rtflow.errors import GridError, SessionError, UsageError, VolumeError
from rtflow.nodes import BringMask, Mask
from rtflow.nodes.masks.bring_job import Loaded
from rtflow.nodes.masks.fmriprep import find_way
from rtflow.nodes.masks.job import Job

SHAPE, AFFINE = oblique((48, 48, 26), (4.0, 4.0, 4.6), (10.0, -6.0, 4.0), True)
MOVE = rigid((9.0, -8.0, 6.0), (7.0, -5.0, 8.0))
TR = 2.0

#: In the space of the phantom at rest, mm: in the left hemisphere.
PLACE = np.array([-36.0, -25.0, 15.0])


@pytest.fixture(scope="module")
def reference() -> BidsIncremental:
    data = PHANTOM.scan(SHAPE, AFFINE, MOVE)
    return BidsIncremental(
        data, AFFINE, volume=3, metadata={"RepetitionTime": TR}, reference=identify(data, AFFINE)
    )


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """Folder with ``fmriprep/``, and masks of one place in three spaces: its name says in which."""
    root = tmp_path_factory.mktemp("earlier")
    write_fmriprep(root)
    _, affine = t1w()
    save(root / "sub-01_desc-left_mask.nii.gz", ball((91, 109, 91), affine, moved(T1W, PLACE)), affine)
    centre = through(t1w_to_template(), moved(T1W, PLACE)[None])[0]
    # The template's own grid is another one; the region is the larger for the scale of the template.
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    grid[:3, 3] = (-96.0, -132.0, -78.0)
    inside = ball((97, 115, 97), grid, centre)
    save(root / "sub-01_space-MNI152NLin2009cAsym_desc-left_mask.nii.gz", inside, grid)
    return root


@pytest.fixture
def make(make_context):
    """Callable from inputs to a started node; its process is ended in any case."""
    nodes = []

    def start(run_uid="run-a", emit=lambda event: None, **inputs) -> BringMask:
        node = BringMask(**{name: str(v) if isinstance(v, Path) else v for name, v in inputs.items()})
        nodes.append(node)
        node.start_run(make_context(run_uid, emit=emit))
        return node

    yield start
    for node in nodes:
        if "_worker" in vars(node):
            node.end_run()


def centre_of(mask):
    return moved(AFFINE, np.argwhere(mask.data).mean(axis=0))


def give(call, node, reference, volume):
    return call(node, volume, reference=reference, incremental=reference)


@pytest.mark.parametrize("by", ["ANTs", "SimpleITK"])
def test_a_mask_in_t1w_space_is_held_until_it_is_due_and_kept(
    make, make_context, reference, earlier, call, leave, request, by
) -> None:
    request.getfixturevalue("ants" if by == "ANTs" else "no_ants")
    events = []
    t1_image = earlier / "fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz"
    inputs = {"file": earlier / "sub-01_desc-left_mask.nii.gz", "image": t1_image, "save": "left"}
    node = make(emit=events.append, hold=6.0, **inputs)
    assert [give(call, node, reference, volume) for volume in (3, 4, 5)] == [{}, {}, {}]
    given = give(call, node, reference, 6)
    mask = given["mask"]
    assert mask.grid == reference.grid
    np.testing.assert_allclose(centre_of(mask), moved(MOVE, PLACE), atol=0.5)
    # 9.6 ml, of which voxels of 74 mm3 lose some at the surface.
    assert mask.data.sum() * 0.0736 == pytest.approx(9.6, rel=0.08)
    truth = T1W @ np.linalg.inv(MOVE)
    np.testing.assert_allclose(moved(given["transform"], moved(MOVE, PLACE)), moved(T1W, PLACE), atol=0.5)
    np.testing.assert_allclose(given["transform"], truth, atol=1.0)
    assert give(call, node, reference, 7)["mask"] is mask
    assert node.take_doubts() == []

    (event,) = events
    assert event.name == "mask_brought"
    assert "100% of it in the field of view" in event.data["says"]
    assert event.data["registered_by"].startswith(f"{by} ")
    assert f"T1w.nii.gz by {event.data['registered_by']}, " in event.data["says"]
    picture = Path(event.data["picture"])
    assert picture.parent == make_context("run-a").run_dir / "overlays"
    assert event.data["says"].endswith(f"look at {picture}")
    assert event.data["files"].keys() == {str(inputs["file"]), str(t1_image)}
    assert event.data["files"][str(t1_image)] == hashlib.sha256(t1_image.read_bytes()).hexdigest()
    assert sitk.ReadImage(str(picture)).GetNumberOfComponentsPerPixel() == 3

    # The next run takes it from the session, if it has the same reference.
    leave("run-a")
    later = Mask(load="left")
    later.start_run(make_context("run-b"))
    assert call(later, 1, reference=reference)["mask"].identity == mask.identity
    other = Mask(load="left")
    other.start_run(make_context("run-c"))
    with pytest.raises(SessionError, match="aligned with reference"):
        call(other, 1, reference=reference.with_data(reference.data, reference="bbbb"))

    # A replay gives the same at the same volume, bit for bit.
    again = make("run-d", hold=6.0, **inputs)
    replayed = [give(call, again, reference, volume) for volume in (3, 4, 5, 6)]
    assert replayed[:3] == [{}, {}, {}]
    assert replayed[3]["mask"].identity == mask.identity
    np.testing.assert_array_equal(replayed[3]["transform"], given["transform"])


def test_a_mask_of_mni_space_comes_through_the_boldref_of_fmriprep(reference, earlier, make, call) -> None:
    file = earlier / "sub-01_space-MNI152NLin2009cAsym_desc-left_mask.nii.gz"
    events = []
    node = make(emit=events.append, file=file, fmriprep=earlier / "fmriprep", hold=0.0)
    given = give(call, node, reference, 1)
    # The place is that of the centre of the region after the warp, which shears it a little.
    np.testing.assert_allclose(centre_of(given["mask"]), moved(MOVE, PLACE), atol=0.5)
    expected = BOLDREF @ np.linalg.inv(MOVE)
    assert PHANTOM.worst(np.linalg.inv(MOVE), np.linalg.inv(BOLDREF) @ given["transform"]) < 0.3
    np.testing.assert_allclose(given["transform"][:3, :3], expected[:3, :3], atol=0.005)
    assert "sub-01_ses-1_task-nf_desc-coreg_boldref.nii.gz finely" in events[0].data["says"]


def test_it_goes_on_in_another_process(reference, earlier, make, call) -> None:
    inputs = {
        "file": earlier / "sub-01_desc-left_mask.nii.gz",
        "fmriprep": earlier / "fmriprep",
        "space": "T1w",
    }
    first = make(hold=4.0, **inputs)
    assert give(call, first, reference, 3) == {}
    second = make("run-b", hold=4.0, **inputs)
    second.restore(first.snapshot())
    assert give(call, second, reference, 4) == {}
    mask = give(call, second, reference, 5)["mask"]
    third = make("run-c", hold=4.0, **inputs)
    third.restore(second.snapshot())
    assert give(call, third, reference, 6)["mask"].identity == mask.identity


def test_a_registration_that_fails_is_told(reference, earlier, make, call, tmp_path) -> None:
    noise = np.random.default_rng(0).normal(100.0, 5.0, (40, 40, 40)).astype(np.float32)
    image = save(tmp_path / "sub-01_T1w.nii.gz", noise, np.diag([4.0, 4.0, 4.0, 1.0]))
    told = threading.Event()
    events: list[Event] = []

    def emit(event):
        events.append(event)
        told.set()

    node = make(emit=emit, file=earlier / "sub-01_desc-left_mask.nii.gz", image=image, hold=4.0)
    assert give(call, node, reference, 3) == {}
    assert told.wait(120)
    (event,) = events
    assert event.name == "mask_not_brought"
    assert "left_mask.nii.gz was not brought to the reference: the reference" in event.data["says"]
    # It was told at once, and fails those volumes alone that would have had the mask.
    assert give(call, node, reference, 4) == {}
    for volume in (5, 6):
        with pytest.raises(VolumeError, match=r"^the reference cannot be registered with the T1w image"):
            give(call, node, reference, volume)


@pytest.fixture
def hanging(no_ants, tmp_path, monkeypatch) -> Path:
    """Where an ANTs that never ends writes the number of its process."""
    program, started = tmp_path / "bin" / "antsRegistration", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "ANTs Version: v9.9" && exit 0\n'
        f"echo $$ >{started}.part; mv {started}.part {started}; exec sleep 1000\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return started


def test_the_end_of_the_run_ends_ants(reference, earlier, make, call, hanging) -> None:
    image = earlier / "fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz"
    node = make(file=earlier / "sub-01_desc-left_mask.nii.gz", image=image)
    give(call, node, reference, 3)
    while not hanging.exists():
        assert not node._done.wait(0.05)
    pid = int(hanging.read_text())
    assert psutil.pid_exists(pid)
    node.end_run()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not node._folder.exists()


def test_the_end_of_the_run_ends_the_process_at_its_work(reference, earlier, make, call) -> None:
    node = make(file=earlier / "sub-01_desc-left_mask.nii.gz", fmriprep=earlier / "fmriprep", space="T1w")
    give(call, node, reference, 3)
    started = node._worker._process
    assert started is not None
    assert psutil.pid_exists(started.pid)
    node.end_run()
    assert not psutil.pid_exists(started.pid)
    assert not node._thread.is_alive()
    with pytest.raises(VolumeError, match="the run ended before"):
        give(call, node, reference, 30)


def test_a_region_that_is_cut_off_makes_the_volume_suspect(earlier, make, call) -> None:
    # A slab whose lowest slice is in the middle of the region.
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, 2] * (np.linalg.solve(AFFINE, [*moved(MOVE, PLACE), 1.0])[2] + 0.5)
    data = PHANTOM.scan((48, 48, 14), affine, MOVE)
    slab = BidsIncremental(data, affine, volume=1, metadata={"RepetitionTime": TR}, reference="cccc")
    node = make(
        file=earlier / "sub-01_desc-left_mask.nii.gz", fmriprep=earlier / "fmriprep", space="T1w", hold=0.0
    )
    give(call, node, slab, 1)
    (doubt,) = node.take_doubts()
    assert "of it lies in the field of view" in doubt


def test_the_repetition_time_must_be_known(reference, earlier, make, call) -> None:
    node = make(file=earlier / "sub-01_desc-left_mask.nii.gz", fmriprep=earlier / "fmriprep", space="T1w")
    untimed = BidsIncremental(reference.data, AFFINE, volume=0)
    node.inputs.reference = untimed
    with pytest.raises(VolumeError, match="has no RepetitionTime"):
        call(node, 1, reference=untimed)
    # That of the volume serves.
    assert call(node, 2, reference=untimed, incremental=reference) == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": ""}, "from image=PATH or from fmriprep=FOLDER"),
        ({"fmriprep": "FMRIPREP"}, "from image=PATH or from fmriprep=FOLDER"),
        ({"file": "", "image": ""}, "was given no mask; give the path of an image as file=PATH"),
        ({"file": "absent.nii.gz"}, "absent.nii.gz does not exist"),
        ({"image": "absent.nii.gz"}, "image absent.nii.gz does not exist"),
        ({"brain": "absent.nii.gz"}, "mask absent.nii.gz does not exist"),
        ({"transforms": ["absent.txt"]}, "transform absent.txt does not exist"),
        ({"labels": [3]}, "no voxel with label 3"),
        ({"image": "", "fmriprep": "FMRIPREP"}, "does not say in which space it is"),
        ({"image": "", "fmriprep": "FMRIPREP", "space": "T1w", "subject": "02"}, "no sub-02"),
        ({"image": "", "fmriprep": "FMRIPREP", "transforms": ["a.h5"]}, "leave transforms out"),
        ({"registration": "ants"}, "registration='ants' is set, but there is no ANTs: neither antsReg"),
        ({"registration": "ants", "contrast": "bold"}, "registration='ants' is for T1w images, and sub-01"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_volume(earlier, make, no_ants, change, says) -> None:
    inputs = {
        "file": str(earlier / "sub-01_desc-left_mask.nii.gz"),
        "image": str(earlier / "fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz"),
        **change,
    }
    if inputs.get("fmriprep"):
        inputs["fmriprep"] = str(earlier / "fmriprep")
    with pytest.raises(UsageError, match=says):
        make(**inputs)


def test_files_of_another_participant_are_refused(reference, earlier, make, call) -> None:
    # The reference may be an earlier run's; what counts is who is scanned.
    volume = reference._next(
        reference.data, reference.affine, entities={**reference.entities, "subject": "02"}
    )
    events: list[Event] = []
    inputs = {"file": earlier / "sub-01_desc-left_mask.nii.gz", "fmriprep": earlier / "fmriprep"}
    node = make(emit=events.append, hold=2.0, space="T1w", **inputs)
    assert call(node, 3, reference=reference, incremental=volume) == {}
    (event,) = events
    assert event.name == "mask_not_brought"
    says = "sub-01_desc-left_mask.nii.gz is of sub-01, but the volumes are of sub-02: give the files of this"
    assert says in event.data["says"]
    with pytest.raises(VolumeError, match=f"^{says}"):
        call(node, 4, reference=reference, incremental=volume)
    # Nor is it brought where the run goes on in another process.
    again = make("run-b", hold=2.0, space="T1w", **inputs)
    again.restore(node.snapshot())
    with pytest.raises(VolumeError, match=f"^{says}"):
        call(again, 4, reference=reference, incremental=volume)
    meant = make("run-c", emit=events.append, space="T1w", other_subject=True, **inputs)
    assert call(meant, 3, reference=reference, incremental=volume) == {}
    assert meant._thread.is_alive()
    assert len(events) == 1


def test_a_mask_of_another_space_is_refused_with_its_picture(reference, earlier, tmp_path) -> None:
    """A mask far from the brain, as one is that is said to be in a space in which it is not."""
    job = Job(earlier / "sub-01_desc-left_mask.nii.gz", find_way(earlier / "fmriprep", "T1w", subject="01"))
    loaded = Loaded.of(job)
    away = loaded.roi.affine.copy()
    away[0, 3] -= 45.0
    object.__setattr__(loaded.roi, "affine", away)
    with pytest.raises(GridError, match=r"in the brain of the reference.*look at .*o\.png"):
        loaded.bring(reference.data, reference.grid, tmp_path / "o.png")
    assert (tmp_path / "o.png").is_file()
