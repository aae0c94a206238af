"""What the decoder says now, and how the head moves: charts that ``assets/live.js`` draws."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.visitor import require


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return html.Div(
        [
            html.Div(
                [
                    dmc.MultiSelect(
                        id="live-values",
                        label="Further values",
                        placeholder="any number that a node gives",
                        data=[],
                        searchable=True,
                        clearable=True,
                        nothingFoundMessage="no such value in this run",
                    ),
                    dmc.MultiSelect(
                        id="live-runs",
                        label="Compare with earlier runs",
                        placeholder="up to three",
                        data=[],
                        maxValues=3,
                        searchable=True,
                        clearable=True,
                        nothingFoundMessage="no earlier run",
                    ),
                ],
                className="picks",
            ),
            dcc.Store(id="live-run"),  # uid of the present run, and whether it is over: from the page
            html.Div(id="live-alarms", className="alarms", role="status", hidden=True),
            html.Div(id="live-empty", className="empty", role="status"),
            html.Div(id="live-charts", className="charts"),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """Which runs there are to compare with; all else comes live."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(names, uids) => { rtflow.live.choose(names, uids); return dash_clientside.no_update; }",
        Output("live-values", "error"),
        Input("live-values", "value"),
        Input("live-runs", "value"),
        prevent_initial_call=True,
    )

    @app.callback(Output("live-runs", "data"), Input("live-run", "data"))
    def offer(now: list[Any] | None) -> list[dict[str, str]]:
        require("watch")
        present = now[0] if now else ""
        return [
            {"value": run["run_uid"], "label": f"{run['run_uid']} · {run['workflow']} · {run['status']}"}
            for run in engine.call(engine.ask("/api/runs"))
            if run["run_uid"] != present
        ]
