import json
import math

import pytest

from rtflow.documents import Result
from rtflow.nodes.accuracy import Accuracy
from rtflow.nodes.subject import SubjectOutput


def result(volume: int, **fields) -> Result:
    return Result(run_uid="run-a", volume=volume, **{"status": "ok", **fields})


@pytest.fixture
def subject(make_context) -> SubjectOutput:
    node = SubjectOutput()
    node.start_run(make_context())
    return node


def read(make_context, volume: int) -> dict:
    return json.loads((make_context().run_dir / "feedback" / f"volume-{volume:04d}.json").read_text())


def test_what_is_offered_is_handed_over_once_it_is_delivered(call, subject, make_context) -> None:
    offered = call(subject, 13, value=0.25, kind="evidence")
    folder = make_context().run_dir / "feedback"
    assert not list(folder.iterdir())
    assert subject.deliver(result(13), offered)
    found = read(make_context, 13)
    assert isinstance(found.pop("time"), float)
    assert found == {
        "run_uid": "run-a",
        "volume": 13,
        "value": 0.25,
        "kind": "evidence",
        "stale": False,
        "status": "ok",
        "quality": "good",
    }
    assert [file.name for file in folder.iterdir()] == ["volume-0013.json"]


def test_nothing_offered_is_nothing_handed_over(subject, make_context) -> None:
    assert subject.deliver(result(1), {}) is False
    assert not list((make_context().run_dir / "feedback").iterdir())


def test_what_the_result_says_of_the_value_is_said_to_the_subject(call, subject, make_context) -> None:
    offered = call(subject, 2, value=1.0)
    doubted = result(2, status="late", stale=("region.value",), quality="suspect", reasons=("stale",))
    assert subject.deliver(doubted, offered)
    found = read(make_context, 2)
    assert (found["stale"], found["status"], found["quality"], found["kind"]) == (True, "late", "suspect", "")


def test_a_value_that_is_no_number_is_null(call, subject, make_context) -> None:
    assert subject.deliver(result(3), call(subject, 3, value=math.nan, kind="evidence"))
    assert read(make_context, 3)["value"] is None


def test_zero_is_a_value_like_any_other(call, subject, make_context) -> None:
    assert subject.deliver(result(4), call(subject, 4, value=0.0, kind="neutral"))
    assert read(make_context, 4)["value"] == 0.0


def test_a_volume_delivered_twice_is_one_file(call, subject, make_context) -> None:
    for value in (0.1, 0.2):
        assert subject.deliver(result(5), call(subject, 5, value=value))
    assert read(make_context, 5)["value"] == 0.2
    assert len(list((make_context().run_dir / "feedback").iterdir())) == 1


def test_accuracy_is_the_share_of_right_decisions() -> None:
    outputs = Accuracy(correct=[1.0, 0.0, 1.0, 1.0]).run().outputs
    assert (outputs.accuracy, outputs.volumes) == (0.75, 4)


def test_accuracy_is_withheld_where_nothing_was_tested() -> None:
    found = Accuracy(correct=[]).run().outputs.get()
    assert found["volumes"] == 0
    assert not isinstance(found["accuracy"], float)
