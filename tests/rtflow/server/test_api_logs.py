from pathlib import Path

import counting_workflow
import pytest
from served import Serving
from visitors import Served, ask, guarded

from rtflow.server.messages import BeginRun
from rtflow.server.session_log import SessionLog, read_log
from rtflow.settings import RunSettings


@pytest.fixture
def served(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings()) as place:
        yield place


def get(served: Served, path: str, role: str = "viewer"):
    return ask(served, "GET", path, token=served.tokens[role])[:2]


def lines_until(served: Served, *words: str) -> list[str]:
    """The log of the session as soon as all of this stands in it."""
    while True:
        _, told = get(served, "/api/logs/session")
        if all(any(word in line for line in told["lines"]) for word in words):
            return told["lines"]


def test_the_log_of_the_session_tells_orders_runs_and_refusals(served: Served):
    assert get(served, "/api/logs/debug") == (200, {"lines": [], "next": 0})
    assert ask(served, "POST", "/api/start", token=served.tokens["viewer"])[0] == 403
    assert ask(served, "POST", "/api/stop", token=served.tokens["operator"], headers={"Rtflow-User": "anna"})
    served.server.begin_run(BeginRun(run_uid="r1", workflow="w"))
    served.server.end_run("r1", "aborted")
    lines = lines_until(served, "has ended")
    (refused,) = (line for line in lines if "refused" in line)
    assert "viewer: refused path=/api/start" in refused
    assert "reason=role" in refused
    assert any("operator: stop for=anna" in line for line in lines)
    assert [line.partition(" run ")[2] for line in lines[-2:]] == [
        "r1 of w begins",
        "r1 has ended: aborted",
    ]


def test_what_comes_later_is_read_from_where_one_was(served: Served):
    served.server._port.say("one")
    lines_until(served, "one")
    _, told = get(served, "/api/logs/session")
    assert get(served, f"/api/logs/session?since={told['next']}")[1] == {"lines": [], "next": told["next"]}
    served.server._port.say("two\nlines")
    lines_until(served, "two lines")
    _, more = get(served, f"/api/logs/session?since={told['next']}")
    (line,) = more["lines"]
    assert line.endswith(" two lines")
    assert get(served, "/api/logs/session?since=x")[0] == 400
    assert get(served, "/api/logs/other")[0] == 404
    assert get(served, "/api/logs/session", "scanner")[0] == 403


def test_who_asks_all_the_time_does_not_fill_the_log(served: Served):
    for _ in range(60):
        ask(served, "POST", "/api/start", token=served.tokens["viewer"])
    served.server._port.say("the end")
    assert 20 < sum("refused" in line for line in lines_until(served, "the end")) < 40


def test_a_log_is_bounded_and_begins_anew(tmp_path: Path):
    path = tmp_path / "logs" / "session.log"
    log = SessionLog(path, largest=2000)
    for number in range(200):
        log.tell(f"line {number}")
    log.close()
    assert path.stat().st_size <= 2000
    assert path.with_name("session.log.1").stat().st_size <= 2000
    lines, after = read_log(path, None)
    assert lines[-1].endswith("line 199")
    assert after == path.stat().st_size
    assert read_log(path, 10_000)[0] == lines  # it has begun anew since


def test_a_disk_that_takes_nothing_is_nobodys_trouble(tmp_path: Path):
    (tmp_path / "logs").write_text("a file stands where the folder should be")
    log = SessionLog(tmp_path / "logs" / "session.log")
    log.tell("something")
    log.close()


def test_secrets_are_not_kept(tmp_path: Path):
    log = SessionLog(tmp_path / "session.log")
    log.act("anna", "refused", {"path": "/rtflow_" + "x" * 43, "password": "hidden"})
    log.close()
    text = (tmp_path / "session.log").read_text()
    assert "(secret)" in text
    assert "hidden" not in text


def test_half_a_line_waits_and_a_long_one_comes_in_pieces(tmp_path: Path):
    path = tmp_path / "log"
    path.write_text("whole\nhalf")
    assert read_log(path, 0) == (["whole"], 6)
    path.write_text("x" * 100_000 + "\nend\n")
    (first,), after = read_log(path, 0)
    lines, last = read_log(path, after)
    assert (first + lines[0], lines[1:], last) == ("x" * 100_000, ["end"], 100_005)
    assert read_log(path, None)[0] == ["end"]


def test_what_python_logged_in_a_run_is_there(tmp_path: Path):
    with Serving(tmp_path, "serve", workflow=counting_workflow.__file__) as serving:
        assert serving.ask("POST", "/api/start")[0] == 202
        serving.until(lambda: serving.status()["state"] == "idle" and serving.status()["run_uid"] is not None)
        status, told = serving.ask("GET", "/api/logs/debug?since=0")
        assert status == 200
        assert any(" nipype.workflow INFO: " in line for line in told["lines"])
        _, session = serving.ask("GET", "/api/logs/session")
        assert any("op: start" in line for line in session["lines"])
