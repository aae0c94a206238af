"""Whoever means harm, over real sockets and TLS, beside a run that must not notice.

Each comes from an address of its own, so that what is told of one is not counted with another's.
"""

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import feedback_workflow
import pytest
import yarl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from visitors import PASSWORD, Agent, Served, ask, guarded, login, until
from wire_frames import damaged

from rtflow.engine import run
from rtflow.journal import Recording
from rtflow.server.listening import Limits
from rtflow.server.messages import Listening, Note, Response, Value
from rtflow.server.wire import Ack, Bye, Hello, Ping, Pong, Post, decode, encode
from rtflow.settings import RunSettings
from rtflow.workflow_file import load_workflow

# A client that is cut off in its handshake leaves a socket to the garbage collector: the attacker's.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_ADDRESSES = itertools.count(2)
LIMITS = Limits(waiting=32, open=200, of_one=110, agents=40, seconds=2.0)
ROLES_THAT_MAY_NOT = [
    ("/ws/scanner", "subject"),
    ("/ws/scanner", "viewer"),
    ("/ws/scanner", "operator"),
    ("/ws/subject", "scanner"),
    ("/ws/subject", "operator"),
    ("/ws/monitor", "scanner"),
    ("/ws/monitor", "subject"),
]


class Beside:
    """A run with a display, that goes on while others try things."""

    def __init__(self, served: Served, out: Path) -> None:
        self.served = served
        self.out = out
        self.agent = Agent(served, "subject")
        self.stopping = threading.Event()
        self.stop: Any = None
        self._leaving = threading.Event()
        workflow = load_workflow(Path(feedback_workflow.__file__))
        planned = feedback_workflow.Settings(count=100_000, interval=0.02)

        def carry() -> None:
            self.stop = run(workflow, planned, out, stopping=self.stopping, server=served.server)

        async def show() -> None:
            async with self.agent.staying():
                await asyncio.to_thread(self._leaving.wait)

        self._threads = [
            threading.Thread(target=carry),
            threading.Thread(target=lambda: asyncio.run(show())),
        ]

    def __enter__(self) -> "Beside":
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._threads[0].join()
        self._leaving.set()
        self._threads[1].join()

    def goes_on(self) -> None:
        """Three more values reach the display, on the connection that there was."""
        before = len(self.values())
        asyncio.run(until(lambda: len(self.values()) >= before + 3))
        assert self.agent.told == ["connected"]

    def values(self) -> list[int]:
        return [body.volume for body in self.agent.heard if isinstance(body, Value)]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    folder = tmp_path_factory.mktemp("security")
    with guarded(folder, tls=True, settings=RunSettings(), waits=False, limits=LIMITS) as served:
        with Beside(served, folder / "out") as beside:
            yield beside
        # Whatever was tried: every volume has one Result, and the display had every value once, in order.
        (run_dir,) = (folder / "out" / "runs").iterdir()
        recording = Recording(run_dir)
        assert {result.status for result in recording.results} == {"ok"}
        volumes = [result.volume for result in recording.results]
        assert volumes == list(range(1, len(volumes) + 1))
        values = beside.values()
        assert values == list(range(values[0], values[-1] + 1))
        assert not served.audit.verify().broken


@pytest.fixture
def served(beside: Beside) -> Iterator[Served]:
    yield beside.served
    beside.goes_on()
    assert ask(beside.served, "GET", "/api/health")[0] == 200


@pytest.fixture
def address() -> str:
    """One of this machine's that nobody else uses."""
    return f"127.0.1.{next(_ADDRESSES)}"


def play(story) -> Any:
    return asyncio.run(asyncio.wait_for(story, 120))


@contextlib.asynccontextmanager
async def opened(
    served: Served, path: str, address: str, *, role: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket of nobody in particular."""
    sent = {"Authorization": f"Bearer {served.tokens.get(role, role)}"} if role else {}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(
            served.server.url + path,
            headers=sent | (headers or {}),
            ssl=served.tls or True,
            protocols=("rtflow.msgpack",),
            max_msg_size=0,
        ) as websocket,
    ):
        raw = websocket.get_extra_info("socket")
        try:
            yield websocket
        finally:
            await websocket.close()
            if (connection := websocket._response.connection) is not None:
                connection.transport.abort()
            await until(lambda: raw.fileno() == -1)


def refused(
    served: Served, path: str, address: str, *, role: str = "", headers: dict[str, str] | None = None
) -> int:
    """Status of a WebSocket's handshake."""
    sent = {
        "Host": f"localhost:{served.server.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    if role:
        sent["Authorization"] = f"Bearer {served.tokens.get(role, role)}"
    lines = [f"GET {yarl.URL(served.http + path).raw_path_qs} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (sent | (headers or {})).items()]
    with plain(served, address) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(1 << 16).split(b" ")[1])


@pytest.mark.parametrize("path", ["/ws/scanner", "/ws/subject", "/ws/monitor"])
def test_no_token(served: Served, address: str, path: str):
    assert refused(served, f"{path}?instance=x", address) == 401
    assert served.wait_for_line("refused", reason="no token", path=path, address=address)


@pytest.mark.parametrize("path", ["/ws/scanner", "/ws/subject", "/ws/monitor"])
def test_a_token_that_nobody_gave(served: Served, address: str, path: str):
    assert refused(served, f"{path}?instance=x", address, role="rtflow_" + "a" * 43) == 401
    assert refused(served, f"{path}?instance=x", address, role="a" * 5000) == 401
    assert served.wait_for_line("refused", reason="unknown", path=path, address=address)


@pytest.mark.parametrize(("path", "role"), ROLES_THAT_MAY_NOT)
def test_the_wrong_role(served: Served, address: str, path: str, role: str):
    assert refused(served, f"{path}?instance=x", address, role=role) == 403
    assert served.wait_for_line("refused", reason="role", path=path, address=address)


def test_an_expired_token(served: Served, address: str):
    token = served.access.add_token(f"old-{address}", "scanner", days=1e-9)
    assert refused(served, "/ws/scanner?instance=x&name=old", address, role=token) == 401
    assert served.wait_for_line("refused", reason="expired", address=address)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
def test_a_page_of_another_server(served: Served, address: str, origin: str):
    """With a token that is right, as with the cookie of a login that is."""
    cookie, csrf = login(served)
    mine = {"Origin": origin}
    assert refused(served, "/ws/monitor", address, role="viewer", headers=mine) == 403
    with_cookie = mine | {"Cookie": f"{served.cookie_name}={cookie}"}
    assert refused(served, "/ws/monitor", address, headers=with_cookie) == 403
    assert ask(served, "POST", "/api/stop", cookie=cookie, csrf=csrf, origin=origin)[0] == 403
    data = {"name": "anna", "password": PASSWORD}
    assert ask(served, "POST", "/api/login", origin=origin, data=data)[0] == 403
    assert served.wait_for_line("refused", reason="origin", address=address)


def test_a_name_that_leads_here_and_belongs_to_another(served: Served, address: str):
    host = f"evil.example:{served.server.port}"
    headers = {"Host": host, "Origin": f"https://{host}"}
    assert refused(served, "/ws/monitor", address, role="viewer", headers=headers) == 403
    assert served.wait_for_line("refused", reason="origin", address=address)


def test_a_message_that_was_recorded_and_is_sent_again(served: Served, beside: Beside, address: str):
    frames = [
        encode(Hello(epoch="recorded")),
        encode(Post(seq=1, body=Response(button=f"from {address}", at=1.0))),
        encode(Post(seq=1, body=Response(button=f"from {address}", at=1.0))),
    ]

    async def story() -> None:
        for _ in range(3):  # on one connection, and all of it on others
            acknowledged = 0
            path = "/ws/subject?name=replayer&instance=x"
            async with opened(served, path, address, role="subject") as websocket:
                for frame in frames:
                    await websocket.send_bytes(frame)
                while acknowledged < 2:
                    acknowledged += isinstance(decode((await websocket.receive()).data), Ack)

    play(story())
    assert served.wait_for_line("repeated message", address="subject replayer")
    (run_dir,) = (beside.out / "runs").iterdir()
    told = [event for event in Recording(run_dir).events if event.data.get("button") == f"from {address}"]
    assert len(told) == 1


HUGE = {
    "a frame of 1 GB": b"\x82\xff" + (1 << 30).to_bytes(8, "big") + bytes(4),
    "a frame of 2^63 bytes": b"\x82\xff" + (1 << 63).to_bytes(8, "big") + bytes(4),
}


@pytest.mark.parametrize("frame", HUGE.values(), ids=HUGE.keys())
def test_a_message_of_1_gb_in_one_frame(served: Served, address: str, frame: bytes):
    async def story() -> None:
        async with opened(served, f"/ws/scanner?name=huge&instance={address}", address, role="scanner") as ws:
            await ws.send_bytes(encode(Hello(epoch="x")))
            transport = ws._response.connection.transport
            with contextlib.suppress(ConnectionError):
                for _ in range(64):
                    transport.write(frame if frame else b"")
                    frame_rest = bytes(1 << 16)
                    transport.write(frame_rest)
                    await asyncio.sleep(0)
            while (await ws.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
            assert ws.closed

    play(story())
    assert served.wait_for_line("protocol error", address=address)


@pytest.mark.parametrize("role", ["scanner", "subject"])
def test_a_message_of_1_gb_in_chunks(served: Served, address: str, role: str):
    async def story() -> None:
        path = f"/ws/{role}?name=huge-{role}&instance=x"
        async with opened(served, path, address, role=role) as websocket:
            await websocket.send_bytes(encode(Hello(epoch="x")))
            await websocket.send_bytes(encode(Post(seq=1, body=Note(text="n"), sizes=(1 << 30,))))
            said = []
            while (message := await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                said.append(decode(message.data))
            assert isinstance(said[-1], Bye)
            assert said[-1].final

    play(story())
    assert "at most" in served.wait_for_line("protocol error", address=address)["says"]


def test_a_request_of_1_gb(served: Served, address: str):
    """Told beforehand, or not."""
    for how in (b"Content-Length: 1073741824", b"Transfer-Encoding: chunked"):
        with plain(served, address) as connection:
            connection.sendall(
                b"POST /api/login HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: https://localhost:%d\r\n"
                b"Content-Type: application/json\r\n%s\r\n\r\n"
                % (served.server.port, served.server.port, how)
            )
            body = bytes(1 << 16)
            with contextlib.suppress(OSError):
                for _ in range(1 << 14):
                    connection.sendall(b"%x\r\n%s\r\n" % (len(body), body) if b"chunked" in how else body)
            assert b"413" in answer_of(connection)
    assert served.wait_for_line("refused", reason="request entity too large", address=address)


def test_an_onlooker_that_says_something(served: Served, address: str):
    async def story() -> None:
        async with opened(served, "/ws/monitor", address, role="viewer") as websocket:
            await websocket.send_str("run something")
            while (await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
            assert websocket.closed

    play(story())
    assert served.wait_for_line("protocol error", address=address)


@given(
    frames=st.lists(
        st.one_of(st.binary(max_size=80), st.text(max_size=80), damaged()), min_size=50, max_size=50
    )
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ten_thousand_frames_of_chance(beside: Beside, frames: list[bytes | str]):
    """Ten on a connection, of which those up to the first bad one are heard; `test_link` has 10,000 heard."""
    served = beside.served

    async def story() -> None:
        left = list(frames)
        while left:  # each connection says what it can until it is ended
            async with opened(served, "/ws/scanner?name=fuzz&instance=x", "127.0.2.1", role="scanner") as ws:
                await ws.send_bytes(encode(Hello(epoch="x")))
                with contextlib.suppress(ConnectionError):
                    for frame in left[:10]:
                        await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
                    await ws.send_bytes(b"\xc1")  # which is nothing in MessagePack
                while (await ws.receive()).type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    pass
            del left[:10]

    play(story())


def test_after_all_that_the_run_goes_on(served: Served):
    assert served.wait_for_line("protocol error", address="127.0.2.1")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /?" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request(served: Served, address: str, data: bytes):
    with plain(served, address) as connection:
        with contextlib.suppress(OSError):  # it may have had enough
            connection.sendall(data)
        assert answer_of(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400", b"")
    assert served.wait_for_line("connection ended", address=address)


def test_what_is_no_tls(served: Served, address: str):
    with reached(served, address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer_of(connection)[:4] != b"HTTP"
    assert served.wait_for_line("connection ended", reason="no handshake", address=address)


@pytest.mark.parametrize("how", ["nothing", "half a handshake", "a header by and by", "a body by and by"])
def test_a_slow_one_does_not_stay(served: Served, address: str, how: str):
    ended = threading.Event()
    with (
        reached(served, address)
        if "handshake" in how or how == "nothing"
        else plain(served, address) as connection
    ):
        if how == "half a handshake":
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        elif "body" in how:
            port = served.server.port
            connection.sendall(
                b"POST /api/login HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: https://localhost:%d\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n" % (port, port)
            )
        elif "header" in how:
            connection.sendall(b"GET /api/health HTTP/1.1\r\n")

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.05) and "by and by" in how:
                    connection.sendall(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert answer_of(connection) == b""  # it is ended by the server
        ended.set()
        dripping.join()
    assert served.wait_for_line("connection ended", address=address)


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/runs/../../access/accounts.json/documents",
        "/api/runs/..%2f..%2faccess%2faccounts.json/documents",
        "/api/runs/%2fetc%2fpasswd/documents",
        "/api/runs/..%5c..%5caccess/documents",
        "/api/runs/%00/documents",
        "/subject/../thread.py",
        "/subject/..%2fthread.py",
        "/subject/jspsych/..%2f..%2fthread.py",
    ],
)
def test_a_path_that_leads_outside(served: Served, address: str, path: str):
    with plain(served, address) as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n"
            % (path.encode(), served.tokens["operator"].encode())
        )
        answered = answer_of(connection)
    assert answered[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400")
    assert b"root:" not in answered
    assert served.wait_for_line("refused", address=address)


@pytest.mark.parametrize(
    "name", ["a" * 65, "a" * 5000, "../x", "a/b", "%2e%2e", "a%00b", "a b", "", "%F0%9F%98%80", "-x"]
)
def test_a_name_that_is_none(served: Served, address: str, name: str):
    for query in (f"name={name}&instance=x", f"name=x&instance={name}"):
        assert refused(served, f"/ws/scanner?{query}", address, role="scanner") == 400
    assert served.wait_for_line("refused", reason="name", address=address)


def test_a_name_of_ten_thousand_characters(served: Served, address: str):
    name = "a" * 10_000
    assert refused(served, f"/ws/scanner?name={name}&instance=x", address, role="scanner") == 400
    assert served.wait_for_line("connection ended", address=address)
    with plain(served, address) as connection:
        body = b'{"name": "%s", "password": "x"}' % name.encode()
        port = served.server.port
        head = (
            f"POST /api/login HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://localhost:{port}\r\n"
            f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        assert b" 401 " in answer_of(connection)
    assert served.wait_for_line("refused", reason="unknown", address=address)


def test_a_second_agent_of_one_name(served: Served, address: str):
    path = "/ws/subject?instance=another"  # of the display that the run has
    assert refused(served, path, address, role="subject") == 409
    assert served.wait_for_line("refused", reason="name in use", address=address)


def test_five_hundred_connections_that_say_nothing(served: Served, address: str):
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            with contextlib.suppress(OSError):
                stack.enter_context(reached(served, address))
        # Meanwhile whoever says who it is comes in, from elsewhere and from there.
        assert ask(served, "GET", "/api/status", token=served.tokens["viewer"])[0] == 200
        with plain(served, address) as connection:
            connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 " in answer_of(connection)
        assert served.wait_for_line("connection ended", reason="too many connections", address=address)


def test_five_hundred_onlookers(served: Served, address: str):
    async def story() -> list[int]:
        connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
        headers = {"Authorization": f"Bearer {served.tokens['viewer']}"}
        statuses: list[int] = []
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            for _ in range(500):
                try:
                    await stack.enter_async_context(
                        session.ws_connect(
                            f"{served.server.url}/ws/monitor?since=999999999", headers=headers, ssl=served.tls
                        )
                    )
                    statuses.append(101)
                except aiohttp.WSServerHandshakeError as error:
                    statuses.append(error.status)
        return statuses

    statuses = play(story())
    assert statuses.count(101) == 50
    assert statuses.count(503) == 450
    assert served.wait_for_line("refused", reason="connections", path="/ws/monitor", address=address)


def test_one_who_may_look_on_cannot_keep_the_agents_out(served: Served, address: str):
    head = f"GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.tokens['viewer']}"
    request = f"{head}\r\n\r\n".encode()
    answers = []
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.of_one + 1):
            connection = stack.enter_context(plain(served, address))
            connection.sendall(request)
            answers.append(connection.recv(1 << 16).split(b" ")[1])
        assert answers == [b"200"] * LIMITS.of_one + [b"503"]

        async def story() -> None:
            path = "/ws/scanner?name=late&instance=x"
            async with opened(served, path, address, role="scanner") as websocket:
                assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

        play(story())
    assert served.wait_for_line("refused", reason="connections", address=address)


def test_an_agent_that_comes_and_goes_does_not_fill_the_log(served: Served, address: str):
    async def story() -> None:
        for _ in range(100):
            path = "/ws/scanner?name=flapping&instance=x"
            async with opened(served, path, address, role="scanner") as websocket:
                assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

    play(story())
    told = [details for _, what, details in served.lines() if details.get("agent") == "flapping"]
    assert len(told) <= 2 * 35


def test_an_onlooker_that_comes_and_goes_does_not_fill_the_log(served: Served, address: str):
    name = f"restless-{address}"
    token = served.access.add_token(name, "viewer")

    async def story() -> None:
        for _ in range(100):
            async with opened(served, "/ws/monitor", address, role=token) as websocket:
                assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

    play(story())
    told = [what for who, what, _ in served.lines() if who == name]
    assert 30 <= told.count("looks on") <= 35
    assert told.count("looks on no more") <= 35


def test_a_token_that_is_revoked_while_it_is_connected(served: Served, address: str):
    for role, path in (("scanner", "/ws/scanner?name=gone&instance=x"), ("viewer", "/ws/monitor")):
        token = served.access.add_token(f"{role}-{address}", role)

        async def story(path: str = path, token: str = token, name: str = f"{role}-{address}") -> None:
            async with opened(served, path, address, role=token) as websocket:
                if "scanner" in path:
                    await websocket.send_bytes(encode(Hello(epoch="x")))
                assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY
                await asyncio.to_thread(served.access.remove_token, name)
                while (message := await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                    last = message.data
                if "scanner" in path:
                    assert decode(last) == Bye(reason="the access of this agent was revoked", final=True)

        play(story())
        assert served.wait_for_line("turned out", role=role)
        assert refused(served, path, address, role=token) == 401


def test_a_user_who_is_removed_while_looking_on(served: Served, address: str):
    served.access.add_user(f"u{address}", PASSWORD, "viewer")
    cookie, _ = login(served, name=f"u{address}", password=PASSWORD)

    async def story() -> None:
        headers = {"Cookie": f"{served.cookie_name}={cookie}", "Origin": served.http}
        async with opened(served, "/ws/monitor", address, headers=headers) as websocket:
            assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY
            await asyncio.to_thread(served.access.remove_user, f"u{address}")
            while (await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass

    play(story())
    assert ask(served, "GET", "/api/status", cookie=cookie)[0] == 401


def test_an_agent_that_says_what_is_not_for_it_to_say(served: Served, address: str):
    async def story() -> None:
        path = f"/ws/subject?name=liar&instance={address}"
        async with opened(served, path, address, role="subject") as websocket:
            await websocket.send_bytes(encode(Hello(epoch="x")))
            await websocket.send_bytes(encode(Post(seq=1, body=Listening(run_uid="r", until=0.0))))
            while (message := await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
                last = decode(message.data)
            assert isinstance(last, Bye)
            assert "may not say Listening" in last.reason

    play(story())
    assert served.wait_for_line("protocol error", address=address)


@contextlib.contextmanager
def reached(served: Served, address: str) -> Iterator[socket.socket]:
    """A TCP connection."""
    with socket.create_connection(
        ("127.0.0.1", served.server.port), timeout=60, source_address=(address, 0)
    ) as connection:
        yield connection


@contextlib.contextmanager
def plain(served: Served, address: str) -> Iterator[ssl.SSLSocket]:
    """A TLS connection, and nothing said on it."""
    assert served.tls is not None
    with (
        reached(served, address) as connection,
        served.tls.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        yield wrapped


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    got = b""
    with contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            got += data
    return got


@pytest.mark.parametrize("channel", ["subject", "monitor"])
def test_pings_wait_as_everything_else_does(served: Served, address: str, channel: str):
    """A flood of them, which aiohttp alone would answer as fast as it comes, leaves the others their time."""
    role = "subject" if channel == "subject" else "viewer"
    enough = threading.Event()

    async def flood(websocket: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await websocket.ping(b"x" * 100)  # it waits while nothing is taken
                await asyncio.sleep(0)

    async def story() -> None:
        path = f"/ws/{channel}?name=mad{address.replace('.', '')}&instance={address}&since=0"
        async with opened(served, path, address, role=role) as websocket:
            if channel == "subject":
                await websocket.send_bytes(encode(Hello(epoch="x")))
            flooding = asyncio.create_task(flood(websocket))
            while not (enough.is_set() or flooding.done()):
                await asyncio.sleep(0.02)
            # Not cancelled: aiohttp would take all that is sent after that for cancelled, too.
            with contextlib.suppress(OSError):
                websocket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await flooding

    sent = threading.Thread(target=play, args=(story(),))
    sent.start()
    try:
        for _ in range(20):  # answered all the while, and not once or twice
            assert ask(served, "GET", "/api/health")[0] == 200
            assert sent.is_alive()
            time.sleep(0.05)
    finally:
        enough.set()
        sent.join()


def test_who_is_refused_keeps_neither_a_connection_nor_a_name(served: Served, address: str):
    known = len(list(served.server.channels))
    token = served.tokens["subject"]
    for path in (f"/ws/subject?name=plain&instance={address}", "/ws/subject?name=not a name", "/api/status"):
        status, _, headers = ask(served, "GET", path.replace(" ", "%20"), token=token)
        assert status in (400, 403)
        assert headers["Connection"].lower() == "close"
    assert len(list(served.server.channels)) == known


def test_one_token_does_not_take_every_agents_place(served: Served, address: str):
    greedy, other = (served.access.add_token(f"{name}-{address}", "subject") for name in ("greedy", "other"))

    def path(number: int, kind: str = "subject") -> str:
        return f"/ws/{kind}?name=n{number}-{address}&instance=x"

    async def story() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(16):
                await stack.enter_async_context(opened(served, path(number), address, role=greedy))
            assert await asyncio.to_thread(refused, served, path(16), address, role=greedy) == 503
            for role in (other, "scanner"):
                kind = "scanner" if role == "scanner" else "subject"
                async with opened(served, path(17, kind), address, role=role) as websocket:
                    assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY
        async with opened(served, path(18), address, role=greedy) as websocket:  # there is room again
            assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

    play(story())
    assert served.wait_for_line("refused", reason="connections", address=address, path="/ws/subject")


def test_names_of_those_who_have_gone_are_forgotten(served: Served, address: str):
    before = len(list(served.server.channels))

    async def story() -> None:
        for number in range(100):
            path = f"/ws/subject?name=n{number}-{address}&instance=x"
            async with opened(served, path, address, role="subject") as websocket:
                assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

    play(story())
    assert len(list(served.server.channels)) <= before + 16 + 1


def test_whatever_others_hold_a_scanner_comes_in(tmp_path: Path):
    """Also where they hold all that they may, from several addresses and by a login."""
    limits = Limits(waiting=4, open=24, of_one=6, agents=8)
    with guarded(tmp_path, tls=True, limits=limits) as served, contextlib.ExitStack() as stack:
        server = f"127.0.0.1:{served.server.port}"
        cookie, _ = login(served)
        requests = {
            "token": f"GET /api/status HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer "
            f"{served.tokens['viewer']}\r\n\r\n",
            "session": f"GET /api/session HTTP/1.1\r\nHost: {server}\r\nOrigin: https://{server}\r\n"
            f"Cookie: {served.cookie_name}={cookie}\r\n\r\n",
        }
        answers = []
        for number in range(30):
            connection = stack.enter_context(plain(served, f"127.0.4.{1 + number % 5}"))
            connection.sendall(requests["token" if number < 10 else "session"].encode())
            answers.append(int(connection.recv(1 << 16).split(b" ")[1]))
        assert answers == [200] * 6 + [503] * 4 + [200] * 6 + [503] * 14  # by one token, and all

        async def story() -> None:
            for role in ("scanner", "subject"):
                path = f"/ws/{role}?name=late&instance=x"
                async with opened(served, path, "127.0.4.1", role=role) as websocket:
                    assert (await websocket.receive()).type is aiohttp.WSMsgType.BINARY

        play(story())


def test_who_enters_by_the_page_keeps_no_connection_for_that(served: Served, address: str):
    server = f"localhost:{served.server.port}"
    with plain(served, address) as connection:
        head = f"POST /subject/enter?name=p-{address}&instance=x HTTP/1.1\r\nHost: {server}\r\n"
        head += f"Origin: https://{server}\r\nContent-Length: 0\r\n"
        head += f"Authorization: Bearer {served.tokens['subject']}\r\n\r\n"
        connection.sendall(head.encode())
        answered = answer_of(connection)  # to its end
    assert b" 204 " in answered
    assert b"connection: close" in answered.lower()


def test_one_token_does_not_fill_the_memory_by_many_connections(served: Served, address: str):
    """Each of its messages would be taken by itself; another token's are all the same."""
    greedy, other = (served.access.add_token(f"{name}-{address}", "scanner") for name in ("large", "small"))
    large = encode(Post(seq=1, body=Note(text="n"), sizes=(200 << 20,)))
    small = encode(Post(seq=1, body=Note(text="n"), sizes=(1 << 20,)))

    async def begin(websocket: aiohttp.ClientWebSocketResponse, message: bytes) -> Bye | None:
        """Begin to send it; what the server says to that, other than to go on."""
        await websocket.send_bytes(encode(Hello(epoch="x")))
        await websocket.send_bytes(message)
        await websocket.send_bytes(encode(Ping(sent=7.0)))  # answered only if it was taken
        while (came := await websocket.receive()).type is aiohttp.WSMsgType.BINARY:
            frame = decode(came.data)
            if isinstance(frame, Bye):
                return frame
            if isinstance(frame, Pong) and frame.sent == 7.0:
                return None
        raise AssertionError("it was ended without a word")

    def path(name: str) -> str:
        return f"/ws/scanner?name={name}-{address}&instance=x"

    async def story() -> None:
        async with opened(served, path("a"), address, role=greedy) as first:
            assert await begin(first, large) is None
            async with opened(served, path("b"), address, role=greedy) as second:
                bye = await begin(second, large)
                assert bye is not None
                assert "at most" in bye.reason
                assert not bye.final  # it may come again when the other one is through
            async with opened(served, path("c"), address, role=other) as third:
                assert await begin(third, small) is None

        async with contextlib.AsyncExitStack() as stack:
            for attempt in itertools.count():  # the server may not have seen yet that the first has gone
                last = await stack.enter_async_context(
                    opened(served, path(f"d{attempt}"), address, role=greedy)
                )
                if await begin(last, large) is None:
                    break

    play(story())
    assert "held at a time" in served.wait_for_line("protocol error", address=address)["says"]
