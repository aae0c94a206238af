"""Runs that are killed while the scanner goes on, and disks that fill: real processes, signals and disks."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from arrivals import digests_of, scan
from processes import LIMIT, Run, free_port
from ways import Put, whole

from rtflow.documents import Event, RunStop
from rtflow.errors import RunError
from rtflow.journal import Recording
from rtflow.source_settings import DicomSource
from rtflow.sources import open_source
from rtflow.sources.simulation.delivery import FolderTarget
from rtflow.sources.simulation.sending import Address, Sender

VOLUMES = 24
#: So that nothing is given up for being slow.
PATIENT = f"volumes={VOLUMES}&idle=100&patience=1000&wait=100"
layouts = pytest.mark.parametrize("layout", ["mosaic", "ge"])


class Scanner:
    """Delivers the objects of a scan from a thread of its own, and tries again what is not taken.

    As a scanner does, it keeps what was not acknowledged and sends it once more, over another association.
    """

    def __init__(self, puts: Sequence[Put], target: object, every: float) -> None:
        self._puts, self._target, self._every = puts, target, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.refused: list[str] = []
        self.sent = 0

    def __enter__(self) -> "Scanner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def finish(self) -> None:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "not all was taken"

    def _work(self) -> None:
        left = list(self._puts)
        while left and not self._stop.is_set():
            if not self._reached():
                self.refused.append("nobody listens")
                self._stop.wait(0.05)
                continue
            try:
                with self._target as target:  # type: ignore[attr-defined]
                    while left and not self._stop.is_set():
                        target.put(left[0].folder, left[0].name, left[0].data, 0)
                        del left[0]
                        self.sent += 1
                        self._stop.wait(self._every)
            except RunError as error:
                self.refused.append(str(error))
                self._stop.wait(0.1)

    def _reached(self) -> bool:
        address = getattr(self._target, "_address", None)
        if address is None:
            return True
        try:
            socket.create_connection((address.host, address.port), timeout=5.0).close()
        except OSError:
            return False
        return True


def undisturbed(run: Run, layout: str) -> None:
    """Every volume has its Result, once, and the value that it would have had."""
    results = run.recording.results
    assert [result.volume for result in results] == list(range(1, VOLUMES + 1))
    assert {result.status for result in results} <= {"ok", "late"}
    assert [result.values["digest.value"] for result in results] == digests_of(layout, VOLUMES)
    assert isinstance(run.recording.documents[-1], RunStop)
    assert "resume_differs" not in {event.name for event in run.recording.events}


@pytest.mark.fault("rtflow is killed")
@layouts
def test_killed_while_a_scanner_sends(layout: str, tmp_path: Path) -> None:
    """What was acknowledged is not lost: it stands in the journal, or in the spool, or is sent again."""
    port = free_port()
    source = f"dicom://127.0.0.1:{port}?{PATIENT}"
    puts = whole(scan(layout, VOLUMES))
    with Scanner(puts, Sender(Address("127.0.0.1", port)), every=2.0 / len(puts)) as scanner:
        with Run(tmp_path, "--source", source) as first:
            first.until(lambda: len(first.results()) >= 5)
            first.kill()
        assert first.recording.stop is None
        time.sleep(0.3)  # it sends to nobody for a while
        with Run(tmp_path, "--resume", str(first.run_dir)) as again:
            status, told, _ = again.wait()
            scanner.finish()
    assert status == 0
    assert told["volumes"]["ok"] + told["volumes"]["late"] == VOLUMES
    undisturbed(again, layout)
    assert scanner.refused, "the sender noticed nothing: it was not killed in mid-run"
    left = list((first.run_dir / "received").glob("*.dcm"))
    assert left == []


@pytest.mark.fault("rtflow is killed")
@layouts
@pytest.mark.parametrize("existing", ["true", "false"])
def test_killed_while_files_come(layout: str, existing: str, tmp_path: Path) -> None:
    """Files that came while nobody looked are found; those of a former run are still left alone."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    if existing == "false":
        for put in whole(scan(layout, 6, seed=3, number=4), folder="004"):
            FolderTarget(incoming).put(put.folder, put.name, put.data, 0)
    source = f"folder:{incoming}?{PATIENT}&existing={existing}"
    puts = whole(scan(layout, VOLUMES))
    with Run(tmp_path, "--source", source) as first:
        first.until(lambda: ((first.out / "runs").is_dir() and first.results() != []) or _listening(first))
        with Scanner(puts, FolderTarget(incoming, "in-place"), every=2.0 / len(puts)) as scanner:
            first.until(lambda: len(first.results()) >= 5)
            first.kill()
            time.sleep(0.3)  # it writes on
            # The next series begins: it is not this run's.
            for put in whole(scan(layout, 6, seed=4, number=9), 1, folder="009"):
                FolderTarget(incoming).put(put.folder, put.name, put.data, 0)
            with Run(tmp_path, "--resume", str(first.run_dir)) as again:
                status, _, err = again.wait()
                scanner.finish()
    assert status == 0, err
    undisturbed(again, layout)


def _listening(run: Run) -> bool:
    """Whether the folder is watched: its former files are known."""
    return any((run.out / "runs").glob("*/work"))


# Disks that fill


def mounted(folder: Path, size: str) -> bool:
    """A disk of that size in the folder, if this user may."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def grow(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path | None]:
    """A small disk, None where none may be mounted."""
    folder = tmp_path / "disk"
    if not mounted(folder, "160k"):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.fault("the disk is full (journal)")
@layouts
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_the_disk_of_the_journal_fills(layout: str, how: str, disk: Path | None, tmp_path: Path) -> None:
    """The run fails and says so; when there is room it goes on, and nothing is lost."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    puts = whole(scan(layout, VOLUMES))
    for put in puts:
        FolderTarget(incoming).put(put.folder, put.name, put.data, 0)
    small = disk if how == "disk" else None
    # Where no disk can be mounted, a limit on the size of files does what a full one does.
    limit = None if small else 100_000
    with Run(small or tmp_path / "out", "--source", f"folder:{incoming}?idle=0", file_limit=limit) as first:
        status, _, err = first.wait()
    assert status == 1
    assert "cannot be written" in err
    assert "Traceback" not in err
    recorded = Recording(first.run_dir)  # what stands there is whole
    assert recorded.stop is None  # though there may have been room for it: it can be taken up
    assert 0 < len(recorded.results) < VOLUMES
    assert len(list(recorded.frames())) < VOLUMES
    if small:
        grow(small, "32m")
    with Run(first.out, "--resume", str(first.run_dir)) as again:
        status, _, err = again.wait()
    assert status == 0, err
    undisturbed(again, layout)


@pytest.mark.fault("the disk is full (journal)")
@pytest.mark.fault("the disk is full (received objects)")
@layouts
def test_the_disk_of_journal_and_spool_fills_while_a_scanner_sends(
    layout: str, disk: Path | None, tmp_path: Path
) -> None:
    port = free_port()
    source = f"dicom://127.0.0.1:{port}?{PATIENT}"
    puts = whole(scan(layout, VOLUMES))
    limit = None if disk else 100_000
    with Scanner(puts, Sender(Address("127.0.0.1", port)), every=0.0) as scanner:
        with Run(disk or tmp_path / "out", "--source", source, file_limit=limit) as first:
            # Either is in the way first: the run ends, or the sender is refused, and the run waits.
            end = time.monotonic() + LIMIT
            while first.process.poll() is None and not any("0xA700" in one for one in scanner.refused):
                assert time.monotonic() < end
                time.sleep(0.02)
            if disk:
                grow(disk, "32m")
            status, _, err = first.wait()
        if status == 1:
            assert "cannot be written" in err
            with Run(first.out, "--resume", str(first.run_dir)) as again:
                status, _, err = again.wait()
        scanner.finish()
    assert status == 0, err
    undisturbed(first, layout)


@pytest.mark.fault("the disk is full (received objects)")
@layouts
def test_the_disk_of_the_spool_fills(layout: str, disk: Path | None, tmp_path: Path) -> None:
    """The sender is told that there is no room, and keeps what it has; the run says so, and goes on."""
    if disk is None:
        pytest.fail("this test mounts a small disk: run it as root")
    puts = whole(scan(layout, VOLUMES))
    source = open_source(
        DicomSource(address="127.0.0.1:0", volumes=VOLUMES, idle=100.0, patience=1000.0, wait=100.0)
    )
    told: list[Event] = []
    source.begin(disk / "run", told.append)
    stuffing = disk / "stuffing"
    frames = source.frames(threading.Event())
    volumes = []
    address = Address("127.0.0.1", source.port)  # type: ignore[attr-defined]
    try:
        with Scanner(puts, Sender(address), every=0.002) as scanner:
            for frame in frames:
                volumes.append(frame.volume)
                assert not frame.missing
                if frame.volume == 5:
                    _stuff(stuffing)
                    end = time.monotonic() + LIMIT
                    while not scanner.refused:
                        assert time.monotonic() < end
                        time.sleep(0.01)
                    stuffing.unlink()
            scanner.finish()
    finally:
        source.end()
    assert volumes == list(range(1, VOLUMES + 1))
    assert "status 0xA700" in scanner.refused[0]
    (trouble,) = [one for one in told if one.name == "source_trouble"]
    assert trouble.data["says"] == (
        f"a received object cannot be written to {disk / 'run' / 'received'}: No space left on device"
    )


def _stuff(path: Path) -> None:
    """Fill a disk to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
