"""Where the time goes: per node, against the deadline, and up to the subject's display.

``assets/timing.js`` draws it from what comes live.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return html.Div(
        [
            html.Div(id="timing-empty", className="empty", role="status"),
            html.Div(
                [
                    dmc.Switch(id="timing-scale", label="Scale to deadline and TR", checked=False, size="sm"),
                    html.Div(id="timing-charts", className="charts"),
                    html.Section(
                        [
                            html.H2("Ledger"),
                            html.Div(id="timing-ledger", className="numbers"),
                            html.Table(
                                [
                                    html.Thead(
                                        html.Tr(
                                            [
                                                html.Th(name, scope="col")
                                                for name in (
                                                    "Volume",
                                                    "How it ended",
                                                    "Latency",
                                                    "Slowest node",
                                                )
                                            ]
                                        )
                                    ),
                                    html.Tbody(id="timing-late"),
                                ],
                                id="timing-table",
                                className="plain",
                            ),
                        ],
                        className="card",
                    ),
                ],
                id="timing-all",
                hidden=True,
            ),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """The scale of the first chart; all else comes live."""
    del engine
    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(whole) => { rtflow.timing.scale(whole); return dash_clientside.no_update; }",
        Output("timing-scale", "error"),
        Input("timing-scale", "checked"),
        prevent_initial_call=True,
    )
