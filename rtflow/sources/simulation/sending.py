"""Objects to a receiver, as a scanner sends them: by C-STORE, over one association that stays open."""

from __future__ import annotations

import contextlib
import io
import queue
import re
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rtflow.errors import RunError, UsageError
from rtflow.sources.simulation.others import ENHANCED_REPORT, MR_IMAGE, RAW_DATA

if TYPE_CHECKING:
    from pynetdicom.association import Association

ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
CLASSES = (MR_IMAGE, ENHANCED_MR_IMAGE, RAW_DATA, ENHANCED_REPORT)
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_META = 132
_AGAIN = 0.2
"""Seconds between two attempts to reach the receiver."""
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Address:
    """Where a receiver listens.

    Parameters
    ----------
    host, port
        Its address.
    called, calling
        Application entity titles of the receiver and of the scanner.
    """

    host: str
    port: int
    called: str = "RTFLOW"
    calling: str = "SCANNER"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"dicom://{host}:{self.port}"


def parse_address(text: str) -> Address:
    """The receiver that a URI stands for: ``dicom://HOST:PORT[?called=TITLE&calling=TITLE]``.

    Raises
    ------
    UsageError
        If it stands for none.

    >>> parse_address("dicom://localhost:11112?called=STORE")
    Address(host='localhost', port=11112, called='STORE', calling='SCANNER')
    """
    wanted = f"receiver '{text}': expected dicom://HOST:PORT"
    place, _, options = text.removeprefix("dicom://").partition("?")
    host, _, port = place.rstrip("/").rpartition(":")
    if not text.startswith("dicom://") or not host or not _NUMBER.fullmatch(port):
        raise UsageError(f"{wanted}, such as dicom://localhost:11112")
    if not 0 < int(port) < 65536:
        raise UsageError(f"{wanted} with a port from 1 to 65535, got {port}")
    titles = {}
    for option in filter(None, options.split("&")):
        name, _, value = option.partition("=")
        if name not in ("called", "calling") or not 0 < len(value.strip()) <= 16:
            raise UsageError(f"{wanted}?called=TITLE&calling=TITLE with titles of 16 characters at most")
        titles[name] = value
    return Address(host.strip("[]"), int(port), **titles)


class _Answers(queue.Queue[Any]):
    """Answers of the receiver, for whoever waits for one.

    pynetdicom's own thread looks, without waiting, for requests of the peer, and would take an answer for
    one now and then; a receiver asks nothing.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not block:
            raise queue.Empty
        return super().get(block, timeout)


class Sender:
    """Sends objects to a receiver; a target of `rtflow.sources.simulation.delivery.deliver`.

    What is cut off is sent so: a data set that ends too soon, as a scanner sends whose export fails.

    Parameters
    ----------
    address
        Where the receiver listens.
    timeout
        Seconds that the receiver may take to connect or to answer.
    wait
        Seconds that the receiver may take to be there at all.

    Raises
    ------
    RunError
        On entering, if the receiver cannot be reached or takes no MR images.
    """

    def __init__(self, address: Address, *, timeout: float = 30.0, wait: float = 0.0) -> None:
        self._address, self._timeout, self._wait = address, timeout, wait
        self._association: Association | None = None
        self._contexts: dict[str, int] = {}
        self._message = 0
        self._socket: socket.socket | None = None

    def __enter__(self) -> Sender:
        from pynetdicom import evt
        from pynetdicom.ae import ApplicationEntity

        entity = ApplicationEntity(ae_title=self._address.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = self._timeout
        # A scanner may have nothing to send for minutes, and keeps the association.
        entity.network_timeout = None
        for class_uid in CLASSES:
            entity.add_requested_context(class_uid, _EXPLICIT_LITTLE)
        until = time.monotonic() + self._wait
        while True:
            association = entity.associate(
                self._address.host, self._address.port, ae_title=self._address.called, max_pdu=1 << 17
            )
            if association.is_established or association.is_rejected or time.monotonic() >= until:
                break
            time.sleep(_AGAIN)
        if not association.is_established:
            reason = (
                f"refused this scanner (titles {self._address.calling} to {self._address.called})"
                if association.is_rejected
                else "does not answer"
            )
            raise RunError(
                f"{self._address} {reason}; start the receiver, or correct the address or the titles"
            )
        self._association = association
        association.dimse.msg_queue = _Answers()
        connection = association.dul.socket
        self._socket = connection.socket if connection is not None else None
        if self._socket is not None:
            # Command and data set go out one after the other: the second must not wait until the receiver's
            # system confirms the first, which takes it 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            association.bind(evt.EVT_DATA_SENT, self._hasten)
        self._contexts = {
            str(context.abstract_syntax): int(context.context_id or 0)
            for context in association.accepted_contexts
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        association, self._association = self._association, None
        if association is not None:
            if association.is_established:
                association.release()
            association.join(self._timeout)
        if self._socket is not None:
            self._socket.close()  # pynetdicom forgets it when the receiver goes away
            self._socket = None

    def put(self, folder: str, name: str, data: bytes, have: int) -> bool:
        """Send an object; False for what is none, and for a class that the receiver does not take."""
        del folder, have  # a receiver gets an object whole, each time
        parts = split(data)
        if parts is None:
            return False
        class_uid, uid, at = parts
        context = self._contexts.get(class_uid)
        if context is None:
            if class_uid in (MR_IMAGE, ENHANCED_MR_IMAGE):
                raise RunError(f"{self._address} takes no MR images (class {class_uid}); let it take them")
            return False
        status = self._store(context, class_uid, uid, data[at : len(data) // 2 * 2])  # lengths are even
        if status is None:
            if self._association is not None and self._association.is_established:
                self._association.abort()
            raise RunError(
                f"{self._address} was lost while {name} was sent; the objects before it were received"
            )
        if status != 0 and status >> 12 != 0xB:  # 0xBxxx: stored, with a warning
            raise RunError(f"{self._address} refused {name} (status 0x{status:04X}); see the receiver's log")
        return True

    def _store(self, context: int, class_uid: str, uid: str, encoded: bytes) -> int | None:
        """Status of one C-STORE, None if there is no answer.

        The data set goes out as it is encoded: `Association.send_c_store` would read it and encode it anew,
        which takes longer than sending it, and could not send what is cut off.
        """
        from pynetdicom.dimse_primitives import C_STORE

        association = self._association
        if association is None or not association.is_established:
            return None
        self._message = self._message % 65535 + 1
        request = C_STORE()
        request.MessageID = self._message
        request.AffectedSOPClassUID = class_uid
        request.AffectedSOPInstanceUID = uid
        request.Priority = 2
        request.DataSet = io.BytesIO(encoded)
        association.dimse.send_msg(request, context)
        _, response = association.dimse.get_msg(block=True)
        status = getattr(response, "Status", None)
        return None if status is None else int(status)

    def _hasten(self, event: object) -> None:
        """Confirm what comes at once: a receiver that answers in two pieces waits with the second for it."""
        del event
        quick = getattr(socket, "TCP_QUICKACK", None)  # Linux; it holds for a while only
        if quick is not None and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, quick, 1)


def split(data: bytes) -> tuple[str, str, int] | None:
    """Class and instance of a DICOM file, and where its data set begins; None if it is no DICOM file.

    >>> split(b"no DICOM file") is None
    True
    """
    if data[128:_META] != b"DICM" or len(data) < _META + 12:
        return None
    (length,) = struct.unpack_from("<I", data, _META + 8)
    at, end = _META + 12, _META + 12 + length
    found = {}
    while at + 8 <= min(end, len(data)):
        tag, kind, size = struct.unpack_from("<I2sH", data, at)
        at += 8
        if kind in (b"OB", b"UN"):
            (size,) = struct.unpack_from("<I", data, at)
            at += 4
        found[tag] = data[at : at + size].decode("latin-1").rstrip("\0 ")
        at += size
    class_uid, uid = found.get(0x00020002), found.get(0x00030002)
    return (class_uid, uid, end) if class_uid and uid else None
