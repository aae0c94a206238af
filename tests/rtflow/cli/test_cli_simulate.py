"""``rtflow simulate`` as a person calls it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner, Result

from rtflow.cli.main import app

TINY = ("--shape", "16,16,6", "--voxel", "11", "--volumes", "18")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RTFLOW_DEBUG", raising=False)

    def call_(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["simulate", *arguments])

    return call_


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "truth" not in path.parts)


def test_a_scan_in_a_folder(call, tmp_path: Path) -> None:
    result = call(
        *("scan", "--vendor", "ge", "--tr", "1.25", "--echoes", "10,30", "--multiband", "2", *TINY),
        *("--orientation", "coronal", "--position", "FFS", "--series", "9", "--name", "rest run"),
        *("--speed", "max", "--began", "2025-01-02T03:04:05", "--sbref", "--slice-order", "ascending"),
    )
    assert result.exit_code == 0, result.output
    assert "wrote 228 files" in result.stdout
    assert "--source folder:scan --set design.events=scan/truth/events.tsv " in result.stdout
    assert "of 18 volumes to scan" in result.stdout
    assert "volume 18 of 18, 228 files" in result.stderr
    folders = sorted(path.name for path in (tmp_path / "scan").iterdir())
    assert folders == ["008_rest_run_SBRef", "009_rest_run", "truth"]
    read = [pydicom.dcmread(path) for path in files(tmp_path / "scan/009_rest_run")]
    assert len(read) == 18 * 6 * 2
    one = read[0]
    assert {float(each.EchoTime) for each in read} == {10.0, 30.0}
    assert (one.SeriesNumber, one.RepetitionTime, one.PatientPosition) == (9, 1250, "FFS")
    assert (one.SeriesDescription, one.StudyDate) == ("rest run", "20250102")
    assert (one.Rows, one.Columns, list(one.PixelSpacing)) == (16, 16, [11, 11])
    assert (tmp_path / "scan/truth/events.tsv").is_file()


def test_faults_are_told_and_come_of_the_seed(call, tmp_path: Path) -> None:
    faults = ("--drop", "0.3", "--truncate", "0.3", "--stray", "0.3", "--delay", "0.2", "--reorder", "0.2")
    contents = []
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        result = call(name, *TINY, "--speed", "max", *faults, "--duplicate", "0.2", "--seed", seed)
        assert result.exit_code == 0, result.output
        missing = json.loads((tmp_path / name / "truth/faults.json").read_text())["missing"]["5"]
        assert f"; {len(missing)} volumes are not there or not whole" in result.stdout
        contents.append({path.name: path.read_bytes() for path in files(tmp_path / name)})
    assert contents[0] == contents[1] != contents[2]


def test_stopped_and_started_again(call, tmp_path: Path) -> None:
    result = call("scan", *TINY, "--speed", "max", "--restart", "4", "--localizer", "--phase", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    numbers = {path.name: len(files(path)) for path in (tmp_path / "scan").iterdir() if path.name != "truth"}
    assert numbers == {
        "004_localizer": 3,
        "005_func_task-feedback": 3,
        "006_func_task-feedback_phase": 3,
        "007_func_task-feedback": 18,
        "008_func_task-feedback_phase": 18,
    }
    again = call("other", *TINY, "--speed", "max", "--abort", "2", "--no-truth")
    assert "17 volumes are not there or not whole" in again.stdout
    assert len(files(tmp_path / "other")) == 1
    assert not (tmp_path / "other/truth").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "neither a folder nor --send was given; write rtflow simulate OUT"),
        (["out", "--vendor", "GE"], "no vendor 'GE'; "),
        (["out", "--wait", "5"], "--wait is for a receiver"),
        (["--send", "dicom://localhost:1", "--write", "slow"], "--write says how files are written"),
        (["out", "--tr", "0"], "--tr: expected a number above 0, got '0.0'"),
        (["out", "--seed", "-1"], "--seed: expected a whole number of at least 0, got '-1'"),
        (["out", "--shape", "64,64"], "--shape: expected a list of 3"),
        (["out", "--shape", "4,4,4"], "hold too little of a head"),
        (["out", "--speed", "fast"], "--speed: expected a number above 0 or 'max', got 'fast'"),
        (["out", "--multiband", "5"], "multiband 5 does not divide 36 slices"),
        (["out", "--echoes", "two"], "--echoes: expected a number of echoes, or their times in ms"),
        (["out", "--set", "echoes=3"], "--set echoes=3: give --echoes instead"),
        (["out", "--echoes", "0"], "echoes: expected 1 or more, got 0"),
        (["out", "--echoes", "30,20"], "echo times: expected seconds above 0"),
        (["out", "--write", "fast"], "--write: no way 'fast'; known are rename, in-place, slow"),
        (["out", "--began", "noon"], "--began: expected now or YYYY-MM-DDTHH:MM:SS, got 'noon'"),
        (["out", "--drop", "5"], "drop: expected a share of volumes from 0 to 1, got 5; 0.05 is 5 %"),
        (["out", "--restart", "500"], "cannot be stopped in volume 500; it has 242"),
        (["out", "--abort", "2", "--restart", "2"], "give one of them"),
        (["out", "--set", "tsnrr=4"], "--set tsnrr=4: no option 'tsnrr'; did you mean 'tsnr'?"),
        (["out", "--set", "tsnr"], "--set tsnr: expected NAME=VALUE, such as tsnr=40"),
        (["out", "--set", "tsnr=high"], "--set tsnr=high: expected a number above 0"),
        (["out", "--set", "tr=1"], "--set tr=1: give --tr instead"),
        (["out", "--events", "none.tsv"], "events file none.tsv: No such file or directory"),
        (["--send", "localhost:104"], "expected dicom://HOST:PORT, such as dicom://localhost:11112"),
        (["a-file/out"], "a-file/out cannot be made"),
        (["old"], "old/005_func_task-feedback holds an earlier scan; give another folder or --series"),
        (["old", "--series", "6"], "old/truth holds an earlier scan; give another folder or --no-truth"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_simulated(call, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "a-file").write_text("")
    for folder in ("005_func_task-feedback", "truth"):
        (tmp_path / "old" / folder).mkdir(parents=True)
        (tmp_path / "old" / folder / "1.dcm").write_text("")
    before = sorted(tmp_path.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("rtflow: ")
    assert says in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_second_series_may_join_an_earlier_scan(call, tmp_path: Path) -> None:
    assert call("scan", *TINY, "--speed", "max", "-q").exit_code == 0
    assert call("scan", *TINY, "--speed", "max", "-q", "--series", "6", "--no-truth").exit_code == 0
    assert len(files(tmp_path / "scan")) == 36


def test_options_of_the_source_and_events(call, tmp_path: Path) -> None:
    (tmp_path / "events.tsv").write_text("onset\tduration\ttrial_type\n4\t10\tmusic\n")
    result = call("scan", *TINY, "--speed", "max", "--set", "motion=0", "--events", "events.tsv")
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "scan/truth/simulation.json").read_text())["settings"]
    assert settings["motion"] == 0
    assert "music" in (tmp_path / "scan/truth/events.tsv").read_text()


def test_ctrl_c_leaves_whole_files_and_says_how_many(tmp_path: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rtflow", "simulate", "scan", "--vendor", "ge", *TINY, "--speed", "20"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(600):
            if len(files(tmp_path)) > 9 or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, stdout + stderr
    there = files(tmp_path)
    assert 9 < len(there) < 108
    assert f"wrote {len(there)} files" in stdout
    assert f"interrupted: {108 - len(there)} files were yet to come; those there are whole" in stdout
    assert "Traceback" not in stderr
    for path in there:
        assert pydicom.dcmread(path).pixel_array.shape == (16, 16)
    assert not json.loads((tmp_path / "scan/truth/faults.json").read_text())["complete"]


def test_help_shows_examples(call) -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert "rtflow simulate scan --vendor ge" in " ".join(result.stdout.split())
