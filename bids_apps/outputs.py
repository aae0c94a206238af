"""What an app wrote: collected aside, described, and put into the folder of derivatives in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import rtflow
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.planted import lock_of
from rtflow.bids_apps.runtime import Runtime
from rtflow.errors import OutputError

DESCRIPTION = "dataset_description.json"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def results_folder(out: Path, name: str) -> Path:
    """Where the results of an app go: a folder of its name in that of all derivatives, or that one itself.

    >>> [results_folder(Path(out), "mask").as_posix() for out in ("derivatives", "derivatives/mask")]
    ['derivatives/mask', 'derivatives/mask']
    """
    return out if out.name == name else out / name


def where_results_go(out: Path, name: str) -> Path:
    """The folder that results are put into, without links in its path: it may be on another disk.

    Raises
    ------
    OutputError
        If a link on the way leads nowhere.
    """
    folder = results_folder(out.expanduser().absolute(), name)
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            raise OutputError(
                f"{path} is a link that leads nowhere, to {path.readlink()}; make that folder, "
                "or remove the link"
            )
    return folder.resolve()


def files_in(folder: Path) -> list[str]:
    """Files below a folder, in order; what a link leads to elsewhere is this machine's, not the app's."""
    real = folder.resolve()
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(real))
    )


def count_files(folder: Path) -> int:
    """Files below a folder, of whatever depth; empty folders are nothing."""
    return sum(len(files) for _, _, files in os.walk(folder))


def describe(
    folder: Path, descriptor: Descriptor, runtime: Runtime, earlier: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Say in the data set's description by which image it was made.

    The app's own entry gets the image; where the app wrote no description, one is written for it.

    Parameters
    ----------
    folder
        What was written.
    descriptor, runtime
        By whom.
    earlier
        What generated the results that stay beside the new ones (`generators`), the newest first.

    Returns
    -------
    list of dict
        Those of `earlier` that are not the app as it is now.

    Raises
    ------
    OutputError
        If the app's description is no JSON object, or cannot be written.
    """
    try:
        said: Any = json.loads(read_plain(folder, DESCRIPTION).decode("utf-8-sig"))
    except FileNotFoundError:
        said = {}
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{DESCRIPTION} that {descriptor.name} wrote cannot be read: {error}") from None
    if not isinstance(said, dict):
        raise OutputError(f"{DESCRIPTION} that {descriptor.name} wrote is no JSON object, but {said!r}")
    described: dict[str, Any] = {
        "Name": f"Results of {descriptor.name}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
    } | said
    own = {"Name": descriptor.name} | ({"Version": descriptor.version} if descriptor.version else {})
    first, *others = _entries(said) or [own]
    if first in earlier:  # a copy of what was there, which the app has not written anew
        first = {key: value for key, value in first.items() if key != "Container"}
    if not runtime.native:
        first = {**first, "Container": _container(descriptor, runtime)}
    others = [one for one in others if one not in earlier]
    stay = [one for one in earlier if one not in [first, *others] and not _same_image(one, first)]
    wrapper = {"Name": "rtflow", "Version": rtflow.__version__, "Description": f"Ran {descriptor.name}"}
    described["GeneratedBy"] = [first, *others, *stay, wrapper]
    # Written beside the folder: in it the app may have laid a link where this would be written.
    partial = folder.with_name(f"{folder.name}.json")
    try:
        partial.write_bytes(json.dumps(described, indent=2, ensure_ascii=False).encode() + b"\n")
        partial.replace(folder / DESCRIPTION)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{folder / DESCRIPTION}: {error.strerror}; it cannot be written") from None
    return stay


def generators(final: Path, work: Path, *, merging: bool) -> list[dict[str, Any]]:
    """What generated those earlier results that will stand beside the new ones; nothing if none will.

    Parameters
    ----------
    final
        The earlier results.
    work
        The new ones.
    merging
        Whether earlier ones stay where there are no new ones; else `work` was a copy of them, and those that
        are as they were stay.
    """
    if not any(_stays(path, work / path.relative_to(final), merging) for path in _files(final)):
        return []
    try:
        return _entries(json.loads(read_plain(final, DESCRIPTION).decode("utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return []


def _files(folder: Path) -> Iterator[Path]:
    described = folder / DESCRIPTION
    for where, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(where, name)) != described)


def _stays(old: Path, new: Path, merging: bool) -> bool:
    if not os.path.lexists(new):
        return merging
    before, after = old.lstat(), new.lstat()
    return not merging and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _entries(said: Any) -> list[dict[str, Any]]:
    """Who generated a data set by its description, rtflow left out."""
    listed = said.get("GeneratedBy") if isinstance(said, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [one for one in entries if isinstance(one, dict) and one.get("Name") != "rtflow"]


def container_uri(entry: dict[str, Any]) -> str:
    """The image of an entry of ``GeneratedBy``; empty if it has none."""
    container = entry.get("Container")
    return str(container.get("URI", "")) if isinstance(container, dict) else ""


def _same_image(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(container_uri(one)) and container_uri(one) == container_uri(other)


def read_plain(folder: Path, name: str) -> bytes:
    """The content of a file that an app has written into a folder.

    What a link in it leads to is this machine's, not the app's, and from a pipe somebody may never write to.

    Raises
    ------
    OSError
        If there is no such file.
    """
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=there)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "expected a file, got a link") from None
        raise
    finally:
        os.close(there)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "expected a file, got something else")
        return file.read()


def _container(descriptor: Descriptor, runtime: Runtime) -> dict[str, str]:
    """What BIDS calls a Container: the tag is for people, the URI has the digest."""
    image = descriptor.image
    is_file = image.endswith(".sif")
    uri = (
        f"file://{Path(image).absolute()}"
        if is_file
        else f"docker://{image}"
        if "://" not in image
        else image
    )
    tag = {"Tag": descriptor.tag} if descriptor.tag else {}
    return {"Type": "apptainer" if is_file else runtime.name, **tag, "URI": uri}


def copy_of(final: Path, work: Path) -> None:
    """Put a copy of earlier results into a folder that an app may change, for a level that builds on them.

    Raises
    ------
    OutputError
        If they cannot be copied.
    """
    if final.is_dir():
        try:
            shutil.copytree(final, work, symlinks=True, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise OutputError(f"the results so far, {final}, cannot be copied: {error}") from None


def put_in_place(
    work: Path, final: Path, *, merging: bool, describing: Callable[[], object] = lambda: None
) -> None:
    """Make what an app wrote the folder of its results, in one step: whoever looks sees the old or the new.

    Parameters
    ----------
    work
        What it wrote; on the same file system.
    final
        Where it belongs.
    merging
        Whether earlier results stay, where the app has not written others: of other participants, say.
    describing
        Called first, while no other run changes the results.

    Raises
    ------
    OutputError
        If that cannot be done; then the earlier results stand as before.
    """
    try:
        with _alone(final):
            describing()
            if merging and final.is_dir():
                _keep_earlier(final, work)
            if final.exists():
                _exchange(work, final)
                shutil.rmtree(work)
            else:
                work.rename(final)
    except OSError as error:
        raise OutputError(
            f"{final}: {error.strerror or error}; the results are in {work}, move them by hand"
        ) from None


@contextlib.contextmanager
def _alone(final: Path) -> Iterator[None]:
    """Of several runs of an app, one at a time."""
    with lock_of(final).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep_earlier(final: Path, work: Path) -> None:
    """Link earlier files into the new folder: no app runs there any more that could write into them."""
    for folder, folders, files in os.walk(final):
        here = work / Path(folder).relative_to(final)
        if os.path.lexists(here) and (here.is_symlink() or not here.is_dir()):
            # What the app has put in place of the folder stands: a file, or a link, which may lead anywhere.
            folders.clear()
            continue
        for name in (*files, *(one for one in folders if Path(folder, one).is_symlink())):
            old, new = Path(folder, name), here / name
            if os.path.lexists(new):
                continue
            here.mkdir(parents=True, exist_ok=True)
            try:
                os.link(old, new, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(old, new, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change their names in one step; where the system cannot, in two."""
    with contextlib.suppress(AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.renameat2(
            _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
        )
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code))
    aside = other.with_name(f".{other.name}.{os.getpid()}.earlier")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
