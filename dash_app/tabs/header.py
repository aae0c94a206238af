"""The header, on every tab: whether all is well, at a glance; and Run and Stop.

Its texts are filled in by ``assets/header.js`` from what comes live.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, no_update, set_props

from rtflow.access.store import Identity, may
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine, EngineError
from rtflow.dash_app.fieldsets import draw_differences
from rtflow.dash_app.notices import notify
from rtflow.dash_app.tabs.settings import SETTING, SWITCH, entered, take
from rtflow.dash_app.values import differences
from rtflow.dash_app.visitor import require

LIGHTS = (
    ("scanner", "Scanner"),
    ("subject", "Subject"),
    ("disk", "Disk"),
    ("values", "Values"),
    ("deadline", "Deadline"),
)


def layout(who: Identity) -> Any:
    """What it looks like, for somebody."""
    acts = may(who, "act")
    return html.Header(
        [
            html.Div(
                [
                    html.Div(
                        [
                            html.H1("rtflow", className="brand"),
                            html.Span("–", id="h-workflow", className="value"),
                        ],
                        className="fact title",
                    ),
                    html.Div(
                        [
                            html.Span(
                                [html.Span("Run", id="h-bids"), html.Span(id="h-ended")],
                                id="h-run-label",
                                className="label",
                            ),
                            html.Span("–", id="h-run", className="value"),
                        ],
                        className="fact",
                    ),
                    html.Span("…", id="h-state", className="state", role="status"),
                    html.Div(
                        [
                            html.Div(
                                [html.Span("Volume", className="label"), html.Span("–", id="h-volume")],
                                className="fact",
                            ),
                            html.Progress(id="h-progress", max="1", **{"aria-label": "Volumes of the run"}),
                        ],
                        className="volumes",
                    ),
                    _fact("left", "Time left"),
                    _fact("age", "Last feedback"),
                    html.Div([_light(*light) for light in LIGHTS], className="lights"),
                    html.Div(
                        [
                            dmc.Button("Run", id="run", color="#237a35", size="xs", disabled=True),
                            dmc.Button("Stop", id="stop", color="red.9", size="xs", disabled=True),
                        ]
                        if acts
                        else html.Span("you look on", className="label"),
                        className="orders",
                    ),
                ],
                className="bar",
            ),
            html.Div(id="h-alert", role="alert", className="alert", hidden=True),
            dmc.Modal(
                id="run-asks",
                title="Run without what is not applied?",
                closeButtonProps={"aria-label": "Close, and do not run"},
                centered=True,
                children=[
                    html.P("Settings were entered that are not applied:"),
                    html.Div(id="run-without"),
                    dmc.Group(
                        [
                            dmc.Button("Apply them and run", id="run-with", color="#237a35"),
                            dmc.Button("Run without them", id="run-anyway", variant="default"),
                            dmc.Button("Back", id="run-not", variant="default"),
                        ],
                        mt="md",
                    ),
                ],
            ),
            dmc.Modal(
                id="stop-asks",
                title="End the run?",
                closeButtonProps={"aria-label": "Close, and let the run go on"},
                centered=True,
                children=[
                    html.P(
                        "The volume at hand is finished, and what was recorded is kept. "
                        "The run does not go on after that."
                    ),
                    dmc.Group(
                        [
                            dmc.Button("End the run", id="stop-really", color="red.9"),
                            dmc.Button("Let it go on", id="stop-not", variant="default"),
                        ]
                    ),
                ],
            ),
        ],
        className="header",
        **{"data-acts": "yes" if acts else "no"},
    )


def account(who: Identity) -> Any:
    """Who is logged in, how the page looks, and the way out."""
    return html.Div(
        [
            html.Span(f"{who.name}, {who.role}", className="label"),
            html.Button("◐ dark or light", id="scheme"),
            html.Button("Log out", id="logout"),
        ],
        className="account",
    )


def register(app: Dash, engine: Engine) -> None:
    """What its buttons do."""

    @app.callback(
        Output("run-asks", "opened"),
        Output("run-without", "children"),
        Output("settings-taken", "data", allow_duplicate=True),
        Input("run", "n_clicks"),
        Input("run-with", "n_clicks"),
        Input("run-anyway", "n_clicks"),
        Input("run-not", "n_clicks"),
        State(SETTING, "value"),
        State(SWITCH, "checked"),
        State("settings-seen", "data"),
        State("settings-drawn", "data"),
        prevent_initial_call=True,
    )
    def start(*given: Any) -> Any:
        """Run; where something is entered and not applied, it is asked first what is to be done with it."""
        who = require("act")
        asked = ctx.triggered_id
        if asked == "run-not":
            return False, no_update, no_update
        seen, drawn = given[-2:]
        pending = []
        if seen is not None:
            draft = entered(drawn["draft"], *ctx.states_list[:2])
            pending = differences(seen["values"], draft)
        if asked == "run" and pending:
            return True, draw_differences(pending, ""), no_update
        taken: Any = no_update
        try:
            if asked == "run-with" and pending:
                taken = take(engine, seen, draft, who)
            engine.call(engine.order("POST", "/api/start", who=who))
        except EngineError as error:
            notify(str(error), "red")
            if asked == "run-with" and pending and taken is no_update:
                # What is entered is wrong, or others were faster: the form tells more.
                set_props("tabs", {"value": "settings"})
        return False, no_update, taken

    @app.callback(
        Output("stop-asks", "opened"),
        Input("stop", "n_clicks"),
        Input("stop-not", "n_clicks"),
        Input("stop-really", "n_clicks"),
        prevent_initial_call=True,
    )
    def stop(*clicks: int) -> bool:
        if ctx.triggered_id == "stop-really":
            who = require("act")
            engine.call(engine.order("POST", "/api/stop", who=who))
        return bool(ctx.triggered_id == "stop")


def _fact(name: str, label: str) -> Any:
    return html.Div(
        [
            html.Span(label, id=f"h-{name}-label", className="label"),
            html.Span("–", id=f"h-{name}", className="value"),
        ],
        className="fact",
    )


def _light(name: str, label: str) -> Any:
    return html.Button(
        [
            html.Span(className="lamp", **{"aria-hidden": "true"}),
            html.Span(label),
            html.Span("not known yet", id=f"h-{name}-says", className="tip", role="tooltip"),
        ],
        id=f"h-{name}",
        className="light",
        type="button",
        **{"data-level": "unknown", "aria-describedby": f"h-{name}-says"},
    )
