"""``rtflow report``: the report of a run as a file, and what it does not write over."""

from pathlib import Path

import msgspec
import pytest

from rtflow.documents import Event, RunStart, RunStop
from rtflow.journal import Journal, Recording
from rtflow.report import report

from .conftest import Rtflow


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of which there is hardly anything to say."""
    return written(tmp_path / "runs" / "r1")


def written(run_dir: Path) -> Path:
    journal = Journal(run_dir)
    documents = (
        RunStart(workflow="w"),
        Event(name="note", data={"says": "well", "who": "a"}),
        RunStop(status="completed"),
    )
    for seq, document in enumerate(documents):
        journal.keep(msgspec.structs.replace(document, run_uid=run_dir.name, seq=seq, time=1e9 + seq))
    journal.close()
    return run_dir


def test_a_report_is_written_beside_the_journal_and_again(rtflow: Rtflow, run_dir: Path) -> None:
    for _ in range(2):
        done = rtflow("report", "runs/r1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "runs/r1/report.html\n", "")
        assert (run_dir / "report.html").read_bytes() == report(Recording(run_dir).documents)
    assert rtflow("report", "runs/r1", "--out", "new/mine.html").stdout == "new/mine.html\n"
    made = (run_dir.parents[1] / "new" / "mine.html").read_bytes()
    assert made == (run_dir / "report.html").read_bytes()


def test_nothing_else_is_written_over(rtflow: Rtflow, run_dir: Path, tmp_path: Path) -> None:
    written(tmp_path / "runs" / "r2")
    (tmp_path / "mine.html").write_text("<!doctype html>mine")
    assert rtflow("report", "runs/r2").returncode == 0
    others = ("mine.html", "runs/r2/report.html", "runs/r1/journal/documents.jsonl")
    for other in others:
        before = (tmp_path / other).read_bytes()
        done = rtflow("report", "runs/r1", "--out", other)
        assert done.returncode == 2
        assert f"{other} is there and is no report of run r1; give another file by --out" in done.stderr
        assert (tmp_path / other).read_bytes() == before
    done = rtflow("report", "runs/r1", "--out", "runs")
    assert (done.returncode, "runs is a folder" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("nowhere", "nowhere does not exist"),
        (".", "holds no run"),
        ("empty", "the run ended before it began"),
    ],
)
def test_where_there_is_no_run_that_is_said(rtflow: Rtflow, tmp_path: Path, folder: str, says: str) -> None:
    (tmp_path / "empty" / "journal").mkdir(parents=True)
    (tmp_path / "empty" / "journal" / "documents.jsonl").touch()
    done = rtflow("report", folder)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.html"))
