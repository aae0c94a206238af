"""``rtflow deidentify`` on a folder with images, and with what must not leave among them."""

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from rtflow.cli.main import app
from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import ScanSeries, write_run

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, ["deidentify", *map(str, arguments)])


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    folder = tmp_path / "dicom"
    (folder / "below").mkdir(parents=True)
    series = ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]), patient_name="Quastenflosser^Zoe")
    volumes = ([np.full((4, 4, 4), number, np.int16)] for number in range(3))
    for written in write_run("siemens-mosaic", series, volumes):
        (folder / "below" / f"Quastenflosser_{written.name}").write_bytes(written.data)
    return folder


def test_a_folder(call: Call, dicom: Path, tmp_path: Path) -> None:
    result = call(dicom, "safe", "--key", "site.key")
    assert result.exit_code == 0, result.output
    assert "3 of 3 files written to safe" in result.stdout
    files = sorted((tmp_path / "safe").iterdir())
    assert [file.stem for file in files] == sorted(
        str(pydicom.dcmread(file).SOPInstanceUID) for file in files
    )
    assert {read_object(file.read_bytes()).instance.volume for file in files} == {1, 2, 3}
    assert all(b"Quastenflosser" not in file.read_bytes() for file in files)
    assert "Quastenflosser" not in result.stdout
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600
    again = call(dicom, "again", "--key", "site.key")
    assert again.exit_code == 0
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == [file.name for file in files]
    other = call(dicom, "other", "--key", "another.key", "--dates", "moved", "--descriptions", "removed")
    assert other.exit_code == 0
    moved = [pydicom.dcmread(file) for file in (tmp_path / "other").iterdir()]
    assert not {file.stem for file in files} & {str(dataset.SOPInstanceUID) for dataset in moved}
    assert all(dataset.LongitudinalTemporalInformationModified == "MODIFIED" for dataset in moved)
    assert not any("SeriesDescription" in dataset for dataset in moved)


def test_what_is_refused_is_told(call: Call, dicom: Path, tmp_path: Path) -> None:
    image = next((dicom / "below").iterdir())
    report = pydicom.dcmread(image)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    report.save_as(dicom / "report.dcm")
    (dicom / "notes.txt").write_text("call Mrs Quastenflosser")
    (dicom / "copy.dcm").write_bytes(image.read_bytes())
    (dicom / "part.dcm").write_bytes(image.read_bytes()[:2000])
    result = call(dicom, "safe", "--key", "site.key")
    assert result.exit_code == 4
    assert "3 of 7 files written to safe, 1 were there twice" in result.stdout
    for told in ("3 refused", "report.dcm", "notes.txt", "part.dcm", "not an MR image", "not a DICOM file"):
        assert told in result.stdout
    assert len(list((tmp_path / "safe").iterdir())) == 3


@pytest.mark.parametrize(
    ("prepare", "arguments", "status", "says"),
    [
        (None, ("nowhere", "safe", "--key", "k"), 2, "no folder nowhere"),
        (None, ("dicom", "dicom/safe", "--key", "k"), 2, "lies within DIR"),
        (("full/file", ""), ("dicom", "full", "--key", "k"), 2, "holds files already"),
        (("k", "12ab"), ("dicom", "safe", "--key", "k"), 2, "k is no key"),
        (("k", "not hexadecimal"), ("dicom", "safe", "--key", "k"), 2, "k is no key"),
        (None, ("dicom", "safe", "--key", "nowhere/k"), 2, "cannot be read or made"),
        (("texts/a.txt", "x"), ("texts", "safe", "--key", "k"), 1, "nothing was written"),
    ],
)
def test_what_cannot_be_done(
    call: Call,
    dicom: Path,
    tmp_path: Path,
    prepare: tuple[str, str] | None,
    arguments: tuple[str, ...],
    status: int,
    says: str,
) -> None:
    if prepare:
        (tmp_path / prepare[0]).parent.mkdir(exist_ok=True)
        (tmp_path / prepare[0]).write_text(prepare[1])
    result = call(*arguments)
    assert result.exit_code == status, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not list((tmp_path / "safe").glob("*")) if (tmp_path / "safe").exists() else True
