"""A series of several echoes through slice timing, motion correction and combination, as a run takes it."""

import numpy as np
import pytest
from nipype import Node, Workflow

from rtflow import nodes
from rtflow.nodes.images.slice_timing import slice_times
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.delivery import FolderTarget
from rtflow.sources.simulation.protocol import ScanProtocol, echo_times
from rtflow.sources.simulation.scanner import Scanner
from rtflow.stream import StreamPlugin
from rtflow.trials import Design, Trial

VOLUMES, CALIBRATION = 6, 3
SIMULATED = f"simulate:?echoes=3&speed=max&shape=[20,22,16]&voxel=9&volumes={VOLUMES}"


def chain(source: str, folder) -> Workflow:
    """The images of the template, of several echoes and with slice timing."""
    names = {
        "scanner": nodes.ScannerInput(uri=source, design=Design((Trial(2.0, 4.0, "scene"),))),
        "convert": nodes.DicomToBids(),
        "skip": nodes.SkipDummies(volumes=1),
        "timing": nodes.SliceTiming(),
        "realign": nodes.Realign(),
        "echoes": nodes.Echoes(calibration=CALIBRATION),
        "mask": nodes.Mask(),
        "voxels": nodes.ApplyMask(),
    }
    made = {name: Node(interface, name=name) for name, interface in names.items()}
    flow = Workflow(name="several", base_dir=str(folder))
    for before, output, after, name in (
        ("scanner", "frame", "convert", "frame"),
        ("convert", "incremental", "skip", "incremental"),
        ("skip", "incremental", "timing", "incremental"),
        ("convert", "echoes", "timing", "echoes"),
        ("timing", "incremental", "realign", "incremental"),
        ("timing", "echoes", "echoes", "echoes"),
        ("realign", "incremental", "echoes", "aligned"),
        *(("realign", name, "echoes", name) for name in ("reference", "transform", "trusted")),
        ("realign", "reference", "mask", "reference"),
        ("mask", "mask", "voxels", "mask"),
        ("echoes", "incremental", "voxels", "incremental"),
    ):
        flow.connect(made[before], output, made[after], name)
    return flow


def from_a_scanner(folder) -> str:
    spec = SimulateSource(tr=2.0, volumes=VOLUMES, shape=(20, 22, 16), voxel=9.0)
    scanner = Scanner(spec, ScanProtocol(echo_times=echo_times(3), slice_order="interleaved", moving=True))
    target = FolderTarget(folder, "in-place")
    for item in scanner.objects():
        target.put("005", item.name, item.data, 0)
    return f"folder:{folder}?volumes={VOLUMES}"


@pytest.mark.parametrize("scanned", [False, True], ids=["simulated", "interleaved-dicom"])
def test_the_combined_image_comes_once_it_is_calibrated(tmp_path, scanned: bool) -> None:
    (tmp_path / "in").mkdir()
    plugin = StreamPlugin(tmp_path / "run")
    chain(from_a_scanner(tmp_path / "in") if scanned else SIMULATED, tmp_path).run(plugin=plugin)
    assert [result.status for result in plugin.results] == ["ok"] * VOLUMES
    values = [result.values for result in plugin.results]
    # One dummy, and as many volumes as calibrate; of slices at one time the first needs none before it.
    assert [each.get("timing.corrected") for each in values] == [None, not scanned, *[True] * (VOLUMES - 2)]
    assert [each.get("echoes.calibrated") for each in values] == [None, False, False, True, True, True]
    means = [each.get("voxels.mean") for each in values]
    assert means[:CALIBRATION] == [None] * CALIBRATION
    assert np.ptp(means[CALIBRATION:]) < 0.02 * means[-1]


def test_slices_of_the_scanner_are_at_times_of_their_own(tmp_path) -> None:
    """Else the chain above would have nothing to correct."""
    from rtflow.dicom.convert import to_incrementals
    from rtflow.dicom.identify import read_object

    from_a_scanner(tmp_path)
    items = [read_object(path.read_bytes()) for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    echoes = to_incrementals([item for item in items if item.instance.volume == 2], 2)
    assert [echo.metadata["EchoTime"] for echo in echoes] == list(echo_times(3))
    assert len({tuple(slice_times(echo.metadata, echo.data.shape, 2.0)) for echo in echoes}) == 1
    assert np.ptp(slice_times(echoes[0].metadata, echoes[0].data.shape, 2.0)) > 1.0
