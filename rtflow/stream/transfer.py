"""Python objects between two processes, their arrays through memory that both see.

Pickle's protocol 5 hands out the buffers of arrays; they are copied into one shared block each way, and
only what is left goes through the socket. The block is a file without a name: when both processes are
gone, however they went, so is it.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import tempfile
from multiprocessing.connection import Connection
from typing import Any

_SMALL = 16 * 1024
_ALIGN = 64
_HEADER = struct.Struct("<QI")


def new_block() -> int:
    """File descriptor of an empty block of shared memory."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rtflow", 0)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Wire:
    """One end of the connection between two processes.

    Parameters
    ----------
    connection
        Socket that carries everything but large buffers.
    outgoing, incoming
        Descriptors of the blocks that this end writes, and reads.
    """

    def __init__(self, connection: Connection, outgoing: int, incoming: int) -> None:
        self.connection = connection
        self._blocks = {"out": outgoing, "in": incoming}
        self._maps: dict[str, mmap.mmap] = {}

    def send(self, message: Any) -> None:
        """Send an object; returns when it is written."""
        self.send_pickled(*pickle_parts(message))

    def send_pickled(self, data: bytes, buffers: list[memoryview]) -> None:
        """Send what `pickle_parts` gave."""
        sizes = [buffer.nbytes for buffer in buffers]
        total = sum(-(-size // _ALIGN) * _ALIGN for size in sizes)
        if total:
            block = self._map("out", total)
            at = 0
            for buffer in buffers:
                block[at : at + buffer.nbytes] = buffer
                at += -(-buffer.nbytes // _ALIGN) * _ALIGN
        head = _HEADER.pack(total, len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
        self.connection.send_bytes(head + data)

    def receive(self) -> Any:
        """The next object.

        Raises
        ------
        EOFError
            If the other end is gone.
        """
        message = self.connection.recv_bytes()
        total, count = _HEADER.unpack_from(message)
        sizes = struct.unpack_from(f"<{count}Q", message, _HEADER.size)
        buffers: list[bytearray] = []
        if total:
            block = self._map("in", total)
            at = 0
            for size in sizes:
                # A copy: the block is written again with the next message.
                buffers.append(bytearray(memoryview(block)[at : at + size]))
                at += -(-size // _ALIGN) * _ALIGN
        else:
            buffers = [bytearray() for _ in sizes]
        return pickle.loads(memoryview(message)[_HEADER.size + 8 * count :], buffers=buffers)

    def close(self) -> None:
        """Give back socket and memory."""
        self.connection.close()
        for block in self._maps.values():
            block.close()
        for descriptor in self._blocks.values():
            os.close(descriptor)
        self._blocks.clear()

    def _map(self, way: str, size: int) -> mmap.mmap:
        block = self._maps.get(way)
        if block is None or len(block) < size:
            descriptor = self._blocks[way]
            if os.fstat(descriptor).st_size < size:
                # Half as much again, so that slowly growing messages do not map anew each time.
                os.ftruncate(descriptor, size + size // 2)
            if block is not None:
                block.close()
            block = self._maps[way] = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        return block


def pickle_parts(message: Any) -> tuple[bytes, list[memoryview]]:
    """A pickle and the large buffers that it left out."""
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _SMALL:
            return True
        buffers.append(raw)
        return False

    return pickle.dumps(message, protocol=5, buffer_callback=take), buffers
