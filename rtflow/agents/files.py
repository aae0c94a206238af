"""Files of this host for the server: listed, fetched, written; as far as they are allowed."""

from __future__ import annotations

import fnmatch
import hashlib
import io
from typing import Any, BinaryIO, TypeVar

import msgspec

from rtflow.agents.allowed import Allowed, NotAllowedError
from rtflow.agents.answering import Handler
from rtflow.agents.protection import Protection
from rtflow.dicom.read import looks_like_dicom
from rtflow.errors import DicomError, ProtocolError, UsageError
from rtflow.server.transfer import Transfer

_DEEPEST = 32
_MOST = 100_000
_START = 132


class Listed(msgspec.Struct):
    """A file or a folder, as the server is told of it."""

    path: str
    size: int
    changed: float
    folder: bool


class _Folder(msgspec.Struct, forbid_unknown_fields=True):
    folder: str = ""
    pattern: str = "*"


class _Get(msgspec.Struct, forbid_unknown_fields=True):
    path: str


class _Put(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    size: int
    sha256: str
    folders: bool = False


Asked = TypeVar("Asked", _Folder, _Get, _Put)


class FileService:
    """The file service of an agent.

    Parameters
    ----------
    allowed
        What may be had.
    protection
        What is done to DICOM objects before they leave.
    """

    def __init__(self, allowed: Allowed, protection: Protection) -> None:
        self._allowed, self._protection = allowed, protection

    @property
    def handlers(self) -> dict[str, Handler]:
        """What can be asked for."""
        return {
            "files.folders": self._folders,
            "files.list": self._list,
            "files.tree": self._tree,
            "files.get": self._get,
            "files.put": self._put,
        }

    def _folders(self, arguments: dict[str, Any], transfer: Transfer) -> int:
        _checked(arguments, _Folder)
        return _send([Listed(one.as_posix(), 0, 0.0, folder=True) for one in self._allowed.folders], transfer)

    def _list(self, arguments: dict[str, Any], transfer: Transfer) -> int:
        asked = _checked(arguments, _Folder)
        listed = [
            Listed(one.name, one.size, one.changed, one.folder)
            for one in self._allowed.entries(asked.folder)
            if fnmatch.fnmatch(one.name, asked.pattern)
        ]
        return _send(listed, transfer)

    def _tree(self, arguments: dict[str, Any], transfer: Transfer) -> int:
        asked = _checked(arguments, _Folder)
        listed: list[Listed] = []
        self._gather(asked, "", 0, listed)
        return _send(listed, transfer)

    def _gather(self, asked: _Folder, below: str, depth: int, listed: list[Listed]) -> None:
        for one in self._allowed.entries("/".join(filter(None, (asked.folder, below)))):
            path = f"{below}/{one.name}" if below else one.name
            if one.folder and depth < _DEEPEST:
                self._gather(asked, path, depth + 1, listed)
            elif not one.folder and fnmatch.fnmatch(one.name, asked.pattern):
                listed.append(Listed(path, one.size, one.changed, folder=False))
            if len(listed) > _MOST:
                raise UsageError(f"{asked.folder!r} holds more than {_MOST} files; ask for folders below it")

    def _get(self, arguments: dict[str, Any], transfer: Transfer) -> dict[str, Any]:
        asked = _checked(arguments, _Get)
        hashed = _Hashed(self._open(asked.path))
        with hashed.source:
            transfer.give(hashed)  # type: ignore[arg-type]
        return {"size": hashed.size, "sha256": hashed.hash.hexdigest()}

    def _open(self, path: str) -> BinaryIO:
        file = self._allowed.open(path)
        if self._protection.key is None:
            return file
        try:
            start = file.read(_START)
            if looks_like_dicom(start):
                with file:
                    return io.BytesIO(self._protection.of_file(start + file.read()))
            file.seek(0)
        except DicomError as error:
            file.close()
            raise NotAllowedError(f"{path!r} must not leave this host: {error}") from None
        except BaseException:
            file.close()
            raise
        return file

    def _put(self, arguments: dict[str, Any], transfer: Transfer) -> int:
        asked = _checked(arguments, _Put)
        hashed, came = hashlib.sha256(), 0
        with self._allowed.create(asked.path, folders=asked.folders) as file:
            pieces = transfer.take()
            while came < asked.size:
                data = next(pieces)
                file.write(data)
                hashed.update(data)
                came += len(data)
            if (came, hashed.hexdigest()) != (asked.size, asked.sha256):
                raise ProtocolError(f"{asked.path!r} came, and is not what was sent; send it again")
        return asked.size


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.hash, self.size = source, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.hash.update(data)
        self.size += len(data)
        return data


def _send(listed: list[Listed], transfer: Transfer) -> int:
    transfer.give(io.BytesIO(msgspec.json.encode(listed)))
    return len(listed)


def _checked(arguments: dict[str, Any], kind: type[Asked]) -> Asked:
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"what was asked for cannot be: {error}") from None
