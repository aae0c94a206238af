"""What must not leave the scanner's host is taken out of what is sent, here and before it is sent."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass

from rtflow.dicom.deidentify import Dates, Descriptions, deidentify, prepare, written_uid
from rtflow.dicom.read import looks_like_dicom
from rtflow.errors import DicomError

_DICOM, _NIFTI, _JSON = "application/dicom", "application/x-nifti", "application/json"
_OF_PEOPLE = re.compile(
    r"Patient|Institution|Operator|Physician|Station|Device|Accession|Study|Comment|UID$|^MRN$", re.IGNORECASE
)
_NIFTI_HEADER = 348
_NIFTI_TEXTS = ((4, 32), (148, 252), (328, 344))
"""Of NIfTI-1: data_type and db_name, descrip and aux_file, intent_name."""


@dataclass(frozen=True)
class Protection:
    """How what is sent is made safe.

    Parameters
    ----------
    key
        The site's secret; None sends everything as it is.
    dates, descriptions
        As for `rtflow.dicom.deidentify.deidentify`.
    """

    key: bytes | None
    dates: Dates = "kept"
    descriptions: Descriptions = "cleaned"

    def prepare(self) -> None:
        """Load what is needed, before the first image comes."""
        if self.key is not None:
            prepare()

    def of_object(self, name: str, data: bytes) -> tuple[str, bytes]:
        """Name and bytes under which a DICOM object may leave: the name of its file may name the patient.

        Raises
        ------
        IncompleteError
            If it is not whole yet.
        DicomError
            If it must not leave.
        """
        if self.key is None:
            return name, data
        safe = deidentify(data, self.key, dates=self.dates, descriptions=self.descriptions)
        return f"{written_uid(safe)}.dcm", safe

    def of_part(self, name: str, media_type: str, data: bytes) -> tuple[str, bytes]:
        """The same for a part of a volume that a source knows.

        Raises
        ------
        DicomError
            If it must not leave.
        """
        if self.key is None:
            return name, data
        if media_type == _DICOM:
            return self.of_object(name, data)
        if media_type == _NIFTI:
            return name, _without_texts(data)
        if media_type == _JSON:
            return name, self._without_people(data)
        raise DicomError(f"what is of the type {media_type!r} cannot be made safe")

    def of_file(self, data: bytes) -> bytes:
        """A file that was asked for: a DICOM object is made safe, any other is as it is.

        Raises
        ------
        DicomError
            If it is a DICOM object that must not leave.
        """
        return self.of_object("", data)[1] if self.key is not None and looks_like_dicom(data) else data

    def _without_people(self, data: bytes) -> bytes:
        try:
            about = json.loads(data)
        except ValueError:
            raise DicomError("a sidecar is no JSON") from None
        if not isinstance(about, dict):
            raise DicomError("a sidecar holds no fields")
        drop = {name for name in about if _OF_PEOPLE.search(name)}
        if self.dates == "moved":
            drop |= {name for name in about if "Date" in name}
        if self.descriptions == "removed":
            drop |= {"SeriesDescription", "ProtocolName"}
        return json.dumps({name: value for name, value in about.items() if name not in drop}).encode()


def _without_texts(data: bytes) -> bytes:
    """A NIfTI-1 file without its free texts and extensions."""
    order = next((order for order in "<>" if data[:4] == struct.pack(f"{order}i", _NIFTI_HEADER)), None)
    if order is None or len(data) < _NIFTI_HEADER + 4:
        raise DicomError("an image is no NIfTI-1 file, and only such can be made safe")
    changed = bytearray(data)
    for start, end in _NIFTI_TEXTS:
        changed[start:end] = bytes(end - start)
    start = int(struct.unpack_from(f"{order}f", data, 108)[0])
    if not _NIFTI_HEADER + 4 <= start <= len(data):
        raise DicomError("an image's header does not say where its voxels begin")
    changed[_NIFTI_HEADER:start] = bytes(start - _NIFTI_HEADER)
    return bytes(changed)
