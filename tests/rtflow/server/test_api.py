import asyncio
import contextlib
import json
import socket
import ssl
from pathlib import Path

import aiohttp
import msgspec
import pytest
from visitors import PASSWORD, Agent, Served, ask, guarded, login, until

from rtflow.access.certificates import client_context, make_request
from rtflow.access.enrolment import Enrolling
from rtflow.documents import Event, RunStart, RunStop, VolumeReceived
from rtflow.journal import Journal
from rtflow.server.messages import BeginRun
from rtflow.server.run_clock import RunClock
from rtflow.settings import RunSettings


def play(story) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


@pytest.fixture
def served(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings()) as place:
        yield place


def write_run(folder: Path, uid: str, *, stopped: bool, events: int = 3) -> None:
    journal = Journal(folder / "out" / "runs" / uid)
    start = RunStart(workflow="w", source="simulate:", settings={"bids": {"subject": "02"}})
    documents = [start, *(Event(name=f"e{n}") for n in range(events))]
    if stopped:
        documents[1] = Event(name="another_run", data={"run": "3"})
        documents.append(RunStop(status="completed", counts={"ok": 2}))
    for seq, document in enumerate(documents):
        journal.keep(msgspec.structs.replace(document, run_uid=uid, seq=seq, time=float(seq)))
    journal.close()


def test_anybody_may_ask_whether_the_server_is_alive_and_nothing_else(served: Served):
    assert ask(served, "GET", "/api/health")[:2] == (200, {"status": "ok"})
    for path in ("status", "runs", "runs/a/documents", "settings", "items"):
        assert ask(served, "GET", f"/api/{path}")[0] == 401
    for path in ("start", "stop"):
        assert ask(served, "POST", f"/api/{path}")[0] == 401
    assert ask(served, "PUT", "/api/settings", data={})[0] == 401


def test_a_viewer_looks_and_an_operator_acts(served: Served):
    for role, expected in (("viewer", 403), ("scanner", 403), ("subject", 403), ("operator", 202)):
        assert ask(served, "POST", "/api/start", token=served.tokens[role])[0] == expected
    for role, expected in (("viewer", 200), ("operator", 200), ("scanner", 403), ("subject", 403)):
        assert ask(served, "GET", "/api/status", token=served.tokens[role])[0] == expected
    assert served.wait_for_line("start")["address"] == "127.0.0.1"


def test_status_tells_state_agents_clocks_and_the_next_volume(served: Served):
    async def story() -> None:
        async with Agent(served).staying():
            await until(lambda: served.server.scanner().link.clock.offset)
            server = served.server

            def begin() -> None:
                server.begin_run(BeginRun(run_uid="r1", workflow="w", volumes=10, tr=2.0))
                clock = RunClock(tr=2.0)
                clock.trigger(1, 100.0)
                server.attend(lambda document: None, clock)
                server.enter("running")
                server.observe(VolumeReceived(run_uid="r1", seq=0, volume=3, received=1.0))

            await asyncio.to_thread(begin)
            status = {}
            while status.get("received") != 3:
                _, status, _ = await asyncio.to_thread(
                    ask, served, "GET", "/api/status", token=served.tokens["viewer"]
                )
            assert (status["state"], status["run_uid"], status["volumes"], status["tr"]) == (
                "running",
                "r1",
                10,
                2.0,
            )
            assert 0 < status["next_volume"] <= 2.0
            (told,) = status["agents"]
            assert (told["name"], told["channel"], told["connected"]) == ("scanner", "scanner", True)
            assert told["expected"]
            assert abs(told["offset"]["seconds"]) <= told["offset"]["round_trip"] / 2 + 1e-3

    play(story())


def test_what_the_session_holds_is_told(served: Served):
    token = served.tokens["viewer"]
    assert ask(served, "GET", "/api/items", token=token)[:2] == (200, {"folder": "", "items": []})
    assert served.desk is not None
    held = {"folder": "/study/session", "items": [{"name": "mask", "run_uid": "r1"}]}
    served.desk.session = lambda: held
    assert ask(served, "GET", "/api/items", token=token)[:2] == (200, held)


def test_runs_and_their_documents_are_read_from_the_journals(served: Served, tmp_path: Path):
    write_run(tmp_path, "20260101-1", stopped=True)
    write_run(tmp_path, "20260102-2", stopped=False)
    token = served.tokens["viewer"]
    status, runs, _ = ask(served, "GET", "/api/runs", token=token)
    assert status == 200
    assert [(run["run_uid"], run["status"]) for run in runs] == [
        ("20260102-2", "unfinished"),
        ("20260101-1", "completed"),
    ]
    assert (runs[1]["counts"], runs[1]["bids"]) == ({"ok": 2}, {"subject": "02", "run": "3"})
    assert runs[0]["bids"] == {"subject": "02"}
    path = "/api/runs/20260101-1/documents"
    status, body, headers = ask(served, "GET", f"{path}?since=3", token=token)
    assert [json.loads(line)["seq"] for line in body.splitlines()] == [3, 4]
    assert headers["Content-Type"] == "application/jsonl"
    _, body, _ = ask(served, "GET", f"{path}?since=1&most=2", token=token)
    assert [json.loads(line)["seq"] for line in body.splitlines()] == [1, 2]
    _, body, _ = ask(served, "GET", path, token=token, headers={"Accept": "application/vnd.msgpack"})
    assert [document["document"] for document in msgspec.msgpack.decode(body)] == [
        "RunStart",
        "Event",
        "Event",
        "Event",
        "RunStop",
    ]
    assert ask(served, "GET", f"{path}?since=99", token=token)[1] == b""


def test_half_a_line_of_a_run_that_goes_on_is_not_told(served: Served, tmp_path: Path):
    write_run(tmp_path, "r", stopped=False)
    journal = tmp_path / "out" / "runs" / "r" / "journal" / "documents.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"document": "Ev')
    _, body, _ = ask(served, "GET", "/api/runs/r/documents", token=served.tokens["viewer"])
    assert len(body.splitlines()) == 4
    _, (run,), _ = ask(served, "GET", "/api/runs", token=served.tokens["viewer"])
    assert run["status"] == "unfinished"


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/nothing/documents",
        "/api/runs/..%2f..%2faccess/documents",
        "/api/runs/%2e%2e/documents",
        "/api/runs/" + "a" * 1000 + "/documents",
        "/api/nothing",
        "/etc/passwd",
    ],
)
def test_what_is_not_there_is_not_found(served: Served, path: str):
    status, answer, _ = ask(served, "GET", path, token=served.tokens["viewer"])
    assert status == 404
    assert list(answer) == ["error"]


@pytest.mark.parametrize("query", ["since=-1", "since=x", "most=1e3", "since=99999999999999999999"])
def test_a_wrong_number_is_told(served: Served, query: str):
    status, answer, _ = ask(served, "GET", f"/api/runs/r/documents?{query}", token=served.tokens["viewer"])
    assert status == 400
    assert "whole number" in answer["error"]


def test_settings_are_shown_checked_changed_and_locked(served: Served):
    token = served.tokens["operator"]
    _, told, _ = ask(served, "GET", "/api/settings", token=token)
    assert told["values"]["bids"]["subject"] == "01"
    assert "RunSettings" in told["schema"]["$defs"]
    assert not told["locked"]
    status, told, _ = ask(
        served, "PUT", "/api/settings", token=token, data={"bids": {"subject": "07"}, "source": {"tr": 1.5}}
    )
    assert (status, told["values"]["bids"]["subject"], told["values"]["bids"]["task"]) == (
        200,
        "07",
        "feedback",
    )
    assert told["values"]["source"]["tr"] == 1.5
    status, told, _ = ask(served, "PUT", "/api/settings", token=token, data={"bids": {"subjects": "07"}})
    assert status == 422
    assert "subjects" in told["error"]
    status, told, _ = ask(served, "PUT", "/api/settings", token=token, data={"dummy_volumes": -1})
    assert status == 422
    assert ask(served, "POST", "/api/start", token=token)[0] == 202
    status, told, _ = ask(served, "PUT", "/api/settings", token=token, data={"bids": {"subject": "08"}})
    assert status == 409
    assert "locked" in told["error"]
    assert "changed" in served.wait_for_line("settings")


def test_a_source_of_another_kind_takes_the_place_of_the_one_there_was(served: Served):
    token = served.tokens["operator"]
    ask(served, "PUT", "/api/settings", token=token, data={"source": {"tr": 1.5}})
    data = {"source": {"kind": "folder", "path": "/data"}}
    status, told, _ = ask(served, "PUT", "/api/settings", token=token, data=data)
    assert status == 200, told
    assert told["values"]["source"]["path"] == "/data"


def test_one_run_at_a_time(served: Served):
    token = served.tokens["operator"]
    assert ask(served, "POST", "/api/stop", token=token)[0] == 409
    assert ask(served, "POST", "/api/start", token=token)[0] == 202
    status, told, _ = ask(served, "POST", "/api/start", token=token)
    assert status == 409
    assert "one run at a time" in told["error"]
    assert served.desk is not None
    assert served.desk.wait_for_order(0)
    assert not served.desk.stopping.is_set()
    assert ask(served, "POST", "/api/stop", token=token)[0] == 202
    assert served.desk.stopping.is_set()


def test_a_server_of_one_run_takes_no_orders_to_start(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings(), waits=False) as served:
        token = served.tokens["operator"]
        assert ask(served, "POST", "/api/start", token=token)[0] == 409
        assert ask(served, "PUT", "/api/settings", token=token, data={})[0] == 409


def test_a_browser_logs_in_acts_and_logs_out(served: Served):
    cookie, csrf = login(served)
    at = {"cookie": cookie, "origin": served.http}
    assert ask(served, "GET", "/api/status", cookie=cookie)[0] == 200
    assert ask(served, "GET", "/api/session", **at)[1] == {"name": "anna", "role": "operator", "csrf": csrf}
    assert ask(served, "POST", "/api/start", **at, csrf=csrf)[0] == 202
    assert ask(served, "POST", "/api/stop", **at)[0] == 403  # without the token against forged requests
    assert ask(served, "POST", "/api/stop", cookie=cookie, csrf=csrf)[0] == 403  # from no page
    assert ask(served, "POST", "/api/logout", **at, csrf=csrf)[0] == 200
    assert ask(served, "GET", "/api/status", cookie=cookie)[0] == 401
    assert served.wait_for_line("login", role="operator")
    assert served.wait_for_line("logout")
    assert served.wait_for_line("refused", reason="csrf")


def test_the_cookie_is_for_no_script_and_no_other_page(served: Served):
    _, _, headers = ask(
        served, "POST", "/api/login", origin=served.http, data={"name": "anna", "password": PASSWORD}
    )
    told = headers["Set-Cookie"]
    assert "HttpOnly" in told
    assert "SameSite=Strict" in told
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


def test_a_wrong_password_is_refused_and_told_and_many_are_slowed(served: Served):
    data = {"name": "anna", "password": "wrong"}
    statuses = [ask(served, "POST", "/api/login", origin=served.http, data=data)[0] for _ in range(7)]
    assert statuses[:5] == [401] * 5
    assert statuses[5:] == [429] * 2
    _, _, headers = ask(served, "POST", "/api/login", origin=served.http, data=data)
    assert int(headers["Retry-After"]) > 0
    assert served.wait_for_line("refused", reason="throttled")
    assert PASSWORD not in Path(served.audit.path).read_text()


def test_a_page_logs_in_by_a_token_of_its_channel(served: Served):
    cookie, _ = login(served, token=served.tokens["subject"])
    assert ask(served, "GET", "/api/status", cookie=cookie)[0] == 403

    async def story() -> None:
        headers = {"Cookie": f"{served.cookie_name}={cookie}", "Origin": served.http}
        url = f"{served.server.url}/ws/subject?instance=page"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, headers=headers, protocols=("rtflow.json",)) as page:
                assert (await page.receive()).json()["frame"] == "Hello"
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect(url, headers={"Cookie": headers["Cookie"]})

    play(story())


def test_bodies_must_be_what_is_expected(served: Served):
    token = served.tokens["operator"]
    put = ("PUT", "/api/settings")
    assert ask(served, *put, token=token, raw=b"{}", headers={"Content-Type": "text/plain"})[0] == 415
    at = {"token": token, "headers": {"Content-Type": "application/json"}}
    assert ask(served, *put, **at, raw=b"{")[0] == 400
    assert ask(served, *put, **at, raw=b"[" * 100_000)[0] == 400
    assert ask(served, *put, **at, raw=b"[1]")[0] == 400
    status, told, _ = ask(served, *put, **at, raw=b'"' + b"a" * 300_000 + b'"')
    assert status == 413
    assert list(told) == ["error"]


def test_an_agent_enrols_by_a_code_and_connects_by_what_it_got(tmp_path: Path):
    with guarded(tmp_path, tls=True, client_certificates=False) as served:
        status, pem, _ = ask(served, "GET", "/api/authority")
        assert (status, pem) == (200, (tmp_path / "access/certificates/authority.pem").read_bytes())
        code = Enrolling(served.access).code("console", "scanner")
        data = {"code": code, "request": make_request(tmp_path / "agent", "console")}
        status, got, _ = ask(served, "POST", "/api/enrol", data=data)
        assert (status, got["role"]) == (200, "scanner"), got
        assert ask(served, "POST", "/api/enrol", data=data)[0] == 401  # a code is good once
        served.tokens["scanner"] = got["token"]

        async def story() -> None:
            async with Agent(served).staying():
                await until(lambda: served.server.scanner().link.connected)

        play(story())
        assert served.wait_for_line("enrol", role="scanner")
        assert served.wait_for_line("connected", channel="scanner")
        assert served.tokens["scanner"] not in Path(served.audit.path).read_text()


def test_where_certificates_are_asked_for_each_must_be_that_of_the_token(tmp_path: Path):
    with guarded(tmp_path, tls=True, client_certificates=True) as served:
        enrolling = Enrolling(served.access)
        folder = tmp_path / "agent"
        enrolment = enrolling.redeem(
            enrolling.code("console", "scanner"), make_request(folder, "console"), "127.0.0.1"
        )
        own = folder / "own.pem"
        own.write_text(enrolment.certificate + (folder / "request.key").read_text())
        own.chmod(0o600)
        without = served.tls
        served.tls = client_context(enrolment.authority, own)
        status, told, _ = ask(served, "GET", "/api/status", token=served.tokens["viewer"])
        assert status == 403
        assert "the certificate is that of console" in told["error"]

        async def story() -> None:
            served.tokens["scanner"] = enrolment.token
            async with Agent(served).staying():
                await until(lambda: served.server.scanner().link.connected)

        play(story())
        assert without is not None
        got = b""
        with (
            socket.create_connection(("127.0.0.1", served.server.port)) as connection,
            contextlib.suppress(ssl.SSLError, ConnectionError),
            without.wrap_socket(connection, server_hostname="localhost") as wrapped,
        ):
            wrapped.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = wrapped.recv(1)
        assert got == b""
        assert served.wait_for_line("connection ended", reason="no handshake")


def test_one_who_asks_too_often_is_told_to_wait_and_agents_are_not(served: Served):
    told = {}

    async def story() -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(10_000):
                async with session.get(served.http + "/api/health") as answer:
                    if answer.status == 429:
                        told.update(answer.headers)
                        break
        async with Agent(served).staying():
            await until(lambda: served.server.scanner().link.connected)

    play(story())
    assert int(told["Retry-After"]) > 0
    assert served.wait_for_line("refused", reason="too many requests")


def test_a_run_can_be_ended_though_the_audit_log_cannot_be_written(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings()) as served:
        served.audit.path.unlink(missing_ok=True)
        served.audit.path.mkdir()  # as a full disk would have it
        token = served.tokens["operator"]
        assert ask(served, "POST", "/api/start", token=token)[0] == 503
        assert served.desk is not None
        assert served.desk.states.try_to_enter("preparing")
        assert ask(served, "POST", "/api/stop", token=token)[0] == 202
        assert served.desk.stopping.is_set()
