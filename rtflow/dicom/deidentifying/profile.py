"""The Basic Application Level Confidentiality Profile of DICOM PS3.15, Annex E: what becomes of an element.

The table of the profile (E.1-1) comes from the library `dicom-anonymizer`, which keeps it up to date. Three
rules stand above it: what `rtflow.dicom.deidentifying.kept` lists is kept; of what the table does not name,
free text and whatever does not describe the image is removed; and the table holds at every depth.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from rtflow.dicom.deidentifying.kept import IMAGE_GROUPS, STANDARD

#: Edition of the standard whose table is applied.
EDITION = "2026c"
#: ImageComments: free text, in which multiband sequences say what they made.
IMAGE_COMMENTS = 0x00204000
#: Where the frames of encapsulated pixel data begin, and how long they are.
_FRAME_TABLES = frozenset({0x7FE00001, 0x7FE00002})
_OVERLAYS_AND_CURVES = (0x5000, 0x6000)

_TEXTS = frozenset({b"LO", b"SH", b"ST", b"LT", b"UT", b"UC"})
_BINARY = frozenset({b"US", b"SS", b"UL", b"SL", b"UV", b"SV", b"FL", b"FD", b"AT"})


class Fate(Enum):
    """What becomes of an element."""

    REMOVED = "removed"
    EMPTIED = "left without value"
    DUMMY = "given a value without meaning"
    UID = "replaced by a keyed hash, unless the standard defined it"
    DATE = "kept if a date, moved if so wished"
    TIME = "kept if a time"
    TEXT = "kept without what identifies the patient"
    CODE = "kept if words in capitals that do not identify the patient"
    DECIMAL = "kept if numbers"
    BINARY = "kept if it does not spell what identifies the patient"
    SEQUENCE = "its items' elements, one by one"
    COMMENT = "kept if a multiband sequence wrote it"


# Where the table leaves a choice, what an MR image must have decides: none of the elements that may be
# emptied (Z/D) must have a value there; of those that may be removed (X/D), some must.
_FATES = {
    "X_TAGS": Fate.REMOVED,
    "Z_TAGS": Fate.EMPTIED,
    "X_Z_TAGS": Fate.EMPTIED,
    "Z_D_TAGS": Fate.EMPTIED,
    "D_TAGS": Fate.DUMMY,
    "X_D_TAGS": Fate.DUMMY,
    "X_Z_D_TAGS": Fate.DUMMY,
    "U_TAGS": Fate.UID,
    "X_Z_U_STAR_TAGS": Fate.SEQUENCE,
}


@cache
def _table() -> dict[int, Fate]:
    from dicomanonymizer.dicomfields_selector import (  # type: ignore[import-untyped,unused-ignore]
        dicom_anonymization_database_selector,
    )

    actions = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    # Ranges (overlays and curves) have four numbers; they are removed as whole groups.
    return {
        group << 16 | element: fate
        for action, fate in _FATES.items()
        for group, element in (tag for tag in actions[action] if len(tag) == 2)
    }


@cache
def representation(tag: int) -> bytes:
    """Value representation of a standard element, the first if it has several; empty if it is not known."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)[:2].encode("ascii")
    except KeyError:
        return b""


@cache
def fate_of(tag: int) -> Fate:
    """What becomes of a standard element.

    >>> fate_of(0x00100010), fate_of(0x00080090), fate_of(0x0008103E), fate_of(0x00200032)
    (<Fate.EMPTIED: ...>, <Fate.EMPTIED: ...>, <Fate.TEXT: ...>, <Fate.DECIMAL: ...>)
    """
    group, kind = tag >> 16, representation(tag)
    if tag in _FRAME_TABLES:
        return Fate.BINARY
    if tag == IMAGE_COMMENTS:
        return Fate.COMMENT
    if tag & 0xFFFF == 0 or group & 0xFF00 in _OVERLAYS_AND_CURVES or not kind:
        return Fate.REMOVED
    if tag not in STANDARD:
        if fate := _table().get(tag):
            return Fate.EMPTIED if fate is Fate.DUMMY and kind == b"SQ" else fate
        if group not in IMAGE_GROUPS or kind in _TEXTS or kind in (b"DA", b"TM", b"DT"):
            return Fate.REMOVED
    return _kept_as(kind)


def _kept_as(kind: bytes) -> Fate:
    if kind in _TEXTS:
        return Fate.TEXT
    if kind in _BINARY:
        return Fate.BINARY
    return {
        b"CS": Fate.CODE,
        b"DS": Fate.DECIMAL,
        b"IS": Fate.DECIMAL,
        b"DA": Fate.DATE,
        b"DT": Fate.DATE,
        b"TM": Fate.TIME,
        b"UI": Fate.UID,
        b"SQ": Fate.SEQUENCE,
    }.get(kind, Fate.REMOVED)
