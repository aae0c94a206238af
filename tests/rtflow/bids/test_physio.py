import datetime
import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from validator import bids_errors

from rtflow.bids.physio import PhysioError, cmrr_content, physio_files, read_cmrr, read_pmu
from rtflow.derivatives import add_companions
from rtflow.errors import OutputError
from rtflow.journal import Recording

PMU = """1 8 20 2 5002 LOGVERSION 1 eTriggerMethod: 10, delay 400 6002 367 508 5000 520 532 638 5003
ECG  Freq Per: 0 0
PULS Freq Per: 72 823
LogStartMDHTime:  36632877
LogStopMDHTime:   36632977
LogStartMPCUTime: 36632400
LogStopMPCUTime:  36632500
6003
"""
INFO = """UUID = x
ScanDate = 20250102_030405
LogDataType = ACQUISITION_INFO
NumSlices = 2
 VOLUME   SLICE   ACQ_START_TICS  ACQ_FINISH_TICS  ECHO
      0       1      4001200      4001210     0
      0       0      4001000      4001010     0
      1       0      4001800      4001810     0
FirstTime = 4001000
"""
PULS = """UUID = x
LogDataType = PULS
SampleTime = 2
 ACQ_TIME_TICS  CHANNEL  VALUE  SIGNAL
      4000996     PULS     700
      4000998     PULS     800  PULS_TRIGGER
      4001002     PULS     900
"""
RESP = """LogDataType = RESP
SampleTime = 8
 ACQ_TIME_TICS  CHANNEL  VALUE  SIGNAL
      4001000     RESP     0
      4001008     RESP     0
"""


def packed(**logs: str) -> bytes:
    """Logs as CMRR's sequences pack them: equal blocks of a multiple of 1024 bytes."""
    size = 1024 * (2 + max(map(len, logs.values())) // 1024)
    blocks = []
    for name, text in logs.items():
        title = f"Physio_{name}.log".encode()
        head = struct.pack("<II", len(text), len(title)) + title
        blocks.append((head.ljust(1024, b"\0") + text.encode()).ljust(size, b"\0"))
    return b"".join(blocks)


def written(path: Path, content: bytes) -> Path:
    """A DICOM object with that content, written by pydicom."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.RawDataStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"]
    dataset.add_new(0x7FE10010, "LO", "SIEMENS CSA NON-IMAGE")
    dataset.add_new(0x7FE11010, "OB", content)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_text_log_is_read_without_its_marks():
    found = read_pmu(PMU, "PULS")

    np.testing.assert_array_equal(found.samples, [367, 508, 520, 532, 638])
    np.testing.assert_array_equal(found.triggers, [0, 1, 0, 0, 0])
    assert found.start == 36632.877
    assert found.frequency == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PMU.replace("367 508 5000 520 532 638", ""), "no samples"),
        (PMU.replace("LogStartMDHTime", "LogStart"), "no LogStartMDHTime"),
        (PMU.replace("367", "3.5"), "3.5"),
        ("", "no samples"),
    ],
)
def test_a_damaged_text_log_is_refused(text, says):
    with pytest.raises(PhysioError, match=says):
        read_pmu(text, "PULS")


def test_a_cmrr_log_is_aligned_to_the_first_volume(tmp_path):
    content = cmrr_content(written(tmp_path / "log.dcm", packed(Info=INFO, PULS=PULS, RESP=RESP)))
    assert content is not None

    log = read_cmrr(content)

    # A belt that was not worn is left out; a sample that was lost is no value.
    (puls,) = log.recordings
    assert log.first_volume == 4001000 * 0.0025
    np.testing.assert_array_equal(puls.samples, [700, 800, np.nan, 900])
    np.testing.assert_array_equal(puls.triggers, [0, 1, 0, 0])
    data, about = physio_files(puls, log.first_volume)
    assert about["StartTime"] == -0.01
    assert about["SamplingFrequency"] == 200.0
    assert about["Columns"] == ["cardiac", "trigger"]
    assert gzip.decompress(data) == b"700\t0\n800\t1\nn/a\t0\n900\t0\n"


@pytest.mark.parametrize("content", [b"", bytes(4096), b"x" * 3000])
def test_what_is_no_cmrr_log_is_refused(content):
    with pytest.raises(PhysioError):
        read_cmrr(content)


def test_other_files_are_no_cmrr_log(tmp_path):
    (tmp_path / "text.puls").write_text(PMU)
    assert cmrr_content(tmp_path / "text.puls") is None


def test_a_log_across_midnight_begins_before_the_volume():
    late = read_pmu(PMU.replace("36632877", "86399000").replace("36632977", "86399100"), "RESP")

    assert physio_files(late, 1.0)[1]["StartTime"] == -2.0


def test_a_cmrr_log_that_goes_over_midnight_is_in_its_order():
    ticks = [34559990, 34559992, 0, 2]
    rows = "".join(f"{tick} PULS {value}\n" for tick, value in zip(ticks, (700, 800, 900, 950), strict=True))
    head = PULS[: PULS.index("SampleTime")] + "SampleTime = 2\n"

    (puls,) = read_cmrr(packed(PULS=head + rows)).recordings

    assert puls.start == 34559990 * 0.0025
    assert np.array_equal(puls.samples[[0, 1, 5, 6]], [700, 800, 900, 950])
    assert len(puls.samples) == 7


def command(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtflow", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def full(*_: object) -> None:
    raise OutputError("No space left on device")


def test_reference_and_logs_stand_beside_their_run(tmp_path, monkeypatch):
    scans, out = tmp_path / "scans", tmp_path / "out"
    command(
        *("simulate", scans, "--speed", "max", "--sbref", "--began", "2025-01-02T10:10:30"),
        *("--volumes", "8", "--shape", "24,24,12", "--voxel", "8"),
    )
    content = packed(Info=INFO, RESP=RESP.replace(" 0\n", " 5\n"))
    written(scans / "005_func_task-feedback/000_log.dcm", content)
    command("run", "roi_feedback", "--source", f"folder:{scans}", "--out", out, "--quiet")
    (run_dir,) = (out / "runs").iterdir()
    first = Recording(run_dir).volumes[0]
    func = out / "bids/sub-01/func"

    reference = json.loads((func / "sub-01_task-feedback_run-1_sbref.json").read_text())
    bold = json.loads((func / "sub-01_task-feedback_run-1_bold.json").read_text())
    assert reference["SeriesNumber"] < bold["SeriesNumber"]

    (tmp_path / "scan.puls").write_text(PMU)
    # The disk is full between the two files of a log: what is there is no error, and it can be done again.
    with monkeypatch.context() as disk:
        disk.setattr("rtflow.derivatives.write_whole", full)
        with pytest.raises(OutputError, match="No space left"):
            add_companions(run_dir, [tmp_path / "scan.puls"])
    assert bids_errors(out / "bids") == []
    assert len(add_companions(run_dir, [tmp_path / "scan.puls"])) == 2
    assert not (out / "bids/.bidsignore").exists()

    stem = func / "sub-01_task-feedback_run-1_recording-cardiac_physio"
    about = json.loads(stem.with_suffix(".json").read_text())
    acquired = datetime.datetime.fromtimestamp(first.acquired)
    since = acquired - datetime.datetime.combine(acquired.date(), datetime.time())
    assert acquired.hour == 10
    assert about["StartTime"] == pytest.approx(36632.877 - since.total_seconds())
    table = pd.read_csv(stem.with_suffix(".tsv.gz"), sep="\t", names=about["Columns"])
    assert table.cardiac.tolist() == [367, 508, 520, 532, 638]
    # CMRR's log came among the images.
    log = json.loads((func / "sub-01_task-feedback_run-1_recording-respiratory_physio.json").read_text())
    assert log["StartTime"] == 0.0
    assert log["SamplingFrequency"] == 50.0
    assert bids_errors(out / "bids") == []
