"""A long and fast run: page and dashboard do not grow with it; one who does not read holds up nobody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest
from dashboards import VIEWER, Dashboard, Visitor
from onlookers import SMALL, begin, has_all, until, until_drawn, until_over

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

VOLUMES = 1000
EARLY = 300
LONG = (
    *SMALL,
    *("--set", f"source.volumes={VOLUMES}", "--set", "source.tr=1", "--speed", "20"),
    *("--set", "design.blocks=16", "--set", "design.opening=20", "--set", "decoding.train_blocks=4"),
)

#: Bytes that a value of a volume may take in the page: 8 in its row, 16 in its chart (x and y), and what
#: Plotly makes of that while it draws.
PER_VALUE = 100
#: Bytes that the page may be larger for other reasons: code that was compiled, what was collected late. In
#: two runs, the page grew by 0.1 and by 3.0 MB for 24,000 values more.
PAGE_SLACK = 4_000_000
#: Bytes that the dashboard's process may grow: it keeps documents, of 1 kB, until there are 4096 of them. It
#: grew by 0.8 MB.
SERVER_SLACK = 8_000_000

#: Numbers of the documents that one gets who comes back and has those before a number, up to the run's end.
FROM = """([uid, since]) => new Promise(resolve => {
  const found = [];
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/live?run=${uid}&since=${since}`);
  socket.onmessage = ({ data }) => {
    const documents = data.split("\\n").map(JSON.parse).filter(one => one.document);
    found.push(...documents.map(one => one.seq));
    if (documents.some(one => one.document === "RunStop")) { socket.close(); resolve(found); }
  };
})"""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    with Dashboard(tmp_path_factory.mktemp("long"), *LONG, workflow="template") as dashboard:
        yield dashboard


def heap(session: CDPSession) -> int:
    """Bytes of the page's objects that are in use."""
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return int(used)


class Deaf:
    """A browser that has its page open and reads nothing of what is sent to it, as one that was stopped."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", dashboard.port))
        lines = (
            "GET /live HTTP/1.1",
            f"Host: 127.0.0.1:{dashboard.port}",
            f"Origin: {dashboard.url}",
            f"Cookie: {Visitor(dashboard, VIEWER).cookie}",
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: cnRmbG93LXRlc3RzLTEyMw==",
        )
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        assert self.socket.recv(12) == b"HTTP/1.1 101"

    def was_let_go(self, process: psutil.Process) -> bool:
        """Whether a process has ended the connection; the word of it cannot reach one who does not read."""
        own = self.socket.getsockname()
        return all(one.raddr != own for one in process.net_connections())


@pytest.mark.soak
def test_a_thousand_volumes_at_twenty_a_second(dashboard: Dashboard, browser: Browser) -> None:
    page = dashboard.visit(browser)
    session = page.context.new_cdp_session(page)
    process = psutil.Process(dashboard.process.process.pid)
    deaf = Deaf(dashboard)
    assert not deaf.was_let_go(process)
    uid = begin(page)
    early = until(page, "few => rtflow.store.now.results >= few && rtflow.store.now.results", EARLY)
    page_before, server_before = heap(session), process.memory_info().rss
    assert until_over(page) == "completed"
    until_drawn(page, "chart-plot-0", VOLUMES)
    page_after, server_after = heap(session), process.memory_info().rss
    run = has_all(page, dashboard)
    assert run["results"] == VOLUMES
    values = (len(run["series"]) + page.evaluate("rtflow.store.now.timings.size + 6")) * (VOLUMES - early)
    assert page_after - page_before < PAGE_SLACK + PER_VALUE * values
    assert server_after - server_before < SERVER_SLACK
    # The one that did not read held up nobody, was let go, and gets all that it missed when it comes back.
    dashboard.engine.until(lambda: deaf.was_let_go(process))
    deaf.socket.close()
    assert page.evaluate(FROM, [uid, 500]) == list(range(500, run["next"]))
    page.context.close()
