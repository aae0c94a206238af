"""What an agent does when it is asked: methods of services, and files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import msgspec

from rtflow.agents.services import Method
from rtflow.errors import ProtocolError, RtflowError, in_words
from rtflow.server.asking import STOP, send_pieces
from rtflow.server.link import Link
from rtflow.server.messages import Piece, Reply, Request
from rtflow.server.wire import BULK, URGENT, Hello

_MOST = 64
_LARGEST = 128 * 1024
_PIECES = 8


class Exchange:
    """What goes along with one request: pieces that come, and pieces that are sent.

    Parameters
    ----------
    link, number
        Of the request.
    """

    def __init__(self, link: Link, number: int) -> None:
        self._link, self._number = link, number
        self.coming: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(_PIECES)

    async def send(self, source: BinaryIO) -> None:
        """Send a file."""
        await send_pieces(self._link, self._number, source)

    async def receive(self, size: int, keep: Callable[[bytes], Any]) -> None:
        """Take ``size`` bytes, piece by piece.

        Raises
        ------
        ProtocolError
            If they do not come in their order.
        """
        taken = 0
        while taken < size:
            offset, data = await self.coming.get()
            if offset != taken or taken + len(data) > size:
                raise ProtocolError("a piece of a file came out of its turn")
            await asyncio.to_thread(keep, data)
            taken += len(data)


Handler = Callable[[dict[str, Any], Exchange], Awaitable[Any]]


class Answering:
    """Answers requests, each in a task of its own; methods of services one at a time.

    Parameters
    ----------
    link
        To the server.
    methods
        Of services.
    handlers
        Of the agent's own.
    """

    def __init__(self, link: Link, methods: dict[str, Method], handlers: dict[str, Handler]) -> None:
        self._link, self._methods, self._handlers = link, methods, handlers
        self._tasks: dict[int, tuple[asyncio.Task[None], Exchange]] = {}
        self._thread = ThreadPoolExecutor(1, "service")

    def met(self, hello: Hello, anew: bool) -> None:
        """Drop what an earlier server asked for, if this is another one: nobody waits for it."""
        if anew:
            for task, _ in self._tasks.values():
                task.cancel()

    async def hear(self, body: Request | Piece, parts: list[bytes]) -> None:
        """A request, or a piece of what comes along with one.

        Raises
        ------
        ProtocolError
            If a piece carries nothing.
        """
        if isinstance(body, Piece):
            if len(parts) != 1:
                raise ProtocolError("a piece of a file came without its bytes")
            task, exchange = self._tasks.get(body.id, (None, None))
            if task is not None and exchange is not None:
                putting = asyncio.ensure_future(exchange.coming.put((body.offset, parts[0])))
                await asyncio.wait({task, putting}, return_when=asyncio.FIRST_COMPLETED)
                putting.cancel()
            return
        if body.method == STOP:
            with contextlib.suppress(KeyError):
                self._tasks[body.id][0].cancel()
            return
        if len(self._tasks) >= _MOST:
            self._link.post(Reply(id=body.id, error="too much is asked for at once"), (), BULK)
            return
        exchange = Exchange(self._link, body.id)
        task = asyncio.ensure_future(self._answer(body, exchange))
        self._tasks[body.id] = task, exchange
        task.add_done_callback(lambda _: self._tasks.pop(body.id, None))

    async def end(self) -> None:
        """Answer no more."""
        tasks = [task for task, _ in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, body: Request, exchange: Exchange) -> None:
        # Behind the pieces that go along with it, which are sent in that lane.
        lane = URGENT if body.method in self._methods else BULK
        try:
            value = await self._do(body, exchange)
            if len(msgspec.msgpack.encode(value)) > _LARGEST:
                raise ProtocolError(f"the result of {body.method} is too large to be sent in one message")
            self._link.post(Reply(id=body.id, value=value), (), lane)
        except RtflowError as error:
            self._link.post(Reply(id=body.id, error=str(error)[:2000] or "it failed"), (), lane)
        except OSError as error:
            self._link.post(Reply(id=body.id, error=f"{error.strerror or error}"[:2000]), (), lane)
        except Exception as error:
            self._link.post(Reply(id=body.id, error=in_words(error)[:2000]), (), lane)

    async def _do(self, body: Request, exchange: Exchange) -> Any:
        if body.method in self._handlers:
            return await self._handlers[body.method](body.arguments, exchange)
        method = self._methods.get(body.method)
        if method is None:
            raise ProtocolError(f"there is no method {body.method!r}")
        arguments = method.signature.check(body.method, body.arguments)
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._thread, lambda: method.call(**arguments))
        return method.signature.check_result(body.method, value)
