import json
import math
import shutil
import threading
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from validator import bids_errors

from rtflow.bids.dataset import claim_run
from rtflow.bids.derivatives import write_derivatives
from rtflow.bids.grid import Grid
from rtflow.bids.tables import tables
from rtflow.cli.derivatives import command as told
from rtflow.cli.shipped import workflow_path
from rtflow.derivatives import derive, planned_run
from rtflow.documents import AnyDocument, Delivered, Result, RunStart, RunStop, VolumeMissing, VolumeReceived
from rtflow.engine import run
from rtflow.errors import JournalError, OutputError
from rtflow.journal import Recording
from rtflow.run_table import list_run, listed_runs
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

ENTITIES = {"subject": "01", "task": "faces", "run": "1"}


def documents() -> list:
    """Four volumes: good, never came, stale value, value that reached nobody."""

    def came(volume: int) -> VolumeReceived:
        return VolumeReceived(volume=volume, received=100.0 + volume, acquired=50.0 + 2 * volume)

    def moved(volume: int, value: float) -> dict:
        return {"realign.trans_x": 0.1 * volume, "realign.rot_z": 0.01, "decode.value": value}

    return [
        RunStart(workflow="w", time=100.0),
        came(1),
        Result(volume=1, status="ok", values=moved(1, 0.1 + 0.2), timings={"decode": 1.5}, latency=9.0),
        Delivered(volume=1, channel="file", time=101.5),
        VolumeMissing(volume=2, received=103.0, reason="gap"),
        Result(volume=2, status="missing"),
        came(3),
        Result(volume=3, status="ok", values=moved(3, 0.3), stale=("decode.value",), quality="suspect"),
        Delivered(volume=3, channel="file", time=103.5),
        came(4),
        Result(volume=4, status="ok", values=moved(4, math.nan) | {"decode.kind": "a\tb"}),
    ]


def table(text: str, tmp_path: Path) -> pd.DataFrame:
    (tmp_path / "table.tsv").write_text(text)
    return pd.read_csv(tmp_path / "table.tsv", sep="\t", na_values="n/a")


def test_row_n_is_volume_n_and_what_a_volume_lacks_is_not_there(tmp_path):
    confounds = table(tables(documents())["confounds"].text(), tmp_path)

    assert list(confounds.columns) == ["trans_x", "rot_z"]
    np.testing.assert_array_equal(confounds.trans_x, [0.1, np.nan, 0.1 * 3, 0.1 * 4])


def test_delivered_and_true_values_are_apart(tmp_path):
    feedback = table(tables(documents())["feedback"].text(), tmp_path)

    # Bit for bit; of volume 3 the subject got a value that was an earlier volume's.
    np.testing.assert_array_equal(feedback.true_value, [0.1 + 0.2, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(feedback.delivered_value, [0.1 + 0.2, np.nan, 0.3, np.nan])
    np.testing.assert_array_equal(feedback.stale, [0, np.nan, 1, 0])
    assert feedback.kind[3] == "a b"


def test_timing_counts_from_the_start_of_the_run(tmp_path):
    timing = table(tables(documents())["timing"].text(), tmp_path)

    np.testing.assert_array_equal(timing.volume, [1, 2, 3, 4])
    np.testing.assert_array_equal(timing.received, [1, np.nan, 3, 4])
    np.testing.assert_array_equal(timing.acquired, [0, np.nan, 4, 6])
    np.testing.assert_array_equal(timing["received.file"], [1.5, np.nan, 3.5, np.nan])
    np.testing.assert_array_equal(timing["duration.decode"], [1.5, np.nan, np.nan, np.nan])


def test_values_of_several_nodes_have_columns_of_their_own():
    two = [Result(volume=1, status="ok", values={"a.value": 1.0, "b.value": 2.0})]

    feedback = tables(two)["feedback"]

    assert feedback.columns["a.true_value"] == [1.0]
    assert feedback.columns["b.true_value"] == [2.0]


def test_columns_say_what_the_node_says_of_its_output_with_units():
    said = {"value": "percent signal change against the baseline", "size": "ml", "dof": "degrees of freedom"}
    start = RunStart(workflow="w", nodes={"region": {"outputs": said}})
    values = {"region.value": 1.0, "region.size": 2.0, "region.dof": 3, "region.other": 4.0}
    kinds = ["neutral", "percent_signal_change"]
    results = [
        Result(volume=number, status="ok", values=values | {"region.kind": kind})
        for number, kind in enumerate(kinds, start=1)
    ]

    made = tables([start, *results])

    about = made["results"].about
    assert about["region.value"] == {
        "Description": "Percent signal change against the baseline; output value of node region",
        "Units": "%",
    }
    assert about["region.size"]["Units"] == "ml"
    assert "Units" not in about["region.dof"]
    assert about["region.other"] == {"Description": "Output other of node region"}
    assert set(about["region.kind"]["Levels"]) == set(kinds)
    about = made["feedback"].about
    assert about["true_value"]["Units"] == about["delivered_value"]["Units"] == "%"
    assert about["true_value"]["Description"].endswith(": percent signal change against the baseline")
    assert about["kind"]["Levels"]["percent_signal_change"] == "Percent signal change against the baseline"
    # As soon as it is something else in one volume, the column has no units.
    other = Result(volume=3, status="ok", values={"region.value": 0.5, "region.kind": "evidence"})
    assert "Units" not in tables([start, *results, other])["feedback"].about["true_value"]


def test_a_run_without_volumes_has_no_tables():
    assert tables([RunStart(workflow="w"), RunStop(status="aborted")]) == {}


def test_another_run_s_derivatives_are_never_replaced(tmp_path):
    written = write_derivatives(tmp_path, ENTITIES, "first", documents())
    before = {path: path.read_bytes() for path in written}

    with pytest.raises(OutputError, match="is of run first, expected second"):
        write_derivatives(tmp_path, ENTITIES, "second", documents())

    assert {path: path.read_bytes() for path in written} == before
    assert write_derivatives(tmp_path, ENTITIES, "first", documents()) == written


def test_a_raw_data_set_is_not_taken_for_derivatives(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"DatasetType": "raw"}')

    with pytest.raises(OutputError, match="expected 'derivative'"):
        write_derivatives(tmp_path, ENTITIES, "first", documents())


def test_a_mask_lies_where_its_grid_says(tmp_path):
    affine = np.array([[-2, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    mask = np.arange(24).reshape(2, 3, 4) % 3 == 0

    written = write_derivatives(
        tmp_path, ENTITIES, "first", [], masks={"brain": (mask, Grid.of(mask.shape, affine))}
    )

    image = nibabel.load(written[0])
    assert written[0].name == "sub-01_task-faces_run-1_desc-brain_mask.nii.gz"
    np.testing.assert_array_equal(image.get_fdata(), mask)
    np.testing.assert_array_equal(image.affine, affine)


def test_a_data_set_that_was_cut_off_while_it_was_made_is_made_whole(tmp_path, monkeypatch):
    import rtflow.bids.derivatives as derivatives

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("write_whole", "write_json"):
        with monkeypatch.context() as now:
            now.setattr(derivatives, step, killed)
            with pytest.raises(KeyboardInterrupt):
                write_derivatives(tmp_path, ENTITIES, "a", documents())
    write_derivatives(tmp_path, ENTITIES, "a", documents())
    assert bids_errors(tmp_path) == []


def test_a_mask_is_never_described_before_it_is_there(tmp_path, monkeypatch):
    import rtflow.bids.derivatives as derivatives

    write = derivatives.write_json

    def meanwhile(path: Path, content: dict) -> None:
        assert path.name == "dataset_description.json" or list(path.parent.glob(f"{path.stem}.[nt]*"))
        write(path, content)

    monkeypatch.setattr(derivatives, "write_json", meanwhile)
    masks = {"brain": (np.ones((3, 4, 5)), Grid.of((3, 4, 5), np.eye(4)))}
    assert len(write_derivatives(tmp_path, ENTITIES, "a", documents(), masks=masks)) == 10


def test_a_run_of_another_s_image_alone_is_taken_too(tmp_path):
    folder = tmp_path / "sub-01/func"
    folder.mkdir(parents=True)
    (folder / "sub-01_task-faces_run-01_bold.nii.gz").write_bytes(b"")
    settings = {"bids": {"subject": "01", "task": "faces", "run": "1"}}
    assert planned_run(tmp_path, settings) == "2"


def test_a_run_that_recorded_nothing_keeps_its_number_from_the_next_one_that_does(tmp_path):
    settings = {"bids": {"subject": "01", "task": "faces", "run": "1"}}
    write_derivatives(tmp_path / "derivatives/rtflow", ENTITIES, "unrecorded", documents())
    planned = planned_run(tmp_path, settings)
    claimed = claim_run(tmp_path, ENTITIES, "recorded")
    assert planned == "2"
    assert claimed.bold.name == "sub-01_task-faces_run-2_bold.nii"


@pytest.fixture(scope="module")
def twice(tmp_path_factory) -> tuple[Path, list[str]]:
    """The shipped workflow, the same run of it twice; output folder and the identities of the two."""
    out = tmp_path_factory.mktemp("out")
    workflow = load_workflow(workflow_path(Path("template")))
    given = ["speed=max", "shape=[24,24,12]", "voxel=8", "volumes=40"]
    told = [f"source.{one}" for one in given]
    stops = []
    for _ in range(2):
        settings = load_settings(workflow.settings_type, workflow.path.with_suffix(".toml"), told)
        stops.append(run(workflow, settings, out))
    return out, [stop.run_uid for stop in stops]


def test_a_run_leaves_derivatives_that_the_validator_takes(twice):
    out, _ = twice

    assert bids_errors(out / "bids") == []
    assert bids_errors(out / "bids/derivatives/rtflow") == []


def test_a_repeated_run_has_derivatives_of_its_own(twice):
    out, uids = twice
    func = out / "bids/derivatives/rtflow/sub-01/func"

    for number, uid in enumerate(uids, start=1):
        stem = func / f"sub-01_task-feedback_run-{number}_desc-confounds_timeseries"
        about = json.loads(stem.with_suffix(".json").read_text())
        assert about["RunUID"] == uid
        assert about["Sources"] == [f"bids:raw:sub-01/func/sub-01_task-feedback_run-{number}_bold.nii"]
        frame = pd.read_csv(stem.with_suffix(".tsv"), sep="\t", na_values="n/a")
        bold = nibabel.load(out / f"bids/sub-01/func/sub-01_task-feedback_run-{number}_bold.nii")
        assert len(frame) == bold.shape[3] == 40
        for result in Recording(out / "runs" / uid).results:
            expected = result.values.get("realign.trans_x", np.nan)
            np.testing.assert_array_equal(frame.trans_x[result.volume - 1], expected)


def test_every_column_is_described(twice):
    out, _ = twice
    found = sorted((out / "bids/derivatives/rtflow").rglob("*_timeseries.tsv"))

    assert len(found) == 8
    for path in found:
        about = json.loads(path.with_suffix(".json").read_text())
        columns = path.read_text().splitlines()[0].split("\t")
        assert [name for name in columns if not about.get(name, {}).get("Description")] == []


def test_outputs_are_described_by_the_nodes_that_gave_them(twice):
    (path,) = (twice[0] / "bids/derivatives").rglob("*run-1_desc-results_timeseries.json")
    about = json.loads(path.read_text())
    assert about["realign.trans_x"]["Units"] == "mm"
    assert about["decode.value"]["Description"].startswith("Evidence or probability of the target")


def test_the_mask_of_the_session_is_that_of_the_run(twice):
    out, _ = twice
    image = nibabel.load(
        out / "bids/derivatives/rtflow/sub-01/func/sub-01_task-feedback_run-1_desc-brain_mask.nii.gz"
    )
    with np.load(out / "session/mask.npz") as saved:
        np.testing.assert_array_equal(image.get_fdata() > 0, saved["data"])


def test_they_can_be_made_again_from_the_journal_alone(twice):
    out, uids = twice
    written = derive(out / "runs" / uids[0])
    before = {path: path.read_bytes() for path in written}
    for path in written:
        path.unlink()

    assert derive(out / "runs" / uids[0]) == written
    assert {path: path.read_bytes() for path in written} == before


def test_a_later_run_s_mask_lies_on_the_image_that_has_its_reference(twice, tmp_path):
    out, uids = shutil.copytree(twice[0], tmp_path / "out"), twice[1]
    second = out / "runs" / uids[1]
    shutil.rmtree(second / "saved")
    shutil.copytree(out / "runs" / uids[0] / "saved", second / "session", dirs_exist_ok=True)

    derive(second)

    func = out / "bids/derivatives/rtflow/sub-01/func"
    about = json.loads((func / "sub-01_task-feedback_run-2_desc-brain_mask.json").read_text())
    assert about["Sources"] == ["bids:raw:sub-01/func/sub-01_task-feedback_run-2_bold.nii"]
    assert about["SpatialReference"] == "bids:raw:sub-01/func/sub-01_task-feedback_run-1_bold.nii"
    first = json.loads((func / "sub-01_task-feedback_run-1_desc-brain_mask.json").read_text())
    assert first["SpatialReference"] == about["SpatialReference"]


@pytest.mark.parametrize("old", ["gone", "still there"])
def test_a_study_that_was_moved_has_its_derivatives_where_it_is_now(twice, tmp_path, old):
    out, uids = shutil.copytree(twice[0], tmp_path / "old"), twice[1]
    journal = out / "runs" / uids[0] / "journal/documents.jsonl"
    journal.write_text(journal.read_text().replace(str(twice[0]), str(out)))
    now = shutil.copytree(out, tmp_path / "now/study")
    if old == "gone":
        shutil.rmtree(out)
    shutil.rmtree(now / "bids/derivatives")
    before = sorted(tmp_path.rglob("old/**/*"))

    written = derive(now / "runs" / uids[0])

    assert written
    assert all(path.is_relative_to(now / "bids/derivatives/rtflow") and path.exists() for path in written)
    assert sorted(tmp_path.rglob("old/**/*")) == before


def test_a_run_that_was_moved_alone_goes_with_its_data_set_or_is_refused(twice, tmp_path):
    out, uids = shutil.copytree(twice[0], tmp_path / "out"), twice[1]
    journal = out / "runs" / uids[0] / "journal/documents.jsonl"
    journal.write_text(journal.read_text().replace(str(twice[0]), str(out)))
    alone = Path(shutil.move(out / "runs" / uids[0], tmp_path / "alone"))
    assert Recording(alone).located(str(out / "bids")) == out / "bids"
    shutil.rmtree(out)
    with pytest.raises(JournalError, match="move the whole of"):
        derive(alone)


def test_a_run_that_was_cut_short_says_so(twice, tmp_path, capsys):
    out, uids = shutil.copytree(twice[0], tmp_path / "out"), twice[1]
    run_dir = out / "runs" / uids[0]
    sidecar = out / "bids/sub-01/func/sub-01_task-feedback_run-1_bold.json"
    confounds = "derivatives/rtflow/sub-01/func/sub-01_task-feedback_run-1_desc-confounds_timeseries.json"
    path = run_dir / "journal/documents.jsonl"
    whole = path.read_text()
    for status, text in (
        ("aborted", whole.replace('"status":"completed"', '"status":"aborted"')),
        ("unfinished", whole[: whole.rindex('{"document":"RunStop"')]),
    ):
        path.write_text(text)
        told(run_dir)
        assert json.loads(sidecar.read_text())["RunStatus"] == status
        assert json.loads((out / "bids" / confounds).read_text())["RunStatus"] == status
        assert f"the run was cut short: RunStatus {status}" in capsys.readouterr().err
        assert bids_errors(out / "bids") == []
    path.write_text(whole)
    told(run_dir)
    assert "RunStatus" not in json.loads(sidecar.read_text())
    assert "cut short" not in capsys.readouterr().err


def test_a_run_that_is_ended_by_hand_is_marked_in_the_data_set(tmp_path):
    workflow = load_workflow(workflow_path(Path("roi_feedback")))
    given = ["source.speed=max", "source.shape=[24,24,12]", "source.voxel=8", "source.volumes=5000"]
    stopping = threading.Event()

    def see(document: AnyDocument) -> None:
        if isinstance(document, Result):
            stopping.set()

    settings = load_settings(workflow.settings_type, workflow.path.with_suffix(".toml"), given)
    stop = run(workflow, settings, tmp_path, observe=see, stopping=stopping)

    assert stop.status == "aborted"
    (sidecar,) = tmp_path.glob("bids/sub-*/func/*_bold.json")
    assert json.loads(sidecar.read_text())["RunStatus"] == "aborted"
    assert bids_errors(tmp_path / "bids") == []


def test_the_table_of_the_session_says_which_run_each_became(twice):
    out, uids = twice
    rows = listed_runs(out / "session")

    assert [(row["run_uid"], row["run"], row["recorded_run"]) for row in rows] == [
        (uids[0], "1", "1"),
        (uids[1], "1", "2"),
    ]
    assert planned_run(out / "bids", {"bids": {"subject": "01", "task": "feedback", "run": 1}}) == "3"
    assert planned_run(out / "bids", {"bids": {"subject": "01", "task": "other", "run": 1}}) == "1"


def test_a_table_of_other_columns_is_kept(tmp_path):
    (tmp_path / "runs.tsv").write_text("run_uid\told\na\t1\n")

    list_run(tmp_path, {"run_uid": "b", "series": 5})

    assert listed_runs(tmp_path) == [
        {"run_uid": "a", "series": "n/a", "old": "1"},
        {"run_uid": "b", "series": "5", "old": "n/a"},
    ]


def test_a_run_is_whole_where_its_derivatives_cannot_be_written(tmp_path, caplog):
    workflow = load_workflow(workflow_path(Path("roi_feedback")))
    given = ["speed=max", "shape=[24,24,12]", "voxel=8", "volumes=20"]
    settings = load_settings(
        workflow.settings_type, workflow.path.with_suffix(".toml"), [f"source.{one}" for one in given]
    )
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids/derivatives").write_text("in the way")

    stop = run(workflow, settings, tmp_path)

    assert stop.status == "completed"
    assert "derivatives were not written" in caplog.text
