import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.errors import OutputError, SessionError, UsageError
from rtflow.session import Session
from rtflow.stream.interface import RunContext

GRID = Grid.of((4, 3, 2), np.diag([3.0, 3.0, 4.0, 1.0]), "abc")
ARRAYS = {"data": np.arange(24, dtype=np.float32).reshape(4, 3, 2), "flags": np.array([True, False])}


@pytest.fixture
def context(tmp_path):
    def make(run_uid="run-a", **fields):
        return RunContext(
            run_uid=run_uid,
            run_dir=tmp_path / "runs" / run_uid,
            bids_dir=tmp_path / "bids",
            **{"session_dir": tmp_path / "session", **fields},
        )

    return make


def test_what_one_run_saves_the_next_one_loads(context) -> None:
    sha256 = Session(context()).save("reference", ARRAYS, GRID, volumes=[1, 2], kind="first", fd=0.1 + 0.2)
    item = Session(context("run-b")).load("reference", GRID)
    assert item.sha256 == sha256
    assert item.grid == GRID
    assert item.facts == {"volumes": [1, 2], "kind": "first", "fd": 0.1 + 0.2}
    assert item.run_uid == "run-a"
    assert item.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert item.arrays[name].dtype == array.dtype
        assert np.array_equal(item.arrays[name], array)
        assert not item.arrays[name].flags.writeable


def test_the_hash_is_of_the_content_and_of_nothing_else(context) -> None:
    sha256 = Session(context("run-a")).save("one", ARRAYS, GRID, kind="first")
    assert Session(context("run-b")).save("two", ARRAYS, GRID, kind="first") == sha256
    other = {**ARRAYS, "data": np.nextafter(ARRAYS["data"], np.float32(np.inf))}
    moved = Grid.of((4, 3, 2), np.diag([3.0, 3.0, 4.0, 1.0]), "abd")
    assert (
        len(
            {
                sha256,
                Session(context()).save("a", other, GRID, kind="first"),
                Session(context()).save("b", ARRAYS, moved, kind="first"),
                Session(context()).save("c", ARRAYS, None, kind="first"),
                Session(context()).save("d", ARRAYS, GRID, kind="last"),
            }
        )
        == 5
    )


def test_a_replay_finds_what_the_run_has_loaded_though_the_session_went_on(context, tmp_path) -> None:
    Session(context("run-a")).save("reference", ARRAYS, GRID, number=1)
    Session(context("run-b")).load("reference")
    Session(context("run-c")).save("reference", ARRAYS, GRID, number=2)
    recorded = context("run-b").run_dir / "session"
    replay = Session(context("replay", session_dir=recorded, replaying=True))
    assert replay.load("reference").facts == {"number": 1}


def test_a_replay_never_changes_the_session(context) -> None:
    Session(context("run-a")).save("decoder", ARRAYS, number=1)
    replay = context("replay", replaying=True)
    Session(replay).save("decoder", ARRAYS, number=2)
    Session(replay).save("other", ARRAYS)
    assert Session(context("run-c")).names() == ["decoder"]
    assert Session(context("run-c")).load("decoder").facts == {"number": 1}
    assert sorted(path.name for path in (replay.run_dir / "saved").iterdir()) == ["decoder.npz", "other.npz"]


def test_what_a_run_saved_stays_with_it(context) -> None:
    Session(context("run-a")).save("decoder", ARRAYS, number=1)
    Session(context("run-b")).save("decoder", ARRAYS, number=2)
    kept = Session(context("look", session_dir=context("run-a").run_dir / "saved"))
    assert kept.load("decoder").facts == {"number": 1}
    assert Session(context("run-c")).load("decoder").facts == {"number": 2}


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        (Grid.of((4, 3, 3), GRID.matrix(), "abc"), "shape"),
        (Grid.of((4, 3, 2), GRID.matrix() * 1.1, "abc"), "affine"),
        (Grid.of((4, 3, 2), GRID.matrix(), "xyz"), "reference abc"),
    ],
)
def test_an_item_of_another_grid_is_refused(context, grid, named) -> None:
    Session(context()).save("mask", ARRAYS, GRID)
    with pytest.raises(SessionError, match=named):
        Session(context("run-b")).load("mask", grid)


def test_an_item_without_a_grid_is_refused_where_one_is_wanted(context) -> None:
    Session(context()).save("weights", ARRAYS)
    with pytest.raises(SessionError, match="knows no grid"):
        Session(context()).load("weights", GRID)
    assert Session(context()).load("weights").grid is None


def test_an_item_that_is_not_there_is_said_with_what_is(context) -> None:
    with pytest.raises(SessionError, match="it has nothing"):
        Session(context()).load("reference")
    Session(context()).save("reference", ARRAYS)
    with pytest.raises(SessionError, match="did you mean 'reference'"):
        Session(context()).load("refernce")
    with pytest.raises(SessionError, match="it has reference"):
        Session(context()).load("decoder")


@pytest.mark.parametrize("name", ["", "../escape", "a/b", ".hidden", "a b", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(context, name) -> None:
    for use in (lambda: Session(context()).save(name, ARRAYS), lambda: Session(context()).load(name)):
        with pytest.raises(UsageError, match="a name has letters"):
            use()


def test_objects_are_not_pickled(context) -> None:
    with pytest.raises(UsageError, match="dtype object"):
        Session(context()).save("model", {"model": np.array([object()])})


def test_an_item_that_was_damaged_or_changed_is_refused(context) -> None:
    Session(context()).save("mask", ARRAYS, GRID)
    path = context().session_dir / "mask.npz"
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SessionError, match=r"mask\.npz cannot be read"):
            Session(context()).load("mask")
    path.write_bytes(whole)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "data": arrays["data"] + 1})
    with pytest.raises(SessionError, match="it was changed"):
        Session(context()).load("mask")


def test_nothing_half_written_is_left_where_the_folder_cannot_be_written(context, tmp_path) -> None:
    (tmp_path / "session").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="can be written"):
        Session(context()).save("mask", ARRAYS)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_that_goes_on_takes_what_it_took_before_it_was_cut_off(context) -> None:
    Session(context("day-before")).save("decoder", {"coef": np.ones(3)})
    run = Session(context("run-a"))
    assert run.load("decoder").arrays["coef"].sum() == 3
    run.save("decoder", {"coef": np.zeros(3)})  # under the same name, and then the power fails
    again = Session(context("run-a", resuming=True))
    assert again.load("decoder").arrays["coef"].sum() == 3
    assert Session(context("run-b")).load("decoder").arrays["coef"].sum() == 0
