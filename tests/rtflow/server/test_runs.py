import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.documents import Event, RunStart, RunStop, encode
from rtflow.server.runs import Marks, Runs


class Journal:
    """A journal of lines, "0" and so on, that are longer and longer."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run" / "journal" / "documents.jsonl"
        self.path.parent.mkdir(parents=True)
        self.written = 0

    def write(self, count: int, word: str = "line") -> None:
        with self.path.open("ab") as file:
            for number in range(self.written, self.written + count):
                file.write(f"{word} {number}{'.' * (number % 7)}\n".encode())
        self.written += count


def numbers(lines: list[bytes] | None) -> list[int]:
    assert lines is not None
    return [int(line.split()[1].rstrip(b".")) for line in lines]


def test_what_is_asked_for_is_there_in_whatever_order_it_is(tmp_path: Path):
    journal, runs = Journal(tmp_path), Runs(tmp_path)
    assert runs.lines("run", 0, 5) is None
    for count, since in ((100, 40), (1, 100), (0, 3), (500, 590), (0, 0), (0, 601), (0, 10_000), (20, 601)):
        journal.write(count)
        expected = list(range(since, journal.written))
        assert numbers(runs.lines("run", since, 10_000)) == expected
        assert numbers(runs.lines("run", since, 7)) == expected[:7]
        assert runs.lines("run", since, 0) == []


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path):
    journal, runs = Journal(tmp_path), Runs(tmp_path)
    journal.write(32)
    with journal.path.open("ab") as file:
        file.write(b"line 32")
    assert numbers(runs.lines("run", 30, 10)) == [30, 31]
    with journal.path.open("ab") as file:
        file.write(b" and so on\n")
    assert numbers(runs.lines("run", 30, 10)) == [30, 31, 32]


def test_long_documents_come_a_few_at_a_time(tmp_path: Path):
    journal, runs = Journal(tmp_path), Runs(tmp_path)
    journal.write(20, "x" * 300_000)
    since, told = 0, []
    while lines := runs.lines("run", since, 5000):
        assert sum(map(len, lines)) < 3 << 20
        told += numbers(lines)
        since += len(lines)
    assert told == list(range(20))


@pytest.mark.parametrize("how", ["shorter", "another file"])
def test_another_journal_in_its_place_is_read_from_its_beginning(tmp_path: Path, how: str):
    journal, runs = Journal(tmp_path), Runs(tmp_path)
    journal.write(200)
    assert numbers(runs.lines("run", 190, 5)) == [190, 191, 192, 193, 194]
    if how == "another file":
        aside = journal.path.with_name("aside")
        journal.path.rename(aside)  # its inode stays its own
    else:
        os.truncate(journal.path, 0)
    journal.written = 0
    journal.write(50, "otherwise")
    assert numbers(runs.lines("run", 40, 2)) == [40, 41]


def test_each_look_reads_what_is_new_and_little_else(tmp_path: Path):
    """Nothing of what lies far before is read again: it may have become one long line, and nobody sees it."""
    journal, runs = Journal(tmp_path), Runs(tmp_path)
    journal.write(5000)
    assert len(runs.lines("run", 0, 10_000) or []) == 5000
    text = journal.path.read_bytes()
    far = text.index(b"line 4900")
    with journal.path.open("r+b") as file:
        file.write(text[:far].replace(b"\n", b" "))
    journal.write(10)
    assert numbers(runs.lines("run", 4980, 10_000)) == list(range(4980, 5010))
    assert numbers(runs.lines("run", 5010, 10_000)) == []
    journal.write(10)
    assert numbers(runs.lines("run", 5010, 10_000)) == list(range(5010, 5020))


def test_only_what_has_changed_is_read_for_the_list_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs, read = Runs(tmp_path), []
    open_ = Path.open

    def opened(path: Path, *how: str, **more: str):
        read.append(path.parents[1].name)
        return open_(path, *how, **more)

    monkeypatch.setattr(Path, "open", opened)
    for name, ended in (("a", True), ("b", False), ("c", True)):
        (tmp_path / name / "journal").mkdir(parents=True)
        documents = [RunStart(run_uid=name, workflow="w"), Event(run_uid=name, seq=1, name="x" * 100_000)]
        documents += [RunStop(run_uid=name, seq=2, status="failed", reason="r" * 50_000)] * ended
        text = b"".join(encode(one) + b"\n" for one in documents)
        (tmp_path / name / "journal" / "documents.jsonl").write_bytes(text)
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    read.clear()
    statuses = [("c", "failed"), ("b", "unfinished"), ("a", "failed")]
    for _ in range(3):
        assert [(one["run_uid"], one["status"]) for one in runs.all()] == statuses
    assert read == ["c", "b", "a"]
    with open_(tmp_path / "b" / "journal" / "documents.jsonl", "ab") as file:
        file.write(encode(RunStop(run_uid="b", seq=2, status="completed")) + b"\n")
    assert [one["status"] for one in runs.all()] == ["failed", "completed", "failed"]
    assert read == ["c", "b", "a", "b"]


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 300), st.integers(0, 400))
def test_marks_are_few_and_right(every: int, most: int, lines: int, wanted: int):
    marks = Marks(every=every, most=most)
    for number in range(1, lines + 1):
        marks.add(number, number * 10)
    number, at = marks.before(wanted)
    assert at == number * 10
    assert number <= min(wanted, lines)
    assert len(marks._at) <= most
