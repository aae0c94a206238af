"""The desktop of the analysis host, for tools that have a window; ``assets/desktop.js`` connects to it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import Dash

from rtflow.access.store import Identity, may
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine


def layout(who: Identity) -> Any:
    """What it looks like, for somebody."""
    if not may(who, "act"):
        return html.Div("The desktop is for operators only.", className="empty", role="status")
    return html.Div(
        [
            html.Div(
                [
                    dmc.Button("Connect", id="desktop-connect"),
                    dmc.Button("Disconnect", id="desktop-leave", variant="default", disabled=True),
                    html.Span(
                        "Windows of the run's nodes open here, "
                        "and of what you start on the analysis host with",
                        className="label",
                    ),
                    html.Code(_environment(), id="desktop-where"),
                    html.Span(
                        "All operators share it. Keys go there while it has the focus.", className="label"
                    ),
                ],
                className="bar-of-tab",
            ),
            html.P("Not connected.", id="desktop-says", role="status"),
            html.Div(
                id="desktop-screen", **{"aria-label": "Desktop of the analysis host", "role": "application"}
            ),
        ]
    )


def _environment() -> str:
    """What a program needs to open its windows there; this process was started in it."""
    authority = Path(os.environ.get("XAUTHORITY", ""))
    if not (authority.parent / "vnc").is_socket():  # it is not the one of rtflow.cli.desktop
        return "its DISPLAY"
    return f"DISPLAY={os.environ['DISPLAY']} XAUTHORITY={shlex.quote(str(authority))}"


def register(app: Dash, engine: Engine) -> None:
    """It has no callbacks: the browser speaks to the display."""
