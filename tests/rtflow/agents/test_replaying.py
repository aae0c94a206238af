"""Volumes of a source that knows them: in their order for a server that began anew, and none too large."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rtflow.agents import replaying
from rtflow.agents.kept_run import KeptRun
from rtflow.agents.protection import Protection
from rtflow.agents.replaying import VolumeSender
from rtflow.agents.sending import Outlet
from rtflow.documents import Event, Frame, Part
from rtflow.server.messages import BeginRun, Done, SourceEnded, SourceOpened, Trouble, VolumeSent
from rtflow.server.scanner_channel import ScannerChannel

RUN = BeginRun(run_uid="run")


class TwoVolumes:
    """A source; ``between`` happens before its second volume comes."""

    volumes, tr = 2, 1.0

    def __init__(self, between: Callable[[], None] = lambda: None) -> None:
        self._between = between

    def begin(self, folder: Path, emit: Callable[[Event], None]) -> None: ...

    def end(self) -> None: ...

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        yield Frame(1, 1.0, (Part("1.nii", "application/x-nifti", b"0123456789"),))
        self._between()
        yield Frame(2, 2.0, (Part("2.nii", "application/x-nifti", b"01"),))


def sent(state: Path, *, anew: bool) -> list[Any]:
    """What one run posts until its source has ended."""
    posted: queue.Queue[Any] = queue.Queue()
    outlet = Outlet(lambda body, parts: posted.put((body, parts)), lambda: 0, lambda: True)
    between = (lambda: sender.hear(RUN)) if anew else (lambda: None)
    source: Any = TwoVolumes(between)
    sender = VolumeSender(RUN, KeptRun(state), Protection(None), outlet, lambda says: None, lambda: source)
    sender.start()
    said = []
    while not said or not isinstance(said[-1][0], SourceEnded):
        said.append(posted.get(timeout=60.0))
    sender.end()
    return said


def test_a_server_that_began_anew_gets_first_what_it_lacks(tmp_path: Path) -> None:
    bodies = [body for body, _ in sent(tmp_path, anew=True)]
    last = max(at for at, body in enumerate(bodies) if isinstance(body, SourceOpened))
    assert [body.volume for body in bodies[last:] if isinstance(body, VolumeSent)] == [1, 2]
    assert [body.volume for body in bodies if isinstance(body, VolumeSent)] == [1, 1, 2]


def test_a_volume_larger_than_a_message_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScannerChannel, "size_limit", 5)
    said = sent(tmp_path, anew=False)
    first, second = [(body, parts) for body, parts in said if isinstance(body, VolumeSent)]
    assert first[0].missing == "volume 1 is larger than 0 MB"
    assert first[0].parts == () == first[1]
    assert second[0].missing == ""
    assert any(isinstance(body, Trouble) for body, _ in said)


class Waited(queue.SimpleQueue):
    """Answers of a server that has a volume for good as soon as that is waited for."""

    def __init__(self) -> None:
        self.waited = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if timeout and not self.waited:
            self.waited = True
            self.put(Done(run_uid="run", key="1"))
        return super().get(block, timeout)


def test_not_too_many_bytes_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second volume is not even read before the server has the first one, which is as much as may be."""
    monkeypatch.setattr(replaying, "_AWAY_BYTES", 10)
    answers, ended = Waited(), threading.Event()
    had_waited: list[bool] = []

    def post(body: Any, parts: Any) -> None:
        if isinstance(body, SourceEnded):
            ended.set()

    source: Any = TwoVolumes(lambda: had_waited.append(answers.waited))
    outlet = Outlet(post, lambda: 0, lambda: True)
    sender = VolumeSender(RUN, KeptRun(tmp_path), Protection(None), outlet, lambda says: None, lambda: source)
    sender.answers = answers
    sender.start()
    assert ended.wait(60.0)
    sender.end()
    assert had_waited == [True]
