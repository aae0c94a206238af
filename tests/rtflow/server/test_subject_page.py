"""The subject's page over HTTP: what is served, to whom, and who may use its cookie."""

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from subjects import Subject, serving
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from rtflow.access import certificates
from rtflow.server import subject_page
from rtflow.server.thread import Server

TOKEN = "rtflow_a-token"
WHO = "name=subject&instance=one"


async def by_token(request: web.Request, kind: str) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(authorise=by_token, names=["analysis.lab"]) as server:
        yield server


def ask(server: Server, method: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): of for name, of in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def own(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def enter(server: Server, **headers: str) -> tuple[int, str]:
    status, answered, _ = ask(server, "POST", f"/subject/enter?{WHO}", **headers)
    return status, answered.get("Set-Cookie", "")


def try_socket(server: Server, **headers: str) -> int:
    """Status of a WebSocket's handshake as a browser makes it."""
    given = {name.replace("_", "-"): of for name, of in headers.items()}
    origin = given.pop("Origin", None)
    address = f"ws://127.0.0.1:{server.port}/subject/socket?{WHO}"
    try:
        with connect(
            address, origin=origin, additional_headers=given, subprotocols=["rtflow.json"]
        ) as socket:  # type: ignore[arg-type, list-item]
            assert json.loads(socket.recv(timeout=30))["frame"] == "Hello"
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_the_page_and_its_parts_are_served_to_anybody_under_a_strict_policy(server: Server) -> None:
    for path in subject_page._FILES:
        status, headers, body = ask(server, "GET", f"/subject{path}")
        assert status == 200
        assert body
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) <= {"'none'", "'self'", "data:"}
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server, "GET", "/subject/../app.py")[0] == 404
    assert ask(server, "GET", "/subject/LICENSE")[0] == 404


def test_the_page_names_no_other_host() -> None:
    for name, _ in subject_page._FILES.values():
        if not name.startswith("jspsych/"):
            text = (subject_page._FOLDER / name).read_text(encoding="utf-8")
            assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), name


def test_a_token_is_turned_into_a_cookie_of_the_page_alone(server: Server) -> None:
    status, cookie = enter(server, Authorization=f"Bearer {TOKEN}", Origin=own(server))
    assert status == 204
    assert cookie == f"rtflow-subject={TOKEN}; HttpOnly; Path=/subject; SameSite=Strict"
    kept = cookie.partition(";")[0]
    assert enter(server, Cookie=kept, Origin=own(server))[0] == 204
    assert try_socket(server, Cookie=kept, Origin=own(server)) == 101
    # The agents' way in takes no cookie.
    assert ask(server, "GET", f"/ws/subject?{WHO}", Cookie=kept, Origin=own(server))[0] == 401


def test_over_tls_the_cookie_never_goes_without(tmp_path: Path) -> None:
    certificates.make_authority(tmp_path / "access")
    certificates.make_server_certificate(tmp_path / "access", ["127.0.0.1"])
    tls = certificates.server_context(tmp_path / "access", client_certificates=False)
    trusting = ssl.create_default_context(cadata=certificates.authority_pem(tmp_path / "access"))
    with serving(authorise=by_token, tls=tls) as server:
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}", "Origin": f"https://127.0.0.1:{server.port}"}
        connection.request("POST", f"/subject/enter?{WHO}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 204
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        connection.close()


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:1", "null", None])
def test_a_page_of_another_server_cannot_use_token_or_cookie(server: Server, origin: str | None) -> None:
    where = {} if origin is None else {"Origin": origin}
    assert enter(server, Authorization=f"Bearer {TOKEN}", **where) == (403, "")
    assert enter(server, Cookie=f"rtflow-subject={TOKEN}", **where) == (403, "")
    assert try_socket(server, Cookie=f"rtflow-subject={TOKEN}", **where) == 403


def test_a_name_that_leads_here_and_is_not_ours_is_refused(server: Server) -> None:
    secret = {"Authorization": f"Bearer {TOKEN}"}
    host = f"evil.example:{server.port}"
    assert enter(server, Host=host, Origin=f"https://{host}", **secret)[0] == 403
    host = f"analysis.lab:{server.port}"
    assert enter(server, Host=host, Origin=f"https://{host}", **secret)[0] == 204


def test_without_the_right_token_nobody_comes_in(server: Server) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer rtflow_another"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "rtflow-subject=rtflow_another"},
        {"Cookie": "another=cookie"},
    ):
        assert enter(server, Origin=own(server), **headers) == (401, "")
        assert try_socket(server, Origin=own(server), **headers) == 401


def test_a_second_page_is_told_that_there_is_one(server: Server) -> None:
    subject = Subject(server)
    kept = {"Cookie": f"rtflow-subject={TOKEN}", "Origin": own(server)}
    address = f"ws://127.0.0.1:{server.port}/ws/subject?name=subject&instance=another"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with connect(address, additional_headers=bearer, subprotocols=["rtflow.json"]) as socket:  # type: ignore[list-item]
        socket.send(json.dumps({"frame": "Hello"}))
        assert subject.channel.wait_for_connection(30)
        assert enter(server, **kept)[0] == 409
        assert try_socket(server, **kept) == 409
