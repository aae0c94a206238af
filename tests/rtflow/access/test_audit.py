"""The audit log: what is in it, that nothing in it can be changed unseen, and what a crash leaves."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.access.audit import AuditLog
from rtflow.access.chain import line_of
from rtflow.access.codes import new_code
from rtflow.errors import OutputError, UsageError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def log(folder: Path, clock) -> AuditLog:
    return AuditLog(folder / "audit.jsonl", clock=clock)


def test_a_line_says_who_did_what_and_when(log: AuditLog, folder: Path) -> None:
    log.write("anna", "login", address="10.0.0.7", tries=2, late=False, seconds=0.5, why=None)
    (entry,) = log.entries()
    assert (entry.n, entry.who, entry.what) == (1, "anna", "login")
    assert entry.time == "2027-01-15T08:00:00.000Z"
    assert entry.details == {"address": "10.0.0.7", "tries": 2, "late": False, "seconds": 0.5, "why": None}
    verdict = log.verify()
    assert (verdict.lines, verdict.broken, verdict.hash) == (1, "", entry.hash)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_nothing_was_written_yet(log: AuditLog) -> None:
    assert log.verify().lines == 0
    assert log.verify().broken == ""
    assert list(log.entries()) == []


@given(st.text(), st.text(), st.dictionaries(st.text(max_size=5).map(lambda text: f"_{text}"), st.text()))
def test_any_text_is_one_line_that_holds(
    tmp_path_factory, who: str, what: str, details: dict[str, str]
) -> None:
    log = AuditLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")
    log.write(who, what, **details)
    log.write("after", "it")
    assert log.path.read_bytes().count(b"\n") == 2
    assert log.verify().broken == ""
    first = next(log.entries())
    json.loads(log.path.read_bytes().splitlines()[0])
    assert len(first.who) <= 150 * 10
    if len(who) <= 128 and who.isascii():
        assert first.who == who


def test_what_is_long_is_cut_and_says_so(log: AuditLog) -> None:
    log.write(
        "n" * 10_000, "w" * 10_000, text="t" * 10_000_000, data=b"x" * 5000, big=10**400, **{"k" * 300: 1}
    )
    (entry,) = log.entries()
    assert entry.who == "n" * 128 + "(+9872)"
    assert entry.what.startswith("w" * 64 + "(+")
    assert entry.details["text"] == "t" * 256 + "(+9999744)"
    assert entry.details["data"] == "(5000 bytes)"
    assert "k" * 64 in entry.details
    log.write("anna", "many", **{f"d{n}": "v" * 300 for n in range(100)})
    assert len(log.path.read_bytes()) < 12_000


def test_secrets_stay_out(log: AuditLog, access) -> None:
    token = access.add_token("scanner-1", "scanner")
    code = str(new_code("ab" * 32))
    told = (token, code, code.lower(), code.replace("-", " "))
    for secret in told:
        log.write(secret, secret, url=f"/x?token={secret}&y=1", late="z" * 230 + secret)
    log.write(
        "anna", "login", password="four words are long", Cookie="session=1", csrf="2", token="scanner-1"
    )
    text = log.path.read_text()
    for secret in (*told, "four words", "session=1"):
        assert secret not in text
    assert token[:20] not in text
    assert list(log.entries())[-1].details["token"] == "scanner-1"


def test_who_may_do_nothing_cannot_fill_the_disk(log: AuditLog) -> None:
    for n in range(300):
        log.refused("guesser", "login", "10.0.0.7", n=n)
    assert log.verify().lines == 60
    log.refused("anna", "login", "10.0.0.8")
    assert log.verify().lines == 61
    log._crowd.forget("10.0.0.7")
    log.refused("guesser", "login", "10.0.0.7")
    last = list(log.entries())[-1]
    assert last.details == {"address": "10.0.0.7", "untold": 240}


# What was done to it


def written(folder: Path, lines: int = 6, largest: int = 16 << 20) -> AuditLog:
    log = AuditLog(folder / "audit.jsonl", largest=largest)
    for n in range(lines):
        log.write(f"anna{n}", "act", n=n)
    return log


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], bytes]:
    """Lines of a log, and its head."""
    log = written(tmp_path_factory.mktemp("whole"))
    lines = log.path.read_bytes().splitlines(keepends=True)
    return lines, log.path.with_name("audit.jsonl.head").read_bytes()


@pytest.fixture(scope="module")
def put(tmp_path_factory: pytest.TempPathFactory, whole) -> Callable[[list[bytes]], AuditLog]:
    """A log with these lines and the head of the whole one."""
    folder = tmp_path_factory.mktemp("put")
    head = folder / "audit.jsonl.head"

    def put_(lines: list[bytes]) -> AuditLog:
        (folder / "audit.jsonl").write_bytes(b"".join(lines))
        head.write_bytes(whole[1])
        head.chmod(0o600)
        return AuditLog(folder / "audit.jsonl")

    return put_


def test_untouched_it_holds(whole, put) -> None:
    assert put(whole[0]).verify().broken == ""
    assert put(whole[0]).verify().lines == 6


@given(st.integers(0, 5), st.data())
def test_a_changed_byte_is_found(whole, put, number: int, data: st.DataObject) -> None:
    lines = list(whole[0])
    line = bytearray(lines[number])
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255))
    lines[number] = bytes(line)
    verdict = put(lines).verify()
    assert verdict.lines == number
    assert f"line {number + 1}" in verdict.broken


@given(st.sets(st.integers(0, 5), min_size=1))
def test_lines_that_were_taken_out_are_found(whole, put, gone: set[int]) -> None:
    verdict = put([line for n, line in enumerate(whole[0]) if n not in gone]).verify()
    assert verdict.broken
    assert verdict.lines == min(gone)


@given(st.permutations(range(6)))
def test_another_order_is_found(whole, put, order: list[int]) -> None:
    verdict = put([whole[0][n] for n in order]).verify()
    assert bool(verdict.broken) == (order != sorted(order))


@given(st.integers(0, 6), st.one_of(st.integers(0, 5), st.binary(max_size=30)))
def test_lines_that_were_put_in_are_found(whole, put, at: int, more: int | bytes) -> None:
    new = whole[0][more] if isinstance(more, int) else more.replace(b"\n", b"") + b"\n"
    verdict = put([*whole[0][:at], new, *whole[0][at:]]).verify()
    assert verdict.broken
    assert at <= verdict.lines <= at + 1  # a copy beside its original: the second is the one too many


def test_a_line_that_comes_twice_or_was_moved_is_called_so(whole, put) -> None:
    assert "moved, or copied" in put([*whole[0][:3], whole[0][1], *whole[0][3:]]).verify().broken


@given(st.integers(0, 5))
def test_a_line_that_was_replaced_with_its_hash_is_found_by_what_follows(whole, put, number: int) -> None:
    lines = list(whole[0])
    before = json.loads(lines[number])["before"]
    lines[number] = line_of(number + 1, 1_800_000_000.0, "somebody else", "act", {}, before)[0] + b"\n"
    verdict = put(lines).verify()
    assert verdict.lines == number + 1
    expected = "the log ends with line 6" if number == 5 else f"line {number + 2} follows another line"
    assert expected in verdict.broken


@given(st.integers(0, 2000))
def test_an_end_that_was_cut_off_is_found(whole, put, size: int) -> None:
    content = b"".join(whole[0])
    verdict = put([content[: size % len(content)]]).verify()
    assert "missing" in verdict.broken


def test_a_log_that_was_written_anew_is_found_by_a_hash_that_was_kept(folder: Path, tmp_path: Path) -> None:
    log = written(folder)
    kept = log.verify().hash
    log.write("anna", "more")
    assert log.verify(expect=kept).broken == ""
    for path in list(folder.iterdir()):
        path.unlink()
    log = written(folder, lines=7)
    assert log.verify().broken == ""
    assert "written anew" in log.verify(expect=kept).broken


def test_a_head_that_is_gone_is_told_and_then_in_the_log(folder: Path) -> None:
    log = written(folder)
    log.path.with_name("audit.jsonl.head").unlink()
    assert "head is missing" in log.verify().broken
    log.write("anna", "more")
    assert log.verify().broken == ""
    assert log.verify().repairs == 1
    assert [entry.what for entry in log.entries()][-2:] == ["audit_repaired", "more"]


def test_what_was_taken_out_stays_found_whatever_is_written_after(folder: Path) -> None:
    log = written(folder)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    log.write("anna", "more")
    verdict = log.verify()
    assert verdict.lines == 4
    assert "line 5" in verdict.broken
    assert [entry.what for entry in log.entries()][-2:] == ["audit_repaired", "more"]
    assert log.path.read_bytes().splitlines()[4] == lines[4][:30]  # the half is left as it was found

    log.path.unlink()
    log.write("anna", "yet more")
    assert "lines 1 to" in log.verify().broken


# Several files


def test_it_goes_on_in_another_file(folder: Path) -> None:
    log = written(folder, lines=10, largest=700)
    names = sorted(path.name for path in folder.glob("audit*.jsonl"))
    assert names[:3] == ["audit.2.jsonl", "audit.3.jsonl", "audit.4.jsonl"]
    assert all(path.stat().st_size < 1400 for path in folder.iterdir())
    assert log.verify().lines == 10
    assert [entry.n for entry in AuditLog(log.path).entries()] == list(range(1, 11))
    (folder / "audit.2.jsonl").unlink()
    assert "missing" in log.verify().broken


def test_a_new_file_whose_head_was_not_written_is_taken_up(folder: Path) -> None:
    log = written(folder, lines=2, largest=300)
    head = log.path.with_name("audit.jsonl.head")
    before = head.read_bytes()
    log.write("anna", "in another file")
    head.write_bytes(before)  # as if killed in between
    assert log.verify().broken == ""
    log.write("anna", "after")
    verdict = log.verify()
    assert (verdict.broken, verdict.lines, verdict.repairs) == ("", 4, 0)


# A crash, a full disk, several at once


def test_half_a_line_is_told_cut_off_and_in_the_log(folder: Path) -> None:
    log = written(folder)
    with log.path.open("ab") as file:
        file.write(b'{"n":7,"time":"2026-\xff')
    verdict = log.verify()
    assert (verdict.broken, verdict.unfinished, verdict.lines) == ("", True, 6)
    log.write("anna", "after")
    verdict = log.verify()
    assert (verdict.broken, verdict.unfinished, verdict.lines, verdict.repairs) == ("", False, 8, 1)
    repair = list(log.entries())[-2]
    assert repair.who == "rtflow"
    assert "21 bytes" in str(repair.details["found"])


WRITER = textwrap.dedent(
    """
    import sys, pathlib
    from rtflow.access.audit import AuditLog
    log = AuditLog(pathlib.Path(sys.argv[1]) / "audit.jsonl", largest=20_000)
    for n in range(int(sys.argv[3])):
        log.write(sys.argv[2], "act", n=n, text="x" * 200)
        print(n, flush=True)
    """
)


def writer(folder: Path, who: str, lines: int, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", before + WRITER, str(folder), who, str(lines)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_write_and_one_is_killed_again_and_again(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    steady = writer(folder, "steady", 150)
    told = {"steady": -1}
    for number in range(4):
        victim = writer(folder, f"victim{number}", 100_000)
        assert victim.stdout is not None
        with victim.stdout:
            for _ in range(5 + 7 * number):
                told[f"victim{number}"] = int(victim.stdout.readline())
            victim.kill()
        victim.wait()
    assert steady.stdout is not None
    with steady.stdout:
        told["steady"] = int(steady.stdout.read().split()[-1])
    assert steady.wait() == 0

    log = AuditLog(folder / "audit.jsonl", largest=20_000)
    log.write("anna", "after")
    assert log.verify().broken == ""
    entries = list(log.entries())
    for who, last in told.items():
        mine = [entry.details["n"] for entry in entries if entry.who == who]
        assert mine == list(range(len(mine)))
        assert len(mine) >= last + 1  # what was told to be written is there
    assert told["steady"] == 149


def test_a_full_disk_leaves_whole_lines(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
    catch = (
        "import sys\nsys.excepthook = lambda kind, error, trace: print(kind.__name__, error, flush=True)\n"
    )
    process = writer(folder, "anna", 100, limit + catch)
    output, _ = process.communicate(timeout=120)
    assert "OutputError the audit log" in output
    assert "make room" in output
    log = AuditLog(folder / "audit.jsonl")
    assert log.verify().broken == ""
    assert not log.verify().unfinished
    assert log.verify().lines == output.count("\n") - 1 > 0
    log.write("anna", "after")
    assert (log.verify().broken, log.verify().repairs) == ("", 0)


def test_what_cannot_be_written_or_read_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        AuditLog(tmp_path / "file" / "audit.jsonl").write("anna", "login")
    log = written(folder)
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(OutputError, match="audit log"):
        log.write("anna", "login")
    (folder / "audit.jsonl.head").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        log.verify()
