"""How many volumes a second each source sustains, each made a BIDS-incremental.

A rate is that of the volumes after the first, from the first one's last byte on: what it takes to start the
programs does not count.

What fills the source is another process, as a scanner is: copied files, objects sent over one association.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rtflow.bench.peer import find_dcmtk
from rtflow.bench.receiving import sending
from rtflow.bench.scans import Scan
from rtflow.documents import RunStart, RunStop, VolumeReceived, now
from rtflow.errors import RunError
from rtflow.journal import Journal
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.source_settings import AnySource, DicomSource, FolderSource, JournalSource, SimulateSource
from rtflow.sources import Source, open_source
from rtflow.sources.port import PortStream

_ENTITIES = {"subject": "01", "task": "feedback", "run": "1"}
_WAIT = 120.0


def figures(scan: Scan, scratch: Path) -> dict[str, float]:
    """Volumes a second of a scan through every source that takes DICOM, as ``sustained SCAN:SOURCE``.

    Parameters
    ----------
    scan
        Its first run is what comes.
    scratch
        An empty folder.
    """
    files = stage(scan, scratch / "staged")
    volumes = sum(step.volumes for step in scan.runs[0])
    found = {
        "folder_there_per_s": rate(folder_times(scratch / "staged", volumes)),
        "folder_live_per_s": rate(copied_times(files, scratch / "live", volumes)),
        "dicom_per_s": rate(sent_times(files, volumes)),
        "journal_per_s": rate(journal_times(scratch / "staged", volumes, scratch / "run")),
    }
    if find_dcmtk("storescu"):
        found["dicom_storescu_per_s"] = rate(sent_times(files, volumes, by_storescu=True))
    return {f"sustained {scan.name}:{name}": value for name, value in found.items()}


def simulated_times(shape: tuple[int, int, int], volumes: int) -> list[float]:
    """When each volume of a simulated run was there."""
    spec = SimulateSource(shape=shape, voxel=200 / max(shape), volumes=volumes, speed="max")
    return times(open_source(spec), volumes)


def folder_times(folder: Path, volumes: int) -> list[float]:
    """When each volume of a folder that is complete was there, from the opening of the source on."""
    began = now()
    return [began, *times(open_source(_folder(folder, volumes)), volumes)[1:]]


def copied_times(files: Sequence[Path], folder: Path, volumes: int) -> list[float]:
    """When each volume was there of files that another process copies into a folder."""
    folder.mkdir()
    source = open_source(_folder(folder, volumes))
    with subprocess.Popen(["cp", *map(str, files), str(folder)]):
        return times(source, volumes)


def sent_times(files: Sequence[Path], volumes: int, *, by_storescu: bool = False) -> list[float]:
    """When each volume was there of objects that another process sends to a port."""
    source = PortStream(DicomSource(address="127.0.0.1:0", volumes=volumes, idle=_WAIT, patience=1e4))
    with tempfile.TemporaryDirectory() as folder:
        source.begin(Path(folder), lambda event: None)
        sender = (
            sending(source.port, files, {"TCP_NODELAY": "1"}) if by_storescu else _sender(source.port, files)
        )
        with sender:
            return times(source, volumes)


def journal_times(folder: Path, volumes: int, run_dir: Path) -> list[float]:
    """When each volume was there of a recorded run."""
    journal = Journal(run_dir)
    journal.keep(RunStart(workflow="bench"))
    for frame in open_source(_folder(folder, volumes)).frames(threading.Event()):
        records = journal.keep_frame(frame)
        journal.keep(VolumeReceived(volume=frame.volume, received=frame.received, parts=records))
    journal.keep(RunStop(status="completed"))
    journal.close()
    return times(open_source(JournalSource(path=str(run_dir))), volumes)


def times(source: Source, volumes: int) -> list[float]:
    """When the first last byte was there, and the BIDS-incremental of each volume after the first; seconds.

    Raises
    ------
    RunError
        If not all volumes came.
    """
    received: list[float] = []
    there: list[float] = []
    for frame in source.frames(threading.Event()):
        if frame.missing:
            raise RunError(f"volume {frame.volume} is missing ({frame.missing}): nothing was measured")
        frame_to_incrementals(frame, _ENTITIES)
        received.append(frame.received)
        there.append(now())
    if len(there) != volumes:
        raise RunError(f"{source.uri} gave {len(there)} of {volumes} volumes: nothing was measured")
    return [min(received), *there[1:]]


def rate(there: Sequence[float]) -> float:
    """Volumes per second from the first time to the last."""
    return (len(there) - 1) / (there[-1] - there[0])


def stage(scan: Scan, folder: Path) -> list[Path]:
    """Write the files of a scan's first run; their paths in their order."""
    folder.mkdir(parents=True)
    paths: list[Path] = []
    for step in scan.runs[0]:
        for file in step.files:
            paths.append(folder / f"{len(paths):06d}.dcm")
            paths[-1].write_bytes(file.data)
    return paths


def _folder(folder: Path, volumes: int) -> AnySource:
    return FolderSource(path=str(folder), volumes=volumes, idle=_WAIT, patience=1e4)


@contextlib.contextmanager
def _sender(port: int, files: Sequence[Path]) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_send, args=(port, files), daemon=True)
    process.start()
    try:
        yield
        process.join(_WAIT)
    finally:
        process.kill()
        process.join()


def _send(port: int, files: Sequence[Path]) -> None:
    from rtflow.sources.simulation.sending import Address, Sender

    with Sender(Address("127.0.0.1", port)) as sender:
        for path in files:
            data = path.read_bytes()
            sender.put("", path.name, data, 0)
