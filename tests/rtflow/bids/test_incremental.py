import copy
import pickle
from datetime import time
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np
import pytest
from incrementals import AFFINE, DATA, ENTITIES, METADATA
from incrementals import incremental as volume

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.nifti import from_image
from rtflow.bids.seconds import UnitsWarning
from rtflow.errors import UsageError, VolumeError


def image(shape=DATA.shape, tr: float | None = None, unit: str = "sec") -> nib.Nifti1Image:
    made = nib.Nifti1Image(DATA.reshape(shape, order="F"), AFFINE)
    if tr is not None:
        made.header.set_zooms((*made.header.get_zooms()[:3], tr))
        made.header.set_xyzt_units("mm", unit)
    return made


def test_fields_are_had_by_name() -> None:
    one = volume()
    assert one.get("task") == "faces"
    assert one.get("task", strict=True) == "faces"
    assert one.get("RepetitionTime") == 1.5
    assert (one.get("suffix"), one.get("datatype")) == ("bold", "func")
    assert one.get("FlipAngle", None) is None
    assert one.get("echo", "1") == "1"
    with pytest.raises(UsageError, match=r"volume 7 has no FlipAngle; it has subject, session, .*EchoTime"):
        one.get("FlipAngle")
    with pytest.raises(UsageError, match="'RepetitionTime' is no BIDS entity"):
        one.get("RepetitionTime", strict=True)


def test_setting_gives_the_next_one() -> None:
    one = volume()
    other = one.set("run", 2).set("FlipAngle", 80).set("direction", "AP", strict=True).set("suffix", "sbref")
    assert dict(other.entities) == {**ENTITIES, "run": "2", "direction": "AP"}
    assert dict(other.metadata) == {**METADATA, "FlipAngle": 80}
    assert other.suffix == "sbref"
    assert np.shares_memory(other.data, one.data)
    assert (other.volume, other.slope, other.intercept) == (7, 2.0, -3.0)
    assert one == volume()
    with pytest.raises(TypeError):
        one.metadata["FlipAngle"] = 80  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("run", "two", UsageError, "run 'two' cannot stand in a BIDS name: give digits only"),
        ("task", "a b", UsageError, "task 'a b'"),
        ("task", "", UsageError, "task needs a label; remove it"),
        ("session", None, UsageError, "session needs a label"),
        ("suffix", "bold.nii", UsageError, "suffix 'bold.nii' cannot stand"),
        ("datatype", "anat", UsageError, "the datatype is that of the suffix: set the suffix, now 'bold'"),
        ("RepetitionTime", 0, VolumeError, "RepetitionTime is 0, expected"),
        ("EchoTime", 0.6, VolumeError, "EchoTime is 0.6: in seconds"),
        ("SliceTiming", [0, 1.7], VolumeError, "SliceTiming goes up to 1.7, and RepetitionTime is 1.5"),
    ],
)
def test_what_cannot_be_set(field: str, value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        volume().set(field, value)


def test_entities_alone_can_be_set_if_asked_for() -> None:
    with pytest.raises(UsageError, match="'FlipAngle' is no BIDS entity"):
        volume().set("FlipAngle", 80, strict=True)
    with pytest.raises(UsageError, match="'EchoTime' is no BIDS entity"):
        volume().remove("EchoTime", strict=True)


def test_milliseconds_are_put_right_when_they_are_set() -> None:
    with pytest.warns(UnitsWarning, match="RepetitionTime 2000 was in milliseconds, and is 2 s") as told:
        other = volume().set("RepetitionTime", 2000)
    assert other.tr == 2.0
    assert told[0].filename == __file__


def test_removing_gives_the_next_one() -> None:
    one = volume()
    other = one.remove("session").remove("EchoTime")
    assert other.path() == PurePosixPath("sub-01/func/sub-01_task-faces_run-1_bold.nii")
    assert "EchoTime" not in other.metadata
    assert one == volume()
    for field in ("subject", "task", "RepetitionTime", "suffix", "datatype"):
        with pytest.raises(UsageError, match=f"{field} cannot be removed: BIDS wants it of every bold image"):
            one.remove(field)
    with pytest.raises(UsageError, match="has no FlipAngle"):
        one.remove("FlipAngle")
    with pytest.raises(UsageError, match="has no echo"):
        one.remove("echo")


def test_names_of_files() -> None:
    one = volume().set("echo", 2)
    assert one.file_name() == "sub-01_ses-02_task-faces_run-1_echo-2_bold.nii"
    assert one.path(".json").name == "sub-01_ses-02_task-faces_run-1_echo-2_bold.json"
    assert one.path().parent == PurePosixPath("sub-01/ses-02/func")
    # One table of events for all echoes.
    assert one.events_path == PurePosixPath("sub-01/ses-02/func/sub-01_ses-02_task-faces_run-1_events.tsv")
    assert one.set("suffix", "T1w").path().parts[-2] == "anat"


def test_when_it_was_acquired_and_when_the_next_one_comes() -> None:
    one = volume()
    assert one.acquired == time(9, 31, 2, 500000)
    assert one.time_to_next_tr(0.25, time(9, 31, 3)) == pytest.approx(0.75)
    assert 0 <= one.time_to_next_tr() <= 1.5
    with pytest.raises(VolumeError, match="no RepetitionTime"):
        volume(metadata={"AcquisitionTime": "09:31:02"}).time_to_next_tr()


def test_a_pickled_one_is_equal() -> None:
    one = volume(suffix="sbref", reference="aaaa")
    back = pickle.loads(pickle.dumps(one))
    assert back == one
    assert (back.suffix, back.reference) == ("sbref", "aaaa")
    assert not back.data.flags.writeable
    assert copy.deepcopy(one) is one


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 8},
        {"metadata": {**METADATA, "EchoTime": 0.03}},
        {"entities": {**ENTITIES, "run": "2"}},
        {"slope": 1.0},
        {"intercept": 0.0},
        {"reference": "aaaa"},
        {"suffix": "sbref"},
    ],
)
def test_what_makes_two_unequal(changes: dict[str, object]) -> None:
    assert volume() == volume()
    assert volume() != volume(**changes)


def test_voxels_their_type_and_their_place_make_two_unequal() -> None:
    one = volume()
    assert one != one.with_data(DATA + np.int16(1))
    assert one != one.with_data(DATA.astype(np.int32))
    assert one != one.on_affine(DATA, AFFINE + np.diag([0.1, 0, 0, 0]), reference="")
    assert one != "volume 7"


def test_the_next_one_keeps_what_it_is_not_told() -> None:
    one = volume(suffix="sbref", reference="aaaa")
    other = one.with_data(DATA + np.int16(1), FlipAngle=80)
    assert (other.suffix, other.reference, other.get("FlipAngle")) == ("sbref", "aaaa", 80)
    moved = other.on_affine(DATA, np.eye(4), reference="bbbb")
    assert (moved.suffix, moved.reference, moved.get("FlipAngle")) == ("sbref", "bbbb", 80)


def test_of_an_image_with_checked_metadata() -> None:
    one = from_image(image(), {**METADATA, "subject": "01", "task": "faces", "run": 1, "datatype": "func"})
    assert dict(one.entities) == {"subject": "01", "task": "faces", "run": "1"}
    assert dict(one.metadata) == METADATA
    assert np.array_equal(one.data, DATA)
    assert one.data.dtype == np.int16
    assert np.allclose(one.affine, AFFINE)


def test_a_file_is_read_with_its_stored_values(tmp_path) -> None:
    made = image()
    made.header.set_slope_inter(2.0, -3.0)
    path = tmp_path / "volume.nii.gz"
    nib.save(made, path)
    one = from_image(path, METADATA, entities=ENTITIES, volume=7)
    assert np.array_equal(one.data, DATA)
    assert (one.slope, one.intercept) == (2.0, -3.0)
    assert one.data.flags.f_contiguous
    with pytest.raises(UsageError, match=r"none\.nii cannot be read as a NIfTI image"):
        from_image(tmp_path / "none.nii", METADATA, entities=ENTITIES)


def test_entities_stand_in_the_protocols_name_too() -> None:
    protocol = {**METADATA, "ProtocolName": "func-sbref_ses-03_task-rest_run-02"}
    one = from_image(image(), {**protocol, "session": "04"}, entities={"subject": "01", "run": 5})
    assert dict(one.entities) == {"subject": "01", "session": "04", "task": "rest", "run": "5"}
    assert one.suffix == "sbref"
    assert from_image(image(), protocol, entities={"subject": "01"}, suffix="bold").suffix == "bold"
    described = {**METADATA, "SeriesDescription": "func_task-rest"}
    assert from_image(image(), described, entities={"subject": "01"}).get("task") == "rest"


@pytest.mark.parametrize(
    ("entities", "metadata", "message"),
    [
        ({"subject": "01"}, {}, "volume 7 has no task and no RepetitionTime; BIDS wants it"),
        ({"task": "a"}, {"RepetitionTime": 2.0}, "has no subject; BIDS wants it of every bold image"),
        ({"subject": "01", "task": ""}, {"RepetitionTime": 2.0}, "has no task;"),
        ({"subject": "01", "task": "a-b"}, {"RepetitionTime": 2.0}, "task 'a-b' cannot stand"),
        (
            {"subject": "01", "tsk": "a"},
            {"RepetitionTime": 2.0},
            "'tsk' is no BIDS entity; did you mean 'task'",
        ),
    ],
)
def test_what_bids_wants_of_an_image(entities, metadata, message) -> None:
    with pytest.raises(UsageError, match=message):
        from_image(image(), metadata, entities=entities, volume=7)


def test_milliseconds_of_an_image_are_put_right_or_refused() -> None:
    with pytest.warns(UnitsWarning) as told:
        one = from_image(image(), {"RepetitionTime": 1500, "EchoTime": 28}, entities=ENTITIES)
    assert (one.tr, one.get("EchoTime")) == (1.5, 0.028)
    assert len(told) == 2
    assert told[0].filename == __file__
    with pytest.raises(VolumeError, match="RepetitionTime is 60"):
        from_image(image(), {"RepetitionTime": 60}, entities=ENTITIES)


@pytest.mark.parametrize(("tr", "unit"), [(1.25, "sec"), (1250, "msec"), (1250000, "usec")])
def test_the_repetition_time_of_the_header_has_a_unit(tr: float, unit: str) -> None:
    assert from_image(image((3, 4, 5, 1), tr, unit), entities=ENTITIES).tr == 1.25
    stated = from_image(image((3, 4, 5, 1), tr, unit), {"RepetitionTime": 2.0}, entities=ENTITIES)
    assert stated.tr == 2.0
    with pytest.raises(UsageError, match="no RepetitionTime"):
        from_image(image((3, 4, 5, 1), tr, "unknown"), entities=ENTITIES)


def test_an_image_of_several_volumes_is_none() -> None:
    with pytest.raises(VolumeError, match=r"expected an image of one volume, got shape \(3, 4, 1, 5\)"):
        from_image(image((3, 4, 1, 5)), METADATA, entities=ENTITIES)
    with pytest.raises(VolumeError, match=r"expected 3 dimensions, got shape \(3, 4\)"):
        BidsIncremental(DATA[..., 0], AFFINE, volume=1)


def test_metadata_that_came_with_a_volume_are_checked_when_asked() -> None:
    metadata = {"RepetitionTime": 2000, "ProtocolName": "func_task-rest_run-02"}
    one = volume(metadata=metadata, entities={"subject": "01", "task": "faces"})
    with pytest.warns(UnitsWarning, match="RepetitionTime 2000") as told:
        other = one.checked()
    assert told[0].filename == __file__
    assert dict(other.entities) == {"subject": "01", "task": "faces", "run": "02"}
    assert other.tr == 2.0
    assert np.shares_memory(other.data, one.data)
    assert other.checked() == other
    with pytest.raises(UsageError, match="volume 7 has no task and no RepetitionTime"):
        volume(metadata={}, entities={"subject": "01"}).checked()


def test_what_is_no_number_is_equal_to_itself() -> None:
    data = DATA.astype(np.float32)
    data[0, 0, 0] = np.nan
    metadata = {"RepetitionTime": 1.5, "Odd": float("nan"), "SliceTiming": np.array([0.0, np.nan])}
    one = BidsIncremental(data, AFFINE, volume=1, metadata=metadata)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != one.set("Odd", 1.0)
    assert one != one.set("SliceTiming", [0.0, 1.0])
    assert one != one.with_data(np.zeros_like(data))


def test_voxels_that_images_have_not() -> None:
    inside = BidsIncremental(DATA > 5, AFFINE, volume=1).image
    assert inside.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(inside.dataobj), DATA > 5)
    with pytest.raises(VolumeError, match="volume 1 is no NIfTI image"):
        _ = BidsIncremental(DATA.astype(np.int64), AFFINE, volume=1).image


@pytest.mark.parametrize("tr", [None, "long", [2.0]])
def test_a_repetition_time_that_is_none(tr: object) -> None:
    with pytest.raises(VolumeError, match="has no RepetitionTime"):
        _ = BidsIncremental(DATA, AFFINE, volume=1, metadata={"RepetitionTime": tr}).tr


@pytest.mark.parametrize("suffix", ["../x", "bo ld", "bold/x", "b\u00f6ld"])
def test_a_suffix_that_cannot_stand_in_a_name(suffix: str) -> None:
    metadata = {"RepetitionTime": 2.0}
    with pytest.raises(UsageError, match="cannot stand in a BIDS name"):
        from_image(image(), metadata, entities={"subject": "01", "task": "a"}, suffix=suffix)
    with pytest.raises(UsageError, match="cannot stand in a BIDS name"):
        from_image(image(), metadata | {"suffix": suffix}, entities={"subject": "01", "task": "a"})
    with pytest.raises(UsageError, match="cannot stand in a BIDS name"):
        BidsIncremental(DATA, AFFINE, volume=1, entities=ENTITIES, suffix=suffix).path()
    # Of a protocol's name it says nothing.
    named = from_image(
        image(), metadata | {"ProtocolName": f"func-{suffix}_task-a"}, entities={"subject": "01"}
    )
    assert named.file_name() == "sub-01_task-a_bold.nii"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_an_image_that_is_cut_off_is_told_in_a_sentence(tmp_path, ending) -> None:
    path = tmp_path / f"x{ending}"
    noise = np.random.default_rng(0).integers(0, 9999, (30, 30, 30), dtype=np.int16)
    nib.Nifti1Image(noise, AFFINE).to_filename(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(VolumeError, match="volume 1: the NIfTI image cannot be read"):
        from_image(path, {"RepetitionTime": 2.0}, entities={"subject": "01", "task": "a"})
