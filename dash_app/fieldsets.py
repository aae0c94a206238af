"""How a form of settings is drawn: a fieldset for each table, and a component for each setting."""

from __future__ import annotations

import re
from typing import Any

import dash_mantine_components as dmc

from rtflow.dash_app.elements import html
from rtflow.dash_app.form import Field, Table, Tables, shown

_HEARD = 500
"""Milliseconds after the last key until what was typed is looked at."""


def draw(form: Table, *, disabled: bool) -> list[Any]:
    """The form.

    Parameters
    ----------
    form
        What is in it.
    disabled
        Whether nothing can be changed.
    """
    loose = tuple(part for part in form.parts if isinstance(part, Field))
    tables = [_draw_part(part, disabled) for part in form.parts if not isinstance(part, Field)]
    return [*_fieldset("General", "", [_grid(loose, disabled)] if loose else []), *tables]


def draw_differences(found: list[dict[str, Any]], none: str, button: str = "") -> Any:
    """Settings that differ, each with both values.

    Parameters
    ----------
    found
        As `rtflow.dash_app.values.differences` gives them.
    none
        What is said where there are none.
    button
        Type of the button that puts one back; empty for no button.
    """
    if not found:
        return html.P(none, className="label")
    return html.Ul(
        [
            html.Li(
                [
                    html.Div(
                        [
                            html.Strong(one["name"]),
                            html.Span(
                                [
                                    html.Span(one["before"], className="before"),
                                    html.Span(" → ", **{"aria-label": "now"}),
                                    html.Span(one["after"], className="after"),
                                ]
                            ),
                        ]
                    ),
                    html.Button(
                        "back",
                        id={"type": button, "name": one["name"]},
                        className="small",
                        type="button",
                        **{"aria-label": f"{one['name']} back to the file"},
                    )
                    if button
                    else None,
                ],
                **{"data-name": one["name"]},
            )
            for one in found
        ],
        className="differences",
    )


def _draw_part(part: Table | Tables, disabled: bool) -> Any:
    if isinstance(part, Tables):
        rows = [
            html.Div(
                [_draw_part(item, disabled), _button("Remove", "setting-less", item.name, disabled)],
                className="row",
            )
            for item in part.items
        ]
        more = _button("Add one", "setting-more", part.name, disabled)
        return html.Div(_fieldset(part.name, part.meaning, [*rows, more]))
    inner: list[Any] = []
    if part.kinds:
        inner.append(
            dmc.Select(
                id={"type": "setting-kind", "name": part.name},
                label="kind",
                data=list(part.kinds),
                value=part.kind,
                allowDeselect=False,
                disabled=disabled,
                className="kind",
            )
        )
    loose = tuple(one for one in part.parts if isinstance(one, Field))
    inner += [_grid(loose, disabled)] if loose else []
    inner += [_draw_part(one, disabled) for one in part.parts if not isinstance(one, Field)]
    above, _, last = part.name.rpartition(".")
    legend = f"{above} {int(last) + 1}" if last.isdecimal() else part.name
    return html.Div(_fieldset(legend, part.meaning, inner))


def _fieldset(legend: str, meaning: str, inner: list[Any]) -> list[Any]:
    if not inner:
        return []
    says = [html.P(_marked(meaning), className="meaning")] if meaning else []
    return [dmc.Fieldset([*says, *inner], legend=legend, className="fields")]


def _grid(loose: tuple[Field, ...], disabled: bool) -> Any:
    return html.Div([_component(field, disabled) for field in loose], className="grid")


def _component(field: Field, disabled: bool) -> Any:
    label = field.name.rpartition(".")[2]
    meaning = field.meaning
    if field.bounds and field.reads != "choice":
        meaning = f"{meaning} ({field.bounds})" if meaning else field.bounds
    common: dict[str, Any] = {"label": label, "description": _marked(meaning), "disabled": disabled}
    if field.reads == "switch":
        key: dict[str, Any] = {"type": "setting-switch", "name": field.name}
        return dmc.Switch(id=key, checked=bool(field.value), **common)
    common |= {
        "id": {"type": "setting", "name": field.name, "reads": field.reads, "empty": field.empty},
        "value": shown(field.reads, field.value),
    }
    none = "none" if field.optional else ""
    match field.reads:
        case "number":
            return dmc.NumberInput(**common, placeholder=none, debounce=_HEARD, hideControls=True)
        case "choice":
            return dmc.Select(
                **common, data=list(field.choices), allowDeselect=False, placeholder="choose one"
            )
        case "texts":
            return dmc.TagsInput(**common, placeholder="" if field.value else "type, then Enter")
    hints = {"path": "a path on the host of the analysis", "list": "with commas between", "json": "JSON"}
    hint = hints.get(field.reads, none)
    return dmc.TextInput(**common, placeholder=hint, debounce=_HEARD, spellCheck=False)


def _button(text: str, kind: str, name: str, disabled: bool) -> Any:
    return dmc.Button(
        text, id={"type": kind, "name": name}, variant="default", size="xs", disabled=disabled, mt="xs"
    )


def _marked(text: str) -> list[Any]:
    """A text of a docstring, with what is code as code."""
    parts = re.split(r"``?([^`]+)``?", text)
    return [html.Code(part) if at % 2 else part for at, part in enumerate(parts) if part]
