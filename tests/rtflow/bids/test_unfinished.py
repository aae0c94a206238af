"""Processes are killed while they write: what they leave is put in order, and what lives is left alone."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from validator import bids_errors

from rtflow.bids.archive import BidsArchive
from rtflow.bids.dataset import add_participant, claim_run, prepare_dataset
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run import BidsRun
from rtflow.bids.unfinished import ignore
from rtflow.errors import OutputError
from rtflow.whole_file import partial_name

ENTITIES = {"subject": "01", "task": "faces", "run": "1"}
STEM = "sub-01/func/sub-01_task-faces_run-1"


def volume(number: int, **entities: str) -> BidsIncremental:
    data = np.asfortranarray(np.arange(60, dtype=np.int16).reshape(3, 4, 5) + number)
    return BidsIncremental(
        data,
        np.diag([2.0, 2.0, 3.0, 1.0]),
        volume=number,
        metadata={"RepetitionTime": 1.5},
        entities=ENTITIES | entities,
    )


def started(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A process that has what this file has."""
    head = "import os, sys\nfrom test_unfinished import BidsArchive, volume\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )


def killed(script: str, *arguments: object) -> int:
    """The number of a process that was killed in the midst of something."""
    process = started(script, *arguments)
    assert process.wait() == -9
    return process.pid


KILLED_BEFORE_THE_LINE_GOES = """
import rtflow.bids.archive as archive
hide = archive.ignore
archive.ignore = lambda *a, unfinished=True: hide(*a) if unfinished else os.kill(os.getpid(), 9)
BidsArchive.create(sys.argv[1]).append(volume(1))
"""


def test_a_run_that_is_whole_is_shown_when_the_data_set_is_next_opened_to_write(tmp_path: Path) -> None:
    killed(KILLED_BEFORE_THE_LINE_GOES, tmp_path)
    hidden = (tmp_path / ".bidsignore").read_text()
    assert hidden.endswith("\nsub-01_task-faces_run-1_*\n")
    BidsArchive.open(tmp_path).images()  # reading changes nothing
    assert (tmp_path / ".bidsignore").read_text() == hidden
    with BidsArchive.open(tmp_path) as archive:
        archive.append(volume(1, run="2"))
    assert not (tmp_path / ".bidsignore").exists()
    assert bids_errors(tmp_path) == []
    assert BidsArchive.open(tmp_path).get_run(run=1).numbers == (1,)


def test_a_run_without_an_image_stays_hidden_and_can_begin(tmp_path: Path) -> None:
    killed(
        "import rtflow.bids.run_file as file\n"
        "file._write_at = lambda *_: os.kill(os.getpid(), 9)\n"
        "BidsArchive.create(sys.argv[1]).append(volume(1))",
        tmp_path,
    )
    prepare_dataset(tmp_path)
    assert "sub-01_task-faces_run-1_*" in (tmp_path / ".bidsignore").read_text()
    assert bids_errors(tmp_path) == []
    with BidsArchive.open(tmp_path) as archive:
        archive.append(volume(1))
    assert not (tmp_path / ".bidsignore").exists()
    assert bids_errors(tmp_path) == []


def test_a_line_of_nothing_goes_and_those_of_others_stay(tmp_path: Path) -> None:
    prepare_dataset(tmp_path)
    theirs = b"sub-01_task-faces_run-1_*\r\nna\xefve/\n"
    (tmp_path / ".bidsignore").write_bytes(theirs)
    ignore(tmp_path, tmp_path / f"{STEM}_bold.nii")
    assert (tmp_path / ".bidsignore").read_bytes() != theirs
    prepare_dataset(tmp_path)
    assert (tmp_path / ".bidsignore").read_bytes() == theirs
    with BidsArchive.open(tmp_path) as archive:
        archive.append(volume(1))
    assert (tmp_path / ".bidsignore").read_bytes() == theirs


def test_a_companion_that_is_half_there_is_hidden_alone(tmp_path: Path) -> None:
    with BidsArchive.create(tmp_path) as archive:
        archive.append(volume(1))
    physio = tmp_path / f"{STEM}_recording-cardiac_physio.tsv.gz"
    ignore(tmp_path, physio)
    (tmp_path / f"{STEM}_recording-cardiac_physio.json").write_text("{}")
    prepare_dataset(tmp_path)
    assert (tmp_path / ".bidsignore").read_text().splitlines()[1:] == [f"{physio.name[:-7]}.*"]
    assert bids_errors(tmp_path) == []


def age(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
    return path


def test_what_killed_processes_left_half_written_goes(tmp_path: Path) -> None:
    prepare_dataset(tmp_path)
    dead = killed("os.kill(os.getpid(), 9)")
    func = tmp_path / "sub-01/ses-a/func"
    left = [
        age(folder / f".{name}.{dead}.partial", 60)
        for folder, name in (
            (tmp_path, "participants.tsv"),
            (func, "x_bold.json"),
            (func.parents[1] / "func", "y"),
        )
    ]
    stay = [
        age(partial_name(func / "ours_bold.json"), 60),
        age(func / f".of_another_machine.json.{dead}.partial", 0),
        age(func / f"seen.{dead}.partial", 60),
        age(func / ".notes.partial", 60),
    ]
    locked = age(func / f".locked.nii.gz.{dead}.partial", 60)
    with locked.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        prepare_dataset(tmp_path)
    assert [path for path in left if path.exists()] == []
    assert [path for path in (*stay, locked) if not path.exists()] == []


def test_two_processes_append_to_one_data_set_and_nothing_is_lost(tmp_path: Path) -> None:
    BidsArchive.create(tmp_path)
    script = (
        "for run in '123456':\n"
        "    with BidsArchive.open(sys.argv[1]) as archive:\n"
        "        for n in (1, 2): archive.append(volume(n, run=run, subject=sys.argv[2] + run))\n"
    )
    processes = [started(script, tmp_path, name) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    rows = (tmp_path / "participants.tsv").read_text().split()[1:]
    assert sorted(rows) == [f"sub-{name}{run}" for name in "abc" for run in "123456"]
    assert not (tmp_path / ".bidsignore").exists()
    assert bids_errors(tmp_path) == []


def test_participants_that_come_at_once_are_all_there(tmp_path: Path) -> None:
    prepare_dataset(tmp_path)
    names = sorted(f"{number:02d}" for number in range(24))
    ready = threading.Barrier(len(names))

    def add(name: str) -> None:
        ready.wait()
        add_participant(tmp_path, name)

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((tmp_path / "participants.tsv").read_text().split()[1:]) == [
        f"sub-{name}" for name in names
    ]


def test_a_run_that_is_being_written_is_not_written_by_another(tmp_path: Path) -> None:
    one = BidsArchive.create(tmp_path)
    path = one.append(volume(1))
    other = BidsArchive.open(tmp_path)
    with pytest.raises(OutputError, match="another program is writing this run"):
        other.append(volume(2))
    one.append(volume(2))
    one.close()
    other.append(volume(3))
    other.close()
    assert BidsArchive.open(tmp_path).get_run() == BidsRun(
        volume(n).set("TaskName", "faces") for n in (1, 2, 3)
    )
    assert path.exists()


def test_of_two_that_begin_a_run_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rtflow.bids.run_file as run_file

    one, other = BidsArchive.create(tmp_path), BidsArchive.open(tmp_path)
    write = run_file._write_at

    def meanwhile(*arguments: object) -> None:
        monkeypatch.setattr(run_file, "_write_at", write)
        other.append(volume(1))
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_file, "_write_at", meanwhile)
    with pytest.raises(OutputError, match="is there already and stays"):
        one.append(volume(1).with_data(volume(9).data))
    other.append(volume(2))
    other.close()
    assert np.array_equal(BidsArchive.open(tmp_path).get_volume(1).data, volume(1).data)
    assert not (tmp_path / ".bidsignore").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_place_that_is_taken_is_not_hidden(tmp_path: Path) -> None:
    prepare_dataset(tmp_path)
    first = claim_run(tmp_path, ENTITIES, "a")
    ignore(tmp_path, first.bold, unfinished=False)
    assert claim_run(tmp_path, ENTITIES, "b").bold.name == "sub-01_task-faces_run-2_bold.nii"
    assert "run-1" not in (tmp_path / ".bidsignore").read_text()
    assert json.loads(first.sidecar.read_text()) == {"RunUID": "a"}
