"""How an agent's machine comes to its token and certificate, from the code that the operator said.

Nobody is trusted before the code has shown that the authority is the right one, and the machine's key stays
where it was made.
"""

from __future__ import annotations

import platform
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from rtflow.access.certificates import REQUEST_KEY, client_context, make_request
from rtflow.access.enrolment import (
    Credentials,
    Enrolment,
    credentials_folder,
    require_authority,
    save_credentials,
)
from rtflow.access.private import private_folder
from rtflow.access.store import default_folder
from rtflow.agents.connecting import no_answer, untrusted
from rtflow.errors import AccessError, ProtocolError, RtflowError, UsageError

_LIMIT = 10.0
"""Seconds that the server may take for an answer."""

_LONGEST = 64 * 1024


def kept_credentials(kind: str, folder: Path | None = None) -> Path:
    """Folder of what enrolling left for agents of a kind: one machine may be the scanner's and the subject's.

    Parameters
    ----------
    kind
        ``scanner`` or ``subject``.
    folder
        Of all agents; default ``agents`` in rtflow's folder of the user's settings.
    """
    return (folder or default_folder().parent / "agents") / kind


async def enrol(server: str, code: str, folder: Path | None = None) -> Credentials:
    """Enrol this machine with a server.

    Parameters
    ----------
    server
        ``wss://HOST:PORT``, as the agents' commands take it.
    code
        What ``rtflow token enrol`` printed there.
    folder
        Where credentials of agents are kept, as `kept_credentials` has it.

    Raises
    ------
    AccessError
        If the code does not hold, or the server is not the one that it was made on.
    UsageError
        If the address is none, or nobody answers there.
    OutputError
        If nothing can be kept.
    """
    address = https_address(server)
    fetching = private_folder(kept_credentials("enrolling", folder) / "request")
    limit = aiohttp.ClientTimeout(total=_LIMIT)
    async with aiohttp.ClientSession(timeout=limit) as session:
        # Whoever answers is not trusted yet: only this certificate is looked at, and by the code.
        authority = (await _ask(session, "GET", f"{address}/api/authority", tls=False)).decode(
            "ascii", "replace"
        )
        parsed = require_authority(authority, code)
        request = make_request(fetching, re.sub("[^A-Za-z0-9.-]", "-", platform.node())[:64] or "agent")
        asked = {"code": str(parsed), "request": request}
        trusted = client_context(authority)
        answer = await _ask(session, "POST", f"{address}/api/enrol", tls=trusted, content=asked)
    try:
        enrolment = msgspec.json.decode(answer, type=Enrolment)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ProtocolError(f"{address} answered what is no enrolment ({error})") from None
    place = kept_credentials(enrolment.role, folder)
    (fetching / REQUEST_KEY).replace(private_folder(credentials_folder(place, address)) / REQUEST_KEY)
    return save_credentials(place, address, enrolment)


def https_address(server: str) -> str:
    """The address of a server for HTTP, from that for agents.

    >>> https_address("wss://console.lan:8443/")
    'https://console.lan:8443'

    Raises
    ------
    UsageError
        If it is none, or one without TLS.
    """
    split = urlsplit(server)
    if split.scheme == "ws":
        raise UsageError(f"{server}: without TLS there is nothing to enrol for; give the agent --token-file")
    if split.scheme not in ("wss", "https") or not split.netloc or split.path.strip("/"):
        raise UsageError(
            f"{server[:100]!r} is no address of a server; expected such as wss://console.lan:8443"
        )
    return f"https://{split.netloc}"


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    tls: ssl.SSLContext | bool,
    content: dict[str, str] | None = None,
) -> bytes:
    try:
        async with session.request(method, url, ssl=tls, json=content, allow_redirects=False) as response:
            status = response.status
            answer = b""
            async for some in response.content.iter_any():  # it may come in many parts
                answer += some
                if len(answer) > _LONGEST:
                    raise ProtocolError(
                        f"{url}: the answer is longer than {_LONGEST} bytes; is that an rtflow server?"
                    )
    except aiohttp.ClientConnectorCertificateError as error:
        raise untrusted(url, error) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UsageError(
            f"{url}: no answer ({no_answer(error)}); check the address, and that rtflow listens there"
        ) from None
    if status == 200:
        return answer
    raise _refusal(status, answer, url)


def _refusal(status: int, answer: bytes, url: str) -> RtflowError:
    try:
        why = str(msgspec.json.decode(answer, type=dict[str, object])["error"])[:500]
    except (msgspec.DecodeError, UnicodeError, KeyError):
        return UsageError(f"{url}: the answer was {status}; is that an rtflow server of this version?")
    return AccessError(why, f"status {status}")
