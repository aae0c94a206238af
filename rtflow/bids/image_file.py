"""A NIfTI file of known length, written volume by volume: memory holds a few of them, whatever the length.

A compressed file is one gzip stream whose blocks are packed on all cores, as pigz does it: each is deflated
for itself and ends on a byte, so that they can be put one behind the other (RFC 1951, 3.2.4, an empty stored
block). The same voxels give the same bytes: no time and no name stand in the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run_file import run_header, stored, stored_dtype
from rtflow.errors import OutputError, VolumeError

#: Chosen for speed: of 155 volumes of fMRI, level 6 makes 28.5 MB in 4.3 s where this makes 30.5 in 0.75.
LEVEL = 1
# A gzip member without time or name (RFC 1952).
_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_BLOCK = 1 << 20
_VOLUMES_MAX = 32767


class ImageFile:
    """One NIfTI-1 file that is being written under another name until it is whole.

    Parameters
    ----------
    path
        ``.nii``, or ``.nii.gz`` for a compressed one.
    first
        The first volume, which all others must be like; not written by this.
    volumes
        How many will come; a file of one has three dimensions.

    Raises
    ------
    OutputError
        If the file cannot be written.
    VolumeError
        If the format does not hold so many, or not such voxels.
    """

    def __init__(self, path: Path, first: BidsIncremental, volumes: int) -> None:
        if not 0 < volumes <= _VOLUMES_MAX:
            raise VolumeError(f"{volumes} volumes: a NIfTI-1 file holds 1 to {_VOLUMES_MAX}")
        self.path = path
        self._dtype = stored_dtype(first.data)
        self._size = first.data.size * self._dtype.itemsize
        self._partial = path.with_name(f".{path.name}.partial")
        head = bytearray(run_header(first, self._dtype))
        struct.pack_into("<h", head, 40, 4 if volumes > 1 else 3)
        struct.pack_into("<h", head, 48, volumes)
        try:
            self._file: BinaryIO = self._partial.open("wb")
        except OSError as error:
            raise self._unwritable(error) from None
        self._packer: _Packer | None = None
        try:
            if path.suffix == ".gz":
                self._packer = _Packer(self._file)
            self._write(bytes(head))
        except BaseException:  # interrupted: nobody else knows of the file yet
            self.discard()
            raise

    def append(self, incremental: BidsIncremental) -> None:
        """Write the next volume.

        Raises
        ------
        VolumeError
            If a value is too large for the file's type.
        OutputError
            If the file cannot be written.
        """
        self._write(stored(incremental, self._dtype))

    def append_zeros(self) -> None:
        """Write zeros in the place of a volume that is missing.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        self._write(bytes(self._size))

    def finish(self) -> None:
        """Give the file its name.

        Raises
        ------
        OutputError
            If it cannot be written to its end.
        """
        try:
            if self._packer is not None:
                self._packer.finish()
            self._file.close()
            self._partial.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from None

    def discard(self) -> None:
        """Leave nothing behind, unless it is finished."""
        if self._packer is not None:
            self._packer.cancel()
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        try:
            if self._packer is None:
                self._file.write(data)
            else:
                self._packer.write(data)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: {error.strerror or error}; make room, or choose another folder")


class _Packer:
    """Packs what is written to it in threads (zlib lets others work meanwhile), and keeps the order."""

    def __init__(self, file: BinaryIO) -> None:
        workers = min(os.cpu_count() or 1, 8)
        self._file = file
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="packer")
        self._waiting: deque[Future[bytes]] = deque()
        self._ahead = 2 * workers
        self._sum = 0
        self._length = 0
        file.write(_GZIP)

    def write(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)
        self._length += len(data)
        for block in _blocks(data):
            self._waiting.append(self._pool.submit(_pack, block))
            self._drain(self._ahead)

    def finish(self) -> None:
        self._drain(0)
        self._pool.shutdown()
        # An empty last block, the checksum and the length.
        self._file.write(b"\x03\x00" + struct.pack("<II", self._sum, self._length & 0xFFFFFFFF))

    def cancel(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _drain(self, left: int) -> None:
        while len(self._waiting) > left:
            self._file.write(self._waiting.popleft().result())


def _blocks(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), _BLOCK):
        yield view[start : start + _BLOCK]


def _pack(block: memoryview) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)
