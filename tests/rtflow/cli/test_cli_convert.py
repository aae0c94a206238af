"""``rtflow convert`` from end to end: real series in one folder against dcm2niix; how it ends."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from exports import AFFINE, edit, export, voxels

from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries

# Series of the fixture `series`, and how many volumes and echoes each has.
REAL = {
    "siemens_E11_mosaic_rtcloud": (10, 1),
    "siemens_Trio_mosaic_opennft155": (155, 1),
    "siemens_D13_mosaic_ep2dInt": (6, 1),
    "siemens_D13_mosaic_multiecho": (3, 2),
    "siemens_E11_mosaic_nihAP": (2, 1),
    "siemens_E11_mosaic_nihRL": (2, 1),
    "siemens_XA30_enhanced_fa7": (20, 1),
    "siemens_XA30_classic_fa7": (2, 1),
    "ge_MR750_slices_nih4": (10, 1),
    "ge_Architect_HB3_48": (3, 1),
    "philips_classic_magdeburg": (3, 1),
    "philips_classic_studyforrest_half1": (78, 1),
}
# A true TR with a group delay, and rounding of the last digits.
TR_WITHIN = 1e-3
# GE's times by its protocol's own formula; Siemens' are written in steps of 2.5 ms.
TIMES_WITHIN = 3e-3


def dicom_files(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "dicom").rglob("*")) if path.is_file()]


@dataclass
class Native:
    """What dcm2niix made of a folder."""

    images: list[nib.Nifti1Image]
    sidecars: list[dict]

    def __init__(self, folder: Path, out: Path) -> None:
        import dcm2niix

        out.mkdir()
        subprocess.run(
            [dcm2niix.bin, "-b", "y", "-z", "n", "-f", "%s_%e", "-o", out, folder],
            check=True,
            capture_output=True,
        )
        files = sorted(out.glob("*.nii"))
        self.images = [nib.load(file) for file in files]
        self.sidecars = [json.loads(file.with_suffix(".json").read_text()) for file in files]


@pytest.mark.realdata
@pytest.mark.slow
def test_all_real_series_in_one_folder_come_out_as_dcm2niix_makes_them(
    series: Callable[[str], Path], tmp_path: Path, rtflow: Callable, capsys: pytest.CaptureFixture
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    files = [path for name in REAL for path in dicom_files(series(name))]
    random.Random(2).shuffle(files)
    for count, path in enumerate(files):
        (mixed / f"{count:05d}").symlink_to(path)
    done = rtflow("convert", "mixed", "out", "--uncompressed", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["series"]) == len(REAL)
    by_uid = {one["uid"]: [tmp_path / "out" / file for file in one["files"]] for one in told["series"]}
    rows = [f"{'series':38} {'volumes':>7} {'voxels':>10} {'affine':>8} {'TR ms':>8} {'slices ms':>9}"]
    for name, (volumes, echoes) in REAL.items():
        native = Native(series(name) / "dicom", tmp_path / name)
        mine = by_uid[read_object(dicom_files(series(name))[0].read_bytes()).instance.series.uid]
        assert len(mine) == len(native.images) == echoes
        for path, theirs, sidecar in zip(mine, native.images, native.sidecars, strict=True):
            rows.append(_compare(name, path, theirs, sidecar, volumes))
    with capsys.disabled():
        print("\n" + "\n".join(rows))


def as_stored(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Stored values in the order of the closest canonical orientation."""
    return nib.as_closest_canonical(nib.Nifti1Image(image.dataobj.get_unscaled(), image.affine))


def _compare(name: str, path: Path, theirs: nib.Nifti1Image, sidecar: dict, volumes: int) -> str:
    """A row of the table; fails where they differ."""
    image = nib.load(path)
    about = json.loads(path.with_name(path.name.replace(".nii", ".json")).read_text())
    assert image.shape == theirs.shape
    assert image.shape[3] == about["NumberOfVolumes"] == volumes
    a, b = (as_stored(one) for one in (image, theirs))
    np.testing.assert_array_equal(np.asanyarray(a.dataobj), np.asanyarray(b.dataobj))
    affine = float(np.abs(a.affine - b.affine).max())
    assert affine < 1e-3
    tr = abs(float(image.header["pixdim"][4]) - float(theirs.header["pixdim"][4]))
    assert tr < TR_WITHIN
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert about["RepetitionTime"] == pytest.approx(sidecar["RepetitionTime"], abs=TR_WITHIN)
    times, others = about.get("SliceTiming"), sidecar.get("SliceTiming")
    slices = "-"
    if others is not None:
        assert times is not None
        apart = np.abs(np.array(times) - np.array(others)).max()
        assert apart <= TIMES_WITHIN
        slices = f"{apart * 1e3:.3f}"
    return f"{name:38} {volumes:>7} {'equal':>10} {affine:8.1e} {tr * 1e3:8.4f} {slices:>9}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two series, the second of which BIDS can name."""
    for number, name in ((4, "plain"), (5, "func-bold_task-faces")):
        series = ScanSeries(AFFINE, number=number, name=name, planned=3)
        export(tmp_path / "in", "ge", series, voxels(series, 3))
    return tmp_path / "in"


def test_a_table_tells_what_was_found_and_written(folder: Path, tmp_path: Path, rtflow: Callable) -> None:
    done = rtflow("convert", "in", "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    head, *rows = done.stdout.splitlines()
    assert head.split() == [
        "series",
        "name,",
        "file",
        "shows",
        "vendor",
        "volumes",
        "voxels",
        "TR",
        "s",
        "echoes",
    ]
    assert rows[0].split() == ["4", "plain", "bold", "GE", "3", "8x10x4", "2", "1"]
    assert rows[1].strip() == "4_plain.nii.gz"
    assert rows[-1] == "2 series converted to out"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{stem}{ending}" for stem in ("4_plain", "5_func-bold_task-faces") for ending in (".json", ".nii.gz")
    }


def test_what_is_left_is_told_and_makes_the_status_4(folder: Path, rtflow: Callable) -> None:
    paths = sorted(folder.glob("4_*"))
    paths[5].unlink()
    edit(sorted(folder.glob("5_*"))[0], Manufacturer="Acme")
    done = rtflow("convert", "in", "out")
    assert done.returncode == 4
    assert "series 4: volume 2 not whole: 3 of 4 slices" in done.stdout
    assert "series 5: volume 1 not whole: 3 of 4 slices" in done.stdout
    assert (
        "left: series 5 'func-bold_task-faces', Acme ORIGINAL/PRIMARY/EPI/NONE: not supported" in done.stdout
    )


def test_json_is_all_that_is_printed(folder: Path, rtflow: Callable) -> None:
    (folder / "notes.txt").write_text("x" * 200)
    done = rtflow("convert", "in", "out", "--json", "--uncompressed")
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert told["complete"] is True
    assert [one["number"] for one in told["series"]] == [4, 5]
    assert told["series"][0]["files"] == ["4_plain.nii"]
    assert told["series"][0]["shape"] == [8, 10, 4]
    assert [left["reason"] for left in told["left"]] == ["no DICOM"]


def test_a_list_needs_no_place_to_write_to(folder: Path, tmp_path: Path, rtflow: Callable) -> None:
    done = rtflow("convert", "in", "--list", "--bids", "--subject", "01")
    assert done.returncode == 0
    assert "sub-01/func/sub-01_task-faces_bold" in done.stdout
    assert "put aside" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in"], "give the folder to write to (OUT), or --list"),
        (["in", "out", "--subject", "01"], "add --bids"),
        (["in", "out", "--bids"], "give --subject LABEL"),
        (["in", "out", "--bids", "--subject", "0 1"], "subject '0 1' cannot stand in a BIDS name"),
        (["nowhere", "out"], "nowhere does not exist"),
        (["none", "out"], "none holds no series that can be converted: files of another kind: no DICOM"),
    ],
)
def test_wrong_usage_is_told_in_a_line(
    words: list[str], told: str, folder: Path, tmp_path: Path, rtflow: Callable
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x").write_text("no DICOM " * 30)
    done = rtflow("convert", *words, "--quiet")
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").glob("**/*"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_it_leaves_only_whole_files(
    sent: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    series = ScanSeries(AFFINE, name="long")
    shape = (64, 64, 30)
    (one,) = voxels(series, 1, shape)
    export(tmp_path / "in", "siemens-mosaic", series, [one] * 150)
    process = subprocess.Popen(
        [sys.executable, "-m", "rtflow", "convert", "in", "out"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    partial = tmp_path / "out" / ".5_long.nii.gz.partial"
    while not partial.exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.002)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.strip() == "rtflow: interrupted; the files that are there are whole"
    assert list((tmp_path / "out").iterdir()) == []


PEAK = """
import resource, sys
from pathlib import Path
from rtflow.dicom.offline import convert_folder

told = convert_folder(Path(sys.argv[1]), Path(sys.argv[2]), overwrite=True)
assert told.series[0].volumes == int(sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_run(tmp_path: Path, environment: dict[str, str]) -> None:
    series = ScanSeries(AFFINE)
    shape = (96, 96, 36)
    (one,) = voxels(series, 1, shape)

    def peak(volumes: int) -> float:
        """Most memory that a conversion of so many volumes took, MB."""
        folder = tmp_path / str(volumes)
        export(folder, "siemens-mosaic", series, [one] * volumes)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, folder, tmp_path / "out", str(volumes)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout) / 1024

    # 0.66 MB a volume: what is held until its turn, 64 MB, is full after a hundred.
    few, many = peak(120), peak(300)
    assert many < few + 15
