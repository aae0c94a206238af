"""The images of a data set volume by volume, and what its sidecars say of them."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rtflow.bids.entities import parse_name
from rtflow.bids.finding import beside
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.seconds import in_seconds, warn_of
from rtflow.errors import VolumeError

_SECONDS = {"msec": 1e-3, "usec": 1e-6}
_HEADER_MAX = 544
_BLOCK = 1 << 16
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, struct.error)


class VolumeReader:
    """A NIfTI-1 or NIfTI-2 image of one run, read one volume at a time.

    Of an uncompressed image any volume is read directly. A compressed one is unpacked on the way to it:
    forwards at the cost of what lies between, backwards from the beginning.

    Parameters
    ----------
    file
        The image, at its beginning. It must be seekable; where it is still coming, reading may wait.
    name
        What it is called in messages.
    compressed
        Whether it is gzipped.

    Attributes
    ----------
    shape
        Voxels along i, j, k.
    affine
        4x4, voxel indices to RAS+ millimetres: the values that are stored.
    dtype
        Type of the voxels, as stored.
    slope, intercept
        What turns stored values into the scanner's units; 1 and 0 where the header says nothing.
    volumes
        Number of volumes, by the header when it was opened.
    tr
        Repetition time in seconds, by the header; None if it says none.

    Raises
    ------
    VolumeError
        If it is no such image.
    """

    def __init__(self, file: BinaryIO, name: str, *, compressed: bool) -> None:
        self.name = name
        self._raw = file
        self._compressed = compressed
        try:
            self._file: Any = self._unpacked()
            self._read_header()
        except VolumeError:
            self.close()
            raise
        except _DAMAGE as error:
            self.close()
            raise self._unreadable(error) from None
        self._next = 1

    def read(self, number: int) -> NDArray[Any]:
        """Stored values of volume ``number`` (from 1), shape (i, j, k), Fortran order, native bytes.

        Raises
        ------
        VolumeError
            If there is no such volume, or the file is damaged.
        """
        if not 1 <= number <= self.volumes:
            raise VolumeError(f"{self.name}: no volume {number}, it has {self.volumes}")
        try:
            data = self._voxels(number)
        except _DAMAGE as error:
            raise self._unreadable(error, f"volume {number}") from None
        voxels = np.frombuffer(data, dtype=self.dtype).reshape(self.shape, order="F")
        return voxels.astype(self.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._raw.close()

    def __enter__(self) -> VolumeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_header(self) -> None:
        import nibabel as nib
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError

        head = self._exactly(348)
        kinds: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
        sizes = [struct.unpack_from(f"{order}i", head)[0] for order in "<>"]
        kind = next((kinds[size] for size in sizes if size in kinds), None)
        if kind is None:
            raise VolumeError(f"{self.name} is no NIfTI image; give .nii or .nii.gz files")
        if kind is nib.Nifti2Header:
            head += self._exactly(540 - 348)
        try:
            header = kind(head)
            shape = header.get_data_shape()
            self.dtype: np.dtype[Any] = header.get_data_dtype()
            slope, intercept = header.get_slope_inter()
            self.affine: NDArray[np.float64] = header.get_best_affine()
        except (HeaderDataError, WrapStructError) as error:
            raise self._unreadable(error) from None
        if len(shape) < 3 or math.prod(shape[4:]) != 1:
            raise VolumeError(f"{self.name}: expected three or four dimensions, got shape {tuple(shape)}")
        if min(shape[:3]) < 1 or (len(shape) > 3 and shape[3] < 0):
            raise VolumeError(
                f"{self.name}: the header says shape {tuple(shape)}; fetch or copy the file again"
            )
        self.shape: tuple[int, int, int] = tuple(int(n) for n in shape[:3])  # type: ignore[assignment]
        self.volumes = int(shape[3]) if len(shape) > 3 else 1
        self.slope = 1.0 if slope is None else float(slope)
        self.intercept = 0.0 if intercept is None else float(intercept)
        tr = float(header["pixdim"][4]) * _SECONDS.get(header.get_xyzt_units()[1], 1.0)
        self.tr: float | None = tr if 0 < tr < math.inf else None
        self._offset = max(int(header["vox_offset"]), len(head))
        self._size = math.prod(self.shape) * self.dtype.itemsize

    def _voxels(self, number: int) -> bytes:
        at = self._offset + (number - 1) * self._size
        if self._compressed and at < self._file.tell():
            self._raw.seek(0)
            self._file = self._unpacked()
        self._file.seek(at)
        data = self._exactly(self._size)
        if self._compressed and number == self.volumes:
            while self._file.read(_BLOCK):  # its checksum stands at the end
                pass
        return data

    def _exactly(self, size: int) -> bytes:
        pieces, left = [], size
        while left:
            piece = self._file.read(left)
            if not piece:
                raise EOFError(f"it ends {left} bytes too early")
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _unpacked(self) -> Any:
        return gzip.GzipFile(fileobj=self._raw, mode="rb") if self._compressed else self._raw

    def _unreadable(self, error: Exception, what: str = "it") -> VolumeError:
        return VolumeError(f"{self.name}: {what} cannot be read ({error}); fetch or copy the file again")


def open_volumes(image: Path | io.RawIOBase, name: str = "") -> VolumeReader:
    """Open an image to read it volume by volume.

    Parameters
    ----------
    image
        Path of a ``.nii`` or ``.nii.gz`` file, or such a file that is open for reading in binary.
    name
        What an open file is called; its ending tells whether it is compressed.

    Raises
    ------
    VolumeError
        If it is no such image, or cannot be read.
    """
    name = name or str(image)
    if isinstance(image, io.RawIOBase):
        return VolumeReader(io.BufferedReader(image, _BLOCK), name, compressed=name.endswith(".gz"))
    try:
        return VolumeReader(image.open("rb"), name, compressed=name.endswith(".gz"))
    except OSError as error:
        raise VolumeError(f"{name}: {error.strerror or error}; give a file that can be read") from None


def incrementals(root: Path, image: Path, numbers: Iterable[int] | None = None) -> Iterator[BidsIncremental]:
    """Volumes of an image, with the metadata of its sidecars; no others are read.

    Parameters
    ----------
    root
        The data set.
    image
        An image in it.
    numbers
        From 1; None for all that are not listed as missing.

    Raises
    ------
    VolumeError
        If there is no such volume, or the image or a sidecar is damaged.

    Warns
    -----
    UnitsWarning
        If a time of a sidecar was in milliseconds without a doubt; it is put right.
    """
    entities, suffix, _ = parse_name(image.name)
    metadata = metadata_for(root, image)
    missing = missing_volumes(metadata, image.name)
    metadata.pop("MissingVolumes", None)
    with open_volumes(image) as reader:
        if reader.tr is not None:
            metadata.setdefault("RepetitionTime", reader.tr)
        try:
            metadata, changes = in_seconds(metadata)
        except VolumeError as error:
            raise VolumeError(f"{image.name}: {error}") from None
        warn_of(changes, stacklevel=3)
        if numbers is None:
            numbers = (n for n in range(1, reader.volumes + 1) if n not in missing)
        for number in numbers:
            yield BidsIncremental(
                reader.read(number),
                reader.affine,
                volume=number,
                metadata=metadata,
                entities=entities,
                slope=reader.slope,
                intercept=reader.intercept,
                suffix=suffix,
            )


def metadata_for(root: Path, image: Path) -> dict[str, Any]:
    """Metadata of an image by the rule of inheritance: what stands closer to it goes before.

    Parameters
    ----------
    root
        The data set.
    image
        An image in it, which need not be there.

    Raises
    ------
    VolumeError
        If a sidecar is no JSON object.
    """
    inside = PurePosixPath(image.relative_to(root).as_posix())
    suffix = inside.name.partition(".")[0].rpartition("_")[2]
    paths = [
        PurePosixPath(path.relative_to(root).as_posix())
        for folder in inside.parents
        for path in (root / folder).glob(f"*{suffix}.json")
    ]
    metadata: dict[str, Any] = {}
    for path in beside(paths, inside, suffix, ".json"):
        metadata |= read_sidecar(root / path)
    return metadata


def read_sidecar(path: Path) -> dict[str, Any]:
    """The content of one sidecar.

    Raises
    ------
    VolumeError
        If it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise VolumeError(f"sidecar {path} cannot be read ({error}); mend or remove it") from None
    if not isinstance(content, dict):
        raise VolumeError(f"sidecar {path} should be a JSON object; mend or remove it")
    return content


def missing_volumes(metadata: Mapping[str, Any], what: str) -> list[int]:
    """Which volumes of an image are zeros for those that never came, from 1.

    Raises
    ------
    VolumeError
        If ``MissingVolumes`` of its metadata is no list of such numbers.

    Examples
    --------
    >>> missing_volumes({"MissingVolumes": [4]}, "the run")
    [4]
    """
    listed = metadata.get("MissingVolumes")
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(type(one) is int and one > 0 for one in listed):
        raise VolumeError(f"{what}: MissingVolumes is {listed!r}, expected a list of numbers from 1; mend it")
    return listed
