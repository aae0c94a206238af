"""What was fetched from OpenNeuro: whole files, each with its checksum, and halves to go on with.

::

    CACHE/openneuro/ds002338/sub-xp201/func/...   the files, laid out as in the data set
    CACHE/openneuro/ds002338/.rtflow/objects/     size, ETag and SHA-256 of each that is whole
    CACHE/openneuro/ds002338/.rtflow/partial/     what is being fetched, and how far it has come
    CACHE/openneuro/ds002338/.rtflow/listing/     what the data set held when it was listed
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from rtflow.errors import OutputError, SourceError
from rtflow.openneuro.bucket import StoredObject

_HIDDEN = ".rtflow"
_BLOCK = 1 << 20
# Sizes of the pieces that programs put large files in: an ETag of several pieces depends on it.
_PIECES = tuple(mib << 20 for mib in (5, 8, 10, 15, 16, 25, 32, 50, 64, 100, 128, 256, 512))

T = TypeVar("T")


class Kept(msgspec.Struct, frozen=True):
    """What is known of a file that is whole."""

    size: int
    etag: str
    sha256: str


@dataclass(frozen=True)
class KeptDataset:
    """What of a data set is kept.

    Parameters
    ----------
    dataset
        Accession number.
    files
        Number of whole files.
    size
        Bytes that it takes on disk, with what is not whole.
    partial
        How many bytes of these belong to files that are not whole.
    """

    dataset: str
    files: int
    size: int
    partial: int


class Cache:
    """The folder that fetched files are kept in.

    Parameters
    ----------
    root
        The folder; empty for the environment's RTFLOW_CACHE, else the user's cache folder.
    """

    def __init__(self, root: str | Path = "") -> None:
        chosen = str(root) or os.environ.get("RTFLOW_CACHE", "")
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self.root = Path(chosen or f"{base}/rtflow").expanduser().absolute() / "openneuro"

    def folder(self, dataset: str) -> Path:
        """Root of a data set as far as it is kept: a BIDS data set of its own."""
        return self.root / dataset

    def path(self, item: StoredObject) -> Path:
        """Where a file lies once it is whole.

        Raises
        ------
        SourceError
            If its key leads out of the folder.
        """
        return self._inside(item, "")

    def partial(self, item: StoredObject) -> Path:
        """Where a file lies while it comes; raises as `path`."""
        return self._inside(item, f"{_HIDDEN}/partial")

    def whole(self, item: StoredObject) -> Path | None:
        """The file, if it is here, as it was listed and with the bytes that came; else None."""
        kept = self._record(item)
        path = self.path(item)
        try:
            if kept is None or kept.etag != item.etag or path.stat().st_size != kept.size:
                return None
            with path.open("rb") as file:
                return path if digest(file)[1] == kept.sha256 else None
        except OSError:
            return None

    def keep(self, item: StoredObject, data: bytes) -> Path:
        """Keep a small file that came in one piece.

        Raises
        ------
        SourceError
            If it is not what the server's checksum says.
        OutputError
            If it cannot be written.
        """
        path, partial = self.path(item), self.partial(item)
        with self.writing():
            partial.parent.mkdir(parents=True, exist_ok=True)
            mine = partial.with_name(f"{partial.name}.{os.getpid()}")
            mine.write_bytes(data)
        return self.finish(item, mine, path)

    def finish(self, item: StoredObject, partial: Path, path: Path) -> Path:
        """Check a file that has come, and give it its place; a wrong one is removed. Raises as `keep`."""
        with self.writing():
            with partial.open("rb") as file:
                md5, sha256 = digest(file)
                right = matches_etag(file, item, md5)
            if right is False:
                partial.unlink()
                raise SourceError(
                    f"{item.key}: what came does not have the server's checksum ({item.etag}); it was "
                    "removed: try again"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
            self._write(self._record_path(item), Kept(item.size, item.etag, sha256))
        return path

    def keep_listing(self, dataset: str, subject: str, items: list[StoredObject]) -> None:
        """Remember what a data set (or one subject, and the top) held; raises `OutputError`."""
        with self.writing():
            self._write(self._listing_path(dataset, subject), [(i.key, i.size, i.etag) for i in items])

    def listing(self, dataset: str, subject: str) -> list[StoredObject] | None:
        """What `keep_listing` remembered of the subject, else of the whole data set; None if nothing."""
        for scope in dict.fromkeys((subject, "")):
            rows = _read(self._listing_path(dataset, scope), list[tuple[str, int, str]])
            if rows is not None:
                return [StoredObject(*row) for row in rows]
        return None

    def datasets(self) -> list[KeptDataset]:
        """What is kept, data set by data set."""
        found = []
        for folder in sorted(self.root.glob("ds*")):
            sizes = {path: path.lstat().st_size for path in _files(folder)}
            hidden = folder / _HIDDEN
            partial = sum(size for path, size in sizes.items() if path.is_relative_to(hidden / "partial"))
            files = sum(not path.is_relative_to(hidden) for path in sizes)
            found.append(KeptDataset(folder.name, files, sum(sizes.values()), partial))
        return found

    def clear(self, dataset: str = "") -> int:
        """Remove a data set, or all of them; gives the bytes that were freed.

        Raises
        ------
        OutputError
            If something cannot be removed.
        """
        freed = 0
        for kept in self.datasets():
            if dataset in ("", kept.dataset):
                with self.writing():
                    shutil.rmtree(self.folder(kept.dataset))
                freed += kept.size
        return freed

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Tell what cannot be written as an `OutputError`."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"the cache {self.root} cannot be written ({error.strerror or error}); make room "
                "('rtflow cache --clear' empties it), or set RTFLOW_CACHE to another folder"
            ) from None

    def _record(self, item: StoredObject) -> Kept | None:
        return _read(self._record_path(item), Kept)

    def _record_path(self, item: StoredObject) -> Path:
        return self._inside(item, f"{_HIDDEN}/objects", ".json")

    def _listing_path(self, dataset: str, subject: str) -> Path:
        return self.folder(dataset) / _HIDDEN / "listing" / f"{f'sub-{subject}' if subject else 'all'}.json"

    def _inside(self, item: StoredObject, below: str, ending: str = "") -> Path:
        dataset, _, path = item.key.partition("/")
        if not path or ".." in Path(path).parts or path.startswith(("/", _HIDDEN)):
            raise SourceError(f"{item.key!r} is no path of a file in a data set")
        return self.folder(dataset) / below / f"{path}{ending}"

    @staticmethod
    def _write(path: Path, content: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = path.with_name(f"{path.name}.{os.getpid()}")
        mine.write_bytes(msgspec.json.encode(content))
        mine.replace(path)


def digest(file: IO[bytes]) -> tuple[str, str]:
    """MD5 and SHA-256 of a file, from its beginning, in hexadecimal."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        md5.update(block)
        sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()


def matches_etag(file: IO[bytes], item: StoredObject, md5: str) -> bool | None:
    """Whether a file is what the ETag says; None if that cannot be told.

    The ETag of a file that was stored in N pieces is the MD5 of their MD5s, and ``-N``; the size of the
    pieces is not said, and the usual ones are tried.
    """
    value, dash, pieces = item.etag.partition("-")
    if os.fstat(file.fileno()).st_size != item.size:
        return False
    if not dash:
        return md5 == value if len(value) == 32 else None
    for size in _PIECES:
        if pieces.isdigit() and -(-item.size // size) == int(pieces):
            file.seek(0)
            sums = b"".join(
                hashlib.md5(file.read(size), usedforsecurity=False).digest() for _ in range(int(pieces))
            )
            if hashlib.md5(sums, usedforsecurity=False).hexdigest() == value:
                return True
    return None


def _read(path: Path, type_: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.DecodeError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
