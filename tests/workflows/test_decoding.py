"""The decoding workflow: trained in one run, used in the next, on a simulated head and on a real scan."""

import os
import shutil
import zipfile
from functools import partial
from pathlib import Path

import building
import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from rtflow.design import write_events
from rtflow.documents import Event
from rtflow.errors import OutputError, SessionError, SettingsError, UsageError
from rtflow.rerun import replay
from rtflow.stream import stream
from rtflow.testing import prefix_test, run_frames, source_frames
from rtflow.trials import Design, Trial

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "decoding.py"
TR, LAG = 2.0, 4.0
# 125 volumes: 10 of opening rest, eight blocks of 10 with 4 of rest after each.
SHORT = (
    *("design.opening=20", "design.block=20", "design.rest=8", "source.volumes=125"),
    # As much of the head as more voxels of a finer grid.
    *("decode.best=100", "source.activation=2", "fwhm=5"),
)
LATER = ("bids.run=2", "source.seed=7")
MOVED = ("source.shift=5", "source.gain=1.1")


def says(ran, name: str) -> list[str]:
    return [d.data["says"] for d in ran.documents if isinstance(d, Event) and d.name == name]


def independent_accuracy(ran, design: Design | None = None) -> float:
    """Share of right decisions over the volumes that show a trial, by the truth that the simulator wrote."""
    design = design or ran.design
    predicted = ran.values("decode.predicted")
    shown = {result.volume: design.trial(result.volume, TR, LAG) for result in ran.results}
    right = [
        predicted.get(volume) == design.trials[trial].trial_type
        for volume, trial in shown.items()
        if trial is not None
    ]
    return sum(right) / len(right)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("decoding")


@pytest.fixture(scope="module")
def decoder(folder) -> Path:
    return folder / "moved" / "day1.decoder"


@pytest.fixture(scope="module")
def training(play, folder, decoder):
    return play("decoding", folder, *SHORT, f"decode.save={decoder}")


@pytest.fixture(scope="module")
def later(play, folder, decoder, training):
    """Callable that decodes a later run with the file alone, in a session of its own."""
    del training
    runs = {}

    def go(*overrides: str):
        if overrides not in runs:
            place = folder / f"later-{len(runs)}"
            runs[overrides] = play("decoding", place, *SHORT, *LATER, f"decode.load={decoder}", *overrides)
        return runs[overrides]

    return go


def test_a_training_run_gives_no_feedback_and_leaves_all_that_the_next_one_needs(
    training, folder, decoder
) -> None:
    assert training.stop.status == "completed"
    assert {result.status for result in training.results} == {"ok"}
    assert set(training.values("decode.kind").values()) == {"neutral"}
    assert training.stop.values["keep.kept"] == 3
    with zipfile.ZipFile(decoder) as archive:
        assert archive.namelist() == ["reference.npz", "mask.npz", "decoder.npz"]
    assert sorted(path.name for path in (folder / "session").glob("*.npz")) == sorted(
        ["reference.npz", "mask.npz", "decoder.npz"]
    )


def test_the_next_run_is_decoded_and_accuracy_falls_little_where_the_head_lies_elsewhere(later) -> None:
    same, moved = later(), later(*MOVED)
    for ran in (same, moved):
        assert {result.status for result in ran.results} == {"ok"}
        assert ran.stop.values["score.accuracy"] == pytest.approx(independent_accuracy(ran))
    assert independent_accuracy(same) >= 0.9
    assert independent_accuracy(moved) > independent_accuracy(same) - 0.05
    found = np.array([[r.values[f"realign.trans_{axis}"] for axis in "xyz"] for r in moved.results[5:15]])
    assert np.linalg.norm(found.mean(axis=0)) == pytest.approx(5.0, abs=1.5)


def test_values_speak_for_the_first_condition(later) -> None:
    ran = later()
    shown, values = ran.values("labels.trial_type"), ran.values("decode.value")
    means = {kind: np.mean([values[v] for v in values if shown[v] == kind]) for kind in ("scene", "face")}
    assert means["scene"] > 0.5 > -0.5 > means["face"]


def test_other_labels_of_the_same_trials_leave_the_feedback_as_it_is(later, tmp_path) -> None:
    ran = later()
    other = {"scene": "face", "face": "scene"}
    turned = [Trial(t.onset, t.duration, other[t.trial_type]) for t in ran.design.trials]
    write_events(Design(tuple(turned)), tmp_path / "turned.tsv")
    write_events(ran.design, tmp_path / "right.tsv")
    # The participant does what the file says; the decoder is asked with the volumes of another run.
    context = {}
    for name in ("right", "turned"):
        events = f"decode.events={tmp_path / name}.tsv"
        source = f"source=journal:{ran.out / 'runs' / ran.stop.run_uid}?speed=max"
        context[name] = later(source, events)
    right, wrong = context["right"], context["turned"]
    assert right.values("decode.value") == wrong.values("decode.value") == ran.values("decode.value")
    assert right.stop.values["score.accuracy"] + wrong.stop.values["score.accuracy"] == pytest.approx(1.0)


def test_without_events_every_volume_is_decoded_and_compared_with_the_rest_of_the_training_run(later) -> None:
    ran = later()
    source = f"source=journal:{ran.out / 'runs' / ran.stop.run_uid}?speed=max"
    blind = later(source)
    assert set(blind.values("labels.trial_type").values()) == {"n/a"}
    assert set(blind.values("decode.kind").values()) == {"evidence"}
    assert len(says(blind, "rest_of_training")) == 1
    assert "score.accuracy" not in blind.stop.values
    assert independent_accuracy(blind, ran.design) >= 0.8


def test_the_folder_of_the_session_is_as_good_as_the_file(play, folder, training, later) -> None:
    ran = play("decoding", folder / "b", *SHORT, *LATER, f"decode.load={folder / 'session'}")
    assert ran.values("decode.value") == later().values("decode.value")


def test_a_replay_does_without_the_file(later, decoder, tmp_path, monkeypatch) -> None:
    ran = later()
    hidden = tmp_path / "hidden"
    shutil.move(decoder, hidden)
    try:
        _, comparison = replay(ran.out / "runs" / ran.stop.run_uid, out=tmp_path)
    finally:
        shutil.move(hidden, decoder)
    assert comparison.differing == ()


def test_a_training_run_that_is_cut_short_leaves_no_file(play, tmp_path) -> None:
    file = tmp_path / "cut.decoder"
    cut = play("decoding", tmp_path, *SHORT, f"decode.save={file}", "source.speed=40", stop_after=100)
    assert cut.stop.status == "aborted"
    assert not file.exists()
    assert not (tmp_path / "session" / "decoder.npz").exists()


def test_a_session_of_another_reference_is_refused_before_the_first_volume(
    play, training, tmp_path, decoder
) -> None:
    with pytest.raises(SessionError, match=r"nothing.decoder"):
        play("decoding", tmp_path, *SHORT, *LATER, f"decode.load={tmp_path / 'nothing.decoder'}")
    with pytest.raises(SessionError, match="normalise = 'running'"):
        play("decoding", tmp_path, *SHORT, *LATER, f"decode.load={decoder}", "decode.normalise=rest")


build = partial(building.build, "decoding", small=())


def test_what_is_lacking_is_named(tmp_path) -> None:
    (tmp_path / "events.tsv").write_text("onset\tduration\ttrial_type\n1\t2\tface\n3\t2\trest\n")
    with pytest.raises(SettingsError, match=r"decode\.events is empty, expected the events\.tsv"):
        build(f"source=folder:{tmp_path}")
    with pytest.raises(SettingsError, match="has no trial of hat, it has face"):
        build(f"decode.events={tmp_path / 'events.tsv'}", "decode.conditions=[face, hat]")
    (tmp_path / "events.tsv").write_text("onset\tduration\ttrial_type\n3\t2\trest\n")
    with pytest.raises(SettingsError, match="has no trial of anything but rest"):
        build(f"decode.events={tmp_path / 'events.tsv'}")
    with pytest.raises(UsageError, match="events file"):
        build(f"decode.events={tmp_path / 'nothing.tsv'}")


def test_every_setting_reaches_its_node(tmp_path) -> None:
    rows = [
        "onset\tduration\ttrial_type",
        *(f"{10 + n}\t0.5\tface" for n in range(9)),
        "30\t9\thouse",
        "50\t9\tcat",
    ]
    (tmp_path / "events.tsv").write_text("\n".join(rows) + "\n")
    events = f"decode.events={tmp_path / 'events.tsv'}"
    flow = build(
        *(events, f"decode.save={tmp_path / 'out'}", "decode.conditions=[house, face]", "decode.lag=5"),
        *(
            "decode.settle=3",
            "decode.transition=1",
            "decode.estimator=sklearn.svm.LinearSVC",
            "decode.best=77",
        ),
        *("decode.normalise=opening", "decode.memory=30", "decode.within=false", "decode.accumulate=false"),
        *("decode.max_fd=0.4", "decode.scanner_dummies=4", "fwhm=7", "dummy_volumes=3", "bids.task=other"),
    )
    inputs = {name: flow.get_node(name).inputs for name in flow.list_node_names()}
    labels, decode = inputs["labels"], inputs["decode"]
    assert labels.design.trials == (
        Trial(6.0, 8.5, "face"),
        Trial(26.0, 9.0, "house"),
        Trial(46.0, 9.0, "cat"),
    )
    assert (labels.lag, labels.settle, labels.transition, labels.train_trials) == (5.0, 3.0, 1.0, 3)
    assert (decode.conditions, decode.estimator, decode.best) == (
        ["house", "face"],
        "sklearn.svm.LinearSVC",
        77,
    )
    assert (decode.normalise, decode.memory, decode.within) == ("opening", 30.0, False)
    assert (decode.accumulate, decode.max_fd, decode.choose) == (False, 0.4, "activation")
    assert (decode.notes["lag"], decode.notes["fwhm"]) == (5.0, 7.0)
    assert (inputs["smooth"].fwhm, inputs["skip"].volumes, inputs["convert"].task) == (7.0, 3, "other")
    # What a JoinNode shows are its lists; what its interface was made with is there.
    assert flow.get_node("keep").interface.inputs.file == str(tmp_path / "out")
    decode = build(events, "decode.estimator=logistic").get_node("decode").inputs
    assert (decode.estimator, decode.within, decode.choose) == ("logistic", False, "separation")
    flow = build(events, f"decode.load={tmp_path / 'out'}")
    inputs = {name: flow.get_node(name).inputs for name in flow.list_node_names()}
    assert inputs["realign"].reference == f"session:{tmp_path / 'out'}/reference"
    assert inputs["mask"].load == f"{tmp_path / 'out'}/mask"
    assert inputs["decode"].load == f"{tmp_path / 'out'}/decoder"
    assert inputs["labels"].train_trials == 0
    assert "keep" not in inputs


TINY = (*building.TINY, "source.volumes=90")


def test_no_result_depends_on_a_later_volume_while_training(tmp_path) -> None:
    flow = build(*SHORT, *TINY)
    flow.base_dir = str(tmp_path)
    # Between trials nothing of the decoder is seen, as all trials are for training; the rest is.
    prefix_test(flow, after=62)


def test_a_pipeline_that_a_copy_of_the_workflow_gives_trains_in_the_run_here_or_in_a_process(
    tmp_path,
) -> None:
    results = []
    for way in ("thread", "process"):
        flow = build(*SHORT, *TINY, "source.volumes=120", "source.activation=4")
        flow.base_dir = str(tmp_path)
        flow.get_node("labels").inputs.train_trials = 4
        decode = stream(flow.get_node("decode"), mode=way)
        decode.inputs.estimator = make_pipeline(StandardScaler(), SelectKBest(k=40), LinearSVC())
        results.append(run_frames(flow, source_frames(flow)[0], tr=TR))
    predicted = [{r.volume: r.values.get("decode.predicted") for r in found} for found in results]
    assert predicted[0] == predicted[1]
    right = [r.values["decode.correct"] for r in results[1] if "decode.correct" in r.values]
    assert len(right) > 30
    assert np.mean(right) >= 0.9


def test_no_result_depends_on_a_later_volume_while_decoding(play, tmp_path) -> None:
    file = tmp_path / "day1.decoder"
    play("decoding", tmp_path, *SHORT, *TINY, f"decode.save={file}", small=False)
    flow = build(*SHORT, *TINY, *LATER, f"decode.load={file}")
    flow.base_dir = str(tmp_path)
    prefix_test(flow, after=62)


#: Two runs each; what the voxels' values alone allow is tested with twenty, in less time.
SEEDS = 20 if "SECONDS_TO_SOAK" in os.environ else 5


@pytest.mark.slow
def test_motion_alone_decodes_at_chance(play, tmp_path) -> None:
    still = (*SHORT, "source.activation=0", "source.task_motion=0.3")
    found = []
    for seed in range(1, SEEDS + 1):
        place, file = tmp_path / str(seed), tmp_path / f"{seed}.decoder"
        play("decoding", place, *still, f"source.seed={seed}", f"decode.save={file}")
        ran = play("decoding", place, *still, *LATER, f"source.seed={100 + seed}", f"decode.load={file}")
        found.append(ran.stop.values["score.accuracy"])
    assert abs(np.mean(found) - 0.5) < 3 * max(np.std(found, ddof=1), 0.05) / np.sqrt(len(found))


def test_a_place_that_the_decoder_cannot_be_left_in_is_refused_before_the_scan(play, tmp_path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        play("decoding", tmp_path, f"decode.save={tmp_path}")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        play("decoding", tmp_path, f"decode.save={tmp_path / 'file' / 'decoder'}")
    assert not (tmp_path / "runs").exists()
