"""Which files of a watched folder are of no run that goes on: the same ones when it is taken up."""

from __future__ import annotations

import json
from pathlib import Path

from rtflow.sources.watching import Watcher
from rtflow.whole_file import put_whole


def keep_left_alone(watcher: Watcher, listing: Path) -> bool:
    """Note what a watcher leaves alone; or, of a run that is taken up, let it leave alone what was noted.

    Returns
    -------
    bool
        Whether the run is taken up.

    Raises
    ------
    OSError, ValueError
        If the listing cannot be read or written.
    """
    if listing.exists():
        watcher.leave_alone_only(json.loads(listing.read_bytes()))
        return True
    listing.parent.mkdir(parents=True, exist_ok=True)
    put_whole(listing, json.dumps(sorted(watcher.left_alone)).encode())
    return False
