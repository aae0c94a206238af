"""Apps in a graph, in real containers: at set-up, with every volume, at the end; and in stock Nipype."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nipype import Function, JoinNode, Node, Workflow
from pages import Page

from containers import EXAMPLES, Podman
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.one_volume import write_dataset
from rtflow.bids_apps import BidsApp
from rtflow.bids_apps.descriptor import Descriptor, Native, Option, Worker, write_descriptor
from rtflow.documents import AnyDocument, Event, Frame
from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulator import SimulatorSource
from rtflow.stream import StreamPlugin, stream
from rtflow.workflow_file import load_workflow

from .conftest import make_data_set

SCRIPT = (sys.executable, str(EXAMPLES / "example-app" / "run.py"))


class Few:
    """The first volumes of a simulated run."""

    tr, volumes = 2.0, 4

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        spec = SimulateSource(speed="max", shape=(12, 12, 8), voxel=16.0, volumes=20)
        yield from itertools.islice(SimulatorSource(spec).frames(stopping), self.volumes)


def first_volume() -> BidsIncremental:
    frame = next(Few().frames(threading.Event()))
    converted = DicomToBids(frame=frame, subject="01", task="rest").run().outputs.incremental
    assert isinstance(converted, BidsIncremental)
    return converted


@pytest.fixture
def example(podman: Podman) -> Descriptor:
    options = {
        "mask": Option(flag="--mask", kind="path"),
        "threshold": Option(flag="--threshold", kind="number"),
    }
    return Descriptor(
        name="example-app",
        image=podman.pinned("example-app"),
        options=options,
        worker=Worker(
            command=("python3", "/app/run.py", "--worker"), outputs={"mean": "number", "voxels": "number"}
        ),
        native=Native(command=SCRIPT, worker=(*SCRIPT, "--worker")),
    )


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """The first volume of the run, which the mask is made of."""
    write_dataset([first_volume()], tmp_path / "bids")
    return tmp_path / "bids"


def the_mask(files: list[str]) -> str:
    return next(file for file in files if file.endswith("_mask.nii.gz"))


def graph(folder: Path, worker: Any, mask: Any = None, **options: Any) -> Workflow:
    scanner = Node(ScannerInput(uri="simulate:?speed=max"), name="scanner")
    convert = Node(DicomToBids(subject="01", task="rest"), name="convert")
    mean = stream(Node(worker, name="mean"), **options)
    flow = Workflow(name="flow", base_dir=str(folder))
    flow.connect(
        [(scanner, convert, [("frame", "frame")]), (convert, mean, [("incremental", "incremental")])]
    )
    if mask is not None:
        flow.connect(Node(mask, name="mask"), ("files", the_mask), mean, "mask")
    return flow


def run(flow: Workflow, out: Path) -> tuple[StreamPlugin, list[AnyDocument]]:
    seen: list[AnyDocument] = []
    plugin = StreamPlugin(out, source=Few(), observers=(seen.append,))
    flow.run(plugin=plugin)
    return plugin, seen


def test_a_mask_at_set_up_and_a_mean_with_every_volume(
    example: Descriptor, data_set: Path, podman: Podman, tmp_path: Path
) -> None:
    found = {}
    for runtime in ("podman", "native"):
        mask = BidsApp.from_descriptor(example, runtime=runtime, bids_dir=str(data_set), threshold=0.4)
        mean = BidsApp.from_descriptor(example, runtime=runtime)
        plugin, _ = run(graph(tmp_path / runtime, mean, mask), tmp_path / "out")
        assert [result.status for result in plugin.results] == ["ok"] * 4, plugin.results[0].errors
        found[runtime] = [
            (result.values["mean.mean"], result.values["mean.voxels"]) for result in plugin.results
        ]
    assert found["podman"] == found["native"]
    assert len({mean for mean, _ in found["podman"]}) == 4
    assert len({voxels for _, voxels in found["podman"]}) == 1
    data = np.asarray(first_volume().data, dtype=np.float32)
    inside = data > 0.4 * np.percentile(data, 98)
    assert found["podman"][0] == (pytest.approx(data[inside].mean(dtype=np.float64)), inside.sum())
    assert [name for name in podman.running() if name.startswith("rtflow-example-app")] == []


def test_the_workflow_of_the_page_runs(
    example: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = [one for one in Page(EXAMPLES.parent / "docs/bids-apps.md").blocks() if one.file_name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTFLOW_RUNTIME", "native")
    Path(block.file_name).write_text(block.text)
    write_descriptor(Path("apps/example-app.toml"), example)
    write_dataset([first_volume()], Path("rtflow-out/bids"))
    loaded = load_workflow(Path(block.file_name))
    plugin, _ = run(loaded.build(loaded.settings_type(work_dir=str(tmp_path / "work"))), tmp_path / "out")
    assert [result.status for result in plugin.results] == ["ok"] * 4, plugin.results[0].errors


def test_a_worker_that_is_late_in_its_container_is_replaced(podman: Podman, tmp_path: Path) -> None:
    script = (
        "echo '{\"ready\": true}'; while read line; do n=${line#*: }; n=${n%%,*}; "
        '[ "$n" = 2 ] && sleep 1000; echo "{\\"volume\\": $n, \\"outputs\\": {\\"number\\": $n}}"; done'
    )
    app = Descriptor(
        name="slow-worker",
        image=podman.pinned("example-app-shell"),
        worker=Worker(command=("/bin/sh", "-c", script), outputs={"number": "number"}),
    )
    plugin, seen = run(
        graph(tmp_path, BidsApp.from_descriptor(app, runtime="podman"), deadline=8.0), tmp_path / "out"
    )
    assert [result.status for result in plugin.results] == ["ok", "failed", "ok", "ok"]
    assert [result.values.get("mean.number") for result in plugin.results] == [1, None, 3, 4]
    missed = [one.volume for one in seen if isinstance(one, Event) and one.name == "deadline_missed"]
    assert missed == [2]
    assert [name for name in podman.running() if name.startswith("rtflow-slow-worker")] == []


def test_both_levels_of_an_app_at_the_end_of_the_run(
    example: Descriptor, podman: Podman, tmp_path: Path
) -> None:
    flow = graph(tmp_path, BidsApp.from_descriptor(example, runtime="native"))
    gather = JoinNode(
        Function(function=_known, input_names=["means", "folder"], output_names=["folder"]),
        name="gather",
        joinsource="scanner",
        joinfield=["means"],
    )
    gather.interface.inputs.folder = str(make_data_set(tmp_path / "two"))
    sizes = Descriptor(
        name="sizes", image=podman.pinned("example-app-shell"), levels=("participant", "group")
    )
    each, group = (
        Node(BidsApp.from_descriptor(sizes, runtime="podman", level=level), name=level)
        for level in sizes.levels
    )
    each.inputs.out_dir = str(tmp_path / "end")
    flow.connect(flow.get_node("mean"), "mean", gather, "means")
    flow.connect(gather, "folder", each, "bids_dir")
    flow.connect(gather, "folder", group, "bids_dir")
    # The group's is made of the tables of the participants: behind them, and in the same folder.
    flow.connect(each, ("out_dir", _parent), group, "out_dir")
    plugin, _ = run(flow, tmp_path / "out")
    assert plugin.stop is not None
    assert plugin.stop.status == "completed"
    made = tmp_path / "end" / "sizes"
    rows = [f"sub-{label}/func/sub-{label}_task-rest_bold.nii.gz\t6\t7\t5\t4" for label in ("01", "02")]
    assert (made / "group_images.tsv").read_text().splitlines() == ["filename\ti\tj\tk\tvolumes", *rows]
    assert len(list(made.glob("sub-*/*_images.tsv"))) == 2


def _parent(folder: str) -> str:
    from pathlib import Path

    return str(Path(folder).parent)


def _known(means: list[float], folder: str) -> str:
    assert len(means) == 4
    return folder


def test_cold_says_what_it_costs(example: Descriptor, tmp_path: Path) -> None:
    app = Descriptor(name="cold", image=example.image, options=example.options)
    plugin, seen = run(
        graph(tmp_path, BidsApp.from_descriptor(app, cold=True, runtime="podman")), tmp_path / "out"
    )
    assert [result.status for result in plugin.results] == ["ok"] * 4, plugin.results[0].errors
    told = [one for one in seen if isinstance(one, Event) and one.name == "cold_app"]
    assert [one.volume for one in told] == [1]
    assert "ms for the first" in told[0].data["says"]
    assert len(list((tmp_path / "out").rglob("volume-*/cold/**/*_mask.nii.gz"))) == 4


def test_stock_nipype_runs_it_and_knows_when_to_run_it_again(
    example: Descriptor, data_set: Path, tmp_path: Path
) -> None:
    def once() -> Any:
        app = BidsApp.from_descriptor(example, runtime="podman", bids_dir=str(data_set))
        return Node(app, name="mask", base_dir=str(tmp_path / "stock"))

    first = once().run().outputs
    assert the_mask(first.files).startswith(str(tmp_path / "stock" / "mask" / "derivatives" / "example-app"))
    made = Path(the_mask(first.files)).stat().st_mtime_ns
    assert Path(the_mask(once().run().outputs.files)).stat().st_mtime_ns == made
    sidecar = next(data_set.rglob("*_bold.json"))
    sidecar.write_text(sidecar.read_text() + "\n")
    assert Path(the_mask(once().run().outputs.files)).stat().st_mtime_ns != made


def test_further_arguments_stand_behind_the_options(data_set: Path, tmp_path: Path) -> None:
    said = Native(command=("/bin/sh", "-c", 'printf "%s\\n" "$@" >$2/said', "sh"))
    app = Descriptor(
        name="said", options={"threshold": Option(flag="--threshold", kind="number")}, native=said
    )
    node = BidsApp.from_descriptor(
        app,
        runtime="native",
        bids_dir=str(data_set),
        out_dir=str(tmp_path / "out"),
        threshold=0.4,
        extra_args=["--more", "a b"],
    )
    _, _, *arguments = Path(node.run().outputs.out_dir, "said").read_text().splitlines()
    assert arguments == ["participant", "--threshold", "0.4", "--more", "a b"]


def test_its_help_says_what_the_options_are(example: Descriptor, capsys: pytest.CaptureFixture[str]) -> None:
    shown: Callable[..., None] = type(BidsApp.from_descriptor(example)).help
    shown()
    said = capsys.readouterr().out
    assert "The BIDS App example-app" in said
    assert "threshold" in said
    assert "as --mask of the app" in said
