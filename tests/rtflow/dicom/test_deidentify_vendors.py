"""What is left of each vendor's files is what conversion needs: by dcm2niix and by rtflow's own reader."""

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from rtflow.dicom import tags
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.deidentify import deidentify
from rtflow.dicom.deidentifying import headers, kept
from rtflow.dicom.deidentifying.identity import DATES, WHOLE
from rtflow.dicom.deidentifying.profile import Fate, fate_of
from rtflow.dicom.identify import read_object
from rtflow.dicom.mosaic import CSA_FIELDS
from rtflow.dicom.writing import VENDORS, ScanSeries, write_run

KEY = bytes(range(32))
VOLUMES = 2
#: Real series, and how many of their files are enough for a volume or two.
SERIES = {
    "siemens_E11_mosaic_rtcloud": 3,
    "siemens_E11_mosaic_nihAP": 2,
    "siemens_E11_mosaic_nihRL": 2,
    "siemens_D13_mosaic_ep2dInt": 3,
    "siemens_D13_mosaic_multiecho": 4,
    "siemens_Trio_mosaic_opennft155": 3,
    "siemens_XA30_enhanced_fa7": 3,
    "siemens_XA30_classic_fa7": 66,
    "ge_MR750_slices_nih4": 150,
    "ge_Architect_HB3_48": 144,
    "philips_classic_magdeburg": 27,
    "philips_classic_studyforrest_half1": 2730,
}
#: What dcm2niix reads out of elements that are not kept, or are cleaned: none is needed to use the image.
UNNEEDED = {
    *("DeviceSerialNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
    *("StationName", "ProcedureStepDescription", "StudyDescription", "ImageComments", "StudyID"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "BidsGuess"),
    *("TablePosition", "ShimSetting", "TxRefAmp", "ConsistencyInfo", "CoilCombinationMethod", "WipMemBlock"),
    *("PrescanReuseString", "AcquisitionDuration"),
    *(
        "ImageOrientationText",
        "ProtocolName",
        "SeriesDescription",
        "SequenceName",
        "PatientSex",
        "PatientAge",
    ),
}


def scan(vendor: str) -> list[bytes]:
    """Files of a short simulated run, with a person in it."""
    shape = (8, 8, 4)
    random = np.random.default_rng(1)
    series = ScanSeries(
        np.array([[-3.0, 0, 0, 40], [0, 3, 0, -50], [0, 0, 4, -20], [0, 0, 0, 1]]),
        tr=2.0,
        slice_times=[0.0, 1.0, 0.5, 1.5],
        planned=VOLUMES,
        patient_name="Quastenflosser^Zebulon",
        patient_id="QX7731Z",
        name="func_task-nback_Quastenflosser",
    )
    runs = ([random.integers(0, 4000, shape, dtype=np.int16)] for _ in range(VOLUMES))
    return [written.data for written in write_run(vendor, series, runs)]


def converted(files: Iterable[bytes], folder: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    """By name: what dcm2niix makes of the files."""
    source, target = folder / "dicom", folder / "nifti"
    source.mkdir(parents=True)
    target.mkdir()
    for number, data in enumerate(files):
        (source / f"{number:05}.dcm").write_bytes(data)
    subprocess.run(
        [dcm2niix.bin, "-b", "y", "-ba", "n", "-z", "n", "-f", "%s_%e", "-o", target, source],
        check=True,
        stdout=subprocess.PIPE,
    )
    return {
        path.stem: (nib.load(path), json.loads(path.with_suffix(".json").read_text()))
        for path in sorted(target.glob("*.nii"))
    }


def assert_same_conversion(files: Sequence[bytes], safe: Sequence[bytes], folder: Path) -> None:
    before, after = converted(files, folder / "before"), converted(safe, folder / "after")
    assert before.keys() == after.keys()
    assert before
    for name, (image, metadata) in before.items():
        other, less = after[name]
        assert np.array_equal(np.asanyarray(image.dataobj), np.asanyarray(other.dataobj))
        assert np.array_equal(image.affine, other.affine)
        assert image.header.get_zooms() == other.header.get_zooms()
        assert "RepetitionTime" in metadata
        unneeded = UNNEEDED | {
            key for key in metadata if key.startswith(("Patient", "Accession", "Operator", "Referring"))
        }
        unneeded |= {key for key in metadata if key.endswith("InstanceUID")}
        assert {k: v for k, v in metadata.items() if k not in unneeded} == {
            k: v for k, v in less.items() if k not in unneeded
        }


def assert_same_reading(files: Sequence[bytes], safe: Sequence[bytes]) -> None:
    before, after = [read_object(data) for data in files], [read_object(data) for data in safe]
    series = {}
    for one, other in zip(before, after, strict=True):
        assert (one.instance.pieces, one.instance.slices, one.instance.echoes, one.instance.acquired) == (
            (other.instance.pieces, other.instance.slices, other.instance.echoes, other.instance.acquired)
        )
        assert (one.instance.tr, one.instance.planned) == (other.instance.tr, other.instance.planned)
        # Files that belonged together still do, and no others.
        assert (
            series.setdefault(one.instance.series.uid, other.instance.series.uid) == other.instance.series.uid
        )
        assert one.instance.series.uid != other.instance.series.uid
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
    assert len(set(series.values())) == len(series)
    volume = min(piece.volume for piece in before[0].instance.pieces)
    for one, other in zip(to_incrementals(before, volume), to_incrementals(after, volume), strict=True):
        assert np.array_equal(one.data, other.data)
        assert np.array_equal(one.affine, other.affine)
        cleaned = {
            "SeriesDescription",
            "ProtocolName",
            "SequenceName",
            "SeriesInstanceUID",
            "ReceiveCoilName",
        }
        assert {k: v for k, v in one.metadata.items() if k not in cleaned} == {
            k: v for k, v in other.metadata.items() if k not in cleaned
        }


def every_element(dataset: Dataset) -> Iterable[pydicom.DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from every_element(item)


def assert_nothing_survives(data: bytes, safe: bytes) -> None:
    """No value of the elements that the profile takes out is found anywhere in the new file."""
    import io

    dataset = pydicom.dcmread(io.BytesIO(data))
    rest = safe[: safe.rindex(dataset.PixelData)]
    for element in every_element(dataset):
        if element.tag.is_private or element.VR in ("SQ", "OB", "OW"):
            continue
        fate = fate_of(int(element.tag))
        values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
        for value in map(str, values):
            if fate is Fate.UID and value and not value.startswith("1.2.840.10008."):
                assert value.encode() not in rest, element
            # Short ones, "1" and "MR", stand in other places with another meaning.
            elif element.tag in WHOLE | DATES or element.VR == "PN":
                words = [
                    word for word in value.replace("^", " ").split() if len(word) > 5 and not word.isdigit()
                ]
                assert not [word for word in words if word.lower().encode() in rest.lower()], element


@pytest.mark.parametrize("vendor", VENDORS)
def test_simulated_files_convert_as_before(vendor: str, tmp_path: Path) -> None:
    files = scan(vendor)
    safe = [deidentify(data, KEY) for data in files]
    for data, other in zip(files, safe, strict=True):
        assert_nothing_survives(data, other)
        assert b"quastenflosser" not in other.lower()
    assert_same_reading(files, safe)
    assert_same_conversion(files, safe, tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize("name", SERIES)
def test_real_files_convert_as_before(name: str, series: Callable[[str], Path], tmp_path: Path) -> None:
    paths = sorted(path for path in (series(name) / "dicom").rglob("*") if path.is_file())
    files = [path.read_bytes() for path in paths[: SERIES[name]]]
    if name == "philips_classic_studyforrest_half1":
        files = [data for data in files if read_object(data).instance.volume <= VOLUMES]
    safe = [deidentify(data, KEY) for data in files]
    for data, other in islice(zip(files, safe, strict=True), 40):
        assert_nothing_survives(data, other)
    assert_same_reading(files, safe)
    assert_same_conversion(files, safe, tmp_path)


def test_what_the_reader_reads_is_kept() -> None:
    unlisted = {name for name, place in tags.PRIVATE.items() if place not in kept.PRIVATE}
    assert not unlisted, f"add {unlisted} to PRIVATE in rtflow/dicom/deidentifying/kept.py"
    standard = {name: tag for name, tag in tags.TAGS.items() if tag >> 16 & 1 == 0 and name != "PixelData"}
    lost = {
        name for name, tag in standard.items() if fate_of(tag) in (Fate.REMOVED, Fate.EMPTIED, Fate.DUMMY)
    }
    # The participant is compared with the session's by it, where it is there; emptied, it says nothing.
    assert lost == {"PatientID"}, (
        f"add {lost} to rtflow/dicom/deidentifying/kept.py, if they may leave the scanner's host"
    )
    assert CSA_FIELDS <= headers.CSA_FIELDS
    macros = {
        (group, element)
        for group, _, element in kept.PRIVATE
        if kept.PRIVATE[group, _, element].name == "SEQUENCE"
    }
    assert macros >= tags.PRIVATE_MACROS
    assert all(fate_of(tag) is Fate.SEQUENCE for tag in (*tags.MACROS, tags.SHARED_GROUPS, tags.FRAME_GROUPS))
