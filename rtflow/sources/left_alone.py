"""Which files of a watched folder are of no run that goes on: the same ones when it is taken up."""

from __future__ import annotations

import json
from pathlib import Path

from rtflow.sources.watching import Watcher
from rtflow.whole_file import put_whole


def keep_left_alone(watcher: Watcher, listing: Path) -> bool:
    """Note what a watcher leaves alone; or, of a run that is taken up, let it leave alone what was noted.

    Names count in the folder, and under the pattern, that they were noted with. Where a run goes on in
    another folder or with another pattern, what is left alone is what did not change since the run began.

    Parameters
    ----------
    watcher
        One that leaves alone what was there at its start.
    listing
        File of the note.

    Returns
    -------
    bool
        Whether the run is taken up.

    Raises
    ------
    OSError, ValueError
        If the listing cannot be read or written.
    """
    if not listing.exists():
        listing.parent.mkdir(parents=True, exist_ok=True)
        where = {"folder": str(watcher.folder), "pattern": watcher.pattern}
        note = where | {"began": watcher.began, "names": sorted(watcher.left_alone)}
        put_whole(listing, json.dumps(note).encode())
        return False
    try:
        note = json.loads(listing.read_bytes())
        if (note["folder"], note["pattern"]) == (str(watcher.folder), watcher.pattern):
            watcher.leave_alone_only(note["names"])
        else:
            watcher.leave_alone_until(note["began"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no such list: {error!r}") from None
    return True
