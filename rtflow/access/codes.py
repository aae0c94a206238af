"""A code by which a new agent enrols: what it is trusted by, and what it trusts the server by.

Forty characters in groups of five, without I, L, O and U, as a person reads them to another::

    7K2QX-40VWB-...     75 bits that only the operator and the agent know, good once and for minutes
    ...                 100 bits of the SHA-256 of the authority's certificate: whoever stands between agent
                        and server would have to find another certificate with the same 100 bits
    ...                 25 bits that a mistyped character does not fit
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from rtflow.errors import UsageError

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ = {character: value for value, character in enumerate(_ALPHABET)} | {"I": 1, "L": 1, "O": 0}
_SECRET, _AUTHORITY, _CHECK, _GROUP = 15, 20, 5, 5
_LENGTH = _SECRET + _AUTHORITY + _CHECK


@dataclass(frozen=True)
class Code:
    """A code, taken apart.

    Parameters
    ----------
    secret
        What the server knows the hash of.
    authority
        What the fingerprint of the authority's certificate begins with.
    """

    secret: str
    authority: str

    def __str__(self) -> str:
        body = self.secret + self.authority
        text = body + _check(body)
        return "-".join(text[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))

    def __repr__(self) -> str:
        return f"Code(authority={self.authority!r})"  # a secret has no place in a log

    def is_of(self, fingerprint: str) -> bool:
        """Whether an authority with this SHA-256 (hexadecimal) is the one that the code is for."""
        return self.authority == _beginning(fingerprint)


def new_code(fingerprint: str) -> Code:
    """A code for the authority with this SHA-256 (hexadecimal)."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET))
    return Code(secret, _beginning(fingerprint))


def parse_code(text: str) -> Code:
    """The code that was typed: in small or capital letters, with or without hyphens, O for 0, I or L for 1.

    Raises
    ------
    UsageError
        If it is none, or there is a mistake in it.
    """
    typed = "".join(text[:200].split()).replace("-", "").upper()
    if len(text) > 200 or len(typed) != _LENGTH or not set(typed) <= set(_READ):
        raise UsageError(
            f"expected a code of {_LENGTH} letters and digits, got {min(len(typed), 200)} characters; "
            "'rtflow token enrol' gives one"
        )
    usual = "".join(_ALPHABET[_READ[character]] for character in typed)
    body = usual[:-_CHECK]
    if _check(body) != usual[-_CHECK:]:
        raise UsageError("there is a mistake in the code; compare it with what 'rtflow token enrol' printed")
    return Code(body[:_SECRET], body[_SECRET:])


def _check(body: str) -> str:
    return _base32(hashlib.sha256(f"rtflow code {body}".encode()).digest(), _CHECK)


def _beginning(fingerprint: str) -> str:
    return _base32(bytes.fromhex(fingerprint), _AUTHORITY)


def _base32(data: bytes, characters: int) -> str:
    bits = int.from_bytes(data) >> (8 * len(data) - 5 * characters)
    return "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(5 * (characters - 1), -1, -5))
