"""Files of the scanner's host, as far as its agent allows: looked at, taken from there, put there.

``assets/files.js`` sends and fetches; the bytes go through routes of their own (`rtflow.dash_app.passing`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import quote

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc

from rtflow.access.store import Identity, may
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine, EngineError
from rtflow.dash_app.visitor import require

_COLUMNS = (
    {"field": "name", "headerName": "Name", "flex": 1, "minWidth": 260, "cellRenderer": "RemoteName"},
    {
        "field": "size",
        "headerName": "Size",
        "width": 130,
        "type": "rightAligned",
        "valueFormatter": {"function": "sizeInWords(params.value)"},
    },
    {
        "field": "changed",
        "headerName": "Changed",
        "width": 210,
        "valueFormatter": {"function": "timeInWords(params.value)"},
    },
)

_NOBODY = (
    "No agent of a scanner's host is connected. Start it there: "
    "rtflow scanner --server ADDRESS --watch DIR --token-file FILE --allow DIR"
)
_CLOSED = (
    "The agent {name} shows no files. Start it again with --allow DIR for folders that may be looked into, "
    "and --write if files may be put there."
)


def layout(who: Identity) -> Any:
    """What it looks like."""
    if not may(who, "act"):
        return html.Div("Files of the scanner's host are for operators.", className="empty")
    return html.Div(
        [
            dcc.Store(id="files-go"),  # a folder to look into: from the page
            html.Div(
                [
                    dmc.Select(id="files-scanner", label="Scanner's host", data=[], allowDeselect=False),
                    dmc.TextInput(
                        id="files-folder",
                        label="Folder",
                        placeholder="what is allowed",
                        className="wide",
                        spellCheck=False,
                    ),
                    dmc.Button("Up", id="files-up", variant="default", disabled=True),
                    dmc.Button("Look again", id="files-again", variant="default"),
                ],
                className="bar-of-tab",
            ),
            html.Div(id="files-trouble", className="wrong", role="alert", hidden=True),
            html.Div(id="files-empty", className="empty", role="status", hidden=True),
            html.Div(
                [
                    html.Div(
                        [
                            html.Label("Put files into this folder", htmlFor="files-pick"),
                            html.Div(id="files-pick-place"),  # a file input: from the page, Dash has none
                        ],
                        id="files-put",
                        className="put",
                        hidden=True,
                    ),
                    html.Div(id="files-sent", role="status"),
                    dag.AgGrid(
                        id="files-grid",
                        columnDefs=list(_COLUMNS),
                        rowData=[],
                        defaultColDef={"resizable": True, "sortable": True},
                        dashGridOptions={"animateRows": False},
                        getRowId="params.data.path",
                        style={"height": "calc(100vh - 20rem)", "minHeight": "16rem"},
                    ),
                ],
                id="files-there",
                hidden=True,
            ),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """What is looked into."""

    @app.callback(
        Output("files-scanner", "data"),
        Output("files-scanner", "value"),
        Output("files-folder", "value"),
        Output("files-up", "disabled"),
        Output("files-grid", "rowData"),
        Output("files-there", "hidden"),
        Output("files-empty", "children"),
        Output("files-empty", "hidden"),
        Output("files-trouble", "children"),
        Output("files-trouble", "hidden"),
        Output("files-put", "hidden"),
        Output("files-put", "data-folder"),
        Input("files-go", "data"),
        Input("files-scanner", "value"),
        Input("files-folder", "n_submit"),
        Input("files-up", "n_clicks"),
        Input("files-again", "n_clicks"),
        State("files-folder", "value"),
        prevent_initial_call=True,
    )
    def look(
        go: dict[str, str] | None,
        name: str | None,
        submits: int | None,
        ups: int | None,
        again: int | None,
        folder: str | None,
    ) -> Any:
        del submits, ups, again
        who = require("act")
        folder = folder or ""
        match ctx.triggered_id:
            case "files-go" if go:
                folder = go.get("folder", folder)
            case "files-scanner":
                folder = ""
        scanners = [one for one in engine.call(engine.ask("/api/scanners")) if one["connected"]]
        names = [one["name"] for one in scanners]
        chosen = next((one for one in scanners if one["name"] == name), scanners[0] if scanners else None)
        if chosen is None or not chosen["files"]:
            says = _CLOSED.format(name=chosen["name"]) if chosen else _NOBODY
            named = chosen["name"] if chosen else None
            return names, named, "", True, [], True, says, False, "", True, True, ""
        trouble, rows = "", []
        path = f"/api/scanners/{quote(chosen['name'], safe='')}"
        allowed = _allowed(engine, path, who)
        if ctx.triggered_id == "files-up":
            folder = above(folder, allowed)
        choose = not folder and len(allowed) > 1  # among the folders that are allowed
        try:
            if choose:
                found = [{"path": one, "size": 0, "changed": None, "folder": True} for one in allowed]
            else:
                found = engine.call(engine.ask(f"{path}/files", who=who, folder=folder))
            rows = [row_of(one, chosen["name"], folder) for one in found]
            rows.sort(key=lambda row: not row["folder"])
        except EngineError as error:
            trouble = str(error)
        says = "" if rows or trouble else "This folder is empty, or has no file of a type that is allowed."
        return (
            names,
            chosen["name"],
            folder,
            not folder,
            rows,
            bool(trouble),
            says,
            not says,
            trouble,
            not trouble,
            choose or not chosen["write"],
            folder,
        )


def _allowed(engine: Engine, path: str, who: str) -> list[str]:
    """The folders that an agent allows; none if it is too old to say."""
    try:
        found: list[str] = engine.call(engine.ask(f"{path}/folders", who=who))
    except EngineError:
        return []
    return found


def above(folder: str, allowed: Collection[str] = ()) -> str:
    """The folder that a folder lies in; empty above those that are allowed.

    >>> above("run 1/echo 2"), above("run 1"), above("/data/incoming"), above("/data")
    ('run 1', '', '/data', '/')
    >>> above("/data/incoming/run 1", ["/data/incoming"]), above("/data/incoming/", ["/data/incoming"])
    ('/data/incoming', '')
    """
    folder = folder.rstrip("/")
    if folder in allowed:
        return ""
    found = folder.rpartition("/")[0]
    return "/" if folder.startswith("/") and not found else found


def row_of(one: dict[str, Any], scanner: str, folder: str) -> dict[str, Any]:
    """A file or a folder as a row of the table."""
    path = f"{folder.rstrip('/')}/{one['path']}" if folder else one["path"]
    return {
        "name": one["path"],
        "path": path,
        "folder": bool(one.get("folder")),
        "size": None if one.get("folder") else one["size"],
        "changed": one["changed"],
        "href": f"/scanner/{quote(scanner, safe='')}/file?path={quote(path, safe='')}",
    }
