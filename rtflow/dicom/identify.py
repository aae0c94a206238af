"""Which series and volume does a DICOM object belong to, and which planes of it are there?

Never by file name or order: only the header counts. Each vendor's rule is a function that says yes with an
`Instance`, or None; another vendor joins by adding one to ``_RULES``.
"""

from __future__ import annotations

from collections.abc import Callable

from rtflow.dicom.ge import ge
from rtflow.dicom.instance import DicomObject, Instance, UnsupportedError
from rtflow.dicom.kinds import describe
from rtflow.dicom.philips import philips
from rtflow.dicom.read import Header, read_header
from rtflow.dicom.siemens import siemens

SUPPORTED = "MR images of Siemens, GE and Philips"

_RULES: tuple[Callable[[Header], Instance | None], ...] = (siemens, ge, philips)


def read_object(data: bytes) -> DicomObject:
    """Read one DICOM file.

    Raises
    ------
    DicomError
        If it is incomplete, damaged, or of a kind that is not supported.
    """
    header = read_header(data)
    return DicomObject(identify(header), header)


def identify(header: Header) -> Instance:
    """The place of a DICOM object in its run.

    Raises
    ------
    UnsupportedError
        If it is of a vendor, or a kind, that is not known; says what it is.
    DicomError
        If the header lacks what is needed to tell.
    """
    modality = header.text("Modality")
    if modality == "MR":
        frames = header.integer("NumberOfFrames") or 1
        if frames > 1 and not header.frames:
            raise UnsupportedError(
                f"{describe(header)}: {frames} frames without their places (5200,9230); export enhanced MR "
                "images, or one image a file"
            )
        for rule in _RULES:
            instance = rule(header)
            if instance is not None:
                return instance
    raise UnsupportedError(
        f"{describe(header)}{'' if modality == 'MR' else f', modality {modality or chr(63)}'}: "
        f"not supported; supported: {SUPPORTED}"
    )
