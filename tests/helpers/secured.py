"""A server and its dashboards behind TLS, by the commands of the documentation; and who comes to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import counting_workflow
from agents import Process
from dashboards import OPERATOR, PASSWORD, VIEWER
from processes import LIMIT, environment, free_port

from rtflow.access.audit import AuditLog
from rtflow.access.store import Access

NAME = "console.lan"
"""What the certificates are for, beside this machine."""


@dataclass(frozen=True)
class Place:
    """A port behind TLS.

    Parameters
    ----------
    port
        Its number.
    access
        Folder of its accounts and its certificate.
    """

    port: int
    access: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext:
        """As a browser checks the certificate that has imported the authority, and that alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.access / "certificates" / "authority.pem")
        return context

    def acts(self) -> list[tuple[str, str]]:
        """Who did what, by the audit log."""
        log = AuditLog(self.access / "audit.jsonl")
        assert not log.verify().broken
        return [(entry.who, entry.what) for entry in log.entries()]

    def ask(self, method: str, path: str, data: Any = None, **headers: str) -> tuple[int, bytes, Any]:
        """Status, body and headers of an answer; a name has ``_`` for ``-``."""
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=LIMIT, context=self.tls)
        body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} | sent)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()


@dataclass(frozen=True)
class Secured:
    """What there is.

    Parameters
    ----------
    server
        ``rtflow serve``.
    beside
        The dashboard that it has opened, with a desktop.
    elsewhere
        That of ``rtflow dashboard``, with accounts and a certificate of its own, as on another machine.
    token
        Of an operator, for the server.
    process
        Of the server.
    """

    server: Place
    beside: Place
    elsewhere: Place
    token: str
    process: Process
    _known: dict[tuple[Place, str], Somebody] = field(default_factory=dict)

    def somebody(self, place: Place, name: str = OPERATOR) -> Somebody:
        """Somebody who has logged in there: once for all tests, as a check of a password takes its time."""
        if (place, name) not in self._known:
            self._known[place, name] = Somebody(place, name)
        return self._known[place, name]

    def order(self, path: str) -> int:
        """Have an operator's program order something of the server; the status."""
        return self.server.ask("POST", path, Authorization=f"Bearer {self.token}")[0]


@contextlib.contextmanager
def secured(folder: Path, *arguments: str) -> Iterator[Secured]:
    """All of it while the block lasts; ``arguments`` are for ``rtflow serve``."""
    places = {name: Place(free_port(), folder / name) for name in ("here", "there")}
    for place in places.values():
        place.access.mkdir(mode=0o700)
        _typed("certs", "make", NAME, "--access", str(place.access))
        for name, role in ((OPERATOR, "operator"), (VIEWER, "viewer")):
            Access(place.access).add_user(name, PASSWORD, role)
    here, there = places.values()
    beside = Place(free_port(), here.access)
    token, authority = folder / "token", folder / "authority.pem"
    token.touch(0o600)
    token.write_text(_typed("token", "add", "wall", "--role", "operator", "--access", str(here.access)))
    shutil.copy(here.access / "certificates" / "authority.pem", authority)
    serve = ("-m", "rtflow", "serve", counting_workflow.__file__, "--out", str(folder / "out"), "--desktop")
    listen = ("--listen", f"127.0.0.1:{here.port}", "--dashboard-listen", f"127.0.0.1:{beside.port}")
    dashboard = ("-m", "rtflow", "dashboard", "--server", f"wss://localhost:{here.port}")
    known = ("--ca", str(authority), "--token-file", str(token), "--access", str(there.access))
    with (
        Process(*serve, *listen, "--access", str(here.access), *arguments) as serving,
        Process(*dashboard, "--listen", f"127.0.0.1:{there.port}", *known) as showing,
    ):
        serving.until(lambda: serving.said("waiting for Run"))
        showing.until(lambda: showing.said("dashboard at https://"))
        # It may have come before the server: then it tries again by itself.
        showing.until(lambda: json.loads(there.ask("GET", "/api/health")[1])["engine"] == "connected")
        yield Secured(here, beside, there, token.read_text().strip(), serving)


def _typed(*words: str) -> str:
    command = [sys.executable, "-m", "rtflow", *words]
    return subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True).stdout


class Somebody:
    """Somebody who has logged in, as a browser keeps them.

    Parameters
    ----------
    place
        Where.
    name
        Who.

    Attributes
    ----------
    login
        The cookie of the login, as it was set.
    cookie
        What is sent back of it.
    csrf
        The token against forged requests.
    """

    def __init__(self, place: Place, name: str = OPERATOR) -> None:
        self.place = place
        given = {"name": name, "password": PASSWORD}
        status, told, headers = place.ask("POST", "/api/login", given, Origin=place.url)
        assert status == 200, told
        self.csrf = json.loads(told)["csrf"]
        self.login = SimpleCookie(headers["Set-Cookie"])
        self.cookie = headers["Set-Cookie"].partition(";")[0]

    def sends(self, **other: str | None) -> dict[str, str]:
        """What a browser sends along; ``other`` in its place, and without what is None."""
        own = {"Origin": self.place.url, "Cookie": self.cookie, "X_CSRF_Token": self.csrf}
        return {name: value for name, value in (own | other).items() if value is not None}

    def ask(self, method: str, path: str, data: Any = None, **other: str | None) -> tuple[int, bytes, Any]:
        """Status, body and headers of an answer."""
        return self.place.ask(method, path, data, **self.sends(**other))
