"""Every callback asks who wants it, and whoever looks on changes nothing, whatever they send."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboards import OPERATOR, VIEWER, Dashboard, Visitor

import rtflow.dash_app

FOLDER = Path(rtflow.dash_app.__file__).parent

#: What a page would keep, where a callback looks at it before it asks for an operator.
KEPT = {
    "settings-seen": {"values": {}, "locked": False},
    "settings-drawn": {"draft": {}},
    "settings-taken": {"number": "1", "draft": {}},
    "settings-name": "mine",
    "note-taken": "she moved",
}


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("roles")) as dashboard:
        yield dashboard


def callbacks() -> list[ast.FunctionDef]:
    """All functions that the page calls on the server."""
    nodes = (node for file in FOLDER.rglob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    return [
        node
        for node in nodes
        if isinstance(node, ast.FunctionDef) and any(map(_is_callback, node.decorator_list))
    ]


def _is_callback(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.callback"


def asks(node: ast.AST) -> list[str]:
    """What roles a piece of source asks for."""
    return [
        str(ast.literal_eval(one.args[0]))
        for one in ast.walk(node)
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "require"
    ]


def orders(node: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "order"
        for one in ast.walk(node)
    )


def output(node: ast.FunctionDef) -> str:
    """The first of its outputs, as the page names it."""
    (call,) = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    first = next(one for one in call.args if isinstance(one, ast.Call) and ast.unparse(one.func) == "Output")
    name, prop = (ast.literal_eval(one) for one in first.args)
    return f"{name}.{prop}"


CALLBACKS = callbacks()


@pytest.mark.parametrize("node", CALLBACKS, ids=[one.name for one in CALLBACKS])
def test_a_callback_asks_for_a_role_and_one_that_orders_for_an_operator(node: ast.FunctionDef) -> None:
    assert asks(node), f"{node.name} asks for no role"
    if orders(node):
        assert "act" in asks(node), f"{node.name} orders something, and does not ask for an operator"


def filled(about: dict[str, Any], otherwise: Any = 1) -> Any:
    """An input as the page would send it, or what it keeps: something was clicked, or entered."""
    name = json.loads(about["id"]) if about["id"].startswith("{") else about["id"]
    value = KEPT.get(about["id"], otherwise)
    if isinstance(name, str):
        return {"id": name, "property": about["property"], "value": value}
    named = {key: "seed" if one == ["ALL"] else one for key, one in name.items()}
    return [{"id": named, "property": about["property"], "value": value}]


def call(visitor: Visitor, about: dict[str, Any], trigger: dict[str, Any]) -> tuple[int, str]:
    """Status and answer of a callback, with one of its inputs as what has changed."""
    several = about["output"].startswith("..")
    wanted = about["output"].strip(".").split("...") if several else [about["output"]]
    outputs = []
    for one in wanted:
        name, _, prop = one.rpartition(".")
        outputs.append(
            {"id": json.loads(name) if name.startswith("{") else name, "property": prop.split("@")[0]}
        )
    given = filled(trigger)
    changed = given[0] if isinstance(given, list) else given
    named = changed["id"]
    key = json.dumps(named, sort_keys=True, separators=(",", ":")) if isinstance(named, dict) else named
    status, told, _ = visitor.ask(
        "POST",
        "/_dash-update-component",
        {
            "output": about["output"],
            "outputs": outputs if several else outputs[0],
            "inputs": [filled(one) for one in about["inputs"]],
            "state": [filled(one, None) for one in about["state"]],
            "changedPropIds": [f"{key}.{changed['property']}"],
        },
    )
    return status, json.dumps(told) if isinstance(told, dict | list) else told.decode()


REFUSED = "a viewer may look on, and not do that"


def test_whoever_looks_on_is_refused_by_all_that_acts(dashboard: Dashboard) -> None:
    viewer, operator = Visitor(dashboard, VIEWER), Visitor(dashboard, OPERATOR)
    status, listed, _ = viewer.ask("GET", "/_dash-dependencies")
    assert status == 200
    served = [one for one in listed if not one["clientside_function"]]
    assert len(served) == len(CALLBACKS)
    for_operators = {output(one) for one in CALLBACKS if "act" in asks(one)}
    assert {"run-asks.opened", "stop-asks.opened", "settings-taken.data", "note-kept.data"} <= for_operators
    refused = set()
    for about in served:
        for trigger in about["inputs"]:
            _, said = call(viewer, about, trigger)
            if REFUSED in said:
                refused.add(about["output"].strip(".").split("...")[0].split("@")[0])
    assert for_operators <= refused
    done = {what for _, what in dashboard.engine.audit()}
    assert not {"start", "stop", "settings", "settings saved", "note", "list files"} & done
    # An operator is let in by the same calls: else they would be refused for another reason.
    for about in served:
        if about["output"].strip(".").split("...")[0].split("@")[0] in for_operators:
            for trigger in about["inputs"]:
                status, said = call(operator, about, trigger)
                assert status in (200, 204), said
                assert REFUSED not in said
    done = {what for _, what in dashboard.engine.audit()}
    assert done >= {"start", "stop", "settings saved", "note"}


def test_no_path_leads_whoever_looks_on_to_what_operators_may(dashboard: Dashboard) -> None:
    """The dashboard asks by an operator's token: of that, only what a handler names is for a viewer."""
    viewer = Visitor(dashboard, VIEWER)
    for dots in ("..", "%2e%2e", "x/../..", "x/%2e%2e/.."):
        for path in ("scanners/scanner/files", "status"):
            status, told, _ = viewer.ask("GET", f"/runs/{dots}/{path}")
            assert (status, told) == (404, {"error": "there is nothing of this name"})
    assert "list files" not in {what for _, what in dashboard.engine.audit()}
