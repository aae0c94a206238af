"""What the scanner's agent keeps of a run on disk."""

import os
import time
from pathlib import Path

import pytest

from rtflow.agents.kept_run import KeptRun, forget_old, forget_run
from rtflow.agents.state import usual_folder
from rtflow.errors import OutputError


def test_what_is_done_is_known_to_the_next_process(tmp_path: Path) -> None:
    first = KeptRun(tmp_path / "run")
    assert not first.goes_on
    first.mark_done("aa")
    first.mark_done("aa")
    first.mark_done("bb")  # as after kill -9: nobody closes it
    again = KeptRun(tmp_path / "run")
    assert again.goes_on
    assert (again.is_done("aa"), again.is_done("bb"), again.is_done("cc")) == (True, True, False)
    assert (tmp_path / "run" / "done.txt").read_text() == "aa\nbb\n"
    first.close()
    again.close()


def test_a_line_that_was_cut_off_names_nothing(tmp_path: Path) -> None:
    kept = KeptRun(tmp_path)
    kept.mark_done("aa")
    kept.close()
    with (tmp_path / "done.txt").open("a") as file:
        file.write("bbb")
    again = KeptRun(tmp_path)
    assert not again.is_done("bbb")
    again.mark_done("cc")
    again.close()
    last = KeptRun(tmp_path)
    assert last.is_done("cc")
    last.close()


def test_a_run_that_is_over_leaves_what_it_did_not_use(tmp_path: Path) -> None:
    for name in ("used", "unused"):
        KeptRun(tmp_path / name).close()
        (tmp_path / name / "received").mkdir()
    (tmp_path / "unused" / "received" / "1.dcm").touch()
    assert forget_run(tmp_path / "used") == 0
    assert forget_run(tmp_path / "unused") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["unused"]


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    for name, days in (("old", 40), ("new", 1)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - days * 86400,) * 2)
    forget_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    forget_old(tmp_path / "none")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--state"):
        KeptRun(tmp_path / "file" / "run")


def test_states_stand_in_the_users_own_folder_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert usual_folder("scanner", "mr1") == Path.home() / ".rtflow" / "scanner-mr1"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert usual_folder("scanner", "mr1") == tmp_path / "rtflow" / "scanner-mr1"
