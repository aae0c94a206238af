import os
from pathlib import Path

import msgspec
import pytest

from rtflow.access.kept import KeptTable
from rtflow.errors import UsageError


class Names(msgspec.Struct):
    names: list[str] = []


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_table_that_others_may_read_by_now_is_refused_though_it_was_read_before(folder: Path) -> None:
    kept = KeptTable(folder / "names.json", Names)
    with kept.change() as table:
        table.names.append("anna")
    assert kept.read() is kept.read()
    kept.path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        kept.read()
    kept.path.chmod(0o600)
    assert kept.read().names == ["anna"]


@pytest.mark.skipif(os.name != "posix", reason="times of change of an inode are of POSIX")
def test_a_table_that_was_changed_in_its_place_is_read_anew_whatever_time_it_shows(folder: Path) -> None:
    kept = KeptTable(folder / "names.json", Names)
    with kept.change() as table:
        table.names.append("anna")
    assert kept.read().names == ["anna"]
    before = kept.path.stat()
    kept.path.write_bytes(kept.path.read_bytes().replace(b"anna", b"otto"))
    os.utime(kept.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kept.read().names == ["otto"]
