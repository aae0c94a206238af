"""BIDS Apps as nodes.

``from rtflow.bids_apps import BidsApp`` imports what a node needs; the commands do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtflow.bids_apps.app import BidsApp

__all__ = ["BidsApp"]


def __getattr__(name: str) -> Any:
    if name != "BidsApp":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rtflow.bids_apps.app import BidsApp

    return BidsApp
