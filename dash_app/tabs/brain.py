"""The brain, volume by volume: three planes that ``assets/brain.js`` draws, and whole images on demand."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, no_update

from rtflow.access.store import Identity
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine
from rtflow.dash_app.visitor import require

_PLANES = ("Axial", "Coronal", "Sagittal")
_FACTS = (
    ("brain-volume", "Volume", None),
    ("brain-state", "State", None),
    ("brain-voxel", "Voxel i, j, k, from 0", None),
    ("brain-mm", "x, y, z, mm (RAS)", None),
    ("brain-base-value", "Value", "brain-base-value-of"),
    ("brain-over-value", "Nothing laid over", "brain-over-value-of"),
)


def layout(who: Identity) -> Any:
    """What it looks like."""
    del who
    return dmc.Tabs(
        id="brain-tabs",
        value="planes",
        keepMounted=True,
        variant="outline",
        children=[
            dmc.TabsList([dmc.TabsTab("Planes", value="planes"), dmc.TabsTab("Whole image", value="whole")]),
            dmc.TabsPanel(_planes(), value="planes", className="panel"),
            dmc.TabsPanel(_whole(), value="whole", className="panel"),
        ],
    )


def _planes() -> Any:
    return html.Div(
        [
            html.Div(
                [
                    dmc.Select(id="brain-base", label="Image", data=[], allowDeselect=False),
                    dmc.Select(id="brain-over", label="Laid over it", data=[], allowDeselect=False),
                    html.Div(
                        [
                            dmc.Switch(id="brain-hold", label="Hold this volume", checked=False, size="sm"),
                            dmc.Switch(
                                id="brain-radiological",
                                label="Radiological (left on the right)",
                                checked=False,
                                size="sm",
                                persistence=True,
                            ),
                            dmc.Switch(id="brain-outline", label="Mask as outline", checked=True, size="sm"),
                        ],
                        className="brain-switches",
                    ),
                ],
                className="brain-picks",
            ),
            html.Div(id="brain-empty", className="empty", role="status"),
            html.Div(
                [
                    *(_plane(number, name) for number, name in enumerate(_PLANES)),
                    html.Div(
                        [
                            html.Div([_fact(*fact) for fact in _FACTS], className="brain-facts"),
                            html.Div(
                                [_bar("grey", "Image", 2), _bar("map", "Map", 4)], className="brain-bars"
                            ),
                            html.Label(
                                [
                                    html.Span(["Threshold ", html.Span(id="brain-threshold-says")]),
                                    html.Div(id="brain-threshold-here"),
                                ],
                                id="brain-threshold-row",
                                hidden=True,
                            ),
                            html.P(id="brain-tilt"),
                            html.P(id="brain-note", role="status"),
                        ],
                        className="brain-says",
                    ),
                ],
                id="brain-pictures",
                className="card",
                hidden=True,
            ),
        ],
        id="brain-planes",
    )


def _plane(number: int, name: str) -> Any:
    says = f"{name} plane: arrow keys and a click move the crosshair, page up and page down the plane"
    return html.Figure(
        [
            html.Figcaption(name, id=f"brain-caption-{number}"),
            html.Canvas(
                id=f"brain-plane-{number}",
                className="plane",
                tabIndex=0,
                role="application",
                **{"aria-label": says},
            ),
        ]
    )


def _fact(name: str, label: str, label_id: str | None) -> Any:
    named = {"id": label_id} if label_id else {}
    return html.Div(
        [html.Span(label, className="label", **named), html.Span("–", id=name, className="value")],
        className="fact",
    )


def _bar(name: str, label: str, ends: int) -> Any:
    return html.Div(
        [
            html.Span(label, className="label"),
            html.Canvas(
                width=260, height=14, role="img", **{"aria-label": f"Colours of the {label.lower()}"}
            ),
            html.Div([html.Span(className="end") for _ in range(ends)], className="ends"),
        ],
        id=f"brain-bar-{name}",
        className="brain-bar",
        hidden=True,
    )


def _whole() -> Any:
    return html.Div(
        [
            html.Div(
                [
                    dmc.Select(id="volume-base", label="Image", data=[], placeholder="no image yet"),
                    dmc.Select(
                        id="volume-over", label="Laid over it", data=[], clearable=True, placeholder="nothing"
                    ),
                    html.Div(
                        dmc.Button("Load its latest volume", id="volume-load", variant="default"),
                        className="brain-switches",
                    ),
                ],
                className="brain-picks",
            ),
            html.Div(id="volume-says", className="empty", role="status"),
            html.Div(
                html.Canvas(
                    id="volume-canvas",
                    tabIndex=0,
                    role="application",
                    **{"aria-label": "The whole image, in planes and rendered; a click moves the crosshair"},
                ),
                id="volume-here",
                hidden=True,
            ),
            html.P(
                "L and R stand at the planes, and on the cube beside the rendered head, which turns with it.",
                id="volume-sides",
                className="label",
                hidden=True,
            ),
        ],
        id="brain-whole",
    )


def register(app: Dash, engine: Engine) -> None:
    """What is chosen; pictures come live."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(...chosen) => { rtflow.brain.choose(...chosen); return dash_clientside.no_update; }",
        Output("brain-base", "error"),
        Input("brain-base", "value"),
        Input("brain-over", "value"),
        Input("brain-hold", "checked"),
        Input("brain-radiological", "checked"),
        Input("brain-outline", "checked"),
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(clicks, base, over, radiological, overs, tab) => {"
        " if (tab === 'whole') rtflow.volume.show(base, over, overs, radiological);"
        " return dash_clientside.no_update; }",
        Output("volume-base", "error"),
        Input("volume-load", "n_clicks"),
        Input("volume-base", "value"),
        Input("volume-over", "value"),
        Input("brain-radiological", "checked"),
        State("volume-over", "data"),
        State("brain-tabs", "value"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("volume-base", "data"),
        Output("volume-base", "value"),
        Output("volume-over", "data"),
        Output("volume-over", "value"),
        Input("brain-tabs", "value"),
        Input("volume-load", "n_clicks"),
        State("volume-base", "value"),
        State("volume-over", "value"),
        prevent_initial_call=True,
    )
    def offer(tab: str, clicks: int | None, base: str | None, over: str | None) -> tuple[Any, ...]:
        del clicks
        require("watch")
        if tab != "whole":
            return (no_update,) * 4
        images = engine.call(engine.ask("/api/images"))
        return whole(images, base, over)


def whole(images: list[dict[str, Any]], base: str | None, over: str | None) -> tuple[Any, ...]:
    """What may be looked at as a whole, and what is: a reference with a mask, if nothing was chosen.

    Parameters
    ----------
    images
        As the engine lists them.
    base, over
        What was chosen before.

    Returns
    -------
    tuple
        Names and value of the one list, then of the other.
    """
    bases = [one["name"] for one in images if one["kind"] == "volume"]
    overs = {one["name"]: one["kind"] for one in images if one["kind"] != "volume"}
    if base not in bases:
        base = next((name for name in bases if name.endswith(".reference")), bases[0] if bases else None)
        over = over or next((name for name, kind in overs.items() if kind == "mask"), None)
    listed = [{"value": name, "label": f"{name} · {kind}"} for name, kind in overs.items()]
    return bases, base, listed, over if over in overs else None
