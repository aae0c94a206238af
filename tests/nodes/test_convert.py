"""Frames to BIDS-incrementals: from DICOM, from BIDS, and what is refused."""

import gzip
import json
from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scanning import mosaic_file

from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries
from rtflow.documents import Frame, Part
from rtflow.errors import DicomError, UsageError, VolumeError
from rtflow.nodes import DicomToBids, SkipDummies
from rtflow.nodes.convert import frame_to_incrementals

AFFINE = np.array([[-3.0, 0, 0.2, 10], [0, 3.1, 0, -20], [0.2, 0, 3.9, 5], [0, 0, 0, 1]])
DATA = np.random.default_rng(0).integers(0, 4000, (9, 8, 5), dtype=np.int16)


def dicom_frame(volume: int = 3, **series: Any) -> Frame:
    data = mosaic_file(ScanSeries(np.diag([-3.0, 3.0, 4.0, 1.0]), **series), DATA, volume)
    return Frame(volume, 0.0, (Part("x.dcm", "application/dicom", data),), payload=(read_object(data),))


def bids_frame(image: nib.Nifti1Image, metadata: dict[str, Any] | None = None) -> Frame:
    parts = [Part("x.nii", "application/x-nifti", image.to_bytes())]
    if metadata is not None:
        parts.append(Part("x.json", "application/json", json.dumps(metadata).encode()))
    return Frame(3, 0.0, tuple(parts))


def convert(frame: Frame, **inputs: Any) -> Any:
    node = DicomToBids(frame=frame, **inputs)
    return node.run().outputs.incremental


def test_a_dicom_frame() -> None:
    incremental = convert(dicom_frame(), subject="07", session="02", task="faces", run=2)
    np.testing.assert_array_equal(incremental.data, DATA)
    assert incremental.volume == 3
    assert incremental.entities == {"subject": "07", "session": "02", "task": "faces", "run": "2"}
    assert incremental.tr == 2.0


def test_the_parts_alone_give_the_same() -> None:
    frame = dicom_frame()
    assert convert(replace(frame, payload=None)) == convert(frame)
    assert convert(replace(frame, payload="something else")) == convert(frame)


def test_an_empty_session_is_none() -> None:
    assert convert(dicom_frame(), session="").entities == {"subject": "01", "task": "feedback", "run": "1"}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"subject": "sub-01"}, r"subject 'sub-01' .*letters and digits only, without 'sub-'"),
        ({"subject": "../../x"}, "letters and digits only"),
        ({"session": "a_b"}, "session 'a_b'"),
        ({"task": "gesichter-\u00fcben"}, "without 'task-'"),
        ({"run": "1a"}, "digits only, without 'run-'"),
    ],
)
def test_labels_that_cannot_stand_in_a_name_stop_the_run_at_its_start(make_context, labels, says) -> None:
    with pytest.raises(UsageError, match=says):
        DicomToBids(**labels).start_run(make_context())
    DicomToBids(subject="07", session="", task="faces", run="02").start_run(make_context())


def test_a_frame_and_its_header_must_agree() -> None:
    with pytest.raises(VolumeError, match=r"volume 4: by their headers the parts are of volume 3"):
        frame_to_incrementals(replace(dicom_frame(), volume=4), {})


def test_damaged_parts_are_refused() -> None:
    with pytest.raises(DicomError):
        frame_to_incrementals(Frame(1, 0.0, (Part("x", "application/dicom", b"\0" * 300),)), {})
    with pytest.raises(VolumeError, match="NIfTI image cannot be read"):
        frame_to_incrementals(Frame(1, 0.0, (Part("x", "application/x-nifti", b"\0" * 400),)), {})
    whole = nib.Nifti1Image(DATA, AFFINE).to_bytes()
    for broken in (whole[:-100], gzip.compress(whole)[:-100], whole[:100]):
        with pytest.raises(VolumeError, match="NIfTI image cannot be read"):
            frame_to_incrementals(Frame(1, 0.0, (Part("x", "application/x-nifti", broken),)), {})
    for sidecar in (b"{", b"[]", b"\xff"):
        parts = (Part("x", "application/x-nifti", whole), Part("y", "application/json", sidecar))
        with pytest.raises(VolumeError, match="JSON sidecar"):
            frame_to_incrementals(Frame(1, 0.0, parts), {})
    with pytest.raises(VolumeError, match=r"expected DICOM files.*got text/plain"):
        frame_to_incrementals(Frame(1, 0.0, (Part("x", "text/plain", b""),)), {})


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.dtype(">i2"), np.uint8])
def test_a_bids_frame_keeps_its_stored_values(dtype: Any) -> None:
    image = nib.Nifti1Image(DATA.astype(dtype), AFFINE)
    image.header.set_slope_inter(0.5, 10.0)
    incremental = convert(bids_frame(image, {"RepetitionTime": 1.5, "SliceTiming": [0.0, 0.5]}))
    np.testing.assert_array_equal(incremental.data, DATA.astype(dtype))
    assert incremental.data.dtype == np.dtype(dtype).newbyteorder("=")
    assert incremental.data.flags.f_contiguous
    assert (incremental.slope, incremental.intercept, incremental.tr) == (0.5, 10.0, 1.5)
    np.testing.assert_array_equal(incremental.affine, AFFINE.astype(np.float32))


def test_a_volume_with_a_last_axis_of_one_is_one() -> None:
    assert convert(bids_frame(nib.Nifti1Image(DATA[..., None], AFFINE))).data.shape == DATA.shape
    two = nib.Nifti1Image(np.stack([DATA, DATA], axis=-1), AFFINE)
    with pytest.raises(VolumeError, match="expected an image of one volume"):
        frame_to_incrementals(bids_frame(two), {})


def test_gzipped_and_nifti_2() -> None:
    expected = convert(bids_frame(nib.Nifti1Image(DATA, AFFINE)))
    plain = nib.Nifti1Image(DATA, AFFINE).to_bytes()
    other = nib.Nifti2Image(DATA, AFFINE.astype(np.float32)).to_bytes()
    for data in (gzip.compress(plain), other):
        assert convert(Frame(3, 0.0, (Part("x", "application/x-nifti", data),))) == expected


def test_what_dicom_gave_and_bids_kept_is_equal_to_the_bit() -> None:
    """A run replayed from its files gives the same volumes as the scanner did."""
    live = convert(dicom_frame(tr=1.97))
    kept = convert(bids_frame(live.image, dict(live.metadata)))
    assert kept == live
    assert kept.data.strides == live.data.strides
    assert kept.affine.tobytes() == live.affine.tobytes()


def test_the_setting_is_for_headers_without_a_repetition_time() -> None:
    image = nib.Nifti1Image(DATA, AFFINE)
    assert convert(bids_frame(image), tr=2.0).tr == 2.0
    assert convert(bids_frame(image, {"RepetitionTime": 1.995}), tr=2.0).tr == 1.995
    with pytest.raises(VolumeError, match=r"the header says RepetitionTime 1.5 s, the settings 2 s"):
        frame_to_incrementals(bids_frame(image, {"RepetitionTime": 1.5}), {}, tr=2.0)
    with pytest.raises(VolumeError, match=r"\[bids\] tr = SECONDS"):
        _ = convert(bids_frame(image)).tr


def test_dummies_are_withheld_by_number() -> None:
    skip = SkipDummies(volumes=2)
    passed = []
    for volume in (2, 3, 4):
        skip.inputs.incremental = convert(dicom_frame(volume))
        skip._results = {}
        skip._run_interface(None)
        passed += [volume] if "incremental" in skip._results else []
    assert passed == [3, 4]
