"""What a scanner sends over DICOM associations, with dcmtk's programs as the scanner."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, build_context
from pynetdicom.sop_class import ModalityPerformedProcedureStep  # type: ignore[attr-defined]
from senders import an_object, begin, data_set, needs_dcmtk, run, send, sent, several, take

from rtflow.errors import SourceError
from rtflow.sources.admission import Admission
from rtflow.sources.receiving import Receiver

pytestmark = needs_dcmtk


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver("127.0.0.1", 0, spool=tmp_path / "spool") as listening:
        yield listening


def receiving(tmp_path: Path, **options: object) -> Receiver:
    return Receiver("127.0.0.1", 0, spool=tmp_path / "spool", **options)  # type: ignore[arg-type]


# What is brought


def test_objects_are_brought_in_order_as_files_that_can_be_read(tmp_path: Path, receiver: Receiver) -> None:
    files = several(tmp_path / "out", 5)
    sent(receiver.port, *files)
    arrivals = take(receiver, 5)
    read = [pydicom.dcmread(io.BytesIO(arrival.data)) for arrival in arrivals]
    assert [image.InstanceNumber for image in read] == [1, 2, 3, 4, 5]
    assert read[0].file_meta.SourceApplicationEntityTitle == "STORESCU"
    assert read[0].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read[0].file_meta.MediaStorageSOPInstanceUID == "1.2.3.1"
    assert [arrival.received for arrival in arrivals] == sorted(arrival.received for arrival in arrivals)


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRLittleEndian, "-xe"),
        (ExplicitVRBigEndian, "-xb"),
    ],
)
def test_a_data_set_is_kept_as_it_was_sent(
    tmp_path: Path, receiver: Receiver, syntax: str, option: str
) -> None:
    (file,) = several(tmp_path / "out", 1)
    other = tmp_path / "other.dcm"
    run("dcmconv", {"-xi": "+ti", "-xe": "+te", "-xb": "+tb"}[option], file, other)
    sent(receiver.port, other, options=[option])
    (arrival,) = take(receiver, 1)
    assert pydicom.dcmread(io.BytesIO(arrival.data)).file_meta.TransferSyntaxUID == syntax
    assert data_set(arrival.data) == data_set(other.read_bytes())


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["dcmcjpeg"], "-xs"),
        (["dcmcjpeg", "+ee"], "-xx"),
        (["dcmcjpls"], "-xt"),
        (["dcmcrle"], "-xr"),
    ],
)
def test_compressed_objects_are_kept_compressed(
    tmp_path: Path, receiver: Receiver, command: list[str], option: str
) -> None:
    (file,) = several(tmp_path / "out", 1, side=64)
    packed = tmp_path / "packed.dcm"
    made = run(*command, file, packed)
    assert made.returncode == 0, made.stdout
    sent(receiver.port, packed, options=[option])
    (arrival,) = take(receiver, 1)
    before, after = pydicom.dcmread(packed), pydicom.dcmread(io.BytesIO(arrival.data))
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.file_meta.TransferSyntaxUID.is_compressed
    assert after.PixelData == before.PixelData


def test_a_deflated_data_set_is_kept_deflated(tmp_path: Path, receiver: Receiver) -> None:
    sent(receiver.port, *several(tmp_path / "out", 1), options=["-xd"])
    (arrival,) = take(receiver, 1)
    image = pydicom.dcmread(io.BytesIO(arrival.data))
    assert image.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert image.InstanceNumber == 1


JPEG_2000 = "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize(
    ("sop_class", "syntax"),
    [
        ("1.2.840.10008.5.1.4.1.1.4.1", ExplicitVRLittleEndian),  # enhanced MR
        ("1.2.840.10008.5.1.4.1.1.4.4", ExplicitVRLittleEndian),  # legacy converted enhanced MR
        ("1.2.840.10008.5.1.4.1.1.4.2", ExplicitVRLittleEndian),  # MR spectroscopy
        ("1.2.840.10008.5.1.4.1.1.66", ExplicitVRLittleEndian),  # raw data
        ("1.2.840.10008.5.1.4.1.1.7", ExplicitVRLittleEndian),  # secondary capture
        ("1.2.840.10008.5.1.4.1.1.88.22", ExplicitVRLittleEndian),  # structured report
        ("1.2.840.10008.5.1.4.1.1.11.1", ExplicitVRLittleEndian),  # presentation state
        ("1.3.12.2.1107.5.9.1", ExplicitVRLittleEndian),  # Siemens CSA non-image
        ("1.2.840.10008.5.1.4.1.1.999.1", ExplicitVRLittleEndian),  # not in any list yet
        ("1.2.840.10008.5.1.4.1.1.4", JPEG_2000),
    ],
)
def test_every_kind_of_object_is_taken(
    tmp_path: Path, receiver: Receiver, sop_class: str, syntax: str
) -> None:
    """dcmtk sends what it knows only, so pynetdicom sends here; beside what no receiver of objects takes."""
    file = an_object(tmp_path, 7, sop_class=sop_class)
    scanner = AE("SCANNER")
    scanner.requested_contexts = [
        build_context(sop_class, syntax),
        build_context(ModalityPerformedProcedureStep),
    ]
    association = scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [sop_class]
    image = pydicom.dcmread(file)
    image.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if syntax == JPEG_2000:
        image.PixelData = pydicom.encaps.encapsulate([b"a frame of no meaning"])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
    assert association.send_c_store(image).Status == 0x0000
    association.release()
    (arrival,) = take(receiver, 1)
    read = pydicom.dcmread(io.BytesIO(arrival.data), stop_before_pixels=True)
    assert (read.file_meta.MediaStorageSOPClassUID, read.file_meta.TransferSyntaxUID) == (sop_class, syntax)


def test_of_several_transfer_syntaxes_in_one_context_the_plain_one_is_chosen(receiver: Receiver) -> None:
    scanner = AE("SCANNER")
    offered = ["1.2.840.113619.5.2", JPEG_2000, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4", offered)
    scanner.add_requested_context("1.3.12.2.1107.5.9.1", offered[:2])
    association = scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")
    chosen = [context.transfer_syntax for context in association.accepted_contexts]
    association.release()
    assert chosen == [[ExplicitVRLittleEndian], [JPEG_2000]]


def test_an_object_sent_twice_is_brought_twice(tmp_path: Path, receiver: Receiver) -> None:
    (file,) = several(tmp_path / "out", 1)
    sent(receiver.port, file)
    sent(receiver.port, file)
    first, second = take(receiver, 2)
    assert first.data == second.data
    assert first.name != second.name


def test_a_uid_cannot_name_a_file_elsewhere(tmp_path: Path, receiver: Receiver) -> None:
    file = an_object(tmp_path, 1)
    file.write_bytes(file.read_bytes().replace(b"1.2.3.1\0", b"/../../x"))
    scanner = AE("SCANNER")
    scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian)
    association = scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")
    association.send_c_store(file)
    association.release()
    (arrival,) = take(receiver, 1, done=False)
    assert b"/../../x" in arrival.data[:400]
    assert arrival.path.parent == tmp_path / "spool"
    assert arrival.path.is_file()


# Associations


def test_an_echo_is_answered(receiver: Receiver) -> None:
    assert run("echoscu", "-aec", "RTFLOW", "127.0.0.1", receiver.port).returncode == 0
    assert not list(receiver.arrivals(0.0))


def test_several_scanners_send_at_once(tmp_path: Path, receiver: Receiver) -> None:
    folders = [tmp_path / f"out{scanner}" for scanner in range(4)]
    for scanner, folder in enumerate(folders):
        folder.mkdir()
        for number in range(25):
            an_object(folder, 100 * scanner + number + 1)
    programs = [
        begin("storescu", "-aec", "RTFLOW", "127.0.0.1", receiver.port, *sorted(folder.iterdir()))
        for folder in folders
    ]
    arrivals = take(receiver, 100)
    for program in programs:
        out, _ = program.communicate(timeout=30)
        assert program.returncode == 0, out
    numbers = [pydicom.dcmread(io.BytesIO(arrival.data)).InstanceNumber for arrival in arrivals]
    assert sorted(numbers) == sorted(100 * s + n + 1 for s in range(4) for n in range(25))
    for scanner in range(4):  # of one association, in order
        own = [number for number in numbers if number // 100 == scanner]
        assert own == sorted(own)


def test_two_hundred_short_associations(tmp_path: Path, receiver: Receiver) -> None:
    (file,) = several(tmp_path / "out", 1)
    waves = [
        begin(
            "sh", "-c", f"for i in $(seq 25); do storescu -aec RTFLOW 127.0.0.1 {receiver.port} {file}; done"
        )
        for _ in range(8)
    ]
    take(receiver, 200)
    for wave in waves:
        out, _ = wave.communicate(timeout=30)
        assert (wave.returncode, out) == (0, "")


def test_an_association_is_held_open_between_objects(tmp_path: Path, receiver: Receiver) -> None:
    files = several(tmp_path / "out", 3)
    scanner = AE("SCANNER")
    scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian)
    association = scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")
    for file in files:
        assert association.send_c_store(file).Status == 0x0000
        take(receiver, 1)
        assert not list(receiver.arrivals(0.6))  # longer than any of the receiver's own waits
    association.release()


# Who may call


def test_wrong_titles_are_rejected_by_name(tmp_path: Path) -> None:
    (file,) = several(tmp_path / "out", 1)
    with receiving(tmp_path, calling=("MRC40372", "SCANNER 2")) as receiver:
        wrong = send(receiver.port, file, options=["-aet", "INTRUDER"])
        assert "Calling AE Title Not Recognized" in wrong.stdout
        send(receiver.port, file, options=["-aet", "INTRUDER"])
        called = send(receiver.port, file, options=["-aet", "MRC40372"], title="RTCLOUD")
        assert "Called AE Title Not Recognized" in called.stdout
        sent(receiver.port, file, options=["-aet", "SCANNER 2"])
        sent(receiver.port, file, options=["-aet", "MRC40372"])
        take(receiver, 2)
        refused = {
            "an association of 'INTRUDER' at 127.0.0.1 was refused: "
            "its title is not among those allowed: MRC40372, SCANNER 2": 2,
            "an association of 'MRC40372' at 127.0.0.1 was refused: "
            "it called 'RTCLOUD', and this is 'RTFLOW'": 1,
        }
        assert receiver.refused == refused
        assert receiver.troubles() == list(refused)
        assert receiver.troubles() == []


@pytest.mark.parametrize(
    ("peers", "allowed"),
    [
        (("127.0.0.1",), True),
        (("10.0.0.0/8", "127.0.0.0/8"), True),
        (("10.0.0.0/8", "fe80::/10"), False),
    ],
)
def test_only_allowed_addresses_may_call(tmp_path: Path, peers: tuple[str, ...], allowed: bool) -> None:
    with receiving(tmp_path, peers=peers) as receiver:
        done = run("echoscu", "-aec", "RTFLOW", "127.0.0.1", receiver.port)
        assert (done.returncode == 0) is allowed, done.stdout
        assert sum(receiver.refused.values()) == (0 if allowed else 1)
        if not allowed:
            assert "Rejected Permanent" in done.stdout
            assert "address" in receiver.troubles()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ae_title": ""}, "cannot be an AE title"),
        ({"ae_title": "A TITLE THAT IS TOO LONG"}, "1 to 16"),
        ({"calling": ("BACK\\SLASH",)}, "backslash"),
        ({"peers": ("scanner",)}, "neither an address nor a network"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        receiving(tmp_path, **options)


# Listening


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_name_or_nothing_is_an_address_too(tmp_path: Path, host: str) -> None:
    with Receiver(host, 0, spool=tmp_path / "spool") as receiver:
        assert run("echoscu", "-aec", "RTFLOW", "localhost", receiver.port).returncode == 0


def test_an_address_is_the_same_in_both_of_its_forms() -> None:
    admission = Admission("RTFLOW", (), ("10.1.0.0/16", "fe80::/10"))
    assert admission.refusal("RTFLOW", "ANY", "::ffff:10.1.2.3") is None
    assert admission.refusal("RTFLOW", "ANY", "fe80::1%eth0") is None
    assert admission.refusal("RTFLOW", "ANY", "::ffff:10.2.2.3") is not None


def test_a_taken_port_is_said(tmp_path: Path, receiver: Receiver) -> None:
    other = Receiver("127.0.0.1", receiver.port, spool=tmp_path / "other")
    with pytest.raises(SourceError, match=f"port {receiver.port} of 127.0.0.1: it is taken"):
        other.listen()


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("203.0.113.7", 0, "no such address"),
        ("no-such-host.invalid", 0, "the name is not known"),
        ("127.0.0.1", 70000, "0 to 65535"),
    ],
)
def test_what_cannot_be_bound_is_said(tmp_path: Path, host: str, port: int, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Receiver(host, port, spool=tmp_path / "spool").listen()


def test_a_spool_is_for_one_receiver(tmp_path: Path, receiver: Receiver) -> None:
    with pytest.raises(SourceError, match="in use by another receiver"):
        receiving(tmp_path).listen()


def test_a_spool_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be kept in"):
        Receiver("127.0.0.1", 0, spool=tmp_path / "file" / "spool").listen()


def test_the_same_port_can_be_used_again_at_once(tmp_path: Path) -> None:
    (file,) = several(tmp_path / "out", 1)
    with receiving(tmp_path) as receiver:
        port = receiver.port
        sent(port, file)
    with Receiver("127.0.0.1", port, spool=tmp_path / "spool") as receiver:
        sent(port, file)
        take(receiver, 2)


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    scanner = AE("SCANNER")
    scanner.add_requested_context("1.2.840.10008.5.1.4.1.1.4")
    with receiving(tmp_path) as receiver:
        association = scanner.associate("127.0.0.1", receiver.port, ae_title="RTFLOW")
        own = {association, association.dul}
    association.join(30)
    assert association.is_aborted
    assert set(threading.enumerate()) - before - own == set()


def test_importing_is_light() -> None:
    code = "import sys, rtflow.sources.receiving; print({'numpy', 'pydicom', 'nipype'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "set()"
