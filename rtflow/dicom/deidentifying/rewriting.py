"""The elements of an object, one by one, without what identifies people."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from rtflow.dicom.deidentifying import headers
from rtflow.dicom.deidentifying.identity import Identity
from rtflow.dicom.deidentifying.kept import DESCRIPTIONS, PRIVATE, Form
from rtflow.dicom.deidentifying.parsing import Element, Level
from rtflow.dicom.deidentifying.profile import Fate, fate_of, representation
from rtflow.dicom.deidentifying.pseudonyms import moved, new_uid
from rtflow.dicom.elements import PIXEL_DATA
from rtflow.errors import DicomError

_DESCRIPTIONS = frozenset(DESCRIPTIONS.values())
_BINARY = {b"US": 2, b"SS": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"FD": 8, b"AT": 4, b"UV": 8, b"SV": 8}
_TEXT_KINDS = frozenset({b"LO", b"SH", b"ST", b"LT", b"UT", b"UC", b"CS", b"IS", b"DS"})
_UNKNOWN = (b"UN", b"")
_BLOCKS = (b"OB", b"OW", b"UT", *_UNKNOWN)
_LONGEST_SEEN, _MOST_SEEN = 64, 20_000
_UNSEEN = Element(-1, b"", b"")

_NUMBER = rb"[ \0]*(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?[ \0]*"
_NUMBERS = re.compile(_NUMBER + rb"(?:\\" + _NUMBER + rb")*")
_WORDS = re.compile(rb"[-A-Z0-9_ .+*/\\\0]*")
_DATE = re.compile(r"((?:18|19|20)\d\d[01]\d[0-3]\d)([0-9.&+\-]{0,20})", re.ASCII)
_TIME = re.compile(r"[0-2]\d(?::?[0-5]\d(?::?[0-6]\d(?:\.\d{1,6})?)?)?", re.ASCII)
#: What multiband sequences write into ImageComments.
_COMMENT = re.compile(
    r"(?:Single-band reference(?: SENSE\d)?|Unaliased MB\d+(?:/PE\d+)?(?:/LB|/SENSE\d)?)", re.I | re.ASCII
)
#: Values without meaning, where an object must have one.
_DUMMIES = {
    **dict.fromkeys((b"AE", b"CS", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"), b"REMOVED"),
    **dict.fromkeys((b"DS", b"IS"), b"0"),
    b"AS": b"000Y",
    b"DA": b"19000101",
    b"DT": b"19000101000000",
    b"TM": b"000000",
    **{kind: bytes(size) for kind, size in _BINARY.items()},
}
_REDUCED: dict[Form, Callable[[bytes, headers.Clean], bytes]] = {
    Form.CSA_IMAGE: headers.reduced_csa_image,
    Form.CSA_SERIES: headers.reduced_csa_series,
    Form.PROTOCOL: headers.reduced_protocol,
    Form.GE_PROTOCOL: headers.reduced_ge_protocol,
    Form.GE_VARIABLES: headers.reduced_ge_variables,
}


@dataclass(frozen=True)
class Rewriting:
    """How elements are rewritten.

    Parameters
    ----------
    key
        The site's.
    identity
        What identifies the patient.
    encodings
        Python's names of the object's character sets; none if it has none but ASCII.
    days
        How many days dates are moved back.
    descriptions
        Whether the texts that tell the task are kept, cleaned.
    """

    key: bytes
    identity: Identity
    encodings: tuple[str, ...]
    days: int
    descriptions: bool
    _seen: dict[Element, Element | None] = field(default_factory=dict, compare=False, repr=False)

    def level(self, level: Level, *, outermost: bool = False) -> Level:
        """The elements of a level that stay, as they stay.

        Raises
        ------
        DicomError
            If an element stands twice, or a vendor's header cannot be read.
        """
        if len({element.tag for element in level}) < len(level):
            raise DicomError("damaged: a DICOM element stands twice in one object")
        blocks = {
            (tag >> 16, tag & 0xFF): value.strip(b" \0")
            for tag, _, value, items, _ in level
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF and items is None
        }
        kept: Level = []
        used: set[tuple[int, int]] = set()
        seen = self._seen
        for element in level:
            group, number = element.tag >> 16, element.tag & 0xFFFF
            stays: Element | None
            if element.tag == PIXEL_DATA:
                stays = element if outermost else None
            elif group & 1:
                block = group, number >> 8
                form = PRIVATE.get((group, blocks.get(block, b""), number & 0xFF)) if number > 0xFF else None
                stays = self._private(element, form) if form else None
                if stays is not None:
                    used.add(block)
            elif element.items is not None or len(element.value) > _LONGEST_SEEN:
                stays = self._standard(element)
            else:
                # Frame by frame and volume by volume, most elements are those of the one before.
                known = seen.get(element, _UNSEEN)
                stays = seen[element] = self._standard(element) if known is _UNSEEN else known
            if stays is not None:
                kept.append(stays)
        kept += [Element(block[0] << 16 | block[1], b"LO", blocks[block]) for block in used]
        kept.sort(key=_tag)
        if len(seen) > _MOST_SEEN:
            seen.clear()
        return kept

    def _standard(self, element: Element) -> Element | None:
        tag, kind, value, items, _ = element
        fate, expected = fate_of(tag), representation(tag)
        if fate is Fate.REMOVED:
            return None
        if fate is Fate.EMPTIED:
            return Element(tag, kind, b"", None if items is None else [])
        if fate is Fate.SEQUENCE:
            return None if items is None else Element(tag, kind, b"", [self.level(item) for item in items])
        if items is not None:
            return None  # a sequence where none belongs
        if fate is Fate.DUMMY:
            return Element(tag, kind, _DUMMIES.get(expected, b"") if value.strip(b" \0") else b"")
        if value and not (_alike(kind, expected) and _is_whole(kind, value)):
            return None
        safe = self._safe(fate, tag, value)
        return None if safe is None else Element(tag, kind, safe)

    def _safe(self, fate: Fate, tag: int, value: bytes) -> bytes | None:
        """The value as it may stay; None if it may not."""
        if not value:
            return value
        if fate is Fate.BINARY:
            return None if self.identity.spelled_in(value) else value
        if fate is Fate.DECIMAL:
            return value if self._numbers(value) else None
        if fate is Fate.CODE:
            return self._code(value) if _WORDS.fullmatch(value) else None
        if fate is Fate.TEXT:
            if tag in _DESCRIPTIONS:
                return self._text(value, self.identity.clean) if self.descriptions else None
            return self._text(value, self.identity.clean_software)
        text = value.decode("latin-1")
        parts = [part.strip(" \0") for part in text.split("\\")]
        if fate is Fate.UID:
            return "\\".join(new_uid(part, self.key) for part in parts).encode("latin-1")
        if fate is Fate.TIME:
            return value if all(not part or _TIME.fullmatch(part) for part in parts) else None
        if fate is Fate.DATE:
            return self._dates(parts)
        assert fate is Fate.COMMENT, fate
        found = _COMMENT.fullmatch(text.strip(" \0"))
        return found.group().encode("ascii") if found else None

    def _private(self, element: Element, form: Form) -> Element | None:
        tag, kind, value, items, _ = element
        if form is Form.SEQUENCE:
            return None if items is None else Element(tag, kind, b"", [self.level(item) for item in items])
        if items is not None:
            return None
        if reduce := _REDUCED.get(form):
            small = reduce(value, self.identity.clean_software) if value and kind in _BLOCKS else b""
            return Element(tag, kind, small) if small else None
        if form is Form.CODE:
            known = kind in _TEXT_KINDS or kind in _UNKNOWN
            return Element(tag, kind, self._text(value, self.identity.clean_software)) if known else None
        binary = _is_binary(kind, value) or (kind in _UNKNOWN and not _looks_like_text(value))
        text = kind in _TEXT_KINDS or kind in _UNKNOWN
        if (text and self._numbers(value)) or (binary and not self.identity.spelled_in(value)):
            return element
        return None

    def _text(self, value: bytes, clean: Callable[[str], str]) -> bytes:
        text = decoded(value, self.encodings)
        cleaned = clean(text)
        if cleaned == text:
            return value
        # What was cut is not put together again in another character set.
        return cleaned.encode("ascii") if cleaned.isascii() else b""

    def _numbers(self, value: bytes) -> bool:
        """Whether a text holds numbers, and none of them is the patient's."""
        return _NUMBERS.fullmatch(value) is not None and not self.identity.is_number(value)

    def _code(self, value: bytes) -> bytes:
        words = value.decode("ascii").strip(" \0").split("\\")
        kept = [self.identity.clean_software(word) for word in words]
        return value if kept == words else "\\".join(kept).upper().encode("ascii")

    def _dates(self, parts: list[str]) -> bytes | None:
        dates = []
        for part in parts:
            found = _DATE.fullmatch(part)
            if part and not found:
                return None
            day, time = found.groups() if found else ("", "")
            dates.append((moved(day, self.days) + time) if day and self.days else day + time)
        return "\\".join(dates).encode("ascii")


def _tag(element: Element) -> int:
    return element.tag


def _is_binary(kind: bytes, value: bytes) -> bool:
    return kind in _BINARY and _is_whole(kind, value)


def _is_whole(kind: bytes, value: bytes) -> bool:
    """Whether a binary value is one or several numbers of its kind."""
    return len(value) % _BINARY.get(kind, 1) == 0


def _looks_like_text(value: bytes) -> bool:
    """Whether bytes of unknown representation are a text; a binary number may be two letters by chance."""
    return len(value) > 2 and value.strip(b" \0").isascii() and value.strip(b" \0").decode().isprintable()


@cache
def _alike(kind: bytes, expected: bytes) -> bool:
    """Whether a file may store an element so: texts as texts, numbers as numbers."""
    if kind in _UNKNOWN or kind == expected:
        return True
    texts = (*_TEXT_KINDS, b"DA", b"TM", b"DT")
    return (kind in texts and expected in texts) or (kind in _BINARY and expected in _BINARY)


def decoded(value: bytes, encodings: tuple[str, ...]) -> str:
    """A text, in the character sets that the object names."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if not encodings:
        return value.decode("latin-1")
    import warnings

    from pydicom.charset import decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape into a character set that the object does not name
        return decode_bytes(value, list(encodings), {0x5C})
