"""A login that is good once: for the link that a command prints for whoever sits before it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from rtflow.access.kept import KeptTable
from rtflow.access.store import Access, Identity, Role
from rtflow.errors import AccessError

_MOST = 16
_HOUR = 3600.0


class OneTimeLogin(msgspec.Struct, forbid_unknown_fields=True):
    """A code that was not used yet; `sha256` is that of its text, `expires` seconds since 1970."""

    sha256: str
    name: str
    role: Role
    fingerprint: str
    expires: float


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in logins.json."""

    version: Literal[1] = 1
    logins: list[OneTimeLogin] = []


class OneTimeLogins:
    """Codes in the folder of the accounts, as hashes; any process that knows the folder can take one.

    Parameters
    ----------
    access
        The accounts.
    clock
        Seconds since 1970.
    """

    def __init__(self, access: Access, *, clock: Callable[[], float] = time.time) -> None:
        self._table = KeptTable(access.folder / "logins.json", Kept)
        self._access = access
        self._clock = clock

    def make(self, identity: Identity, *, seconds: float = _HOUR) -> str:
        """A code by which a browser logs in as somebody, once, within some time.

        Raises
        ------
        OutputError
            If it cannot be kept.
        """
        code = secrets.token_urlsafe(32)
        expires = self._clock() + seconds
        new = OneTimeLogin(_sha256(code), identity.name, identity.role, identity.fingerprint, expires)
        with self._table.change() as kept:
            kept.logins = [*self._alive(kept)[1 - _MOST :], new]
        return code

    def take(self, code: str) -> Identity:
        """Who logs in by a code; it is good no more.

        Raises
        ------
        AccessError
            If there is none, or it was used, or is too old, or its account is gone.
        """
        key = _sha256(code[:256])
        if not any(hmac.compare_digest(one.sha256, key) for one in self._table.read().logins):
            raise _refused()
        with self._table.change() as kept:
            found = [one for one in self._alive(kept) if hmac.compare_digest(one.sha256, key)]
            kept.logins = [one for one in kept.logins if one not in found]
        if not found:
            raise _refused()
        identity = Identity(found[0].name, found[0].role, "user", found[0].fingerprint)
        if not self._access.still_valid(identity):
            raise _refused()
        return identity

    def _alive(self, kept: Kept) -> list[OneTimeLogin]:
        now = self._clock()
        return [one for one in kept.logins if now < one.expires]


def _refused() -> AccessError:
    return AccessError(
        "this link was used already, or is too old; log in by name and password, or start rtflow again",
        "one-time login",
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
