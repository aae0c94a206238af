"""DICOM files of a known person, secrets to plant in them, and the search for what is left of these."""

import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pydicom
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset

from rtflow.dicom.deidentifying.profile import EDITION
from rtflow.dicom.writing import ScanSeries, write_run

KEY = bytes(range(32))
FAMILY, GIVEN, NUMBER, HOSPITAL, SERIAL = (
    "Quastenflosser",
    "Zebülon",
    "QX7731Z",
    "Klinik Wunderberg",
    "SN-880K",
)
BIRTH = "19210517"
#: Written into every text that the profile takes out; no other text has it.
MARK = "Plnt"
ROOT_UID = "1.2.826.0.1.3680043.8.498."
TABLE = sorted(
    group << 16 | element
    for action, tags in dicom_anonymization_database_selector(f"dicomfields_{EDITION}").items()
    if action != "ALL_TAGS"
    for group, element in (tag for tag in tags if len(tag) == 2)
)
#: Those that stand in the data set before the pixels.
WITHIN = [tag for tag in TABLE if 0x00020000 < tag < 0x7FE00010 and tag >> 16 != 2]
#: What must not be found, whatever its case and encoding.
SECRETS = [
    FAMILY,
    GIVEN,
    "Zebuelon",
    NUMBER,
    HOSPITAL,
    SERIAL,
    BIRTH,
    "17.05.1921",
    "1921-05-17",
    MARK,
    ROOT_UID,
]


@cache
def written(vendor: str) -> bytes:
    series = ScanSeries(np.diag([-3.0, 3.0, 4.0, 1.0]), tr=2.0, slice_times=[0.0, 1.0, 0.5, 1.5], planned=1)
    voxels = np.arange(8 * 8 * 4, dtype=np.int16).reshape(8, 8, 4)
    return next(iter(write_run(vendor, series, [[voxels]]))).data


def opened(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def stored(dataset: pydicom.FileDataset, **options: Any) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True, **options)
    return stream.getvalue()


def base(vendor: str = "siemens-mosaic") -> pydicom.FileDataset:
    return opened(written(vendor))


def without_pixels(data: bytes) -> bytes:
    pixels = opened(data).PixelData
    at = data.rindex(pixels)
    return data[:at] + data[at + len(pixels) :]


def assert_clean(data: bytes, secrets: Sequence[str] = SECRETS) -> None:
    """The raw bytes have none of the secrets, in any encoding and case."""
    raw = without_pixels(data).lower()
    for secret in secrets:
        for encoding in ("latin-1", "utf-8", "utf-16-le", "utf-16-be"):
            assert secret.lower().encode(encoding) not in raw, f"{secret} in {encoding}"


def elements(dataset: Dataset) -> Iterator[pydicom.DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def representation(tag: int) -> str:
    """Value representation; of elements younger than pydicom, a text."""
    return dictionary_VR(tag).split(" or ")[0] if dictionary_has_tag(tag) else "LO"


def planted(tag: int) -> Any:
    """A value for an element of the profile's table, by which it would be known anywhere."""
    kind = representation(tag)
    if kind == "SQ":
        item = Dataset()
        item.PatientName = f"{FAMILY}^{GIVEN}"
        item.TextString = f"{MARK} {tag:08x}"
        deep = Dataset()
        deep.PatientID, deep.InstitutionName, deep.StudyDate = NUMBER, HOSPITAL, BIRTH
        item.ReferencedStudySequence = [deep]
        return [item]
    return {
        "PN": f"{FAMILY}^{GIVEN}",
        "UI": f"{ROOT_UID}{tag}",
        "DA": BIRTH,
        "DT": f"{BIRTH}031415.926535",
        "TM": "031415.926535",
        "AS": "094Y",
        "DS": "31415.9265",
        "IS": "314159265",
        "CS": MARK.upper(),
        "SH": f"{MARK}{tag:08x}",
        "AE": f"{MARK}{tag:08x}",
        **dict.fromkeys(("OB", "UN", "OW"), f"{MARK} {tag:08x}".encode() + b" "),
        **dict.fromkeys(("FD", "FL"), 31415.9265),
        **dict.fromkeys(("US", "SS", "UL", "SL"), 31415),
        "AT": 0x00100010,
        "UR": f"http://{MARK}.example/{tag:08x}",
    }.get(kind, f"{MARK} {tag:08x} {FAMILY}")


def identified(vendor: str = "siemens-mosaic") -> pydicom.FileDataset:
    """A file of a person with a known name, number, birth date, hospital and scanner."""
    dataset = base(vendor)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{FAMILY}^{GIVEN}", NUMBER, BIRTH
    dataset.InstitutionName, dataset.DeviceSerialNumber = HOSPITAL, SERIAL
    return dataset
