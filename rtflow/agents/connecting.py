"""An agent's connection to the server: made again for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from rtflow.errors import ProtocolError, UsageError
from rtflow.server.link import Link
from rtflow.server.sockets import MSGPACK, AiohttpSocket, tune
from rtflow.server.wire import FRAME_LIMIT

_FIRST, _LONGEST = 0.1, 5.0
"""Seconds from one attempt to the next: twice as long each time, up to this."""

_LIMIT = 10.0
"""Seconds that an attempt may take."""

_REFUSED = {
    401: "the server does not know this token; ask for a new one",
    403: "this token is not for this channel",
    404: "there is no rtflow server of this version",
    409: "another agent of this name is connected; give --name",
    503: "the server has no place left: too many agents are connected, or too many by this token",
}


@dataclass(frozen=True)
class Place:
    """The server, and who this agent is to it.

    Parameters
    ----------
    url
        ``wss://HOST:PORT``.
    kind, name
        Channel, and name on it.
    instance
        The same for as long as the agent keeps its state folder: it tells the agent that comes back from
        another one of its name.
    token
        What the server knows it by.
    tls
        How the server's certificate is checked; None for a plain connection.
    """

    url: str
    kind: str
    name: str
    instance: str
    token: str
    tls: ssl.SSLContext | None = None


async def stay_connected(
    link: Link, place: Place, tell: Callable[[str], None], ending: asyncio.Event | None = None
) -> None:
    """Connect, and again whenever the connection ends.

    Parameters
    ----------
    link
        What outlives the connections.
    tell
        Called with each change, in words: ``connected``, ``not connected: ...``.
    ending
        Once it is set, the end of a connection is the end of all.

    Raises
    ------
    UsageError
        If the server refuses this agent for good.
    ProtocolError
        If the two do not speak the same protocol.
    """
    address = f"{place.url.rstrip('/')}/ws/{place.kind}"
    wait, said = _FIRST, ""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        while True:
            try:
                async with asyncio.timeout(_LIMIT):  # a cable may be pulled before the answer, too
                    socket = await session.ws_connect(
                        address,
                        params={"name": place.name, "instance": place.instance},
                        headers={"Authorization": f"Bearer {place.token}"},
                        protocols=(MSGPACK,),
                        ssl=place.tls if place.tls is not None else True,
                        max_msg_size=FRAME_LIMIT,
                    )
                async with contextlib.aclosing(AiohttpSocket(socket)) as connection:
                    tune(socket._response.connection.transport if socket._response.connection else None)
                    tell("connected")
                    wait, said = _FIRST, ""
                    bye = await link.run(connection)
                    if bye.final:
                        raise UsageError(f"the server has ended the connection: {bye.reason}")
                    if ending is not None and ending.is_set():
                        return
                    why = bye.reason
            except aiohttp.WSServerHandshakeError as error:
                why = _REFUSED.get(error.status, f"the server answered {error.status}")
                if error.status in (401, 403, 404):
                    raise UsageError(f"{place.url}: {why}") from None
            except aiohttp.ClientConnectorCertificateError as error:
                raise untrusted(place.url, error) from None
            except ProtocolError:
                raise
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                why = f"{no_answer(error)}; it is tried again"
            if why != said:
                tell(f"not connected: {why}")
                said = why
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST)


def untrusted(url: str, error: aiohttp.ClientConnectorCertificateError) -> UsageError:
    """The server's certificate does not hold."""
    why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
    return UsageError(
        f"{url}: the server's certificate does not hold ({why.rstrip('.')}); give the address by a name that "
        f"it is for, or make another one on the analysis host ('rtflow certs make {error.host}', with all "
        "its names) and start the server anew; enrol again where its authority is another one"
    )


def no_answer(error: Exception) -> str:
    """Why nobody has answered.

    >>> no_answer(TimeoutError())
    'no answer in time'
    """
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"nobody answers at {error.host}:{error.port} ({error.os_error.strerror or error.os_error})"
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
