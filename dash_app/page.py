"""What stands on the page: a header that is always there, and a tab for each thing to look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import Dash

from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.notices import notify
from rtflow.dash_app.tabs import brain, files, header, live, logs, runs, session, settings, timing
from rtflow.dash_app.tabs import desktop as desktop_tab
from rtflow.dash_app.visitor import visitor
from rtflow.dash_app.web import csrf_cookie
from rtflow.errors import RtflowError, in_words

if TYPE_CHECKING:
    from flask import Flask

_LOG = logging.getLogger("rtflow.dashboard")

_FOLDER = Path(__file__).parent

Tab = tuple[str, str, Any]

TABS: tuple[Tab, ...] = (
    ("live", "Live", live),
    ("brain", "Brain", brain),
    ("timing", "Timing", timing),
    ("session", "Session", session),
    ("settings", "Settings", settings),
    ("runs", "Runs", runs),
    ("logs", "Logs", logs),
    ("files", "Files", files),
)
"""Name, title and module of each tab, in their order."""

DESKTOP: Tab = ("desktop", "Desktop", desktop_tab)


def make_page(engine: Engine, port: int, *, desktop: bool = False) -> tuple[Flask, Sequence[str]]:
    """The page, as a WSGI application, and hashes of the scripts within it.

    Parameters
    ----------
    engine
        What its callbacks ask.
    port
        That of the dashboard.
    desktop
        Whether there is a desktop to be shown.
    """
    tabs = (*TABS, DESKTOP) if desktop else TABS
    app = Dash(
        "rtflow",
        assets_folder=str(_FOLDER / "assets"),
        assets_ignore=r"niivue\.",  # loaded when it is asked for
        external_scripts=["/plotly.js"],
        title="rtflow",
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,
        on_error=_tell,
        csrf_token_name=csrf_cookie(port),
        csrf_header_name="X-CSRF-Token",
        enable_mcp=False,
    )
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    app.layout = partial(_layout, tabs)
    _serve_plotly(app.server)
    header.register(app, engine)
    for _, _, tab in tabs:
        tab.register(app, engine)
    return app.server, app.csp_hashes()


def _layout(tabs: tuple[Tab, ...]) -> Any:
    who = visitor()
    return dmc.MantineProvider(
        id="theme",
        children=[
            dmc.NotificationContainer(id="notices", position="bottom-right"),
            html.A("Skip to the content", href="#tabs", className="skip"),
            header.layout(who),
            html.Main(
                dmc.Tabs(
                    id="tabs",
                    value=tabs[0][0],
                    keepMounted=True,
                    children=[
                        html.Div(
                            [
                                dmc.TabsList([dmc.TabsTab(title, value=name) for name, title, _ in tabs]),
                                header.account(who),
                            ],
                            className="tabrow",
                        ),
                        *(
                            dmc.TabsPanel(tab.layout(who), value=name, className="panel")
                            for name, _, tab in tabs
                        ),
                    ],
                )
            ),
        ],
    )


def _tell(error: Exception) -> None:
    """Whatever goes wrong in a callback is said on the page, in words."""
    if isinstance(error, RtflowError):
        notify(str(error), "red")
    else:
        _LOG.error("rtflow: a callback of the page failed", exc_info=error)
        notify(f"unexpected {in_words(error)}", "red")


def _serve_plotly(server: Flask) -> None:
    import plotly
    from flask import Response, send_file

    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

    @server.get("/plotly.js")
    def plotly_js() -> Response:
        return send_file(path, mimetype="text/javascript", max_age=3600)
