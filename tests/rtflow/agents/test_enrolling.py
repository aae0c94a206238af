"""A machine enrols with a real server over TLS: the code shows that it is the right one, and holds once."""

import asyncio
import contextlib
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner
from visitors import guarded

from rtflow.access.certificates import client_context
from rtflow.access.enrolment import Enrolling, load_credentials
from rtflow.agents import enrolling
from rtflow.agents.enrolling import enrol, https_address, kept_credentials
from rtflow.cli.main import app
from rtflow.errors import AccessError, ProtocolError, UsageError

# A connection over TLS that is refused may be closed only when the loop is gone already.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_two_agents_of_one_machine_enrol_and_each_is_known_by_its_own(tmp_path: Path):
    with guarded(tmp_path / "access", tls=True) as served:
        for role in ("scanner", "subject"):
            code = Enrolling(served.access).code(f"{role}-1", role)
            known = asyncio.run(enrol(served.server.url, code, tmp_path / "agent"))
            assert (known.name, known.role) == (f"{role}-1", role)
        for role in ("scanner", "subject"):
            known = load_credentials(
                kept_credentials(role, tmp_path / "agent"), https_address(served.server.url)
            )
            assert served.access.check_token(known.token).role == role
            assert client_context(known.authority, known.certificate) is not None
    kept = [path for path in (tmp_path / "agent").rglob("*") if path.is_file()]
    assert kept
    if sys.platform != "win32":
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_code_holds_once(tmp_path: Path):
    with guarded(tmp_path / "access", tls=True) as served:
        code = Enrolling(served.access).code("scanner-1", "scanner")
        asyncio.run(enrol(served.server.url, code, tmp_path / "first"))
        with pytest.raises(AccessError, match="not known here, or was used already"):
            asyncio.run(enrol(served.server.url, code, tmp_path / "second"))
        with pytest.raises(UsageError, match="not enrolled"):
            load_credentials(
                kept_credentials("scanner", tmp_path / "second"), https_address(served.server.url)
            )


def test_a_server_in_between_is_found_before_the_code_is_said(tmp_path: Path):
    with guarded(tmp_path / "right", tls=True) as right, guarded(tmp_path / "wrong", tls=True) as wrong:
        code = Enrolling(right.access).code("scanner-1", "scanner")
        with pytest.raises(AccessError, match="somebody may stand in between"):
            asyncio.run(enrol(wrong.server.url, code, tmp_path / "agent"))
        assert not [line for line in wrong.lines() if "enrol" in str(line)]


def test_an_address_that_the_certificate_is_not_for_is_told_with_what_to_do(tmp_path: Path):
    with guarded(tmp_path / "access", tls=True) as served:
        code = Enrolling(served.access).code("scanner-1", "scanner")
        other = served.server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")  # the same place by another name
        with pytest.raises(UsageError, match=r"not valid for '::ffff:.*rtflow certs make ::ffff:") as told:
            asyncio.run(enrol(other, code, tmp_path / "agent"))
        assert "SSLContext" not in str(told.value)
        asyncio.run(enrol(served.server.url, code, tmp_path / "agent"))
    kept, known = kept_credentials("scanner", tmp_path / "agent"), https_address(served.server.url)
    with pytest.raises(UsageError, match=rf"not enrolled with .*ffff.*it is with {known}"):
        load_credentials(kept, https_address(other))


def test_the_command_says_what_comes_next(tmp_path: Path):
    with guarded(tmp_path / "access", tls=True) as served:
        code = Enrolling(served.access).code("display", "subject")
        done = CliRunner().invoke(
            app, ["enrol", served.server.url, "--credentials", str(tmp_path / "agent")], input=f"{code}\n"
        )
    assert done.exit_code == 0, done.output
    assert "as subject display" in done.output
    assert f"rtflow subject --server {served.server.url}" in done.output


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ws://127.0.0.1:1", "--token-file"),
        ("console.lan", "expected such as wss://"),
        ("wss://127.0.0.1:9", "no answer"),
    ],
)
def test_a_wrong_address_is_told(address: str, says: str, tmp_path: Path):
    with pytest.raises(UsageError, match=says):
        asyncio.run(enrol(address, "whatever", tmp_path))


class Piecemeal(threading.Thread):
    """Answers one question, with a header and then byte by byte; a context manager."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(daemon=True)
        self._pieces = pieces
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        connection, _ = self._listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(65536)
            length = sum(map(len, self._pieces))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for piece in self._pieces:
                connection.sendall(piece)
                time.sleep(0.01)  # or the system would join them to one

    def __enter__(self) -> "Piecemeal":
        return self

    def __exit__(self, *_: object) -> None:
        self.join(30.0)
        self._listening.close()


async def asked(url: str) -> bytes:
    async with aiohttp.ClientSession() as session:
        return await enrolling._ask(session, "GET", url, tls=False)


def test_an_answer_that_comes_in_parts_is_read_to_its_end():
    with Piecemeal(b"-----BEGIN", b" CERTIFICATE-----", b"...") as server:
        assert asyncio.run(asked(server.url)) == b"-----BEGIN CERTIFICATE-----..."


def test_an_answer_without_end_is_not_read_to_its_end():
    with Piecemeal(*[bytes(32 * 1024)] * 5) as server, pytest.raises(ProtocolError, match="longer than"):
        asyncio.run(asked(server.url))
