"""An experimenter's own class: what of it can be called, and that nothing else can."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent
from hypothesis import given
from hypothesis import strategies as st
from served_run import anyone

from rtflow.agents.services import load_service, load_services
from rtflow.errors import ProtocolError, RemoteError, UsageError
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.signatures import from_words, in_words
from rtflow.server.thread import Server

LONG = 60.0
OFFERED = {"lights.dim", "lights.wait", "lights.fail", "lights.wrong", "lights.name"}


@pytest.fixture(scope="module")
def lights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScannerChannel]:
    folder = tmp_path_factory.mktemp("agent")
    with (
        Server("127.0.0.1", 0, authorise=anyone) as server,
        Agent(server.port, folder / "state", "--service", "lights:Lights"),
    ):
        channel = server.scanner("scanner")
        assert channel.wait_for_connection(LONG)
        yield channel


def test_public_typed_methods_can_be_called(lights: ScannerChannel) -> None:
    assert set(lights.asking.methods) == OFFERED
    assert lights.call("lights.dim", level=0.5, timeout=LONG) == {"red": 0.5, "green": 0.5}
    assert lights.call("lights.dim", level=1, colours=["blue"], timeout=LONG) == {"blue": 1.0}
    assert lights.call("lights.name", timeout=LONG) == "scanner room"


@pytest.mark.parametrize(
    "method",
    [
        "_secret",
        "__init__",
        "__class__",
        "state",
        "level",
        "helper",
        "outside",
        "os",
        "colours",
        "Lights",
        "",
    ],
)
def test_nothing_else_can(lights: ScannerChannel, method: str) -> None:
    with pytest.raises(RemoteError, match="has no method"):
        lights.call(f"lights.{method}", timeout=LONG)


@pytest.mark.parametrize(
    "method", ["lights.state", "lights.helper", "lights.__init__", "os.system", "agent.run"]
)
def test_the_agent_itself_refuses_what_it_did_not_declare(lights: ScannerChannel, method: str) -> None:
    """Were the server made to ask for it all the same."""
    with pytest.raises(RemoteError, match="there is no method"):
        lights.asking.ask(method, {}, LONG)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"level": "0.5"},
        {"level": None},
        {"level": 0.5, "colours": "red"},
        {"level": 0.5, "colours": [1]},
        {"level": 0.5, "more": 1},
        {"level": 0.5, "self": 1},
    ],
)
def test_arguments_are_checked_on_both_sides(lights: ScannerChannel, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"lights\.dim"):
        lights.call("lights.dim", timeout=LONG, **arguments)
    with pytest.raises(RemoteError, match=r"lights\.dim"):
        lights.asking.ask("lights.dim", arguments, LONG)


def test_what_goes_wrong_is_said(lights: ScannerChannel) -> None:
    with pytest.raises(RemoteError, match="ValueError: the bulb is broken"):
        lights.call("lights.fail", timeout=LONG)
    with pytest.raises(RemoteError, match=r"result of lights\.wrong: expected int"):
        lights.call("lights.wrong", timeout=LONG)


def test_each_call_has_a_time_of_its_own(lights: ScannerChannel) -> None:
    with pytest.raises(RemoteError, match=r"did not answer 'lights\.wait' within 0\.1 s"):
        lights.call("lights.wait", seconds=1.0, timeout=0.1)
    assert lights.call("lights.name", timeout=LONG) == "scanner room"


def test_who_is_not_there_is_said() -> None:
    with Server("127.0.0.1", 0, authorise=anyone) as server:
        with pytest.raises(RemoteError, match="it is not connected"):
            server.scanner("nobody").call("lights.dim", level=1.0)
        with pytest.raises(RemoteError, match="no agent 'nobody' has connected so far"):
            server.scanner("nobody").files.list(timeout=1.0)


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> str:
    (folder / f"{name}.py").write_text(f"class One:\n    {body}\n")
    monkeypatch.syspath_prepend(folder)
    return f"{name}:One"


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("untyped", "def a(self, x) -> None: ...", "parameter x needs a type"),
        ("unsaid", "def a(self, x: int): ...", "what it returns"),
        ("several", "def a(self, *x: int) -> None: ...", "a name of its own"),
        ("timed", "def a(self, timeout: float) -> None: ...", "may not be called timeout"),
        ("classy", "def a(self, x: object) -> None: ...", "cannot go from host to host"),
        ("raising", "def __init__(self): 1 / 0", "ZeroDivisionError"),
        ("nothing", "x = 1", "no public method"),
        ("capital", "def aB(self) -> None: ...", "lower-case"),
    ],
)
def test_what_cannot_be_a_service_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        load_service(written(tmp_path, monkeypatch, name, body))


@pytest.mark.parametrize(
    "text", ["lights", "lights:", ":Lights", "lights:outside", "lights:None", "none:One", "os:x"]
)
def test_what_names_no_class_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--service"):
        load_service(text)


def test_the_example_is_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "docs" / "examples")
    methods = load_service("shutter:Shutter")
    assert methods["shutter.open"].call(side="left")
    assert methods["shutter.moves"].call() == ["left"]


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="another service"):
        load_services(["lights:Lights", "lights:Lights"])


TYPES = st.recursive(
    st.sampled_from(["bool", "int", "float", "str", "None"]),
    lambda inner: st.one_of(
        inner.map(lambda one: f"list[{one}]"), inner.map(lambda one: f"dict[str, {one}]")
    ),
    max_leaves=4,
)


@given(TYPES)
def test_types_are_said_and_understood(text: str) -> None:
    assert in_words(from_words(text)) == text


NO_TYPES = ("__import__('os')", "list[os]", "int()", "None | None", "a" * 1000, "list" * 99)


@given(st.text(max_size=60) | st.sampled_from(NO_TYPES))
def test_what_is_no_type_is_never_run(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        in_words(from_words(text))


def many(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int, annotation: str) -> str:
    body = "\n    ".join(
        f"def method_{number:03d}(self, value: {annotation}) -> {annotation}: return value"
        for number in range(count)
    )
    return written(folder, monkeypatch, name, body)


def test_a_service_of_many_methods_is_told_and_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = load_services([many(tmp_path, monkeypatch, "most", 256, "dict[str, list[float] | None] | str")])
    monkeypatch.chdir(tmp_path)
    with (
        Server("127.0.0.1", 0, authorise=anyone) as server,
        Agent(server.port, tmp_path / "state", "--service", "most:One"),
    ):
        channel = server.scanner("scanner")
        assert channel.wait_for_connection(LONG)
        assert channel.asking.methods.keys() == methods.keys()
        assert channel.call("most.method_255", value={"a": [1.0]}, timeout=LONG) == {"a": [1.0]}


@pytest.mark.parametrize(
    ("name", "count", "annotation", "says"),
    [
        ("toomany", 257, "int", "257 methods"),
        ("toolong", 1, " | ".join(f"{'list[' * n}int{']' * n}" for n in range(40)), "toolong.method_000"),
    ],
)
def test_more_than_the_server_can_be_told_is_refused_on_the_agents_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int, annotation: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        load_services([many(tmp_path, monkeypatch, name, count, annotation)])


def test_more_bytes_than_a_greeting_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = " | ".join(f"{'list[' * n}int{']' * n}" for n in range(1, 8))
    with pytest.raises(UsageError, match=r"250 methods \(\d+ bytes"):
        load_services([many(tmp_path, monkeypatch, "wide", 250, f"{wide} | {wide.replace('int', 'str')}")])
