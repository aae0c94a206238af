"""The steps of the run, from set-up to its end; what earlier runs left; and what went wrong, in full.

``assets/session.js`` draws it from what comes live.
"""

from __future__ import annotations

from typing import Any

from dash import Dash

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine

_STEPS = (
    ("set-up", "Before the run", "No node runs before the first volume."),
    ("volume", "For each volume", "The graph has no node."),
    ("end", "At the end", "No node runs after the last volume."),
)
"""When nodes run, in RunStart's words; the heading, and what is said where there are none."""


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return html.Div(
        [
            html.Div(id="session-empty", className="empty", role="status"),
            html.Div(
                [
                    *(
                        html.Section(
                            [
                                html.H2(heading),
                                html.Div(id=f"session-{when}-says", className="label", role="status"),
                                html.Progress(
                                    id="session-progress", max="1", **{"aria-label": "Volumes of the run"}
                                )
                                if when == "volume"
                                else None,
                                html.Table(
                                    [
                                        html.Thead(html.Tr(_heads(when))),
                                        html.Tbody(id=f"session-{when}"),
                                    ],
                                    className="plain",
                                    **{"data-none": none},
                                ),
                            ],
                            className="card",
                            hidden=True,
                            **{"data-of-run": when},
                        )
                        for when, heading, none in _STEPS
                    ),
                    html.Section(
                        [
                            html.H2("What the session holds"),
                            html.Div(id="session-items-says", className="label", role="status"),
                            html.Table(
                                [
                                    html.Thead(html.Tr(_cells("Item", "Saved by run", "At", "Grid", "Size"))),
                                    html.Tbody(id="session-items"),
                                ],
                                className="plain",
                                hidden=True,
                            ),
                        ],
                        className="card",
                        id="session-held",
                    ),
                    html.Section(
                        [
                            html.H2("Where masks have come to lie"),
                            html.Div(id="session-masks"),
                        ],
                        className="card",
                        hidden=True,
                    ),
                    html.Section(
                        [
                            html.H2("What went wrong"),
                            html.Div(id="session-errors"),
                            html.P(id="session-more", className="label", hidden=True),
                        ],
                        className="card",
                        id="session-wrong",
                        hidden=True,
                    ),
                ],
                id="session-all",
            ),
        ]
    )


def register(app: Dash, engine: Engine) -> None:
    """Nothing is asked: all of it comes live."""
    del app, engine


def _heads(when: str) -> list[Any]:
    further = ("Done", "Failed", "Last") if when == "volume" else ("State", "Took")
    return _cells("Node", "Interface", *further)


def _cells(*names: str) -> list[Any]:
    return [html.Th(name, scope="col") for name in names]
