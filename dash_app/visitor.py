"""Who asks, within a callback; and what they may do."""

from __future__ import annotations

from flask import has_request_context, request

from rtflow.access.store import Action, Identity, may
from rtflow.dash_app.bridge import VISITOR
from rtflow.errors import AccessError


def visitor() -> Identity:
    """Who is logged in on the page that asks.

    Raises
    ------
    AccessError
        If nobody does.
    """
    found = request.environ.get(VISITOR) if has_request_context() else None
    if not isinstance(found, Identity):
        raise AccessError("log in again", "session")
    return found


def require(action: Action) -> str:
    """Name of who asks, if they may do that; every callback that changes something calls this first.

    Raises
    ------
    AccessError
        If they may not.
    """
    who = visitor()
    if not may(who, action):
        raise AccessError(f"a {who.role} may look on, and not do that; ask an operator", "role")
    return who.name
