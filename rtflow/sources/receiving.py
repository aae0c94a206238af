"""A DICOM receiver (C-STORE): what a scanner sends, as objects for a stream."""

from __future__ import annotations

import errno
import itertools
import logging
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtflow.documents import now
from rtflow.errors import SourceError, in_words
from rtflow.sources.admission import Admission, Refusal
from rtflow.sources.encoding import file_head
from rtflow.sources.feed import Arrival
from rtflow.sources.spool import Spool

if TYPE_CHECKING:
    from pynetdicom.events import Event

    from rtflow.sources.associations import Server

_IN_MEMORY = 64 << 20
_KINDS_COUNTED = 100

# What a sender is told (PS3.4 annex B.2.3).
_TAKEN, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000


class Receiver:
    """Receives objects over DICOM associations; a feed, and so a context manager.

    An object is in the spool before its sender is told that it was taken, and stays there until it is
    `done`: what was acknowledged is brought, if not by this process then by the next that uses the spool.
    An object is brought as it was sent, as a file, its data set unchanged and never decoded; one that is
    sent twice is brought twice.

    Parameters
    ----------
    host
        Address or name to listen at; empty for all of the machine's of version 4, ``::`` for all.
    port
        Port; 0 for any that is free.
    ae_title
        Title that the peer must call.
    calling
        Titles that may call; empty for any.
    peers
        Addresses or networks (``10.1.0.0/16``) that may call; empty for any.
    spool
        Folder for what was received and not taken yet.
    in_memory
        Bytes to hold of objects that wait to be brought; those beyond are read from the spool in their turn.

    Raises
    ------
    SourceError
        If a title or an address cannot be one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ae_title: str = "RTFLOW",
        calling: Sequence[str] = (),
        peers: Sequence[str] = (),
        spool: Path,
        in_memory: int = _IN_MEMORY,
    ) -> None:
        self._host = host
        self._port = port
        self._admission = Admission(ae_title, calling, peers)
        self._spool = Spool(spool)
        self._in_memory = in_memory
        self._server: Server | None = None
        self._came = threading.Condition()
        self._queue: deque[tuple[Path, float, int, bytes | None]] = deque()
        self._held = 0
        self._storing: dict[int, float] = {}
        self._refused: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._troubles: list[str] = []
        self._told: set[str] = set()

    def __enter__(self) -> Receiver:
        if self._server is None:
            self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            from rtflow.sources.associations import end

            end(self._server)
            self._server = None
            count = self._spool.count()
            if count:
                self._note(f"received, and still in {self._spool.folder} at the end: {count} objects")
            self._spool.close()

    def check_address(self) -> None:
        """See that the address can be bound, without listening: a scanner that calls now gets no answer.

        Raises
        ------
        SourceError
            If it cannot.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self._host, self._port))
        except (OSError, OverflowError) as error:
            raise SourceError(_cannot_bind(self._host, self._port, error)) from None

    def listen(self) -> None:
        """Bind, and begin to accept; what an earlier process left in the spool comes first.

        Raises
        ------
        SourceError
            If the address cannot be bound or the spool not be used.
        """
        from pynetdicom import evt

        from rtflow.sources.associations import serve

        log = logging.getLogger("pynetdicom")
        if log.level == logging.NOTSET:  # nobody asked for it
            log.setLevel(logging.CRITICAL + 1)
        for path in self._spool.open():
            status = path.stat()
            # The machine's clock may have been set back meanwhile, and time counts from what came last.
            self._queue.append((path, min(status.st_mtime, now()), status.st_size, None))
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_REJECTED, self._turned_away),  # not after those that are refused here
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            self._server = serve((self._host, self._port), self._admission.title, handlers)
        except (OSError, OverflowError) as error:
            self._spool.close()
            self._queue.clear()
            raise SourceError(_cannot_bind(self._host, self._port, error)) from None

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._server.server_address[1] if self._server is not None else self._port

    @property
    def refused(self) -> Mapping[str, int]:
        """Associations that were rejected: who and why, and how many times."""
        with self._came:
            return dict(self._refused)

    @property
    def failed(self) -> Mapping[str, int]:
        """Objects that were not taken, as their sender was told: why, and how many."""
        with self._came:
            return dict(self._failed)

    def troubles(self) -> list[str]:
        """What was refused, failed or is left over, in sentences; each is said once."""
        with self._came:
            every = (*self._refused, *self._failed, *self._troubles)
            said = [text for text in every if text not in self._told]
            self._told.update(said)
        return said

    # The feed

    @property
    def brought_until(self) -> float:
        """Time up to which all that came was brought: before that of whatever waits, or is being written."""
        with self._came:
            waiting = [item[1] for item in itertools.islice(self._queue, 1)]
            return min([*waiting, *self._storing.values()], default=now())

    @property
    def hint(self) -> str:
        """What else to check if nothing comes."""
        where = f"{self._host or 'this machine'}, port {self.port}"
        return f", and that it may reach {where}, as {self._admission.title!r}"

    def before(self) -> Iterator[Arrival]:
        """Nothing apart: what an earlier process left in the spool comes first among the arrivals."""
        return iter(())

    def arrivals(self, timeout: float) -> Iterator[Arrival]:
        """What has come, in its order; waits for the first one, but at most ``timeout`` seconds."""
        with self._came:
            self._came.wait_for(lambda: self._queue, timeout)
            # Not until there is none: they may come faster than they are taken, and time must count.
            waiting = len(self._queue)
        for _ in range(waiting):
            with self._came:
                path, received, size, data = self._queue.popleft()
                if data is not None:
                    self._held -= size
            if data is None:
                try:
                    data = path.read_bytes()
                except OSError as error:
                    self._fail(f"{path.name} was received and can no longer be read ({error.strerror})")
                    continue
            yield Arrival(path.name, path, data, received)

    def done(self, arrival: Arrival) -> None:
        """Remove an object from the spool."""
        try:
            self._spool.drop(arrival.path)
        except OSError as error:  # the run has it, and goes on
            self._note(f"objects cannot be removed from {self._spool.folder} ({error.strerror})")

    def refuse(self, arrival: Arrival) -> None:
        """Bring an object no more, since what was received never changes; it is kept aside in the spool."""
        try:
            self._spool.set_aside(arrival.path)
        except OSError as error:
            self._note(f"objects cannot be set aside in {self._spool.folder} ({error.strerror})")

    # What the associations call, each in a thread of its own

    def _store(self, event: Event) -> int:
        with self._came:
            self._storing[id(event)] = now()
        try:
            return self._keep(event)
        except Exception as error:  # the sender is told, and so must we be: pynetdicom only logs it
            self._fail(f"an object from {_who(event)} could not be taken ({in_words(error)})")
            return _NOT_UNDERSTOOD
        finally:
            with self._came:
                del self._storing[id(event)]

    def _keep(self, event: Event) -> int:
        request: Any = event.request
        messages: Any = event.assoc.dimse.msg_queue
        received = messages.at
        if request.DataSet is None:
            self._fail(f"an object without data came from {_who(event)}")
            return _NOT_UNDERSTOOD
        head = file_head(
            request.AffectedSOPClassUID,
            request.AffectedSOPInstanceUID,
            event.context.transfer_syntax or "",
            event.assoc.requestor.ae_title,
        )
        data = head + request.DataSet.getbuffer()
        try:
            path = self._spool.keep(request.AffectedSOPInstanceUID, data)
        except OSError as error:
            self._fail(f"a received object cannot be written to {self._spool.folder}: {error.strerror}")
            return _NO_ROOM
        with self._came:
            hold = self._held + len(data) <= self._in_memory
            if hold:
                self._held += len(data)
            self._queue.append((path, received, len(data), data if hold else None))
            self._came.notify()
        return _TAKEN

    def _admit(self, event: Event) -> None:
        from rtflow.sources.associations import choose_syntaxes

        request: Any = event.assoc.requestor.primitive
        address = event.assoc.requestor.address
        calling = request.calling_ae_title.strip()
        try:
            refusal = self._admission.refusal(request.called_ae_title.strip(), calling, address)
            choose_syntaxes(request.presentation_context_definition_list)
        except Exception as error:  # who cannot be told apart is not let in
            refusal = Refusal(in_words(error))
        if refusal is None:
            return
        self._count(self._refused, f"an association of {calling!r} at {address} was refused: {refusal.why}")
        event.assoc.acse.send_reject(*refusal.code)
        event.assoc.kill()

    def _turned_away(self, event: Event) -> None:
        self._count(self._refused, f"an association of {_who(event)} was refused: too many are open")

    def _fail(self, why: str) -> None:
        self._count(self._failed, why)

    def _note(self, trouble: str) -> None:
        with self._came:
            if trouble not in self._troubles:
                self._troubles.append(trouble)

    def _count(self, counter: Counter[str], what: str) -> None:
        with self._came:
            if what not in counter and len(counter) >= _KINDS_COUNTED:
                what = "and others"
            counter[what] += 1


def _who(event: Event) -> str:
    return f"{event.assoc.requestor.ae_title!r} at {event.assoc.requestor.address}"


def _cannot_bind(host: str, port: int, error: OSError | OverflowError) -> str:
    where = f"port {port} of {host or 'this machine'}"
    if isinstance(error, OverflowError):
        return f"cannot listen at {where}: a port is a number from 0 to 65535"
    if isinstance(error, socket.gaierror):
        return f"cannot listen at {where}: the name is not known; give an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return f"cannot listen at {where}: it is taken by another program; end that, or choose another"
        case errno.EACCES | errno.EPERM:
            return f"cannot listen at {where}: it is not permitted; choose one above 1023"
        case errno.EADDRNOTAVAIL:
            return f"cannot listen at {where}: this machine has no such address; give one that it has"
    return f"cannot listen at {where}: {error.strerror}"
