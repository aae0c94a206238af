"""Which files of this host a server may have: within given folders by their real paths, of given types.

A path is looked at in three ways: as it is written (no ``..``, nothing that means something else on Windows),
as it really is (links resolved, and folders told by identity rather than by the letters of their names), and
once more as it is opened: no link is followed then, so that one that is put there in between leads nowhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO

from rtflow.errors import UsageError

_LONGEST = 4096
_RESERVED = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"]
)
_MEANT_OTHERWISE = frozenset('<>:"|?*/\\')
# Windows has neither: there what was opened is compared with what was meant.
_BY_FOLDER = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_ANY = "*"


class NotAllowedError(UsageError):
    """A file that the server may not have."""


@dataclass(frozen=True)
class Entry:
    """What stands in a folder."""

    name: str
    size: int
    changed: float
    folder: bool


def names_in(text: str, *, windows: bool) -> tuple[str, list[str]]:
    """Where a path begins (empty if it is relative), and its names.

    Parameters
    ----------
    text
        As the server wrote it.
    windows
        Whether it is one of Windows.

    Raises
    ------
    NotAllowedError
        If it goes up, or means something else than a file of that name.

    Examples
    --------
    >>> names_in("/data/run/1.dcm", windows=False)
    ('/', ['data', 'run', '1.dcm'])
    """
    if len(text) > _LONGEST or any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        raise NotAllowedError("a path is too long, or holds signs that cannot be seen")
    path = PureWindowsPath(text) if windows else PurePosixPath(text)
    root = path.anchor
    if windows and (root.startswith(("\\\\", "//")) or bool(path.drive) != bool(path.root)):
        raise NotAllowedError(f"{text!r} begins on another machine, or where a drive happens to stand")
    names = list(path.parts[1:] if root else path.parts)
    for name in names:
        if name == ".." or (windows and _means_otherwise(name)):
            raise NotAllowedError(f"{text!r} goes up, or holds a name that means something else")
    return root, names


def _means_otherwise(name: str) -> bool:
    stem = name.partition(".")[0].strip(" ").upper()
    return bool(_MEANT_OTHERWISE & set(name)) or name[-1] in ". " or stem in _RESERVED


class Allowed:
    """The files that a server may have.

    Parameters
    ----------
    folders
        Within which they are.
    types
        Ends of their names, such as ``.dcm``; ``*`` for any.
    write
        Whether files may be written too.

    Raises
    ------
    UsageError
        If a folder is not there.
    """

    def __init__(self, folders: Sequence[Path], types: Sequence[str], *, write: bool = False) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"--allow {folder}: there is no such folder")
        self._folders = [Path(os.path.realpath(folder)) for folder in folders]
        self._types = tuple(one.casefold() for one in types)
        self._write = write

    @property
    def offers(self) -> str:
        """What may be done with them: ``read`` or ``write``; empty if there are none."""
        return ("write" if self._write else "read") if self._folders else ""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Within which they are, by their real paths, as they were given."""
        return tuple(self._folders)

    def open(self, text: str) -> BinaryIO:
        """Open a file to read it.

        Raises
        ------
        NotAllowedError
            If it is not one that may be had.
        OSError
            If it cannot be opened.
        """
        root, names = self._locate(text)
        if not names:
            raise NotAllowedError(f"{text!r} is a folder")
        self._check_type(names[-1])
        flags = _READ | getattr(os, "O_NONBLOCK", 0)  # to open a pipe would wait for its other end
        with self._folder(root, names[:-1]) as folder:
            descriptor = _open(folder, names[-1], flags)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not self._is_still(root, names, status):
            os.close(descriptor)
            raise NotAllowedError(f"{text!r} is no file")
        return os.fdopen(descriptor, "rb")

    def entries(self, text: str) -> list[Entry]:
        """What stands in a folder, by name: folders, and files of the types that may be had; no links.

        Raises
        ------
        NotAllowedError
            If it is not one that may be looked into.
        OSError
            If it cannot be read.
        """
        root, names = self._locate(text)
        found = []
        with self._folder(root, names) as folder, os.scandir(folder) as there:
            for entry in there:
                with contextlib.suppress(OSError):  # it has gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    is_folder = stat.S_ISDIR(status.st_mode)
                    if is_folder or (stat.S_ISREG(status.st_mode) and self._is_of_type(entry.name)):
                        found.append(Entry(entry.name, status.st_size, status.st_mtime, is_folder))
        return sorted(found, key=lambda one: one.name)

    @contextlib.contextmanager
    def create(self, text: str, *, folders: bool = False) -> Iterator[BinaryIO]:
        """Write a file that appears when the block has ended well, in place of one that was there.

        Parameters
        ----------
        folders
            Whether folders on the way to it are made.

        Raises
        ------
        NotAllowedError
            If it may not be written.
        OSError
            If it cannot be.
        """
        if not self._write:
            raise NotAllowedError("files can only be read here; start the agent with --write")
        root, names = self._locate(text)
        if not names:
            raise NotAllowedError(f"{text!r} is a folder")
        *above, name = names
        self._check_type(name)
        with self._folder(root, above, make=folders) as folder:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(_status(folder, name).st_mode):
                    raise NotAllowedError(f"{text!r} is there, and no file")
            partial = f".{secrets.token_hex(8)}.partial"
            file: IO[bytes] = os.fdopen(_open(folder, partial, _NEW), "wb")
            try:
                with file:
                    yield file  # type: ignore[misc]
                _rename(folder, partial, name)
            except BaseException:
                with contextlib.suppress(OSError):
                    _unlink(folder, partial)
                raise

    # How a path is looked at

    def _locate(self, text: str) -> tuple[Path, list[str]]:
        """The allowed folder that a path really lies in, and the names from there on."""
        if not self._folders:
            raise NotAllowedError("no files can be had here; start the agent with --allow DIR")
        anchor, names = names_in(text, windows=os.name == "nt")
        start = Path(anchor) if anchor else self._folders[0]
        real = Path(os.path.realpath(start.joinpath(*names)))
        for above in (real, *real.parents):
            for folder in self._folders:
                with contextlib.suppress(OSError):
                    if above.samefile(folder):
                        return folder, list(real.parts[len(above.parts) :])
        raise NotAllowedError(f"{text!r} is not in a folder that was given by --allow")

    def _check_type(self, name: str) -> None:
        if not self._is_of_type(name):
            raise NotAllowedError(f"{name!r} is of no type that was given by --types")

    def _is_of_type(self, name: str) -> bool:
        return _ANY in self._types or name.casefold().endswith(self._types)

    @contextlib.contextmanager
    def _folder(self, root: Path, names: Sequence[str], *, make: bool = False) -> Iterator[int | Path]:
        """A folder, reached name by name without following a link: its descriptor, or its path on Windows."""
        if not _BY_FOLDER:
            path = root.joinpath(*names)
            if make:
                path.mkdir(parents=True, exist_ok=True)
            if Path(os.path.realpath(path)) != path:
                raise NotAllowedError(f"{'/'.join(names)!r} has changed meanwhile")
            yield path
            return
        flags = _READ | os.O_DIRECTORY | os.O_NOFOLLOW
        descriptor = os.open(root, flags)
        try:
            for name in names:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_still(self, root: Path, names: Sequence[str], status: os.stat_result) -> bool:
        """Whether what was opened is what was meant; known already where no link was followed."""
        if _BY_FOLDER:
            return True
        path = root.joinpath(*names)
        return Path(os.path.realpath(path)) == path and os.path.samestat(status, path.stat())


def _open(folder: int | Path, name: str, flags: int) -> int:
    if isinstance(folder, Path):
        return os.open(folder / name, flags)
    return os.open(name, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)


def _status(folder: int | Path, name: str) -> os.stat_result:
    if isinstance(folder, Path):
        return (folder / name).lstat()
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _rename(folder: int | Path, old: str, new: str) -> None:
    if isinstance(folder, Path):
        (folder / old).replace(folder / new)
    else:
        os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def _unlink(folder: int | Path, name: str) -> None:
    if isinstance(folder, Path):
        (folder / name).unlink()
    else:
        os.unlink(name, dir_fd=folder)
