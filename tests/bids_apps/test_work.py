"""What a run of an app writes into, and what becomes of it."""

from pathlib import Path

import pytest

from rtflow.bids_apps.work import work_of
from rtflow.errors import OutputError


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    final = tmp_path / "app"
    with work_of(final, keep=False) as one, work_of(final, keep=False) as other:
        assert one.name != other.name
        assert one.left == other.left == ()
        assert one.folder.is_dir()
        (one.folder / "x").touch()
    with work_of(final, keep=False) as third:
        assert third.left == ()


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_run_that_failed_wrote_is_kept_where_that_is_wanted(tmp_path: Path, keep: bool) -> None:
    with pytest.raises(ValueError, match=r"^$"), work_of(tmp_path / "app", keep=keep) as work:
        raise ValueError
    assert work.folder.exists() == keep
    with work_of(tmp_path / "app", keep=False) as later:
        assert later.left == ()
    assert work.folder.exists() == keep


def test_results_that_cannot_be_put_in_place_stay(tmp_path: Path) -> None:
    with pytest.raises(OutputError), work_of(tmp_path / "app", keep=False) as work:
        raise OutputError("the results are there")
    assert work.folder.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / ".app").touch()
    with pytest.raises(OutputError, match="choose a folder"), work_of(tmp_path / "app", keep=False):
        pass
