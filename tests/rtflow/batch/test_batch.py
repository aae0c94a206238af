"""Every run of a data set through a workflow, by a real Snakemake."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

from rtflow.batch.jobs import Job, planned, read_batch, write_batch
from rtflow.errors import OutputError, UsageError
from rtflow.journal import Recording

from .conftest import RTFLOW, rtflow, simulated, states

BROKEN = "sub-01_task-feedback_run-4"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated runs; of the fourth the image is cut off."""
    out = tmp_path_factory.mktemp("six")
    for run in range(1, 7):
        simulated(out, run)
    os.truncate(next((out / "bids").rglob("*run-4_bold.nii")), 30000)
    return out / "bids"


def begun(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}


def test_six_runs_one_of_which_fails(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    shown = rtflow("batch", "roi_feedback", data, "--out", folder, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("to do") == 7
    assert not folder.exists()

    done = rtflow("batch", "roi_feedback", data, "--out", folder, "--jobs", 2)
    assert done.returncode == 3, done.stderr
    assert "5 of 6 runs completed" in done.stdout
    assert f"failed  {BROKEN}: " in done.stdout
    assert "cannot be read" in done.stdout
    assert sorted(states(folder).values()) == ["completed"] * 5 + ["failed"]

    # The table, the page, and what they are made of.
    with (folder / "group.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["name"] for row in table] == [f"sub-01_task-feedback_run-{run}" for run in range(1, 7)]
    described = json.loads((folder / "group.json").read_text())
    assert list(described["columns"]) == list(table[0])
    # The image was cut off in its third volume: what the run came to before that is told.
    assert table[3]["ok"] == "2"
    assert table[3]["run_uid"] != "n/a"
    assert "cannot be read" in table[3]["why"]
    for row in table:
        if row["status"] == "completed":
            recording = Recording(folder / "runs" / row["name"] / "out" / "runs" / row["run_uid"])
            values = [result.values.get("region.value") for result in recording.results]
            given = [value for value in values if value is not None]
            assert float(row["mean_region.value"]) == pytest.approx(sum(given) / len(given), rel=1e-5)
            assert float(row["median_region.value"]) == pytest.approx(median(given), rel=1e-5)
            assert row["ok"] == "24"
            suspect = sum(result.quality == "suspect" for result in recording.results)
            assert row["suspect"] == str(suspect)
    page = (folder / "group.html").read_text()
    body = ElementTree.fromstring(page[page.index("<body>") : page.index("</html>")])
    assert len(body.findall("h2")) == 6
    assert len(body.findall(".//svg/polyline")) >= 5 * 7

    # A second start does what is left, and nothing else.
    before = begun(folder)
    shown = rtflow("batch", "roi_feedback", data, "--out", folder, "--dry-run")
    assert f"to do  {BROKEN}\n" in shown.stdout
    assert "1 of 6 runs to do" in shown.stdout
    whole = shutil.copytree(data, tmp_path / "mended")
    shutil.copy(
        whole / "sub-01/func/sub-01_task-feedback_run-5_bold.nii", next(data.rglob("*run-4_bold.nii"))
    )
    again = rtflow("batch", "roi_feedback", data, "--out", folder, "--json", "--quiet")
    shutil.copy(next(whole.rglob("*run-4_bold.nii")), next(data.rglob("*run-4_bold.nii")))
    assert again.returncode == 0, again.stderr
    assert [run["status"] for run in json.loads(again.stdout)["runs"]] == ["completed"] * 6
    after = begun(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {BROKEN}


def test_what_is_generated_runs_by_hand(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    jobs = [Job("sub-01_task-feedback_run-2", {"subject": "01", "task": "feedback", "run": "2"})]
    write_batch(folder, planned(folder, jobs, str(data), "roi_feedback"))
    command = [os.environ["RTFLOW_SNAKEMAKE"], "--cores", "1", "--keep-going"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert states(folder) == {jobs[0].name: "completed"}
    assert (folder / "group.tsv").exists()


def test_ctrl_c_leaves_whole_results_and_no_lock(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    words = ["batch", "roi_feedback", data, "--out", folder, "--jobs", "1", "--quiet"]
    process = subprocess.Popen([*RTFLOW, *map(str, words)], stderr=subprocess.PIPE, text=True)
    while not begun(folder) and process.poll() is None:  # the first one is done, the second one at work
        time.sleep(0.02)
    busy = rtflow("batch", "roi_feedback", data, "--out", folder)
    assert busy.returncode == 2
    assert "a batch is at work" in busy.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    done = begun(folder)
    assert 1 <= len(done) < 6
    for name in done:
        assert json.loads((folder / "runs" / name / "result.json").read_text())["volumes"]["ok"] == 24
    again = rtflow("batch", "roi_feedback", data, "--out", folder, "--jobs", 2, "--quiet")
    assert again.returncode == 3, again.stderr
    assert sorted(states(folder).values()) == ["completed"] * 5 + ["failed"]
    # One that ended just as it was interrupted is done once more: Snakemake had not noted its end yet.
    after = begun(folder)
    assert sum(after[name] != at for name, at in done.items()) <= 1


def test_a_batch_that_was_killed_leaves_its_folder_held_until_its_jobs_end(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "batch"
    words = ["batch", "roi_feedback", data, "--out", folder, "--jobs", "1", "--quiet"]
    process = subprocess.Popen([*RTFLOW, *map(str, words)])
    while not begun(folder) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    # Snakemake works on; a second one would do the same jobs, each clearing away what the other wrote.
    again = rtflow(*words)
    assert again.returncode == 2, again.stderr
    assert "a batch is at work" in again.stderr
    while again.returncode == 2:
        done = begun(folder)
        again = rtflow(*words)
    assert again.returncode == 3, again.stderr
    assert sorted(states(folder).values()) == ["completed"] * 5 + ["failed"]
    assert {name: begun(folder)[name] for name in done} == done


def test_what_is_wrong_is_said(data: Path, tmp_path: Path) -> None:
    absent = rtflow("batch", "roi_feedback", data, RTFLOW_SNAKEMAKE="/nowhere/snakemake")
    assert absent.returncode == 2
    assert "RTFLOW_SNAKEMAKE names /nowhere/snakemake, which is no program" in absent.stderr
    none = rtflow("batch", "roi_feedback", data, RTFLOW_SNAKEMAKE="", PATH="/nowhere")
    assert none.returncode == 2
    assert "snakemake is not installed" in none.stderr
    assert rtflow("batch").returncode == 2
    with pytest.raises(UsageError, match="holds no batch"):
        read_batch(tmp_path)
    job = Job("sub-01_task-a", {"subject": "01", "task": "a"})
    write_batch(tmp_path, planned(tmp_path, [job], "/data/one", "template"))
    with pytest.raises(OutputError, match="is a batch of /data/one, not of /data/two"):
        planned(tmp_path, [job], "/data/two", "template")
    with pytest.raises(UsageError, match="cannot be told apart"):
        planned(tmp_path, [job, job], "/data/one", "template")
