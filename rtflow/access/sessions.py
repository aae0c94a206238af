"""Who is logged in by a browser: kept on the server, so that whoever logs out, or is removed, is out."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from rtflow.access.kept import KeptTable
from rtflow.access.store import Access, Identity, Role

_HOUR = 3600.0
# How far what the disk says of the last use may lag behind: a page asks several times a second.
_LAG = 60.0
_MOST = 16
_PORTS = {"https": 443, "http": 80}


class Session(msgspec.Struct, forbid_unknown_fields=True):
    """A session as kept; `sha256` is that of its id, times are seconds since 1970."""

    sha256: str
    name: str
    role: Role
    kind: Literal["user", "token"]
    fingerprint: str
    origin: str
    opened: float
    used: float


class Kept(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in sessions.json."""

    version: Literal[1] = 1
    sessions: list[Session] = []


class Sessions:
    """Sessions that outlast the process of the web page, in a private file, without their ids.

    An id is a secret of 256 bits, and stands in the browser's cookie alone; the disk has its SHA-256. The
    token against forged requests is made of the id, so nothing more need be kept.

    Parameters
    ----------
    access
        The accounts: a session ends when its account does, or gets a new password.
    path
        The file; default ``sessions.json`` beside the accounts.
    idle, longest
        Seconds after which a session ends that is not used, or however much it is used.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        access: Access,
        path: Path | None = None,
        *,
        idle: float = 8 * _HOUR,
        longest: float = 24 * _HOUR,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._access = access
        self._table = KeptTable(path or access.folder / "sessions.json", Kept)
        self._idle = idle
        self._longest = longest
        self._clock = clock
        self._used: dict[str, float] = {}

    def open(self, identity: Identity, *, origin: str) -> tuple[str, str]:
        """Open a session; of one account there are 16 at most, and the one used longest ago makes room.

        Parameters
        ----------
        identity
            Who has just shown who they are.
        origin
            Origin of the page that they did it on.

        Returns
        -------
        tuple of str
            The id, for a cookie that no script reads, and the token against forged requests.

        Raises
        ------
        OutputError
            If it cannot be kept.
        """
        session_id = secrets.token_urlsafe(32)
        now = self._clock()
        new = Session(
            _sha256(session_id),
            identity.name,
            identity.role,
            identity.kind,
            identity.fingerprint,
            origin[:256],
            now,
            now,
        )
        with self._table.change() as kept:
            alive = [one for one in kept.sessions if self._holds(one)]
            mine = [one for one in alive if one.fingerprint == identity.fingerprint]
            mine.sort(key=self._last_use)
            for one in mine[: len(mine) - _MOST + 1] if len(mine) >= _MOST else ():
                alive.remove(one)
            kept.sessions = [*alive, new]
            there = {one.sha256 for one in kept.sessions}
        self._used = {key: at for key, at in self._used.items() if key in there}
        return session_id, csrf_token(session_id)

    def find(self, session_id: str, *, origin: str | None = None) -> Identity | None:
        """Who is logged in by it; None if nobody is (any more). It counts as used.

        Parameters
        ----------
        session_id
            From the cookie.
        origin
            Where given, the session must have been opened from there.

        Raises
        ------
        UsageError
            If the file of sessions is damaged.
        """
        key = _sha256(session_id[:256])
        found = None
        for one in self._table.read().sessions:
            if hmac.compare_digest(one.sha256, key):
                found = one
        if found is None or not self._holds(found) or (origin is not None and origin != found.origin):
            return None
        now = self._clock()
        self._used[key] = now
        if now - found.used > min(_LAG, self._idle / 4):
            self._keep_use(key, now)
        return _identity(found)

    def close(self, session_id: str) -> None:
        """End a session, if there is one; raises `OutputError` if that cannot be kept."""
        key = _sha256(session_id[:256])
        with self._table.change() as kept:
            kept.sessions = [one for one in kept.sessions if one.sha256 != key]
        self._used.pop(key, None)

    def _keep_use(self, key: str, now: float) -> None:
        with self._table.change() as kept:
            for one in kept.sessions:
                if one.sha256 == key:
                    one.used = now

    def _last_use(self, session: Session) -> float:
        return max(session.used, self._used.get(session.sha256, 0.0))

    def _holds(self, session: Session) -> bool:
        now = self._clock()
        # A clock that was set back must not make a session last for ever.
        idle = abs(now - self._last_use(session))
        return (
            idle <= self._idle
            and abs(now - session.opened) <= self._longest
            and self._access.still_valid(_identity(session))
        )


def csrf_token(session_id: str) -> str:
    """What a page must send with a change, and a page of another origin cannot know."""
    return hmac.new(session_id.encode("utf-8", "surrogatepass"), b"rtflow csrf", hashlib.sha256).hexdigest()


def csrf_matches(session_id: str, sent: str) -> bool:
    """Whether the token that was sent is that of the session, in the same time wherever they differ."""
    return hmac.compare_digest(csrf_token(session_id).encode(), sent[:256].encode("utf-8", "surrogatepass"))


def _identity(session: Session) -> Identity:
    return Identity(session.name, session.role, session.kind, session.fingerprint)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def same_origin(origin_header: str | None, host_header: str | None, allowed: Collection[str]) -> bool:
    """Whether the page that a request comes from is one of this server's.

    The page and the request must name the same host and port, and by https unless the host is this machine.
    That alone would not do: a name that somebody else owns can be made to lead here (DNS rebinding), and then
    both headers carry it. So a host must be an address, or localhost, or a name that this server knows.

    Parameters
    ----------
    origin_header
        ``Origin`` as it came, None if there was none: then it is no page, or one that hides where it is from.
    host_header
        ``Host`` as it came.
    allowed
        Names that the server goes by, such as ``console.lan``; also whole origins that it is reached by
        through another server, such as ``https://fmri.example.org``.

    Examples
    --------
    >>> same_origin("https://console.lan:8443", "console.lan:8443", {"console.lan"})
    True
    >>> same_origin("https://evil.example:8443", "evil.example:8443", {"console.lan"})
    False
    """
    if origin_header is None or host_header is None:
        return False
    page = _parts(origin_header)
    if page is None:
        return False
    scheme, host, port = page
    if any(page == _parts(one) for one in allowed if "://" in one):
        return True
    here = _parts(f"{scheme}://{host_header}")
    if here is None or here[1:] != (host, port) or (scheme == "http" and not is_loopback(host)):
        return False
    return is_loopback(host) or _is_address(host) or host in {one.lower() for one in allowed}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost.org")
    (True, True, True, False)
    """
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of ``scheme://host[:port]`` and nothing more; None if it is something else."""
    if len(origin) > 300 or not origin.isascii() or not origin.isprintable():
        return None
    try:
        split = urlsplit(origin)
        port = split.port
    except ValueError:
        return None
    more = split.path or split.query or split.fragment or "@" in split.netloc or origin.endswith(("?", "#"))
    if split.scheme not in _PORTS or not split.hostname or more or " " in origin:
        return None
    return split.scheme, split.hostname, port or _PORTS[split.scheme]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
