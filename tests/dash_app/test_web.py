"""The dashboard's port, before an engine that does what the test says: fails, hangs, ends half-way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from argon2 import PasswordHasher

from rtflow.access.audit import AuditLog
from rtflow.access.sessions import csrf_token
from rtflow.access.store import Access
from rtflow.dash_app.engine import Engine, EnginePlace
from rtflow.dash_app.web import Web
from rtflow.server.guard import Guard

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page(environ: dict[str, Any], start: Any) -> list[bytes]:
    """What stands for Dash."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"the page"]


class Port:
    """The dashboard, and somebody who has logged in."""

    def __init__(self, web_: Web, guard: Guard, port: int, session: aiohttp.ClientSession) -> None:
        self.web, self.guard, self.number, self.session = web_, guard, port, session
        self.url = f"http://127.0.0.1:{port}"
        self.cookie = f"rtflow-{port}"
        self.ids = {
            name: guard.sessions.open(guard.access.identity(name), origin=self.url)[0]
            for name in ("anna", "vera")
        }

    def headers(self, name: str) -> dict[str, str]:
        """What a browser sends along of somebody."""
        sent = {"Origin": self.url, "Cookie": f"{self.cookie}={self.ids[name]}"}
        return sent | {"X-CSRF-Token": csrf_token(self.ids[name])}

    def ask(self, path: str, name: str = "vera", method: str = "GET") -> Any:
        return self.session.request(method, self.url + path, headers=self.headers(name))

    def look(self, name: str = "vera") -> Any:
        return self.session.ws_connect(f"{self.url}/live", headers=self.headers(name))


@contextlib.asynccontextmanager
async def opened(folder: Path, answer: Answer, desktop: Path | None = None) -> AsyncIterator[Port]:
    """The port while the block lasts; the engine answers each request but those of its socket so."""
    engine = web.Application()
    engine.router.add_route("*", "/api/{path:.*}", answer)
    behind = web.AppRunner(engine, access_log=None)
    await behind.setup()
    await web.TCPSite(behind, "127.0.0.1", 0).start()
    place = EnginePlace(f"http://127.0.0.1:{behind.addresses[0][1]}", "token")
    folder.chmod(0o700)
    access = Access(folder / "access", hasher=PasswordHasher(1, 8, 1))
    access.add_user("anna", "a-password-of-tests", "operator")
    access.add_user("vera", "a-password-of-tests", "viewer")
    guard = Guard(access, AuditLog(folder / "access" / "audit.jsonl"), names=("localhost",))
    made = Web(Engine(place), guard, lambda port: (page, ()), desktop)
    async with asyncio.timeout(60):
        async with made.opened("127.0.0.1", 0, None) as port, aiohttp.ClientSession() as session:
            yield Port(made, guard, port, session)
        await behind.cleanup()
    guard.log.close()
    guard.pools.close()


def says(status: int, error: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": error}, status=status)

    return answer


@pytest.mark.parametrize(
    ("engine", "page"), [(404, 404), (409, 409), (503, 503), (401, 502), (403, 502), (500, 502)]
)
def test_what_the_engine_refuses_is_refused_alike_and_by_what_it_fails_it_failed_us(
    tmp_path: Path, engine: int, page: int
) -> None:
    async def run() -> None:
        async with opened(tmp_path, says(engine, "not this")) as port:
            for path in ("/images/a.b.nii.gz", "/documents/x", "/logs/session", "/runs/x/files"):
                async with port.ask(path) as answer:
                    assert (answer.status, await answer.json()) == (page, {"error": "not this"})

    asyncio.run(run())


def test_a_file_that_the_engine_did_not_send_whole_does_not_look_whole(tmp_path: Path) -> None:
    """Words about an error, behind the part that came, would be taken for the rest of it."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(bytes(99_900))
        assert request.transport is not None
        request.transport.close()
        return response

    async def run() -> None:
        async with opened(tmp_path, half) as port:
            with pytest.raises(aiohttp.ClientError):
                async with port.ask("/runs/x/files/frames.bin") as answer:
                    await answer.read()

    asyncio.run(run())


def test_a_question_about_a_file_alone_is_not_answered_with_the_file(tmp_path: Path) -> None:
    """What is sent behind the head would be taken for the next answer."""

    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"voxels")

    async def run() -> None:
        async with opened(tmp_path, whole) as port:
            for method, body in (("HEAD", b""), ("GET", b"voxels")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
                sent = port.headers("vera") | {"Host": f"127.0.0.1:{port.number}", "Connection": "close"}
                lines = [
                    f"{method} /runs/x/files/a HTTP/1.1",
                    *(f"{key}: {one}" for key, one in sent.items()),
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
                writer.close()
                assert (b"Content-Length: 6" in head, rest) == (True, body)

    asyncio.run(run())


def test_one_who_asks_for_much_keeps_nobody_from_the_engine(tmp_path: Path) -> None:
    under_way, go_on = 0, asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        nonlocal under_way
        if request.path == "/api/status" or "anna" in request.path:
            return web.json_response({"time": 0.0})
        under_way += 1
        await go_on.wait()
        return web.json_response({})

    async def asked(port: Port, path: str) -> int:
        async with port.ask(path) as answer:
            return int(answer.status)

    async def run() -> None:
        async with opened(tmp_path, hang) as port:
            paths = [f"/logs/{number}" for number in range(40)] + ["/runs/x/archive.zip"] * 40
            asking = [asyncio.ensure_future(asked(port, path)) for path in paths]
            while sum(task.done() for task in asking) < 32 or under_way < 12:
                await asyncio.sleep(0.01)
            async with port.ask("/logs/anna", "anna") as answer:
                assert answer.status == 200
            assert under_way == 12  # 4 at a time of what is short, 8 files
            go_on.set()
            statuses = sorted(await asyncio.gather(*asking))
            assert statuses == [200] * 48 + [503] * 32

    asyncio.run(run())


def test_one_who_asks_too_often_is_told_to_wait_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtflow.dash_app.fairness._BURST", 5)
    monkeypatch.setattr("rtflow.dash_app.fairness._PER_SECOND", 0.01)

    async def run() -> None:
        async with opened(tmp_path, says(404, "none")) as port:
            statuses = []
            for _ in range(7):
                async with port.ask("/logs/session") as answer:
                    statuses.append(answer.status)
            assert statuses == [404] * 5 + [429] * 2
            async with port.ask("/_dash-layout") as answer:
                assert (answer.status, int(answer.headers["Retry-After"]) > 10) == (429, True)
            async with port.ask("/assets/a.js") as answer:  # costs the engine nothing
                assert answer.status == 200
            async with port.ask("/logs/session", "anna") as answer:
                assert answer.status == 404

    asyncio.run(run())


def test_one_who_opens_many_pages_leaves_room_for_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path, says(503, "away")) as port, contextlib.AsyncExitStack() as open_:
            for _ in range(40):
                await open_.enter_async_context(port.look())
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await open_.enter_async_context(port.look())
            await open_.enter_async_context(port.look("anna"))

    asyncio.run(run())


def test_a_page_that_floods_is_listened_to_no_faster_than_a_page_of_ours_speaks(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path, says(503, "away")) as port, port.look() as socket:
            heard = 0

            def hear(*_: object) -> None:
                nonlocal heard
                heard += 1

            port.web.pictures.hear = hear  # type: ignore[method-assign]
            for _ in range(200):
                await socket.send_str('{"has":true}')
            began = time.monotonic()
            while heard < 150:
                await asyncio.sleep(0.01)
            assert time.monotonic() - began > 0.3  # a second's worth at once, and the rest at 100 a second

    asyncio.run(run())


def test_where_the_engine_is_and_what_is_wrong_is_for_those_who_have_logged_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path, says(503, "away")) as port:
            while port.web.hub.trouble == "not connected yet":
                await asyncio.sleep(0.01)
            async with port.session.get(f"{port.url}/api/health") as answer:
                assert await answer.json() == {"status": "ok", "engine": "away"}

    asyncio.run(run())


def test_a_request_for_the_desktop_that_is_no_websocket_opens_nothing_there(tmp_path: Path) -> None:
    async def run() -> None:
        reached = 0

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal reached
            reached += 1
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(greet, tmp_path / "vnc")
        async with server, opened(tmp_path, says(503, "away"), tmp_path / "vnc") as port:
            async with port.ask("/desktop", "anna") as answer:
                assert answer.status == 400
            async with port.session.ws_connect(f"{port.url}/desktop", headers=port.headers("anna")):
                while not reached:
                    await asyncio.sleep(0.01)
            assert reached == 1

    asyncio.run(run())
