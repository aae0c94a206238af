"""What was in a watched folder before a run that is taken up, elsewhere too, or by another pattern."""

import json
import os
import time
from pathlib import Path

import pytest
from scanning import put

from rtflow.documents import now
from rtflow.sources.left_alone import keep_left_alone
from rtflow.sources.watching import Watcher


def come(watcher: Watcher, count: int) -> set[str]:
    found: set[str] = set()
    until = now() + 60.0
    while len(found) < count and now() < until:
        found |= {arrival.name for arrival in watcher.arrivals(0.05)}
    return found


def wait_for_the_clock(folder: Path) -> None:
    """Of a file system, which is coarse: what is written from now on has another time."""
    probe = folder / ".probe"
    probe.touch()
    before = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == before:
        time.sleep(0.001)
        probe.touch()


@pytest.mark.parametrize("other", ["folder", "pattern"])
def test_a_run_that_goes_on_elsewhere_takes_nothing_from_before_it(other: str, tmp_path: Path) -> None:
    incoming, wrong = tmp_path / "in", tmp_path / "wrong"
    for folder in (incoming, wrong):
        folder.mkdir()
    put(incoming, 1, name="old.dcm")
    changed = put(incoming, 2, name="changed.dcm")
    wait_for_the_clock(tmp_path)
    watched = (incoming, "*.IMA") if other == "pattern" else (wrong, "*")
    listing = tmp_path / "state" / "left_alone.json"
    assert not keep_left_alone(Watcher(*watched, existing=False), listing)
    wait_for_the_clock(tmp_path)
    put(incoming, 3, name="new.dcm")
    os.utime(changed)
    watcher = Watcher(incoming, existing=False)
    assert keep_left_alone(watcher, listing)
    (says,) = watcher.troubles()
    assert "another folder or pattern" in says
    assert "1 files" in says
    assert watcher.left_alone == {"old.dcm"}
    assert come(watcher, 2) == {"new.dcm", "changed.dcm"}


def test_in_the_same_folder_names_count_whatever_the_times_say(tmp_path: Path) -> None:
    """A share may have a clock of its own."""
    incoming, listing = tmp_path / "in", tmp_path / "left_alone.json"
    incoming.mkdir()
    put(incoming, 1, name="old.dcm")
    assert not keep_left_alone(Watcher(incoming, existing=False), listing)
    listing.write_text(json.dumps(json.loads(listing.read_text()) | {"began": now() + 1000.0}))
    put(incoming, 2, name="new.dcm")
    watcher = Watcher(incoming, existing=False)
    assert keep_left_alone(watcher, listing)
    assert watcher.troubles() == []
    assert come(watcher, 1) == {"new.dcm"}


@pytest.mark.parametrize("there", ["[]", "{}", '{"folder": 1'])
def test_a_note_that_is_none_is_told(there: str, tmp_path: Path) -> None:
    listing = tmp_path / "left_alone.json"
    listing.write_text(there)
    with pytest.raises(ValueError, match=r".+"):
        keep_left_alone(Watcher(tmp_path, existing=False), listing)


def test_files_that_do_not_match_the_pattern_are_told_of_as_long_as_nothing_else_comes(
    tmp_path: Path,
) -> None:
    put(tmp_path, 1, name="before.dcm")
    wait_for_the_clock(tmp_path)
    watcher = Watcher(tmp_path, "*.IMA", existing=False)
    assert come(watcher, 0) == set()
    put(tmp_path, 2, name="first.dcm")
    said: list[str] = []
    until = now() + 60.0
    while not said and now() < until:
        assert list(watcher.arrivals(0.05)) == []
        said = watcher.troubles()
    assert said == ["files come that do not match the pattern '*.IMA': 1, such as 'first.dcm'"]
    assert "(1 files that came do not match it)" in watcher.hint
    put(tmp_path, 3, name="one.IMA")
    assert come(watcher, 1) == {"one.IMA"}
    for volume in range(4, 20):
        put(tmp_path, volume, name=f"{volume}.dcm")
    until = now() + 60.0
    while "(17 files" not in watcher.hint and now() < until:
        list(watcher.arrivals(0.05))
    assert watcher.troubles() == []
