"""How a new agent comes to its token and its certificate, without a key or a password that travels.

1. The operator makes a code (`Enrolling.code`), good once and for a quarter of an hour, and says it to
   whoever sets up the agent.
2. The agent fetches the authority's certificate from the server, trusting nobody yet, and sees by the code
   whether it is the right one (`require_authority`).
3. It makes a key (`rtflow.access.certificates.make_request`, into `credentials_folder`), and sends code and
   request over a connection that it now trusts (`rtflow.access.certificates.client_context`).
4. The server takes the code back, signs, and answers with a new token (`Enrolling.redeem`).
5. The agent keeps what came (`save_credentials`), and finds it again when it starts (`load_credentials`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from rtflow.access.certificates import REQUEST_KEY, authority_pem, client_context, fingerprint, sign_request
from rtflow.access.codes import Code, new_code, parse_code
from rtflow.access.kept import KeptTable
from rtflow.access.private import private_folder, read_private, write_private
from rtflow.access.store import Access, Role, require_name, require_role
from rtflow.access.throttle import Throttle, network_of
from rtflow.errors import AccessError, RtflowError, UsageError

_MOST = 100
_OWN = "client.pem"


class Enrolment(msgspec.Struct, frozen=True):
    """What an agent gets: its token, its certificate, and the authority's (PEM)."""

    name: str
    role: Role
    token: str
    certificate: str
    authority: str


class Waiting(msgspec.Struct, forbid_unknown_fields=True):
    """A code that waits; `sha256` is that of its secret, `expires` is in seconds since 1970."""

    sha256: str
    name: str
    role: Role
    expires: float
    days: float | None = None


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in codes.json."""

    version: Literal[1] = 1
    waiting: list[Waiting] = []


class Enrolling:
    """The server's side.

    Parameters
    ----------
    access
        The accounts that agents get tokens of.
    certificates
        Folder of the authority; default ``certificates`` beside the accounts.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, access: Access, certificates: Path | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._access = access
        self._folder = certificates or access.folder / "certificates"
        self._table = KeptTable(access.folder / "codes.json", Codes)
        self._clock = clock
        self._tries = Throttle(5, 30.0)

    def code(self, name: str, role: str, *, minutes: float = 15.0, days: float | None = None) -> str:
        """Make a code for one agent; an earlier one of the same name no longer holds.

        Parameters
        ----------
        name, role
            What the agent is called, and may do.
        minutes
            How long the code is good for.
        days
            How long its token will be; None for ever.

        Raises
        ------
        UsageError
            If there is a token of that name, or no authority.
        OutputError
            If it cannot be kept.
        """
        known = require_role(role)
        if self._is_taken(require_name(name)):
            raise UsageError(f"there is a token {name} already; 'rtflow token revoke {name}' ends it")
        if not 0 < minutes <= 1440:
            raise UsageError(f"a code is good for more than 0 and at most 1440 minutes, not for {minutes:g}")
        made = new_code(fingerprint(authority_pem(self._folder)))
        now = self._clock()
        with self._table.change() as codes:
            kept = [one for one in codes.waiting if one.expires > now and one.name != name]
            if len(kept) >= _MOST:
                raise UsageError(f"{_MOST} codes wait already; use some, or wait until they expire")
            new = Waiting(_sha256(made.secret), name, known, now + 60 * minutes, days)
            codes.waiting = [*kept, new]
        return str(made)

    def redeem(self, code: str, request: str, address: str) -> Enrolment:
        """Take a code back, and give what it stands for.

        Parameters
        ----------
        code, request
            As they came from the agent: the request is a PEM.
        address
            Where from: guessing is slowed there, and nowhere else.

        Raises
        ------
        AccessError
            If the code is not known, was used, has expired, or is tried too often; if the request is none.
            A request that is none leaves the code as it is.
        UsageError, OutputError
            If the accounts or the authority cannot be used.
        """
        network = network_of(address)
        if wait := self._tries.take(network):
            raise AccessError(
                f"too many tries; wait {wait:.0f} s, and try again", "throttled", retry_after=wait
            )
        try:
            hashed = _sha256(parse_code(code).secret)
        except UsageError as error:
            raise AccessError(str(error), "code") from None
        # Signed before the code is used up, and for a name that nobody has a token of yet.
        waiting = self._waiting(hashed)
        certificate = sign_request(self._folder, request, waiting.name, waiting.role)
        authority = authority_pem(self._folder)
        if self._is_taken(waiting.name):
            raise AccessError(f"there is a token {waiting.name} by now; ask for another name", "name")
        with self._table.change() as codes:
            left = [one for one in codes.waiting if one.sha256 != waiting.sha256]
            if len(left) == len(codes.waiting):
                raise _unknown()
            codes.waiting = left
        token = self._access.add_token(waiting.name, waiting.role, days=waiting.days)
        self._tries.forget(network)
        return Enrolment(waiting.name, waiting.role, token, certificate, authority)

    def _waiting(self, hashed: str) -> Waiting:
        found = None
        for one in self._table.read().waiting:
            if hmac.compare_digest(one.sha256, hashed):
                found = one
        if found is None:
            raise _unknown()
        if found.expires <= self._clock():
            raise AccessError("the code has expired; 'rtflow token enrol' gives another", "expired")
        return found

    def _is_taken(self, name: str) -> bool:
        return any(token.name == name for token in self._access.tokens())


@dataclass(frozen=True)
class Credentials:
    """What an agent has of one server.

    Parameters
    ----------
    server
        Its address, such as ``https://console.lan:8443``.
    name, role
        What the agent is called there, and may do.
    token
        By which it shows who it is.
    authority
        Certificate that the server must show one of (PEM).
    certificate
        File with the agent's own certificate and its key.
    """

    server: str
    name: str
    role: Role
    token: str
    authority: str
    certificate: Path

    def __repr__(self) -> str:
        return f"Credentials({self.server!r}, {self.name!r}, {self.role!r})"  # without the token


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    server: str
    name: str
    role: Role
    token: str
    authority: str


def require_authority(authority: str, code: str) -> Code:
    """The code, if the authority's certificate (PEM) is the one that the code was made for.

    Raises
    ------
    AccessError
        If it is another: somebody may stand between this machine and the server.
    UsageError
        If there is a mistake in the code, or it is no certificate.
    """
    parsed = parse_code(code)
    if not parsed.is_of(fingerprint(authority)):
        raise AccessError(
            "the server that answered is not the one that the code was made on; check its address, and if it "
            "is right go no further: somebody may stand in between",
            "authority",
        )
    return parsed


def credentials_folder(folder: Path, server: str) -> Path:
    """Where in an agent's folder stands what it has of one server, such as ``https://console.lan:8443``.

    >>> credentials_folder(Path("agent"), "https://Console.lan:8443/").name
    'console.lan%3A8443'

    Raises
    ------
    UsageError
        If it is no address of a server.
    """
    return folder / quote(urlsplit(_usual(server)).netloc, safe="")


def save_credentials(folder: Path, server: str, enrolment: Enrolment) -> Credentials:
    """Keep what a server gave, beside the key that `make_request` left in `credentials_folder`.

    Raises
    ------
    AccessError
        If what came is no certificate, or not of that key.
    OutputError
        If it cannot be written.
    """
    place = private_folder(credentials_folder(folder, server))
    key = read_private(place / REQUEST_KEY) or b""
    new = place / f"new-{_OWN}"
    write_private(new, enrolment.certificate.encode("ascii", "replace") + key)
    try:
        client_context(enrolment.authority, new)
    except UsageError as error:
        new.unlink()
        raise AccessError(f"the server's answer does not fit: {error}", "certificate") from None
    # An enrolment that fails leaves what an earlier one gave.
    new.replace(place / _OWN)
    (place / REQUEST_KEY).unlink()
    kept = _Kept(_usual(server), enrolment.name, enrolment.role, enrolment.token, enrolment.authority)
    write_private(place / "credentials.json", msgspec.json.encode(kept))
    return load_credentials(folder, server)


def load_credentials(folder: Path, server: str) -> Credentials:
    """What an agent has of a server.

    Raises
    ------
    UsageError
        If it has not enrolled there, a file is damaged, or others may read it.
    """
    place = credentials_folder(folder, server)
    content = read_private(place / "credentials.json")
    if content is None:
        others = _enrolled_with(folder)
        instead = f" (it is with {', '.join(others)}: the address must be the same)" if others else ""
        raise UsageError(
            f"this machine is not enrolled with {_usual(server)}{instead}; 'rtflow token enrol' there gives "
            "a code"
        )
    try:
        kept = msgspec.json.decode(content, type=_Kept)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UsageError(f"{place / 'credentials.json'} is damaged; enrol again") from None
    if read_private(place / _OWN) is None:
        raise UsageError(f"{place / _OWN} is missing; enrol again")
    return Credentials(kept.server, kept.name, kept.role, kept.token, kept.authority, place / _OWN)


def _enrolled_with(folder: Path) -> list[str]:
    found = []
    for file in sorted(folder.glob("*/credentials.json")):
        with contextlib.suppress(OSError, RtflowError, msgspec.DecodeError):
            found.append(msgspec.json.decode(read_private(file) or b"", type=_Kept).server)
    return found


def _usual(server: str) -> str:
    """The address of a server in one form."""
    try:
        split = urlsplit(server)
        port = split.port or 443
    except ValueError:
        split, port = urlsplit(""), 0
    host = split.hostname or ""
    if split.scheme != "https" or not host.strip(".") or split.path.strip("/") or "@" in split.netloc:
        raise UsageError(
            f"{server[:100]!r} is no address of a server; expected such as https://console.lan:8443"
        )
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _unknown() -> AccessError:
    return AccessError(
        "the code is not known here, or was used already; 'rtflow token enrol' gives another", "code"
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
