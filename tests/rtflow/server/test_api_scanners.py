"""Files of a scanner's host over the API, with a real agent."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from agents import Agent
from processes import until
from visitors import Served, ask, guarded

from rtflow.errors import RemoteError
from rtflow.server.transfer import PIECE
from rtflow.settings import RunSettings

LARGE = np.random.default_rng(1).bytes(20 * PIECE + 17)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A server with an agent of the scanner's host, which allows a folder and may be written to."""
    folder = tmp_path_factory.mktemp("files")
    host = folder / "host"
    (host / "run").mkdir(parents=True)
    (host / "large.tsv").write_bytes(LARGE)
    (host / "empty.txt").touch()
    (host / "left.key").write_text("secret")
    with guarded(folder / "served", settings=RunSettings()) as served:
        token = folder / "token"
        token.write_text(served.tokens["scanner"])
        token.chmod(0o600)
        with Agent(
            served.server.port, folder / "state", "--allow", str(host), "--write", "--token-file", str(token)
        ):
            assert served.server.scanner("scanner").wait_for_connection(60.0)
            yield served, host


def get(served: Served, path: str, role: str = "operator", **more):
    return ask(served, "GET", path, token=served.tokens[role], **more)


def put(served: Served, path: str, data: bytes, role: str = "operator", **headers: str):
    return ask(served, "PUT", path, token=served.tokens[role], raw=data, headers=headers)


def test_scanners_tell_what_they_allow(there):
    served, _ = there
    assert get(served, "/api/scanners", "viewer")[:2] == (
        200,
        [{"name": "scanner", "connected": True, "files": True, "write": True}],
    )


def test_a_folder_is_listed(there):
    served, _ = there
    _, listed, _ = get(served, "/api/scanners/scanner/files")
    found = {one["path"]: (one["size"], one["folder"]) for one in listed}
    assert found["large.tsv"] == (len(LARGE), False)
    assert found["run"][1]
    _, listed, _ = get(served, "/api/scanners/scanner/files?pattern=*.txt&folder=")
    assert [one["path"] for one in listed] == ["empty.txt"]


def test_the_folders_that_are_allowed_are_told(there):
    served, host = there
    assert get(served, "/api/scanners/scanner/folders")[:2] == (200, [str(host.resolve())])


def test_files_come_whole_and_go_whole(there):
    served, host = there
    status, body, headers = get(served, "/api/scanners/scanner/file?path=large.tsv")
    assert (status, body) == (200, LARGE)
    assert "large.tsv" in headers["Content-Disposition"]
    assert get(served, "/api/scanners/scanner/file?path=empty.txt")[:2] == (200, b"")
    status, told, _ = put(served, "/api/scanners/scanner/file?path=run/new.tsv", LARGE)
    assert (status, told) == (200, {"path": "run/new.tsv", "size": len(LARGE)})
    assert (host / "run" / "new.tsv").read_bytes() == LARGE
    assert served.wait_for_line("send file")["path"] == "run/new.tsv"
    assert served.wait_for_line("fetch file")["scanner"] == "scanner"


def test_how_far_a_file_is_on_its_way_is_told(there):
    served, _ = there
    path = "/api/scanners/scanner/file?path=told.tsv"
    _, body, _ = put(served, path, LARGE, Accept="application/jsonl")
    *steps, last = [json.loads(line) for line in body.splitlines()]
    assert [one["sent"] for one in steps] == sorted({one["sent"] for one in steps})
    assert len(steps) == 21
    assert steps[-1] == {"sent": len(LARGE), "size": len(LARGE)}
    assert last == {"path": "told.tsv", "size": len(LARGE)}
    _, body, _ = put(served, "/api/scanners/scanner/file?path=told.key", LARGE, Accept="application/jsonl")
    assert "error" in json.loads(body.splitlines()[-1] if isinstance(body, bytes) else json.dumps(body))


@pytest.mark.parametrize("path", ["left.key", "../state/site.key", "/etc/passwd", "none.txt", "run"])
def test_what_the_agent_does_not_allow_is_told_in_its_words(there, path: str):
    served, _ = there
    status, told, _ = get(served, f"/api/scanners/scanner/file?path={path}")
    assert status == 502
    assert "scanner" in told["error"]
    if path != "none.txt":  # there is none, and it may be written
        assert put(served, f"/api/scanners/scanner/file?path={path}", b"x")[0] == 502


def test_only_an_operator_touches_the_scanners_host(there):
    served, host = there
    for role in ("viewer", "scanner", "subject"):
        assert get(served, "/api/scanners/scanner/files", role)[0] == 403
        assert get(served, "/api/scanners/scanner/folders", role)[0] == 403
        assert get(served, "/api/scanners/scanner/file?path=large.tsv", role)[0] == 403
        assert put(served, "/api/scanners/scanner/file?path=of_theirs.tsv", b"x", role)[0] == 403
    assert not (host / "of_theirs.tsv").exists()
    assert get(served, "/api/scanners/other/files")[0] == 404
    assert get(served, "/api/scanners/scanner/file")[0] == 400


def test_a_server_that_ends_waits_for_no_answer(tmp_path: Path):
    raised: list[Exception] = []
    asked = threading.Event()

    def wait() -> None:
        asked.set()
        try:
            silent.files.list("x", timeout=3000.0)
        except RemoteError as error:
            raised.append(error)

    with guarded(tmp_path, settings=RunSettings()) as served:
        silent = served.server.scanner("silent")
        assert get(served, "/api/scanners/silent/files")[0] == 409
        silent.link.was_connected = True  # one that never was is asked nothing
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert asked.wait(30)
        until(lambda: bool(silent.asking._asked))
    waiting.join(30)
    assert "ends" in str(raised)
