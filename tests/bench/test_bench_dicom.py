"""The benchmark of DICOM measures what it says, beside a real dcm2niix."""

import importlib.util
import json
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rtflow.bench import dicom, lastbyte, peer, scans, sustained
from rtflow.bench.lastbyte import Sample
from rtflow.bench.peer import Dcm2niix, canonical, differing, find_dcmtk
from rtflow.bench.report import BenchReport, bar
from rtflow.bench.scans import Scan
from rtflow.cli import bench
from rtflow.cli.main import app
from rtflow.dicom.writing import VENDORS
from rtflow.errors import RunError, UsageError
from rtflow.source_settings import FolderSource
from rtflow.sources import open_source

SHAPE = (16, 14, 8)
NATIVE = Dcm2niix.find()


def program(path: Path, text: str) -> Dcm2niix:
    """A dcm2niix of one's own: a shell script in which NATIVE stands for the real one."""
    path.write_text("#!/bin/sh\n" + text.replace("NATIVE", str(NATIVE.path)))
    path.chmod(0o755)
    return Dcm2niix(path)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_layout_is_measured_volume_by_volume(vendor: str, tmp_path: Path) -> None:
    scan = scans.written(vendor, SHAPE, 4)
    samples = lastbyte.measure(scan, NATIVE, tmp_path, warm=1)
    assert len(samples) == 3
    assert all(min(s.ours, s.theirs, s.start, s.read, s.copy) > 0 for s in samples)
    # What was measured is a run of the live code: nothing is left over.
    assert not list(tmp_path.iterdir())


def test_echoes_and_whole_runs_are_measured_at_their_last_byte(tmp_path: Path) -> None:
    echoes = scans.written("siemens-mosaic", SHAPE, 2, echoes=3)
    assert [len(step.files) for step in echoes.runs[0]] == [3, 3]
    whole = scans.whole_run(SHAPE, 3, 2)
    assert [(len(step.files), step.volumes) for run in whole.runs for step in run] == [(1, 3), (1, 3)]
    for scan in (echoes, whole):
        assert len(lastbyte.measure(scan, NATIVE, tmp_path / scan.name, warm=0)) == 2


def test_compressed_mosaics_give_the_voxels_of_dcm2niix(tmp_path: Path) -> None:
    found = list(scans.compressed_scans(1, (16, 16, 9)))
    assert [scan.name.rpartition("_")[2] for scan in found][:1] == ["jpeg2000"]
    assert len(found) == 1 + bool(find_dcmtk("dcmcjpls"))
    for scan in found:
        lastbyte.measure(scan, NATIVE, tmp_path / scan.name, warm=0)


def test_figures_are_what_their_names_say() -> None:
    samples = [Sample(2e-3, 10e-3, 2e-3, 5e-4, 5e-4), Sample(4e-3, 5e-3, 1e-3, 1e-3, 1e-3)]
    samples.append(Sample(3e-3, 6e-3, 3e-3, 1e-3, 5e-4))
    found = lastbyte.figures(scans.written("ge", SHAPE, 1), samples)
    assert {name.partition(":")[0] for name in found} == {"ge_16x14x8", "bytes of ge_16x14x8"}
    found = {name.partition(":")[2]: value for name, value in found.items()}
    assert found == pytest.approx(
        {
            "volume_ms": 3.0,
            "volume_p95_ms": 3.9,
            "dcm2niix_ms": 6.0,
            "dcm2niix_p95_ms": 9.6,
            "dcm2niix_start_ms": 2.0,
            "ratio": 0.5,
            "ratio_started": 1.0,
            "read_ms": 1.0,
            "memcpy_ms": 0.5,
            "over_bytes": 2.0,
            "last_file_mb": found["last_file_mb"],
            "files": 8.0,
            "samples": 3.0,
        }
    )
    assert 0 < found["last_file_mb"] < 0.1


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "run", partial(dicom.run, volumes=1, shapes=[SHAPE], real=False))
    monkeypatch.setattr(dicom, "compressed_scans", lambda count, shape: [])
    monkeypatch.setattr(sustained, "figures", lambda scan, scratch: {})


def test_bars_that_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A converter that thinks before it works is slower than anything here; its start is not.
    slow = program(
        tmp_path / "slow", 'case "$1" in --version) ;; -h) ;; *) sleep 1 ;; esac\nexec NATIVE "$@"\n'
    )
    monkeypatch.setenv(peer.VARIABLE, str(slow.path))
    small(monkeypatch)
    done = CliRunner().invoke(app, ["bench", "dicom", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told) == {"name", "machine", "versions", "figures", "bars"}
    layouts = [f"{vendor}_16x14x8" for vendor in VENDORS] + ["siemens-mosaic_16x14x8_echoes3"]
    assert set(told["bars"]) == {f"{layout}:ratio" for layout in layouts}
    for name, held in told["bars"].items():
        figures = {
            column: told["figures"][name.replace(":ratio", f":{column}")]
            for column in ("ratio", "dcm2niix_ms")
        }
        assert held == {"value": figures["ratio"], "limit": 1.0, "holds": True}
        assert figures["dcm2niix_ms"] > 300
    assert told["versions"]["dcm2niix"] == NATIVE.version


def test_a_bar_that_does_not_hold_gives_exit_status_4(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(scan: Scan, *_: object) -> list[Sample]:
        slower = scan.name.startswith("ge")
        return [Sample(2.0 if slower else 0.5, 1.0, 0.1, 0.1, 0.1)]

    monkeypatch.setattr(lastbyte, "measure", measure)
    small(monkeypatch)
    done = CliRunner().invoke(app, ["bench", "dicom", "--json"])
    assert done.exit_code == 4
    bars = json.loads(done.stdout)["bars"]
    assert [name for name, held in bars.items() if not held["holds"]] == ["ge_16x14x8:ratio"]
    shown = CliRunner().invoke(app, ["bench", "dicom"], env={"COLUMNS": "200"})
    assert shown.exit_code == 4
    assert "2>1" in shown.stdout
    assert "0.5<=1" in shown.stdout


def test_without_dcm2niix_nothing_can_be_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    monkeypatch.setenv(peer.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"RTFLOW_DCM2NIIX names .*none, which is no program"):
        Dcm2niix.find()
    monkeypatch.delenv(peer.VARIABLE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"cannot measure: .*native dcm2niix.*pip install dcm2niix"):
        dicom.run()
    # A launcher is not the program: starting its interpreter would be measured.
    monkeypatch.setattr(shutil, "which", lambda name: str(program(tmp_path / name, "").path))
    with pytest.raises(UsageError, match="cannot measure"):
        Dcm2niix.find()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 0\n", "made no image of 8 files"),
        ('NATIVE "$@" >/dev/null; exit 3\n', "ended with status 3"),
        (
            'NATIVE "$@" || exit 1\ncase "$1" in -h) exit 0;; esac\n'
            'for file in "${10}"/*.nii; do printf xyz | dd of="$file" bs=1 seek=400 conv=notrunc; done\n',
            "dcm2niix made other voxels",
        ),
    ],
    ids=["nothing", "failure", "other voxels"],
)
def test_a_converter_that_does_not_do_its_work_is_no_peer(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=message):
        lastbyte.measure(
            scans.written("ge", SHAPE, 1), program(tmp_path / "peer", text), tmp_path / "scratch"
        )


def test_images_are_compared_in_space() -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    turned = affine.copy()
    turned[0] = [-2.0, 0.0, 0.0, 2.0]
    ours = [canonical(data, affine)]
    assert differing(ours, [canonical(data[::-1], turned)]) == ""
    assert differing(ours, [canonical(data[::-1], affine)]) == "other voxels"
    assert differing(ours, [canonical(data, affine + np.eye(4, k=3))]) == "another affine"
    assert differing(ours, []) == "0 images instead of 1"


def test_every_source_has_a_rate(tmp_path: Path) -> None:
    found = sustained.figures(scans.written("ge", SHAPE, 3), tmp_path)
    names = ["folder_there", "folder_live", "dicom", "journal"]
    names += ["dicom_storescu"] if find_dcmtk("storescu") else []
    assert list(found) == [f"sustained ge_16x14x8:{name}_per_s" for name in names]
    assert all(value > 0 for value in found.values())


def test_a_rate_counts_from_the_first_last_byte() -> None:
    there = sustained.simulated_times(SHAPE, 20)
    assert len(there) == 20
    assert there == sorted(there)
    assert sustained.rate([10.0, 11.0, 14.0]) == 0.5


def test_a_source_that_loses_a_volume_has_no_rate(tmp_path: Path) -> None:
    files = sustained.stage(scans.written("siemens-mosaic", SHAPE, 3), tmp_path / "files")
    files[1].unlink()
    spec = FolderSource(path=str(tmp_path / "files"), volumes=3, idle=0)
    assert [bool(frame.missing) for frame in open_source(spec).frames(threading.Event())] == [
        False,
        True,
        False,
    ]
    with pytest.raises(RunError, match="volume 2 is missing"):
        sustained.times(open_source(spec), 3)


def test_figures_of_one_kind_make_a_table() -> None:
    figures = {"a:x": 1.0, "a:y": 2.0, "alone": 3.0, "b:x": 4.0, "b:y": 5.0, "c:z": 6.0}
    report = BenchReport("b", {}, {}, figures, {"a:x": bar(1.0, 2.0)})
    assert bench.tables(report) == {("x", "y"): ["a", "b"], ("z",): ["c"]}


@pytest.mark.realdata
def test_a_real_series_is_measured_too(series: Callable[[str], Path], tmp_path: Path) -> None:
    folder = series("siemens_D13_mosaic_multiecho")
    scan = scans.real_scan(folder, 6)
    assert scan is not None
    assert scan.name == "real_siemens_D13_mosaic_multiecho"
    assert [[len(step.files) for step in run] for run in scan.runs] == [[2, 2, 2], [2, 2, 2]]
    assert len(lastbyte.measure(scan, NATIVE, tmp_path, warm=0)) == 6


def test_what_is_no_series_of_volumes_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "note.txt").write_text("no DICOM")
    assert scans.real_scan(tmp_path, 3) is None
    second = scans.written("siemens-mosaic", SHAPE, 2).runs[0][1].files[0]
    (tmp_path / "dicom" / second.name).write_bytes(second.data)
    assert scans.real_scan(tmp_path, 3) is None
