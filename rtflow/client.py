"""Feedback for a stimulus program, and what it tells back: one file to copy to the stimulus computer.

It needs Python 3.8 or newer, and of other packages only ``websockets``, 10 or newer, which PsychoPy brings
along. Nothing else of rtflow is imported.

::

    from client import Feedback

    with Feedback("wss://analysis.lab:8443", token, ca="authority.pem") as feedback:
        for value in feedback:              # each value once, in order, until the run is over
            draw(value.value)
            window.flip()
            feedback.shown(value.volume)

All times are seconds since 1970 on the clock of this computer, as `now` tells them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import math
import platform
import random
import re
import secrets
import ssl
import threading
import time
import traceback
import urllib.parse
from collections import deque
from pathlib import Path
from types import MappingProxyType
from typing import Any, Iterator, Mapping, NamedTuple

import websockets
import websockets.version
from websockets.exceptions import InvalidHandshake, WebSocketException

SCHEMA = 1
"""Version of the messages that are spoken here."""

_FIRST, _LONGEST = 0.1, 2.0  # seconds from one attempt to connect to the next: doubled up to the second
_HEARTBEAT, _SILENCE = 1.0, 5.0
_FIRST_QUESTIONS, _FIRST_EVERY = 8, 0.05  # the clocks are to agree by the first volume
_DRIFT = 0.001  # seconds by which clocks may part while exchanges are compared
_UNTAKEN = 100
_UNKNOWN_TR = 2.0  # seconds that stand for a TR where nobody knows it, as in rtflow.agents.kept_values
_FRAME_LIMIT = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_EPOCH = time.time() - time.perf_counter()
_REFUSED = {
    401: "the server does not know this token; ask for a new one",
    403: "this token is not for the subject's channel",
    404: "there is no rtflow server at this address",
    409: "another subject of this name is connected; give another name",
}
_FOR_GOOD = (401, 403, 404)


def now() -> float:
    """Seconds since 1970, to the microsecond, by a clock that never jumps."""
    return _EPOCH + time.perf_counter()


class Value(NamedTuple):
    """What the participant is to be shown of one volume.

    Parameters
    ----------
    run_uid, volume
        What it belongs to; volumes are numbered from 1.
    value
        The value; None where it is not a number.
    values
        Further ones, by the names that the workflow gives them.
    kind
        What it is: ``neutral``, ``evidence``, ``percent_signal_change``, ...
    stale
        Whether it repeats an earlier volume: show nothing new.
    status, quality
        Of the volume's Result.
    time
        When the server handed it over.
    delay
        Seconds after ``time`` at which it is due; it is not there before.
    received
        When the volume's last byte was at the server, if known.
    acquired
        When the volume's acquisition began, if known.
    next_volume
        When the next one's begins, if that can be told.
    arrived
        When the value was at this computer.
    late
        Whether that was more than a TR (two seconds, where nobody knows the TR) after the volume, as behind
        a lost connection. It is given all the same, in its turn.
    """

    run_uid: str
    volume: int
    value: float | None = None
    values: Mapping[str, Any] = MappingProxyType({})
    kind: str = ""
    stale: bool = False
    status: str = "ok"
    quality: str = "good"
    time: float = 0.0
    delay: float = 0.0
    received: float | None = None
    acquired: float | None = None
    next_volume: float | None = None
    arrived: float = 0.0
    late: bool = False


class Run(NamedTuple):
    """The run that is on, or was last: its identity, workflow, and planned volumes and TR (s), if known."""

    run_uid: str
    workflow: str
    volumes: int | None
    tr: float | None


class _Final(Exception):
    """It is of no use to connect again."""


class Feedback:
    """The values of a run, as they come, in a thread of its own.

    It connects, and connects again whenever the connection is lost; nothing that is told either way is lost
    or comes twice. What goes wrong stands in `status`, in words; only the methods that wait raise, when it
    would be for ever. Everything may be called from any thread.

    Parameters
    ----------
    url
        ``wss://HOST:PORT`` of the server; ``ws://`` on this computer only.
    token
        What the server knows this computer by.
    name
        Of the subject's display, if there are several.
    ca
        File of the certificate of the authority that the server's is from, or an `ssl.SSLContext`; without
        it, the authorities that this computer trusts.
    state
        File to keep where it stands in. With it, a program that was killed and started again is taken for
        the same one by the server, and as long as the run is on it gets what `next`, `wait` or `latest` had
        not given out: the last 100 values are in the file before the server is told that they came. A value
        counts as given, in the file, just before it is; so none is given to two programs, and one at most,
        which was given a moment before the end, may never have been drawn. The file is not forced to the
        disk, for no frame may wait for that: after a power cut the program may begin anew.

    Attributes
    ----------
    status : str
        How the connection is, in words: ``connected``, ``not connected: ...``, ``ended: ...``.
    run : Run or None
        The run that is on, or was last; None before the first.
    note : str
        The last message to the participant, in words.

    Raises
    ------
    ValueError
        If an argument cannot be right.

    Examples
    --------
    In a display that draws each frame::

        while feedback.running:
            value = feedback.next()         # None if there is nothing new
            if value is not None and not value.stale:
                bar.height = value.value
            bar.draw()
            window.flip()
            if value is not None:
                feedback.shown(value.volume)
    """

    def __init__(
        self,
        url: str,
        token: str,
        name: str = "subject",
        ca: str | Path | ssl.SSLContext | None = None,
        state: str | Path | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"the address must be wss://HOST:PORT, and is {url!r}")
        if parts.scheme == "ws" and not _is_here(parts.hostname):
            raise ValueError(f"{url}: without TLS, only a server on this computer is spoken to; use wss://")
        if not _NAME.fullmatch(name):
            raise ValueError(f"a name is up to 64 letters, digits, dots and hyphens, and not {name!r}")
        self.status = "not connected yet"
        self.run: Run | None = None
        self.note = ""
        self._changed = threading.Condition()  # guards what is above, and these
        self._untaken: deque[Value] = deque()
        self._values: dict[int, Value] = {}
        self._latest: Value | None = None
        self._waited = 0
        self._over = True

        self._closing = self._final = False

        self._keeps = _Kept(state)
        self._address = f"{url.rstrip('/')}/ws/subject?name={name}&instance={self._keeps.instance}"
        self._options = _options(token, ca, tls=parts.scheme == "wss")
        self._talk = _Talk(self._hear)
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None]
        begun = threading.Event()
        self._thread = threading.Thread(target=self._live, args=[begun], name="rtflow-feedback", daemon=True)
        self._thread.start()
        begun.wait()

    def __enter__(self) -> Feedback:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self, limit: float = 2.0) -> None:
        """Tell the server what it has not heard yet, for ``limit`` seconds at most, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._soon(self._talk.close, self._task)
        self._thread.join(limit)
        self._soon(self._task.cancel)
        self._thread.join(limit)

    # What comes

    def wait(self, tr: int, timeout: float | None = None) -> Value | None:
        """Value of the volume ``tr`` of the run that is on, or that begins.

        Once the run is over, one that it has given before, or an earlier one, is that of the next run.

        Returns
        -------
        Value or None
            None if there is none: ``timeout`` seconds have gone by, a later volume has come, the run is over.

        Raises
        ------
        ConnectionError
            If the connection has ended for good; the message is `status`.
        """

        def there() -> bool:
            if self._over and tr <= self._waited:
                return False
            later = self._latest is not None and self._latest.volume > tr
            return tr in self._values or later or (self._over and self.run is not None)

        with self._changed:
            value = self._values.get(tr) if self._wait(there, timeout) else None
            if value is not None:
                self._waited = max(self._waited, tr)
            return self._give(value)

    def next(self, timeout: float | None = 0.0) -> Value | None:
        """The next value that was not given yet, in order; None if there is none.

        Parameters
        ----------
        timeout
            Seconds to wait for one at most; None waits until the run is over.

        Raises
        ------
        ConnectionError
            If it waits, and the connection has ended for good.
        """
        with self._changed:
            self._wait(lambda: bool(self._untaken) or self._over, timeout)
            return self._give(self._untaken.popleft() if self._untaken else None)

    @property
    def latest(self) -> Value | None:
        """The newest value of the run that is on, or was last."""
        with self._changed:
            return self._give(self._latest)

    def _give(self, value: Value | None) -> Value | None:
        if value is not None:
            self._keeps.give(value.run_uid, value.volume)
        return value

    def wait_for_run(self, timeout: float | None = None) -> Run | None:
        """Wait until a run is on; None if none is after ``timeout`` seconds.

        Raises
        ------
        ConnectionError
            If the connection has ended for good.
        """
        with self._changed:
            return self.run if self._wait(lambda: not self._over, timeout) else None

    @property
    def running(self) -> bool:
        """Whether a run is on, or values of it are left for `next`."""
        return bool(self._untaken) or not (self._over or self._final or self._closing)

    def __iter__(self) -> Iterator[Value]:
        """Each value of a run once, in order, until the run is over; waits for one to begin."""
        with self._changed:
            self._wait(lambda: bool(self._untaken) or not self._over, None)
        while True:
            value = self.next(timeout=None)
            if value is None:
                return
            yield value

    # What is told

    def shown(self, volume: int, at: float | None = None) -> None:
        """The value of a volume is on the display, since ``at`` (now, unless it is given).

        Of one that was given as late the server is told that it was.
        """
        value = self._values.get(_counted(volume))
        late = {"late": True} if value is not None and value.late else {}
        self._tell("Shown", at, self._run_uid, volume=int(volume), **late)

    def respond(self, button: str, at: float | None = None) -> None:
        """The participant pressed a button."""
        self._tell("Response", at, self._run_on, button=_short(button))

    def trigger(self, n: int, t: float | None = None) -> None:
        """The scanner's n-th trigger of this run (from 1) came."""
        self._tell("Trigger", t, self._run_on, n=_counted(n))

    def event(self, name: str, onset: float, duration: float) -> None:
        """Something was shown or played: from ``onset``, for ``duration`` seconds."""
        if not (math.isfinite(onset) and math.isfinite(duration) and duration >= 0):
            raise ValueError(f"onset and duration are seconds, and not {onset} and {duration}")
        body = {"name": _short(name), "onset": float(onset), "duration": float(duration)}
        self._post({"type": "StimulusEvent", "run_uid": self._run_on, **body})

    def _tell(self, kind: str, at: float | None, run_uid: str, **body: Any) -> None:
        at = now() if at is None else float(at)
        if not math.isfinite(at):
            raise ValueError(f"a time is in seconds since 1970, and not {at}")
        self._post({"type": kind, "run_uid": run_uid, "at": at, **body})

    @property
    def _run_uid(self) -> str:
        run = self.run
        return run.run_uid if run is not None else ""

    @property
    def _run_on(self) -> str:
        """Empty once the run is over: the next one may be on, and not be known here yet."""
        return "" if self._over else self._run_uid

    def _post(self, body: dict[str, Any]) -> None:
        self._soon(self._talk.post, body)

    def _soon(self, call: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the connection has ended for good, and `status` says why
            self._loop.call_soon_threadsafe(call, *arguments)

    def _wait(self, there: Any, timeout: float | None) -> bool:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not there():
            left = until - time.monotonic()
            if left <= 0 or self._closing:
                return False
            if self._final:
                raise ConnectionError(self.status)
            self._changed.wait(min(left, 0.5))  # in pieces: on Windows, Ctrl-C comes only between them
        return True

    # In the thread

    def _live(self, begun: threading.Event) -> None:
        try:
            # Not in the thread of the program: on Windows, its Ctrl-C would come to this loop from then on.
            self._loop = asyncio.new_event_loop()
            self._task = self._loop.create_task(self._connect())
            begun.set()
            self._loop.run_until_complete(self._task)
            why = "ended: it was closed"
        except asyncio.CancelledError:
            why = f"ended: it was closed; {len(self._talk.posts)} messages had not reached the server"
        except _Final as error:
            why = f"ended: {error}"
        except BaseException as error:
            traceback.print_exc()
            why = f"ended by a defect: {type(error).__name__}: {error}"
        with self._changed:
            self.status, self._final = why, True
            self._changed.notify_all()
        self._loop.close()

    async def _connect(self) -> None:
        wait = _FIRST
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        presenting = asyncio.ensure_future(self._present())
        try:
            while True:
                try:
                    async with websockets.connect(self._address, **self._options) as socket:
                        why, wait = await self._talk.over(socket, self._tell_status, presenting), _FIRST
                except InvalidHandshake as error:
                    why = _refusal(error)
                except ssl.SSLCertVerificationError as error:
                    raise _Final(f"the server's certificate is not the expected one: {error}") from None
                except (OSError, asyncio.TimeoutError, EOFError, WebSocketException) as error:
                    why = str(error) or type(error).__name__
                if self._closing and not self._talk.posts:
                    return
                self._tell_status(f"not connected: {why}")
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(2 * wait, _LONGEST)
        finally:
            presenting.cancel()

    def _tell_status(self, words: str) -> None:
        self.status = words + self._keeps.trouble

    def _hear(self, body: dict[str, Any]) -> None:
        """Take a message; it is acknowledged then."""
        kind = body["type"]
        if kind == "Note":
            self.note = body["text"]
        elif kind == "Request":  # only whole agents have services
            self._talk.post({"type": "Reply", "id": body["id"], "error": "rtflow.client has no services"})
        elif kind in ("BeginRun", "EndRun"):
            self._coming.put_nowait(body)
            for value in self._keeps.left(body["run_uid"]) if kind == "BeginRun" else ():
                self._coming.put_nowait(value)
        elif kind == "Value":
            for value in self._keeps.left(body["run_uid"]):
                self._coming.put_nowait(value)
            body = {**body, "arrived": now()}
            if self._keeps.is_new(body):
                received = {"run_uid": body["run_uid"], "volume": body["volume"], "at": body["arrived"]}
                self._coming.put_nowait(body)
                self._talk.post({"type": "Received", **received})

    async def _present(self) -> None:
        """Give what came, in its order and when it is due."""
        while True:
            body = await self._coming.get()
            value = await self._due_value(body) if body["type"] == "Value" else None
            with self._changed:
                run_uid = body["run_uid"]
                if self.run is None or self.run.run_uid != run_uid:
                    # A value of it may come first: one that waited for this program to come back.
                    self.run, self._latest, self._waited = Run(run_uid, "", None, None), None, 0
                    self._untaken.clear()
                    self._values.clear()
                if value is not None:
                    self._latest = value
                    self._untaken.append(value)
                    self._values[value.volume] = value
                elif body["type"] == "BeginRun":
                    self.run = Run(run_uid, body["workflow"], body["volumes"], body["tr"])
                self._over = body["type"] == "EndRun"
                self._changed.notify_all()

    async def _due_value(self, body: dict[str, Any]) -> Value:
        """A value on this host's clock, when it is due."""
        offset = await self._talk.offset()
        fields = {name: body[name] for name in Value._fields if name in body}
        fields.update({name: body[name] - offset for name in _TIMES if body.get(name) is not None})
        value = Value(**fields)
        # The TR is of this run: what came before this value has been worked on.
        tr = self.run.tr if self.run is not None and self.run.run_uid == value.run_uid else None
        value = value._replace(late=_is_late(value, tr))
        due = min(value.delay, value.time + value.delay - now())
        if due > 0:
            await asyncio.sleep(due)
        return value


class _Talk:
    """One side of the protocol: what is posted is sent until it is acknowledged, what comes is heard once."""

    def __init__(self, hear: Any) -> None:
        self.posts: deque[tuple[int, dict[str, Any]]] = deque()
        self._hear = hear
        self._epoch, self._their_epoch = secrets.token_hex(8), ""
        self._next, self._sent = 1, 0
        self._heard = [0, 0]
        self._control: deque[dict[str, Any]] = deque()
        self._exchanges: deque[tuple[float, float]] = deque(maxlen=64)  # round trip, offset
        self._something: asyncio.Event | None = None  # while there is a connection
        self._may_post = False  # behind the first answer: then the server knows the clock of what it hears
        self._closing = False
        self._heard_at = 0.0

    def post(self, body: dict[str, Any]) -> None:
        self.posts.append((self._next, body))
        self._next += 1
        self._wake()

    def close(self, task: asyncio.Future[None]) -> None:
        self._closing = True
        if self._something is None and not self.posts:
            task.cancel()
        self._wake()

    async def offset(self) -> float:
        """Seconds that the server's clock shows more than this one, by the fastest of the last exchanges."""
        while not self._exchanges:  # the server answers before it sends the first value
            await asyncio.sleep(0.001)
        return min(self._exchanges)[1]

    def _wake(self) -> None:
        if self._something is not None:
            self._something.set()

    def _say(self, frame: str, **fields: Any) -> None:
        self._control.append({"frame": frame, **fields})
        self._wake()

    async def over(self, socket: Any, tell: Any, presenting: asyncio.Future[None]) -> str:
        """Use a connection until it ends; why it did."""
        first = self.posts[0][0] if self.posts else self._next
        hello = {"frame": "Hello", "schema": SCHEMA, "epoch": self._epoch, "first": [first, 1]}
        known = {"heard_epoch": self._their_epoch, "heard": self._heard, "about": _about()}
        await socket.send(json.dumps({**hello, **known}))
        theirs = json.loads(await asyncio.wait_for(socket.recv(), _SILENCE))
        if theirs["frame"] == "Bye":
            return _farewell(theirs)
        if theirs["schema"] != SCHEMA:
            raise _Final(
                f"the server speaks version {theirs['schema']} of the messages, and this file {SCHEMA}"
            )
        if theirs["heard_epoch"] == self._epoch:
            self._acknowledge(theirs["heard"][0])
        if theirs["epoch"] != self._their_epoch:
            self._their_epoch, self._heard = theirs["epoch"], [first - 1 for first in theirs["first"]]
        self._sent = (self.posts[0][0] if self.posts else self._next) - 1
        self._control.clear()
        self._may_post = False
        self._exchanges.clear()  # it may be another server, or another way to it
        self._something = asyncio.Event()
        self._heard_at = time.monotonic()
        tell("connected")
        jobs: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(job) for job in (self._read(socket), self._write(socket), self._ask())
        ]
        try:
            done, _ = await asyncio.wait([*jobs, presenting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._something = None
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        for job in done:
            if isinstance(job.exception(), (WebSocketException, OSError)):
                return "the connection was lost"
        return str(next(job.result() for job in done))

    async def _read(self, socket: Any) -> str:
        while True:
            frame = json.loads(await socket.recv())
            self._heard_at = time.monotonic()
            kind = frame["frame"]
            if kind == "Post":
                lane, seq = frame["lane"], frame["seq"]
                if seq > self._heard[lane] + 1:
                    return f"message {seq} came after {self._heard[lane]}; those between come again"
                if seq == self._heard[lane] + 1:
                    self._hear(frame["body"])
                    self._heard[lane] = seq
                self._say("Ack", lane=lane, seq=self._heard[lane])
            elif kind == "Ack":
                self._acknowledge(frame["seq"])
            elif kind == "Ping":
                at = now()
                self._may_post = True
                self._say("Pong", sent=frame["sent"], received=at, answered=now())
            elif kind == "Pong":
                there = frame["answered"] - frame["received"]
                round_trip = now() - frame["sent"] - there
                if round_trip >= 0 and there >= 0:
                    middle = (frame["received"] + frame["answered"]) / 2
                    self._compare(round_trip, middle - frame["sent"] - (round_trip + there) / 2)
            elif kind == "Bye":
                return _farewell(frame)

    def _compare(self, round_trip: float, offset: float) -> None:
        """Take an exchange; earlier ones that contradict it are of before one of the clocks was set."""
        agree = [one for one in self._exchanges if abs(one[1] - offset) <= (one[0] + round_trip) / 2 + _DRIFT]
        if len(agree) < len(self._exchanges):
            self._exchanges.clear()
            self._exchanges.extend(agree)
        self._exchanges.append((round_trip, offset))

    def _acknowledge(self, seq: int) -> None:
        while self.posts and self.posts[0][0] <= seq:
            self.posts.popleft()
        self._wake()

    async def _write(self, socket: Any) -> str:
        assert self._something is not None
        while True:
            self._something.clear()
            while self._control:
                await socket.send(json.dumps(self._control.popleft()))
            if self._may_post and self.posts and self.posts[-1][0] > self._sent:
                self._sent, body = self.posts[max(0, self._sent + 1 - self.posts[0][0])]
                await socket.send(json.dumps({"frame": "Post", "seq": self._sent, "lane": 0, "body": body}))
            elif self._closing and not self.posts:
                await socket.send(json.dumps({"frame": "Bye", "reason": "the program ends"}))
                return "it was closed"
            elif not self._control:
                await self._something.wait()

    async def _ask(self) -> str:
        asked = 0
        while True:
            if asked >= _FIRST_QUESTIONS:
                self._may_post = True
            self._say("Ping", sent=now())
            asked += 1
            await asyncio.sleep(_FIRST_EVERY if asked < _FIRST_QUESTIONS else _HEARTBEAT)
            if time.monotonic() - self._heard_at > _SILENCE:
                return "nothing is heard from the server"


class _Kept:
    """Who this is, the last value that was given, and those that wait: in memory, and in a file, if any."""

    def __init__(self, state: str | Path | None) -> None:
        self.instance, self.trouble = secrets.token_hex(8), ""
        self._path = None if state is None else Path(state)
        self._lock = threading.Lock()
        self._run_uid, self._volume = "", 0  # that came last
        self._given = 0
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_UNTAKEN)
        if self._path is not None and self._path.exists():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # after a power cut it may be empty
                kept = json.loads(self._path.read_text(encoding="utf-8"))
                volume = max([kept["volume"], *(body["volume"] for body in kept["waiting"])])
                self._waiting.extend(kept["waiting"])
                self.instance, self._run_uid, self._given = kept["instance"], kept["run_uid"], kept["volume"]
                self._volume = volume
        self._left = list(self._waiting)

    def left(self, run_uid: str) -> list[dict[str, Any]]:
        """What the program before had not given, once, if that run is still on."""
        left, self._left = self._left, []
        return left if run_uid == self._run_uid else []

    def is_new(self, body: dict[str, Any]) -> bool:
        """Whether a value did not come before; it has come then."""
        with self._lock:
            if body["run_uid"] != self._run_uid:
                self._run_uid, self._given = body["run_uid"], 0
                self._waiting.clear()
            elif body["volume"] <= self._volume:
                return False
            self._volume = body["volume"]
            if self._path is not None:
                self._waiting.append(body)
                self._write(self._path)
        return True

    def give(self, run_uid: str, volume: int) -> None:
        """A value is given now, and none before it will be given to another program."""
        if self._path is None or run_uid != self._run_uid or volume <= self._given:
            return
        with self._lock:
            self._given = volume
            while self._waiting and self._waiting[0]["volume"] <= volume:
                self._waiting.popleft()
            self._write(self._path)

    def _write(self, path: Path) -> None:
        kept = {"instance": self.instance, "run_uid": self._run_uid, "volume": self._given}
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(json.dumps({**kept, "waiting": list(self._waiting)}), encoding="utf-8")
            partial.replace(path)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"; {path} cannot be written: {error}"


_TIMES = ("time", "received", "acquired", "next_volume")


def _options(token: str, ca: str | Path | ssl.SSLContext | None, tls: bool) -> dict[str, Any]:
    """What `websockets.connect` is to be called with: it changed with versions 14 and 15."""
    major = int(websockets.version.version.partition(".")[0])
    options: dict[str, Any] = {
        "additional_headers" if major >= 14 else "extra_headers": {"Authorization": f"Bearer {token}"},
        "subprotocols": ["rtflow.json"],
        "compression": None,
        "max_size": _FRAME_LIMIT,
        "open_timeout": _SILENCE,
        "close_timeout": 1,
        "ping_interval": None,
    }
    if major >= 15:
        options["proxy"] = None  # a scanner's network has none, and it would see the token
    if tls:
        context = ca if isinstance(ca, ssl.SSLContext) else ssl.create_default_context(cafile=ca)
        options["ssl"] = context
    return options


def _refusal(error: InvalidHandshake) -> str:
    code = int(getattr(getattr(error, "response", error), "status_code", 0))
    why = _REFUSED.get(code, str(error))
    if code in _FOR_GOOD:
        raise _Final(why)
    return why


def _farewell(bye: dict[str, Any]) -> str:
    if bye.get("final"):
        raise _Final(bye["reason"])
    return str(bye.get("reason") or "the connection was lost")


def _about() -> dict[str, str]:
    return {"program": "rtflow.client", "python": platform.python_version(), "system": platform.system()}


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_late(value: Value, tr: float | None) -> bool:
    """Whether it came here more than a TR after its volume's last byte, or after the server gave it out."""
    there = value.time if value.received is None else value.received
    return value.arrived - there > (tr or _UNKNOWN_TR)


def _counted(n: int) -> int:
    if not 1 <= n <= 10_000_000:
        raise ValueError(f"volumes and triggers are numbered from 1, and {n} is none")
    return int(n)


def _short(text: str) -> str:
    if not isinstance(text, str) or len(text) > 100:
        raise ValueError(f"a name has 100 characters at most, and not {text!r}")
    return text
