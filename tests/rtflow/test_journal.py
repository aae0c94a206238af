"""The journal: what was written is read back, whatever byte it was cut off at."""

from __future__ import annotations

import resource
import tempfile
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtflow.documents import (
    Delivered,
    Event,
    Frame,
    Part,
    Result,
    RunStart,
    RunStop,
    VolumeReceived,
    decode,
    encode,
    hash_values,
    now,
)
from rtflow.errors import JournalError, OutputError, SourceError
from rtflow.journal import Journal, Recording
from rtflow.source_settings import JournalSource
from rtflow.sources.journal import JournalReplay
from rtflow.stream.chronicle import Chronicle

scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9),
)
parts = st.lists(st.binary(max_size=200), min_size=1, max_size=3)


def written(folder: Path, contents: list[list[bytes]], missing: tuple[int, ...] = ()) -> list[Frame]:
    journal = Journal(folder)
    chronicle = Chronicle("run", journal)
    chronicle.add(RunStart(workflow="w"))
    frames = []
    for volume, data in enumerate(contents, start=1):
        if volume in missing:
            frame = Frame(volume, now(), missing="lost")
        else:
            frame = Frame(
                volume,
                now(),
                tuple(Part(f"{volume}-{n}", "application/dicom", item) for n, item in enumerate(data)),
                acquired=float(volume),
            )
        chronicle.frame(frame)
        chronicle.add(Result(volume=volume, status="missing" if frame.missing else "ok"))
        frames.append(frame)
    chronicle.add(RunStop(status="completed"))
    journal.close()
    return frames


@settings(deadline=None)
@given(contents=st.lists(parts, max_size=6))
def test_frames_come_back_as_they_were(contents):
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        frames = written(run_dir, contents)
        assert list(Recording(run_dir).frames()) == frames


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(parts, min_size=1, max_size=4), cut=st.floats(0, 1))
def test_a_journal_cut_off_anywhere_is_a_true_beginning(contents, cut):
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        frames = written(run_dir, contents)
        whole = Recording(run_dir).documents
        path = run_dir / "journal" / "documents.jsonl"
        text = path.read_bytes()
        path.write_bytes(text[: int(cut * len(text))])
        try:
            cut_off = Recording(run_dir)
        except JournalError:
            assert b"\n" not in path.read_bytes()
            return
        assert cut_off.documents == whole[: len(cut_off.documents)]
        seen = list(cut_off.frames())
        assert seen == frames[: len(seen)]


@settings(deadline=None)
@given(values=st.dictionaries(st.text(max_size=9), scalars))
def test_values_survive_json_bit_for_bit(values):
    result = Result(volume=1, status="ok", values=values, values_sha256=hash_values(values))
    read = decode(encode(result))
    assert isinstance(read, Result)
    assert read == result
    assert hash_values(read.values) == result.values_sha256


def test_what_is_no_number_is_null_in_json():
    values = {"a": float("nan"), "b": float("-inf")}
    read = decode(encode(Result(volume=1, status="ok", values=values)))
    assert isinstance(read, Result)
    assert read.values == {"a": None, "b": None}


def test_the_hash_knows_types_and_bits():
    hashes = [hash_values({"a": value}) for value in (0.0, -0.0, 0, False, "0", None, 5e-324)]
    assert len(set(hashes)) == len(hashes)


def test_a_missing_volume_comes_back_missing(tmp_path):
    written(tmp_path / "run", [[b"a"], [b"b"]], missing=(2,))
    frames = list(Recording(tmp_path / "run").frames())
    assert frames[1].missing == "lost"
    assert frames[1].parts == ()


def test_a_document_speaks_of_bytes_that_are_there(tmp_path):
    written(tmp_path / "run", [[b"abc", b"de"], [b"fgh"]])
    data = (tmp_path / "run" / "journal" / "frames.bin").read_bytes()
    assert data == b"abcdefgh"
    records = [d.parts for d in Recording(tmp_path / "run").documents if isinstance(d, VolumeReceived)]
    assert [(part.offset, part.size) for volume in records for part in volume] == [(0, 3), (3, 2), (5, 3)]


def test_two_runs_never_share_a_journal(tmp_path):
    written(tmp_path / "run", [[b"a"]])
    with pytest.raises(OutputError, match="--out"):
        Journal(tmp_path / "run").keep(RunStart(workflow="w"))


def test_nothing_is_made_before_the_first_word(tmp_path):
    Journal(tmp_path / "run").close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "file" / "run").keep(RunStart(workflow="w"))


def test_a_journal_of_another_version_is_refused(tmp_path):
    written(tmp_path / "run", [[b"a"]])
    path = tmp_path / "run" / "journal" / "documents.jsonl"
    path.write_text(path.read_text().replace('"document":"Result"', '"document":"Outcome"'))
    with pytest.raises(JournalError, match="line 3, is no document"):
        Recording(tmp_path / "run")


def test_a_recording_knows_what_was_delivered_and_decided(tmp_path):
    journal = Journal(tmp_path / "run")
    chronicle = Chronicle("run", journal)
    chronicle.add(RunStart(workflow="w"))
    chronicle.add(Event(name="late", volume=3))
    chronicle.add(Delivered(volume=3, channel="file"))
    journal.close()
    recording = Recording(tmp_path / "run")
    assert recording.delivered == {("file", 3)}
    assert [event.volume for event in recording.events] == [3]
    assert recording.stop is None


def test_a_recorded_run_is_a_source(tmp_path):
    import threading

    frames = written(tmp_path / "run", [[b"a"], [b"b"], [b"c"]])
    source = JournalReplay(JournalSource(path=str(tmp_path / "run")))
    assert source.volumes == 3
    again = list(source.frames(threading.Event()))
    assert [frame.parts for frame in again] == [frame.parts for frame in frames]
    stopping = threading.Event()
    stopping.set()
    assert list(source.frames(stopping)) == []


def test_a_replay_keeps_the_clock_of_the_recorded_run(tmp_path, monkeypatch):
    import threading

    class Clock(threading.Event):
        at = 500.0

        def wait(self, timeout=None):
            self.at += timeout or 0.0
            return self.is_set()

    clock = Clock()
    monkeypatch.setattr("rtflow.sources.base.now", lambda: clock.at)
    recorded = [frame.received for frame in written(tmp_path / "run", [[b"a"], [b"b"], [b"c"], [b"d"]])]
    seen = []
    for _ in JournalReplay(JournalSource(path=str(tmp_path / "run"), speed=0.5)).frames(clock):
        seen.append(clock.at)
        # Each volume keeps whoever takes them for a while, and never until after the next one is due.
        clock.at += 0.4 * min(after - before for before, after in pairwise(recorded))
    assert seen == pytest.approx([500.0 + 2 * (at - recorded[0]) for at in recorded], abs=1e-6)


def test_a_source_without_a_journal(tmp_path):
    with pytest.raises(SourceError, match="holds no journal"):
        JournalReplay(JournalSource(path=str(tmp_path)))


def test_documents_are_immutable():
    with pytest.raises(AttributeError):
        Event(name="late").name = "early"  # type: ignore[misc]
    assert msgspec.structs.replace(Event(name="late"), seq=4).seq == 4


def test_a_full_disk_leaves_whole_lines_only(tmp_path):
    # The limit on the size of a file stands in for the end of a disk: half a line is written, then an error.
    journal = Journal(tmp_path / "run")
    chronicle = Chronicle("run", journal)
    chronicle.add(RunStart(workflow="w"))
    path = tmp_path / "run" / "journal" / "documents.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
    try:
        with pytest.raises(JournalError, match="what stands in it is whole"):
            chronicle.add(Result(volume=1, status="ok"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    stop = chronicle.add(RunStop(status="failed"))  # there is room again
    journal.close()
    documents = Recording(tmp_path / "run").documents
    assert [type(document) for document in documents] == [RunStart, RunStop]
    assert stop.seq == 1


def test_a_run_that_is_under_way_is_not_taken_up_by_another(tmp_path):
    journal = Journal(tmp_path / "run")
    journal.keep(RunStart(workflow="w"))
    with pytest.raises(OutputError, match="run is still under way"):
        Journal(tmp_path / "run", resume=True)
    journal.close()
    Journal(tmp_path / "run", resume=True).close()


def test_frames_that_are_gone(tmp_path):
    written(tmp_path / "run", [[b"a"]])
    (tmp_path / "run" / "journal" / "frames.bin").unlink()
    with pytest.raises(JournalError, match=r"frames\.bin: No such file"):
        list(Recording(tmp_path / "run").frames())
