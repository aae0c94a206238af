"""Simulated scans on their way into a folder: pace, ways of writing, faults as they lie on disk."""

import csv
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scanning import collect, told

from rtflow.design import read_events
from rtflow.dicom.writing import VENDORS
from rtflow.errors import OutputError, RunError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.delivery import WAYS, Delivered, FolderTarget, Way, deliver
from rtflow.sources.simulation.faults import STRAYS, Faults
from rtflow.sources.simulation.protocol import ScanProtocol
from rtflow.sources.simulation.scanner import Scanner

SPEC = SimulateSource(shape=(16, 16, 6), voxel=11.0, tr=1.5, volumes=24, speed="max")
ALL = Faults(drop=0.2, duplicate=0.2, delay=0.2, reorder=0.2, truncate=0.4, stray=0.3)


def scanner_of(
    vendor: str = "siemens-mosaic", faults: Faults | None = None, restart: int | None = None, **more: Any
) -> Scanner:
    return Scanner(SPEC, ScanProtocol(vendor=vendor, **more), faults=faults, restart=restart)


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the truth."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "truth" not in path.parts
    }


def into(folder: Path, scanner: Scanner, **more: Any) -> tuple[Delivered, dict]:
    done = deliver(scanner, FolderTarget(folder), speed="max", truth=folder / "truth", **more)
    return done, json.loads((folder / "truth" / "faults.json").read_text())


@pytest.mark.parametrize("vendor", ["siemens-mosaic", "ge", "philips"])
def test_the_account_of_faults_tells_what_is_on_disk(vendor: str, tmp_path: Path) -> None:
    into(tmp_path / "plain", scanner_of(vendor))
    into(tmp_path / "hurt", scanner_of(vendor, ALL))
    facts = json.loads((tmp_path / "hurt/truth/faults.json").read_text())
    assert {fault["fault"] for fault in facts["faults"]} == {
        *("drop", "duplicate", "delay", "reorder", "truncate", "stray")
    }
    whole = files(tmp_path / "plain")
    expected = dict(whole)
    strays = 0
    for fault in facts["faults"]:
        for number, name in enumerate(fault["files"]):
            if fault["fault"] == "drop":
                del expected[name]
            elif fault["fault"] == "truncate" and fault["seconds"] is None:
                expected[name] = whole[name][: fault["bytes"][number]]
            elif fault["fault"] == "duplicate":
                expected[fault["copies"][number]] = whole[name]
        strays += fault["fault"] == "stray"
    found = files(tmp_path / "hurt")
    others = {name for name in found if "stray" in name}
    assert {name: data for name, data in found.items() if name not in others} == expected
    assert len(others) == strays
    assert facts["complete"]
    missing = scanner_of(vendor, ALL).missing()
    assert facts["missing"] == {str(number): volumes for number, volumes in missing.items()}
    assert missing[5]


def test_every_stray_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    _, facts = into(tmp_path, scanner_of(faults=Faults(stray=1.0)))
    found = files(tmp_path)
    kinds = {fault["volume"]: fault["stray"] for fault in facts["faults"]}
    assert set(kinds.values()) == set(STRAYS)
    for volume, kind in kinds.items():
        (data,) = (data for name, data in found.items() if f"stray_{volume:04d}." in name)
        assert (data == b"") == (kind == "empty")
        assert (data[128:132] == b"DICM") == (kind in ("physio", "report"))


def test_the_log_tells_what_was_done_in_its_order(tmp_path: Path) -> None:
    scanner = scanner_of("ge", ALL)
    done, _ = into(tmp_path, scanner)
    with (tmp_path / "truth/objects.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == done.actions == done.of == len(scanner.schedule.actions)
    assert [float(row["time"]) for row in rows] == sorted(float(row["time"]) for row in rows)
    last = {row["file"]: row for row in rows}
    assert {name: int(row["bytes"]) for name, row in last.items()} == {
        name: len(data) for name, data in files(tmp_path).items()
    }
    whats = {row["what"] for row in rows}
    assert whats == {"image", "copy", "cut", "completed", *STRAYS}
    for name in {row["file"] for row in rows if row["what"] == "completed"}:
        whats = {row["what"] for row in rows if row["file"] == name}
        assert whats == {"cut", "completed"}
        assert last[name]["bytes"] == last[name]["of"]


@pytest.mark.parametrize("faults", [Faults(), ALL])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_leaves_the_same_files(way: Way, faults: Faults, tmp_path: Path) -> None:
    into(tmp_path / "renamed", scanner_of("ge", faults))
    target = FolderTarget(tmp_path / "other", way, pause=0.0)
    done = deliver(scanner_of("ge", faults), target, speed="max")
    assert files(tmp_path / "other") == files(tmp_path / "renamed")
    assert done.size == sum(map(len, files(tmp_path / "other").values()))
    assert done.files == len(files(tmp_path / "other"))


def test_a_file_written_slowly_grows_in_eight_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = FolderTarget(tmp_path, "slow", pause=0.7)
    seen = []

    def pause(seconds: float) -> bool:
        (path,) = tmp_path.rglob("*.dcm")
        seen.append((seconds, path.stat().st_size))
        return False

    monkeypatch.setattr(target._waiting, "wait", pause)
    target.put("series", "a.dcm", bytes(range(80)), 0)
    assert [size for _, size in seen] == [10, 20, 30, 40, 50, 60, 70]
    assert sum(seconds for seconds, _ in seen) == pytest.approx(0.7)
    seen.clear()
    target.put("series", "a.dcm", bytes(range(88)), 80)
    assert [size for _, size in seen] == [81, 82, 83, 84, 85, 86, 87]
    assert (tmp_path / "series/a.dcm").read_bytes() == bytes(range(88))


def test_no_part_of_a_renamed_file_is_ever_seen(tmp_path: Path) -> None:
    sizes = {len(one.data) for one in scanner_of("ge").objects()}
    over = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not over.is_set():
            for path in (tmp_path / "scan").rglob("*"):
                if path.is_file() and not path.name.startswith("."):
                    seen.add(path.stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        deliver(scanner_of("ge"), FolderTarget(tmp_path / "scan"), speed="max")
    finally:
        over.set()
        looking.join()
    assert seen <= sizes
    assert not list(tmp_path.rglob(".*"))


class Clock(threading.Event):
    """An event that is waited for without time passing but here."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 5000.0

    def wait(self, timeout: float | None = None) -> bool:
        self.at += timeout or 0.0
        return self.is_set()


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_objects_come_at_the_pace_of_the_scanner(
    speed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("rtflow.sources.base.now", lambda: clock.at)
    scanner = scanner_of("ge", ALL, sbref=True)
    times = []
    deliver(
        scanner,
        FolderTarget(tmp_path),
        speed=speed,
        stopping=clock,
        progress=lambda done: times.append(clock.at),
    )
    expected = [5000.0 + action.at / speed for action in scanner.schedule.actions]
    np.testing.assert_allclose(times, expected, atol=1e-6)


def test_a_scan_that_is_ended_leaves_whole_files_and_says_so(tmp_path: Path) -> None:
    stopping = threading.Event()

    def progress(done: Delivered) -> None:
        if done.actions == 20:
            stopping.set()

    done, facts = into(tmp_path, scanner_of("ge"), stopping=stopping, progress=progress)
    assert (done.actions, done.whole, done.volumes) == (20, False, 4)
    whole = {one.name: one.data for one in itertools.islice(scanner_of("ge").objects(), 20)}
    assert {Path(name).name: data for name, data in files(tmp_path).items()} == whole
    assert not facts["complete"]
    assert facts["missing"] == {"5": list(range(4, 25))}
    assert (tmp_path / "truth/events.tsv").is_file()


def test_faults_of_a_scan_that_is_ended_are_those_of_what_was_made(tmp_path: Path) -> None:
    stopping = threading.Event()
    scanner = scanner_of(faults=Faults(drop=0.5))
    _, facts = into(tmp_path, scanner, stopping=stopping, progress=lambda done: stopping.set())
    first = next(number for number in range(24) if number in scanner.schedule.whole) + 1
    assert [fault["volume"] for fault in facts["faults"]] == list(range(1, first))
    assert len(files(tmp_path)) == 1


def test_the_truth_is_beside_the_images_once_there_is_one(tmp_path: Path) -> None:
    scanner = scanner_of(faults=Faults(drop=0.0), restart=3, localizer=True)
    seen: list[bool] = []
    _, facts = into(
        tmp_path, scanner, progress=lambda done: seen.append((tmp_path / "truth/events.tsv").is_file())
    )
    assert seen[:4] == [False, False, False, True]
    truth = tmp_path / "truth"
    assert read_events(truth / "events.tsv") == scanner.design
    motion = np.genfromtxt(truth / "motion.tsv", names=True, delimiter="\t", missing_values="n/a")
    np.testing.assert_allclose(
        np.column_stack([motion[name] for name in motion.dtype.names[:6]]), scanner.truth().motion, atol=1e-8
    )
    stopped = json.loads((truth / "stopped/simulation.json").read_text())
    assert stopped["settings"]["seed"] == 2
    assert [series["role"] for series in facts["series"]] == ["localizer", "magnitude", "magnitude"]
    assert {series["folder"] for series in facts["series"]} == {
        path.name for path in tmp_path.iterdir() if path != truth
    }
    assert (truth / "brain.nii").is_file()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_folder_source_takes_the_whole_output_as_one_run(vendor: str, tmp_path: Path) -> None:
    into(tmp_path, scanner_of(vendor, sbref=True, localizer=True))
    assert told(collect(tmp_path)) == list(range(1, 25))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_folder_source_misses_what_the_account_says(vendor: str, tmp_path: Path) -> None:
    wrong = Faults(drop=0.1, truncate=0.2, duplicate=0.2, reorder=0.2, stray=0.2)
    if vendor == "philips-enhanced":
        wrong = Faults(duplicate=1.0, stray=1.0)
    _, facts = into(tmp_path, scanner_of(vendor, wrong))
    lost = set(facts["missing"]["5"])
    assert lost or vendor == "philips-enhanced"
    frames = collect(tmp_path, volumes=24, idle=0.0)
    assert told(frames) == [-volume if volume in lost else volume for volume in range(1, 25)]


def _as_a_file(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "file").write_text("here")
    return tmp_path / "file", tmp_path / "truth"


def _truth_as_a_file(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "truth").write_text("here")
    return tmp_path / "scan", tmp_path / "truth"


@pytest.mark.parametrize(
    ("where", "kind", "says"),
    [
        (_as_a_file, RunError, "001_000005_000001.dcm cannot be written .*; what came before it is whole"),
        (_truth_as_a_file, OutputError, "truth cannot be written to .*; give another folder"),
    ],
)
def test_a_place_that_cannot_be_written(
    where: Callable[[Path], tuple[Path, Path]], kind: type[Exception], says: str, tmp_path: Path
) -> None:
    folder, truth = where(tmp_path)
    with pytest.raises(kind, match=says):
        deliver(scanner_of(), FolderTarget(folder), speed="max", truth=truth)
