"""Which series and volume does a DICOM object belong to, and which planes of it are there?

Never by file name or order: only the header counts. Each vendor's rule is a function that says yes with an
`Instance`, or None; another vendor joins by adding one to ``_RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rtflow.dicom.enhanced import shown_apart
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
    instance = classify(header)
    if instance.uncounted is not None:
        raise instance.uncounted
    return instance


def classify(header: Header) -> Instance:
    """The series and the planes of a DICOM object, also where its header does not tell the volume.

    Raises
    ------
    UnsupportedError
        If it is of a vendor, or a kind, that is not known; says what it is.
    DicomError
        If the header lacks what is needed beside the volume.
    """
    return classify_parts(header)[0]


def classify_parts(header: Header) -> list[Instance]:
    """The same for each kind and part of the signal that the frames of an object show.

    Magnitude comes first, and of that BOLD. What is no enhanced object shows one.

    Raises
    ------
    UnsupportedError, DicomError
        As `classify` does.
    """
    if header.text("Modality") == "MR" and not header.frames:
        frames = header.integer("NumberOfFrames") or 1
        if frames > 1:
            raise UnsupportedError(
                f"{describe(header)}: {frames} frames without their places (5200,9230); export enhanced MR "
                "images, or one image a file"
            )
    apart = shown_apart(header)
    if len(apart) < 2:
        return [_by_vendor(header)]
    instances = []
    for numbers in apart:
        own = _by_vendor(replace(header, frames=tuple(header.frames[number] for number in numbers)))
        pieces = tuple(
            replace(piece, frames=tuple(numbers[frame] for frame in piece.frames)) for piece in own.pieces
        )
        instances.append(replace(own, pieces=pieces))
    return instances


def _by_vendor(header: Header) -> Instance:
    modality = header.text("Modality")
    if modality == "MR":
        for rule in _RULES:
            instance = rule(header)
            if instance is not None:
                return instance
    raise UnsupportedError(
        f"{describe(header)}{'' if modality == 'MR' else f', modality {modality or chr(63)}'}: "
        f"not supported; supported: {SUPPORTED}"
    )
