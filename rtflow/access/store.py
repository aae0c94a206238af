"""Accounts: who there is, by password or by token, and what each may do."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import msgspec

from rtflow.access.kept import KeptTable
from rtflow.access.passwords import Passwords
from rtflow.access.throttle import Throttle, network_of
from rtflow.errors import AccessError, UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["operator", "viewer", "scanner", "subject"]
Action = Literal["watch", "act", "scanner", "subject"]

#: Who may do what. Scanner and subject have a channel of their own, and nothing else.
ALLOWED: dict[Action, frozenset[Role]] = {
    "watch": frozenset({"viewer", "operator"}),
    "act": frozenset({"operator"}),
    "scanner": frozenset({"scanner"}),
    "subject": frozenset({"subject"}),
}

#: What a token begins with, by which programs that look for lost secrets can find it.
TOKEN_PREFIX = "rtflow_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MOST = 1000
_DAY = 86_400.0


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Parameters
    ----------
    name
        Name of the user or of the token.
    role
        What decides what they may do.
    kind
        How they showed who they are.
    fingerprint
        Of this account as it is now: another one after a new password, or a new account of the same name.
    """

    name: str
    role: Role
    kind: Literal["user", "token"]
    fingerprint: str


class User(msgspec.Struct, forbid_unknown_fields=True):
    """A user as kept; `password` is an argon2 hash."""

    name: str
    role: Role
    password: str
    fingerprint: str
    added: float


class Token(msgspec.Struct, forbid_unknown_fields=True):
    """A token as kept; `sha256` is that of its text, in hexadecimal, `expires` 0 for never."""

    name: str
    role: Role
    sha256: str
    fingerprint: str
    added: float
    expires: float = 0.0


class Accounts(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in accounts.json."""

    version: Literal[1] = 1
    users: list[User] = []
    tokens: list[Token] = []


_Account = TypeVar("_Account", User, Token)


def may(identity: Identity, action: Action) -> bool:
    """Whether the role allows the action.

    >>> anna = Identity("anna", "viewer", "user", "")
    >>> may(anna, "watch"), may(anna, "act")
    (True, False)
    """
    return identity.role in ALLOWED[action]


def default_folder() -> Path:
    """The environment's RTFLOW_ACCESS, else ``rtflow/access`` in the folder of the user's settings."""
    if chosen := os.environ.get("RTFLOW_ACCESS"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or "~/AppData/Roaming")
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return base.expanduser().absolute() / "rtflow" / "access"


def require_name(name: str) -> str:
    """The name, if it can be one of a user or a token.

    Raises
    ------
    UsageError
        If it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:64]!r} is no name: expected 1 to 64 letters, digits and . _ @ -, the first of them a "
            "letter or a digit"
        )
    return name


def require_role(role: str) -> Role:
    """The role, if it is one; raises `UsageError`."""
    for known in get_args(Role):
        if role == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"{role[:64]!r} is no role; expected one of {', '.join(get_args(Role))}")


class Access:
    """Accounts in a folder, as they are now: what another process changes holds from the next question on.

    Methods that change something raise `UsageError` for what cannot be, `OutputError` if it cannot be kept.

    Parameters
    ----------
    folder
        The folder; default that of `default_folder`. It is made with the first account.
    hasher
        How costly a hash of a password is; default argon2-cffi's own choice.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        hasher: PasswordHasher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder or default_folder()
        self._table = KeptTable(self.folder / "accounts.json", Accounts)
        self._clock = clock
        self._hasher = hasher
        self._hashing: Passwords | None = None
        # A person who mistypes has five tries, then one each half minute; one address, whatever names it
        # tries, twenty, then one each ten seconds.
        self._by_name = Throttle(5, 30.0)
        self._by_network = Throttle(20, 10.0)

    def add_user(self, name: str, password: str, role: str) -> None:
        """Add a user."""
        known = require_role(role)
        hashed = self._passwords.hash(password)
        with self._table.change() as accounts:
            _require_new(name, accounts.users, "user", "'rtflow user password' gives a new password")
            accounts.users.append(User(name, known, hashed, secrets.token_hex(16), self._clock()))

    def set_password(self, name: str, password: str) -> None:
        """Give a user a new password; whoever is logged in with the old one is logged out."""
        hashed = self._passwords.hash(password)
        with self._table.change() as accounts:
            user = _find(name, accounts.users, "user")
            user.password, user.fingerprint = hashed, secrets.token_hex(16)

    def remove_user(self, name: str) -> None:
        """Remove a user; whoever is logged in is logged out."""
        with self._table.change() as accounts:
            accounts.users.remove(_find(name, accounts.users, "user"))

    def users(self) -> list[User]:
        """All users, by name."""
        return sorted(self._table.read().users, key=lambda user: user.name)

    def identity(self, name: str) -> Identity:
        """A user, as one who has shown who they are."""
        user = _find(name, self._table.read().users, "user")
        return Identity(user.name, user.role, "user", user.fingerprint)

    def check_password(self, name: str, password: str, address: str) -> Identity:
        """Who that is.

        Blocks for some tenths of a second (argon2), and longer while others log in: call it in a thread.

        Parameters
        ----------
        name, password
            As they came.
        address
            Where from: guessing is slowed there, and nowhere else.

        Raises
        ------
        AccessError
            If it is not the password, there is no such user (the message tells which no more than the time
            that it takes), or this is tried too often (`retry_after`).
        """
        network = network_of(address)
        # Taken before the password is looked at, or many could be tried at the same time.
        key = (network, name[:64])
        wait = self._by_network.take(network) or self._by_name.take(key)
        if wait:
            raise AccessError(
                f"too many tries; wait {wait:.0f} s, and try again", "throttled", retry_after=wait
            )
        user = next((one for one in self._table.read().users if one.name == name), None)
        try:
            right = self._passwords.matches(user.password if user else None, password, network)
        except AccessError:
            self._by_network.give_back(network)
            self._by_name.give_back(key)
            raise
        if user is None or not right:
            raise AccessError("wrong name or password", "password" if user else "unknown")
        self._by_network.give_back(network)
        self._by_name.forget(key)
        if self._passwords.is_outdated(user.password):
            self._hash_anew(user, password)
        return Identity(user.name, user.role, "user", user.fingerprint)

    def add_token(self, name: str, role: str, *, days: float | None = None) -> str:
        """Add a token, and give its text: nobody can tell it later.

        Parameters
        ----------
        name
            What it is called; of tokens, one has it.
        role
            What it may do.
        days
            How long it is good for; None for ever.
        """
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        known = require_role(role)
        if days is not None and not 0 < days <= 36_500:
            raise UsageError(f"a token is good for more than 0 and at most 36500 days, not for {days:g}")
        now = self._clock()
        with self._table.change() as accounts:
            _require_new(name, accounts.tokens, "token", "'rtflow token revoke' ends it")
            expires = now + days * _DAY if days is not None else 0.0
            accounts.tokens.append(Token(name, known, _sha256(text), secrets.token_hex(16), now, expires))
        return text

    def remove_token(self, name: str) -> None:
        """Revoke a token, also while it is connected."""
        with self._table.change() as accounts:
            accounts.tokens.remove(_find(name, accounts.tokens, "token"))

    def tokens(self) -> list[Token]:
        """All tokens, by name."""
        return sorted(self._table.read().tokens, key=lambda token: token.name)

    def check_token(self, text: str) -> Identity:
        """Whose token that is; in the same time wherever two texts differ.

        Raises
        ------
        AccessError
            If it is nobody's (any more), or has expired.
        """
        hashed = _sha256(text[:256])
        found = None
        for token in self._table.read().tokens:
            if hmac.compare_digest(token.sha256, hashed):
                found = token
        if found is None:
            raise AccessError("the token is not known here, or was revoked; enrol again", "unknown")
        if self._has_expired(found):
            raise AccessError(f"the token {found.name} has expired; enrol again", "expired")
        return Identity(found.name, found.role, "token", found.fingerprint)

    def still_valid(self, identity: Identity) -> bool:
        """Whether the account is still there as it was: a matter of microseconds, to be asked each second.

        No, too, if the file of accounts cannot be read.
        """
        try:
            accounts = self._table.read()
        except UsageError:
            return False
        if identity.kind == "user":
            return any(one.fingerprint == identity.fingerprint for one in accounts.users)
        return any(
            one.fingerprint == identity.fingerprint and not self._has_expired(one) for one in accounts.tokens
        )

    @property
    def _passwords(self) -> Passwords:
        if self._hashing is None:
            self._hashing = Passwords(self._hasher)
        return self._hashing

    def _has_expired(self, token: Token) -> bool:
        return 0 < token.expires <= self._clock()

    def _hash_anew(self, user: User, password: str) -> None:
        # A login must not fail because the disk is full, or because passwords are longer by now.
        with contextlib.suppress(UsageError):
            hashed = self._passwords.hash(password)
            with self._table.change() as accounts:
                for one in accounts.users:
                    if one.fingerprint == user.fingerprint:
                        one.password = hashed


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _require_new(name: str, there: list[User] | list[Token], kind: str, remedy: str) -> None:
    require_name(name)
    if any(one.name == name for one in there):
        raise UsageError(f"there is a {kind} {name} already; {remedy}")
    if len(there) >= _MOST:
        raise UsageError(f"there are {_MOST} {kind}s already; remove some")


def _find(name: str, there: list[_Account], kind: str) -> _Account:
    for one in there:
        if one.name == name:
            return one
    raise UsageError(f"there is no {kind} {name[:64]!r}; 'rtflow {kind} list' shows which there are")
