"""What an agent on the scanner's host sends of a run: a feed of objects, or volumes as they are."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from rtflow.documents import Frame, Part, now
from rtflow.errors import ProtocolError, SourceError
from rtflow.server.messages import (
    Again,
    Arrived,
    BeginRun,
    Done,
    Listening,
    SourceEnded,
    SourceOpened,
    Trouble,
    VolumeSent,
)
from rtflow.server.scanner_channel import FromSource, ScannerChannel
from rtflow.sources.agent_troubles import AgentTroubles
from rtflow.sources.feed import Arrival
from rtflow.sources.spool import Spool

LOST_LIMIT = 60.0
"""Seconds for which time stands still, at most, while nothing is heard of the agent: volumes are not given up
for a cable that was pulled, and a run whose agent is gone for good ends all the same."""

_FRAMES, _FRAMES_BYTES = 64, 512 << 20
"""Volumes that may wait for the run, at most: an agent has fewer on their way."""

_EARLIER = 10.0
"""Seconds by which what came before the run began is told of: clocks of file systems differ by some."""

_IN_MEMORY = 64 << 20
_AT_ONCE = 4 << 20
"""An object of more bytes is written by a thread: the display's values do not wait for it."""

# What may stand in the name of a file of the spool.
_KEY = re.compile(r"[0-9A-Za-z.]{1,64}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:]")


class AgentFeed:
    """Objects that an agent sends; a feed, and so a context manager.

    An object is in the spool before the agent is told that it came, and the agent keeps it until it is
    `done`: it is not lost with any of the two processes. What comes twice is dropped.

    Parameters
    ----------
    channel
        The agent.
    run
        What it is told of the run.
    folder
        Of the spool.
    began
        When the run began, seconds since 1970; None for now.

    Attributes
    ----------
    opened
        What the agent's source brings, once it is open.
    volumes_done
        Number of the last volume that the journal has, of a source that knows its volumes.
    """

    def __init__(
        self, channel: ScannerChannel, run: BeginRun, folder: Path, began: float | None = None
    ) -> None:
        self._channel = channel
        self._run = run
        self._began = now() if began is None else began
        self._spool = Spool(folder)
        self._came = threading.Condition()
        self._queue: deque[tuple[str, Arrival, int]] = deque()
        self._held = 0
        self._keys: dict[Path, str] = {}
        self._known: set[str] = set()
        self._done: set[str] = set()
        self._frames: deque[Frame] = deque()
        self._last_volume = self.volumes_done = 0
        self._until = 0.0
        self._hint = ""
        self._troubles = AgentTroubles(channel.name)
        self._ended: SourceEnded | None = None
        self._begun = False
        self._told_of_early = False
        self.opened: SourceOpened | None = None

    # The run's side

    def begin(self, last_volume: int) -> None:
        """Tell the agent that there is a run, which has all volumes up to ``last_volume``.

        Raises
        ------
        SourceError
            If the spool cannot be used.
        """
        for path in self._spool.open():
            key = path.stem[17:]  # behind the time
            status = path.stat()
            self._keys[path] = key
            self._known.add(key)
            self._queue.append(
                (key, Arrival(path.name, path, b"", min(status.st_mtime, now())), status.st_size)
            )
        self._last_volume = self.volumes_done = last_volume
        self._begun = True
        self._channel.listen(self._run.run_uid, self._hear)
        self._channel.begin_run(self._run)

    def __enter__(self) -> AgentFeed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            self._begun = False
            self._channel.listen_no_more(self._run.run_uid)
            count = self._spool.count()
            if count:
                self._troubles.say(f"received, and still in {self._spool.folder} at the end: {count} objects")
            self._spool.close()

    def wait_until_open(self, timeout: float) -> bool:
        """Wait until it is known what comes, at most ``timeout`` seconds.

        Raises
        ------
        SourceError
            If the agent cannot open its source.
        """
        with self._came:
            self._came.wait_for(lambda: self.opened or self._ended or self._queue, timeout)
            self._check_ending()
            return self.opened is not None or bool(self._queue)

    @property
    def connected(self) -> bool:
        """Whether the agent is there."""
        return self._channel.link.connected

    @property
    def brought_until(self) -> float:
        """Time up to which all that came was brought, by the server's clock.

        It stands still while the agent is not heard, for `LOST_LIMIT` seconds at most.
        """
        with self._came:
            until = max(self._until, now() - LOST_LIMIT) if self._until else now()
            waiting = [arrival.received for _, arrival, _ in self._queue][:1]
            return min([until, *waiting])

    def troubles(self) -> list[str]:
        """What the agent says, and whether it is there."""
        return self._troubles.take(connected=self.connected, opened=self.opened is not None)

    @property
    def hint(self) -> str:
        """What else to check if nothing comes."""
        return f"{self._hint}, and what 'rtflow scanner' says on the scanner's host"

    def before(self) -> Iterator[Arrival]:
        """Nothing apart: what an earlier process left in the spool comes first among the arrivals."""
        return iter(())

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """What has come, in its order; waits for the first one, but at most ``timeout`` seconds.

        Raises
        ------
        SourceError
            If the agent's source has failed.
        """
        with self._came:
            self._came.wait_for(lambda: self._queue or self._ended, timeout)
            if not self._queue:
                self._check_ending()
            waiting = len(self._queue)
        for _ in range(waiting):
            with self._came:
                _, arrival, size = self._queue.popleft()
                if arrival.data:
                    self._held -= size
            if not arrival.data:
                try:
                    data = arrival.path.read_bytes()
                except OSError as error:
                    self._troubles.say(
                        f"{arrival.name} was received and can no longer be read ({error.strerror})"
                    )
                    self.refuse(arrival)
                    continue
                arrival = Arrival(arrival.name, arrival.path, data, arrival.received)
            yield arrival

    def done(self, arrival: Arrival) -> None:
        """Remove an object here, and let the agent forget it."""
        key = self._keys.pop(arrival.path, None)
        if key is None:
            return
        self._done.add(key)
        self._drop(arrival.path)
        self._channel.post(Done(run_uid=self._run.run_uid, key=key))

    def refuse(self, arrival: Arrival) -> None:
        """Have the agent send it again once it has changed."""
        key = self._keys.pop(arrival.path, None)
        if key is None:
            return
        self._drop(arrival.path)  # before it may come again, or what came again would be removed
        self._known.discard(key)
        self._channel.post(Again(run_uid=self._run.run_uid, key=key))

    # A source that knows its volumes

    def next_volume(self, timeout: float) -> Frame | None:
        """The next volume; None if none comes within ``timeout`` seconds, or none will.

        Raises
        ------
        SourceError
            If the agent's source has failed.
        """
        with self._came:
            self._came.wait_for(lambda: self._frames or self._ended, timeout)
            if self._frames:
                return self._frames.popleft()
            self._check_ending()
            return None

    @property
    def ended(self) -> bool:
        """Whether the agent's source has no more, and all was taken."""
        with self._came:
            return self._ended is not None and not self._frames

    def volume_done(self, volume: int) -> None:
        """The journal has a volume: let the agent forget it."""
        self.volumes_done = volume
        self._channel.post(Done(run_uid=self._run.run_uid, key=str(volume)))

    # In the thread of the server's loop

    async def _hear(self, body: FromSource, parts: list[bytes]) -> None:
        match body:
            case Arrived():
                await self._take_object(body, parts)
            case VolumeSent():
                self._take_volume(body, parts)
            case Listening():
                with self._came:
                    self._until = max(self._until, self._by_our_clock(body.until))
                    self._hint = body.hint
            case Trouble():
                self._troubles.hear(body.says)
            case SourceOpened():
                with self._came:
                    if self.opened is not None and self.opened.brings != body.brings:
                        raise ProtocolError(
                            f"the source of this run brings {self.opened.brings}, and now it is one that "
                            f"brings {body.brings}; start the agent as it was when the run began"
                        )
                    self.opened, self._ended = body, None
                    self._until = self._until or now()
                    self._came.notify_all()
            case SourceEnded():
                with self._came:
                    self._ended = body
                    self._came.notify_all()

    async def _take_object(self, body: Arrived, parts: list[bytes]) -> None:
        if not _KEY.fullmatch(body.key) or len(parts) > 1:
            raise ProtocolError("an object must have a key of letters and digits, and one part")
        if body.key in self._known:
            if body.key in self._done:  # the agent has begun anew, and had not heard of it
                self._channel.link.post(Done(run_uid=self._run.run_uid, key=body.key))
            return
        if not parts:  # its file was gone when its turn came, or could not be read at that moment
            self._channel.link.post(Again(run_uid=self._run.run_uid, key=body.key))
            return
        (data,) = parts
        received = self._by_our_clock(body.received)
        self._note_time(body.name, received)
        try:
            if len(data) > _AT_ONCE:
                path = await asyncio.to_thread(self._spool.keep, body.key, data)
            else:
                path = self._spool.keep(body.key, data)
        except OSError as error:
            self._troubles.say(f"what comes cannot be kept in {self._spool.folder} ({error.strerror})")
            path = self._spool.folder / f"{body.key}.dcm"
        arrival = Arrival(_UNSAFE.sub("_", body.name) or path.name, path, data, received)
        with self._came:
            hold = self._held + len(data) <= _IN_MEMORY or not path.exists()
            if hold:
                self._held += len(data)
            else:
                arrival = Arrival(arrival.name, path, b"", received)
            self._known.add(body.key)
            self._keys[path] = body.key
            self._queue.append((body.key, arrival, len(data)))
            self._came.notify_all()

    def _take_volume(self, body: VolumeSent, parts: list[bytes]) -> None:
        if len(parts) != len(body.parts):
            raise ProtocolError(f"volume {body.volume} came with {len(parts)} of {len(body.parts)} parts")
        if body.volume <= self._last_volume:
            if body.volume <= self.volumes_done:  # the agent has begun anew, and had not heard of it
                self._channel.link.post(Done(run_uid=self._run.run_uid, key=str(body.volume)))
            return
        if body.volume != self._last_volume + 1:
            return  # held by the agent when this host began anew: all comes again when it hears of the run
        with self._came:
            held = sum(len(part.data) for frame in self._frames for part in frame.parts)
            if len(self._frames) >= _FRAMES or held + sum(map(len, parts)) > _FRAMES_BYTES:
                raise ProtocolError(
                    f"volume {body.volume} came while {len(self._frames)} others ({held >> 20} MB) wait for "
                    "the run; an agent must wait until earlier ones are done"
                )
        self._last_volume = body.volume
        named = [
            Part(_UNSAFE.sub("_", about.name), about.media_type, data)
            for about, data in zip(body.parts, parts, strict=True)
        ]
        offset = self._channel.link.clock.offset
        acquired = None if body.acquired is None or offset is None else offset.to_ours(body.acquired)
        frame = Frame(
            body.volume, self._by_our_clock(body.received), tuple(named), acquired, missing=body.missing
        )
        with self._came:
            self._frames.append(frame)
            self._until = max(self._until, frame.received)
            self._came.notify_all()

    def _by_our_clock(self, theirs: float) -> float:
        """A time of the agent's in our scale; never in the future, for it has heard of it."""
        clock = self._channel.link.clock
        return now() if clock.offset is None else min(now(), clock.to_ours(theirs))

    def _note_time(self, name: str, received: float) -> None:
        # It is told, not refused: a share whose clock is wrong would cost the whole scan.
        early = self._began - received
        if early > _EARLIER and not self._run.existing and not self._told_of_early:
            self._told_of_early = True
            self._troubles.say(
                f"{_UNSAFE.sub('_', name)} came {early:.0f} s before the run began: it may be of an earlier "
                "scan; look at what 'rtflow scanner' watches, and at the clock of that folder's host"
            )

    def _drop(self, path: Path) -> None:
        try:
            self._spool.drop(path)
        except OSError as error:  # the run has it, and goes on
            self._troubles.say(f"objects cannot be removed from {self._spool.folder} ({error.strerror})")

    def _check_ending(self) -> None:
        if self._ended is not None and self._ended.error:
            raise SourceError(f"agent {self._channel.name!r}: {self._ended.error}")
