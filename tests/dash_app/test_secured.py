"""The dashboard behind TLS, as others reach it: who is let in, what is forged, what is sent compressed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from agents import Process
from dashboards import OPERATOR, PASSWORD, VIEWER
from processes import LIMIT, free_port
from secured import NAME, Place, Secured, Somebody, secured

FOREIGN = "https://elsewhere.example"
FILE = "/scanner/scan/file?path=incoming/a.txt"
NOTE = {
    "output": "note-kept.data",
    "outputs": {"id": "note-kept", "property": "data"},
    "inputs": [{"id": "note-taken", "property": "data", "value": "she moved"}],
    "changedPropIds": ["note-taken.data"],
}

#: How a request is forged: other headers than those of the page, and what is answered.
FORGED = {
    "a page of another server": ({"Origin": FOREIGN}, 403, "this page is not one of the server's"),
    "a page of another port": (
        {"Origin": "https://localhost:1"},
        403,
        "this page is not one of the server's",
    ),
    "from nowhere": ({"Origin": None}, 403, "a browser must say which page"),
    "nobody": ({"Cookie": None}, 401, "expected a token, or a login"),
    "nobody any more": ({"Cookie": "{name}=a-login-that-was"}, 401, "the login is over"),
}
WITHOUT_TOKEN = {
    "no token": ({"X_CSRF_Token": None}, 403, "the header X-CSRF-Token"),
    "the token of another": ({"X_CSRF_Token": "0" * 64}, 403, "the header X-CSRF-Token"),
}


@pytest.fixture(scope="module")
def all_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    folder.chmod(0o700)
    with secured(folder, "--set", "count=3") as all_:
        yield all_


@pytest.fixture(params=["beside", "elsewhere"])
def place(request: pytest.FixtureRequest, all_: Secured) -> Place:
    found: Place = getattr(all_, request.param)
    return found


def forged(somebody: Somebody, other: dict[str, str | None]) -> dict[str, str | None]:
    """Headers of `FORGED` for somebody."""
    name = somebody.cookie.partition("=")[0]
    return {key.replace("-", "_"): value and value.format(name=name) for key, value in other.items()}


def headers(sent: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in sent.items()}


def opened(place: Place, path: str, **sent: str) -> int:
    """The status by which a WebSocket is opened, or not."""
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    return place.ask("GET", path, **asked, Sec_WebSocket_Key="cnRmbG93LXRlc3RzLTEyMw==", **sent)[0]


def followed(
    somebody: Somebody, until: Callable[[list[dict[str, Any]]], bool], then: Callable[[], object]
) -> Any:
    """What a page hears, until that is enough; ``then`` is done once the engine was heard."""

    async def run() -> Any:
        heard: list[dict[str, Any]] = []
        ordered = False
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"{somebody.place.url}/live", ssl=somebody.place.tls, headers=headers(somebody.sends())
            ) as page,
        ):
            assert page.get_extra_info("ssl_object").version() >= "TLSv1.2"
            while not until(heard):
                heard += map(json.loads, (await page.receive_str()).splitlines())
                if not ordered and any(one.get("engine") == "" and one["status"] for one in heard):
                    ordered = True
                    await asyncio.to_thread(then)
            connection = page.get_extra_info("socket")
        while connection.fileno() != -1:  # TLS says farewell after the session is closed
            await asyncio.sleep(0.01)
        return heard

    return asyncio.run(asyncio.wait_for(run(), LIMIT))


def test_by_https_one_logs_in_and_the_cookie_is_for_this_port_alone(place: Place) -> None:
    status, _, told = place.ask("GET", "/", Accept="text/html")
    assert (status, told["Location"]) == (303, "/login")
    somebody = Somebody(place)
    (login,) = somebody.login.values()
    # A browser takes a cookie of such a name by TLS only, and gives it to no other host.
    assert login.key == f"__Host-rtflow-{place.port}"
    kept = (login["secure"], login["httponly"], login["samesite"], login["path"], login["domain"])
    assert kept == (True, True, "Strict", "/", "")
    status, page, told = somebody.ask("GET", "/")
    assert (status, b"_dash-config" in page) == (200, True)
    csrf = told["Set-Cookie"]
    assert csrf.startswith(f"rtflow-csrf-{place.port}={somebody.csrf};")
    assert {"Secure", "SameSite=Strict"} <= set(csrf.split("; "))
    assert "HttpOnly" not in csrf  # the page's scripts send it back
    # The cookie of a login without TLS has another name: what was overheard there opens nothing here.
    assert somebody.ask("GET", "/", Cookie=somebody.cookie.removeprefix("__Host-"))[0] == 401


def test_a_run_is_followed_by_wss(all_: Secured, place: Place) -> None:
    def over(heard: list[dict[str, Any]]) -> bool:
        return any(one.get("document") == "RunStop" for one in heard)

    def start() -> None:
        # The server is idle once all of the run before is written.
        all_.process.until(lambda: all_.order("/api/start") == 202)

    before = {
        one["run_uid"]
        for one in json.loads(all_.server.ask("GET", "/api/runs", Authorization=f"Bearer {all_.token}")[1])
    }
    somebody = all_.somebody(place, VIEWER)
    heard = followed(
        somebody,
        lambda heard: over([one for one in heard if one.get("run_uid") not in before]),
        start,
    )
    new = [one for one in heard if one.get("document") and one["run_uid"] not in before]
    assert [one["volume"] for one in new if one["document"] == "Result"] == [1, 2, 3]
    assert new[-1]["status"] == "completed"


def test_without_tls_nobody_is_answered(all_: Secured, place: Place) -> None:
    cookie = all_.somebody(place).cookie
    for port in (place.port, all_.server.port):
        with socket.create_connection(("127.0.0.1", port), LIMIT) as plain:
            lines = ("GET / HTTP/1.1", f"Host: localhost:{port}", f"Cookie: {cookie}", "Accept: text/html")
            plain.sendall("\r\n".join([*lines, "", ""]).encode())
            answered = b""
            with contextlib.suppress(ConnectionError):
                while data := plain.recv(4096):
                    answered += data
        assert b"HTTP" not in answered  # at most the alert of TLS


def test_who_does_not_know_the_authority_or_asks_for_another_name_goes_no_further(place: Place) -> None:
    def reached(context: ssl.SSLContext, name: str) -> None:
        with (
            socket.create_connection(("127.0.0.1", place.port), LIMIT) as connection,
            context.wrap_socket(connection, server_hostname=name),
        ):
            pass

    for name in (NAME, "localhost", "127.0.0.1"):
        reached(place.tls, name)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|not valid for"):
        reached(place.tls, "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get local issuer"):
        reached(ssl.create_default_context(), "localhost")


def test_a_dashboard_gives_its_token_to_no_server_of_another_authority(all_: Secured) -> None:
    """By default that of its own accounts, which is another on another machine."""
    place = Place(free_port(), all_.elsewhere.access)
    server = ("--server", f"wss://localhost:{all_.server.port}", "--access", str(place.access))
    with Process("-m", "rtflow", "dashboard", *server, "--listen", f"127.0.0.1:{place.port}") as process:
        process.until(lambda: process.said("dashboard at https://"))
        process.until(lambda: process.said("certificate"))
        assert json.loads(place.ask("GET", "/api/health")[1]) == {"status": "ok", "engine": "away"}
        assert process.interrupt() == 0
    assert json.loads(all_.elsewhere.ask("GET", "/api/health")[1])["engine"] == "connected"


@pytest.mark.parametrize("how", [*FORGED, *WITHOUT_TOKEN])
@pytest.mark.parametrize(
    ("method", "path", "data", "act"),
    [("POST", "/_dash-update-component", NOTE, "note"), ("PUT", FILE, b"words", "send file")],
    ids=["callback", "file"],
)
def test_a_forged_change_is_refused_and_reaches_no_server(
    all_: Secured, method: str, path: str, data: Any, act: str, how: str
) -> None:
    somebody = all_.somebody(all_.elsewhere)
    other, status, says = (FORGED | WITHOUT_TOKEN)[how]
    before = [what for _, what in all_.server.acts()].count(act)
    refused, told, _ = somebody.ask(method, path, data, **forged(somebody, other))
    assert (refused, says in json.loads(told)["error"]) == (status, True), told
    assert [what for _, what in all_.server.acts()].count(act) == before
    # The same of the page itself gets to the server: else it was refused for another reason.
    status, told, _ = somebody.ask(method, path, data)
    assert status not in (401, 403), told
    assert [what for _, what in all_.server.acts()].count(act) == before + 1


@pytest.mark.parametrize("how", FORGED)
@pytest.mark.parametrize(("path", "answered"), [("/live", 101), ("/desktop", 101)])
def test_a_socket_is_for_pages_of_this_server(all_: Secured, path: str, answered: int, how: str) -> None:
    """What a browser opens cannot send the token along: its ``Origin`` is asked for."""
    somebody = all_.somebody(all_.beside)
    other, status, _ = FORGED[how]
    assert opened(all_.beside, path, **somebody.sends(X_CSRF_Token=None, **forged(somebody, other))) == status
    assert opened(all_.beside, path, **somebody.sends(X_CSRF_Token=None)) == answered


def test_a_name_that_leads_here_and_is_not_ours_lets_nobody_in(place: Place) -> None:
    """As somebody could make a name of theirs lead here, whose pages would then be of the same origin."""
    given = {"name": OPERATOR, "password": PASSWORD}
    for name, status in ((NAME, 200), ("elsewhere.example", 403)):
        at = f"{name}:{place.port}"
        assert place.ask("POST", "/api/login", given, Host=at, Origin=f"https://{at}")[0] == status


def test_what_is_large_is_sent_compressed_and_is_the_same(all_: Secured) -> None:
    somebody = all_.somebody(all_.elsewhere, VIEWER)
    page = somebody.ask("GET", "/")[1].decode()
    paths = [one for one in re.findall(r'(?:src|href)="(/[^"]+)"', page) if re.search(r"\.(js|css)\b", one)]
    paths += ["/assets/niivue/niivue.umd.js", "/_dash-layout", "/_dash-dependencies"]
    sizes = {}
    for path in paths:
        status, plain, told = somebody.ask("GET", path)
        assert (status, told["Content-Encoding"]) == (200, None), path
        for _ in range(2):  # anew, and as it was kept
            status, packed, told = somebody.ask("GET", path, Accept_Encoding="gzip, deflate, br")
            assert status == 200
            if len(plain) < 1024:
                assert packed == plain
                continue
            assert (told["Content-Encoding"], told["Vary"]) == ("gzip", "Accept-Encoding"), path
            assert int(told["Content-Length"]) == len(packed) < len(plain)
            assert gzip.decompress(packed) == plain, path
        sizes[path] = len(plain)
    assert max(sizes, key=lambda path: sizes[path]) == "/plotly.js"
    assert sum(size > 100_000 for size in sizes.values()) > 3


def tabs(layout: Any) -> dict[str, str]:
    """Name and title of each tab in a layout."""
    if isinstance(layout, list):
        return {name: title for one in layout for name, title in tabs(one).items()}
    if not isinstance(layout, dict) or "props" not in layout:
        return {}
    props = layout["props"]
    if layout["type"] == "TabsTab":
        return {props["value"]: props["children"]}
    return tabs(props.get("children"))


def test_there_is_a_desktop_where_it_was_asked_for_and_for_operators(all_: Secured) -> None:
    shown = {
        (name, where): json.dumps(json.loads(somebody.ask("GET", "/_dash-layout")[1]))
        for name in (OPERATOR, VIEWER)
        for where, somebody in (
            ("beside", all_.somebody(all_.beside, name)),
            ("elsewhere", all_.somebody(all_.elsewhere, name)),
        )
    }
    for name in (OPERATOR, VIEWER):
        there = tabs(json.loads(shown[name, "beside"]))
        assert there.pop("desktop") == "Desktop"
        assert tabs(json.loads(shown[name, "elsewhere"])) == there
        assert "live" in there
    assert "desktop-connect" in shown[OPERATOR, "beside"]
    assert "desktop-connect" not in shown[VIEWER, "beside"]
    assert "for operators only" in shown[VIEWER, "beside"]
    assert "DISPLAY" not in shown[VIEWER, "beside"]
    viewer = all_.somebody(all_.beside, VIEWER)
    assert opened(all_.beside, "/desktop", **viewer.sends()) == 403
    assert opened(all_.elsewhere, "/desktop", **all_.somebody(all_.elsewhere).sends()) == 404
    # What is told in the terminal is what the tab tells, and leads there.
    (told,) = (line for line in all_.process.lines if "its desktop" in line)
    assert json.dumps(told.partition(": ")[2].strip()) in shown[OPERATOR, "beside"]
