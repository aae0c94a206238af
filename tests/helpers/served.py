"""``rtflow serve`` and ``rtflow run --listen`` as processes, on this machine, without TLS."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import counting_workflow
from processes import LIMIT, environment, free_port

from rtflow.access.audit import AuditLog
from rtflow.access.store import Access


class Serving:
    """A process that listens; a context manager that leaves none.

    Parameters
    ----------
    folder
        For the accounts (``access``) and all that is written (``out``).
    command
        ``serve`` or ``run``, and its arguments behind the workflow, which is left out with ``--resume``.
    """

    def __init__(
        self, folder: Path, command: str, *arguments: str, workflow: str | None = None, port: int = 0
    ) -> None:
        folder.chmod(0o700)
        self.folder, self.port = folder, port or free_port()
        access = Access(folder / "access")
        names = {token.name for token in access.tokens()}
        if "op" in names:
            access.remove_token("op")
        self.token = access.add_token("op", "operator")
        target = (
            []
            if "--resume" in arguments
            else [workflow or counting_workflow.__file__, "--out", str(folder / "out")]
        )
        line = [sys.executable, "-m", "rtflow", command, *target, "--plain", *arguments]
        line += ["--listen", f"127.0.0.1:{self.port}"]
        line += ["--no-dashboard"] if command == "serve" else []
        self.errors = folder / f"stderr-{self.port}"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                line,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment() | {"RTFLOW_ACCESS": str(access.folder)},
            )

    def __enter__(self) -> Serving:
        self.until(lambda: self.ask("GET", "/api/health")[0] == 200)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def said(self) -> str:
        return self.errors.read_text()

    def ask(self, method: str, path: str, data: Any = None) -> tuple[int, Any]:
        """Status and answer of a request by the operator; 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(
                method, path, body=json.dumps(data) if data is not None else None, headers=headers
            )
            answer = connection.getresponse()
            body = answer.read()
        except OSError:
            return 0, None
        finally:
            connection.close()
        return answer.status, json.loads(body) if answer.headers[
            "Content-Type"
        ] == "application/json" else body

    def status(self) -> dict[str, Any]:
        status, told = self.ask("GET", "/api/status")
        assert status == 200, told
        return told  # type: ignore[no-any-return]

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)

    def documents(self, run_uid: str) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        while body := self.ask("GET", f"/api/runs/{run_uid}/documents?since={len(told)}")[1]:
            told += map(json.loads, body.splitlines())
        return told

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Its exit status, once it has ended by itself."""
        self.process.communicate(timeout=LIMIT)
        return self.process.returncode

    def audit(self) -> list[tuple[str, str]]:
        log = AuditLog(self.folder / "access" / "audit.jsonl")
        assert not log.verify().broken
        return [(entry.who, entry.what) for entry in log.entries()]


def kill(serving: Serving) -> None:
    os.kill(serving.process.pid, signal.SIGKILL)
    serving.process.wait()
