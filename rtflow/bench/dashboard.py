"""From a Result in the journal to its point on the page, in three browsers; and what they cost the engine.

The template runs at two volumes a second, first with nobody who looks on, then with three browsers, then
alone again. Browsers are real ones (Chromium, by Playwright). Everything is on this machine: they take its
processors from each other and from the dashboard.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from rtflow.access.store import Access
from rtflow.bench.chromium import QUIET, find_chromium
from rtflow.bench.counter import Counter
from rtflow.bench.hosts import Hosts, free_port
from rtflow.bench.report import BenchReport, bar, machine, spread, versions
from rtflow.documents import Result
from rtflow.errors import RunError, UsageError
from rtflow.journal import Recording

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PER_SECOND = 2.0
_TR = 2.0
_PHASE = 40
"""Volumes of each of the three phases; the decoder is trained after the last one."""
_BETWEEN = 80
"""Volumes that come before the first phase, and while browsers begin and end."""
_BROWSERS = 3
_CHART = "chart-plot-0"
_PATIENCE = 60.0
_CPU_PERCENT = 2.0

_HOOK = """
window.painted = [];
document.addEventListener("rtflow:drawn", ({ detail }) => {
  if (detail.id === "CHART")
    requestAnimationFrame(() => setTimeout(() => window.painted.push([detail.length, Date.now() / 1000])));
});
""".replace("CHART", _CHART)


@dataclass
class _Phase:
    """What the engine took while so many looked on."""

    browsers: int
    cpu: float
    seconds: float

    @property
    def percent(self) -> float:
        """Of one core."""
        return 100.0 * self.cpu / self.seconds


@dataclass
class _Measured:
    """What came of the run."""

    phases: list[_Phase] = field(default_factory=list)
    painted: list[list[Any]] = field(default_factory=list)
    bytes_per_volume: float = 0.0
    results: dict[int, float] = field(default_factory=dict)


@contextlib.contextmanager
def _pages(urls: list[str], password: str) -> Iterator[list[Page]]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UsageError("this benchmark needs Playwright: pip install 'rtflow[test]'") from None
    with sync_playwright() as playwright:
        browsers = [
            playwright.chromium.launch(executable_path=find_chromium(), args=list(QUIET)) for _ in urls
        ]
        pages = []
        for browser, url in zip(browsers, urls, strict=True):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(_HOOK)
            page.goto(f"{url}/login")
            page.fill("#name", "bench")
            page.fill("#password", password)
            page.click("#enter")
            page.wait_for_selector(f"#{_CHART} .main-svg")
            pages.append(page)
        yield pages
        for browser in browsers:
            browser.close()


class _Engine:
    """The process of the run, from outside."""

    def __init__(self, hosts: Hosts, process: Any) -> None:
        self._process = psutil.Process(process.pid)
        self._hosts = hosts
        self.run_dir = self._find()

    def _find(self) -> Path:
        runs = self._hosts.folder("analysis") / "out" / "runs"
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            for journal in runs.glob("*/journal/documents.jsonl"):
                return journal.parents[1]
            time.sleep(0.05)
        raise RunError("the run did not begin")

    def volumes(self) -> int:
        """So many Results stand in its journal."""
        text = (self.run_dir / "journal" / "documents.jsonl").read_bytes()
        return text.count(b'{"document":"Result"')

    def wait_for(self, volumes: int) -> None:
        """Wait until so many are done."""
        until = time.monotonic() + 4 * _PATIENCE
        while self.volumes() < volumes:
            if time.monotonic() > until or not self._process.is_running():
                raise RunError(f"the run came to {self.volumes()} volumes, and not to {volumes}")
            time.sleep(0.05)

    def measure(self, browsers: int, volumes: int) -> _Phase:
        """What it takes for so many volumes."""
        first = self.volumes()
        before, began = self._process.cpu_times(), time.monotonic()
        self.wait_for(first + volumes)
        after = self._process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        return _Phase(browsers, cpu, time.monotonic() - began)


def _measure(hosts: Hosts) -> _Measured:
    password, port = secrets.token_urlsafe(12), free_port()
    folder = hosts.folder("analysis") / "settings"
    folder.mkdir(mode=0o700, exist_ok=True)
    Access(folder / "access").add_user("bench", password, "operator")
    total = 3 * _PHASE + _BETWEEN
    process = hosts.listen(
        "run", "template", "--plain", "--quiet", "--out", str(hosts.folder("analysis") / "out"),
        "--dashboard", "--dashboard-listen", f"127.0.0.1:{port}", "--speed", str(_PER_SECOND * _TR),
        "--set", f"source.volumes={total}", "--set", "decoding.train_blocks=8", "--set", "design.blocks=16",
    )  # fmt: skip
    engine, measured = _Engine(hosts, process), _Measured()
    engine.wait_for(15)
    measured.phases.append(engine.measure(0, _PHASE))
    with Counter(port) as counter:
        urls = [f"http://127.0.0.1:{one}" for one in (counter.port, *[port] * (_BROWSERS - 1))]
        with _pages(urls, password) as pages:
            engine.wait_for(engine.volumes() + 5)
            before, first = counter.bytes, engine.volumes()
            measured.phases.append(engine.measure(_BROWSERS, _PHASE))
            measured.bytes_per_volume = (counter.bytes - before) / (engine.volumes() - first)
            measured.painted = [
                [one for one in page.evaluate("window.painted") if one[0] > first] for page in pages
            ]
    engine.wait_for(engine.volumes() + 5)
    measured.phases.append(engine.measure(0, _PHASE))
    documents = Recording(engine.run_dir).documents
    measured.results = {one.volume: one.time for one in documents if isinstance(one, Result)}
    return measured


def _delays(measured: _Measured) -> list[float]:
    """Seconds from each Result to its point, in each browser; what comes at once is painted at once."""
    delays = []
    for painted in measured.painted:
        done = 0
        for volume, at in painted:
            if volume in measured.results and volume > done:
                delays.append(at - measured.results[volume])
                done = volume
    return delays


def run() -> BenchReport:
    """Run the benchmark."""
    began = machine()
    with tempfile.TemporaryDirectory() as folder, Hosts(Path(folder)) as hosts:
        measured = _measure(hosts)
    delays = _delays(measured)
    if not delays:
        raise RunError("no browser painted anything")
    alone = [phase.percent for phase in measured.phases if not phase.browsers]
    watched = [phase.percent for phase in measured.phases if phase.browsers]
    more = float(np.mean(watched) - np.mean(alone))
    figures = spread("painted", delays) | {
        "painted_p95_ms": 1e3 * float(np.percentile(delays, 95)),
        "points": float(len(delays)),
        "bytes_per_volume": measured.bytes_per_volume,
        "engine_percent_alone": float(np.mean(alone)),
        "engine_percent_watched": float(np.mean(watched)),
        "engine_percent_more": more,
    }
    return BenchReport(
        name="dashboard",
        machine=began,
        versions=versions("rtflow", "dash", "plotly", "aiohttp", "playwright"),
        figures=figures,
        bars={"engine_percent_more": bar(more, _CPU_PERCENT)},
    )
