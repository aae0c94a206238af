"""Runs from the command line, each in a process of its own, on a small simulated scan."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rtflow.documents import Result, RunStop, decode

from .conftest import TINY, Rtflow

KEYS = {
    *("run_uid", "status", "exit_status", "workflow", "source", "volumes", "values", "latency_ms", "nodes"),
    *("errors", "doubts", "notes", "outputs", "seconds"),
}

FAILING = """
from nipype import Node, Workflow
from nipype.interfaces.utility import Function
from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.settings import RunSettings

def picky(incremental):
    print("a node may print")
    raise ValueError("not to my taste")

def build(settings):
    flow = Workflow(name="failing")
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    convert = Node(DicomToBids(), name="convert")
    picky_ = Node(Function(["incremental"], ["value"], picky), name="picky")
    flow.connect(scanner, "frame", convert, "frame")
    flow.connect(convert, "incremental", picky_, "incremental")
    return flow
"""


def documents(run_dir: str | Path) -> list:
    lines = (Path(run_dir) / "journal" / "documents.jsonl").read_bytes().splitlines()
    return [decode(line) for line in lines]


def test_a_run_is_told_as_exactly_one_json_object(rtflow: Rtflow, tmp_path: Path) -> None:
    done = rtflow("run", "roi_feedback", "--speed", "max", "--json", *TINY)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == KEYS
    assert told["exit_status"] == 0
    assert told["status"] == "completed"
    assert {"convert", "realign", "region"} <= set(told["nodes"])
    for spread in (told["latency_ms"], *told["nodes"].values()):
        assert 0 < spread["p50"] <= spread["p95"] <= spread["max"]
    assert told["source"].startswith("simulate:?")
    assert all(Path(told["outputs"][name]).is_dir() for name in ("run", "bids"))
    results = [one for one in documents(told["outputs"]["run"]) if isinstance(one, Result)]
    assert [one.volume for one in results] == list(range(1, 21))
    suspect = sum(one.quality == "suspect" for one in results)
    counted = {"planned": 20, "ok": 20, "late": 0, "missing": 0, "failed": 0, "suspect": suspect}
    assert told["volumes"] == counted
    assert "volume 20 of 20, 20 ok" in done.stderr
    assert (Path(told["outputs"]["run"]) / "logs" / "debug.log").is_file()


def test_a_run_is_told_as_a_table(rtflow: Rtflow, tmp_path: Path) -> None:
    done = rtflow("run", "roi_feedback", "--speed", "max", *TINY)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "volume 20 of 20, 20 ok" in done.stdout
    assert "20 ok, 0 late, 0 missing, 0 failed of 20; " in done.stdout
    for word in ("realign", "last byte to Result", "p95", str(tmp_path / "rtflow-out" / "bids")):
        assert word in done.stdout
    assert "nipype" not in done.stdout
    assert "\x1b" not in done.stdout


def test_the_participant_is_named_and_that_of_a_scanner_is_told(rtflow: Rtflow, tmp_path: Path) -> None:
    done = rtflow("run", "roi_feedback", "--speed", "max", "--subject", "05", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "rtflow-out" / "bids").glob("sub-*")) == [tmp_path / "rtflow-out/bids/sub-05"]
    (tmp_path / "empty").mkdir()
    scan = ("run", "roi_feedback", "--source", "folder:empty?wait=0.1", "--out", "other")
    assert "the participant is subject 01; for another one, --subject LABEL" in rtflow(*scan).stderr
    assert "the participant is" not in rtflow(*scan, "--subject", "05").stderr


def test_quiet_is_quiet(rtflow: Rtflow) -> None:
    done = rtflow("run", "roi_feedback", "--speed", "max", "--quiet", *TINY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = rtflow("run", "roi_feedback", "--speed", "max", "--quiet", "--json", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "completed"


def test_volumes_that_fail_are_counted_told_and_limited(rtflow: Rtflow, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    done = rtflow("run", "failing.py", "--speed", "max", "--json", *TINY)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["exit_status"] == 3
    assert told["volumes"]["failed"] == 20
    ((message, count),) = told["errors"].items()
    assert "not to my taste" in message
    assert "(picky() line 3)" in message
    assert "more volumes were lost than [limits] allows: 20 failed" in done.stderr
    assert count == 20
    assert told["latency_ms"] is None
    assert "a node may print" in done.stderr

    ended = rtflow("run", "--resume", told["outputs"]["run"])
    assert ended.returncode == 2
    assert "has ended (completed): it cannot go on" in ended.stderr
    assert ended.stdout == ""

    allowed = rtflow("run", "failing.py", "--speed", "max", *TINY, "--set", "limits.failed=none")
    assert allowed.returncode == 1  # a run that came to nothing did not go well, whatever it may lose
    assert "20 x picky: " in allowed.stdout
    assert "rtflow: no volume was done: picky: " in allowed.stderr


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_run_whose_end_cannot_be_printed(
    tmp_path: Path, environment: dict[str, str], options: list[str]
) -> None:
    command = [sys.executable, "-m", "rtflow", "run", "roi_feedback", "--speed", "max", *options, *TINY]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (run_dir,) = (tmp_path / "rtflow-out" / "runs").iterdir()
    assert done.stderr.splitlines()[-1] == (
        "rtflow: the run has completed, but that cannot be printed (No space left on device); "
        f"it stands in {run_dir}"
    )
    assert "Traceback" not in done.stderr
    assert documents(run_dir)[-1].status == "completed"


def test_a_run_that_is_started_without_stderr(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    command = f"{sys.executable} -m rtflow run failing.py --speed max --json {' '.join(map(repr, TINY))} 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert len(documents(told["outputs"]["run"])) == 1 + 2 * 20 + 1  # and not what the nodes print


BREAKING = """
from nipype import Node, Workflow
from rtflow.documents import Frame, now
from rtflow.errors import SourceError
from rtflow.nodes import ScannerInput
from rtflow.nodes import DicomToBids

class Breaking(ScannerInput):
    def frames(self, stopping):
        for frame in super().frames(stopping):
            if frame.volume == 3:
                raise SourceError("the share is gone")
            yield frame

def build(settings):
    flow = Workflow(name="breaking")
    scanner = Node(Breaking(uri=settings.source), name="scanner")
    flow.connect(scanner, "frame", Node(DicomToBids(), name="convert"), "frame")
    return flow
"""


def test_a_source_that_breaks_in_the_middle_is_a_run_that_failed(rtflow: Rtflow, tmp_path: Path) -> None:
    (tmp_path / "breaking.py").write_text(BREAKING)
    done = rtflow("run", "breaking.py", "--speed", "max", "--json", *TINY)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["status"], told["volumes"]["ok"]) == ("failed", 2)
    assert done.stderr.splitlines()[-1] == "rtflow: SourceError: the share is gone"


def test_a_replay_is_compared_bit_for_bit(rtflow: Rtflow, tmp_path: Path) -> None:
    first = json.loads(rtflow("run", "roi_feedback", "--speed", "max", "--json", *TINY).stdout)
    run_dir = Path(first["outputs"]["run"])
    done = rtflow("replay", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == KEYS | {"replay"}
    assert told["replay"] == {"equal": 20, "differing": []}
    assert Path(told["outputs"]["run"]).is_relative_to(run_dir / "replays")

    # A recorded value that another program changed: the replay must find it.
    journal = run_dir / "journal" / "documents.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    at = next(
        number for number, line in enumerate(lines) if b'"volume":7' in line and b"values_sha256" in line
    )
    lines[at] = re.sub(rb'("values_sha256":")..', rb"\1zz", lines[at])
    journal.write_bytes(b"".join(lines))
    done = rtflow("replay", run_dir, "--out", tmp_path / "again")
    assert done.returncode == 4
    assert "19 Results equal the recorded ones bit for bit; 1 differ: volumes 7" in done.stdout
    assert (tmp_path / "again" / "runs").is_dir()
    assert json.loads(rtflow("replay", run_dir, "--json").stdout)["exit_status"] == 4


def test_a_new_experiment_runs_as_its_printed_command_says(rtflow: Rtflow, tmp_path: Path) -> None:
    made = rtflow("new", "my study")
    command = re.search(r"^ *rtflow (run '.*?')", made.stdout, re.MULTILINE)
    assert command is not None
    assert command[1] == "run 'my study/template.py'"
    done = rtflow(
        *("run", "my study/template.py", "--speed", "max", "--json"),
        *("--set", "source.shape=[24, 24, 10]", "--set", "source.voxel=8"),
        *("--set", "dummy_volumes=2", "--set", "source.volumes=80", "--set", "decoding.train_blocks=2"),
        *("--set", "design.blocks=4", "--set", "design.block=20", "--set", "design.opening=12"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["volumes"]["ok"] == 80
    assert told["accuracy"] == told["values"]["score.accuracy"]
    assert 0 <= told["accuracy"] <= 1


class Child:
    """A run that goes on until it is told to stop, in a process that a test may interrupt."""

    def __init__(self, cwd: Path, environment: dict[str, str], volumes: int, *arguments: str) -> None:
        self.cwd = cwd
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "rtflow", "run", "roi_feedback", *TINY, *arguments),
                *("--set", f"source.volumes={volumes}", "--set", "source.tr=0.05", "--speed", "1"),
            ],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_results(self, count: int) -> Path:
        """Wait until so many Results stand in the journal; its folder."""
        while self.process.poll() is None:
            for run_dir in self.cwd.glob("rtflow-out/runs/*"):
                journal = run_dir / "journal" / "documents.jsonl"
                if journal.is_file() and journal.read_bytes().count(b'"document":"Result"') >= count:
                    return run_dir
            time.sleep(0.02)
        pytest.fail(f"the run ended by itself: {self.process.communicate()}")


@pytest.fixture
def child(tmp_path: Path, environment: dict[str, str]):
    """Start a run; whatever happens, it does not outlive the test."""
    children: list[Child] = []

    def start(volumes: int, *arguments: str) -> Child:
        children.append(Child(tmp_path, environment, volumes, *arguments))
        return children[-1]

    yield start
    for one in children:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_run_cleanly(child, number: signal.Signals) -> None:
    running = child(2000, "--json")
    run_dir = running.wait_for_results(5)
    running.process.send_signal(number)
    stdout, stderr = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    told = json.loads(stdout)
    assert (told["status"], told["exit_status"]) == ("aborted", 1)
    assert told["outputs"]["run"] == str(run_dir)
    found = documents(run_dir)
    assert isinstance(found[-1], RunStop)
    assert found[-1].status == "aborted"
    volumes = [one.volume for one in found if isinstance(one, Result)]
    assert volumes == list(range(1, len(volumes) + 1))
    assert told["volumes"]["ok"] + told["volumes"]["late"] == len(volumes) >= 5
    assert f"rtflow: aborted; {len(volumes)} volumes are kept in {run_dir}" in stderr
    assert "rtflow: ending the run; Ctrl-C again" in stderr
    assert "Traceback" not in stderr


def test_a_second_ctrl_c_ends_it_at_once_and_the_run_goes_on_later(child, rtflow: Rtflow) -> None:
    running = child(120)
    run_dir = running.wait_for_results(5)
    # Both before the process can act on the first: stopped, it collects them only when it goes on.
    running.process.send_signal(signal.SIGSTOP)
    running.process.send_signal(signal.SIGTERM)
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGCONT)
    _, stderr = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    assert "ended at once" in stderr
    before = documents(run_dir)
    assert not isinstance(before[-1], RunStop)

    done = rtflow("run", "--resume", run_dir, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["run_uid"] == before[0].run_uid
    assert told["volumes"]["ok"] + told["volumes"]["late"] == 120
    found = documents(run_dir)
    assert found[: len(before)] == before
    assert [one.volume for one in found if isinstance(one, Result)] == list(range(1, 121))
    assert isinstance(found[-1], RunStop)

    again = rtflow("run", "--resume", run_dir)
    assert again.returncode == 2
    assert "has ended" in again.stderr


def test_the_display_on_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "rtflow", "run", "roi_feedback", *TINY),
            *("--speed", "1", "--set", "source.tr=0.1", "--set", "source.volumes=40", "--set", "opening=1"),
        ],
        cwd=tmp_path,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(leader)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stderr == b""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    for word in (
        "roi_feedback",
        " of 40",
        "feedback",
        "percent_signal_change",
        "latency",
        "motion",
        "FD ",
        "left",
    ):
        assert word in text, word
    assert text.rstrip().endswith("rtflow-out/session")  # the ending stands where the display was
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back


@pytest.mark.slow
def test_a_benchmark_is_told_as_one_object_and_its_bars_give_the_exit_status(rtflow: Rtflow) -> None:
    done = rtflow("bench", "engine", "--json")
    told = json.loads(done.stdout)
    assert {"machine", "versions", "figures", "bars"} <= set(told)
    for bar in told["bars"].values():
        assert bar["holds"] == (bar["value"] <= bar["limit"])
    assert done.returncode == (0 if all(bar["holds"] for bar in told["bars"].values()) else 4)
