"""An S3 server over HTTP (moto's), a data set in the layout of ds002338, and a bad line to it."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest
from processes import free_port

from rtflow.design import block_design
from rtflow.openneuro.bucket import NAME
from rtflow.openneuro.download import Download
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulator import SimulatorSource

DATASET = "ds002338"
LIMIT = 60.0

_OF_TASK = {
    "RepetitionTime": 1,
    "MagneticFieldStrength": 3,
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "Verio",
    "EchoTime": 0.023,
    "FlipAngle": 90,
    "PhaseEncodingDirection": "j-",
}
#: Rows with a tab too many at their end, as some of ds002338 have.
EVENTS = (
    "onset\tduration\ttrial_type\tstim_file\n2\t8\tRest\tRest_Xp2.png\n"
    "10\t8\tTask-NF\tTask-1dNF_Xp2.png\t\n18\t8\tRest\tRest_Xp2.png\t\n26\t8\tTask-NF\tTask-1dNF_Xp2.png\t\n"
)


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run moto's S3 server in a process of its own; gives its URL."""
    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            end = time.monotonic() + LIMIT
            while True:
                assert process.poll() is None, "moto's server has ended"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert time.monotonic() < end, "moto's server does not answer"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def client(endpoint: str):
    """A client that may write."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def upload(endpoint: str, root: Path, dataset: str = DATASET) -> int:
    """Put a folder into the bucket, for everybody to read; gives its bytes."""
    s3 = client(endpoint)
    if NAME not in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=NAME)
    total = 0
    for path in sorted(root.rglob("*")):
        if path.is_file():
            key = f"{dataset}/{path.relative_to(root).as_posix()}"
            s3.put_object(Bucket=NAME, Key=key, Body=path.read_bytes(), ACL="public-read")
            total += path.stat().st_size
    return total


def write_image(
    path: Path, *, shape: tuple[int, int, int], volumes: int, tr: float = 1.0, seed: int = 1
) -> None:
    """A run by the simulator, in one NIfTI file; compressed if its name says so."""
    spec = SimulateSource(
        shape=shape, voxel=max(64.0 / min(shape), 220.0 / max(shape)), volumes=volumes, tr=tr, seed=seed,
        speed="max",
    )  # fmt: skip
    design = block_design(
        ["Task-NF"], blocks=max(volumes // 20, 1), block=8 * tr, rest=8 * tr, opening=2 * tr
    )
    frames = SimulatorSource(spec, design).frames(threading.Event())
    images = [nib.Nifti1Image.from_bytes(frame.parts[0].data) for frame in frames]
    data = np.stack([np.asarray(image.dataobj.get_unscaled()) for image in images], axis=3)
    image = nib.Nifti1Image(data, images[0].affine.astype(np.float32))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = tr
    image.header.set_slope_inter(1.0, 0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = image.to_bytes()
    path.write_bytes(gzip.compress(raw, 6, mtime=0) if path.suffix == ".gz" else raw)


def write_dataset(
    root: Path, *, shape: tuple[int, int, int] = (24, 24, 10), volumes: int = 36, runs: int = 2
) -> Path:
    """A data set in the layout of ds002338: metadata at the top and beside each run, two subjects.

    Subject xp201 has ``runs`` runs of task 1dNF and one of MIpre, subject xp204 one of 2dNF.
    """
    names = [("xp201", f"task-1dNF_run-{number:02d}") for number in range(1, runs + 1)]
    names += [("xp201", "task-MIpre"), ("xp204", "task-2dNF_run-01")]
    root.mkdir(parents=True, exist_ok=True)
    about = {"Name": "A stand-in of XP2", "BIDSVersion": "1.2.0", "License": "CC0", "Authors": ["A", "B"]}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / "README").write_text("EEG and fMRI, not really — simulated.\n", encoding="utf-8")
    (root / "participants.tsv").write_text("participant_id\nsub-xp201\nsub-xp204\n")
    for task in ("1dNF", "2dNF", "MIpre"):
        (root / f"task-{task}_bold.json").write_text(json.dumps({"TaskName": task, **_OF_TASK}))
        (root / f"task-{task}_events.tsv").write_text(EVENTS)
    for seed, (subject, name) in enumerate(names, start=1):
        stem = root / f"sub-{subject}" / "func" / f"sub-{subject}_{name}_bold"
        write_image(stem.with_name(f"{stem.name}.nii.gz"), shape=shape, volumes=volumes, seed=seed)
        beside = {"AcquisitionTime": "14:35:46.597500", "SeriesNumber": 18, "FlipAngle": 77}
        stem.with_name(f"{stem.name}.json").write_text(json.dumps(beside))
    other = root / "derivatives" / "sub-xp201" / "NF_bold" / "d_sub-xp201_task-1dNF_run-01_NFbold_scores.mat"
    other.parent.mkdir(parents=True)
    other.write_bytes(bytes(100_000))
    return root


@dataclass
class Line:
    """What a line to a server does to what goes over it; may be changed while it is in use.

    Parameters
    ----------
    rate
        Bytes a second of the answers for ``slow`` keys, None for no limit.
    slow
        Which paths are slowed down.
    resets
        So many answers for images break off with a reset after ``reset_after`` bytes.
    refusals
        So many requests for images are answered by 503.
    altered
        Whether a byte of each image is changed on its way.
    held
        While set to an offset, no byte of an image from there on is passed on.
    cut
        Whether answers that are held break off with a reset.
    """

    rate: float | None = None
    slow: str = "_bold.nii"
    resets: int = 0
    reset_after: int = 20_000
    refusals: int = 0
    altered: bool = False
    held: int | None = None
    cut: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        """Whether one more of a kind of trouble is due."""
        with self.lock:
            left = getattr(self, name)
            setattr(self, name, max(left - 1, 0))
            return bool(left)


@contextlib.contextmanager
def over(endpoint: str, line: Line) -> Iterator[str]:
    """A line to a server: an HTTP proxy with sockets of its own; gives the URL of its near end."""
    host = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            image = re.search(line.slow, self.path) is not None
            with line.lock:
                line.requests.append((self.path, self.headers.get("Range", "")))
            if image and line.take("refusals"):
                self.send_response(503, "Slow Down")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection(host, timeout=LIMIT)
            with contextlib.closing(upstream):
                kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding")}
                upstream.request("GET", self.path, headers=kept)
                answer = upstream.getresponse()
                body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (
                    "connection",
                    "transfer-encoding",
                    "content-length",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if image and line.altered and answer.status in (200, 206):
                body = body[:-20] + bytes([body[-20] ^ 1]) + body[-19:]
            self._give(body, image)

        def _give(self, body: bytes, image: bool) -> None:
            found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(found[1]) if found else 0
            breaking = image and line.take("resets")
            step = 8192 if image else max(len(body), 1)
            for at in range(0, len(body), step):
                while image and line.held is not None and start + at >= line.held and not over_.is_set():
                    if line.cut:
                        breaking, at = True, max(at, line.reset_after)
                        break
                    time.sleep(0.01)
                if breaking and at >= line.reset_after:
                    # A linger of no time: closing sends a reset.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                piece = body[at : at + step]
                self.wfile.write(piece)
                with line.lock:
                    line.sent += len(piece)
                if image and line.rate:
                    over_.wait(len(piece) / line.rate)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().handle()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def shutdown_request(self, request) -> None:
            with contextlib.suppress(OSError):
                super().shutdown_request(request)

    over_ = threading.Event()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over_.set()
            server.shutdown()
            thread.join()


def released_by_a_waiting_reader(line: Line, monkeypatch: pytest.MonkeyPatch, after: float = 0.0) -> None:
    """Let what is held pass ``after`` seconds once somebody has begun to wait for it."""
    check, asked = Download._check, threading.Event()

    def waits(self: Download, stopping: threading.Event) -> None:
        if not asked.is_set():
            asked.set()
            threading.Timer(after, setattr, (line, "held", None)).start()
        check(self, stopping)

    monkeypatch.setattr(Download, "_check", waits)
