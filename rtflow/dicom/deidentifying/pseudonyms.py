"""New identifiers for old ones by a site's key, without a table and with no way back."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import uuid
from functools import lru_cache

#: Identifiers that the standard itself defines: kinds of objects, transfer syntaxes, coding schemes.
_DEFINED = re.compile(r"1\.2\.840\.10008(?:\.\d{1,6}){1,9}", re.ASCII)
_MOST_DAYS = 3650


def new_uid(uid: str, key: bytes) -> str:
    """The UID that stands for ``uid`` wherever it occurs; itself, if the standard defined it.

    It is made of a UUID, as PS3.5, B.2 has it: one of version 8 (RFC 9562), whose bits are a keyed hash
    (HMAC-SHA256).

    >>> new_uid("1.2.840.10008.5.1.4.1.1.4", b"k")
    '1.2.840.10008.5.1.4.1.1.4'
    >>> new_uid("1.3.12.2.1107.5.2.43.67093.1", b"k") == new_uid("1.3.12.2.1107.5.2.43.67093.1", b"k")
    True
    """
    if not uid or _DEFINED.fullmatch(uid):
        return uid
    return _hashed(uid, key)


@lru_cache(maxsize=4096)
def _hashed(uid: str, key: bytes) -> str:
    bits = int.from_bytes(_digest(key, "uid", uid)[:16])
    bits = bits & ~(0xF << 76) | 0x8 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return f"2.25.{uuid.UUID(int=bits).int}"


def days_back(patient: str, key: bytes) -> int:
    """How many days all dates of a patient are moved into the past: 1 to 3650."""
    return 1 + int.from_bytes(_digest(key, "dates", patient)[:8]) % _MOST_DAYS


def moved(date: str, days: int) -> str:
    """A date as DICOM writes it, that many days earlier; empty if it is none.

    >>> moved("20240301", 1)
    '20240229'
    """
    try:
        then = datetime.datetime.strptime(date, "%Y%m%d") - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{then.year:04}{then.month:02}{then.day:02}"


def _digest(key: bytes, purpose: str, text: str) -> bytes:
    return hmac.digest(key, f"{purpose}:{text}".encode("utf-8", "surrogateescape"), hashlib.sha256)
