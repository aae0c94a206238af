"""Settings of the next run: a form made from their schema, checked by the engine as it is filled in.

What is entered is a draft on the page until it is applied. How the form is drawn stands in
`rtflow.dash_app.fieldsets`, what it means in `rtflow.dash_app.form`.
"""

from __future__ import annotations

import secrets
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


def layout(who: Identity) -> Any:
    """What it looks like."""
    acts = may(who, "act")
    return html.Div(
        [
            dcc.Store(id="settings-load"),  # changes whenever they are to be asked for again: from the page
            dcc.Store(id="settings-seen"),  # what the engine said
            dcc.Store(id="settings-drawn"),  # what the form was drawn from, and what else it was drawn for
            dcc.Store(id="settings-taken"),  # what was applied last
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
        Output("settings-drawn", "data"),
        Output("settings-form", "children"),
        Output("settings-locked", "children"),
        Output("settings-locked", "hidden"),
        Output("settings-meanwhile", "children"),
        Output("settings-meanwhile", "hidden"),
        Output("settings-differences", "children"),
        Input("settings-load", "data"),
        Input("settings-taken", "data"),
        Input("settings-discard", "n_clicks"),
        Input(_KIND, "value"),
        Input(_BACK, "n_clicks"),
        Input(_MORE, "n_clicks"),
        Input(_LESS, "n_clicks"),
        State(SETTING, "value"),
        State(SWITCH, "checked"),
        State("settings-seen", "data"),
        State("settings-drawn", "data"),
        prevent_initial_call=True,
    )
    def draw_form(*given: Any) -> Any:
        """Draw the form anew, for all that has been done and not been drawn yet.

        Of calls that overlap, Dash heeds the last answer alone: none may count on those before it. Letters
        that are typed between a call and its answer are not in it.
        """
        require("watch")
        taken, discards, seen, drawn = given[1], given[2] or 0, *given[-2:]
        told = engine.call(engine.ask("/api/settings"))
        says: Any = ""
        if seen is None or discards != drawn["discards"]:
            draft = told["values"]
        else:
            asked = _asked(ctx.inputs_list[3:], drawn["draft"])
            applied = taken is not None and taken["number"] != drawn["taken"]
            if told == seen and not asked and not applied:
                return no_update  # whoever types is not disturbed
            draft = entered(drawn["draft"], *ctx.states_list[:2])
            for one, value in asked:  # in what was drawn: others may have changed the places in a list
                draft = _changed(one, value, seen, draft)
            pending = changes(taken["draft"] if applied else seen["values"], draft)
            if told != seen or applied:
                # What others have changed is no part of the draft, which would put it back.
                draft = merged(told["values"], pending)
            if told["revision"] == seen["revision"] and not applied:
                says = no_update
            elif not applied:
                says = _meanwhile(seen, told, kept=draft != told["values"])
        may_act = may(visitor(), "act")
        why = _why_locked(told, may_act, pending=draft != told["values"])
        form = draw(make_form(told["schema"], draft), disabled=bool(why))
        drawn = {"draft": draft, "discards": discards, "taken": taken and taken["number"]}
        silent = no_update if says is no_update else not says
        # Not in `check`: a button that is drawn while it is clicked would not be heard.
        others = draw_differences(
            differences(told["file"]["values"], told["values"]),  # what the next run has, not the draft
            f"Nothing: they are as in {told['file']['path'] or 'the workflow'}.",
            "setting-back" if may_act and not told["locked"] else "",
        )
        return told, drawn, form, why, not why, says, silent, others

    @app.callback(
        Output("settings-error", "children"),
        Output("settings-error", "hidden"),
        Output("settings-pending", "children"),
        Output("settings-apply", "disabled"),
        Output("settings-discard", "disabled"),
        Output("settings-name", "disabled"),
        Output("settings-save", "disabled"),
        Output(SETTING, "error"),
        Output(SWITCH, "error"),
        Input(SETTING, "value"),
        Input(SWITCH, "checked"),
        Input("settings-drawn", "data"),
        State("settings-seen", "data"),
        prevent_initial_call=True,
    )
    def check(_values: Any, _switches: Any, drawn: Any, seen: Any) -> Any:
        """Let the engine look at what is entered, and say what it would change; nothing is changed."""
        require("watch")
        if seen is None or drawn is None:
            return no_update
        named, on = ctx.inputs_list[:2]
        draft = entered(drawn["draft"], named, on)
        says, at = "", ""
        changed = changes(seen["values"], draft)
        if changed and not seen["locked"]:
            who = require("act")
            try:
                engine.call(engine.order("PUT", "/api/settings", changed, who=who, check=1))
            except EngineError as error:
                says, at = str(error), error.field
        wrong = [[says if field["id"]["name"] == at else None for field in row] for row in (named, on)]
        pending = differences(seen["values"], draft)
        may_act = may(visitor(), "act")
        return (
            says,
            not says,
            draw_differences(pending, "Nothing: the next run has what the form shows."),
            not (pending and may_act and not seen["locked"] and not says),
            not pending,
            bool(pending) or not may_act,
            bool(pending) or not may_act,
            *wrong,
        )

    app.clientside_callback(  # type: ignore[no-untyped-call]
        "(none) => { rtflow.settings.mark(!none); return dash_clientside.no_update; }",
        Output("settings-discard", "className"),
        Input("settings-discard", "disabled"),
    )

    @app.callback(
        Output("settings-taken", "data"),
        Input("settings-apply", "n_clicks"),
        State(SETTING, "value"),
        State(SWITCH, "checked"),
        State("settings-seen", "data"),
        State("settings-drawn", "data"),
        prevent_initial_call=True,
    )
    def apply(clicks: int | None, _values: Any, _switches: Any, seen: Any, drawn: Any) -> Any:
        who = require("act")
        if not clicks or seen is None:
            return no_update
        # What stands in the form now; what was entered a moment ago may not have been looked at yet.
        taken = take(engine, seen, entered(drawn["draft"], *ctx.states_list[:2]), who)
        notify("the next run has these settings")
        return taken

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


def take(engine: Engine, seen: Any, draft: Any, who: str) -> dict[str, Any]:
    """Have the next run take what is entered; refused if the settings are others than were seen.

    What is returned says what was taken, for the form to be drawn anew.
    """
    body = changes(seen["values"], draft)
    engine.call(engine.order("PUT", "/api/settings", body, who=who, base=seen["revision"]))
    return {"number": secrets.token_hex(8), "draft": draft}


def entered(draft: Any, fields: list[dict[str, Any]], switches: list[dict[str, Any]]) -> Any:
    """The draft with what stands in the form, as Dash tells of its fields and of its switches."""
    for field in fields:
        about = field["id"]
        draft = with_value(draft, about["name"], read(about["reads"], about["empty"], field.get("value")))
    for field in switches:
        draft = with_value(draft, field["id"]["name"], bool(field.get("value")))
    return draft


def _asked(inputs: list[list[dict[str, Any]]], draft: Any) -> list[tuple[dict[str, Any], Any]]:
    """What buttons and choices of a form ask for that was drawn from a draft: whose, and its value.

    The last part of a list comes first, as the places of those behind it change when it is taken out.
    """
    return [
        (one["id"], one["value"])
        for row in inputs
        for one in reversed(row)
        if one.get("value")
        and (one["id"]["type"] != _KIND["type"] or one["value"] != _kind(value_at(draft, one["id"]["name"])))
    ]


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
            return with_value(draft, name, [*rows, *(blank(seen["schema"], name) for _ in range(value))])
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
