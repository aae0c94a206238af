"""How many objects a second the DICOM receiver takes, beside dcmtk's ``storescp`` in the same run.

dcmtk's ``storescu`` is the scanner, on one association. It is run as it comes, and with ``TCP_NODELAY``:
without, it holds back the end of each object until the receiver's system acknowledges its beginning, as every
sender does that does not ask its system for the contrary. A rate is that of the objects after the first, so
that starting the programs does not count. ``handover`` is the time from an object's last byte until it is in
the consumer's hands.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rtflow.bench.peer import find_dcmtk
from rtflow.bench.report import BenchReport, bar, machine, spread, versions
from rtflow.documents import now
from rtflow.errors import RunError, UsageError
from rtflow.sources.receiving import Receiver

_SHAPE = (64, 64, 36)
_VOLUMES = {"siemens-mosaic": 300, "siemens-xa": 100, "ge": 5}
_SENDERS: dict[str, dict[str, str]] = {"default": {}, "nodelay": {"TCP_NODELAY": "1"}}
# Of the fast ones the best of several, for what else the machine does shows in them.
_REPEATS = {"default": 1, "nodelay": 3}
_TITLE = "RTFLOW"
_PATIENCE = 120.0


def missing() -> str | None:
    """Why nothing can be measured here, None if it can."""
    absent = [program for program in ("storescu", "storescp") if find_dcmtk(program) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} is not installed; it comes with the package dcmtk"


def write_objects(vendor: str, volumes: int, folder: Path) -> list[Path]:
    """Objects of ``volumes`` volumes as a scanner writes them, in its order."""
    from rtflow.dicom.writing import ScanSeries, write_volume

    series = ScanSeries(np.diag([-3.0, 3.0, 3.0, 1.0]))
    data = np.random.default_rng(1).integers(0, 4000, _SHAPE, dtype=np.int16)
    paths: list[Path] = []
    for volume in range(1, volumes + 1):
        for written in write_volume(vendor, series, [data], volume):
            path = folder / f"{len(paths):05d}.dcm"
            path.write_bytes(written.data)
            paths.append(path)
    return paths


def receiver_times(files: Sequence[Path], **environment: str) -> tuple[list[float], list[float]]:
    """When the receiver had each object, and how long it took to hand it over; seconds.

    Raises
    ------
    RunError
        If not all objects came.
    """
    received: list[float] = []
    handover: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Receiver("127.0.0.1", 0, spool=Path(folder)) as receiver,
        sending(receiver.port, files, environment) as sender,
    ):
        until = time.monotonic() + _PATIENCE
        while len(received) < len(files):
            for arrival in receiver.arrivals(1.0):
                handover.append(now() - arrival.received)
                received.append(arrival.received)
                receiver.done(arrival)
            if sender.poll() not in (None, 0) or time.monotonic() > until:
                raise RunError(
                    f"the receiver got {len(received)} of {len(files)} objects; run storescu -v by hand"
                )
    return received, handover


def storescp_times(files: Sequence[Path], **environment: str) -> list[float]:
    """When dcmtk's receiver had each object on disk, seconds.

    Raises
    ------
    RunError
        If not all objects came.
    """
    with tempfile.TemporaryDirectory() as folder, _storescp(Path(folder), environment) as port:
        with sending(port, files, environment) as sender:
            sender.wait(_PATIENCE)
        written = sorted(path.stat().st_mtime for path in Path(folder).iterdir())
    if len(written) != len(files):
        raise RunError(f"storescp got {len(written)} of {len(files)} objects; run storescp -v by hand")
    return written


def rate(times: Sequence[float]) -> float:
    """Objects per second, from the first to the last."""
    return (len(times) - 1) / (max(times) - min(times))


def figures(name: str, files: Sequence[Path]) -> dict[str, float]:
    """Rates of both receivers, with both kinds of sender."""
    found: dict[str, float] = {}
    for sender, environment in _SENDERS.items():
        ours, theirs, handover = [], [], []
        for _ in range(_REPEATS[sender]):
            received, handed = receiver_times(files, **environment)
            ours.append(rate(received))
            theirs.append(rate(storescp_times(files, **environment)))
            handover += handed
        found[f"receiver_{name}_{sender}_per_s"] = max(ours)
        found[f"storescp_{name}_{sender}_per_s"] = max(theirs)
        found |= spread(f"handover_{name}_{sender}", handover)
    return found


def run() -> BenchReport:
    """Measure, and compare.

    Raises
    ------
    UsageError
        If dcmtk is not there.
    """
    if reason := missing():
        raise UsageError(f"cannot measure: {reason}")
    found: dict[str, float] = {}
    bars = {}
    for vendor, volumes in _VOLUMES.items():
        with tempfile.TemporaryDirectory() as folder:
            name = vendor.replace("-", "_")
            found |= figures(name, write_objects(vendor, volumes, Path(folder)))
            # Time per object over storescp's: less with a sender as it comes, within thrice with a tuned one.
            for sender, limit in (("default", 1.0), ("nodelay", 3.0)):
                ratio = found[f"storescp_{name}_{sender}_per_s"] / found[f"receiver_{name}_{sender}_per_s"]
                bars[f"receiver_over_storescp_{name}_{sender}"] = bar(ratio, limit)
    return BenchReport("receiving", machine(), versions("rtflow", "pynetdicom", "pydicom"), found, bars)


@contextlib.contextmanager
def sending(
    port: int, files: Sequence[Path], environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """dcmtk's ``storescu``, sending the files over one association to a port of this machine."""
    command = [find_dcmtk("storescu") or "storescu", "-aec", _TITLE, "127.0.0.1", str(port), *map(str, files)]
    with _program(command, environment) as sender:
        yield sender


@contextlib.contextmanager
def _storescp(folder: Path, environment: dict[str, str]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [find_dcmtk("storescp") or "storescp", "-od", str(folder), "-aet", _TITLE, str(port)]
    with _program(command, environment):
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield port


@contextlib.contextmanager
def _program(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    own = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"} | environment
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=own)
    try:
        yield program
    finally:
        program.terminate()
        program.wait()
