"""A small table in a private file, which several processes read and change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rtflow.access.private import locked, private_folder, read_private, write_private
from rtflow.errors import UsageError

Table = TypeVar("Table", bound=msgspec.Struct)
_Signature = tuple[int, ...] | None


class KeptTable(Generic[Table]):
    """What stands in a JSON file, as it is now, whoever changed it.

    Parameters
    ----------
    path
        The file; its folder is made with the first change.
    kind
        The type of the table; without arguments it makes an empty one.
    """

    def __init__(self, path: Path, kind: type[Table]) -> None:
        self.path = path
        self._kind = kind
        self._seen: tuple[_Signature, Table] | None = None

    def read(self) -> Table:
        """The table, not to be changed; as long as the file is the same, one look at its inode.

        Raises
        ------
        UsageError
            If the file is damaged, or others may read it.
        """
        # The look comes first: if the file is replaced in between, the next look finds another one.
        signature, seen = self._signature(), self._seen
        if seen is not None and seen[0] == signature:
            return seen[1]
        table = self._load()
        self._seen = signature, table
        return table

    @contextlib.contextmanager
    def change(self) -> Iterator[Table]:
        """The table to be changed; written when the block ends without an error, by one process at a time.

        Raises
        ------
        UsageError
            As `read`.
        OutputError
            If it cannot be written.
        """
        private_folder(self.path.parent)
        with locked(self.path):
            table = self._load()
            yield table
            write_private(self.path, msgspec.json.format(msgspec.json.encode(table)) + b"\n")

    def _load(self) -> Table:
        content = read_private(self.path)
        if content is None:
            return self._kind()
        try:
            return msgspec.json.decode(content, type=self._kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.path} is damaged, or of a newer rtflow ({error}); restore it from a copy, or remove "
                "it and begin anew"
            ) from None

    def _signature(self) -> _Signature:
        try:
            found = self.path.stat()
        except OSError:
            return None
        # A file that others may open by now is not the file that was read, though nobody wrote it.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
