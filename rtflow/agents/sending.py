"""One run on the scanner's host: what its source brings goes to the server, until the run is over."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtflow.agents.kept_run import KeptRun
from rtflow.agents.protection import Protection
from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.read import looks_like_dicom
from rtflow.documents import now
from rtflow.errors import DicomError, RtflowError, in_words
from rtflow.server.messages import (
    Again,
    Arrived,
    BeginRun,
    Body,
    Done,
    Listening,
    SourceEnded,
    SourceOpened,
    Trouble,
)
from rtflow.server.outbox import Part
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.sources.feed import Arrival, Feed

POLL = 0.1
_TELL_EVERY = 0.5
_WAITING = 500
"""So many objects may wait for the connection: further ones stay where they are until there is room."""

_IN_MEMORY = 16
"""So many of these are held; those behind are read again when their turn comes."""

_UNREADABLE = re.compile(r"^.+ cannot be read")
_EXAMPLE = re.compile(r", such as .+$")


@dataclass
class Told:
    """How a run stands, for who looks at the terminal."""

    run_uid: str
    workflow: str = ""
    sent: int = 0
    done: int = 0
    withheld: int = 0


class Outlet:
    """Where messages of a run go; may be used from any thread.

    Parameters
    ----------
    post
        Sends a message.
    waiting
        How many are not acknowledged.
    connected
        Whether there is a connection.
    """

    def __init__(
        self,
        post: Callable[[Body, Sequence[Part]], None],
        waiting: Callable[[], int],
        connected: Callable[[], bool],
    ) -> None:
        self.post, self.waiting, self.connected = post, waiting, connected


class Sender(threading.Thread):
    """Sends what comes during one run, from a thread of its own.

    Parameters
    ----------
    run
        The run.
    kept
        Its state on disk.
    protection
        What is done to all that leaves.
    outlet
        Where it goes.
    tell
        Called with what a person should know.

    Attributes
    ----------
    told
        How it stands.
    answers
        What the server has said, and was not looked at yet.
    """

    def __init__(
        self,
        run: BeginRun,
        kept: KeptRun,
        protection: Protection,
        outlet: Outlet,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(name="run", daemon=True)
        self.run_uid = run.run_uid
        self.told = Told(run.run_uid, run.workflow)
        self.begun = run
        self.kept = kept
        self.protection = protection
        self.outlet = outlet
        self._tell = tell
        self.answers: queue.SimpleQueue[Done | Again | BeginRun] = queue.SimpleQueue()
        self.ending = threading.Event()
        self._withheld: set[int] = set()
        self._said: set[str] = set()

    def hear(self, answer: Done | Again | BeginRun) -> None:
        """What the server says of the run; `BeginRun` asks for all that it does not have for good."""
        self.answers.put(answer)

    def end(self) -> None:
        """Send no more; returns when all is closed."""
        self.ending.set()
        self.join()

    def run(self) -> None:
        """Send until the run is over."""
        try:
            self.send_all()
        except RtflowError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(in_words(error))
        finally:
            self.kept.close()

    def send_all(self) -> None:
        """Send all that comes."""
        raise NotImplementedError

    def tell_begun(self) -> None:
        """The source is open: what comes from now on is of the run."""
        named = f" of {self.begun.workflow}" if self.begun.workflow else ""
        how = "goes on" if self.kept.goes_on else "begins"
        self._tell(f"run {self.run_uid}{named} {how}: sending what comes")

    def post(self, body: Body, parts: Sequence[Part] = ()) -> None:
        """Send a message."""
        self.outlet.post(body, parts)

    def trouble(self, says: str) -> None:
        """Tell of something here and on the server."""
        self._tell(says)
        if self.protection.key is not None:  # the name of a file may be that of a patient
            says = _EXAMPLE.sub("", _UNREADABLE.sub("a file cannot be read", says))
        self.post(Trouble(run_uid=self.run_uid, says=says[:2000]))

    def withhold(self, why: str, path: Path) -> None:
        """Something does not leave this host; each reason is told once."""
        self._withheld.add(hash(path))
        self.told.withheld = len(self._withheld)
        self._trouble_once(f"not sent: {why}")

    def mark_done(self, key: str, *, sent: bool) -> None:
        """The server has it for good; ``sent`` says whether it is one of those that this process has sent."""
        self.told.done += sent
        try:
            self.kept.mark_done(key)
        except OSError as error:
            says = f"{self.kept.folder} cannot be written ({error.strerror})"
            self._trouble_once(says)

    def wait_for_room(self, answer: Callable[[], None]) -> None:
        """Wait until not too much is on its way."""
        while self.outlet.waiting() >= _WAITING and not self.ending.wait(0.02):
            answer()

    def _trouble_once(self, says: str) -> None:
        if says not in self._said:
            self._said.add(says)
            self.trouble(says)

    def _fail(self, why: str) -> None:
        self._tell(f"the run gets nothing more: {why}")
        self.post(SourceEnded(run_uid=self.run_uid, error=why[:2000]))


class ObjectSender(Sender):
    """Sends DICOM objects that a feed brings.

    Parameters
    ----------
    open_feed
        Makes the feed of a run.
    """

    def __init__(
        self,
        run: BeginRun,
        kept: KeptRun,
        protection: Protection,
        outlet: Outlet,
        tell: Callable[[str], None],
        open_feed: Callable[[BeginRun, KeptRun], Feed],
    ) -> None:
        super().__init__(run, kept, protection, outlet, tell)
        self._open_feed = open_feed
        self._away: dict[str, tuple[Arrived, Arrival]] = {}
        self._unread: set[str] = set()

    def send_all(self) -> None:
        """Send until the run is over."""
        told_at = 0.0
        with self._open_feed(self.begun, self.kept) as feed:
            self._say_opened()
            self.tell_begun()
            self._tell_troubles(feed)  # what is left alone, before anything is sent
            for arrival in feed.before():
                self._send(feed, arrival, before=True)
            while not self.ending.is_set():
                for arrival in feed.arrivals(POLL):
                    self._send(feed, arrival)
                self._answer(feed)
                self._tell_troubles(feed)
                if now() - told_at >= _TELL_EVERY and self.outlet.connected() and not self.outlet.waiting():
                    told_at = now()
                    until = feed.brought_until
                    self.post(Listening(run_uid=self.run_uid, until=until, hint=feed.hint[:2000]))
        for says in feed.troubles():
            self._tell(says)

    def _tell_troubles(self, feed: Feed) -> None:
        for says in feed.troubles():
            self.trouble(says)

    def _say_opened(self) -> None:
        self.post(SourceOpened(run_uid=self.run_uid, brings="objects"))

    def _send(self, feed: Feed, arrival: Arrival, *, before: bool = False) -> None:
        if not looks_like_dicom(arrival.data):
            feed.refuse(arrival)  # it may become one: its beginning may be written last
            return
        key = _key(arrival)
        if self.kept.is_done(key):
            feed.done(arrival)
            return
        try:
            name, data = self.protection.of_object(arrival.name, arrival.data)
        except IncompleteError:
            feed.refuse(arrival)
            return
        except DicomError as error:
            feed.refuse(arrival)  # damaged, or caught while its parts were being written
            self.withhold(str(error), arrival.path)
            return
        if len(data) > ScannerChannel.size_limit:
            feed.refuse(arrival)
            self.withhold(f"an object of more than {ScannerChannel.size_limit >> 20} MB", arrival.path)
            return
        body = Arrived(
            run_uid=self.run_uid, key=key, name=name[:255], received=arrival.received, before=before
        )
        self._away[key] = body, Arrival(arrival.name, arrival.path, b"", arrival.received)
        held = self.outlet.waiting() < _IN_MEMORY
        self.post(body, (data if held else self._reading(key, arrival),))
        self.told.sent += 1
        self.wait_for_room(lambda: self._answer(feed))

    def _reading(self, key: str, arrival: Arrival) -> Callable[[], bytes]:
        """What reads an object when its turn comes, one that cannot be read is told of once."""

        def read() -> bytes:
            try:
                return self.protection.of_object(arrival.name, arrival.path.read_bytes())[1]
            except (DicomError, OSError) as error:
                if key not in self._unread:
                    self._unread.add(key)
                    why = getattr(error, "strerror", None) or error
                    self.trouble(f"{arrival.name} cannot be read, when its turn to be sent has come ({why})")
                raise OSError(str(error)) from None

        return read

    def _answer(self, feed: Feed) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                answer = self.answers.get_nowait()
                if isinstance(answer, BeginRun):
                    self._say_opened()
                    for body, arrival in self._away.values():
                        self.post(body, (self._reading(body.key, arrival),))
                    continue
                _, gone = self._away.pop(answer.key, (None, None))
                if isinstance(answer, Done):
                    self.mark_done(answer.key, sent=gone is not None)
                    if gone is not None:
                        feed.done(gone)
                elif gone is not None:
                    feed.refuse(gone)


def _key(arrival: Arrival) -> str:
    """What the object in an arrival is called: another name if it is another object, or came elsewhere."""
    data = arrival.data
    about = f"{arrival.path}\n{len(data)}\n".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(about + data[:4096] + data[-4096:], digest_size=16).hexdigest()
