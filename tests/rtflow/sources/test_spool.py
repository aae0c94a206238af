"""Objects on disk between their acknowledgement and their use."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import decode

from rtflow.errors import SourceError
from rtflow.sources.encoding import file_head, store_response
from rtflow.sources.spool import Spool


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[Spool, list[Path]]]:
    spool = Spool(folder)
    left = spool.open()
    try:
        yield spool, left
    finally:
        spool.close()


def test_names_sort_by_arrival_and_never_collide(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "spool") as (spool, left):
        assert left == []
        paths = [spool.keep("1.2.3", b"%d" % number) for number in range(100)]
        assert paths == sorted(set(paths))
        spool.drop(paths[0])
    with opened(tmp_path / "deep" / "spool") as (spool, left):
        assert left == paths[1:]
        assert spool.keep("1.2.3", b"") > paths[-1]


def test_names_go_on_after_those_left_behind_whatever_the_clock_says(tmp_path: Path) -> None:
    future = tmp_path / "9000000000000000_1.2.3.dcm"
    future.touch()
    with opened(tmp_path) as (spool, left):
        assert left == [future]
        assert spool.keep("1.2.3", b"").name == "9000000000000001_1.2.3.dcm"


@pytest.mark.parametrize(
    ("uid", "name"), [("../../etc/x", "....etcx"), ("1.2\\0", "1.20"), ("", ""), ("1" * 99, "1" * 64)]
)
def test_a_uid_stays_a_name(tmp_path: Path, uid: str, name: str) -> None:
    with opened(tmp_path) as (spool, _):
        path = spool.keep(uid, b"data")
    assert path.parent == tmp_path
    assert path.name[16:] == f"_{name}.dcm"
    with opened(tmp_path) as (_, left):
        assert left == [path]


def test_what_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_bytes(b"mine")
    (tmp_path / "film.part").write_bytes(b"mine")
    (tmp_path / "0000000000000001_1.part").write_bytes(b"half")
    with opened(tmp_path) as (_, left):
        assert left == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "film.part",
        "notes.dcm",
    ]


def test_of_what_was_set_aside_the_newest_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as (spool, _):
        paths = [spool.keep("1.2.3", b"") for _ in range(103)]
        for path in paths:
            spool.set_aside(path)
        spool.set_aside(paths[0])  # it is no longer there
    kept = sorted(tmp_path.glob("*.refused"))
    assert [path.stem for path in kept] == [path.stem for path in paths[3:]]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with opened(tmp_path / "spool"):
        assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_one_process_at_a_time(tmp_path: Path) -> None:
    coming = tmp_path / "0000000000000001_1.part"
    with opened(tmp_path):
        coming.write_bytes(b"half")
        with pytest.raises(SourceError, match="in use by another receiver"):
            Spool(tmp_path).open()
        assert coming.is_file()
    with opened(tmp_path):
        assert not coming.exists()


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_the_answer_to_an_object_is_read_back_by_pynetdicom(uid: str) -> None:
    encoded = store_response("1.2.840.10008.5.1.4.1.1.4", uid, 65535, 0xA700)
    read = decode(BytesIO(encoded), True, True)
    assert read.CommandGroupLength == len(encoded) - 12
    assert (read.CommandField, read.CommandDataSetType, read.Status) == (0x8001, 0x0101, 0xA700)
    assert (read.MessageIDBeingRespondedTo, read.AffectedSOPInstanceUID) == (65535, uid)


def test_the_head_of_a_file_tells_its_own_length() -> None:
    head = file_head("1.2.840.10008.5.1.4.1.1.4", "1.2.3", ExplicitVRLittleEndian, "SCANNER")
    assert head[:132] == bytes(128) + b"DICM"
    assert int.from_bytes(head[140:144], "little") == len(head) - 144
