"""Files on an agent's host: within the folders, and of the types, that it was started with."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rtflow.errors import RemoteError
from rtflow.server.asking import Asking
from rtflow.whole_file import partial_name

Progress = Callable[[str, int, int], None]
"""Called with a file's name, and how many of how many bytes came or went; of 0 where that is not known."""

_UNSAFE = re.compile(r'[\x00-\x1f<>:"\\|?*]')


class RemoteFile(msgspec.Struct, frozen=True):
    """A file, or a folder, on another host.

    Parameters
    ----------
    path
        Below the folder that was asked for, with ``/`` between names.
    size
        Bytes there; of a DICOM object, before it is de-identified.
    changed
        Seconds since 1970 on its host's clock.
    folder
        Whether it is a folder.
    """

    path: str
    size: int
    changed: float
    folder: bool = False


def _quiet(name: str, done: int, total: int) -> None:
    del name, done, total


class RemoteFiles:
    """Files of one agent's host; may be used from any thread, and waits for each answer.

    Paths are those of that host; one that is not absolute is taken from the first folder that is allowed.
    Everything raises `RemoteError` if the agent refuses, cannot, or has not answered in time.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def folders(self, *, timeout: float = 10.0) -> Sequence[RemoteFile]:
        """The folders that the agent was started with, by their whole paths."""
        return self._listed("files.folders", "", "*", timeout)

    def list(self, folder: str = "", pattern: str = "*", *, timeout: float = 10.0) -> Sequence[RemoteFile]:
        """Files and folders in a folder whose names fit a pattern, by name."""
        return self._listed("files.list", folder, pattern, timeout)

    def newest(self, folder: str = "", pattern: str = "*", *, timeout: float = 10.0) -> RemoteFile | None:
        """The file in a folder that was changed last; None if there is none."""
        files = [one for one in self.list(folder, pattern, timeout=timeout) if not one.folder]
        return max(files, key=lambda one: (one.changed, one.path), default=None)

    def get(self, path: str, *, timeout: float = 60.0, progress: Progress = _quiet) -> bytes:
        """The bytes of a file; of a DICOM object, de-identified on its host."""
        gathered = io.BytesIO()
        self.fetch(path, gathered.write, timeout=timeout, progress=progress)
        return gathered.getvalue()

    def put(self, path: str, data: bytes, *, timeout: float = 60.0, progress: Progress = _quiet) -> None:
        """Write a file there in one step; the agent must have been started with ``--write``."""
        self.send(path, io.BytesIO(data), timeout=timeout, progress=progress)

    def download(
        self,
        folder: str,
        to: Path,
        *,
        pattern: str = "*",
        timeout: float = 600.0,
        progress: Progress = _quiet,
    ) -> Sequence[Path]:
        """Copy a folder from there, with all below it; files appear when they are whole.

        Returns
        -------
        list of Path
            What was written, below ``to``.
        """
        left = _Clock(timeout)
        written = []
        for one in self._listed("files.tree", folder, pattern, left.seconds):
            target = to.joinpath(*_safe_parts(one.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = partial_name(target)
            try:
                with partial.open("xb") as file:
                    path = f"{folder}/{one.path}" if folder else one.path
                    self.fetch(path, file.write, timeout=left.seconds, progress=progress, size=one.size)
                partial.replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise
            written.append(target)
        return written

    def upload(
        self,
        folder: Path,
        to: str,
        *,
        pattern: str = "*",
        timeout: float = 600.0,
        progress: Progress = _quiet,
    ) -> Sequence[str]:
        """Copy a folder to there, with all below it; folders are made, files appear when they are whole.

        Returns
        -------
        list of str
            What was written, by the paths there.
        """
        left = _Clock(timeout)
        written = []
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            if fnmatch.fnmatch(file.name, pattern):
                below = file.relative_to(folder).as_posix()
                path = f"{to}/{below}" if to else below
                with file.open("rb") as opened:
                    self.send(path, opened, timeout=left.seconds, progress=progress, folders=True)
                written.append(path)
        return written

    def _listed(self, method: str, folder: str, pattern: str, timeout: float) -> Sequence[RemoteFile]:
        gathered = io.BytesIO()
        self._asking.ask(method, {"folder": folder, "pattern": pattern}, timeout, take=gathered.write)
        try:
            return msgspec.json.decode(gathered.getvalue(), type=tuple[RemoteFile, ...])
        except msgspec.DecodeError as error:
            raise RemoteError(f"what came is no list of files ({error})") from None

    def fetch(
        self,
        path: str,
        keep: Callable[[bytes], Any],
        *,
        timeout: float = 600.0,
        progress: Progress = _quiet,
        size: int = 0,
    ) -> None:
        """Hand the bytes of a file to ``keep``, piece by piece, no faster than it takes them; as `get`.

        What was handed over is of no use if this raises.
        """
        hashed, came = hashlib.sha256(), 0

        def take(data: bytes) -> None:
            nonlocal came
            keep(data)
            hashed.update(data)
            came += len(data)

        about = self._asking.ask(
            "files.get", {"path": path}, timeout, take=take, progress=lambda done: progress(path, done, size)
        )
        if about != {"size": came, "sha256": hashed.hexdigest()}:
            raise RemoteError(f"{path} came with {came} bytes and is not what was sent; fetch it again")

    def send(
        self,
        path: str,
        file: BinaryIO,
        *,
        timeout: float = 600.0,
        progress: Progress = _quiet,
        folders: bool = False,
    ) -> None:
        """Write what an open file holds; as `put`, and with ``folders`` those on the way are made."""
        hashed = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        about = {"path": path, "size": size, "sha256": hashed.hexdigest(), "folders": folders}
        self._asking.ask(
            "files.put", about, timeout, give=file, progress=lambda sent: progress(path, sent, size)
        )


def _safe_parts(path: str) -> list[str]:
    """Names of a path that another host gave, to be joined to one of ours.

    >>> _safe_parts("run 1/image.dcm")
    ['run 1', 'image.dcm']

    Raises
    ------
    RemoteError
        If it would lead elsewhere.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or _UNSAFE.search(part) for part in parts):
        raise RemoteError(f"the agent named a file {path[:100]!r}, which cannot be written here")
    return parts


class _Clock:
    def __init__(self, timeout: float) -> None:
        self._end = time.monotonic() + timeout

    @property
    def seconds(self) -> float:
        return max(0.0, self._end - time.monotonic())
