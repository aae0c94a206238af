"""A workflow file, its settings and its place on disk become a run."""

from __future__ import annotations

import json
from pathlib import Path

import counting_workflow
import pytest

from rtflow.documents import RunStop
from rtflow.engine import exit_status, run
from rtflow.errors import CompileError, OutputError, UsageError, WorkflowError
from rtflow.journal import Recording
from rtflow.run_table import listed_runs
from rtflow.settings import Limits, RunSettings, load_settings, settings_from_builtins
from rtflow.workflow_file import build_workflow, load_workflow, plan

WORKFLOW = Path(counting_workflow.__file__)


def workflow_file(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "has no function build"),
        ("build = 3", "has no function build"),
        ("def build(settings):\n    pass\nraise ValueError('broken')", r"ValueError: broken \(line 3\)"),
        ("import sys\nsys.exit(0)", r"SystemExit: 0 \(line 2\)"),
        ("import no_such_module_here", r"No module named 'no_such_module_here' \(line 1\)"),
        ("def build(settings)\n    pass", r"SyntaxError: .*\(line 1\)"),
        ("class Settings: pass\ndef build(settings): pass", "must derive from rtflow.settings.RunSettings"),
    ],
)
def test_a_file_that_is_no_workflow(tmp_path, text, says):
    with pytest.raises(WorkflowError, match=says) as caught:
        load_workflow(workflow_file(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mine.py") in str(caught.value)


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(WorkflowError, match="No such file"):
        load_workflow(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise KeyError('mask')", r"build\(\) raised KeyError: 'mask' \(line 2\)"),
        ("raise SystemExit(0)", r"build\(\) raised SystemExit: 0 \(line 2\)"),
        ("return None", "must return a nipype.Workflow, got NoneType"),
    ],
)
def test_a_build_that_does_not_build(tmp_path, body, says):
    workflow = load_workflow(workflow_file(tmp_path, f"def build(settings):\n    {body}\n"))
    with pytest.raises(WorkflowError, match=says):
        build_workflow(workflow, RunSettings())


def test_a_graph_without_a_source_leaves_nothing_behind(tmp_path):
    text = "from nipype import Workflow\ndef build(settings):\n    return Workflow(name='empty')\n"
    workflow = load_workflow(workflow_file(tmp_path, text))
    with pytest.raises((CompileError, WorkflowError), match="source"):
        run(workflow, RunSettings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_edited_file_is_read_anew(tmp_path):
    path = workflow_file(tmp_path, "NUMBER = 1\ndef build(settings): return NUMBER")
    first = load_workflow(path)
    path.write_text("NUMBER = 2\ndef build(settings): return NUMBER")
    second = load_workflow(path)
    assert (first.build(None), second.build(None)) == (1, 2)
    assert first.sha256 != second.sha256


def test_what_stands_beside_a_workflow_can_be_imported(tmp_path):
    (tmp_path / "my_own_helper_module.py").write_text("VALUE = 5\n")
    path = workflow_file(
        tmp_path, "from my_own_helper_module import VALUE\ndef build(settings): return VALUE\n"
    )
    assert load_workflow(path).build(None) == 5


def test_a_run_leaves_all_that_is_needed_to_run_it_again(tmp_path):
    workflow = load_workflow(WORKFLOW)
    settings = load_settings(workflow.settings_type, None, ["count=3", "seed=7"])
    stop = run(workflow, settings, tmp_path / "out")
    recording = Recording(Path(stop.outputs["run"]))
    start = recording.start
    assert start.workflow == "counting_workflow"
    assert start.workflow_sha256 == workflow.sha256
    assert start.seeds == {"run": 7}
    assert {"python", "nipype", "numpy", "rtflow"} <= start.versions.keys()
    assert start.nodes["sum"]["interface"] == "Sum"
    assert start.nodes["sum"]["deadline"] == 0.3
    copy = recording.run_dir / "workflow" / WORKFLOW.name
    assert copy.read_bytes() == WORKFLOW.read_bytes()
    beside = json.loads((recording.run_dir / "workflow" / "settings.json").read_text())
    assert beside == start.settings
    again = settings_from_builtins(workflow.settings_type, start.settings)
    assert again == settings


def test_a_session_lists_its_runs(tmp_path):
    workflow = load_workflow(WORKFLOW)
    for count in (2, 3):
        settings = load_settings(workflow.settings_type, None, [f"count={count}", "bids.run=2"])
        run(workflow, settings, tmp_path / "out", session=tmp_path / "session")
    rows = [line.split("\t") for line in (tmp_path / "session" / "runs.tsv").read_text().splitlines()]
    assert rows[0] == [
        *("run_uid", "workflow", "subject", "session", "task", "run", "status"),
        *("ok", "late", "missing", "failed", "series", "recorded_run"),
    ]
    assert [row[1:8] for row in rows[1:]] == [
        ["counting_workflow", "01", "n/a", "feedback", "2", "completed", str(count)] for count in (2, 3)
    ]


def test_a_run_without_an_image_is_not_told_as_recorded(tmp_path):
    text = """
import counting_workflow
from counting_workflow import Settings
from nipype import Node
from rtflow.bids.dataset import claim_run, prepare_dataset
from streamtools import Number

class Claiming(Number):  # as RecordRun does, before a disk is full
    def start_run(self, context):
        prepare_dataset(context.bids_dir)
        claim_run(context.bids_dir, {"subject": "01", "task": "feedback", "run": "1"}, context.run_uid)

def build(settings):
    flow = counting_workflow.build(settings)
    flow.connect(flow.get_node("scanner"), "frame", Node(Claiming(), name="claiming"), "frame")
    return flow
"""
    workflow = load_workflow(workflow_file(tmp_path, text))
    run(workflow, load_settings(workflow.settings_type, None, ["count=2"]), tmp_path / "out")
    (row,) = listed_runs(tmp_path / "out" / "session")
    assert (row["run"], row["recorded_run"]) == ("1", "n/a")


def leaving(folder: Path) -> Path:
    """A workflow whose runs leave an item in the session."""
    return workflow_file(
        folder,
        """
import counting_workflow
import numpy as np
from counting_workflow import Settings
from nipype import Node
from rtflow.session import Session
from streamtools import Number

class Saving(Number):
    def start_run(self, context):
        Session(context).save("reference", {"data": np.array([float(context.seed)])})

def build(settings):
    flow = counting_workflow.build(settings)
    flow.connect(flow.get_node("scanner"), "frame", Node(Saving(), name="saving"), "frame")
    return flow
""",
    )


def test_a_recorded_run_is_the_source_of_no_other_participants_run(tmp_path):
    recorded = workflow_file(tmp_path, "from counting_workflow import Settings, build")
    workflow = load_workflow(recorded)
    stop = run(workflow, load_settings(workflow.settings_type, None, ["bids.subject=05"]), tmp_path / "out")
    source = f"source=journal:{tmp_path}/out/runs/{stop.run_uid}"
    other = load_settings(workflow.settings_type, None, [source])
    with pytest.raises(
        UsageError, match=r"a run of subject 05, and this run is of subject 01 .*--subject 05"
    ):
        run(workflow, other, tmp_path / "other")
    assert not (tmp_path / "other" / "runs").exists()
    same = load_settings(workflow.settings_type, None, [source, "bids.subject=05"])
    assert run(workflow, same, tmp_path / "other").status == "completed"


def test_another_participants_session_is_refused(tmp_path):
    workflow = load_workflow(leaving(tmp_path))

    def of(subject: str, **places: Path) -> RunStop:
        overrides = ["count=2", f"bids.subject={subject}", f"seed={int(subject)}"]
        return run(
            workflow, load_settings(workflow.settings_type, None, overrides), tmp_path / "out", **places
        )

    of("01")
    of("01")
    session = tmp_path / "out" / "session"
    before = (session / "reference.npz").read_bytes()
    with pytest.raises(UsageError, match=r"holds reference of subject 01, .* subject 02 .*--session DIR"):
        of("02")
    assert (session / "reference.npz").read_bytes() == before
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    of("02", session=tmp_path / "other")
    assert (tmp_path / "other" / "reference.npz").exists()
    # What somebody has put there by hand is theirs to answer for; without items there is nothing to lose.
    (session / "reference.npz").write_bytes((tmp_path / "other" / "reference.npz").read_bytes())
    of("02")
    (session / "reference.npz").unlink()
    of("03")


def test_dropping_is_an_option_of_the_source(tmp_path):
    workflow = load_workflow(WORKFLOW)
    overrides = ["count=12", "source.drop=true", "sleep=0.2"]
    stop = run(workflow, load_settings(workflow.settings_type, None, overrides), tmp_path / "out")
    assert stop.counts["missing"] > 0  # the source asks for no pause, and volume 4 takes its time
    assert sum(stop.counts.values()) == 12


def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("a file is in the way")
    workflow = load_workflow(WORKFLOW)
    with pytest.raises(OutputError, match="--out"):
        run(workflow, load_settings(workflow.settings_type, None, ["count=2"]), tmp_path / "out")


def test_the_plan_of_a_file_runs_nothing(tmp_path):
    workflow = load_workflow(WORKFLOW)
    settings = load_settings(workflow.settings_type, None, [f"work_dir={tmp_path / 'work'}"])
    names = [node.name for node in plan(workflow, settings).nodes]
    assert names == ["scanner", "number", "sum", "double", "show"]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("status", "counts", "expected"),
    [
        ("completed", {"ok": 5}, 0),
        ("completed", {"ok": 5, "late": 99}, 0),
        ("completed", {"ok": 5, "missing": 1}, 3),
        ("completed", {"ok": 5, "failed": 1}, 3),
        ("failed", {"ok": 5}, 1),
        ("aborted", {"ok": 5}, 1),
    ],
)
def test_exit_status(status, counts, expected):
    assert exit_status(RunStop(status=status, counts=counts), Limits()) == expected


def test_limits_are_the_users():
    stop = RunStop(status="completed", counts={"ok": 1, "missing": 2, "late": 3})
    assert exit_status(stop, Limits(missing=2, late=3)) == 0
    assert exit_status(stop, Limits(missing=2, late=2)) == 3
    assert exit_status(stop, Limits(missing=None)) == 0
