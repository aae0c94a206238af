"""What a run of an app writes into, and what becomes of it."""

import os
import socket
from pathlib import Path

import pytest

from rtflow.bids_apps.work import work_of
from rtflow.errors import OutputError


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    final = tmp_path / "app"
    with work_of(final, keep=False) as one, work_of(final, keep=False) as other:
        assert one.name != other.name
        assert one.notes == other.notes == ()
        assert one.folder.is_dir()
        (one.folder / "x").touch()
    with work_of(final, keep=False) as third:
        assert third.notes == ()


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_run_that_failed_wrote_is_kept_where_that_is_wanted(tmp_path: Path, keep: bool) -> None:
    with pytest.raises(ValueError, match=r"^$"), work_of(tmp_path / "app", keep=keep) as work:
        raise ValueError
    assert work.folder.exists() == keep
    with work_of(tmp_path / "app", keep=False) as later:
        assert later.notes == ()
    assert work.folder.exists() == keep


@pytest.mark.parametrize(
    ("host", "beside", "removed"),
    [
        (socket.gethostname(), "", True),
        ("another", "", False),  # whose locks may not be seen here
        (socket.gethostname(), ".app.17.earlier", False),  # it may be all that there is of the new results
    ],
)
def test_what_a_killed_run_left_is_removed_by_its_machine_alone(
    tmp_path: Path, host: str, beside: str, removed: bool
) -> None:
    left = tmp_path / ".app" / "20260101T120000-abcdef"
    (left / "sub-01").mkdir(parents=True)
    left.with_suffix(".running").write_text(host)
    if beside:
        (tmp_path / beside).mkdir()
    with work_of(tmp_path / "app", keep=False) as work:
        said = (f"what a run that was killed had left was removed: {left}",)
        assert work.notes == (said if removed else ())
        assert left.exists() != removed
        assert left.with_suffix(".running").exists() != removed


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    left = Path(".app", "20260101T120000-abcdef")
    (left / "sub-01").mkdir(parents=True)
    (left / "sub-01" / "bold.nii").touch()
    (left / "sub-01").chmod(0o500)
    mark = left.with_suffix(".running")
    mark.write_text(socket.gethostname())
    root = os.geteuid() == 0
    if root:  # whom nothing holds back: somebody else looks at what is root's
        for path in (Path(), left.parent, mark):
            os.chown(path, 1234, -1)
        os.seteuid(1234)
    try:
        with work_of(Path("app"), keep=False) as work:
            (says,) = work.notes
    finally:
        if root:
            os.seteuid(0)
    assert says == f"what a run that was killed had left cannot be removed (Permission denied); remove {left}"
    assert mark.exists()
    assert (left / "sub-01" / "bold.nii").exists()


def test_results_that_cannot_be_put_in_place_stay(tmp_path: Path) -> None:
    with pytest.raises(OutputError), work_of(tmp_path / "app", keep=False) as work:
        raise OutputError("the results are there")
    assert work.folder.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / ".app").touch()
    with pytest.raises(OutputError, match="choose a folder"), work_of(tmp_path / "app", keep=False):
        pass
