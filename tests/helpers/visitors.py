"""Whoever comes to a server in tests: with tokens, by a browser, or with something else in mind."""

import asyncio
import contextlib
import http.client
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from rtflow.access.audit import AuditLog
from rtflow.access.certificates import client_context, make_authority, make_server_certificate, server_context
from rtflow.access.store import Access
from rtflow.agents.connecting import Place, stay_connected
from rtflow.server.desk import Desk
from rtflow.server.guard import CSRF_HEADER, Guard
from rtflow.server.link import Link
from rtflow.server.listening import Limits
from rtflow.server.messages import Body
from rtflow.server.thread import Server
from rtflow.settings import RunSettings

LIMIT = 30.0
PASSWORD = "correct horse battery"


@dataclass
class Served:
    """A server with accounts: one token for each role, and the user anna, an operator."""

    server: Server
    access: Access
    audit: AuditLog
    tokens: dict[str, str]
    desk: Desk | None
    tls: ssl.SSLContext | None

    @property
    def http(self) -> str:
        return self.server.url.replace("ws", "http", 1)

    @property
    def cookie_name(self) -> str:
        return f"{'__Host-' if self.tls else ''}rtflow-{self.server.port}"

    def lines(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Who, what and details of the audit log."""
        return [(entry.who, entry.what, entry.details) for entry in self.audit.entries()]

    def wait_for_line(self, what: str, **details: object) -> dict[str, Any]:
        """Details of the first line that tells this; it must come soon."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            for _, told, found in self.lines():
                if told == what and details.items() <= found.items():
                    return found
            time.sleep(0.01)
        raise AssertionError(f"the audit log has no {what} {details}: {self.lines()}")


@contextlib.contextmanager
def guarded(
    folder: Path,
    *,
    tls: bool = False,
    settings: RunSettings | None = None,
    waits: bool = True,
    limits: Limits | None = None,
    port: int = 0,
    client_certificates: bool = False,
) -> Iterator[Served]:
    """A server that knows who is who; with settings it has a desk, and runs in ``folder/out``."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    access = Access(folder / "access", hasher=PasswordHasher(1, 8, 1))
    audit = AuditLog(folder / "access" / "audit.jsonl")
    roles = ("operator", "viewer", "scanner", "subject")
    known = {token.name for token in access.tokens()}
    tokens = {role: access.add_token(role, role) for role in roles if role not in known}
    if not access.users():
        access.add_user("anna", PASSWORD, "operator")
    context = trusted = None
    if tls:
        certificates = folder / "access" / "certificates"
        make_authority(certificates)
        make_server_certificate(certificates, ["127.0.0.1", "localhost"])
        context = server_context(certificates, client_certificates=client_certificates)
        trusted = client_context((certificates / "authority.pem").read_text())
    desk = Desk(settings, folder / "out", workflow="w", waits=waits) if settings is not None else None
    guard = Guard(access, audit, names=("localhost",))
    with Server("127.0.0.1", port, guard=guard, tls=context, desk=desk, limits=limits) as server:
        yield Served(server, access, audit, tokens, desk, trusted)


def ask(
    place: Served,
    method: str,
    path: str,
    *,
    token: str = "",
    origin: str | None = None,
    cookie: str = "",
    csrf: str = "",
    data: Any = None,
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any, dict[str, str]]:
    """Status, answer (decoded if it is JSON) and headers of one request."""
    sent = dict(headers or {})
    if token:
        sent["Authorization"] = f"Bearer {token}"
    if origin is not None:
        sent["Origin"] = origin
    if cookie:
        sent["Cookie"] = f"{place.cookie_name}={cookie}"
    if csrf:
        sent[CSRF_HEADER] = csrf

    if data is not None:
        raw = json.dumps(data).encode()
        sent["Content-Type"] = "application/json"
    if place.tls is not None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", place.server.port, context=place.tls, timeout=LIMIT
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", place.server.port, timeout=LIMIT)
    with contextlib.closing(connection):
        connection.request(method, path, body=raw, headers=sent)
        answer = connection.getresponse()
        body = answer.read()
        told = dict(answer.headers)
    return answer.status, json.loads(body) if told.get("Content-Type") == "application/json" else body, told


def login(place: Served, **who: str) -> tuple[str, str]:
    """Id of the session and token against forged requests, of one who logs in by a browser."""
    status, answer, headers = ask(
        place, "POST", "/api/login", origin=place.http, data=who or {"name": "anna", "password": PASSWORD}
    )
    assert status == 200, answer
    cookie = headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    return cookie, answer["csrf"]


class Agent:
    """An agent that says what it is told to, in a loop of the test's own."""

    def __init__(
        self, place: Served, kind: str = "scanner", *, name: str = "", instance: str = "one"
    ) -> None:
        self.heard: list[Body] = []
        self.told: list[str] = []
        self.link = Link(self._work)
        token = place.tokens[kind]
        self.place = Place(place.server.url, kind, name or kind, instance, token, place.tls)

    async def _work(self, body: Body, parts: list[bytes]) -> None:
        self.heard.append(body)

    @contextlib.asynccontextmanager
    async def staying(self) -> AsyncIterator[asyncio.Task[None]]:
        """Connected, from when the server knows it, to the end of the block; it says goodbye then."""
        task = asyncio.ensure_future(stay_connected(self.link, self.place, self.told.append))
        try:
            await until(lambda: self.link.connected or task.done())
            yield task
        finally:
            if self.link.connected:
                self.link.hang_up("the test is over")
                await until(lambda: self.told[-1] != "connected" or task.done())
            task.cancel()
            await asyncio.wait([task])


async def until(condition: Any, limit: float = LIMIT) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.005)
