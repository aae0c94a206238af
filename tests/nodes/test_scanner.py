"""The node that volumes come from: a URI or a table, opened once and when it is asked."""

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from scanning import mosaic_file

from rtflow.dicom.writing import ScanSeries
from rtflow.errors import SettingsError, SourceError, UsageError
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
