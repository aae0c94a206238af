"""A run as one NIfTI file that grows in place, volume by volume.

The header says at every moment how many volumes the file holds: the voxels of a volume are written
behind those of the last one, and then the one number in the header that counts them. So a volume costs
the same at the beginning and at the end of a run, and a reader, or a crash, never finds half a volume.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.agreement import header_differences
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.unfinished import lock, unlock
from rtflow.errors import OutputError, VolumeError
from rtflow.whole_file import partial_name

# Where the NIfTI-1 header keeps dim[4], the number of volumes: an int16 in the ninth byte of dim.
_COUNT_AT = 48
_COUNT_MAX = 32767
# Other parts of it: dim[0] to dim[3], datatype and bitpix, vox_offset.
_SIZE_OF_HEADER, _DIMENSIONS, _TYPE, _OFFSET = slice(4), slice(40, 48), slice(70, 74), slice(108, 112)
_STORED = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


class RunFile:
    """One run, growing.

    Parameters
    ----------
    path
        The ``.nii`` file.
    first
        The first volume that came; shape, affine, type and scaling of all others must be its own.
        It is not appended by this.
    replaces
        Whether a file that is there is replaced by the first volume; else that is an error.

    Raises
    ------
    VolumeError
        If NIfTI has no such voxels.
    """

    def __init__(self, path: Path, first: BidsIncremental, *, replaces: bool = False) -> None:
        self.path = path
        self._replaces = replaces
        self.volumes = 0
        self.missing: list[int] = []
        self._first = first
        self._dtype = stored_dtype(first.data)
        self._zeros = bytes(first.data.size * self._dtype.itemsize)
        self._file: BinaryIO | None = None

    @property
    def present(self) -> int:
        """How many volumes are there that are not missing."""
        return self.volumes - len(self.missing)

    def append(self, incremental: BidsIncremental) -> None:
        """Write a volume at the place that its number gives it; what is missing before it becomes zeros.

        Raises
        ------
        VolumeError
            If shape, affine, type, scaling or reference differ from the first volume's, or the number is
            not above those written already.
        OutputError
            If the file cannot be written.
        """
        self._check(incremental)
        voxels = stored(incremental, self._dtype)
        self.skip_to(incremental.volume - 1)
        self._write(voxels)

    def skip_to(self, volume: int) -> None:
        """Write zeros for all volumes that are not there yet, up to and with ``volume``."""
        while self.volumes < volume:
            self._write(self._zeros)
            self.missing.append(self.volumes)

    @classmethod
    def reopen(cls, path: Path, first: BidsIncremental, missing: Iterable[int] = ()) -> RunFile:
        """A run that was closed, to append to it.

        Parameters
        ----------
        path
            The ``.nii`` file.
        first
            A volume of it, which the next ones must be like.
        missing
            Numbers of the volumes that are zeros.

        Raises
        ------
        OutputError
            If it cannot be written, is laid out otherwise than a `RunFile` is, or another program is writing
            it.
        """
        another = "give the volume another run index"
        if path.is_symlink():
            raise OutputError(f"{path} is a link to what others may share; {another}")
        file = cls(path, first)
        try:
            file._file = path.open("rb+", buffering=0)
            if not lock(file._file.fileno()):
                raise OutputError(f"{path}: another program is writing this run; {another}")
            # Read under the lock: whoever wrote it until now may have added to it.
            file.volumes = volumes_in(path)
            if not file._can_grow():
                raise OutputError(f"{path} is laid out otherwise than runs that grow; {another}")
        except (OSError, OutputError) as error:
            file.close()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{path}: {error.strerror or error}; {another}") from None
        file.missing = list(missing)
        return file

    def close(self) -> None:
        """Close the file; it is whole already."""
        if self._file is not None:
            unlock(self._file.fileno())
            self._file.close()
            self._file = None

    def _can_grow(self) -> bool:
        """Whether the file is laid out as this would, and holds as many volumes as it says."""
        assert self._file is not None
        head = os.pread(self._file.fileno(), _HEADER, 0)
        own = run_header(self._first, self._dtype)
        alike = all(head[part] == own[part] for part in (_SIZE_OF_HEADER, _DIMENSIONS, _TYPE, _OFFSET))
        size = os.fstat(self._file.fileno()).st_size
        return alike and self.volumes > 0 and size >= _HEADER + self.volumes * len(self._zeros)

    def _write(self, voxels: bytes) -> None:
        if self.volumes >= _COUNT_MAX:
            raise _too_many(self.volumes + 1)
        try:
            if self._file is None:
                self._file = self._begin(voxels)
            else:
                # From where the whole volumes end: what a failed write has left is written over.
                _write_at(self._file, _HEADER + self.volumes * len(voxels), voxels)
                _write_at(self._file, _COUNT_AT, struct.pack("<h", self.volumes + 1))
        except FileExistsError:
            raise OutputError(f"{self.path} is there already and stays; give the run another index") from None
        except OSError as error:
            raise OutputError(
                f"{self.path}: {error.strerror or error}; make room, or choose another folder"
            ) from None
        self.volumes += 1

    def _begin(self, voxels: bytes) -> BinaryIO:
        """Header and first volume, which appear together."""
        partial = partial_name(self.path)
        file = partial.open("wb+", buffering=0)
        try:
            lock(file.fileno())
            _write_at(file, 0, run_header(self._first, self._dtype) + voxels)
            if self._replaces:
                partial.replace(self.path)
            else:
                _rename(partial, self.path)
        except OSError:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        return file

    def _check(self, incremental: BidsIncremental) -> None:
        what = f"volume {incremental.volume}"
        if incremental.volume < 1:
            raise VolumeError(f"{what}: volumes are numbered from 1; correct the number")
        if incremental.volume > _COUNT_MAX:
            raise _too_many(incremental.volume)
        if incremental.volume <= self.volumes:
            raise VolumeError(
                f"{what} comes after volume {self.volumes} was written; volumes must come in order"
            )
        if differences := header_differences(incremental, self._first):
            raise VolumeError(f"{what} has {'; '.join(differences)}; record it as a run of its own")


_HEADER = 352


def run_header(first: BidsIncremental, dtype: np.dtype[Any]) -> bytes:
    """What stands before the voxels of a run that holds one volume (or all of a run)."""
    shape = (*first.data.shape, 1)[:4]
    tr = first.metadata.get("RepetitionTime", 0.0)
    return header_of(shape, dtype, first.affine, tr, first.slope, first.intercept)


def header_of(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    affine: NDArray[Any],
    tr: float,
    slope: float,
    intercept: float,
) -> bytes:
    """The 352 bytes before the voxels of a NIfTI-1 file, little-endian.

    qform and sform are the affine (4x4) in float32, as the format stores it, both of code 1 (scanner): of
    float64, a part in 10^7 is lost. pixdim[4] is the repetition time ``tr`` in seconds, 0 where it is
    unknown.
    """
    import nibabel as nib

    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    affine = np.asarray(affine, dtype=np.float32)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner", strip_shears=True)
    header["pixdim"][4] = tr
    header.set_xyzt_units("mm", "sec")
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["vox_offset"] = _HEADER
    # Four zero bytes after the header: no extensions.
    return bytes(header.binaryblock) + bytes(_HEADER - 348)


def stored_dtype(data: NDArray[Any]) -> np.dtype[Any]:
    """The type in which voxels stand in a file: their own, little-endian, as far as programs read it.

    Raises
    ------
    VolumeError
        If the format has none for them.
    """
    if data.dtype.name in _STORED:
        return data.dtype.newbyteorder("<")
    if data.dtype == np.bool_:
        return np.dtype("uint8")
    if np.issubdtype(data.dtype, np.floating):
        return np.dtype("<f4")
    raise VolumeError(f"voxels of type {data.dtype} cannot be recorded, expected one of {', '.join(_STORED)}")


def stored(one: BidsIncremental, dtype: np.dtype[Any]) -> bytes:
    """Voxels as they stand in a file.

    Raises
    ------
    VolumeError
        If a value is too large for the type.
    """
    try:
        with np.errstate(over="raise"):
            return np.asarray(one.data, dtype=dtype).tobytes(order="F")
    except FloatingPointError:
        raise VolumeError(f"volume {one.volume} has values too large for {dtype.name}; scale it") from None


def _too_many(volume: int) -> VolumeError:
    return VolumeError(f"volume {volume}: a NIfTI-1 file holds {_COUNT_MAX} volumes; begin a new run")


def _rename(partial: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        partial.replace(path)
    else:
        partial.unlink()


def _write_at(file: BinaryIO, offset: int, data: bytes) -> None:
    # Unbuffered, so that the count cannot reach the disk cache before the voxels; hence short writes.
    view = memoryview(data)
    file.seek(offset)
    while view:
        view = view[file.write(view) :]


def compress(path: Path) -> Path:
    """Make ``.nii.gz`` of a closed run; the ``.nii`` goes when that is whole. Same run, same bytes.

    Raises
    ------
    OutputError
        If it cannot be written; the ``.nii`` stays.
    """
    packed = path.with_suffix(".nii.gz")
    partial = partial_name(packed)
    try:
        # No time and no name in the gzip header.
        with (
            path.open("rb") as source,
            partial.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, 0) as target,
        ):
            lock(raw.fileno())
            shutil.copyfileobj(source, target, 1 << 20)
        partial.replace(packed)
        path.unlink()
    except OSError as error:
        raise OutputError(f"{packed}: {error.strerror or error}; make room; {path.name} is whole") from None
    finally:
        partial.unlink(missing_ok=True)
    return packed


def volumes_in(path: Path) -> int:
    """How many volumes a file holds by its header; 0 if there is none, or it has no header.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``.

    Raises
    ------
    OutputError
        If it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(_COUNT_AT + 2)
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error):
        return 0
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}") from None
    return int(struct.unpack_from("<h", head, _COUNT_AT)[0]) if len(head) == _COUNT_AT + 2 else 0
