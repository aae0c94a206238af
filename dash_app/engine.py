"""What the dashboard asks of the engine: by its HTTP API and its `monitor` channel, as anybody else would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

import aiohttp
import msgspec

from rtflow.errors import UsageError

_TIMEOUT = 10.0
_LONG = 600.0
_FILE = 3600.0
_FOR = "Rtflow-User"
_JSON = "rtflow.json"
_CONNECTIONS = 140  # the engine lets one token have 150

ResultT = TypeVar("ResultT")


class EngineError(UsageError):
    """The engine refused, or cannot be reached.

    Parameters
    ----------
    message
        Its own words, or what is in the way.
    status
        Of HTTP; 0 where there was no answer.
    field
        Dotted name of the setting that is wrong, if one is.
    """

    def __init__(self, message: str, status: int = 0, field: str = "") -> None:
        self.status = status
        self.field = field
        super().__init__(message)


@dataclass(frozen=True)
class EnginePlace:
    """Where the engine is, and who the dashboard is to it.

    Parameters
    ----------
    url
        ``https://HOST:PORT``.
    token
        Of an operator.
    tls
        How its certificate is checked; None for a plain connection.
    """

    url: str
    token: str
    tls: ssl.SSLContext | None = None


class Engine:
    """The engine, from afar. Coroutines run in one event loop; `call` waits for one from another thread.

    Parameters
    ----------
    place
        Where it is.
    """

    def __init__(self, place: EnginePlace) -> None:
        self.place = place
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Begin; in the event loop that all else runs in."""
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.place.token}"},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
            connector=aiohttp.TCPConnector(
                ssl=self.place.tls if self.place.tls is not None else False, limit=_CONNECTIONS
            ),
        )

    async def close(self) -> None:
        """End."""
        if self._session is not None:
            await self._session.close()

    def call(self, asked: Coroutine[Any, Any, ResultT]) -> ResultT:
        """The result of a coroutine, from a thread that is not the loop's."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(_LONG)

    # Questions

    async def ask(self, path: str, /, *, who: str = "", **query: str | int) -> Any:
        """The JSON at a path, for somebody where that is to be told in the audit log.

        Raises
        ------
        EngineError
            If the engine refuses, or is not there.
        """
        headers = {_FOR: who} if who else {}
        async with self._request("GET", path, params=query, headers=headers) as response:
            return msgspec.json.decode(await response.read())

    async def fetch(self, path: str, /, **query: str | int) -> tuple[bytes, dict[str, str]]:
        """Bytes at a path, and the headers that they came with; raises as `ask` does."""
        async with self._request("GET", path, params=query) as response:
            return await response.read(), dict(response.headers)

    async def order(
        self, method: str, path: str, body: Any = None, /, *, who: str, **query: str | int
    ) -> Any:
        """Change something, on behalf of somebody; raises as `ask` does."""
        data = msgspec.json.encode(body) if body is not None else None
        headers = {_FOR: who, "Content-Type": "application/json"}
        async with self._request(method, path, params=query, data=data, headers=headers) as response:
            return msgspec.json.decode(await response.read() or b"null")

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        /,
        *,
        who: str = "",
        data: Any = None,
        accept: str = "*/*",
        **query: str | int,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A long answer, or a long body, piece by piece; raises as `ask` does."""
        headers = {"Accept": accept} | ({_FOR: who} if who else {})
        limit = aiohttp.ClientTimeout(total=_FILE)
        asked = self._request(method, path, params=query, data=data, headers=headers, timeout=limit)
        async with asked as response:
            yield response

    async def documents(self, run_uid: str, since: int, most: int) -> list[bytes]:
        """Documents of a run from a number on, each as its line of JSON; some at a time, none at the end."""
        body, _ = await self.fetch(f"/api/runs/{run_uid}/documents", since=since, most=most)
        return body.splitlines()

    @contextlib.asynccontextmanager
    async def watch(self, run_uid: str, since: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The `monitor` channel; raises as `ask` does."""
        assert self._session is not None
        try:
            socket = await self._session.ws_connect(
                f"{self.place.url}/ws/monitor",
                params={"run": run_uid, "since": since},
                protocols=(_JSON,),
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                heartbeat=5.0,
                max_msg_size=16 * 1024 * 1024,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise EngineError(
                _REFUSED.get(error.status, f"the engine says {error.message}"), error.status
            ) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(self.place.url, error) from None
        try:
            yield socket
        finally:
            await socket.close()

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        if not {".", ".."}.isdisjoint(unquote(path).split("/")):
            # To be resolved before it is sent: a page would choose what the dashboard's token is used for.
            raise EngineError("there is nothing of this name", 404)
        try:
            async with self._session.request(method, self.place.url + path, **options) as response:
                if response.status >= 400:
                    raise _refusal(await response.read(), response)
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(self.place.url, error) from None


_REFUSED = {
    401: "the engine does not know the dashboard's token (any more); start the dashboard again, on another "
    "machine than the engine's with --token-file, a token of an operator",
    403: "the dashboard's token is not an operator's",
    404: "there is no rtflow server at this address",
}


def _refusal(body: bytes, response: aiohttp.ClientResponse) -> EngineError:
    try:
        said = msgspec.json.decode(body)
        return EngineError(str(said["error"]), response.status, str(said.get("field", "")))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        says = _REFUSED.get(response.status, f"the engine says {response.status} {response.reason}")
        return EngineError(says, response.status)


def _unreachable(url: str, error: BaseException) -> EngineError:
    says = " ".join(str(error).split()) or type(error).__name__
    return EngineError(f"the engine at {url} cannot be reached ({says})")
