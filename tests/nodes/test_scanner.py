"""The node that volumes come from: a URI or a table, opened once and when it is asked."""

import copy
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from scanning import mosaic_file

from rtflow.dicom.writing import ScanSeries
from rtflow.errors import SessionError, SettingsError, SourceError, UsageError
from rtflow.nodes import ScannerInput
from rtflow.source_settings import FolderSource, SimulateSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    series = ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]), tr=1.5)
    for volume in (1, 2, 3):
        data = np.full((8, 8, 4), volume, np.int16)
        (tmp_path / f"{volume}.dcm").write_bytes(mosaic_file(series, data, volume))
    return tmp_path


@pytest.mark.parametrize("as_table", [False, True])
def test_volumes_of_a_folder(as_table: bool, folder: Path) -> None:
    uri = FolderSource(path=str(folder), idle=0.0) if as_table else f"folder:{folder}?idle=0"
    scanner = ScannerInput(uri=uri)
    assert (scanner.tr, scanner.volumes) == (1.5, 3)
    assert [frame.volume for frame in scanner.frames(threading.Event())] == [1, 2, 3]


def test_it_is_opened_when_asked_and_once(tmp_path: Path) -> None:
    scanner = ScannerInput(uri=f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(SourceError, match="does not exist"):
        scanner.open_source()
    (tmp_path / "nowhere").mkdir()
    assert scanner.open_source() is scanner.open_source()
    first = scanner.open_source()
    scanner.end_run()
    assert scanner.open_source() is not first


def test_an_open_one_is_copied_and_pickled_without_what_it_opened(folder: Path) -> None:
    scanner = ScannerInput(uri=f"folder:{folder}?idle=0")
    source = scanner.open_source()
    for other in (copy.deepcopy(scanner), pickle.loads(pickle.dumps(scanner))):
        assert other.open_source() is not source
        assert [frame.volume for frame in other.frames(threading.Event())] == [1, 2, 3]
    assert scanner.open_source() is source


def test_a_speed_is_for_sources_that_can_be_paced(folder: Path) -> None:
    scanner = ScannerInput(uri=SimulateSource(volumes=30), speed="max")
    assert "speed=max" in scanner.open_source().uri
    with pytest.raises(UsageError, match="comes at its own pace"):
        ScannerInput(uri=f"folder:{folder}", speed=2.0).open_source()


def test_wrong_uris() -> None:
    with pytest.raises(SettingsError):
        ScannerInput(uri="floppy:/dev/fd0").open_source()
    with pytest.raises(UsageError, match="should be a source URI"):
        ScannerInput(uri=3).open_source()


def scan(scanner: ScannerInput, context) -> int:
    scanner.start_run(context)
    try:
        return len(list(scanner.frames(threading.Event())))
    finally:
        scanner.end_run()


def of_patient(folder: Path, patient_id: str) -> ScannerInput:
    folder.mkdir()
    series = ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]), tr=1.5, patient_id=patient_id)
    (folder / "1.dcm").write_bytes(mosaic_file(series, np.full((8, 8, 4), 1, np.int16), 1))
    return ScannerInput(uri=f"folder:{folder}?idle=0")


def test_a_participant_whom_the_scanner_calls_otherwise_is_not_taken_for_the_earlier_one(
    tmp_path: Path, make_context
) -> None:
    one, other = of_patient(tmp_path / "one", "P-17"), of_patient(tmp_path / "other", "P-18")
    unnamed = of_patient(tmp_path / "unnamed", "")
    assert scan(unnamed, make_context("run-0", subject="01")) == 1
    assert scan(one, make_context("run-a", subject="01")) == 1
    assert scan(one, make_context("run-b", subject="01")) == 1
    assert scan(unnamed, make_context("run-c", subject="01")) == 1
    with pytest.raises(SessionError, match=r"earlier runs of subject 01 .* set --subject .* --session"):
        scan(other, make_context("run-d", subject="01"))
    assert scan(other, make_context("run-e", subject="02")) == 1
    assert scan(other, make_context("run-d", subject="01", replaying=True)) == 1
    elsewhere = tmp_path / "elsewhere"
    assert scan(other, make_context("run-f", subject="01", session_dir=elsewhere)) == 1


def test_what_is_kept_of_a_participant_cannot_be_found_by_trying(tmp_path: Path, make_context) -> None:
    one = of_patient(tmp_path / "one", "P-17")
    kept = []
    for name in ("here", "there"):
        scan(one, make_context(subject="01", session_dir=tmp_path / name))
        path = tmp_path / name / "participants.json"
        assert path.stat().st_mode & 0o777 == 0o600
        kept.append(json.loads(path.read_bytes()))
        assert "P-17" not in path.read_text()
    assert kept[0]["participants"]["01"] != kept[1]["participants"]["01"]  # each session has its own key
