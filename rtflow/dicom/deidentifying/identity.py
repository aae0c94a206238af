"""What identifies the patient in one object, so that it can be found wherever else somebody typed it in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

#: Dates of birth, in the calendars that there are, and of death.
DATES = frozenset({0x00100030, 0x00100033, 0x00100034})
#: Numbers of the patient, the visit and the device, and where they are.
WHOLE = frozenset(
    {
        *(0x00100020, 0x00101000, 0x00101040, 0x00101090, 0x00102154),
        *(0x00080050, 0x00080080, 0x00080081, 0x00080092, 0x00080094, 0x00081010, 0x00081040, 0x00181000),
        *(0x00181008, 0x00200010, 0x00321020, 0x00380010, 0x00380300, 0x00380400, 0x00400241, 0x00400242),
        *(0x00400243, 0x00400253, 0x00401001, 0x00402016, 0x00402017, 0x00120040, 0x00120042),
    }
)
# Words of the field. A phantom or a person may be called so, but where software writes them they are none.
_VOCABULARY = frozenset(
    {
        *("siemens", "healthineers", "healthcare", "philips", "medical", "systems", "magnetom", "prisma"),
        *("skyra", "trio", "triotim", "verio", "vida", "sola", "aera", "avanto", "terra", "cima", "lumina"),
        *("free.max", "achieva", "ingenia", "elition", "ambition", "dstream", "intera", "signa"),
        *("discovery", "premier", "architect", "pioneer", "original", "primary", "derived", "secondary"),
        *("other", "mosaic", "norm", "moco", "fmri", "bold", "none", "brain", "head", "neck", "spine"),
        *("body", "phantom", "test", "pilot", "gradient", "spin", "echo", "epi", "magnitude", "phase"),
        *("real", "field", "uniform"),
    }
)
_SHORTEST, _SHORTEST_ANYWHERE, _SHORTEST_IN_BYTES = 2, 4, 6
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae"})
#: UIDs of others than the standard, within a text.
_UID = re.compile(r"(?<![\d.])[0-2](?:\.\d+){5,}")
_BREAKS = re.compile(r"[\^=\s,;\\/_.\-]+")


class Identity:
    """What identifies the patient, as patterns.

    Parameters
    ----------
    names
        Names of people: each of their parts counts.
    whole
        Numbers, addresses and the like: they count as a whole.
    dates
        Dates as DICOM writes them; also found in other ways of writing.
    """

    def __init__(self, names: Iterable[str], whole: Iterable[str], dates: Iterable[str]) -> None:
        parts = {word for name in names for word in (*_parts(name), *_BREAKS.split(name))}
        others = {part for text in whole for part in _parts(text)}
        folded = set(_folded(parts)) | (set(_folded(others)) - _VOCABULARY)
        written = [pattern for date in set(dates) for pattern in _date_patterns(date)]
        self._text = _compiled(folded, written)
        software = {word for word in folded if len(word) >= _SHORTEST_ANYWHERE and word not in _VOCABULARY}
        self._software = _compiled(software, written)
        spelled = {form for date in dates for form in _plain_dates(date)}
        self._numbers = {word.encode("ascii") for word in (folded | spelled) if _is_long_number(word)}
        long = sorted(word for word in software if len(word) >= _SHORTEST_IN_BYTES)
        encoded = {word.encode(code) for word in long for code in ("utf-8", "utf-16-le", "utf-16-be")}
        spellings = [re.escape(word) for word in sorted(encoded)]
        spellings += [pattern.encode() for pattern in written if not pattern.startswith("(")]
        self._bytes = re.compile(b"|".join(spellings)) if spellings else None

    def clean(self, text: str) -> str:
        """A text that people wrote, without what identifies the patient, and without UIDs.

        >>> Identity(["Doe^Jane"], ["P0815"], ["19880512"]).clean("JaneD_fMRI P0815 12.05.1988 run 2")
        'D_fMRI   run 2'
        """
        text = _UID.sub("", text)
        return _without(self._text, text)

    def clean_software(self, text: str) -> str:
        """The same for what software wrote, where words of the field are no names."""
        return _without(self._software, _UID.sub("", text))

    def is_number(self, value: bytes) -> bool:
        """Whether one of the numbers in a text is a number of the patient, or the birth date, as a whole."""
        return not self._numbers.isdisjoint(part.strip(b" \0") for part in value.split(b"\\"))

    def spelled_in(self, value: bytes) -> bool:
        """Whether a binary value spells it."""
        return self._bytes is not None and self._bytes.search(value.lower()) is not None


def _parts(text: str) -> Iterator[str]:
    for value in text.split("\\"):
        value = value.strip(" \0")
        yield value
        yield value.replace("^", " ").strip()
        yield value.replace("^", "")


def _folded(words: Iterable[str]) -> Iterator[str]:
    return (form for word in words for form in _spellings(word.strip(" \0")) if _counts(form))


def _spellings(word: str) -> Iterator[str]:
    folded = word.casefold()
    yield folded
    yield folded.translate(_GERMAN)
    yield _plain(folded)


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _counts(word: str) -> bool:
    """Whether a word is long enough to mean anything; "1" and "01" are not."""
    return len(word) > _SHORTEST or (len(word) == _SHORTEST and not word.isdigit())


def _compiled(words: Iterable[str], patterns: Iterable[str]) -> re.Pattern[str] | None:
    alternatives = [_word_pattern(word) for word in sorted(words, key=lambda word: (-len(word), word))]
    alternatives += patterns
    return re.compile("|".join(alternatives)) if alternatives else None


def _word_pattern(word: str) -> str:
    if word.isdigit() and not _is_long_number(word):
        return rf"(?<!\d){word}(?!\d)"
    if len(word) < _SHORTEST_ANYWHERE:
        return rf"(?<![^\W\d_]){re.escape(word)}(?![^\W\d_])"
    return re.escape(word)


def _is_long_number(word: str) -> bool:
    return len(word) >= _SHORTEST_IN_BYTES and word.isascii() and word.isdigit()


def _orders(date: str) -> Iterator[tuple[str, str, str]]:
    """Year, month and day in the orders that people write them."""
    digits = date.strip(" \0")
    if len(digits) == 8 and digits.isascii() and digits.isdigit():
        month, day = digits[4:6], digits[6:]
        for year in (digits[:4], digits[2:4]):
            yield from ((year, month, day), (day, month, year), (month, day, year))


def _plain_dates(date: str) -> Iterator[str]:
    return ("".join(order) for order in _orders(date) if len(order[0] + order[2]) == 6)


def _date_patterns(date: str) -> Iterator[str]:
    for order in _orders(date):
        pattern = "[-./_ ]?".join(order)
        # With two digits of the year only, a longer number may have them by chance.
        yield pattern if max(map(len, order)) == 4 else rf"(?<!\d){pattern}(?!\d)"


def _without(pattern: re.Pattern[str] | None, text: str) -> str:
    """``text`` with all that the pattern finds cut out, whatever its case."""
    if pattern is None:
        return text
    if not text.isascii() and any(map(pattern.search, _spellings(text))):
        return ""
    # What is left when a match is cut out may match again: "ja" + "jane" + "ne".
    while True:
        folded = text.casefold()
        if len(folded) != len(text):  # "ß" and the like: places in one are not places in the other
            text = folded
        cut = [match.span() for match in pattern.finditer(folded) if match.end() > match.start()]
        if not cut:
            return text
        pieces, at = [], 0
        for start, stop in cut:
            pieces.append(text[at:start])
            at = stop
        text = "".join(pieces) + text[at:]
