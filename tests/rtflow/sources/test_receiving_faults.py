"""Aborted, cut off and malformed transfers, a full disk, a slow consumer, and a receiver that is killed."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from processes import until
from pynetdicom import AE
from pynetdicom.association import Association
from senders import (
    an_object,
    begin,
    needs_dcmtk,
    python,
    run,
    send,
    sent,
    several,
    take,
    waits,
)

from rtflow.sources.associations import MAXIMUM, SILENCE
from rtflow.sources.receiving import Receiver

pytestmark = needs_dcmtk


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as listening:
        yield listening


def numbers(arrivals: list[bytes]) -> list[int]:
    return [int(pydicom.dcmread(io.BytesIO(data)).InstanceNumber) for data in arrivals]


def spooled(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != ".lock")


def associations() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("AcceptorThread")]


def request(receiver: Receiver) -> bytes:
    """An association request as a scanner writes it, taken from the wire."""
    with socket.create_server(("127.0.0.1", 0)) as tap:
        scanner = AE("SCANNER")
        scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1")
        scanner.acse_timeout = 10
        caller = threading.Thread(
            target=scanner.associate, args=("127.0.0.1", tap.getsockname()[1]), kwargs={"ae_title": "RTFLOW"}
        )
        caller.start()
        connection, _ = tap.accept()
        with connection:
            asked = connection.recv(65536)
        caller.join()
    return asked


# Transfers that do not end well


def test_an_aborted_association_loses_nothing_that_was_acknowledged(
    tmp_path: Path, receiver: Receiver
) -> None:
    files = several(tmp_path / "out", 3)
    run("storescu", "--abort", "-aec", "RTFLOW", "127.0.0.1", receiver.port, *files)
    assert numbers([arrival.data for arrival in take(receiver, 3)]) == [1, 2, 3]
    sent(receiver.port, files[0])
    take(receiver, 1)
    until(lambda: not associations())


def test_a_sender_that_dies_in_mid_object_brings_only_what_was_whole(
    tmp_path: Path, receiver: Receiver
) -> None:
    asked = request(receiver)
    with socket.create_connection(("127.0.0.1", receiver.port)) as scanner:
        scanner.sendall(asked)
        assert scanner.recv(65536)[:1] == b"\x02"  # accepted
        # A data message of 1000 bytes of which the half comes, and then nothing.
        scanner.sendall(b"\x04\0" + (1000).to_bytes(4, "big") + b"\0" * 500)
        sent(receiver.port, *several(tmp_path / "out", 2))
        assert len(take(receiver, 2)) == 2  # others are not held up
    until(lambda: not associations())
    assert not waits(receiver)
    assert spooled(tmp_path / "spool") == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: scanner\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # the beginning of TLS
        b"\x01\0" + (60).to_bytes(4, "big") + bytes(60),  # a request of zeros
        b"\x01\0\xff\xff\xff\xff" + bytes(1000),  # a request of four gigabytes
        b"\x04\0" + (10).to_bytes(4, "big") + bytes(10),  # data before there is an association
    ],
)
def test_garbage_harms_nobody(tmp_path: Path, receiver: Receiver, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port)) as stranger:
        stranger.sendall(garbage)
        sent(receiver.port, *several(tmp_path / "out", 1))
        take(receiver, 1)
    until(lambda: not associations())


@pytest.mark.parametrize("said", [b"", b"\x01\0", b"\x01\0\0\0\1\0 of 256 bytes", b"GET / HTTP/1.1\r\n"])
def test_a_stranger_who_does_not_go_is_shut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("rtflow.sources.associations.NEGOTIATION", 1.0)
    with (
        Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as stranger,
    ):
        stranger.sendall(said)
        stranger.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(4096):
                pass
        until(lambda: not associations())


def test_garbage_within_an_association_ends_that_one_only(tmp_path: Path, receiver: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port)) as scanner:
        scanner.sendall(request(receiver))
        assert scanner.recv(65536)[:1] == b"\x02"
        scanner.sendall(b"\x04\0" + (40).to_bytes(4, "big") + os.urandom(40))
        scanner.settimeout(30)
        while scanner.recv(4096):
            pass
    sent(receiver.port, *several(tmp_path / "out", 1))
    take(receiver, 1)


def test_a_scan_of_the_port_leaves_nothing(tmp_path: Path, receiver: Receiver) -> None:
    for _ in range(50):
        socket.create_connection(("127.0.0.1", receiver.port)).close()
    sent(receiver.port, *several(tmp_path / "out", 1))
    take(receiver, 1)
    until(lambda: not associations())


def held_open(receiver: Receiver) -> Association:
    scanner = AE("SCANNER")
    scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1")
    scanner.network_timeout = None
    return scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="looks for the timer where Linux shows it")
def test_a_peer_that_is_switched_off_will_be_noticed(receiver: Receiver) -> None:
    """The system itself asks a silent peer whether it is still there."""
    association = held_open(receiver)
    timers = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        if int(local.partition(":")[2], 16) == receiver.port and state == "01":
            timers.append(timer)
    association.release()
    (timer,) = timers
    kind, _, left = timer.partition(":")
    assert kind == "02"  # keep-alive
    assert int(left, 16) <= 30 * os.sysconf("SC_CLK_TCK")


def test_silence_ends_an_association_in_hours_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SILENCE >= 2 * 3600
    monkeypatch.setattr("rtflow.sources.associations.SILENCE", 0.5)
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as receiver:
        association = held_open(receiver)
        until(lambda: association.is_aborted)


def test_there_is_a_limit_to_associations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAXIMUM >= 100
    monkeypatch.setattr("rtflow.sources.associations.MAXIMUM", 2)
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as receiver:
        held = [held_open(receiver) for _ in range(2)]
        assert run("echoscu", "-aec", "RTFLOW", "127.0.0.1", receiver.port).returncode != 0
        assert receiver.troubles() == [
            "an association of 'ECHOSCU' at 127.0.0.1 was refused: too many are open"
        ]
        for association in held:
            association.release()
        until(lambda: not associations())
        sent(receiver.port, *several(tmp_path / "out", 1))


def test_a_malformed_request_is_refused(tmp_path: Path, receiver: Receiver) -> None:
    asked = request(receiver)
    syntax = b"\x40\0\0\x13" + b"1.2.840.10008.1.2.1"
    where = asked.index(syntax)
    # The transfer syntax of the only context is made into an item of no known kind.
    with socket.create_connection(("127.0.0.1", receiver.port)) as scanner:
        scanner.sendall(asked[:where] + b"\x4f" + asked[where + 1 :])
        assert scanner.recv(65536)[:1] in (b"\x03", b"\x07")  # rejected, or aborted
    sent(receiver.port, *several(tmp_path / "out", 1))
    until(lambda: not associations())


# Consumers


def test_what_waits_beyond_the_limit_is_read_from_the_spool(tmp_path: Path) -> None:
    files = several(tmp_path / "out", 10, side=64)
    size = files[0].stat().st_size
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool", in_memory=3 * size) as receiver:
        sent(receiver.port, *files)  # all is acknowledged although nobody asked for it
        assert waits(receiver)
        assert len(spooled(tmp_path / "spool")) == 10
        lost, *_ = spooled(tmp_path / "spool")[5:]
        lost.unlink()
        arrivals = take(receiver, 9)
        assert numbers([arrival.data for arrival in arrivals]) == [1, 2, 3, 4, 5, 7, 8, 9, 10]
        assert receiver.troubles() == [
            f"{lost.name} was received and can no longer be read (No such file or directory)"
        ]
        assert not waits(receiver)
    assert spooled(tmp_path / "spool") == []


SLOW = """
import resource, sys
from pathlib import Path
from rtflow.sources.receiving import Receiver
with Receiver("127.0.0.1", 0, spool=Path(sys.argv[1]), in_memory=4 << 20) as receiver:
    print(receiver.port, flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdin.readline()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
    count = sum(receiver.done(arrival) is None for arrival in receiver.arrivals(10))
    print(count, flush=True)
"""


def test_memory_stays_flat_while_nobody_asks(tmp_path: Path) -> None:
    files = several(tmp_path / "out", 60, side=1024)  # 2 MB each: 120 MB
    slow = subprocess.Popen(
        [sys.executable, "-c", SLOW, tmp_path / "spool"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert slow.stdout is not None
    sent(int(slow.stdout.readline()), *files)
    out, _ = slow.communicate("go on\n", timeout=60)
    grown, count = map(int, out.split())
    assert count == 60
    assert grown < 50_000  # kB


def test_a_refused_object_is_set_aside_and_brought_no_more(tmp_path: Path, receiver: Receiver) -> None:
    sent(receiver.port, *several(tmp_path / "out", 2))
    first, second = take(receiver, 2, done=False)
    receiver.refuse(first)
    receiver.done(second)
    receiver.done(second)  # to be done twice is no error
    (aside,) = spooled(tmp_path / "spool")
    assert aside.suffix == ".refused"
    assert aside.read_bytes() == first.data
    receiver.__exit__(None, None, None)
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as again:
        assert not waits(again)


# The disk

FULL = """
import resource, sys
from pathlib import Path
from rtflow.sources.receiving import Receiver
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Receiver("127.0.0.1", 0, spool=Path(sys.argv[1])) as receiver:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    print(receiver.port, flush=True)
    sys.stdin.readline()
    print(len(list(receiver.arrivals(1))), sum(receiver.failed.values()), receiver.troubles(), flush=True)
"""


def test_what_cannot_be_written_is_not_acknowledged(tmp_path: Path) -> None:
    """The limit on the size of a file stands for the end of a disk."""
    folder = tmp_path / "out"
    folder.mkdir()
    small, large = an_object(folder, 1), an_object(folder, 2, side=512)
    full = subprocess.Popen(
        [sys.executable, "-c", FULL, tmp_path / "spool"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert full.stdout is not None
    port = int(full.stdout.readline())
    sent(port, small)
    for _ in range(2):
        done = send(port, large, options=["-v"])
        assert "Refused: OutOfResources" in done.stdout
    sent(port, small)
    out, _ = full.communicate("go on\n", timeout=60)
    spool = tmp_path / "spool"
    assert out.strip() == f"2 2 ['a received object cannot be written to {spool}: File too large']"
    assert [path.suffix for path in spooled(spool)] == [".dcm", ".dcm"]


def test_a_spool_that_vanishes_is_told_to_the_sender(tmp_path: Path, receiver: Receiver) -> None:
    (file,) = several(tmp_path / "out", 1)
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    assert "Refused: OutOfResources" in send(receiver.port, file, options=["-v"]).stdout
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    sent(receiver.port, file)
    take(receiver, 1)


# Death

TAKING = """
import sys
from pathlib import Path
from rtflow.sources.receiving import Receiver
with Receiver("127.0.0.1", int(sys.argv[2]), spool=Path(sys.argv[1])) as receiver:
    print(receiver.port, flush=True)
    while True:
        for arrival in receiver.arrivals(1):
            print(arrival.name, flush=True)
            receiver.done(arrival)
"""


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    files = several(tmp_path / "out", 400, side=64)
    taking = python(TAKING, spool, 0)
    assert taking.stdout is not None
    port = int(taking.stdout.readline())
    sender = begin("storescu", "-v", "-aec", "RTFLOW", "127.0.0.1", port, *files)
    taken = [taking.stdout.readline().strip() for _ in range(20)]
    taking.send_signal(signal.SIGKILL)
    taken += taking.stdout.read().split()  # `communicate` does not know of what was read ahead
    taking.communicate(timeout=30)
    out, _ = sender.communicate(timeout=30)
    acknowledged = out.count("Received Store Response (Success)")
    assert 0 < acknowledged < 400
    left = [path.name for path in spooled(spool) if path.suffix == ".dcm"]
    (spool / "0000000000000000_1.2.part").write_bytes(b"of an object that was never whole")
    with Receiver("127.0.0.1", 0, spool=spool) as receiver:
        assert waits(receiver) == bool(left)
        rest = take(receiver, len(left))
        assert [arrival.name for arrival in rest] == left
        sent(receiver.port, files[-1])
        (last,) = take(receiver, 1)
        assert last.name > max([*taken, *left])
    came = {int(name.removesuffix(".dcm").rpartition(".")[2]) for name in taken + left}
    assert set(range(1, acknowledged + 1)) <= came
    assert spooled(spool) == []


def test_what_was_not_taken_is_there_after_a_regular_end(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    files = several(tmp_path / "out", 3)
    with Receiver("127.0.0.1", 0, spool=spool) as receiver:
        sent(receiver.port, *files)
        first, *_ = take(receiver, 3, done=False)
        receiver.done(first)
    with Receiver("127.0.0.1", 0, spool=spool) as receiver:
        rest = take(receiver, 2)
        assert numbers([arrival.data for arrival in rest]) == [2, 3]
        assert all(arrival.received <= first.received + 60 for arrival in rest)
