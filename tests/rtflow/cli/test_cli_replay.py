"""``rtflow replay`` and ``rtflow cache``: OpenNeuro over HTTP, BIDS data sets and recorded runs."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3
from processes import until

from rtflow.documents import Result
from rtflow.journal import Recording

from .conftest import TINY, Rtflow

RUN_1 = ("--subject", "xp201", "--task", "1dNF", "--run", "1")
IMAGE = "sub-xp201/func/sub-xp201_task-1dNF_run-01_bold.nii.gz"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return s3.write_dataset(tmp_path_factory.mktemp("data") / "study")


@pytest.fixture(scope="module")
def server(dataset: Path) -> Iterator[str]:
    with s3.serving() as endpoint:
        s3.upload(endpoint, dataset)
        yield endpoint


@pytest.fixture
def line() -> s3.Line:
    return s3.Line()


@pytest.fixture
def near(server: str, line: s3.Line, monkeypatch, tmp_path, environment) -> Iterator[str]:
    """A line to the server, which the environment names; and a cache of one's own."""
    with s3.over(server, line) as url:
        monkeypatch.setitem(environment, "AWS_ENDPOINT_URL_S3", url)
        monkeypatch.setitem(environment, "RTFLOW_CACHE", str(tmp_path / "cache"))
        yield url


def told(done: subprocess.CompletedProcess) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hashes(run_dir: str | Path) -> dict[int, tuple[str, str]]:
    return {one.volume: (one.status, one.values_sha256) for one in Recording(Path(run_dir)).results}


# ------------------------------------------------------------------------------------------- OpenNeuro


def test_a_run_of_openneuro_is_fetched_replayed_and_kept(
    rtflow: Rtflow, near, line, dataset, tmp_path
) -> None:
    first = told(rtflow("replay", "ds002338", *RUN_1, "--json"))
    assert first["volumes"]["ok"] == first["volumes"]["planned"] == 36
    assert first["workflow"] == "roi_feedback"
    bids = Path(first["outputs"]["bids"])
    assert (bids / "sub-xp201" / "func" / "sub-xp201_task-1dNF_run-1_bold.nii").is_file()
    # Only what this run needs came, and each byte of it once.
    assert {path for path, _ in line.requests if "xp204" in path or "derivatives" in path} == set()
    image = (dataset / IMAGE).stat().st_size
    assert image < line.sent < image + 20_000

    # Now without a network: the same values, and nobody was asked.
    line.requests.clear()
    again = told(rtflow("replay", "ds002338", *RUN_1, "--json"))
    assert line.requests == []
    assert hashes(again["outputs"]["run"]) == hashes(first["outputs"]["run"])

    listed = rtflow("replay", "ds002338", "--list", "--subject", "xp201", "--endpoint", "http://127.0.0.1:9")
    assert listed.returncode == 0
    assert ["xp201", "1dNF", "02"] in [row.split() for row in listed.stdout.splitlines()]
    assert "cannot be reached" in listed.stderr
    assert "what follows was listed earlier" in listed.stderr

    kept = told(rtflow("cache", "--json"))["datasets"]
    assert [(one["dataset"], one["partial_bytes"]) for one in kept] == [("ds002338", 0)]
    assert kept[0]["bytes"] > image
    shown = rtflow("cache")
    assert "ds002338  " in shown.stdout
    assert str(tmp_path / "cache") in shown.stdout
    assert told(rtflow("cache", "ds002338", "--clear", "--json"))["freed_bytes"] == kept[0]["bytes"]
    assert told(rtflow("cache", "--json"))["datasets"] == []
    assert rtflow("cache", "ds002338").returncode == 2


def test_results_come_before_the_file_has(rtflow, near, line, dataset, tmp_path, environment) -> None:
    line.held = (dataset / IMAGE).stat().st_size // 2
    command = [sys.executable, "-m", "rtflow", "replay", "ds002338", *RUN_1, "--json", "--quiet"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        runs = tmp_path / "rtflow-replay" / "runs"
        until(lambda: len(results_so_far(runs)) > 5)
        assert process.poll() is None
        line.held = None
        out, _ = process.communicate(timeout=s3.LIMIT)
    assert process.returncode == 0
    run_dir = Path(json.loads(out)["outputs"]["run"])
    says = [one for one in Recording(run_dir).events if one.name == "fetched"]
    size = (dataset / IMAGE).stat().st_size
    assert says[0].data["bytes"] < size == says[-1].data["bytes"] == says[-1].data["of"]
    # Of how far it came, the end tells the last.
    assert [note for note in json.loads(out)["notes"] if "have come" in note] == [says[-1].data["says"]]


def results_so_far(runs: Path) -> list[Result]:
    found = list(runs.glob("*/journal/documents.jsonl"))
    return list(Recording(found[0].parents[1]).results) if found and found[0].stat().st_size else []


def test_a_replay_that_was_ended_fetches_the_rest_only(
    rtflow, near, line, dataset, tmp_path, environment
) -> None:
    size = (dataset / IMAGE).stat().st_size
    line.held = size // 2
    command = [sys.executable, "-m", "rtflow", "replay", "ds002338", *RUN_1, "--quiet"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        until(lambda: len(results_so_far(tmp_path / "rtflow-replay" / "runs")) > 5)
        process.send_signal(signal.SIGINT)  # cleanly: what has come is noted to the byte
        assert process.wait(s3.LIMIT) == 1
    line.held = None
    before = line.sent
    assert told(rtflow("replay", "ds002338", *RUN_1, "--json", "--out", "again"))["volumes"]["ok"] == 36
    assert line.sent - before < size * 0.6


def test_a_bad_line_changes_nothing(rtflow, near, line) -> None:
    line.resets, line.refusals, line.rate = 2, 2, 4e6
    assert told(rtflow("replay", "ds002338", *RUN_1, "--json"))["volumes"]["ok"] == 36
    assert (line.resets, line.refusals) == (0, 0)


def test_bytes_that_came_wrong_fail_the_run(rtflow, near, line, tmp_path) -> None:
    line.altered = True
    done = rtflow("replay", "ds002338", *RUN_1, "--quiet")
    assert done.returncode == 1
    assert "does not have the server's checksum" in done.stderr
    assert "try again" in done.stderr
    assert not (tmp_path / "cache" / "openneuro" / "ds002338" / IMAGE).exists()


def test_what_is_not_unique_is_listed(rtflow, near) -> None:
    done = rtflow("replay", "ds002338", "--subject", "xp201")
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        "rtflow: ds002338 holds 3 runs of subject xp201; choose one by task 1dNF, MIpre; run" in done.stderr
    )
    rows = [line.split() for line in done.stderr.splitlines()]
    assert ["xp201", "1dNF", "02"] in rows
    listed = rtflow("replay", "ds002338", "--list")
    assert listed.returncode == 0
    assert ["xp204", "2dNF", "01"] in [line.split() for line in listed.stdout.splitlines()]
    found = told(rtflow("replay", "ds002338", "--list", "--task", "1dNF", "--json"))
    assert [run["entities"]["run"] for run in found] == ["01", "02"]
    assert found[0]["images"] == [IMAGE]


def test_what_is_not_there_is_told(rtflow, near) -> None:
    for arguments, says in (
        (["ds002338", "--subject", "xp299"], "has no subject xp299; it has xp201, xp204"),
        (["ds002338", "--task", "rest"], "holds no run of task rest; it has subject xp201, xp204"),
        (["ds009999"], "OpenNeuro has no data set ds009999"),
    ):
        done = rtflow("replay", *arguments)
        assert done.returncode == 2
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_no_network_is_one_line(rtflow, monkeypatch, environment, tmp_path) -> None:
    monkeypatch.setitem(environment, "RTFLOW_CACHE", str(tmp_path / "cache"))
    done = rtflow("replay", "ds002338", *RUN_1, "--endpoint", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "rtflow: http://127.0.0.1:9 cannot be reached (Connection refused); check the network and "
        "--endpoint (or AWS_ENDPOINT_URL_S3), or replay what is kept already: 'rtflow cache' lists it"
    )


def test_data_sets_are_listed_and_described(rtflow, near, dataset) -> None:
    assert rtflow("openneuro").stdout.split() == ["ds002338"]
    shown = rtflow("openneuro", "ds002338").stdout
    assert "Name: A stand-in of XP2" in shown
    assert "subjects: xp201, xp204" in shown
    assert (
        rtflow("openneuro", "ds002338", "--readme").stdout.strip() == (dataset / "README").read_text().strip()
    )
    assert told(rtflow("openneuro", "ds002338", "--json"))["description"]["License"] == "CC0"
    of_none = rtflow("openneuro", "--readme")
    assert of_none.returncode == 2
    assert "--readme is of one data set" in of_none.stderr


# -------------------------------------------------------------------------------------- BIDS data sets


def test_a_run_of_a_data_set_goes_through_any_workflow(rtflow: Rtflow, dataset, tmp_path) -> None:
    done = rtflow(
        *(
            "replay",
            dataset,
            "--subject",
            "xp204",
            "-w",
            "roi_feedback",
            "--out",
            "mine",
            "--json",
            "--quiet",
        ),
        *("--set", "opening=4", "--set", "bids.task=other"),
    )
    summary = told(done)
    assert done.stderr == ""
    assert summary["volumes"]["ok"] == 36
    assert summary["source"].startswith("bids:")
    assert (
        tmp_path / "mine" / "bids" / "sub-xp204" / "func" / "sub-xp204_task-other_run-1_bold.nii"
    ).is_file()
    start = Recording(Path(summary["outputs"]["run"])).start
    assert start.settings["opening"] == 4
    assert start.tr == 1


def test_the_events_of_the_data_set_become_the_design(rtflow: Rtflow, near, dataset) -> None:
    design = ("--events", "--set", 'design.conditions=["Task-NF"]', "--json")
    for what in (dataset, "ds002338"):
        summary = told(rtflow("replay", what, *RUN_1, *design))
        events = (
            Path(summary["outputs"]["bids"]) / "sub-xp201" / "func" / "sub-xp201_task-1dNF_run-1_events.tsv"
        )
        # Rows with a tab too many are read like the others; rest is what lies between trials.
        rows = [row.split("\t") for row in events.read_text().splitlines()]
        assert [row[:3] for row in rows[1:]] == [["10", "8", "Task-NF"], ["26", "8", "Task-NF"]]


def test_events_that_are_not_taken_are_told_once(rtflow: Rtflow, near, dataset) -> None:
    words = (*RUN_1, "--set", "source.volumes=4", "--json")
    for what in (dataset, "ds002338"):
        assert rtflow("replay", what, *words).stderr.count("--events takes them") == 1
        assert "--events takes them" not in rtflow("replay", what, *words, "--events").stderr


def test_a_replay_is_kept_apart_from_what_it_replays(rtflow: Rtflow, tmp_path) -> None:
    """It is no run of the study, and what its session keeps is not what the live session goes on with."""
    assert rtflow("run", "template", *TINY, "-q").returncode == 0
    study = tmp_path / "rtflow-out"
    before = contents(study)
    for out, how in (("rtflow-out", "is"), ("rtflow-out/bids/sub-01", "lies in"), (".", "holds")):
        if how == "holds":
            (tmp_path / "bids").mkdir()
            study.rename(tmp_path / "bids" / "study")
            study = tmp_path / "bids" / "study"
        done = rtflow("replay", study / "bids", "-w", "template", "--out", out)
        assert done.returncode == 2, done.stderr
        assert f" {how} the data set that is replayed" in done.stderr
        assert "give a folder apart from it by --out" in done.stderr
        assert contents(study) == before
    summary = told(rtflow("replay", study / "bids", "-w", "template", "--json"))
    assert Path(summary["outputs"]["run"]).is_relative_to(tmp_path / "rtflow-replay")
    assert contents(study) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_task_that_there_is_not_is_told_with_those_there_are(rtflow: Rtflow, tmp_path) -> None:
    for subject in ("01", "02"):
        (tmp_path / "data" / f"sub-{subject}" / "func").mkdir(parents=True)
        (tmp_path / "data" / f"sub-{subject}" / "func" / f"sub-{subject}_task-faces_bold.nii").touch()
    done = rtflow("replay", "data", "--task", "rest")
    assert done.returncode == 2
    assert "holds no run of task rest; it has subject 01, 02; task faces" in done.stderr


def test_wrong_usage_of_folders(rtflow, dataset, tmp_path) -> None:
    (tmp_path / "out" / "bids").mkdir(parents=True)
    for arguments, says in (
        ([dataset, "--endpoint", "http://x"], "is a folder; leave it out"),
        ([dataset], "holds 4 runs; choose one by subject"),
        ([dataset, "--subject", "sub-1"], "without 'sub-'"),
        ([dataset / IMAGE], "is a file; give the folder of its data set"),
        (["out"], "did you mean out/bids?"),
    ):
        done = rtflow("replay", *arguments)
        assert done.returncode == 2
        assert says in done.stderr


# --------------------------------------------------------------- the same run from three recordings


@pytest.mark.parametrize("vendor", ["siemens-mosaic", "ge"])
def test_dicom_archive_and_journal_give_the_same_feedback_bit_for_bit(
    rtflow: Rtflow, tmp_path, vendor
) -> None:
    size = ("--tr", "1.5", "--volumes", "24", "--shape", "32,32,12", "--voxel", "6.7", "--speed", "max")
    assert rtflow("simulate", "scan", "--vendor", vendor, *size, "-q").returncode == 0
    (series,) = [folder for folder in (tmp_path / "scan").iterdir() if folder.name != "truth"]
    # Two volumes never come: they are no frames with zeros in any of the three.
    files = sorted(series.iterdir(), key=lambda file: [int(n) for n in re.findall(r"\d+", file.name)])
    per_volume = len(files) // 24
    for volume in (9, 17):
        for file in files[(volume - 1) * per_volume : volume * per_volume]:
            file.unlink()
    lost = ("--set", "limits.missing=2")
    source = f"folder:{series}?volumes=24&idle=1"
    live = told(
        rtflow("run", "roi_feedback", "--source", source, "--set", "bids.subject=07", *lost, "--json")
    )
    assert live["volumes"]["missing"] == 2
    expected = hashes(live["outputs"]["run"])
    assert len({sha for status, sha in expected.values() if status == "ok"}) > 15

    archive = told(rtflow("replay", "rtflow-out/bids", "--out", "from-bids", *lost, "--json"))
    assert archive["source"].startswith("bids:")
    assert hashes(archive["outputs"]["run"]) == expected
    journal = told(rtflow("replay", live["outputs"]["run"], "--json"))
    assert journal["replay"] == {"equal": 24, "differing": []}
    assert hashes(journal["outputs"]["run"]) == expected
    into_the_study = rtflow("replay", live["outputs"]["run"], "--out", "rtflow-out")
    assert into_the_study.returncode == 2
    assert "one more run of the study; give another folder by --out" in into_the_study.stderr
    if vendor != "siemens-mosaic":
        return

    # And from the archive that this one has left, compressed.
    subprocess.run(["gzip", "-r", "from-bids/bids/sub-07/func"], cwd=tmp_path, check=True)
    func = tmp_path / "from-bids" / "bids" / "sub-07" / "func"
    (func / "sub-07_task-feedback_run-1_bold.json.gz").unlink()
    sidecar = tmp_path / "rtflow-out" / "bids" / "sub-07" / "func" / "sub-07_task-feedback_run-1_bold.json"
    (func / sidecar.name).write_bytes(sidecar.read_bytes())
    again = told(rtflow("replay", "from-bids/bids", "--out", "again", *lost, "--json"))
    assert hashes(again["outputs"]["run"]) == expected


def test_a_recorded_run_takes_no_other_settings(rtflow: Rtflow, tmp_path) -> None:
    (tmp_path / "run" / "journal").mkdir(parents=True)
    done = rtflow("replay", "run", "-w", "template", "--subject", "1")
    assert done.returncode == 2
    assert "is replayed as it ran; leave out -w, --subject" in done.stderr
