"""What a server asked for that is gone: the next one hears nothing of it, and nothing of it stays."""

import contextlib
import threading
from pathlib import Path

from agents import Agent
from served_run import anyone

from rtflow.server.messages import Request
from rtflow.server.scanner_channel import ScannerChannel
from rtflow.server.thread import Server

LONG = 60.0


def test_an_answer_to_an_earlier_server_is_none_to_the_next_one(tmp_path: Path) -> None:
    with Server("127.0.0.1", 0, authorise=anyone) as first:
        port = first.port
        agent = Agent(port, tmp_path / "state", "--service", "lights:Lights")
        channel = first.scanner("scanner")
        assert channel.wait_for_connection(LONG)
        asking = threading.Thread(target=_ask, args=(channel,), daemon=True)
        asking.start()
        agent.until(lambda: channel.asking._asked and not channel.link.waiting())
    with agent, Server("127.0.0.1", port, authorise=anyone) as second:
        channel = second.scanner("scanner")
        assert channel.wait_for_connection(LONG)
        assert channel.call("lights.name", timeout=LONG) == "scanner room"


def _ask(channel: ScannerChannel) -> None:
    with contextlib.suppress(Exception):  # its server goes before the answer comes
        channel.call("lights.wait", seconds=2.0, timeout=LONG)


def test_half_a_file_of_an_earlier_server_is_removed(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    asked = Request(
        id=1, method="files.put", arguments={"path": "a.tsv", "size": 9, "sha256": "0" * 64, "folders": False}
    )
    with Server("127.0.0.1", 0, authorise=anyone) as first:
        port = first.port
        agent = Agent(port, tmp_path / "state", "--allow", str(host), "--write")
        assert first.scanner("scanner").wait_for_connection(LONG)
        first.scanner("scanner").post(asked)
        agent.until(lambda: list(host.glob(".*.partial")))
    with agent, Server("127.0.0.1", port, authorise=anyone) as second:
        assert second.scanner("scanner").wait_for_connection(LONG)
        agent.until(lambda: not list(host.iterdir()))
