"""Passwords: what one may be, its argon2 hash, and how many are checked at the same time."""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rtflow.errors import AccessError, UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: Fewest characters of a password.
SHORTEST = 10
#: Most bytes of one; whoever sends more guesses nothing, but would have us hash it.
LONGEST = 1024


def normal(password: str) -> str:
    """The password as every keyboard gives it: accents in one of their two Unicode forms.

    >>> normal("cafe\\u0301") == normal("caf\\u00e9")
    True
    """
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Makes and checks argon2id hashes, a few at a time: each takes 64 MB and some tenths of a second.

    Parameters
    ----------
    hasher
        How costly a hash is; default that of argon2-cffi, the second choice of RFC 9106.
    at_once
        How many hashes are computed at the same time; of one address, one.
    waiting
        How many more may wait for that; of one address, four.
    patience
        Seconds that one waits for its turn.
    """

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        at_once: int = 2,
        waiting: int = 32,
        patience: float = 10.0,
    ) -> None:
        if hasher is None:
            from argon2 import PasswordHasher as Hasher

            hasher = Hasher()
        self._hasher = hasher
        self._at_once = at_once
        self._most = at_once + waiting
        self._patience = patience
        self._turn = threading.Condition()
        self._here: Counter[str] = Counter()
        self._at_work: set[str] = set()
        self._nobody = _hash_of_nothing(hasher)

    def hash(self, password: str) -> str:
        """Hash of a new password, with its salt and cost.

        Raises
        ------
        UsageError
            If it is too short or too long.
        """
        usual = normal(password)
        if len(usual) < SHORTEST:
            raise UsageError(
                f"a password has at least {SHORTEST} characters, and this one {len(usual)}; take a "
                "longer one, such as four words"
            )
        if len(_bytes(usual)) > LONGEST:
            raise UsageError(f"a password has at most {LONGEST} bytes; take a shorter one")
        return self._hasher.hash(_bytes(usual))

    def matches(self, stored: str | None, password: str, network: str) -> bool:
        """Whether it is the password; for an unknown user (None), no, after the same time.

        Blocks for some tenths of a second, and longer while others are checked: call it in a thread.

        Raises
        ------
        AccessError
            If too many wait already.
        """
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > LONGEST or len(typed := _bytes(normal(password))) > LONGEST:
            return False
        with self._in_turn(network):
            try:
                return self._hasher.verify(stored or self._nobody, typed) and stored is not None
            except (VerificationError, InvalidHashError):
                return False

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash costs something else than a new one would."""
        return self._hasher.check_needs_rehash(stored)

    @contextlib.contextmanager
    def _in_turn(self, network: str) -> Iterator[None]:
        with self._turn:
            if self._here.total() >= self._most or self._here[network] >= 5:
                raise AccessError("too many log in at this moment; try again", "busy", retry_after=1.0)
            self._here[network] += 1
            try:
                if not self._turn.wait_for(lambda: self._free(network), self._patience):
                    raise AccessError("too many log in at this moment; try again", "busy", retry_after=1.0)
            except BaseException:
                self._leave(network)
                raise
            self._at_work.add(network)
        try:
            yield
        finally:
            with self._turn:
                self._at_work.discard(network)
                self._leave(network)
                self._turn.notify_all()

    def _free(self, network: str) -> bool:
        return len(self._at_work) < self._at_once and network not in self._at_work

    def _leave(self, network: str) -> None:
        self._here[network] -= 1
        self._here += Counter()  # forgets those that are at nought


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """What takes as long to check as a real hash, and that no password has (for all that one can find)."""

    def coded(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")

    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${coded(hasher.salt_len)}${coded(hasher.hash_len)}"
