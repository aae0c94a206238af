"""What holds of each node: runs begin anew, nothing later is known, a bad volume is no surprise."""

import numpy as np
import pytest
from every_node import AT_THE_END, Graph, each_volume, frames_of, give, numbered, plain, spoiled

from rtflow import nodes
from rtflow.bench.nodes import simulated
from rtflow.errors import VolumeError
from rtflow.nodes import ScannerInput
from rtflow.stream.interface import RunContext
from rtflow.testing import noise

EACH = [call.name for call in each_volume()]
#: In a process of its own, which registers: tests/nodes/masks/test_bring_mask_runs.py holds the same of it.
ELSEWHERE = {"BringMask"}
KNOWN, LAST = 25, 30
HOWS = ("nan", "zeros", "shape")

FAILS, DOUBTED, HOLDS, PASSES = "fails", "doubted", "holds", "passes"
# What comes of a volume that is NaN, 0 everywhere, or of another shape. PASSES: the node looks at no voxel of
# it, or gives on what the next one refuses; another shape of the same head has a place in the world, by which
# Realign and Echoes bring it to the reference.
BAD = {
    "DicomToBids": (PASSES, PASSES, PASSES),
    "SkipDummies": (PASSES, PASSES, PASSES),
    "Labels": (PASSES, PASSES, PASSES),
    "SliceTiming": (FAILS, FAILS, FAILS),
    "Realign": (FAILS, FAILS, PASSES),
    "Echoes": (FAILS, FAILS, PASSES),
    "Mask": (HOLDS, HOLDS, HOLDS),
    "Confounds": (FAILS, FAILS, FAILS),
    "Smooth": (FAILS, PASSES, PASSES),
    "ApplyMask": (FAILS, FAILS, FAILS),
    "Region": (FAILS, FAILS, FAILS),
    "Denoise": (FAILS, DOUBTED, FAILS),
    "GLM": (FAILS, DOUBTED, FAILS),
    "Decode": (DOUBTED, DOUBTED, FAILS),
    "Connectivity": (FAILS, PASSES, PASSES),
    "RegionOfFeatures": (FAILS, FAILS, FAILS),
    "Feedback": (FAILS, PASSES, PASSES),
    "RecordRun": (FAILS, PASSES, FAILS),
    "SubjectInput": (PASSES, PASSES, PASSES),
    "SubjectOutput": (PASSES, PASSES, PASSES),
}


@pytest.fixture(scope="module")
def frames():
    return simulated((20, 24, 16), 8.0, echoes=3)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return Graph(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def first(graph, frames):
    """Outputs of the first run that the nodes go through."""
    return graph.run(frames)


@pytest.fixture(scope="module")
def cut(graph, first, frames):
    """Then those of a run that is noise from a volume on."""
    chance = np.random.default_rng(0)
    return graph.run([f if f.volume <= KNOWN else noise(f, chance) for f in frames])


@pytest.fixture(scope="module")
def again(graph, cut, frames):
    """Then those of the first run, once more."""
    return graph.run(frames)


@pytest.fixture(scope="module")
def inside(graph, again, frames):
    """The graph within a run, at a volume that is decoded and shown."""
    graph.begin(len(frames))
    for frame in frames[:LAST]:
        graph.volume(frame)
    yield graph
    graph.close()


def test_no_node_is_forgotten():
    assert set(EACH) | set(AT_THE_END) | ELSEWHERE | {"ScannerInput"} == set(nodes.__all__)
    assert set(BAD) == set(EACH)


@pytest.mark.parametrize("name", [*EACH, *AT_THE_END])
def test_a_run_leaves_nothing_for_the_next(name, first, cut, again):
    assert any(one not in ("None", "{}") for one in first[name]), "it was not called"
    assert again[name] == first[name]


@pytest.mark.parametrize("name", [name for name in EACH if name != "RecordRun"])
def test_no_output_depends_on_a_later_volume(name, first, cut):
    assert cut[name][:KNOWN] == first[name][:KNOWN]


def test_the_runs_differ_where_their_volumes_do(first, cut):
    same = {name for name in first if cut[name] == first[name]}
    # By design, by the reference, or by what the display said: not by voxels of later volumes.
    assert same <= {"Labels", "Mask", "SubjectInput", "KeepItems"}


def test_the_source_opens_anew(tmp_path):
    scanner = ScannerInput(uri="simulate:?speed=max&shape=12,14,10&voxel=14&volumes=17")
    context = RunContext("run", tmp_path / "run", tmp_path / "bids", tmp_path / "session")
    assert frames_of(scanner, context) == frames_of(scanner, context)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", EACH)
def test_a_bad_volume_fails_clearly_or_is_held(name, how, inside):
    node, good, expected = inside.nodes[name], inside.taken[name], BAD[name][HOWS.index(how)]
    bad = {what: spoiled(value, how) for what, value in good.items() if what not in ("mask", "reference")}
    number = LAST + 1 + 3 * HOWS.index(how)
    before = give(node, number, numbered(good, number))
    node.take_doubts()
    bad = numbered(bad, number + 1)
    if expected == FAILS:
        with pytest.raises(VolumeError, match=r"volume|mask"):
            give(node, number + 1, bad)
    else:
        found = give(node, number + 1, bad)
        assert bool(node.take_doubts()) == (expected == DOUBTED)
        if expected == HOLDS:
            assert plain(found) == plain(before)
        assert np.isfinite([value for value in found.values() if isinstance(value, float)]).all()
    # And the node goes on, with all that it gave before.
    after = give(node, number + 2, numbered(good, number + 2))
    assert after.keys() >= before.keys() - {"framewise_displacement", "rmsd", "dvars", "dvars_running"}
