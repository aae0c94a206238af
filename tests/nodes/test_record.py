import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from validator import bids_errors

from rtflow.bids.incremental import BidsIncremental
from rtflow.design import block_design, read_events
from rtflow.documents import Event
from rtflow.errors import OutputError, UsageError, VolumeError
from rtflow.nodes.record import RecordRun
from rtflow.trials import ShownTrial

DESIGN = block_design(["scene", "face"], blocks=2, block=4.0, rest=2.0)
ENTITIES = {"subject": "01", "task": "faces", "run": "1"}


def incremental(volume: int, entities: dict[str, str] = ENTITIES, shape=(4, 4, 3)) -> BidsIncremental:
    data = np.random.default_rng(volume).integers(1, 4000, shape, dtype=np.int16)
    metadata = {
        "RepetitionTime": 2.0,
        "EchoTime": 0.03,
        "SliceTiming": [0.0, 0.7, 1.4],
        "AcquisitionTime": f"10:00:{volume:02d}",
    }
    return BidsIncremental(
        data, np.diag([3.0, 3.0, 4.0, 1.0]), volume=volume, metadata=metadata, entities=entities
    )


@pytest.fixture
def record(call, make_context):
    """Callable that records volumes; those left out are gaps. Returns the path that the node gives."""

    def run(volumes, run_uid="run-a", *, total=None, end=True, options=None, make=incremental, **fields):
        node = RecordRun(**(options or {}))
        node.start_run(make_context(run_uid, **fields))
        path = None
        for volume in range(1, (total or max(volumes)) + 1):
            if volume in volumes:
                path = call(node, volume, incremental=make(volume))["bold_file"]
            else:
                node.gap(volume)
        if end:
            node.end_run()
        else:
            node._file.close()  # as a crash does
        return path

    return run


def stored(path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def sidecar(path) -> dict:
    return json.loads(Path(str(path).removesuffix(".nii") + ".json").read_text())


def test_a_run_becomes_a_data_set(record, tmp_path) -> None:
    path = record(range(1, 6), options={"design": DESIGN})
    root = tmp_path / "bids"
    assert path == str(root / "sub-01" / "func" / "sub-01_task-faces_run-1_bold.nii")
    assert sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()) == [
        "README.md",
        "dataset_description.json",
        "participants.tsv",
        "sub-01/func/sub-01_task-faces_run-1_bold.json",
        "sub-01/func/sub-01_task-faces_run-1_bold.nii",
        "sub-01/func/sub-01_task-faces_run-1_events.tsv",
    ]
    for volume in range(1, 6):
        assert np.array_equal(stored(path)[..., volume - 1], incremental(volume).data)
    about = sidecar(path)
    assert about["TaskName"] == "faces"
    assert about["RepetitionTime"] == nib.load(path).header.get_zooms()[3] == 2.0
    assert about["SliceTiming"] == [0.0, 0.7, 1.4]
    assert about["RunUID"] == "run-a"
    assert not {"AcquisitionTime", "MissingVolumes", "RequestedRun"} & about.keys()
    assert read_events(root / "sub-01/func/sub-01_task-faces_run-1_events.tsv") == DESIGN
    assert json.loads((root / "dataset_description.json").read_text())["DatasetType"] == "raw"
    assert (root / "participants.tsv").read_text() == "participant_id\nsub-01\n"


def test_a_session_has_its_folder(record, tmp_path) -> None:
    path = record([1], make=lambda volume: incremental(volume, {**ENTITIES, "session": "pre"}))
    assert path == str(tmp_path / "bids/sub-01/ses-pre/func/sub-01_ses-pre_task-faces_run-1_bold.nii")


def test_the_sidecar_is_written_when_there_is_news_only(record, monkeypatch) -> None:
    written = []
    monkeypatch.setattr("rtflow.nodes.record.write_json", lambda path, content: written.append(content))
    record([1, 2, 4, 5, 6])
    assert [content.get("MissingVolumes") for content in written] == [None, [3]]


def test_missing_volumes_are_zeros_and_stand_in_the_sidecar_at_once(record) -> None:
    path = record([2, 3, 6], total=8, end=False)
    assert sidecar(path)["MissingVolumes"] == [1, 4, 5, 7, 8]
    assert stored(path).shape[3] == 8
    for volume in range(1, 9):
        expected = incremental(volume).data if volume in (2, 3, 6) else 0
        assert (stored(path)[..., volume - 1] == expected).all()


def test_a_volume_that_does_not_fit_fails_alone(call, make_context) -> None:
    node = RecordRun()
    node.start_run(make_context())
    path = call(node, 1, incremental=incremental(1))["bold_file"]
    for volume in (2, 4):
        with pytest.raises(VolumeError, match=r"shape \(5, 4, 3\), the run has \(4, 4, 3\)"):
            call(node, volume, incremental=incremental(volume, shape=(5, 4, 3)))
        if volume == 2:
            call(node, 3, incremental=incremental(3))
    node.end_run()
    assert sidecar(path)["MissingVolumes"] == [2, 4]
    assert stored(path).shape[3] == 4


def test_a_run_that_is_there_is_never_touched(record, tmp_path) -> None:
    first = record(range(1, 4))
    before = {file: file.read_bytes() for file in (tmp_path / "bids").rglob("*_bold.*")}
    second = record(range(1, 6), "run-b")
    third = record(range(1, 3), "run-c", options={"compress": True})
    assert [path.rsplit("_", 2)[1] for path in (first, second, third)] == ["run-1", "run-2", "run-3"]
    assert all(file.read_bytes() == content for file, content in before.items())
    assert sidecar(second)["RequestedRun"] == "1"
    fourth = record([1], "run-d")
    # The compressed run counts as one that is there.
    assert "run-4" in fourth
    assert stored(second).shape[3] == 5


def test_runs_keep_the_digits_of_their_numbers_and_a_run_without_one_gets_the_second(record) -> None:
    def padded(volume):
        return incremental(volume, {**ENTITIES, "run": "09"})

    def bare(volume):
        return incremental(volume, {"subject": "01", "task": "faces"})

    assert "run-09_" in record([1], make=padded)
    assert "run-10_" in record([1], "run-b", make=padded)
    assert record([1], "run-c", make=bare).endswith("sub-01_task-faces_bold.nii")
    repeated = record([1], "run-d", make=bare)
    assert repeated.endswith("sub-01_task-faces_run-2_bold.nii")
    assert sidecar(repeated)["RequestedRun"] == "none"


def test_a_participant_is_listed_once_and_other_columns_stay(record, tmp_path) -> None:
    root = tmp_path / "bids"
    root.mkdir()
    (root / "participants.tsv").write_text("participant_id\tage\nsub-02\t30\n")
    record([1])
    record([1], "run-b")
    assert (root / "participants.tsv").read_text() == "participant_id\tage\nsub-02\t30\nsub-01\tn/a\n"


def test_a_data_set_that_is_there_keeps_its_readme_and_description(record, tmp_path) -> None:
    root = tmp_path / "bids"
    root.mkdir()
    (root / "README").write_text("Ours.")
    (root / "dataset_description.json").write_text('{"Name": "Ours", "BIDSVersion": "1.8.0"}')
    record([1])
    assert (root / "README").read_text() == "Ours."
    assert json.loads((root / "dataset_description.json").read_text())["Name"] == "Ours"
    assert not (root / "README.md").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [('{"Name": "x", "DatasetType": "derivative"}', "derivative"), ("{not json", "JSON"), ("[]", "JSON")],
)
def test_a_folder_that_is_no_raw_data_set_is_refused_before_the_first_volume(
    make_context, tmp_path, content, named
) -> None:
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text(content)
    with pytest.raises(OutputError, match=named):
        RecordRun().start_run(make_context())
    assert [file.name for file in root.iterdir()] == ["dataset_description.json"]


def test_a_run_without_a_subject_or_task_is_refused(record) -> None:
    for absent in ("subject", "task"):
        entities = {**ENTITIES, absent: ""}
        with pytest.raises(OutputError, match=r"set bids\.subject and bids\.task"):
            record([1], make=lambda volume, entities=entities: incremental(volume, entities))


def test_no_label_leads_out_of_the_data_set(record, tmp_path) -> None:
    for entity in ("subject", "session", "task"):
        entities = {**ENTITIES, entity: "../../../away"}
        with pytest.raises(UsageError, match=f"{entity} '../../../away' cannot stand in a BIDS name"):
            record([1], make=lambda volume, entities=entities: incremental(volume, entities))
    assert not list(tmp_path.rglob("*away*"))


# After a crash.


def test_a_resumed_run_is_swapped_in_once_it_is_no_shorter(call, record, make_context, tmp_path) -> None:
    path = record(range(1, 5), end=False)
    folder = tmp_path / "bids/sub-01/func"
    node = RecordRun()
    node.start_run(make_context(resuming=True))
    for volume in range(1, 8):
        call(node, volume, incremental=incremental(volume))
        # A reader of the file never finds fewer volumes than before the crash.
        assert stored(path).shape[3] == max(volume, 4)
    node.end_run()
    assert stored(path).shape[3] == 7
    assert not [file.name for file in folder.iterdir() if file.name.startswith(".")]
    assert len(list(folder.glob("*_bold.nii"))) == 1


def test_a_resumed_run_gets_back_the_place_that_was_its_own(record) -> None:
    record([1, 2])
    second = record([1, 2], "run-b", end=False)
    third = record([1, 2], "run-c")
    again = record([1, 2, 3], "run-b", resuming=True)
    assert again == second != third
    assert stored(again).shape[3] == 3
    assert sidecar(again)["RequestedRun"] == "1"


def test_a_resumed_run_that_ends_shorter_leaves_what_was_there(record, tmp_path) -> None:
    path = record(range(1, 5), end=False)
    record(range(1, 3), resuming=True)
    assert stored(path).shape[3] == 4
    assert not list((tmp_path / "bids/sub-01/func").glob(".*"))


def test_a_run_that_crashed_before_its_first_volume_begins_anew(record, tmp_path) -> None:
    assert record([2], resuming=True).endswith("run-1_bold.nii")
    assert sidecar(tmp_path / "bids/sub-01/func/sub-01_task-faces_run-1_bold.nii")["MissingVolumes"] == [1]


def test_a_compressed_run_holds_the_same_and_has_the_same_bytes_each_time(record, tmp_path) -> None:
    plain = record(range(1, 4))
    zipped = [record(range(1, 4), uid, options={"compress": True}) for uid in ("run-b", "run-c")]
    assert all(np.array_equal(stored(path), stored(plain)) for path in zipped)
    first, second = (Path(path).read_bytes() for path in zipped)
    assert first == second
    assert not list((tmp_path / "bids/sub-01/func").glob("*run-2_bold.nii"))


def test_a_run_without_a_single_volume_leaves_no_run(call, make_context, tmp_path) -> None:
    node = RecordRun()
    node.start_run(make_context())
    node.gap(1)
    node.end_run()
    assert not list((tmp_path / "bids").rglob("*_bold*"))
    del call


def test_voxels_that_cannot_be_recorded_take_no_place(make_context, call, tmp_path) -> None:
    node = RecordRun()
    node.start_run(make_context("run-a"))
    for volume in (1, 2, 3):
        wide = incremental(volume)
        with pytest.raises(VolumeError, match="voxels of type int64 cannot be recorded"):
            call(node, volume, incremental=wide.with_data(wide.data.astype(np.int64)))
    assert not list(tmp_path.rglob("*_bold.*"))
    assert not list(tmp_path.rglob(".bidsignore"))
    # What can be recorded later gets the place that was asked for.
    path = call(node, 4, incremental=incremental(4))["bold_file"]
    node.end_run()
    assert Path(path).name == "sub-01_task-faces_run-1_bold.nii"
    assert sidecar(path)["MissingVolumes"] == [1, 2, 3]


@pytest.mark.parametrize("metadata", [{"EchoTime": 0.03}, {"RepetitionTime": 2.0, "Bytes": b"x"}])
def test_metadata_that_bids_cannot_have_take_no_place(make_context, call, tmp_path, metadata) -> None:
    node = RecordRun()
    node.start_run(make_context("run-a"))
    data, affine = incremental(1).data, incremental(1).affine
    for volume in (1, 2):
        bad = BidsIncremental(data, affine, volume=volume, metadata=metadata, entities=ENTITIES)
        with pytest.raises((UsageError, VolumeError), match=r"no RepetitionTime|expected a JSON value"):
            call(node, volume, incremental=bad)
    node.end_run()
    assert not list(tmp_path.rglob("*_bold.*"))


def test_a_run_that_cannot_begin_at_once_keeps_its_place(make_context, call, tmp_path, monkeypatch) -> None:
    import rtflow.nodes.record as record_module

    def full(*_: object) -> None:
        raise OutputError("No space left on device")

    node = RecordRun()
    node.start_run(make_context("run-a"))
    with monkeypatch.context() as disk:
        disk.setattr(record_module, "add_participant", full)
        for volume in (1, 2):
            with pytest.raises(OutputError, match="No space left"):
                call(node, volume, incremental=incremental(volume))
    path = call(node, 3, incremental=incremental(3))["bold_file"]
    node.end_run()
    assert Path(path).name == "sub-01_task-faces_run-1_bold.nii"
    assert len(list(tmp_path.rglob("*_bold.json"))) == 1
    assert bids_errors(tmp_path / "bids") == []


def test_a_compressed_run_is_replaced_by_none_that_is_shorter(record, tmp_path) -> None:
    compressed = {"compress": True}
    packed = Path(record([1, 2, 3], options=compressed))
    whole = stored(packed)
    # Killed before its last word was written: it goes on, and is killed again, or ends too early.
    record([1, 2], options=compressed, resuming=True, end=False)
    assert not packed.with_suffix("").exists()
    record([1, 2], options=compressed, resuming=True)
    assert np.array_equal(stored(packed), whole)
    record([1, 2, 3, 4], options=compressed, resuming=True)
    assert np.array_equal(stored(packed)[..., :3], whole)
    assert stored(packed).shape[3] == 4
    assert [path.name for path in packed.parent.iterdir() if path.suffix != ".json"] == [packed.name]


def test_events_that_are_there_stay(record, tmp_path) -> None:
    events = tmp_path / "bids/sub-01/func/sub-01_task-faces_run-1_events.tsv"
    events.parent.mkdir(parents=True)
    events.write_text("onset\tduration\n1\t2\n")
    record([1, 2], options={"design": DESIGN})
    assert events.read_text() == "onset\tduration\n1\t2\n"


def test_events_after_the_end_of_the_run_are_left_out_and_that_is_said(record, tmp_path) -> None:
    events, told = tmp_path / "bids/sub-01/func/sub-01_task-faces_run-1_events.tsv", []
    record([1, 2, 3], options={"design": DESIGN}, emit=told.append)  # 6 s; the second block begins then
    assert read_events(events).trials == DESIGN.trials[:1]
    (event,) = told
    assert str(event.data["says"]).startswith(
        "the design goes on to 10 s, the run ended at 6 s: 1 of its events"
    )
    assert "; if nobody ended the run early, check" in str(event.data["says"])


def test_where_somebody_ended_the_run_the_design_is_not_doubted(record) -> None:
    told: list[Event] = []
    record([1, 2, 3], options={"design": DESIGN}, emit=told.append, was_ended=lambda: True)
    assert str(told[0].data["says"]).endswith("left out of sub-01_task-faces_run-1_events.tsv")


def test_an_event_that_goes_on_after_the_end_stays_and_that_is_said(record, tmp_path) -> None:
    told: list[Event] = []
    path = record([1, 2, 4], options={"design": DESIGN}, emit=told.append)
    assert read_events(Path(path).with_name("sub-01_task-faces_run-1_events.tsv")) == DESIGN
    assert ["its last event stays in" in str(event.data["says"]) for event in told] == [True]


def test_the_events_of_a_resumed_run_end_with_it_too(record, tmp_path) -> None:
    told: list[Event] = []
    record([1, 2], options={"design": DESIGN}, end=False)
    path = record([1, 2, 3], options={"design": DESIGN}, resuming=True, emit=told.append)
    assert len(read_events(Path(path).with_name("sub-01_task-faces_run-1_events.tsv")).trials) == 1
    assert len(told) == 1


def test_events_of_somebody_else_do_not_end_with_the_run(record, tmp_path) -> None:
    events, told = tmp_path / "bids/sub-01/func/sub-01_task-faces_run-1_events.tsv", []
    events.parent.mkdir(parents=True)
    events.write_text("onset\tduration\n100\t2\n")
    record([1], options={"design": DESIGN}, emit=told.append)
    assert events.read_text() == "onset\tduration\n100\t2\n"
    assert told == []


def scanned(volume: int, number: int = 5, **about: object) -> BidsIncremental:
    """A volume of a series of a scanner."""
    one = incremental(volume + 100 * number)
    return BidsIncremental(
        one.data,
        one.affine,
        volume=volume,
        metadata={**incremental(volume).metadata, "SeriesNumber": number, **about},
        entities=ENTITIES,
    )


def test_a_series_that_is_recorded_already_is_recorded_again_and_that_is_said_once(record) -> None:
    told: list[Event] = []
    record([1, 2], "run-a", make=scanned, emit=told.append)
    assert told == []
    record([1, 2], "run-b", make=lambda volume: scanned(volume, 6), emit=told.append)
    (event,) = told
    assert (event.name, event.data["run"]) == ("another_run", "2")
    assert event.data["says"] == "run 1 is in the data set already, and this one becomes run 2"
    path = record([1, 2], "run-c", make=scanned, emit=told.append)
    (event,) = (one for one in told if one.name == "series_again")
    assert event.data["recorded"] == "sub-01_task-faces_run-1"
    says = str(event.data["says"])
    assert says.startswith(
        "series 5 is recorded already, as sub-01_task-faces_run-1, and becomes sub-01_task-"
    )
    assert "faces_run-3 as well" in says
    assert "'folder:DIR?existing=false'" in says  # of an agent it is the default
    assert stored(path).shape[3] == 2
    # Of another day it would be another series: neither its number nor its time are enough.
    record([1], "run-d", make=lambda volume: scanned(volume, 5, AcquisitionTime="11:00:00"), emit=told.append)
    assert [one.name for one in told].count("series_again") == 1


@pytest.mark.parametrize("way", ["resuming", "replaying", "from a data set", "no scanner"])
def test_what_is_meant_to_be_the_same_series_is_not_told(record, way) -> None:
    told: list[Event] = []
    path = record([1, 2], end=way != "resuming", make=incremental if way == "no scanner" else scanned)
    again = {way: True} if way in ("resuming", "replaying") else {}
    make = incremental if way == "no scanner" else scanned
    if way == "from a data set":
        make = lambda volume: scanned(volume, SeriesHash=sidecar(path)["SeriesHash"])  # noqa: E731
    record([1, 2], "run-a" if way == "resuming" else "run-b", make=make, emit=told.append, **again)
    assert [one for one in told if one.name != "another_run"] == []
    assert ("SeriesHash" in sidecar(path)) == (way != "no scanner")


def test_a_run_that_was_cut_short_and_is_read_again_is_told(record) -> None:
    told: list[Event] = []
    path = record([1], make=lambda volume: scanned(volume, RunStatus="aborted"), emit=told.append)
    assert ["cut short" in str(event.data["says"]) for event in told] == [True]
    assert "RunStatus" not in sidecar(path)


def test_the_events_of_an_echo_are_those_of_its_run(record, tmp_path) -> None:
    def echo(volume: int) -> BidsIncremental:
        return incremental(volume, ENTITIES | {"echo": "2"})

    path = record([1, 2], options={"design": DESIGN}, make=echo)
    assert Path(path).with_name("sub-01_task-faces_run-1_events.tsv").exists()
    assert bids_errors(tmp_path / "bids") == []


def test_what_was_really_shown_stands_in_the_events(record) -> None:
    told = [ShownTrial(0.4, 4.0, "scene"), ShownTrial(50.0, 1.0, "face", late=True)]
    path = record(range(1, 6), options={"design": DESIGN, "shown": told})
    events = Path(path.replace("_bold.nii", "_events.tsv"))
    assert events.read_text().splitlines() == [
        "onset\tduration\ttrial_type\ttold",
        "0.4\t4\tscene\tshown",
        "6\t4\tface\tplanned",
    ]
    assert "late" in json.loads(events.with_suffix(".json").read_text())["told"]["Levels"]


def test_events_that_somebody_wrote_stay_whatever_was_shown(record) -> None:
    events: list = []
    path = record([1, 2], options={"design": DESIGN}, end=False)
    file = Path(path.replace("_bold.nii", "_events.tsv"))
    file.write_text("onset\tduration\ttrial_type\n1\t1\tmine\n")
    told = [ShownTrial(0.4, 4.0, "scene")]
    record([1, 2, 3], options={"design": DESIGN, "shown": told}, resuming=True, emit=events.append)
    assert "mine" in file.read_text()
    assert "events_left" in [event.name for event in events]
