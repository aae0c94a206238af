"""What an agent does when it is asked: methods of services, and files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from rtflow.agents.services import Method
from rtflow.errors import ProtocolError, RemoteError, RtflowError, in_words
from rtflow.server.asking import STOP
from rtflow.server.link import Link
from rtflow.server.messages import Body, Kept, Piece, Reply, Request
from rtflow.server.transfer import Transfer
from rtflow.server.wire import BULK, URGENT, Hello

_MOST = 64
_LARGEST = 128 * 1024

Handler = Callable[[dict[str, Any], Transfer], Any]
"""Does what is asked for, in a thread of its own."""


class Answering:
    """Answers requests, each in a thread of its own; methods of services one at a time.

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
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, tuple[asyncio.Task[None], Transfer]] = {}
        self._service = ThreadPoolExecutor(1, "service")
        self._threads = ThreadPoolExecutor(_MOST, "files")  # a disk that hangs must not hold up another one

    def met(self, hello: Hello, anew: bool) -> None:
        """Drop what an earlier server asked for, if this is another one: nobody waits for it."""
        if anew:
            for number in list(self._tasks):
                self._stop(number)

    def hear(self, body: Request | Piece | Kept, parts: list[bytes]) -> None:
        """A request, or what goes along with one.

        Raises
        ------
        ProtocolError
            If a piece does not fit to the one before it.
        """
        if not isinstance(body, Request):
            if body.id in self._tasks:
                self._tasks[body.id][1].hear(body, parts)
        elif body.method == STOP:
            self._stop(body.id)
        elif body.id in self._tasks:
            raise ProtocolError("two requests came with the same number")
        elif len(self._tasks) >= _MOST:
            self._link.post(Reply(id=body.id, error="too much is asked for at once"), (), BULK)
        else:
            transfer = Transfer(body.id, self._send)
            task = asyncio.ensure_future(self._answer(body, transfer))
            self._tasks[body.id] = task, transfer
            task.add_done_callback(lambda _: self._tasks.pop(body.id, None))

    async def end(self) -> None:
        """Answer no more."""
        tasks = [task for task, _ in self._tasks.values()]
        for number in list(self._tasks):
            self._stop(number)
        await asyncio.gather(*tasks, return_exceptions=True)
        for threads in (self._service, self._threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _stop(self, number: int) -> None:
        if number in self._tasks:
            task, transfer = self._tasks[number]
            task.cancel()
            transfer.end(
                RemoteError("nobody waits for this any more")
            )  # its thread removes what it has begun

    def _send(self, body: Body, parts: Sequence[bytes]) -> None:
        self._loop.call_soon_threadsafe(self._link.post, body, parts, BULK)

    async def _answer(self, body: Request, transfer: Transfer) -> None:
        # Behind the pieces that go along with it, which are sent in that lane.
        lane = URGENT if body.method in self._methods else BULK
        try:
            value = await self._do(body, transfer)
            if len(msgspec.msgpack.encode(value)) > _LARGEST:
                raise ProtocolError(f"the result of {body.method} is too large to be sent in one message")
            self._link.post(Reply(id=body.id, value=value), (), lane)
        except RtflowError as error:
            self._link.post(Reply(id=body.id, error=str(error)[:2000] or "it failed"), (), lane)
        except OSError as error:
            self._link.post(Reply(id=body.id, error=_of_file(body, error)[:2000]), (), lane)
        except Exception as error:
            self._link.post(Reply(id=body.id, error=in_words(error)[:2000]), (), lane)

    async def _do(self, body: Request, transfer: Transfer) -> Any:
        handler, method = self._handlers.get(body.method), self._methods.get(body.method)
        if handler is not None:
            return await self._loop.run_in_executor(self._threads, handler, body.arguments, transfer)
        if method is None:
            raise ProtocolError(f"there is no method {body.method!r}")
        arguments = method.signature.check(body.method, body.arguments)
        value = await self._loop.run_in_executor(self._service, partial(method.call, **arguments))
        return method.signature.check_result(body.method, value)


def _of_file(body: Request, error: OSError) -> str:
    """What was wrong, by the name that was asked for: this host's own names are not told."""
    asked = body.arguments.get("path") or body.arguments.get("folder")
    return f"{asked!r}: {error.strerror or error}" if asked else str(error.strerror or error)
