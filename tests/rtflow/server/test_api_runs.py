import contextlib
import io
import os
import socket
import zipfile
from pathlib import Path

import counting_workflow
import pandas as pd
import pytest
from visitors import Served, ask, guarded

from rtflow.documents import Event, Result, RunStart, encode
from rtflow.engine import run
from rtflow.journal import Recording
from rtflow.report import report
from rtflow.server import api_runs, run_files
from rtflow.server.run_files import PIECE, archive, open_file, results_table
from rtflow.settings import RunSettings, load_settings
from rtflow.workflow_file import load_workflow


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A server, and a run that it has carried."""
    folder = tmp_path_factory.mktemp("served")
    with guarded(folder, settings=RunSettings()) as served:
        assert served.desk is not None
        served.desk.report = report
        workflow = load_workflow(Path(counting_workflow.__file__))
        settings = load_settings(workflow.settings_type, None, ["missing=[3]", "source=simulate:?speed=max"])
        stop = run(workflow, settings, folder / "out", server=served.server)
        served.desk.done()
        yield served, Path(stop.outputs["run"])


def get(served: Served, path: str, **more):
    return ask(served, "GET", path, token=served.tokens["viewer"], **more)


def test_the_files_of_a_run_are_listed_and_come_as_they_are(there):
    served, run_dir = there
    _, listed, _ = get(served, f"/api/runs/{run_dir.name}/files")
    here = {path.relative_to(run_dir).as_posix(): path for path in run_dir.rglob("*") if path.is_file()}
    assert [one["path"] for one in listed] == sorted(here)
    for one in listed:
        assert (one["size"], one["changed"]) == (
            here[one["path"]].stat().st_size,
            pytest.approx(here[one["path"]].stat().st_mtime),
        )
        status, body, headers = get(served, f"/api/runs/{run_dir.name}/files/{one['path']}")
        assert (status, body) == (200, here[one["path"]].read_bytes())
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment")


def test_a_file_larger_than_a_piece_comes_whole_and_one_of_nothing_too(there):
    served, run_dir = there
    data = os.urandom(3 * PIECE + 17)
    (run_dir / "größe ä.bin").write_bytes(data)
    (run_dir / "empty").write_bytes(b"")
    assert get(served, f"/api/runs/{run_dir.name}/files/gr%C3%B6%C3%9Fe%20%C3%A4.bin")[1] == data
    assert get(served, f"/api/runs/{run_dir.name}/files/empty")[:2] == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "../../../access/users.json",
        "%2e%2e/%2e%2e/secret",
        "..%2f..%2fsecret",
        "link",
        "linked/secret",
        "pipe",
        "journal",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "journal//documents.jsonl",
        "a%00b",
        "nothing",
    ],
)
def test_what_lies_elsewhere_is_not_given(there, path: str):
    served, run_dir = there
    secret = run_dir.parent.parent / "secret"
    secret.write_text("secret")
    for name, target in (("link", secret), ("linked", secret.parent)):
        if not (run_dir / name).is_symlink():
            (run_dir / name).symlink_to(target)
    if not (run_dir / "pipe").exists():
        os.mkfifo(run_dir / "pipe")
    status, told, _ = get(served, f"/api/runs/{run_dir.name}/files/{path}")
    assert (status, list(told)) == (404, ["error"])
    listed = [one["path"] for one in get(served, f"/api/runs/{run_dir.name}/files")[1]]
    assert not {"link", "linked/secret", "pipe"} & set(listed)
    with zipfile.ZipFile(io.BytesIO(get(served, f"/api/runs/{run_dir.name}/archive.zip")[1])) as together:
        assert {name.partition("/")[2] for name in together.namelist()} == set(listed)


def test_the_archive_holds_every_file(there):
    served, run_dir = there
    with zipfile.ZipFile(io.BytesIO(get(served, f"/api/runs/{run_dir.name}/archive.zip")[1])) as together:
        assert together.testzip() is None
        for name in together.namelist():
            assert together.read(name) == (run_dir.parent / name).read_bytes()
        assert f"{run_dir.name}/journal/frames.bin" in together.namelist()


def test_a_name_that_is_no_text_keeps_nobody_from_the_others(there):
    served, run_dir = there
    odd = run_dir / os.fsdecode(b"caf\xe9.txt")
    odd.write_bytes(b"odd")
    status, listed, _ = get(served, f"/api/runs/{run_dir.name}/files")
    assert (status, "caf\ufffd.txt" in [one["path"] for one in listed]) == (200, True)
    _, body, _ = get(served, f"/api/runs/{run_dir.name}/archive.zip")
    odd.unlink()
    with zipfile.ZipFile(io.BytesIO(body)) as together:
        assert together.read(f"{run_dir.name}/caf\ufffd.txt") == b"odd"


def test_an_archive_is_made_piece_by_piece(tmp_path: Path):
    (tmp_path / "large").write_bytes(os.urandom(20 * PIECE))
    assert max(map(len, archive(tmp_path))) < 2 * PIECE


def test_results_are_a_table_with_every_value(there, tmp_path: Path):
    served, run_dir = there
    status, body, headers = get(served, f"/api/runs/{run_dir.name}/results.tsv")
    assert (status, headers["Content-Type"]) == (200, "text/tab-separated-values; charset=utf-8")
    table = pd.read_csv(io.BytesIO(body), sep="\t", na_values="n/a")
    results = Recording(run_dir).results
    assert table.volume.tolist() == [one.volume for one in results]
    assert table.status.tolist() == [one.status for one in results]
    for name in {name for one in results for name in one.values if name != "sum.gaps"}:
        for row, one in zip(table[name], results, strict=True):
            assert (pd.isna(row) and one.values.get(name) is None) or row == one.values[name]


def test_odd_values_stay_in_their_cells():
    values = {"a.x": 0.1 + 0.2, "a.text": "one\ttwo\nthree", "a.flag": True, "a.none": None}
    lines = [encode(Result(volume=2, status="ok", values=values)), encode(Result(volume=1, status="missing"))]
    assert results_table(lines).decode().splitlines() == [
        "volume\tstatus\tlatency\ta.x\ta.text\ta.flag\ta.none",
        "1\tmissing\t0.0\tn/a\tn/a\tn/a\tn/a",
        "2\tok\t0.0\t0.30000000000000004\tone two three\ttrue\tn/a",
    ]


def test_the_report_of_a_run_is_a_page_that_runs_nothing(there):
    served, run_dir = there
    status, body, headers = get(served, f"/api/runs/{run_dir.name}/report.html")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body == report(Recording(run_dir).documents)
    assert headers["Content-Disposition"].startswith("inline; ")
    policy = dict(rule.strip().partition(" ")[::2] for rule in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["sandbox"] == ""
    assert "script-src" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_run_that_goes_on_has_a_report_and_one_that_has_not_begun_has_none(there):
    served, run_dir = there
    other = run_dir.with_name(f"{run_dir.name}x")
    place = f"/api/runs/{other.name}/report.html"
    start = RunStart(run_uid=other.name, seq=0, workflow="w")
    (other / "journal").mkdir(parents=True)
    (other / "journal" / "documents.jsonl").write_bytes(b"")
    status, told, _ = get(served, place)
    assert (status, "ended before it began" in told["error"]) == (409, True)
    (other / "journal" / "documents.jsonl").write_bytes(encode(start) + b"\n")
    assert b">cut off<" in get(served, place)[1]
    assert served.desk is not None
    assert served.desk.states.try_to_enter("preparing")
    served.server.observe(Event(run_uid=other.name, seq=1, name="e"))
    try:
        assert b">under way<" in get(served, place)[1]
    finally:
        served.desk.done()


def test_a_file_that_becomes_shorter_while_it_is_sent_does_not_look_whole(there, monkeypatch):
    """What comes behind its part would be taken for its rest, be it the next answer or words of an error."""
    served, run_dir = there
    (run_dir / "work.bin").write_bytes(bytes(3 * PIECE))
    before = run_files.pieces

    def cut(file, size):
        for number, data in enumerate(before(file, size)):
            if number == 1:
                os.truncate(run_dir / "work.bin", 2 * PIECE)
            yield data

    monkeypatch.setattr(api_runs, "pieces", cut)
    asked = [
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.tokens['viewer']}\r\n\r\n"
        for path in (f"/api/runs/{run_dir.name}/files/work.bin", "/api/health")
    ]
    with socket.create_connection(("127.0.0.1", served.server.port), 10.0) as connection:
        connection.sendall("".join(asked).encode())
        came = b""
        with contextlib.suppress(ConnectionError):
            while b"ok" not in came and (data := connection.recv(PIECE)):
                came += data
    assert came.count(b"HTTP/1.1 200 OK") == 1
    assert b"Content-Length: %d" % (3 * PIECE) in came


def test_a_file_that_is_put_in_the_place_of_a_folder_is_no_way_out(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("x")
    (tmp_path / "run" / "a").symlink_to(tmp_path / "outside")
    assert open_file(tmp_path / "run", "a/x") is None
    (tmp_path / "linked").symlink_to(tmp_path / "run")
    assert open_file(tmp_path / "linked", "a") is None


def test_files_are_for_those_who_may_look(there):
    served, run_dir = there
    for end in ("files", "files/journal/documents.jsonl", "results.tsv", "report.html", "archive.zip"):
        path = f"/api/runs/{run_dir.name}/{end}"
        assert ask(served, "GET", path)[0] == 401
        assert ask(served, "GET", path, token=served.tokens["scanner"])[0] == 403
        assert get(served, f"/api/runs/other/{end}")[0] == 404
