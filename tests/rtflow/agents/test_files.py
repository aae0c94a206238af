"""Files on the scanner's host, asked for over a real connection to a real agent."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from agents import Agent
from cable import Cable
from scanning import volume_file
from served_run import anyone

from rtflow.errors import RemoteError
from rtflow.server.files import RemoteFiles
from rtflow.server.thread import Server
from rtflow.server.transfer import PIECE

LARGE = np.random.default_rng(1).bytes(5 * PIECE + 17)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    (folder / "run" / "deep").mkdir(parents=True)
    (folder / "large.tsv").write_bytes(LARGE)
    (folder / "run" / "one.json").write_text("{}")
    (folder / "run" / "deep" / "two.json").write_text("[]")
    (folder / "run" / "left.key").write_text("secret")
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("127.0.0.1", 0, authorise=anyone) as server:
        yield server


@pytest.fixture
def files(host: Path, server: Server, tmp_path: Path) -> Iterator[RemoteFiles]:
    with Agent(server.port, tmp_path / "state", "--allow", str(host), "--write"):
        assert server.scanner("scanner").wait_for_connection(60.0)
        yield server.scanner("scanner").files


def test_get_and_put(files: RemoteFiles, host: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert files.get("large.tsv") == LARGE
    files.put("new.tsv", LARGE, progress=lambda *what: told.append(what))
    assert (host / "new.tsv").read_bytes() == LARGE
    assert told[-1] == ("new.tsv", len(LARGE), len(LARGE))
    assert len(told) == 6
    files.put("empty.txt", b"")
    assert files.get("empty.txt") == b""


def test_a_file_that_is_not_there_is_told_by_the_name_that_was_asked_for(files: RemoteFiles) -> None:
    with pytest.raises(RemoteError, match=r"agent 'scanner': 'run/none\.json': No such file or directory"):
        files.get("run/none.json")
    with pytest.raises(RemoteError, match=r"'nowhere': No such file or directory"):
        files.list("nowhere")


def test_list_and_newest(files: RemoteFiles, host: Path) -> None:
    assert [(one.path, one.size, one.folder) for one in files.list()][:1] == [
        ("large.tsv", len(LARGE), False)
    ]
    assert [one.path for one in files.list() if one.folder] == ["run"]
    assert [one.path for one in files.list("run", "*.json")] == ["one.json"]
    files.put("run/later.json", b"{}")
    newest = files.newest(str(host / "run"), "*.json")
    assert newest is not None
    assert newest.path == "later.json"
    assert files.newest("run", "*.nii") is None


def test_a_long_list_comes_whole(files: RemoteFiles, host: Path) -> None:
    """Longer than what one message may hold."""
    (host / "many").mkdir()
    for number in range(5000):
        (host / "many" / f"{'long' * 10}{number:05d}.txt").touch()
    assert len(files.list("many")) == 5000


def test_folders_there_and_back(files: RemoteFiles, host: Path, tmp_path: Path) -> None:
    done = files.download("run", tmp_path / "here")
    assert sorted(path.relative_to(tmp_path / "here").as_posix() for path in done) == [
        "deep/two.json",
        "one.json",
    ]
    assert (tmp_path / "here" / "deep" / "two.json").read_text() == "[]"
    assert sorted(files.upload(tmp_path / "here", "copy")) == ["copy/deep/two.json", "copy/one.json"]
    assert (host / "copy" / "deep" / "two.json").read_text() == "[]"


@pytest.mark.parametrize("path", ["run/left.key", "../state/site.key", "/etc/passwd", "none.txt", "run"])
def test_what_may_not_be_had_is_refused(files: RemoteFiles, path: str) -> None:
    with pytest.raises(RemoteError, match="agent 'scanner'"):
        files.get(path)
    with pytest.raises(RemoteError, match="agent 'scanner'"):
        files.put(path if path != "none.txt" else "run", b"")


def test_a_dicom_object_is_deidentified_there(files: RemoteFiles, host: Path) -> None:
    image = host / "image.dcm"
    image.write_bytes(volume_file(1))
    dataset = pydicom.dcmread(image)
    dataset.PatientName = "Somebody^Else"
    dataset.save_as(image)
    assert b"Somebody" not in files.get("image.dcm")
    (host / "report.dcm").write_bytes(image.read_bytes()[:3000])
    with pytest.raises(RemoteError, match="must not leave"):
        files.get("report.dcm")


def test_each_has_a_time_of_its_own(files: RemoteFiles) -> None:
    with pytest.raises(RemoteError, match=r"did not answer 'files\.get' within 0 s"):
        files.get("large.tsv", timeout=0.0)
    assert files.get("large.tsv") == LARGE


def test_through_a_cable_that_is_pulled(host: Path, server: Server, tmp_path: Path) -> None:
    with (
        Cable(server.port) as cable,
        Agent(cable.port, tmp_path / "state", "--allow", str(host), "--write") as agent,
    ):
        files = server.scanner("scanner").files
        assert server.scanner("scanner").wait_for_connection(60.0)
        ending = threading.Event()

        def disturb() -> None:
            while not ending.wait(0.1):
                cable.cut()

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for number in range(3):
                files.put(f"{number}.tsv", LARGE)
                assert files.get(f"{number}.tsv") == LARGE
        finally:
            ending.set()
            thread.join()
        assert agent.process.poll() is None


def test_an_agent_that_is_killed_in_the_middle(host: Path, server: Server, tmp_path: Path) -> None:
    with Agent(server.port, tmp_path / "state", "--allow", str(host)) as agent:
        assert server.scanner("scanner").wait_for_connection(60.0)
        agent.kill()
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            server.scanner("scanner").files.get("large.tsv", timeout=60.0)
        except RemoteError as error:
            asked.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    with Agent(server.port, tmp_path / "state", "--allow", str(host)):
        thread.join(60.0)
    assert "began anew" in str(asked[0])
