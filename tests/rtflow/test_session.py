import numpy as np
import pytest

from rtflow.bids.grid import Grid
from rtflow.errors import OutputError, SessionError, UsageError
from rtflow.items import describe_session, publish
from rtflow.session import Session
from rtflow.stream.interface import RunContext
from rtflow.whole_file import require_writable

GRID = Grid.of((4, 3, 2), np.diag([3.0, 3.0, 4.0, 1.0]), "abc")
ARRAYS = {"data": np.arange(24, dtype=np.float32).reshape(4, 3, 2), "flags": np.array([True, False])}


def leave(context, *, whole=True):
    """What the engine does with the items of a run that has ended."""
    return publish(context.run_dir, context.session_dir, whole=whole)


def saved(context, name, arrays=None, grid=None, **facts):
    """One run that saves one item, and ends well."""
    sha256 = Session(context).save(name, arrays or ARRAYS, grid, **facts)
    assert leave(context) == ""
    return sha256


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
    sha256 = saved(context(), "reference", ARRAYS, GRID, volumes=[1, 2], kind="first", fd=0.1 + 0.2)
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
    saved(context("run-a"), "reference", ARRAYS, GRID, number=1)
    Session(context("run-b")).load("reference")
    saved(context("run-c"), "reference", ARRAYS, GRID, number=2)
    recorded = context("run-b").run_dir / "session"
    replay = Session(context("replay", session_dir=recorded, replaying=True))
    assert replay.load("reference").facts == {"number": 1}


def test_the_session_has_an_item_when_the_run_has_ended(context) -> None:
    run = Session(context("run-a"))
    run.save("decoder", ARRAYS)
    assert run.names() == []
    assert (context("run-a").run_dir / "saved" / "decoder.npz").is_file()
    leave(context("run-a"))
    assert run.names() == ["decoder"]


def test_what_a_session_holds_is_told(context) -> None:
    folder = context().session_dir
    assert describe_session(folder) == {"folder": str(folder), "items": []}
    saved(context("run-a"), "reference", ARRAYS, GRID)
    saved(context("run-b"), "weights")
    (folder / "mask.npz").write_bytes(b"no item")
    mask, reference, weights = describe_session(folder)["items"]
    assert (mask["name"], mask["bytes"], "run_uid" in mask) == ("mask", 7, False)
    assert mask["trouble"].endswith("do the run that saves it again")
    assert [reference[key] for key in ("name", "run_uid", "shape")] == ["reference", "run-a", (4, 3, 2)]
    assert [weights[key] for key in ("name", "run_uid", "shape")] == ["weights", "run-b", None]
    assert reference["bytes"] == (folder / "reference.npz").stat().st_size
    assert reference["saved"] == (folder / "reference.npz").stat().st_mtime


def test_what_a_run_saved_stays_with_it(context) -> None:
    saved(context("run-a"), "decoder", number=1)
    saved(context("run-b"), "decoder", number=2)
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
    saved(context(), "mask", ARRAYS, GRID)
    with pytest.raises(SessionError, match=named):
        Session(context("run-b")).load("mask", grid)


def test_an_item_without_a_grid_is_refused_where_one_is_wanted(context) -> None:
    saved(context(), "weights")
    with pytest.raises(SessionError, match="knows no grid"):
        Session(context()).load("weights", GRID)
    assert Session(context()).load("weights").grid is None


def test_an_item_that_is_not_there_is_said_with_what_is(context) -> None:
    with pytest.raises(SessionError, match="it has nothing"):
        Session(context()).load("reference")
    saved(context(), "reference")
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
    saved(context(), "mask", ARRAYS, GRID)
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
        saved(context(), "mask")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_that_goes_on_takes_what_it_took_before_it_was_cut_off(context) -> None:
    saved(context("day-before"), "decoder", {"coef": np.ones(3)})
    run = Session(context("run-a"))
    assert run.load("decoder").arrays["coef"].sum() == 3
    saved(context("other"), "decoder", {"coef": np.zeros(3)})  # after the power has failed
    again = Session(context("run-a", resuming=True))
    assert again.load("decoder").arrays["coef"].sum() == 3
    assert Session(context("run-b")).load("decoder").arrays["coef"].sum() == 0


def test_a_run_that_was_cut_short_takes_no_set_apart(context) -> None:
    for name in ("reference", "mask", "decoder"):
        Session(context("run-a")).save(name, ARRAYS, GRID)
    leave(context("run-a"))
    other = Grid.of(GRID.shape, GRID.matrix(), "xyz")
    for name in ("reference", "mask"):
        Session(context("run-b")).save(name, ARRAYS, other)
    says = leave(context("run-b"), whole=False)
    assert "has no decoder of its own" in says
    assert f"mask and reference of this run in {context('run-b').run_dir / 'saved'}" in says
    later = Session(context("run-c"))
    assert {later.load(name).run_uid for name in later.names()} == {"run-a"}


@pytest.mark.parametrize("names", [("reference", "mask"), ("reference", "mask", "decoder"), ("region",)])
def test_a_run_that_was_cut_short_leaves_what_takes_nothing_apart(context, names) -> None:
    for name in ("reference", "mask"):
        saved(context("run-a"), name, ARRAYS, GRID)
    for name in names:
        Session(context("run-b")).save(name, ARRAYS, GRID)
    assert leave(context("run-b"), whole=False) == ""
    later = Session(context("run-c"))
    assert [name for name in later.names() if later.load(name).run_uid == "run-b"] == sorted(names)


def test_items_that_do_not_belong_together_are_refused_before_the_first_volume(context) -> None:
    for name in ("reference", "decoder"):
        saved(context("run-a"), name, ARRAYS, GRID)
    saved(context("run-b"), "reference", ARRAYS, Grid.of(GRID.shape, GRID.matrix(), "xyz"))
    saved(context("run-b"), "weights")  # speaks of no grid: goes with anything
    run = Session(context("run-c"))
    run.load("reference")
    run.load("weights")
    with pytest.raises(SessionError, match="'decoder' of run run-a and 'reference' of run run-b"):
        run.load("decoder")


def test_what_cannot_be_written_is_said_before_the_run(tmp_path) -> None:
    require_writable(tmp_path / "not" / "there" / "yet")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder"):
        require_writable(tmp_path / "file" / "below")
