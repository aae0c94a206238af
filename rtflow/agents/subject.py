"""The agent on the subject's host: gives on each value once, in order, and tells what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import rtflow
from rtflow.agents.answering import Answering
from rtflow.agents.connecting import Place, stay_connected
from rtflow.agents.kept_values import Arrival, KeptValues, is_late
from rtflow.agents.outlets import Outlet
from rtflow.agents.services import Method, declaration
from rtflow.documents import now
from rtflow.errors import ProtocolError, RtflowError, in_words
from rtflow.server.link import Link
from rtflow.server.messages import (
    BeginRun,
    Body,
    EndRun,
    Kept,
    Note,
    Piece,
    Received,
    Request,
    Said,
    Shown,
    Value,
)
from rtflow.server.wire import Hello

_FAREWELL = 1.0
_CLOCKS = 0.25
"""Seconds to wait for the clocks to agree, where a value comes with the connection."""

_AGAIN = 0.5


class SubjectAgent:
    """The agent.

    Parameters
    ----------
    folder
        Its own; it must outlive the agent.
    tell
        Called with each change, in words.
    services
        Methods that nodes may call.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None], *, services: dict[str, Method] | None = None
    ) -> None:
        self._folder = folder
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._outlets: Sequence[Outlet] = ()
        self._news: dict[str, asyncio.Event] = {}
        self._kept: KeptValues | None = None
        self._ended, self._told_of = True, ""
        methods = services or {}
        about = {"rtflow": rtflow.__version__}
        told = declaration(methods)
        self.link = Link(self._work, about=about, methods=told, met=self._met, failed=self._failed)
        self._answering = Answering(self.link, methods, {})

    @property
    def run_uid(self) -> str:
        """The run that came last; empty before the first."""
        return self._kept.run.run_uid if self._kept is not None and self._kept.run is not None else ""

    @property
    def run_on(self) -> str:
        """The same, and empty once it is over: the next one may be on, and not be known here yet."""
        return "" if self._ended else self.run_uid

    @property
    def standing(self) -> str:
        """How it stands, in a line."""
        there = "connected" if self.link.connected else "not connected"
        if self._kept is None or self._ended:
            return f"{there}; no run"
        return f"{there}; run {self.run_uid}: volume {self._kept.last}"

    def end(self) -> None:
        """Let `serve` return; from any thread, or a signal."""
        self._loop.call_soon_threadsafe(self._ending.set)

    async def serve(self, place: Place, outlets: Sequence[Outlet]) -> None:
        """Be there for the server until `end` is called.

        Parameters
        ----------
        place
            The server.
        outlets
            Where values go.

        Raises
        ------
        UsageError, ProtocolError
            If the server refuses this agent for good.
        """
        self._outlets = outlets
        self._news = {outlet.name: asyncio.Event() for outlet in outlets}
        self._kept = KeptValues(self._folder / "values.jsonl", tuple(self._news), self._tell)
        staying = asyncio.ensure_future(stay_connected(self.link, place, self._tell, self._ending))
        ending = asyncio.ensure_future(self._wait_for_end())
        giving = [asyncio.ensure_future(self._give(outlet, self._kept)) for outlet in outlets]
        try:
            jobs = [staying, *giving]
            await asyncio.wait([*jobs, ending], return_when=asyncio.FIRST_COMPLETED)
            for job in jobs:
                if job.done():
                    job.result()
        finally:
            await self._answering.end()
            if self.link.connected:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FAREWELL):
                        await self.link.emptied()
                        self.link.hang_up("the agent was ended")
                        await asyncio.wait([staying])
            for task in (staying, ending, *giving):
                task.cancel()
            await asyncio.gather(staying, ending, *giving, return_exceptions=True)
            for outlet in outlets:
                await outlet.close()
            self._kept.close()

    def say(self, body: Said) -> None:
        """Tell the server what the participant did, or the display showed, and whether that had come late."""
        if isinstance(body, Shown) and self._kept is not None:
            found = (
                one for one in self._kept.values if (one.run_uid, one.volume) == (body.run_uid, body.volume)
            )
            late = any(self._is_late(one) for one in found)
            body = msgspec.structs.replace(body, late=late)
        self.link.post(body)

    def say_from_anywhere(self, body: Said) -> None:
        """The same, from any thread."""
        self._loop.call_soon_threadsafe(self.say, body)

    async def _wait_for_end(self) -> None:
        await self._ending.wait()

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        assert self._kept is not None
        if isinstance(body, Value):
            await self._take(body, self._kept)
        elif isinstance(body, BeginRun):
            if self._told_of != body.run_uid:
                named = f" of {body.workflow}" if body.workflow else ""
                how = "goes on" if self.run_uid == body.run_uid else "begins"
                self._tell(f"run {body.run_uid}{named} {how}")
                if self.run_uid == body.run_uid:
                    self._say_again(self._kept)
            self._ended, self._told_of = False, body.run_uid
            self._kept.begin(body)
            self._pass_on(body)
        elif isinstance(body, EndRun):
            self._ended, self._told_of = True, ""
            self._tell(
                f"run {body.run_uid} {body.status or 'is over'}: volume {self._kept.last} was the last"
            )
            self._pass_on(body)
        elif isinstance(body, Note):
            self._pass_on(body)
        elif isinstance(body, Request | Piece | Kept):
            self._answering.hear(body, parts)
        else:
            raise ProtocolError(f"a display cannot be told {type(body).__name__}")

    def _say_again(self, kept: KeptValues) -> None:
        """Say what is here: of a process before this one, which was killed, it may not have been heard."""
        for value in kept.values:
            self.link.post(Received(run_uid=value.run_uid, volume=value.volume, at=value.arrived))

    async def _take(self, value: Value, kept: KeptValues) -> None:
        """Keep a value, and say that it is here; again if that was said before, and perhaps not heard."""
        at = now()
        self._ended = False
        fresh = kept.take(Arrival(**msgspec.structs.asdict(value), arrived=at))
        self.link.post(Received(run_uid=value.run_uid, volume=value.volume, at=at))
        if fresh:
            for news in self._news.values():
                news.set()

    async def _give(self, outlet: Outlet, kept: KeptValues) -> None:
        """Give on what comes, through one outlet, in order and once."""
        news, said = self._news[outlet.name], ""
        while True:
            news.clear()
            value = kept.next(outlet.name)
            if value is None:
                await news.wait()
                continue
            value = await self._when_due(value)
            try:
                if value.run_uid == self.run_uid:
                    await outlet.give(value)
                kept.give(outlet.name, value)
                said = ""
            except (OSError, RtflowError) as error:
                says = f"volume {value.volume} could not be given on ({outlet.name}): {in_words(error)}"
                if says != said:
                    self._tell(says)
                    said = says
                await asyncio.sleep(_AGAIN)

    async def _when_due(self, value: Arrival) -> Arrival:
        """Wait until a value may be shown, by this host's clock; it says whether it came late."""
        began = now()
        while self.link.clock.offset is None and self.link.connected and now() - began < _CLOCKS:
            await asyncio.sleep(0.005)
        late = self._is_late(value)
        if value.delay and (left := self.link.clock.to_ours(value.time + value.delay) - now()) > 0:
            await asyncio.sleep(min(left, value.delay))
        return msgspec.structs.replace(value, late=late)

    def _is_late(self, value: Arrival) -> bool:
        tr = self._kept.run.tr if self._kept is not None and self._kept.run is not None else None
        there = self.link.clock.to_ours(value.time if value.received is None else value.received)
        return is_late(value.arrived, there, tr)

    def _pass_on(self, body: Body) -> None:
        for outlet in self._outlets:
            try:
                outlet.tell(body)
            except (OSError, RtflowError) as error:
                self._tell(f"{type(body).__name__} could not be given on ({outlet.name}): {in_words(error)}")

    def _met(self, hello: Hello, anew: bool) -> None:
        self._answering.met(hello, anew)

    def _failed(self, error: Exception) -> None:
        self._tell(f"a message could not be used: {in_words(error)}")
