"""The examples for stimulus computers, as far as they run without PsychoPy and MATLAB."""

import ast
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from subjects import RUN, Subject, serving

from rtflow import client
from rtflow.server.messages import EndRun, Response, Shown, Trigger

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


class Window:
    """Stands for PsychoPy's: notes what was drawn by the time of each flip."""

    def __init__(self) -> None:
        self.drawn: list[object] = []
        self.frames: list[object] = []

    def flip(self) -> None:
        self.frames.append(self.drawn[-1])


class Shape:
    """Stands for a stimulus."""

    def __init__(self, window: Window, name: str) -> None:
        self.window, self.name, self.radius = window, name, 0.0

    def draw(self) -> None:
        self.window.drawn.append((self.name, round(self.radius, 3)))


class Keyboard:
    """Stands for PsychoPy's: gives one key at each call, until there are no more."""

    def __init__(self, *names: str) -> None:
        self.left = list(names)
        self.clock = SimpleNamespace(reset=lambda: None)

    def clearEvents(self) -> None:
        pass

    def getKeys(self, waitRelease: bool = True) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=self.left.pop(0), rt=0.25)] if self.left else []


def test_the_example_for_psychopy_shows_each_value_and_tells_keys_and_triggers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "client", client)  # it is to be copied beside the example
    example = runpy.run_path(str(EXAMPLES / "psychopy_feedback.py"))
    window = Window()
    disc, cross = Shape(window, "disc"), Shape(window, "cross")
    with serving() as server, client.Feedback(server.url, "token") as feedback:
        subject = Subject(server)
        subject.channel.begin_run(RUN)
        for volume, (value, kind) in enumerate([(0.0, "neutral"), (0.0, "x"), (9.0, "x")], start=1):
            subject.offer(volume, value=value, kind=kind)
        subject.channel.end_run(EndRun(run_uid=RUN.run_uid))
        assert feedback.wait(3, timeout=30)
        before = client.now()
        assert example["show_run"](feedback, window, disc, cross, Keyboard("5", "left", "5"))
        said = subject.wait_for(lambda body: isinstance(body, Shown) and body.volume == 3)
        subject.channel.begin_run(type(RUN)(run_uid="run-2"))
        assert feedback.wait_for_run(timeout=30)
        assert not example["show_run"](feedback, window, disc, cross, Keyboard("escape"))
    assert window.frames[:3] == [("cross", 0.0), ("disc", 0.225), ("disc", 0.4)]
    assert [body.volume for body in said if isinstance(body, Shown)] == [1, 2, 3]
    assert [body.n for body in said if isinstance(body, Trigger)] == [1, 2]
    (pressed,) = (body for body in said if isinstance(body, Response))
    assert pressed.button == "left"
    assert before + 0.25 < pressed.at < client.now() + 0.25


def test_the_example_for_psychopy_is_python_3_8() -> None:
    ast.parse((EXAMPLES / "psychopy_feedback.py").read_text(), feature_version=(3, 8))
