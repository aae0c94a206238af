"""What an agent can be asked: its answers, with what they carry, each within a time of its own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

from rtflow.errors import RemoteError
from rtflow.server.link import Link
from rtflow.server.messages import Body, Kept, Piece, Reply, Request
from rtflow.server.signatures import Signature
from rtflow.server.transfer import Transfer
from rtflow.server.wire import BULK, URGENT

STOP = "agent.stop"
"""The request that no answer to an earlier one is waited for any more."""


class _Asked(Transfer):
    """A request, and its answer once it is over."""

    value: Any = None


class Asking:
    """Asks one agent; `ask` may be called from any thread but the loop's, and works in the caller's own.

    Parameters
    ----------
    loop
        The server's event loop.
    link
        To the agent.
    name
        Of the agent, for messages.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link, name: str) -> None:
        self._loop, self._link, self._name = loop, link, name
        self._asked: dict[int, _Asked] = {}
        self._declared: dict[str, Signature] = {}

    # In the loop's thread

    def hear(self, body: Reply | Piece | Kept, parts: list[bytes]) -> None:
        """An answer, or what goes along with it; one that nobody waits for any more is dropped.

        Raises
        ------
        ProtocolError
            If a piece does not fit to the one before it.
        """
        asked = self._asked.get(body.id)
        if asked is None:
            return
        if not isinstance(body, Reply):
            asked.hear(body, parts)
        elif body.error:
            asked.end(RemoteError(f"agent {self._name!r}: {body.error}"))
        else:
            asked.value = body.value
            asked.end()

    def began_anew(self, methods: dict[str, Signature]) -> None:
        """Another process is at the other end: it knows nothing of what the last one was asked."""
        for asked in self._asked.values():
            asked.end(RemoteError(f"agent {self._name!r} began anew meanwhile; ask again"))
        self._declared = methods

    def end(self) -> None:
        """The server ends: whoever still waits for an answer is told so."""
        for asked in self._asked.values():
            asked.end(RemoteError("the server ends"))

    # From any other thread

    @property
    def methods(self) -> dict[str, Signature]:
        """What the agent's own services offer."""
        return dict(self._declared)

    def call(self, method: str, arguments: dict[str, Any], timeout: float) -> Any:
        """Call a method of an agent's own service.

        Raises
        ------
        UsageError
            If an argument is not what the method takes.
        RemoteError
            If the agent has no such method, the method raises, or there is no answer in time.
        """
        signature = self._declared.get(method)
        if signature is None:
            there = ", ".join(sorted(self._declared)) or "none"
            if not self._link.connected:
                there = "not known: it is not connected"
            raise RemoteError(f"agent {self._name!r} has no method {method!r}; its methods: {there}")
        value = self.ask(method, signature.check(method, arguments), timeout, lane=URGENT)
        return signature.check_result(method, value)

    def ask(
        self,
        method: str,
        arguments: dict[str, Any],
        timeout: float,
        *,
        take: Callable[[bytes], object] | None = None,
        give: BinaryIO | None = None,
        lane: int = BULK,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Any:
        """Ask for something, and wait for the answer.

        Parameters
        ----------
        method, arguments
            What is asked.
        timeout
            Seconds for all of it; one that has gone by while ``take``, ``give`` or ``progress`` was busy is
            noticed after that.
        take
            Called with each piece that comes.
        give
            What is sent along.
        progress
            Called with the bytes that came, or went, so far; as slow as it is, so slow is this transfer, and
            nothing else.

        Raises
        ------
        RemoteError
            If the agent cannot do it, or not in time; at once if no agent of this name has ever connected.
        """
        if (
            not self._link.was_connected
        ):  # one that was lost may come back in time, this one may be a mistyped name
            raise RemoteError(
                f"no agent {self._name!r} has connected so far; start it, correct the name, or wait for it "
                "by wait_for_connection(seconds)"
            )
        number = secrets.randbits(48)  # never that of a question which an earlier server asked
        asked = _Asked(number, partial(self._post, BULK))
        until, came, answered = time.monotonic() + timeout, 0, False
        self._loop.call_soon_threadsafe(self._asked.__setitem__, number, asked)
        try:
            self._post(lane, Request(id=number, method=method, arguments=arguments))
            if give is not None:
                asked.give(give, until=until, progress=progress)
            for piece in asked.take(until=until):
                if take is None:
                    raise RemoteError(f"agent {self._name!r} sent a file that nobody asked for")
                _keep(take, piece)
                came += len(piece)
                progress(came)
            answered = True
            return asked.value
        except TimeoutError:
            there = "" if self._link.connected else ": it is not connected"
            raise RemoteError(
                f"agent {self._name!r} did not answer {method!r} within {timeout:g} s{there}"
            ) from None
        finally:
            with contextlib.suppress(RuntimeError):  # the server's loop has come to its end meanwhile
                if not answered:
                    self._post(lane, Request(id=number, method=STOP))
                self._loop.call_soon_threadsafe(self._asked.pop, number)

    def _post(self, lane: int, body: Body, parts: Sequence[bytes] = ()) -> None:
        self._loop.call_soon_threadsafe(self._link.post, body, parts, lane)


def _keep(take: Callable[[bytes], object], piece: bytes) -> None:
    try:
        take(piece)
    except OSError as error:
        raise RemoteError(f"what came could not be kept ({error.strerror or error})") from error
