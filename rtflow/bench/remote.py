"""From a volume's last byte on the scanner's host to its value at the subject's, over TLS, as processes.

RT-Cloud's sample (a Siemens mosaic of 64 x 64 x 27) comes at one volume a second: a file is written on the
scanner's host; the time counts from its end until the line with its value comes out of the subject agent's
TCP port, where a display would read it. After that a short run goes through a counter of bytes.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from rtflow.bench import remote_workflow
from rtflow.bench.counter import Counter
from rtflow.bench.hosts import Hosts, free_port
from rtflow.bench.report import BenchReport, bar, machine, spread, versions
from rtflow.bench.scans import series_of, volumes_of
from rtflow.dicom.writing import Written, write_volume
from rtflow.documents import Frame, Part, now
from rtflow.errors import RunError

_SHAPE = (64, 64, 27)
_TR = 1.0
_VOLUMES = {"region": 120, "realign": 60}
_WIRE_VOLUMES = 30
_WARM = 5
_PATIENCE = 30.0

_MEDIAN_MS, _P99_MS, _WIRE = 10.0, 30.0, 1.02


@dataclass(frozen=True)
class Shown:
    """One volume: when its last byte was written, when its value came, and what the value says."""

    written: float
    came: float
    value: dict[str, object]


def write_series(volumes: int) -> list[Written]:
    """The files of a run, one for each volume."""
    series = series_of(_SHAPE, tr=_TR, planned=volumes, began=datetime.datetime.now())
    return [
        file
        for number, data in enumerate(volumes_of(_SHAPE, volumes), start=1)
        for file in write_volume("siemens-mosaic", series, data, number)
    ]


def write_mask(file: Written, path: Path) -> None:
    """An image of the head on the volumes' grid: the region."""
    from rtflow.nodes.convert import frame_to_incrementals

    part = Part(file.name, "application/dicom", file.data)
    incremental = frame_to_incrementals(Frame(1, 0.0, (part,)), {"subject": "01", "task": "feedback"})[0]
    inside = incremental.data > np.percentile(incremental.data, 75)
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), incremental.affine), path)


class Display:
    """What reads the lines of the subject agent's TCP port, as a display would."""

    def __init__(self, port: int) -> None:
        self.came: dict[int, tuple[float, dict[str, object]]] = {}
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._socket.sendall(b"{}\n")
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, volume: int) -> tuple[float, dict[str, object]]:
        """When the value of a volume came, and what it was.

        Raises
        ------
        RunError
            If it does not come.
        """
        with self._news:
            if not self._news.wait_for(lambda: volume in self.came, _PATIENCE):
                raise RunError(f"the value of volume {volume} did not come to the display")
        return self.came[volume]

    def close(self) -> None:
        """Read no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        for line in self._lines():
            at, told = now(), json.loads(line)
            if told.get("type") == "Value":
                with self._news:
                    self.came[told["volume"]] = at, told
                    self._news.notify_all()

    def _lines(self) -> Iterator[bytes]:
        try:
            with self._socket.makefile("rb") as lines:
                yield from lines
        except OSError:
            return


def measure(hosts: Hosts, files: Sequence[Written], *, realign: bool, pace: float) -> list[Shown]:
    """One run over the three hosts.

    Parameters
    ----------
    hosts
        With enrolled agents, or such that still have to.
    files
        What the scanner writes, one for each volume.
    realign
        Whether the graph corrects motion.
    pace
        Seconds from one volume to the next; 0 writes each when the one before has come.

    Raises
    ------
    RunError
        If a host does not do its part.
    """
    incoming, mask, port = (
        hosts.folder("scanner") / "incoming",
        hosts.folder("analysis") / "mask.nii",
        free_port(),
    )
    incoming.mkdir()
    write_mask(files[0], mask)
    run = hosts.listen(
        "run", str(remote_workflow.__file__), "--out", str(hosts.folder("analysis") / "out"), "--quiet",
        "--source", f"agent:scanner?volumes={len(files)}", "--set", f"mask={mask}",
        "--set", f"realign={str(realign).lower()}",
    )  # fmt: skip
    hosts.enrol("scanner", hosts.through)
    hosts.enrol("subject", hosts.url)
    subject = hosts.start(
        "subject", "subject", "--server", hosts.url, "--tcp", str(port),
        "--out", str(hosts.folder("subject") / "out"), "--state", str(hosts.folder("subject") / "state"),
    )  # fmt: skip
    hosts.until(lambda: _listens(port), subject, "does not listen")
    display = Display(port)
    scanner = hosts.start(
        "scanner", "scanner", "--server", hosts.through, "--watch", str(incoming),
        "--state", str(hosts.folder("scanner") / "state"),
    )  # fmt: skip
    hosts.until(lambda: "begins" in hosts.said("scanner", "scanner"), scanner, "is not told of the run")
    shown = []
    begin = time.monotonic()
    for volume, file in enumerate(files, start=1):
        time.sleep(max(0.0, begin + (volume - 1) * pace - time.monotonic()))
        (incoming / file.name).write_bytes(file.data)
        written = now()
        came, value = display.wait_for(volume)
        shown.append(Shown(written, came, value))
    display.close()
    hosts.until(lambda: run.poll() is not None, subject, "was not told the end")
    return shown


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def run() -> BenchReport:
    """Run the benchmark."""
    began = machine()
    figures: dict[str, float] = {}
    for name, volumes in _VOLUMES.items():
        with tempfile.TemporaryDirectory() as folder, Hosts(Path(folder)) as hosts:
            files = write_series(volumes + _WARM)
            shown = measure(hosts, files, realign=name == "realign", pace=_TR)[_WARM:]
            figures |= spread(name, [one.came - one.written for one in shown])
            figures[f"{name}_max_ms"] = 1e3 * max(one.came - one.written for one in shown)
            figures[f"{name}_age_median_ms"] = float(np.median([1e3 * age(one) for one in shown]))
    with (
        tempfile.TemporaryDirectory() as folder,
        Hosts(Path(folder)) as hosts,
        Counter(hosts.port) as counter,
    ):
        files = write_series(_WIRE_VOLUMES)
        hosts.through = f"wss://127.0.0.1:{counter.port}"
        measure(hosts, files, realign=False, pace=0.0)
        figures["wire_over_file_bytes"] = counter.bytes / sum(len(file.data) for file in files)
    return BenchReport(
        name="remote",
        machine=began,
        versions=versions("rtflow", "aiohttp", "cryptography"),
        figures=figures,
        bars={
            "region_median_ms": bar(figures["region_median_ms"], _MEDIAN_MS),
            "region_p99_ms": bar(figures["region_p99_ms"], _P99_MS),
            "wire_over_file_bytes": bar(figures["wire_over_file_bytes"], _WIRE),
        },
    )


def age(shown: Shown) -> float:
    """Seconds from the middle of an acquisition until its value came; the file is written as it ends."""
    return shown.came - (shown.written - _TR / 2)
