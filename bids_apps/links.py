"""Links of a data set that lead out of it: in a container they lead nowhere, unless their targets are there.

DataLad and git-annex make every image such a link. What a link leads to is mounted where the link, read in
there, points to; an annex is mounted once, as a whole. Links that apps have left are not trusted: what
they lead to outside is not mounted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rtflow.bids_apps.command_line import Binding
from rtflow.bids_apps.planted import AppFolders
from rtflow.errors import UsageError

#: More mounts than that slow a start down; then a folder has to be mounted, and a person has to say which.
MOST_MOUNTS = 200

#: Folders of images and of every system: what a link brings must not take their place.
_SYSTEM = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "sbin", "sys", "usr")
)

_ANNEX = (".git", "annex", "objects")


@dataclass
class _Found:
    """Where links lead: path inside to path on this machine and the link; and those that lead nowhere."""

    apps: AppFolders
    data: Path
    targets: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    broken: list[Path] = field(default_factory=list)
    planted: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Led:
    """Where the links of a folder lead.

    Parameters
    ----------
    bindings
        What has to be mounted, by a link that leads there.
    planted
        Links that apps have left, which lead out of the data set: nothing is mounted for them.
    """

    bindings: dict[Path, Binding]
    planted: list[Path]


def link_targets(
    root: Path,
    inside: str,
    subjects: Iterable[str] = (),
    *,
    broken: bool = False,
    apps: AppFolders | None = None,
    data: Path | None = None,
) -> Led:
    """What has to be mounted beside a data set, or another folder, so that its links lead somewhere.

    Parameters
    ----------
    root
        The data set, without links in its own path.
    inside
        Where the app sees it.
    subjects
        Labels of the participants that are analysed, without ``sub-``; empty is all. Links of others may lead
        nowhere: a data set is often fetched in part.
    broken
        Whether any link may lead nowhere.
    apps
        The folders whose links are not trusted; by default those of the data set's ``derivatives``.
    data
        The data set, which an app sees anyway, if `root` is another folder.

    Raises
    ------
    UsageError
        If links lead nowhere, or to what cannot be mounted there, or a folder cannot be read; the message
        names some of the links.
    """
    found = _Found(apps or AppFolders([root / "derivatives"]), data or root)
    _search(root, PurePosixPath(inside), root, found)
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in subjects}
    missing = [path for path in found.broken if _is_wanted(path.relative_to(root), wanted)]
    if missing and not broken:
        raise UsageError(
            f"{some(missing)} in {root} lead nowhere, expected links to files; fetch what they stand for "
            "(datalad get, git annex get) or remove them"
        )
    bindings = _bindings(found.targets, root, inside)
    wrong = [(link, one.host) for link, one in bindings.items() if _is_system(one.inside, inside)]
    if wrong:
        raise UsageError(
            f"{some([f'{link} leads to {host}' for link, host in wrong])}: no app may see that in place "
            "of what its image has; replace the link by a copy, or remove it"
        )
    if len(bindings) > MOST_MOUNTS:
        raise UsageError(
            f"links of {root} lead to {len(bindings)} places outside, at most {MOST_MOUNTS} are mounted "
            f"({some([f'{link} leads to {one.host}' for link, one in bindings.items()])}); copy them, or "
            "give a folder that holds both"
        )
    return Led(bindings, found.planted)


def _search(folder: Path, inside: PurePosixPath, root: Path, found: _Found) -> None:
    """Look for links in a folder that the app sees at `inside`."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; the app reads it as you, who may not") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            _follow(path, inside, root, found)
        elif entry.is_dir() and entry.name not in (".git", ".datalad"):
            _search(path, inside / entry.name, root, found)


def _follow(link: Path, inside: PurePosixPath, root: Path, found: _Found) -> None:
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle
        found.broken.append(link)
        return
    target = link.readlink()
    if not target.is_absolute() and Path(os.path.normpath(link.parent / target)).is_relative_to(root):
        return  # what stands there is in the data set: a file, or the next link, which is found by itself
    # What will be read in there: a relative link counts from where the app sees it.
    seen = os.path.normpath(inside / target)
    if seen in found.targets:
        return
    if not real.is_relative_to(root) and not real.is_relative_to(found.data) and found.apps.planted(link):
        found.planted.append(link)
        return
    found.targets[seen] = real, link
    if real.is_dir() and not real.is_relative_to(root):
        _search(real, PurePosixPath(seen), root, found)


def _bindings(targets: dict[str, tuple[Path, Path]], root: Path, inside: str) -> dict[Path, Binding]:
    """As few mounts as show these targets, and little else; each by a link that leads there."""
    folders: dict[str, tuple[Path, Path]] = {}
    for seen, (real, link) in targets.items():
        if real.is_relative_to(root) and seen == str(real):
            # An absolute link within the data set: it is seen in its own place, too.
            folders[str(root)] = root, link
        elif (annex := _annex(real)) and (place := _place(seen, real, annex)):
            folders[place] = annex, link
        else:
            folders[seen] = real, link
    covered = PurePosixPath(inside)
    kept: list[str] = []
    bindings = {}
    for seen in sorted(folders):
        real, link = folders[seen]
        if any(PurePosixPath(seen).is_relative_to(above) for above in kept):
            continue
        if PurePosixPath(seen).is_relative_to(covered):
            raise UsageError(
                f"{link} leads to {real}, which the app would look for at {seen}, within the data set; "
                "replace the link by a copy"
            )
        kept.append(seen)
        bindings[link] = Binding(real, seen)
    return bindings


def _annex(real: Path) -> Path | None:
    """The objects of the annex that a file is in."""
    for folder in real.parents:
        if folder.parts[-3:] == _ANNEX:
            return folder
    return None


def _place(seen: str, real: Path, annex: Path) -> str:
    """Where an annex has to be so that its file is seen where it is looked for; empty if nowhere."""
    within = str(real.relative_to(annex))
    return seen[: -len(within) - 1] if seen.endswith(f"/{within}") else ""


def _is_wanted(path: Path, wanted: set[str]) -> bool:
    """Whether an app may look at a file: one of a chosen participant, or one that is nobody's."""
    first = path.parts[0]
    if first.startswith("sub-"):
        return not wanted or first in wanted
    return len(path.parts) == 1


def _is_system(seen: str, inside: str) -> bool:
    parts: Iterator[str] = iter(PurePosixPath(seen).parts[1:])
    first = next(parts, "")
    return first in _SYSTEM or not first or PurePosixPath(inside).is_relative_to(seen)


def some(things: Sequence[Path | str]) -> str:
    """The first of some things, and how many more there are."""
    shown = ", ".join(str(one) for one in things[:3])
    return f"{shown} and {len(things) - 3} more" if len(things) > 3 else shown
