"""The runs of the output folder: to be found, looked at, compared and taken away."""

from __future__ import annotations

import time
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, no_update

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.visitor import require
from rtflow.server.runs import run_name

_COLUMNS = (
    {"field": "began", "headerName": "Began", "sort": "desc", "width": 175},
    {"field": "bids", "headerName": "Participant", "width": 150, "tooltipField": "bids"},
    {"field": "workflow", "headerName": "Workflow", "width": 120, "tooltipField": "workflow"},
    {"field": "status", "headerName": "Status", "width": 115},
    {"field": "volumes", "headerName": "Volumes", "filter": "agNumberColumnFilter", "width": 125},
    {"field": "lost", "headerName": "Lost or late", "width": 140, "tooltipField": "lost"},
    {"field": "reason", "headerName": "Why it ended", "flex": 1, "minWidth": 120, "tooltipField": "reason"},
    {"field": "source", "headerName": "Source", "flex": 1, "minWidth": 95, "tooltipField": "source"},
    {"field": "run_uid", "headerName": "Run", "width": 235},
)


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return html.Div(
        [
            html.Div(
                [
                    dmc.TextInput(
                        id="runs-filter",
                        label="Find",
                        placeholder="participant, workflow, date, ...",
                        debounce=200,
                    ),
                    dmc.Button("Look again", id="runs-again", variant="default"),
                ],
                className="bar-of-tab",
            ),
            html.Div(id="runs-empty", className="empty", role="status", hidden=True),
            dag.AgGrid(
                id="runs-grid",
                style={"height": None, "display": "none"},
                columnDefs=list(_COLUMNS),
                rowData=[],
                defaultColDef={"filter": True, "resizable": True, "sortable": True},
                dashGridOptions={
                    "rowSelection": {"mode": "multiRow"},
                    "pagination": True,
                    "paginationPageSize": 20,
                    "domLayout": "autoHeight",
                    "getRowId": {"function": "params.data.run_uid"},
                    "animateRows": False,
                    "localeText": {"noRowsToShow": "No run has that; find something else."},
                },
                getRowId="params.data.run_uid",
            ),
            html.Section(id="runs-chosen", className="card", hidden=True),
            dcc.Store(id="runs-present"),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """Its list, and what is shown of the runs that are chosen."""

    @app.callback(
        Output("runs-grid", "rowData"),
        Output("runs-empty", "children"),
        Output("runs-empty", "hidden"),
        Output("runs-grid", "style"),
        Input("runs-again", "n_clicks"),
        Input("live-run", "data"),
    )
    def show(clicks: int | None, now: list[Any] | None) -> tuple[Any, str, bool, dict[str, str | None]]:
        del clicks, now
        require("watch")
        rows = [row_of(run) for run in engine.call(engine.ask("/api/runs"))]
        empty = "No run yet. Press Run; each run stands here from its first moment on."
        return rows, empty, bool(rows), {"height": None, "display": "block" if rows else "none"}

    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(text, options) => ({...options, quickFilterText: text || ''})",
        Output("runs-grid", "dashGridOptions"),
        Input("runs-filter", "value"),
        State("runs-grid", "dashGridOptions"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("runs-chosen", "children"),
        Output("runs-chosen", "hidden"),
        Input("runs-grid", "selectedRows"),
        prevent_initial_call=True,
    )
    def choose(rows: list[dict[str, Any]] | None) -> tuple[Any, Any]:
        require("watch")
        if rows is None:
            return no_update, no_update
        uids = [row["run_uid"] for row in rows]
        compared = html.Div(id="runs-compared", **{"data-uids": " ".join(uids)})
        return [*map(_links, uids), compared], not uids


def row_of(run: dict[str, Any]) -> dict[str, Any]:
    """A run as a row of the list."""
    counts, bids = run.get("counts") or {}, run.get("bids") or {}
    lost = {name: counts.get(name, 0) for name in ("missing", "failed", "late")}
    return {
        "run_uid": run["run_uid"],
        "began": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["began"])),
        "bids": run_name(bids, "subject", "session", "run"),
        "workflow": run["workflow"],
        "status": run["status"],
        "volumes": sum(counts.values()) if counts else None,
        "lost": ", ".join(f"{number} {name}" for name, number in lost.items() if number) or "none"
        if counts
        else "",
        "reason": run.get("reason", ""),
        "source": run.get("source", ""),
    }


def _links(uid: str) -> Any:
    at = f"/runs/{uid}"
    return html.Div(
        [
            html.Strong(uid),
            " ",
            html.A("report", href=f"{at}/report.html", target="_blank", rel="noopener"),
            " · ",
            html.A("values (TSV)", href=f"{at}/results.tsv", download=f"{uid}.tsv"),
            " · ",
            html.A("everything (ZIP)", href=f"{at}/archive.zip", download=f"{uid}.zip"),
            " · ",
            html.A("files", href="#", className="runs-files", **{"data-uid": uid}),
            html.Ul(id=f"files-{uid}", className="files"),
        ],
        className="run-links",
    )
