"""What a run leaves in one file, for a run elsewhere."""

import zipfile

import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.errors import OutputError, SessionError
from rtflow.items import read_item
from rtflow.nodes.keep import KeepItems
from rtflow.session import Session

GRID = Grid.of((2, 3, 4), np.eye(4), "abc")


@pytest.fixture
def session(make_context) -> Session:
    found = Session(make_context())
    found.save("reference", {"data": np.arange(24.0)}, GRID)
    found.save("mask", {"data": np.ones(24, bool)}, GRID)
    found.save("other", {"data": np.zeros(3)})
    return found


def keep(call, context, file, names=("reference", "mask")):
    node = KeepItems(names=list(names), file=str(file))
    node.start_run(context)
    return call(node, 0)


def test_items_come_back_from_the_file_in_another_session(session, call, make_context, tmp_path) -> None:
    file = tmp_path / "new" / "day1.decoder"
    assert keep(call, make_context(), file) == {"kept": 2}
    other = make_context("b", session_dir=tmp_path / "other")
    found = Session(other).load(f"{file}/mask", GRID)
    assert found.arrays["data"].all()
    assert found.run_uid == "run-a"
    assert not (tmp_path / "other").exists()
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["reference.npz", "mask.npz"]


def test_a_folder_of_items_is_as_good_as_a_file(session, make_context) -> None:
    folder = make_context().run_dir / "saved"
    assert Session(make_context("b")).load(f"{folder}/mask", GRID).run_uid == "run-a"


def test_the_same_items_make_the_same_file(session, call, make_context, tmp_path) -> None:
    for name in ("one", "two"):
        keep(call, make_context(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_run_that_lacks_an_item_leaves_no_file(session, call, make_context, tmp_path) -> None:
    with pytest.raises(SessionError, match="has left no decoder and no brain"):
        keep(call, make_context(), tmp_path / "day1.decoder", ["mask", "decoder", "brain"])
    assert not (tmp_path / "day1.decoder").exists()


def test_what_was_held_counts_now(session, call, make_context, tmp_path) -> None:
    session.hold("decoder", {"data": np.ones(2)}, GRID, conditions=["a", "b"])
    assert "decoder" not in session.saved()
    keep(call, make_context(), tmp_path / "day1.decoder", ["mask", "decoder"])
    assert read_item(session.saved()["decoder"]).facts == {"conditions": ["a", "b"]}


def test_without_a_file_the_items_are_in_the_session_alone(session, call, make_context, tmp_path) -> None:
    assert keep(call, make_context(), "") == {"kept": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_replay_writes_no_file(session, call, make_context, tmp_path) -> None:
    assert keep(call, make_context(replaying=True), tmp_path / "day1.decoder") == {"kept": 2}
    assert not (tmp_path / "day1.decoder").exists()


def test_a_replay_takes_what_its_run_took_though_the_file_is_gone(
    session, call, make_context, tmp_path
) -> None:
    file = tmp_path / "day1.decoder"
    keep(call, make_context(), file)
    Session(make_context("b")).load(f"{file}/mask")
    file.unlink()
    used = make_context("b").run_dir / "session"
    again = make_context("c", session_dir=used, replaying=True)
    assert Session(again).load(f"{file}/mask").run_uid == "run-a"
    with pytest.raises(SessionError, match="No such file"):
        Session(make_context("d")).load(f"{file}/mask")


def test_a_file_that_cannot_be_written_is_named(session, call, make_context, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        keep(call, make_context(), tmp_path / "file" / "day1.decoder")


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_a_damaged_file_is_named(make_context, tmp_path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(SessionError, match=r"item 'mask' of .*bad"):
        Session(make_context()).load(f"{tmp_path}/bad/mask")


def test_a_file_that_cannot_be_written_costs_nothing_of_what_was_trained(
    session, call, make_context, tmp_path
) -> None:
    with pytest.raises(OutputError, match=r"run-a/saved, .* --source journal:.*run-a"):
        keep(call, make_context(), tmp_path)
    assert Session(make_context("b")).load(f"{make_context().run_dir / 'saved'}/mask").run_uid == "run-a"
