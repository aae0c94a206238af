"""What one run sends from the scanner's host: each object once, again when it is asked for, and no more."""

import queue
from pathlib import Path
from typing import Any

import pytest
from scanning import put, volume_file

from rtflow.agents.kept_run import KeptRun
from rtflow.agents.protection import Protection
from rtflow.agents.scanner import open_feed
from rtflow.agents.sending import ObjectSender, Outlet
from rtflow.dicom.identify import read_object
from rtflow.server.messages import (
    Again,
    Arrived,
    BeginRun,
    Done,
    Listening,
    SourceEnded,
    SourceOpened,
    Trouble,
)
from rtflow.source_settings import FolderSource

RUN = BeginRun(run_uid="run")
LONG = 60.0


class Sending:
    """A run that watches a folder, and what it posts; a context manager."""

    def __init__(self, folder: Path, state: Path, *, waiting: int = 0) -> None:
        self._posted: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.told: list[str] = []
        source = FolderSource(path=str(folder))
        self.sender = ObjectSender(
            RUN,
            KeptRun(state),
            Protection(bytes(32)),
            Outlet(lambda body, parts: self._posted.put((body, parts)), lambda: waiting, lambda: True),
            self.told.append,
            lambda run, kept: open_feed(source, run, kept),
        )

    def __enter__(self) -> "Sending":
        self.sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.end()

    def next(self, kind: type) -> tuple[Any, list[bytes]]:
        """The next message of a kind, with its parts; others before it are passed over, but for objects."""
        while True:
            body, parts = self._posted.get(timeout=LONG)
            if isinstance(body, kind):
                return body, [part if isinstance(part, bytes) else part() for part in parts]
            assert not isinstance(body, Arrived), body

    def nothing_more(self) -> None:
        """Two looks at all that is there, and no object among what was posted."""
        for _ in range(3):
            self.next(Listening)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def volume(parts: list[bytes]) -> int:
    return read_object(parts[0]).instance.volume


def test_each_object_is_sent_once_and_what_was_there_before_is_not(folder: Path, tmp_path: Path) -> None:
    put(folder, 1)
    with Sending(folder, tmp_path / "state") as sending:
        assert sending.next(SourceOpened)[0].brings == "objects"
        for number in (2, 3):
            put(folder, number)
            _, parts = sending.next(Arrived)
            assert volume(parts) == number
        sending.nothing_more()
    assert sending.sender.told.sent == 2


def test_what_is_not_done_is_sent_again_when_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    with Sending(folder, tmp_path / "state") as sending:
        sending.next(SourceOpened)
        keys = {}
        for number in (1, 2):
            put(folder, number)
            keys[number] = sending.next(Arrived)[0].key
        sending.sender.hear(Done(run_uid="run", key=keys[1]))
        sending.sender.hear(RUN)
        sending.next(SourceOpened)
        body, parts = sending.next(Arrived)
        assert (body.key, volume(parts)) == (keys[2], 2)
        sending.nothing_more()
    with Sending(folder, tmp_path / "state") as again:  # as after a crash: what is done is known
        body, _ = again.next(Arrived)
        assert body.key == keys[2]
        for key in ("of an earlier process", keys[2]):
            again.sender.hear(Done(run_uid="run", key=key))
        again.nothing_more()
    assert (again.sender.told.sent, again.sender.told.done) == (1, 1)


def test_what_was_refused_is_sent_when_it_has_changed(folder: Path, tmp_path: Path) -> None:
    with Sending(folder, tmp_path / "state") as sending:
        sending.next(SourceOpened)
        put(folder, 1, name="a.dcm")
        body, _ = sending.next(Arrived)
        sending.sender.hear(Again(run_uid="run", key=body.key))
        sending.nothing_more()
        put(folder, 2, name="a.dcm")
        other, parts = sending.next(Arrived)
        assert volume(parts) == 2
        assert other.key != body.key


def test_what_is_no_image_does_not_leave_and_that_is_told_once(folder: Path, tmp_path: Path) -> None:
    with Sending(folder, tmp_path / "state") as sending:
        sending.next(SourceOpened)
        (folder / "notes.txt").write_text("Somebody came in late" * 100)
        report = volume_file(1).replace(b"1.2.840.10008.5.1.4.1.1.4\0", b"1.2.840.10008.5.1.4.1.1.7\0")
        for name in ("one.dcm", "two.dcm"):
            (folder / name).write_bytes(report)
        says = sending.next(Trouble)[0].says
        assert says.startswith("not sent: ")
        sending.nothing_more()
        put(folder, 3)
        assert volume(sending.next(Arrived)[1]) == 3
    assert [text for text in sending.told if text.startswith("not sent")] == [says]
    assert sending.sender.told.withheld == 2


def test_an_object_that_is_larger_than_a_message_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtflow.server.scanner_channel.ScannerChannel.size_limit", 100)
    with Sending(folder, tmp_path / "state") as sending:
        sending.next(SourceOpened)
        put(folder, 1)
        assert "an object of more than" in sending.next(Trouble)[0].says


def test_what_waits_for_its_turn_is_read_again_then(folder: Path, tmp_path: Path) -> None:
    """So many objects on their way are not held in memory; one that has gone meanwhile is told of."""
    told: list[Any] = []
    with Sending(folder, tmp_path / "state", waiting=100) as sending:
        sending.next(SourceOpened)
        path = put(folder, 1)
        while not isinstance((posted := sending._posted.get(timeout=LONG))[0], Arrived):
            pass
        (part,) = posted[1]
        assert volume([part()]) == 1
        path.unlink()
        for _ in range(2):  # on one connection, and on the next
            with pytest.raises(OSError, match="No such file"):
                part()
        put(folder, 2, name="b.dcm")
        while not isinstance((posted := sending._posted.get(timeout=LONG))[0], Arrived):
            told.append(posted[0])
        (folder / "b.dcm").unlink()
        with pytest.raises(OSError, match="No such file"):
            posted[1][0]()
        told.append(sending.next(Trouble)[0])
    says = [one.says for one in told if isinstance(one, Trouble)]
    assert len(says) == 2  # once for each, and by no name that may be a patient's
    assert {one.partition(", when")[0] for one in says} == {"a file cannot be read"}
    assert [text.partition(" ")[0] for text in sending.told if "cannot be read" in text] == [
        path.name,
        "b.dcm",
    ]


def test_a_folder_that_has_gone_is_told_to_the_run(folder: Path, tmp_path: Path) -> None:
    folder.rmdir()
    with Sending(folder, tmp_path / "state") as sending:
        assert f"{folder} is not there" in sending.next(SourceEnded)[0].error
