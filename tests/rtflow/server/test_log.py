import asyncio
from pathlib import Path
from typing import Any

import pytest

from rtflow.access.audit import AuditLog
from rtflow.access.private import locked
from rtflow.server.log import LOST, Log


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "access" / "audit.jsonl")


def lines(audit: AuditLog) -> list[tuple[str, str, dict[str, Any]]]:
    return [(entry.who, entry.what, entry.details) for entry in audit.entries()]


def test_what_somebody_does_all_the_time_is_told_some_times_and_then_counted(audit: AuditLog):
    log = Log(audit)
    for n in range(100):
        log.note("otto", "looks on", n=n)
        log.note("otto", "looks on no more", n=n)
    log.note("anna", "looks on", n=0)
    log.tell_untold()
    log.tell_untold()  # there is nothing more to tell
    log.note("otto", "looks on", n=100)
    log.close()
    told = lines(audit)
    assert [details["n"] for who, what, details in told if what == "looks on" and "n" in details] == [
        *range(30),
        0,
    ]
    counts = [(who, what, details["untold"]) for who, what, details in told if "untold" in details]
    assert counts == [
        ("otto", "looks on", 70),
        ("otto", "looks on no more", 70),
        ("otto", "looks on", 1),  # at the end
    ]


def test_what_is_lost_because_the_disk_is_slow_is_counted_and_told(audit: AuditLog):
    log = Log(audit, waiting=10)
    log.note("rtflow", "begins")
    log.close()
    log = Log(audit, waiting=10)
    with locked(audit.path):  # another process writes, and writes
        for n in range(50):
            log.note(f"one of {n}", "looks on")
    asyncio.run(log.act("anna", "start"))  # all that waited has been written
    log.note("anna", "looks on")
    log.close()
    told = lines(audit)
    assert [what for who, what, _ in told if who.startswith("one of")] == ["looks on"] * 10
    assert [(who, details) for who, what, details in told if what == LOST] == [("rtflow", {"lines": 40})]


def test_what_is_lost_because_it_cannot_be_written_is_told_when_it_can(audit: AuditLog, tmp_path: Path):
    log = Log(audit)
    (tmp_path / "access").write_text("a file where the folder should be")
    log.note("otto", "looks on")
    log.note("otto", "looks on")
    with pytest.raises(Exception, match="access"):
        asyncio.run(log.act("anna", "start"))
    (tmp_path / "access").unlink()
    log.tell_untold()
    log.close()
    assert lines(audit) == [("rtflow", LOST, {"lines": 2})]
