"""Arbitrary data sets: whatever stands in them, secrets do not leave; damaged files never crash."""

import io
import warnings
from collections.abc import Iterator

import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from persons import BIRTH, FAMILY, HOSPITAL, KEY, NUMBER, assert_clean, identified, opened, stored, written
from pydicom.datadict import DicomDictionary

from rtflow.dicom.deidentify import deidentify
from rtflow.dicom.deidentifying import kept
from rtflow.dicom.deidentifying.parsing import Coding, Element, Level
from rtflow.dicom.deidentifying.profile import Fate, fate_of
from rtflow.dicom.writing import VENDORS
from rtflow.errors import DicomError

#: What the tests of the object's kind look at, and what its structure hangs on.
FIXED = {
    *(0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080064, 0x00100010, 0x00100020, 0x00100030),
    *(0x00080080, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280301),
}
TAGS = sorted(tag for tag in DicomDictionary if 0x00080000 < tag < 0x7FE00000 and tag not in FIXED)
KINDS = [b"LO", b"SH", b"LT", b"UT", b"UN", b"OB", b"CS", b"DS", b"PN", b"FD", b"UL"]
EXPLICIT = Coding("<", explicit=True)

words = st.sampled_from([FAMILY, FAMILY.upper(), NUMBER, NUMBER.lower(), HOSPITAL, BIRTH, "17.05.1921"])
filling = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=12)
texts = st.lists(st.one_of(words, filling), min_size=1, max_size=5).map(lambda parts: "".join(parts).encode())
kinds = st.sampled_from(KINDS)


@st.composite
def levels(draw: st.DrawFn, depth: int = 2) -> Level:
    """Elements of one level: standard ones, listed private ones, somebody else's; texts in all of them."""
    found: dict[int, Element] = {}
    for tag in draw(st.lists(st.sampled_from(TAGS), max_size=8, unique=True)):
        kind = DicomDictionary[tag][0].split(" or ")[0].encode()
        if kind == b"SQ":
            items = draw(st.lists(levels(depth - 1), max_size=2)) if depth else []
            found[tag] = Element(tag, kind, b"", items)
        else:
            found[tag] = Element(tag, draw(st.sampled_from([kind, kind, b"UN", b"LO"])), draw(texts))
    listed = draw(st.lists(st.sampled_from(sorted(kept.PRIVATE)), max_size=3, unique=True))
    for block, (group, creator, number) in enumerate([*listed, (0x0029, b"SOMEBODY", 0x10)], 0x10):
        found[group << 16 | block] = Element(group << 16 | block, b"LO", creator)
        tag = group << 16 | block << 8 | number
        found[tag] = Element(tag, draw(kinds), draw(texts))
    return [found[tag] for tag in sorted(found)]


def taken_apart(data: bytes) -> tuple[bytes, Level]:
    """What stands before the data set, and its elements."""
    at = 132 + 12 + int.from_bytes(data[140:144], "little")
    return data[:at], EXPLICIT.read(data[at:])


def every_element(level: Level) -> Iterator[Element]:
    for element in level:
        yield element
        for item in element.items or ():
            yield from every_element(item)


PLAIN = stored(identified())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(levels())
@example([Element(0x00190010, b"LO", b"GEMS_ACQU_01"), Element(0x0019107E, b"LO", b"17.05.1921")])
@example([Element(0x00190010, b"LO", b"GEMS_ACQU_01"), Element(0x0019109C, b"LO", b"1921051717.05.1921")])
def test_secrets_do_not_leave(level: Level) -> None:
    before, own = taken_apart(PLAIN)
    own = [element for element in own if not element.tag >> 16 & 1]
    there = {element.tag for element in own}
    added = [element for element in level if element.tag not in there and element.tag != 0x00189114]
    merged = sorted([*own, *added, Element(0x00189114, b"SQ", b"", [level])], key=lambda element: element.tag)
    try:
        safe = deidentify(before + EXPLICIT.write(merged), KEY)
    except DicomError:
        return  # a vendor's header that is none: it does not leave
    assert_clean(safe, [FAMILY, NUMBER, HOSPITAL, "17.05.1921"])
    _, after = taken_apart(safe)
    assert after[-1] == own[-1]
    for element in every_element(after):
        if (
            element.tag >> 16 & 1 == 0
            and element.tag >> 16 not in (0x0012, 0x7FE0)
            and element.tag != 0x00280303
        ):
            assert fate_of(element.tag) is not Fate.REMOVED
    # What has been made safe stays, with other UIDs.
    _, again = taken_apart(deidentify(safe, KEY))
    assert [(e.tag, len(e.items or ())) for e in again] == [(e.tag, len(e.items or ())) for e in after]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VENDORS), st.data())
def test_damaged_files_are_refused_or_read(vendor: str, data: st.DataObject) -> None:
    file = bytearray(written(vendor))
    header = len(file) - len(opened(bytes(file)).PixelData)
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(file)), st.integers(0, len(file))))
    try:
        safe = deidentify(bytes(file[:length]), KEY)
    except DicomError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(safe))
        assert dataset.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("term", ["\0SO_IR 100", "SO_IR 6\\\0x", "undefined", "hex", "zlib"])
def test_a_damaged_character_set_is_none(term: str) -> None:
    file = stored(identified())
    damaged = file.replace(b"ISO_IR 100", term.encode().ljust(10, b"\0"), 1)
    assert damaged != file
    safe = deidentify(damaged, KEY)
    assert_clean(safe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a term that only one letter makes unknown
        dataset = pydicom.dcmread(io.BytesIO(safe))
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.SeriesDescription is not None


@pytest.mark.parametrize("escape", [b"\x1b", b"\x1b$B", b"\x1b(Z", b"\x1b\x1b-A"])
def test_an_escape_into_another_character_set_is_no_way_out(escape: bytes) -> None:
    name = FAMILY.encode()
    file = stored(identified())
    at = file.index(name)
    damaged = file[:at] + (escape + name)[: len(name)] + file[at + len(name) :]
    assert_clean(deidentify(damaged, KEY), (HOSPITAL, NUMBER))
