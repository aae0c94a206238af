"""Settings of the next run: a form made from their schema, checked by the engine as it is filled in.

What is entered is a draft on the page until it is applied. How the form is drawn stands in
`rtflow.dash_app.fieldsets`, what it means in `rtflow.dash_app.form`.
"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, dcc, no_update

from rtflow.access.store import Identity, may
from rtflow.dash_app.elements import html
from rtflow.dash_app.engine import Engine, EngineError
from rtflow.dash_app.fieldsets import draw, draw_differences
from rtflow.dash_app.form import blank, make_form, read
from rtflow.dash_app.notices import notify
from rtflow.dash_app.values import ABSENT, changes, differences, value_at, with_value
from rtflow.dash_app.visitor import require, visitor
from rtflow.server.desk import merged

SETTING = {"type": "setting", "name": ALL, "reads": ALL, "empty": ALL}
SWITCH = {"type": "setting-switch", "name": ALL}
_KIND = {"type": "setting-kind", "name": ALL}
_BACK = {"type": "setting-back", "name": ALL}
_MORE = {"type": "setting-more", "name": ALL}
_LESS = {"type": "setting-less", "name": ALL}
APPLIED = "applied"  # why they are asked for again; the page has other reasons


def layout(who: Identity) -> Any:
    """What it looks like."""
    acts = may(who, "act")
    return html.Div(
        [
            dcc.Store(id="settings-load"),  # changes whenever they are to be asked for again: from the page
            dcc.Store(id="settings-seen"),  # what the engine said
            dcc.Store(id="settings-draft"),  # what is entered
            html.Div(
                [
                    html.Div(id="settings-locked", className="notice", role="status", hidden=True),
                    html.Div(id="settings-meanwhile", className="notice", role="status", hidden=True),
                    html.Div(id="settings-form"),
                ],
                className="settings-fields",
            ),
            html.Aside(
                [
                    html.Div(id="settings-error", className="wrong", role="alert", hidden=True),
                    html.Section(
                        [
                            html.H2("Not applied yet"),
                            html.Div(id="settings-pending"),
                            dmc.Group(
                                [
                                    dmc.Button(
                                        "Apply", id="settings-apply", disabled=True, size="xs", color="blue.9"
                                    ),
                                    dmc.Button(
                                        "Discard",
                                        id="settings-discard",
                                        disabled=True,
                                        size="xs",
                                        variant="default",
                                    ),
                                ]
                            ),
                        ],
                        className="card",
                        hidden=not acts,
                    ),
                    html.Section(
                        [html.H2("Other than in the file"), html.Div(id="settings-differences")],
                        className="card",
                    ),
                    html.Section(
                        [
                            html.H2("Keep them"),
                            dmc.TextInput(
                                id="settings-name",
                                label="Save as a new file",
                                description="What is applied, in a TOML file of this name",
                                placeholder="pilot-2",
                                disabled=True,
                            ),
                            dmc.Button(
                                "Save", id="settings-save", disabled=True, size="xs", mt="xs", color="blue.9"
                            ),
                            html.Div(id="settings-saved", role="status", className="path"),
                        ],
                        className="card",
                        hidden=not acts,
                    ),
                ],
                className="settings-aside",
                **{"aria-label": "What is changed"},
            ),
        ],
        className="settings",
    )


def register(app: Dash, engine: Engine) -> None:
    """What its fields and buttons do."""

    @app.callback(
        Output("settings-seen", "data"),
        Output("settings-draft", "data"),
        Output("settings-form", "children"),
        Output("settings-locked", "children"),
        Output("settings-locked", "hidden"),
        Output("settings-meanwhile", "children"),
        Output("settings-meanwhile", "hidden"),
        Input("settings-load", "data"),
        Input("settings-discard", "n_clicks"),
        Input(_KIND, "value"),
        Input(_BACK, "n_clicks"),
        Input(_MORE, "n_clicks"),
        Input(_LESS, "n_clicks"),
        State("settings-seen", "data"),
        State("settings-draft", "data"),
        prevent_initial_call=True,
    )
    def draw_form(*given: Any) -> Any:
        require("watch")
        load, seen, draft = given[0], *given[-2:]
        asked = ctx.triggered_id
        says: Any = no_update
        if isinstance(asked, dict):
            if seen is None or not _meant(asked, ctx.triggered[0]["value"], draft):
                return no_update
            draft = _changed(asked, ctx.triggered[0]["value"], seen, draft)
        else:
            told = engine.call(engine.ask("/api/settings"))
            # What was looked at anew leaves a draft as it is; what was applied or discarded has none.
            looked_again = asked == "settings-load" and load != APPLIED and seen is not None
            if looked_again and told == seen:
                return no_update  # nor is anybody who types disturbed
            kept = looked_again and draft != seen["values"]
            if not looked_again:
                says = ""
            elif told["revision"] != seen["revision"]:
                says = _meanwhile(seen, told, kept=kept)
            # What others have changed is no part of the draft, which would put it back.
            draft = merged(told["values"], changes(seen["values"], draft)) if kept else told["values"]
            seen = told
        may_act = may(visitor(), "act")
        why = _why_locked(seen, may_act, pending=draft != seen["values"])
        form = draw(make_form(seen["schema"], draft), disabled=bool(why))
        return seen, draft, form, why, not why, says, no_update if says is no_update else not says

    @app.callback(
        Output("settings-draft", "data", allow_duplicate=True),
        Output("settings-error", "children"),
        Output("settings-error", "hidden"),
        Output(SETTING, "error"),
        Output(SWITCH, "error"),
        Input(SETTING, "value"),
        Input(SWITCH, "checked"),
        State("settings-seen", "data"),
        State("settings-draft", "data"),
        prevent_initial_call=True,
    )
    def check(_values: Any, _switches: Any, seen: Any, draft: Any) -> Any:
        """Let the engine look at what is entered; nothing is changed by that."""
        require("watch")
        named, on = ctx.inputs_list
        draft = entered(draft, named, on)
        says, at = "", ""
        changed = changes(seen["values"], draft)
        if changed and not seen["locked"]:
            who = require("act")
            try:
                engine.call(engine.order("PUT", "/api/settings", changed, who=who, check=1))
            except EngineError as error:
                says, at = str(error), error.field
        wrong = [[says if field["id"]["name"] == at else None for field in row] for row in (named, on)]
        return draft, says, not says, *wrong

    @app.callback(
        Output("settings-pending", "children"),
        Output("settings-differences", "children"),
        Output("settings-apply", "disabled"),
        Output("settings-discard", "disabled"),
        Output("settings-name", "disabled"),
        Output("settings-save", "disabled"),
        Input("settings-draft", "data"),
        Input("settings-error", "children"),
        State("settings-seen", "data"),
        prevent_initial_call=True,
    )
    def compare(draft: Any, says: str, seen: Any) -> Any:
        require("watch")
        if seen is None or draft is None:
            return no_update
        pending = differences(seen["values"], draft)
        may_change = may(visitor(), "act") and not seen["locked"]
        return (
            draw_differences(pending, "Nothing: the next run has what the form shows."),
            draw_differences(
                differences(seen["file"]["values"], seen["values"]),  # what the next run has, not the draft
                f"Nothing: they are as in {seen['file']['path'] or 'the workflow'}.",
                "setting-back" if may_change else "",
            ),
            not (pending and may_change and not says),
            not pending,
            bool(pending) or not may(visitor(), "act"),
            bool(pending) or not may(visitor(), "act"),
        )

    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(none) => { rtflow.settings.mark(!none); return dash_clientside.no_update; }",
        Output("settings-discard", "className"),
        Input("settings-discard", "disabled"),
    )

    @app.callback(
        Output("settings-load", "data"),
        Input("settings-apply", "n_clicks"),
        State(SETTING, "value"),
        State(SWITCH, "checked"),
        State("settings-seen", "data"),
        State("settings-draft", "data"),
        prevent_initial_call=True,
    )
    def apply(clicks: int | None, _values: Any, _switches: Any, seen: Any, draft: Any) -> Any:
        who = require("act")
        if not clicks or seen is None:
            return no_update
        # What was entered a moment ago may not have been looked at, and not be in the draft yet.
        take(engine, seen, entered(draft, *ctx.states_list[:2]), who)
        notify("the next run has these settings")
        return APPLIED

    @app.callback(
        Output("settings-saved", "children"),
        Input("settings-save", "n_clicks"),
        Input("settings-name", "n_submit"),
        State("settings-name", "value"),
        prevent_initial_call=True,
    )
    def save(clicks: int | None, submits: int | None, name: str | None) -> Any:
        who = require("act")
        if not clicks and not submits:
            return no_update
        body = {"name": (name or "").strip()}
        saved = engine.call(engine.order("POST", "/api/settings/save", body, who=who))
        return f"saved as {saved['path']}"


def take(engine: Engine, seen: Any, draft: Any, who: str) -> None:
    """Have the next run take what is entered; refused if the settings are others than were seen."""
    body = changes(seen["values"], draft)
    engine.call(engine.order("PUT", "/api/settings", body, who=who, base=seen["revision"]))


def entered(draft: Any, fields: list[dict[str, Any]], switches: list[dict[str, Any]]) -> Any:
    """The draft with what stands in the form, as Dash tells of its fields and of its switches."""
    for field in fields:
        about = field["id"]
        draft = with_value(draft, about["name"], read(about["reads"], about["empty"], field.get("value")))
    for field in switches:
        draft = with_value(draft, field["id"]["name"], bool(field.get("value")))
    return draft


def _meant(asked: dict[str, Any], value: Any, draft: Any) -> bool:
    """Whether somebody did something; a part of a form that has just been drawn is heard of as well."""
    if asked["type"] != _KIND["type"]:
        return bool(value)
    return bool(value) and value != _kind(value_at(draft, asked["name"]))


def _kind(table: Any) -> str:
    return table.get("kind", "given") if isinstance(table, dict) else "left out"


def _changed(asked: dict[str, Any], value: Any, seen: Any, draft: Any) -> Any:
    """The draft after a click, or another kind of table."""
    name = asked["name"]
    file = value_at(seen["file"]["values"], name, ABSENT)
    match asked["type"]:
        case "setting-kind":
            known = [one for one in (value_at(seen["values"], name), file) if _kind(one) == value]
            return with_value(draft, name, known[0] if known else blank(seen["schema"], name, value))
        case "setting-back":
            return with_value(draft, name) if file == ABSENT else with_value(draft, name, file)
        case "setting-more":
            rows = value_at(draft, name) or []
            return with_value(draft, name, [*rows, blank(seen["schema"], name)])
    return with_value(draft, name)


def _why_locked(seen: Any, may_act: bool, *, pending: bool) -> str:
    if not may_act:
        return "You look on: an operator changes settings."
    if not seen["locked"]:
        return ""
    if not seen["waits"]:
        return "This dashboard shows one run, and these are its settings; 'rtflow serve' takes more than one."
    if pending:
        return "Locked: there is a run, without what is not applied yet. Apply it when the run is over."
    return "Locked: there is a run. They can be changed when it is over, or when it was stopped."


def _meanwhile(seen: Any, told: Any, *, kept: bool) -> str:
    found = differences(seen["values"], told["values"])
    what = "; ".join(f"{one['name']} {one['before']} → {one['after']}" for one in found)
    says = f"Changed meanwhile by {told['changed_by'] or 'the server'}: {what or 'and put back'}."
    return f"{says} What you have entered is kept: look at it again before you apply it." if kept else says
