"""What the decoder says now, and how the head moves: charts that ``assets/live.js`` draws."""

from __future__ import annotations

from typing import Any

from dash import Dash

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return html.Div(
        [
            html.Div(id="live-empty", className="empty", role="status"),
            html.Div(id="live-charts", className="charts"),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """It has no callbacks: all comes live."""
