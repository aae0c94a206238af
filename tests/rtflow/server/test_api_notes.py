import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import counting_workflow
import pytest
from visitors import Served, ask, guarded, login

from rtflow.documents import Event, VolumeReceived
from rtflow.engine import run
from rtflow.journal import Recording
from rtflow.rerun import replay, resume
from rtflow.settings import RunSettings, load_settings
from rtflow.summary import Summary
from rtflow.workflow_file import load_workflow


@pytest.fixture
def served(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings()) as place:
        yield place


def note(served: Served, text: object, role: str = "operator", **headers: str):
    return ask(
        served,
        "POST",
        "/api/notes",
        token=served.tokens[role],
        data={"text": text},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def noted_run(served: Served, out: Path) -> Path:
    """A run that waits after its third volume, in which two notes are taken; then it is ended."""
    workflow = load_workflow(Path(counting_workflow.__file__))
    settings = load_settings(workflow.settings_type, None, ["halt=3", "bids.subject=01"])
    third, stopping = threading.Event(), threading.Event()

    def observe(document) -> None:
        if isinstance(document, VolumeReceived) and document.volume == 3:
            third.set()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(
            run, workflow, settings, out, observe=observe, stopping=stopping, server=served.server
        )
        try:
            assert third.wait(60)
            while ask(served, "GET", "/api/status", token=served.tokens["viewer"])[1]["received"] != 3:
                pass
            assert note(served, " She moved.\nTwice. ", Rtflow_User="vera")[:2] == (
                200,
                {"volume": 3, "who": "vera", "says": "She moved.\nTwice."},
            )
            assert note(served, "Ünruhig")[0] == 200
        finally:
            stopping.set()
        return Path(running.result().outputs["run"])


def notes(run_dir: Path) -> list[Event]:
    return [event for event in Recording(run_dir).events if event.name == "note"]


def test_a_note_stands_in_the_journal_the_summary_and_the_derivatives(served: Served, tmp_path: Path):
    run_dir = noted_run(served, tmp_path / "out")
    assert [(one.volume, one.data) for one in notes(run_dir)] == [
        (3, {"says": "She moved.\nTwice.", "who": "vera"}),
        (3, {"says": "Ünruhig", "who": "operator"}),
    ]
    summary = Summary()
    for document in Recording(run_dir).documents:
        summary.add(document)
    assert "note of operator at volume 3: Ünruhig" in summary.as_dict()["notes"]
    (about,) = (tmp_path / "out" / "bids").rglob("*_desc-results_timeseries.json")
    told = json.loads(about.read_text())["Notes"]
    assert [(one["Volume"], one["Author"], one["Text"]) for one in told] == [
        (3, "vera", "She moved.\nTwice."),
        (3, "operator", "Ünruhig"),
    ]
    acts = [details for who, what, details in served.lines() if (who, what) == ("operator", "note")]
    assert [one.get("for") for one in acts] == ["vera", None]


def test_a_run_with_notes_is_replayed_and_taken_up_again(served: Served, tmp_path: Path):
    run_dir = noted_run(served, tmp_path / "out")
    _, comparison = replay(run_dir)
    assert (comparison.equal, comparison.differing) == (3, ())
    journal = run_dir / "journal" / "documents.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))  # as if it had been cut off
    before, stopping = notes(run_dir), threading.Event()
    stopping.set()
    with guarded(tmp_path / "later", settings=RunSettings()) as later:
        resume(run_dir, stopping=stopping, server=later.server)
        status = ask(later, "GET", "/api/status", token=later.tokens["viewer"])[1]
    assert (status["began"], status["received"]) == (Recording(run_dir).start.time, 3)
    assert status["results"] == {"ok": 3}
    assert notes(run_dir) == before
    assert [document.seq for document in Recording(run_dir).documents] == list(
        range(len(Recording(run_dir).documents))
    )


def test_without_a_run_there_is_nothing_to_note(served: Served):
    status, answer, _ = note(served, "hello")
    assert status == 409
    assert "no run" in answer["error"]


def test_a_viewer_takes_no_notes_and_a_note_has_text(served: Served):
    assert note(served, "hello", role="viewer")[0] == 403
    for text in ("", "  ", "x" * 2001, 7):
        assert note(served, text)[0] == 400


def test_only_an_operators_token_acts_for_others(served: Served):
    assert note(served, "hello", Rtflow_User="a b")[0] == 400
    cookie, csrf = login(served)
    answer = ask(
        served,
        "POST",
        "/api/stop",
        cookie=cookie,
        csrf=csrf,
        origin=served.http,
        headers={"Rtflow-User": "vera"},
    )
    assert answer[0] == 409
    assert "for" not in served.wait_for_line("stop")
    assert ask(served, "POST", "/api/start", token=served.tokens["operator"], headers={"Rtflow-User": "vera"})
    assert served.wait_for_line("start")["for"] == "vera"
