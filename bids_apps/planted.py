"""Which folders apps have written, so that no link in them is trusted: it may lead the next app anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class AppFolders:
    """Folders that apps have written: those in ``derivatives``, and those that rtflow has made for them.

    Parameters
    ----------
    collections
        Folders of derivatives: each folder in one is an app's. Links in them directly are a person's.
    own
        Further folders of apps.
    """

    def __init__(self, collections: Iterable[Path] = (), own: Iterable[Path] = ()) -> None:
        self._collections = frozenset(path.resolve() for path in collections)
        self._known = {path.resolve(): True for path in own} | {Path("/"): False}

    def hold(self, folder: Path) -> bool:
        """Whether a folder, without links in its path, is of an app, or in one."""
        if folder not in self._known:
            self._known[folder] = (
                folder.parent in self._collections
                or lock_of(folder).is_file()  # which rtflow leaves beside what an app has made
                or self.hold(folder.parent)
            )
        return self._known[folder]

    def planted(self, link: Path) -> bool:
        """Whether a link, or one on the way to where it leads, is of an app."""
        return any(self.hold(passed.parent) for passed in _passed(link))


def lock_of(results: Path) -> Path:
    """The file that is locked while results are put in place."""
    return results.parent / f".{results.name}.lock"


def links_out(folder: Path) -> list[str]:
    """Links below a folder that lead out of it, and where they lead."""
    real = folder.resolve()
    found = []
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                target = path.readlink()
                # As it is spelled, and as links on the way have it.
                spelled = Path(os.path.normpath(Path(where) / target))
                if not (spelled.is_relative_to(folder) and _end(path).is_relative_to(real)):
                    found.append(f"{path.relative_to(folder)} -> {target}")
    return sorted(found)


def _end(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # a circle
        return link.parent.resolve()


def _passed(path: Path) -> Iterator[Path]:
    """The links that are followed from a path to the file where it leads, which exists."""
    done, rest = Path(path.anchor), list(reversed(path.parts[1:]))
    while rest:
        part = rest.pop()
        step = done.parent if part == ".." else done / part
        if not step.is_symlink():
            done = step
            continue
        yield step
        target = step.readlink()
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        done = Path(target.anchor) if target.is_absolute() else done
