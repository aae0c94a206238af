"""What leaves the scanner's host names nobody: objects, images with their sidecars, and files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scanning import volume_file

from rtflow.agents.protection import Protection
from rtflow.dicom.elements import IncompleteError
from rtflow.errors import DicomError

KEY = bytes(range(32))
SAFE = Protection(KEY)
AS_IT_IS = Protection(None)
NIFTI, JSON, DICOM = "application/x-nifti", "application/json", "application/dicom"


@pytest.fixture
def named(tmp_path: Path) -> bytes:
    path = tmp_path / "one.dcm"
    path.write_bytes(volume_file(1))
    dataset = pydicom.dcmread(path)
    dataset.PatientName = "Somebody^Else"
    dataset.save_as(path)
    return path.read_bytes()


def test_an_object_has_another_name_and_names_nobody(named: bytes) -> None:
    name, data = SAFE.of_object("SOMEBODY.MR.0001.IMA", named)
    assert b"Somebody" not in data
    assert name == f"{pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)).SOPInstanceUID}.dcm"
    assert SAFE.of_object("other.dcm", named) == (name, data)  # sent again, it is the same
    assert AS_IT_IS.of_object("a.dcm", named) == ("a.dcm", named)


def test_one_that_is_cut_off_waits(named: bytes) -> None:
    with pytest.raises(IncompleteError):
        SAFE.of_object("a.dcm", named[:-100])


def image(**texts: bytes) -> bytes:
    made = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
    for field, text in texts.items():
        made.header[field] = text
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Somebody once more"))
    return made.to_bytes()


def test_an_image_loses_its_texts_and_nothing_else() -> None:
    data = image(descrip=b"Somebody", aux_file=b"Somebody.txt", intent_name=b"Somebody", db_name=b"Somebody")
    name, safe = SAFE.of_part("a.nii", NIFTI, data)
    assert name == "a.nii"
    assert b"Somebody" not in safe
    before, after = nib.Nifti1Image.from_bytes(data), nib.Nifti1Image.from_bytes(safe)
    np.testing.assert_array_equal(after.dataobj, before.dataobj)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert not after.header.extensions
    assert AS_IT_IS.of_part("a.nii", NIFTI, data) == ("a.nii", data)


@pytest.mark.parametrize("data", [b"", b"x" * 400, image()[:340]])
def test_what_is_no_image_does_not_leave(data: bytes) -> None:
    with pytest.raises(DicomError):
        SAFE.of_part("a.nii", NIFTI, data)


def test_a_sidecar_loses_who_where_and_by_whom() -> None:
    kept = {"RepetitionTime": 2.0, "TaskName": "rest", "SliceTiming": [0.0, 1.0], "ProtocolName": "func"}
    lost = {
        "PatientName": "Somebody",
        "InstitutionName": "Somewhere",
        "OperatorsName": "Someone",
        "DeviceSerialNumber": "1",
        "StudyInstanceUID": "1.2",
        "ImageComments": "Somebody",
    }
    sidecar = json.dumps(kept | lost | {"AcquisitionDate": "20200101"}).encode()
    _, safe = SAFE.of_part("a.json", JSON, sidecar)
    assert json.loads(safe) == kept | {"AcquisitionDate": "20200101"}
    _, safest = Protection(KEY, dates="moved", descriptions="removed").of_part("a.json", JSON, sidecar)
    assert json.loads(safest) == {name: kept[name] for name in kept if name != "ProtocolName"}
    with pytest.raises(DicomError):
        SAFE.of_part("a.json", JSON, b"[]")
    with pytest.raises(DicomError):
        SAFE.of_part("a.json", JSON, b"{")


def test_parts_of_other_types_do_not_leave(named: bytes) -> None:
    with pytest.raises(DicomError, match="text/plain"):
        SAFE.of_part("a.txt", "text/plain", b"Somebody")
    assert b"Somebody" not in SAFE.of_part("a.dcm", DICOM, named)[1]


def test_files_that_are_no_dicom_are_as_they_are(named: bytes) -> None:
    assert SAFE.of_file(b"text") == b"text"
    assert b"Somebody" not in SAFE.of_file(named)
