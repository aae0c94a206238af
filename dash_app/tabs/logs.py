"""Logs: what happened in the run, what the engine says of itself; and the operator's notes.

``assets/logs.js`` fills the table: with what comes live, and with what it fetches.
"""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, no_update

from rtflow.access.store import Identity, may
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.visitor import require

LOGS = (("user", "Run"), ("session", "Session"), ("debug", "Debug"))
_LEVELS = ("info", "warning", "error", "debug")
_COLUMNS = (
    {"field": "time", "headerName": "Time", "width": 130},
    {"field": "volume", "headerName": "Volume", "width": 95, "cellDataType": False},  # may be empty
    {
        "field": "level",
        "headerName": "Level",
        "width": 100,
        "cellClass": {"function": "'level ' + params.value"},
    },
    {"field": "name", "headerName": "Name", "width": 190, "tooltipField": "name"},
    {
        "field": "says",
        "headerName": "What",
        "flex": 1,
        "minWidth": 300,
        "wrapText": True,
        "autoHeight": True,
        "cellClass": "says",
    },
)


def layout(who: Identity) -> Any:
    """What it looks like."""
    return html.Div(
        [
            dcc.Store(id="note-taken"),  # what was entered: from the page
            dcc.Store(id="note-kept"),  # what stands in the journal
            html.Div(
                [
                    dmc.TextInput(
                        id="note",
                        label="Note",
                        description="Enter puts it into the journal, with time and volume (n leads here)",
                        placeholder="the participant coughed",
                        attributes={"input": {"maxLength": 2000}},
                        className="wide",
                    )
                    if may(who, "act")
                    else html.P("You look on: an operator takes notes.", className="label"),
                ],
                className="note",
            ),
            html.Div(
                [
                    dmc.SegmentedControl(
                        id="logs-which",
                        value="user",
                        data=[{"value": name, "label": title} for name, title in LOGS],
                        **{"aria-label": "Which log"},
                    ),
                    dmc.MultiSelect(
                        id="logs-levels",
                        label="Level",
                        placeholder="any",
                        data=list(_LEVELS),
                        clearable=True,
                        w="16rem",
                    ),
                    dmc.TextInput(id="logs-find", label="Find", placeholder="name or text", debounce=200),
                    dmc.Switch(id="logs-follow", label="Follow the end", checked=True),
                    html.Span("", id="logs-says", className="label", role="status"),
                ],
                className="bar-of-tab",
            ),
            html.Div(id="logs-empty", className="empty", role="status"),
            html.Div(
                id="logs-rows",
                hidden=True,
                children=dag.AgGrid(
                    id="logs-grid",
                    columnDefs=list(_COLUMNS),
                    rowData=[],
                    defaultColDef={"resizable": True, "sortable": False},
                    dashGridOptions={"animateRows": False, "enableCellTextSelection": True},
                    getRowId="params.data.id",
                    style={"height": "calc(100vh - 20rem)", "minHeight": "16rem"},
                ),
            ),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """Notes; all else is done on the page."""

    @app.callback(Output("note-kept", "data"), Input("note-taken", "data"), prevent_initial_call=True)
    def take_note(text: str | None) -> Any:
        who = require("act")
        if not (text or "").strip():
            return no_update
        engine.call(engine.order("POST", "/api/notes", {"text": (text or "").strip()}, who=who))
        return text

    app.clientside_callback(  # type: ignore[no-untyped-call]
        # Whoever writes the next one already goes on with it.
        "(kept, there) => kept === there ? '' : dash_clientside.no_update",
        Output("note", "value"),
        Input("note-kept", "data"),
        State("note", "value"),
        prevent_initial_call=True,
    )

    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(...chosen) => { rtflow.logs.choose(...chosen); return dash_clientside.no_update; }",
        Output("logs-find", "error"),
        Input("logs-which", "value"),
        Input("logs-levels", "value"),
        Input("logs-find", "value"),
        Input("logs-follow", "checked"),
        prevent_initial_call=True,
    )
