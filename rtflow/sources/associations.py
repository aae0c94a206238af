"""A pynetdicom server whose associations wait for what happens, instead of looking a thousand times a second.

As it comes, each association has two threads that sleep for a millisecond and look again, which costs every
object some milliseconds and an idle scanner's association a few percent of a core; reads its socket in
pieces of 4 kB; and waits without end for the rest of a message whose sender is gone. pynetdicom shows the
parts that do so (the socket, the queues between the threads, the writer of answers) as attributes; `improve`
puts others there before the association begins.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import select
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE, DimsePrimitiveType
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationServer, AssociationSocket

from rtflow.documents import now
from rtflow.sources.encoding import store_response

MAXIMUM = 256
"""Associations at once: some scanners open one per image and are slow to close it."""

PDU_SIZE = 1 << 18
"""Largest message that a sender is asked for, bytes."""

NEGOTIATION = 10.0
"""Seconds to wait for the request of an association, and for what else belongs to no object."""

SILENCE = 4 * 3600.0
"""Seconds without a byte after which an association is ended: a scan is long, and has pauses."""

STALLED = 60.0
"""Seconds to wait for the rest of a message of an object."""

# Explicit and implicit little endian, explicit big endian.
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
_TOO_LARGE = 64 << 20
_WAIT = 0.25
# Seconds of silence, between questions, and questions: a peer that was switched off is noticed in a minute.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Turn:
    """Whose turn it is in an association: nothing comes from the peer while it waits for an answer."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._ours = False

    def ask(self) -> None:
        """The peer asked for something."""
        self._answered.clear()
        self._ours = True

    def answer(self) -> None:
        """It gets its answer."""
        self._answered.set()

    def wait(self) -> bool:
        """Whether it is our turn; waits a moment for the answer."""
        if self._ours and self._answered.wait(_WAIT):
            self._ours = False
            return True
        return self._ours


class _Out(queue.Queue[Any]):
    """What goes to the peer."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._turn.answer()


class Messages(queue.Queue[Any]):
    """Objects from the peer; whoever asks for one waits until it, or the association's end, is there.

    Attributes
    ----------
    at
        When the last one was complete.
    """

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn
        self._news = threading.Event()
        self.at = 0.0

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add one that is complete now."""
        self.at = now()
        self._turn.ask()
        super().put(item, block, timeout)
        self._news.set()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next; one who would not wait does so for a moment."""
        if not block:
            self._news.wait(_WAIT)
            self._news.clear()
        return super().get(block, timeout)

    def look(self) -> None:
        """Something else has happened that whoever waits must see to."""
        self._news.set()


class _Control(queue.Queue[Any]):
    """What the peer says about the association itself; nobody waits for one that is gone."""

    def __init__(self, turn: Turn, messages: Messages, reader: threading.Thread) -> None:
        super().__init__()
        self._turn = turn
        self._messages = messages
        self._reader = reader

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while block and self._reader.is_alive() and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                return super().get(timeout=min(left, _WAIT))
        return super().get(block=False)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if not isinstance(item, A_ABORT | A_P_ABORT):  # those are not answered
            self._turn.ask()
        super().put(item, block, timeout)
        self._messages.look()


class _Dimse(DIMSEServiceProvider):
    """Writes the one answer that every object gets, the same but for two fields, without a data set."""

    def send_msg(self, primitive: DimsePrimitiveType, context_id: int) -> None:
        if not isinstance(primitive, C_STORE) or primitive.MessageIDBeingRespondedTo is None:
            super().send_msg(primitive, context_id)
            return
        command = store_response(
            str(primitive.AffectedSOPClassUID),
            str(primitive.AffectedSOPInstanceUID),
            primitive.MessageIDBeingRespondedTo,
            int(primitive.Status or 0),
        )
        answer: Any = P_DATA()
        answer.presentation_data_value_list.append((context_id, b"\3" + command))  # 3: a command, and its end
        self.dul.send_pdu(answer)


class _Socket(AssociationSocket):
    """A socket that is waited for, and read in one piece."""

    def __init__(self, assoc: Association, connection: socket.socket, turn: Turn) -> None:
        super().__init__(assoc, client_socket=connection)
        self._turn = turn

    @property
    def ready(self) -> bool:
        connection = self.socket
        if connection is None or connection.fileno() < 0:
            time.sleep(0.001)
        elif self.event_queue.empty() and not self._turn.wait():
            # If it is closed meanwhile, that is found out and told next.
            with contextlib.suppress(OSError, ValueError):
                select.select([connection], [], [], _WAIT)
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        connection = self.socket
        if connection is None or nr_bytes > _TOO_LARGE:
            raise OSError(f"a message of {nr_bytes} bytes is not of a DICOM association")
        connection.settimeout(STALLED if self.assoc.is_established else NEGOTIATION)
        received = bytearray(nr_bytes)
        left = memoryview(received)
        while left:
            count = connection.recv_into(left)
            if count == 0:
                return received[: nr_bytes - len(left)]
            left = left[count:]
        _acknowledge(connection)
        return received


def _acknowledge(connection: socket.socket) -> None:
    # A sender that gathers small packets (Nagle) holds back the end of an object until its beginning is
    # acknowledged, and the system takes 40 ms to do so unless it is asked to, each time anew.
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _prepare(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    _acknowledge(connection)


def improve(event: evt.Event) -> None:
    """Put the parts that wait into an association that is about to begin."""
    assoc = event.assoc
    dul = assoc.dul
    connection = dul.socket.socket if dul.socket is not None else None
    if connection is None:  # it was closed as soon as it was made
        return
    turn = Turn()
    messages = Messages(turn)
    _prepare(connection)
    # The socket tells of itself when it is made, so what the former one told is taken back.
    while not dul.event_queue.empty():
        dul.event_queue.get_nowait()
    dul.socket = _Socket(assoc, connection, turn)
    dul.to_provider_queue = _Out(turn)
    dul.to_user_queue = _Control(turn, messages, dul)
    assoc.dimse = _Dimse(assoc)
    assoc.dimse.msg_queue = messages
    _contain(assoc, connection)
    _contain(dul, connection)
    dul.daemon = True  # so that an open association keeps no program from ending
    # Not public, and not needed: without it an answer goes out a millisecond later.
    dul._run_loop_delay = 0.0


def _contain(thread: threading.Thread, connection: socket.socket) -> None:
    """Let what a malformed message breaks end its association, and be no traceback on the terminal."""
    run = thread.run

    def contained() -> None:
        try:
            run()
        except Exception:
            logging.getLogger("pynetdicom").exception("An association ended by an error")
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    thread.run = contained  # type: ignore[method-assign]


def choose_syntaxes(contexts: Sequence[Any]) -> None:
    """Put the transfer syntaxes that are read soonest first in each context, for the first one is taken.

    A sender that offers several in one context can write any of them; most offer each in one of its own.

    Raises
    ------
    ValueError
        If a context has none.
    """
    rank = dict.fromkeys(ALL_TRANSFER_SYNTAXES, len(_PLAIN)) | {uid: n for n, uid in enumerate(_PLAIN)}
    for context in contexts:
        if not context.transfer_syntax:
            raise ValueError("a presentation context without a transfer syntax")
        if len(context.transfer_syntax) > 1:
            context.transfer_syntax = sorted(
                context.transfer_syntax, key=lambda uid: rank.get(uid, len(rank))
            )


class Server(AssociationServer):
    """Accepts associations."""

    request_queue_size = 128

    def service_actions(self) -> None:
        """Do nothing: pynetdicom collects all garbage here now and then, which stops every thread."""

    def shutdown(self) -> None:
        """Accept no more."""
        # pynetdicom's own would look for this server among those that it started itself.
        super(AssociationServer, self).shutdown()
        self.server_close()


def serve(address: tuple[str, int], ae_title: str, handlers: list[Any]) -> Server:
    """Bind, and accept associations in a thread.

    Every storage class is accepted, private and unknown ones too, in the transfer syntax that its sender
    names first.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    # What a scanner puts into a UID is kept as it is, and no reason for a line on the terminal.
    warnings.filterwarnings("ignore", "Invalid value for VR UI", UserWarning)
    # These belong to pynetdicom as a whole; nothing else in the project accepts associations.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    entity = AE(ae_title)
    entity.add_supported_context(Verification)
    entity.maximum_associations = MAXIMUM
    entity.maximum_pdu_size = PDU_SIZE
    entity.acse_timeout = NEGOTIATION
    entity.network_timeout = SILENCE
    handlers = [(evt.EVT_CONN_OPEN, improve), *handlers]
    server: Any = entity.make_server(address, evt_handlers=handlers, server_class=Server)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dicom-receiver", daemon=True
    ).start()
    accepting: Server = server
    return accepting


def end(server: Server, within: float = 5.0) -> None:
    """Accept no more, abort what is open, and wait until it has ended."""
    server.shutdown()
    associations = server.active_associations
    for association in associations:
        association.abort(block=False)
    until = time.monotonic() + within
    for association in associations:
        for thread in (association, association.dul):
            thread.join(max(0.0, until - time.monotonic()))
