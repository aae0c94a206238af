"""Simulated scans sent to a real receiver: dcmtk's storescp."""

import contextlib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pydicom
import pytest

from rtflow.dicom.writing import VENDORS
from rtflow.errors import RunError, UsageError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.delivery import Delivered, deliver
from rtflow.sources.simulation.faults import Faults
from rtflow.sources.simulation.protocol import ScanProtocol
from rtflow.sources.simulation.scanner import Scanner
from rtflow.sources.simulation.sending import Address, Sender, parse_address, split

SPEC = SimulateSource(shape=(16, 16, 6), voxel=11.0, tr=1.5, volumes=5, speed="max")


class Received:
    """A storescp that runs, and what it received."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir()
        with (folder.parent / "storescp.log").open("w") as log:
            self.process = subprocess.Popen(
                ["storescp", "-d", "-od", folder, *options, str(self.port)], stdout=log, stderr=log
            )
        self.address = Address("127.0.0.1", self.port)

    def wait(self) -> None:
        for _ in range(200):
            assert self.process.poll() is None, "storescp ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        pytest.fail("storescp does not listen")

    @property
    def log(self) -> str:
        return (self.folder.parent / "storescp.log").read_text(errors="replace")

    def objects(self) -> dict[str, pydicom.Dataset]:
        """By SOPInstanceUID."""
        read = [pydicom.dcmread(path) for path in self.folder.iterdir()]
        return {str(one.SOPInstanceUID): one for one in read}


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Received]:
    received = Received(folder, *options)
    try:
        received.wait()
        yield received
    finally:
        received.process.terminate()
        received.process.wait()


def send(scanner: Scanner, address: Address, **more: Any) -> Delivered:
    return deliver(scanner, Sender(address, timeout=10.0), speed="max", **more)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_real_receiver_has_all_pixels(vendor: str, tmp_path: Path) -> None:
    scanner = Scanner(SPEC, ScanProtocol(vendor=vendor, echo_times=(0.01, 0.03), sbref=True))
    with storescp(tmp_path / "in") as received:
        done = send(scanner, received.address)
        objects = list(scanner.objects())
        assert (done.files, done.volumes) == (len(objects), 1 if vendor == "philips-enhanced" else 5)
        found = received.objects()
        assert received.log.count("Association Acknowledged") == 1
    assert len(found) == len(objects)
    for one in objects:
        (tmp_path / "one.dcm").write_bytes(one.data)
        sent = pydicom.dcmread(tmp_path / "one.dcm")
        there = found[str(sent.SOPInstanceUID)]
        assert there.PixelData == sent.PixelData
        assert there == sent


def test_faults_are_sent_as_far_as_they_can_be(tmp_path: Path) -> None:
    wrong = Faults(drop=0.3, duplicate=0.5, truncate=0.5, stray=1.0, reorder=0.4)
    scanner = Scanner(msgspec.structs.replace(SPEC, volumes=16), ScanProtocol(vendor="ge"), faults=wrong)
    actions = scanner.schedule.actions
    done_to = {fault.fault for fault in scanner.schedule.faults}
    assert done_to == {"drop", "duplicate", "truncate", "stray", "reorder"}
    # Each object in a file of its own, also one that comes again; stored as it came, also one cut off.
    with storescp(tmp_path / "in", "+uf", "+B") as received:
        done = send(scanner, received.address)
        sizes = Counter(path.stat().st_size for path in received.folder.iterdir())
    kinds = Counter(action.stray for action in actions)
    assert kinds["empty"] + kinds["text"] > 0
    assert kinds["physio"] + kinds["report"] > 0
    assert done.whole
    assert done.refused == kinds["empty"] + kinds["text"]
    assert sizes.total() == len(actions) - done.refused
    # What was cut off has 98 % of its bytes at most; headers differ by a few bytes.
    short = sum(count for size, count in sizes.items() if size < 0.99 * max(sizes))
    assert short == kinds["physio"] + kinds["report"] + sum(action.share < 1.0 for action in actions)


def test_one_association_is_used_at_the_scanners_pace_too(tmp_path: Path) -> None:
    with storescp(tmp_path / "in") as received:
        deliver(Scanner(SPEC), Sender(received.address), speed=100.0)
        assert received.log.count("Association Acknowledged") == 1
        assert received.log.count("Association Release") == 1
        assert len(received.objects()) == 5


def test_a_receiver_that_goes_away_is_told(tmp_path: Path) -> None:
    with storescp(tmp_path / "in") as received:

        def progress(done: Delivered) -> None:
            if done.files == 3:
                received.process.kill()
                received.process.wait()

        with pytest.raises(RunError, match=r"was lost while 001_000005_000004.dcm was sent"):
            send(Scanner(SPEC), received.address, progress=progress)
        assert len(received.objects()) == 3


# pynetdicom forgets to close the socket of a connection that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_receiver_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(RunError, match="does not answer; start the receiver"):
            send(Scanner(SPEC), nobody, truth=tmp_path / "truth")
    assert not (tmp_path / "truth").exists()


def test_a_receiver_that_wants_nothing(tmp_path: Path) -> None:
    with (
        storescp(tmp_path / "in", "--refuse") as received,
        pytest.raises(RunError, match=r"refused this scanner \(titles SCANNER to RTFLOW\)"),
    ):
        # A refusal is lost if the connection ends before it was read: then it is asked once more.
        deliver(Scanner(SPEC), Sender(received.address, timeout=10.0, wait=60.0), speed="max")


def test_ending_early_releases_the_association(tmp_path: Path) -> None:
    stopping = threading.Event()
    with storescp(tmp_path / "in") as received:
        done = send(Scanner(SPEC), received.address, stopping=stopping, progress=lambda done: stopping.set())
        assert (done.files, done.whole) == (1, False)
        assert received.log.count("Association Release") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicom://scanner-host:104", Address("scanner-host", 104)),
        ("dicom://[::1]:11112/", Address("::1", 11112)),
        ("dicom://a:1?calling=MR1&called=X", Address("a", 1, called="X", calling="MR1")),
    ],
)
def test_an_address(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == Address(expected.host, expected.port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost:11112", "expected dicom://HOST:PORT, such as"),
        ("dicom://localhost", "expected dicom://HOST:PORT, such as"),
        ("dicom://:11112", "expected dicom://HOST:PORT, such as"),
        ("dicom://a:99999", "port from 1 to 65535, got 99999"),
        ("dicom://a:1?title=X", "called=TITLE"),
        ("dicom://a:1?called=SEVENTEEN_LETTERS", "16 characters at most"),
    ],
)
def test_an_address_that_is_none(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_address(text)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_file_is_split_where_its_data_set_begins(vendor: str, tmp_path: Path) -> None:
    data = next(Scanner(SPEC, ScanProtocol(vendor=vendor)).objects()).data
    (tmp_path / "one.dcm").write_bytes(data)
    read = pydicom.dcmread(tmp_path / "one.dcm")
    parts = split(data)
    assert parts is not None
    assert parts[:2] == (str(read.SOPClassUID), str(read.SOPInstanceUID))
    assert data[parts[2] : parts[2] + 2] == b"\x08\x00"
    assert split(data[:140]) is None
    assert split(b"") is None
