"""The README's part on three machines, word for word, on three hosts of their own: network namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import Page

from rtflow.documents import Delivered, Result
from rtflow.journal import Recording

README = Path(__file__).parents[1] / "README.md"
ADDRESSES = {"analysis": "10.214.7.1", "scanner": "10.214.7.2", "stimulus": "10.214.7.3"}
LIMIT = 120.0
VOLUMES = 20


def typed(host: str) -> list[list[str]]:
    """What the README has one type on a host, word by word."""
    (block,) = [
        block
        for block in Page(README).blocks()
        if block.language == "bash" and f"# on the {host}" in block.text
    ]
    return [shlex.split(line) for line in block.text.splitlines() if not line.startswith("#")]


class Host:
    """A machine: an address, a home folder, a working folder; it knows the others by ``console.lan``."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = f"rtflow-{os.getpid()}-{name}", folder
        folder.mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        self.environment = os.environ | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
        }
        self.environment.pop("RTFLOW_ACCESS", None)

    def plug_in(self, address: str, bridge: str) -> None:
        ip("netns", "add", self.name)
        hosts = Path("/etc/netns") / self.name / "hosts"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(f"127.0.0.1 localhost\n{ADDRESSES['analysis']} console.lan\n")
        here, there = f"rt{os.getpid() % 100000}{address[-1]}", "eth0"
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        ip("link", "set", here, "master", bridge, "up")
        ip("-n", self.name, "addr", "add", f"{address}/24", "dev", there)
        for device in (there, "lo"):
            ip("-n", self.name, "link", "set", device, "up")

    def unplug(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        shutil.rmtree(Path("/etc/netns") / self.name, ignore_errors=True)

    def do(self, words: list[str], answer: str = "") -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *words],
            cwd=self.folder,
            env=self.environment,
            input=answer,
            text=True,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        with (self.folder / "said").open("w") as said:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.processes.append(process)
        return process

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def until(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + LIMIT
        while not there():
            assert time.monotonic() < end, f"{what}; it said: {self.said()}"
            time.sleep(0.05)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Host]]:
    """Three machines on one switch; left out, and said so, where this machine may not make them."""
    bridge = f"rtbr{os.getpid() % 10000000}"
    try:
        ip("link", "add", bridge, "type", "bridge")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no networks can be made here ({error})")
    made = {name: Host(name, tmp_path / name) for name in ADDRESSES}
    try:
        ip("link", "set", bridge, "up")
        for name, host in made.items():
            host.plug_in(ADDRESSES[name], bridge)
        yield made
    finally:
        for host in made.values():
            host.unplug()
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", bridge)


@pytest.mark.slow
def test_the_readme_runs_word_for_word_on_three_machines(hosts: dict[str, Host]) -> None:
    analysis, scanner, stimulus = hosts["analysis"], hosts["scanner"], hosts["stimulus"]
    *before, run = typed("analysis")
    codes = [words[-1] for words in (analysis.do(line).split() for line in before) if words]
    running = analysis.start(run)
    analysis.until(lambda: "listening at" in analysis.said(), "the run does not listen")
    for host, code in ((scanner, codes[-2]), (stimulus, codes[-1])):
        (host.folder / "incoming").mkdir()
        enrol, agent = typed(host.name.rpartition("-")[2])
        host.do(enrol, f"{code}\n")
        host.start(agent)
    for host in (scanner, stimulus):
        host.until(lambda host=host: " run 2" in host.said(), "the agent hears of no run")
    scanner.do(
        shlex.split(
            f"rtflow simulate scan --volumes {VOLUMES} --tr 0.5 --shape 32,32,20 --voxel 6.5 --no-truth -q"
        )
    )
    for file in sorted((scanner.folder / "scan").rglob("*.dcm")):
        shutil.copy(file, scanner.folder / "incoming")
    assert running.wait(LIMIT) == 0, analysis.said()
    recording = Recording(next((analysis.folder / "my_study" / "runs").iterdir()))
    results = [document for document in recording.documents if isinstance(document, Result)]
    assert [(result.volume, result.status) for result in results] == [
        (volume, "ok") for volume in range(1, VOLUMES + 1)
    ]
    shown = {result.volume for result in results if "region.value" in result.values}
    stimulus.until(
        lambda: len(list((stimulus.folder / "feedback").rglob("volume-*.json"))) >= len(shown), "no"
    )
    files = sorted((stimulus.folder / "feedback").rglob("volume-*.json"))
    told = [json.loads(file.read_bytes()) for file in files]
    by_volume = {result.volume: result.values for result in results}
    assert {one["volume"] for one in told} == shown
    assert all(one["value"] == by_volume[one["volume"]]["region.value"] for one in told)
    reached = {
        document.volume
        for document in recording.documents
        if isinstance(document, Delivered) and document.channel == "subject"
    }
    assert reached == shown
