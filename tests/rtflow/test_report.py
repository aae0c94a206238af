"""The report of a run: complete, well formed, true to the journal, and harmless whatever stands in it."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import counting_workflow
import msgspec
import pytest
from cutting import cut
from report_page import Page

from rtflow.documents import (
    AnyDocument,
    Delivered,
    Event,
    Result,
    RunStart,
    RunStop,
    VolumeMissing,
    VolumeReceived,
)
from rtflow.engine import run
from rtflow.errors import JournalError
from rtflow.journal import Recording
from rtflow.report import report, reported_run
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow
from rtflow.workflows import template

HOSTILE = "<script>alert('x')</script> & \"quoted\" \x00 </pre></style>"


def numbered(*documents: AnyDocument) -> list[AnyDocument]:
    return [
        msgspec.structs.replace(one, run_uid="r", seq=seq, time=one.time or 1e9 + seq)
        for seq, one in enumerate(documents)
    ]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A short run of the template, of a simulated scanner."""
    settings = load_settings(
        template.Settings,
        Path(template.__file__).with_suffix(".toml"),
        [
            *("source.volumes=56", "source.shape=[24, 24, 12]", "source.voxel=8", "source.speed=max"),
            *("design.blocks=4", "design.block=12", "design.rest=8", "design.opening=30"),
            *("decoding.train_blocks=2", "bids.subject=07", "bids.session=b"),
        ],
    )
    stop = run(load_workflow(Path(template.__file__)), settings, tmp_path_factory.mktemp("report"))
    assert stop.status == "completed", stop.reason
    return Recording(Path(stop.outputs["run"]))


@pytest.fixture(scope="module")
def page(recording: Recording) -> Page:
    return Page(report(recording.documents))


def test_a_run_is_told_from_its_participant_to_its_versions(recording: Recording, page: Page) -> None:
    start, stop = recording.start, recording.stop
    assert stop is not None
    assert ("h1", "sub-07 ses-b task-feedback run-1") in page.texts
    assert ("p", "completed") in page.texts
    assert (page.fact("Run"), page.fact("Source"), page.fact("TR")) == (start.run_uid, start.source, "2 s")
    assert page.fact("Volumes") == "56 of 56"
    assert float(page.fact("Accuracy")) == pytest.approx(stop.values["score.accuracy"], rel=1e-3)
    assert page.row("ok") == ["ok", str(stop.counts["ok"]), ""]
    assert page.row("bids") == ["bids", stop.outputs["bids"]]
    assert page.row("rtflow") == ["rtflow", start.versions["rtflow"]]
    times = sorted(one.timings["realign"] for one in recording.results if "realign" in one.timings)
    node, count, median, _, largest = page.row("realign")
    assert (node, count) == ("realign", str(len(times)))
    middle = (times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2
    assert [float(median), float(largest)] == pytest.approx([middle, times[-1]], rel=1e-3)
    settings = "".join(text for tag, text in page.texts if tag == "pre")
    assert '[bids]\nsubject = "07"\nsession = "b"\n' in settings


def test_it_needs_and_runs_nothing(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "form", "a", "base"} & set(page.tags)
    assert {value for name, value in page.attributes if name in ("href", "src", "xlink:href")} == {"#blocks"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in page.source
    assert "@import" not in page.source


@pytest.mark.parametrize(
    ("title", "names", "scale"),
    [
        ("Feedback", ["decode.value"], 1.0),
        ("Translation of the head", [f"realign.trans_{axis}" for axis in "xyz"], 1.0),
        ("Rotation of the head", [f"realign.rot_{axis}" for axis in "xyz"], 180 / math.pi),
        ("Framewise displacement", ["realign.framewise_displacement"], 1.0),
    ],
)
def test_charts_show_the_numbers_of_the_journal(
    recording: Recording, page: Page, title: str, names: list[str], scale: float
) -> None:
    lines = page.drawn(title)
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        known = {one.volume: one.values.get(name) for one in recording.results}
        values = {volume: scale * value for volume, value in known.items() if isinstance(value, float)}
        assert len(values) > 20
        assert list(line) == pytest.approx(list(values), abs=0.01)
        size = max(values.values()) - min(values.values())
        assert list(line.values()) == pytest.approx(list(values.values()), abs=0.02 * size)


def test_latency_is_drawn_of_each_volume(recording: Recording, page: Page) -> None:
    line = page.drawn("Latency from a volume's last byte")[0]
    largest = max(recording.results, key=lambda one: one.latency)
    assert len(line) == len(recording.results)
    assert max(line.values()) == pytest.approx(largest.latency, rel=0.02)
    assert any("TR 2000 ms" in text for _, text in page.texts)


def test_blocks_of_the_design_stand_behind_the_charts(recording: Recording, page: Page) -> None:
    labels = [one.values.get("labels.trial_type") for one in recording.results]
    blocks = [one for one, before in zip(labels, [None, *labels], strict=False) if one != before]
    shaded = re.findall(r'<rect class="b(\d)" x="[\d.]+" y="\d+" width="([\d.]+)"', page.source)
    assert len(shaded) == len([one for one in blocks if one in ("scene", "face")]) == 4
    assert [number for number, _ in shaded] == ["0", "1", "0", "1"]
    wide = sum(float(width) for _, width in shaded) / (960 - 58 - 20) * len(labels)
    assert wide == pytest.approx(sum(one in ("scene", "face") for one in labels), abs=0.1)
    assert page.tags.count("use") == len(page.figures)


def test_where_no_node_labels_volumes_the_blocks_are_those_of_the_settings() -> None:
    design = {"conditions": ["up"], "blocks": 2, "block": 10.0, "rest": 6.0, "opening": 4.0}
    results = [Result(volume=number, status="ok", values={"a.value": 1.0}) for number in range(1, 17)]
    start = RunStart(workflow="w", tr=2.0, settings={"design": design})
    source = report(numbered(start, *results)).decode()
    shaded = re.findall(r'<rect class="b0" x="([\d.]+)" y="\d+" width="([\d.]+)"', source)
    step = (960 - 58 - 20) / 16
    places = [float(number) for pair in shaded for number in pair]
    assert places == pytest.approx([58 + 2 * step, 5 * step, 58 + 10 * step, 5 * step], abs=0.1)


def test_what_others_wrote_is_text_and_nothing_else() -> None:
    start = RunStart(
        workflow=HOSTILE,
        source=HOSTILE,
        settings={"bids": {"subject": HOSTILE}, HOSTILE: HOSTILE},
        versions={HOSTILE: HOSTILE},
        nodes={HOSTILE: {"interface": "Feedback", "outputs": {"value": HOSTILE[:20]}}},
    )
    values = {f"{HOSTILE}.value": 1.0, "labels.trial_type": HOSTILE}
    result = Result(
        volume=2, status="ok", values=values, quality="suspect", reasons=(HOSTILE,), timings={HOSTILE: 1.0}
    )
    documents = numbered(
        start,
        Event(name="note", data={"says": HOSTILE, "who": HOSTILE}),
        Event(name=HOSTILE, data={"says": HOSTILE}),
        Event(name="alarm", volume=1, data={"says": HOSTILE}),
        Event(name="step", node=HOSTILE, data={"when": HOSTILE, "state": HOSTILE, "error": HOSTILE}),
        VolumeMissing(volume=1, received=1e9, reason=HOSTILE),
        Result(volume=1, status="failed", errors={HOSTILE: HOSTILE}),
        result,
        RunStop(status="failed", reason=HOSTILE, outputs={HOSTILE: HOSTILE}, values={HOSTILE: HOSTILE}),
    )
    page = Page(report(documents))
    assert page.tags.count("pre") == page.tags.count("style") == 1
    assert "script" not in page.tags
    assert "\0" not in page.source
    shown = HOSTILE.replace("\0", "\ufffd")
    assert sum(shown in text for _, text in page.texts) > 15
    assert page.row(shown.join(("", ", ")) + f"{shown}: {shown}")  # the step that failed
    assert page.fact("Workflow") == shown


def test_notes_stand_in_full_with_their_time_and_volume() -> None:
    text = "coughs\nand says:  ü ✓ " + "x" * 1900
    notes = [
        Event(name="note", volume=n or None, data={"says": f"{n} {text}", "who": "anna"}) for n in range(300)
    ]
    page = Page(report(numbered(RunStart(workflow="w"), *notes)))
    told = [row for row in page.rows() if row[2:3] == ["anna"]]
    assert [row[1:] for row in told] == [[str(n or ""), "anna", f"{n} {text}"] for n in range(300)]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", row[0]) for row in told)


def test_the_run_that_it_became_is_in_the_title() -> None:
    start = RunStart(workflow="w", settings={"bids": {"subject": "01", "session": "", "task": "t", "run": 1}})
    page = Page(report(numbered(start, Event(name="another_run", data={"run": "4", "says": "it is there"}))))
    assert ("h1", "sub-01 task-t run-4") in page.texts
    assert page.fact("Recorded as") == "run 4, as run 1 was there"


def test_what_was_lost_is_told_with_its_volumes(tmp_path: Path) -> None:
    workflow = load_workflow(Path(counting_workflow.__file__))
    changes = ["count=9", "missing=[3]", "fails=[6, 7]", "source=simulate:?speed=max"]
    stop = run(workflow, load_settings(workflow.settings_type, None, changes), tmp_path)
    run_dir = Path(stop.outputs["run"])
    page = Page(report(Recording(run_dir).documents))
    assert page.row("missing") == ["missing", "1", "3"]
    assert page.row("failed") == ["failed", "2", "6–7"]
    assert page.row("suspect")[1:] == ["1", "2"]
    said = [row[1:] for row in page.rows() if row and row[0].startswith("sum: ")]
    assert said == [["2", "6–7"], ["1", "2"]]  # an error, and a doubt
    # One that was cut off says so, and tells what there is; one that goes on is not taken for it.
    fifth = cut(run_dir, tmp_path, lambda one: isinstance(one, Result) and one.volume == 5)
    whole = Recording(fifth).documents
    page = Page(report(whole))
    assert ("p", "cut off") in page.texts
    assert (page.row("ok")[1], page.row("missing")[2]) == ("4", "3")
    assert ("p", "under way") in Page(report(whole, True)).texts
    for number in range(1, len(whole)):
        assert ("p", "cut off") in Page(report(whole[:number])).texts


def test_a_journal_without_a_beginning_is_refused() -> None:
    with pytest.raises(JournalError, match="does not begin with a RunStart"):
        report([])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "text", 1e300, 0.0, -3, True])
def test_values_that_are_no_numbers_are_gaps(value: float | str | None) -> None:
    values = [0.5, value, 0.25, value, value, 1.0]
    results = [
        Result(volume=at, status="ok", values={"a.value": one, "b.framewise_displacement": value})
        for at, one in enumerate(values, start=1)
    ]
    page = Page(report(numbered(RunStart(workflow="w"), *results)))
    (line,) = page.drawn("Feedback: a.value")
    there = value in (0.0, -3) or value is True
    expected = {at: one for at, one in enumerate(values, start=1) if there or at in (1, 3, 6)}
    assert list(line) == pytest.approx(list(expected), abs=0.01)
    assert list(line.values()) == pytest.approx([float(one) for one in expected.values()], abs=0.02)
    assert "nan" not in page.source.lower().replace("anna", "")


def test_a_long_run_stays_small_and_keeps_its_extremes() -> None:
    names = [f"realign.{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    names += ["realign.framewise_displacement", "c.dvars", "c.dvars_running", "c.tsnr", "decode.value"]
    documents: list[AnyDocument] = [RunStart(workflow="w", tr=1.0, volumes=5000)]
    for volume in range(1, 5001):
        values = {name: math.sin(volume * (at + 1)) for at, name in enumerate(names)}
        values["decode.value"] = 5.0 if volume == 2718 else -4.0 if volume == 2719 else values["decode.value"]
        label = {"labels.trial_type": "left" if volume % 2 else "right"}
        documents += [
            VolumeReceived(volume=volume, received=1e9 + volume),
            Result(
                volume=volume,
                status="ok",
                values=values | label,
                latency=volume % 37,
                margin=1000.0 - volume % 37,
                quality="suspect",
                reasons=(f"reason {volume % 1000}",),
                timings={"a": 1.0},
            ),
            Delivered(volume=volume, channel="file"),
            Event(name="alarm", volume=volume, data={"says": "alarm: too much"}),
            Event(name="odd", data={"says": f"{volume}"}),
        ]
    body = report(numbered(*documents))
    assert len(body) < 1.5e6
    page = Page(body)
    (line,) = page.drawn("Feedback: decode.value")
    assert (max(line.values()), min(line.values())) == pytest.approx((5.0, -4.0), abs=0.05)
    assert all(one <= other for one, other in pairwise(line))
    assert 1000 < len(line) <= 1602


def test_a_report_is_known_by_its_run(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert reported_run(path) is None
    path.write_bytes(report(numbered(RunStart(workflow="w"))))
    assert reported_run(path) == "r"
    path.write_text("<!doctype html>\n<p>mine")
    assert reported_run(path) is None
