"""What one run leaves for the next: references, masks, models, normalisation, each with its grid and a hash.

An item is one ``NAME.npz`` in the folder of the session, without pickled objects. What a run loads is
copied into ``RUN_DIR/session``, so that a replay takes the very same item from there. What it saves stands
in ``RUN_DIR/saved``, and enters the session as one set when the run has ended (`publish`): a decoder is of
no use without the reference and the mask that it was trained with. A replay publishes nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.errors import SessionError, UsageError
from rtflow.items import SUFFIX, Item, decode, encode, read_item, read_member, release
from rtflow.whole_file import write_whole

if TYPE_CHECKING:
    from rtflow.stream.interface import RunContext

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Session:
    """The items of a session, as a run sees them.

    Parameters
    ----------
    context
        The run: says where the session stands, and where the run's own folder is.
    """

    def __init__(self, context: RunContext) -> None:
        self._folder = context.session_dir
        self._run_dir = context.run_dir
        self._run_uid = context.run_uid
        self._resuming = context.resuming
        self._replaying = context.replaying

    def save(
        self, name: str, arrays: Mapping[str, NDArray[Any]], grid: Grid | None = None, **facts: Any
    ) -> str:
        """Keep an item under a name, for the session to have when the run has ended.

        Parameters
        ----------
        name
            Letters, digits, ``.``, ``-`` and ``_``.
        arrays
            Name to array, of numbers or booleans.
        grid
            Which grid the arrays speak of; whoever loads the item is held to it.
        **facts
            JSON scalars and lists that belong to it.

        Returns
        -------
        str
            SHA-256 over arrays, grid and facts.

        Raises
        ------
        UsageError
            If the name cannot be a file's name, or an array would have to be pickled.
        OutputError
            If the folder cannot be written.
        """
        file_name = _file_name(name)
        try:
            data, sha256 = encode(arrays, grid, facts, self._run_uid)
        except UsageError as error:
            raise UsageError(f"session item {name!r}: {error}") from None
        write_whole(self._run_dir / "saved" / file_name, data)
        return sha256

    def load(self, name: str, grid: Grid | None = None) -> Item:
        """An item that an earlier run has saved.

        Parameters
        ----------
        name
            As it was saved: one of this session. ``/PLACE/NAME`` is one of another place: a folder of
            items, or a file that holds several (`rtflow.items.bundle`).
        grid
            The grid that the item must speak of; None takes any.

        Raises
        ------
        UsageError
            If the name cannot be a file's name.
        SessionError
            If there is no such item, if it is damaged, if it speaks of another grid, or if it was made with
            another reference than what the run has loaded before it.
        """
        place, _, name = name.rpartition("/") if Path(name).is_absolute() else ("", "", name)
        path = self._folder / _file_name(name)
        taken = self._run_dir / "session" / path.name
        if self._resuming and taken.exists():
            path = taken  # the session may have gone on since the run was cut off
            place = ""
        if self._replaying and path.exists():
            place = ""  # what the run took, wherever from, is in the session of its replay
        try:
            data = read_member(Path(place), path.name) if place else path.read_bytes()
        except OSError:
            raise SessionError(self._absent(name)) from None
        item = decode(data, path)
        if grid is not None:
            item.require(grid, name)
        write_whole(taken, data)
        self._require_company(name, item, taken)
        return item

    def hold(self, name: str, arrays: Mapping[str, NDArray[Any]], grid: Grid | None, **facts: Any) -> None:
        """Keep an item that counts only if the run ends well, for `release` at its end; else as `save`."""
        data, _ = encode(arrays, grid, facts, self._run_uid)
        write_whole(self._run_dir / "held" / _file_name(name), data)

    def release(self) -> None:
        """Save what was held; a run that came to its end does so by itself, behind its last node."""
        release(self._run_dir)

    def saved(self) -> dict[str, Path]:
        """What this run has saved so far: name to file."""
        return {path.stem: path for path in sorted((self._run_dir / "saved").glob(f"*{SUFFIX}"))}

    def _require_company(self, name: str, item: Item, taken: Path) -> None:
        """Refuse an item that was made with another reference than one that the run has loaded already."""
        for path in sorted(taken.parent.glob(f"*{SUFFIX}")):
            other = read_item(path)
            ours, theirs = ("" if one.grid is None else one.grid.reference for one in (item, other))
            if ours and theirs and ours != theirs:
                makers = [f"{name!r} of run {item.run_uid}", f"{path.stem!r} of run {other.run_uid}"]
                raise SessionError(
                    f"session items {makers[0]} and {makers[1]} were made with different references and do "
                    "not belong together; do the run that saves them again, or take them as one run left "
                    "them: --session RUN_DIR/saved"
                )

    def names(self) -> list[str]:
        """Names of the items that there are."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))

    def _absent(self, name: str) -> str:
        names = self.names()
        near = difflib.get_close_matches(name, names, 1)
        there = f"did you mean {near[0]!r}" if near else f"it has {', '.join(names) or 'nothing'}"
        return f"the session in {self._folder} has no {name!r}, {there}; do the run that saves it first"


def _file_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"session item {name!r}: a name has letters, digits, '.', '-' and '_' only")
    return name + SUFFIX
