"""BringMask in whole runs: at set-up and in the stream, replayed, and never by a later volume."""

import shutil
import sys
from pathlib import Path

import brought_workflow
import numpy as np
import pytest
from brought_workflow import SOURCE, first_volume, write_earlier
from nipype import Node, Workflow

from rtflow.engine import run
from rtflow.errors import UsageError
from rtflow.journal import Recording
from rtflow.nodes import BringMask, DicomToBids, Realign, Region, ScannerInput
from rtflow.rerun import replay
from rtflow.settings import load_settings
from rtflow.stream import StreamPlugin, inspect, stream
from rtflow.stream.interface import RunContext
from rtflow.testing import prefix_test, run_frames, source_frames
from rtflow.workflow_file import load_workflow


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """A reference, the image of an earlier day (the head 12 mm to the front), and a mask in that."""
    return write_earlier(tmp_path_factory.mktemp("earlier"))


def graph(files, folder, *, at_set_up: bool = False, mode=None) -> Workflow:
    convert, scanner = Node(DicomToBids(), name="convert"), Node(ScannerInput(uri=SOURCE), name="scanner")
    realign = Node(Realign(reference=files["reference"] if at_set_up else "first"), name="realign")
    given = {"reference": files["reference"]} if at_set_up else {}
    bring = Node(BringMask(file=files["file"], image=files["image"], hold=8.0, **given), name="bring")
    if mode:
        stream(bring, mode=mode)
    region = Node(Region(baseline="none"), name="region")
    flow = Workflow(name="brought", base_dir=str(folder))
    flow.connect(
        [
            (scanner, convert, [("frame", "frame")]),
            (convert, realign, [("incremental", "incremental")]),
            (realign, region, [("incremental", "incremental")]),
            (bring, region, [("mask", "mask")]),
        ]
    )
    if at_set_up:
        flow.connect(bring, "says", region, "says")
    else:
        flow.connect(realign, "incremental", bring, "incremental")
        flow.connect(realign, "reference", bring, "reference")
    return flow


def test_the_stream_gives_feedback_from_the_volume_that_is_due_and_a_replay_the_same(files, tmp_path) -> None:
    flow = graph(files, tmp_path)
    assert {node.name: node.when for node in inspect(flow).nodes}["bring"] == "volume"
    frames, tr = source_frames(flow)
    once = run_frames(flow, frames, tr=tr)
    # Once more, and in a worker process, which has one of its own then.
    again = run_frames(graph(files, tmp_path, mode="process"), frames, tr=tr)
    assert [result.status for result in once] == ["ok"] * 18
    assert ["region.value" in result.values for result in once] == [False] * 4 + [True] * 14
    assert [result.values_sha256 for result in once] == [result.values_sha256 for result in again]


@pytest.mark.parametrize("by", ["ANTs", "SimpleITK"])
def test_a_replay_registers_by_what_the_run_did(files, tmp_path, request, monkeypatch, by) -> None:
    request.getfixturevalue("ants")
    with_ants, without = list(sys.path), sys.path[:-1]
    monkeypatch.setattr(sys, "path", with_ants if by == "ANTs" else without)
    workflow = load_workflow(Path(brought_workflow.__file__))
    given = [f"source={SOURCE}", f"file={files['file']}", f"image={files['image']}"]
    stop = run(workflow, load_settings(workflow.settings_type, None, given), tmp_path / "out")
    run_dir = Path(stop.outputs["run"])
    assert stop.counts["ok"] == 18
    monkeypatch.setattr(sys, "path", without if by == "ANTs" else with_ants)
    if by == "ANTs":
        with pytest.raises(
            UsageError, match=r"the recorded run registered by ANTs v.*, but there is no ANTs"
        ):
            replay(run_dir)
        monkeypatch.setattr(sys, "path", with_ants)
    again, comparison = replay(run_dir)
    assert (comparison.equal, comparison.differing) == (18, ())
    for folder in (run_dir, Path(again.outputs["run"])):
        (event,) = [event for event in Recording(folder).events if event.name == "mask_brought"]
        assert event.data["registered_by"].startswith(by)


def test_no_result_depends_on_a_later_volume(files, tmp_path) -> None:
    prefix_test(graph(files, tmp_path), after=12)


def test_a_second_run_begins_anew(files, tmp_path) -> None:
    """The same node goes through a run of a head that lies elsewhere, and then through this one."""
    here = first_volume()
    there = np.array(here.affine)
    there[2, 3] += 9.0
    elsewhere = here.on_affine(here.data, there, reference="elsewhere")
    node = BringMask(file=files["file"], image=files["image"], hold=0.0)
    found = []
    for name, reference in (("elsewhere", elsewhere), ("here", here)):
        context = RunContext(name, tmp_path / name, tmp_path / "bids", tmp_path / "session")
        node.start_run(context)
        try:
            node.inputs.reference, node.volume, node._results = reference, 1, {}
            node._run_interface(None)
        finally:
            node.end_run()
        found.append(node._results["transform"])
        assert node._results["mask"].grid == reference.grid
        assert (context.run_dir / "overlays").is_dir()
    # From the reference to the image: the head lies 12 mm to the front there, and lay 9 mm up here.
    np.testing.assert_allclose(found[1][:3, 3], [0, 12, 0], atol=0.5)
    np.testing.assert_allclose(found[0][:3, 3], [0, 12, -9], atol=0.5)


def test_at_set_up_files_of_another_participant_are_refused(files, tmp_path) -> None:
    reference = tmp_path / "sub-02_task-nf_boldref.nii.gz"
    shutil.copy(files["reference"], reference)
    node = BringMask(reference=str(reference), file=files["file"], image=files["image"])
    with pytest.raises(UsageError, match=r"boldref.nii.gz is of sub-01, but the volumes are of sub-02"):
        node.run(cwd=str(tmp_path))


def test_at_set_up_the_mask_is_there_from_the_first_volume_on(files, tmp_path) -> None:
    flow = graph(files, tmp_path, at_set_up=True)
    assert {node.name: node.when for node in inspect(flow).nodes}["bring"] == "set-up"
    events = []
    context = RunContext("run", tmp_path / "run", tmp_path / "bids", tmp_path / "session", emit=events.append)
    plugin = StreamPlugin(context=context, observers=(events.append,))
    flow.run(plugin=plugin)
    assert ["region.value" in result.values for result in plugin.results] == [True] * 18
    (note,) = [event for event in events if getattr(event, "name", "") == "region"]
    picture = Path(note.data["says"].rpartition("look at ")[2])
    assert picture.is_file()
    assert picture.parent == tmp_path / "brought"
