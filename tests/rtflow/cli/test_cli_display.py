"""What is shown of a run at one moment, and at its end."""

import io
import math
import threading
from typing import Any

import pytest
from rich.console import Console

from rtflow.cli.display import LOOKS_BEFORE_WAITING, Display, line, picture
from rtflow.cli.ending import show_ending
from rtflow.cli.replay import in_words
from rtflow.documents import AnyDocument, Result, RunStart, RunStop, VolumeReceived
from rtflow.summary import Seen, Summary

START = RunStart(run_uid="r", time=100.0, workflow="mine", source="simulate:?tr=1", volumes=10)


def summary(*documents: AnyDocument) -> Summary:
    made = Summary()
    for document in documents:
        made.add(document)
    return made


def volume(number: int, **more: Any) -> list[AnyDocument]:
    given = {"status": "ok", "latency": 10.0 * number, **more}
    return [
        VolumeReceived(volume=number, received=100.0 + number),
        Result(volume=number, time=100.0 + number, **given),
    ]


def shown(thing: object) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


def ended(*documents: AnyDocument) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        show_ending(summary(*documents).as_dict(), console)
    return captured.get()


def test_before_the_run_begins() -> None:
    assert "Preparing" in shown(picture(summary().seen()))
    assert "volume 0 of 10" in shown(picture(summary(START).seen()))


def test_a_run_that_gives_no_feedback_is_not_overlooked() -> None:
    documents = [START, *volume(1, values={"decode.value": 0.5})]
    for number in (2, 3):
        documents += volume(number, status="failed", errors={"mask": "of another reference"})
    assert "NO FEEDBACK" not in shown(picture(summary(*documents).seen()))
    documents += volume(4, status="failed", errors={"mask": "of another reference"})
    seen = summary(*documents).seen()
    assert "NO FEEDBACK" in shown(picture(seen))
    assert "the last 3 volumes failed" in shown(picture(seen))
    assert "the last 3 failed, no feedback (mask: of another reference)" in line(seen)
    assert "no volume was done" not in ended(*documents, RunStop(status="completed"))
    nothing = [START, *documents[-2:], RunStop(status="completed")]
    assert "no volume was done" in ended(*nothing)


def test_a_run_that_ended_before_its_test_volumes_says_so() -> None:
    assert "no test volume" in ended(START, RunStop(status="completed", values={"score.volumes": 0}))
    assert "no test volume" not in ended(START, RunStop(status="completed", values={"score.volumes": 3}))


def test_all_that_a_volume_says() -> None:
    values = {
        "decode.value": -0.25,
        "decode.kind": "evidence",
        "realign.framewise_displacement": 0.123,
        **{f"realign.trans_{axis}": 0.5 for axis in "xyz"},
        **{f"realign.rot_{axis}": math.radians(2) for axis in "xyz"},
    }
    documents = [
        START,
        *volume(1),
        *volume(2, status="late"),
        *volume(3, values=values, quality="suspect", reasons=("moved [far]",)),
        *volume(4, status="failed", errors={"mask": "no [voxels]"}, values=values),
        VolumeReceived(volume=6, received=106.0),
    ]
    seen = summary(*documents).seen()
    text = shown(picture(seen))
    for word in [
        "mine  simulate:?tr=1",
        "volume 4 of 10",
        "0:06 left",
        "-0.250 evidence",
        "30.0 ms, median 20.0, longest 30.0",
        "FD 0.12 mm, x y z +0.50 +0.50 +0.50 mm, turned +2.00 +2.00 +2.00°",
        "2 ok  1 late  1 failed  1 suspect  2 under way",
        "failed    mask: no [voxels] (1 x)",
        "doubt     moved [far] (1 x)",
    ]:
        assert word in text, text
    assert "missing" not in text
    assert "Ctrl-C" not in text
    assert "Ctrl-C again ends it at once" in shown(picture(seen, ending=True))
    said = line(seen)
    assert said == (
        "volume 4 of 10, 2 ok, 1 late, 1 failed, 1 suspect, latency 30.0 ms (median 20.0), evidence -0.250"
    )


def test_values_that_the_settings_want_shown_are() -> None:
    start = RunStart(workflow="mine", settings={"show": ["glm.region_t"]}, volumes=10)
    documents = [start, *volume(1, values={"glm.region_t": 2.34567, "glm.dof": 7})]
    seen = summary(*documents).seen()
    assert "glm.region_t 2.346" in line(seen)
    assert "dof" not in line(seen)
    assert "glm.region_t" in (drawn := shown(picture(seen)))
    assert "2.346" in drawn
    assert "2.34567" in ended(*documents, RunStop(status="completed"))


def test_who_has_no_terminal_is_told_once_that_the_run_waits() -> None:
    looks = 0
    enough = threading.Event()

    def look() -> Seen:
        nonlocal looks
        looks += 1
        if looks > 2 * LOOKS_BEFORE_WAITING:
            enough.set()
        return summary(*([START] if looks > 1 else [])).seen()

    printed = io.StringIO()
    with Display(look, Console(file=printed), threading.Event()):
        assert enough.wait(60)
    assert printed.getvalue() == "waiting for the first volume from simulate:?tr=1\n"


def test_a_run_of_unknown_length() -> None:
    start = RunStart(workflow="mine", source="folder:in")
    assert "waiting for the first volume" in shown(picture(summary(start).seen()))
    seen = summary(start, *volume(1)).seen()
    assert "volume 1 " in shown(picture(seen))
    assert line(seen).startswith("volume 1, 1 ok")


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e9, 0.0])
def test_feedback_of_any_size(value: float) -> None:
    seen = summary(START, *volume(1, values={"a.value": 0.5}), *volume(2, values={"a.value": value})).seen()
    assert f"{value:+.3f} a" in shown(picture(seen))
    assert line(seen).endswith(f"a {value:+.3f}")


def test_the_ending_tells_what_is_wrong() -> None:
    text = ended(
        START,
        *volume(1, timings={"realign": 12.345}),
        *volume(2, status="failed", errors={"mask": "no [voxels]"}, reasons=("moved",)),
        *volume(3, status="failed", errors={"mask": "no [voxels]"}),
        RunStop(
            time=110.0,
            status="completed",
            counts={"ok": 1, "failed": 1},
            values={"score.accuracy": 0.875, "n.note": "[a]", "n.x": 0.123456789},
            outputs={"run": "/nowhere/at/all", "root": "/"},
        ),
    )
    for word in ("run r completed after 10.0 s", "87.5%", "1 ok, 0 late, 0 missing, 1 failed of 10", "12.35"):
        assert word in text, text
    for word in ("2 x mask: no [voxels]", "\nmoved\n", "n.note", "[a]", "0.123457", "last byte to Result"):
        assert word in text, text
    assert "nowhere" not in text


def test_the_ending_of_a_run_without_volumes() -> None:
    text = ended(START, RunStop(time=101.0, status="aborted"))
    assert "aborted" in text
    assert "0 ok" in text
    assert "p50" not in text


def test_a_comparison_in_words() -> None:
    assert in_words(5, ()) == "all 5 Results equal the recorded ones bit for bit"
    many = in_words(0, range(1, 31))
    assert many.endswith("30 differ: volumes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...")
