"""What a server may have of a host's files: whatever it writes, nothing outside, nothing of another type."""

import contextlib
import os
import threading
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.agents import allowed
from rtflow.agents.allowed import Allowed, NotAllowedError, names_in
from rtflow.errors import UsageError

SECRET, OPEN = b"secret", b"open"


def grown(folder: Path) -> Path:
    """A folder that may be had, beside one that may not, with links of every kind in between."""
    inside, outside = folder / "in", folder / "outside"
    for place, content in ((inside, OPEN), (outside, SECRET), (folder / "in-too", SECRET)):
        (place / "sub").mkdir(parents=True)
        for name in ("a.dcm", "a.key", "sub/b.dcm"):
            (place / name).write_bytes(content)
    (inside / "out").symlink_to(outside)
    (inside / "out.dcm").symlink_to(outside / "a.dcm")
    (inside / "key.dcm").symlink_to(inside / "a.key")
    (inside / "round").symlink_to(inside / "sub")
    (inside / "up").symlink_to("..")
    os.mkfifo(inside / "pipe.dcm")
    return inside


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grown(tmp_path_factory.mktemp("host"))


@pytest.fixture(params=["by folder", "by path"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Allowed:
    """As on POSIX, and as where folders have no descriptors."""
    if request.param == "by path":
        monkeypatch.setattr(allowed, "_BY_FOLDER", False)
    return Allowed([grown(tmp_path)], [".dcm"], write=True)


def read(files: Allowed, text: str) -> bytes:
    with files.open(text) as file:
        return file.read()


def test_what_may_be_had(files: Allowed, tmp_path: Path) -> None:
    for text in ("a.dcm", "sub/b.dcm", "./sub//b.dcm", "round/b.dcm", str(tmp_path / "in" / "a.dcm")):
        assert read(files, text) == OPEN
    assert [one.name for one in files.entries("")] == ["a.dcm", "sub"]
    assert [one.name for one in files.entries("round")] == ["b.dcm"]


@pytest.mark.parametrize(
    "text",
    [
        "../outside/a.dcm",
        "sub/../../outside/a.dcm",
        "sub/../a.dcm",
        "out/a.dcm",
        "out.dcm",
        "up/outside/a.dcm",
        "/etc/passwd",
        "{folder}/in-too/a.dcm",
        "{folder}/IN/a.dcm",
        "{folder}/in/../outside/a.dcm",
        "a.key",
        "key.dcm",
        "pipe.dcm",
        "sub",
        "",
        "a.dcm\0",
        "a.dcm\n",
        "x" * 5000,
    ],
)
def test_what_may_not(files: Allowed, tmp_path: Path, text: str) -> None:
    with pytest.raises((NotAllowedError, FileNotFoundError)):
        read(files, text.format(folder=tmp_path))


@pytest.mark.parametrize("text", ["..", "out", "up", "/", "{folder}", "{folder}/in-too", "sub/.."])
def test_folders_that_may_not_be_looked_into(files: Allowed, tmp_path: Path, text: str) -> None:
    with pytest.raises(NotAllowedError):
        files.entries(text.format(folder=tmp_path))


NAMES = (
    ".. . in in-too outside out up round sub a.dcm a.key out.dcm / // ~ key.dcm A.DCM \\ %2e%2e … b.dcm "
    "\N{FULLWIDTH FULL STOP}. proc self root cwd"
)
OF_WINDOWS = "C: D: \\ / \\\\ ? . .. server share CON nul a .dcm :stream ::$DATA COM1 LPT¹ con.dcm a. * | UNC"
PIECES = st.sampled_from(NAMES.split())
WINDOWS = st.sampled_from(OF_WINDOWS.split()) | st.just(" ")


@given(pieces=st.lists(PIECES, max_size=8), absolute=st.booleans())
def test_nothing_gets_out(inside: Path, pieces: list[str], absolute: bool) -> None:
    files = Allowed([inside], [".dcm"], write=True)
    text = "/".join([str(inside.parent), *pieces] if absolute else pieces)
    with contextlib.suppress(NotAllowedError, OSError):
        assert read(files, text) == OPEN
    with contextlib.suppress(NotAllowedError, OSError):
        names = {one.name for one in files.entries(text)}
        assert names <= {"a.dcm", "b.dcm", "sub"}
    before = {path: path.read_bytes() for path in inside.parent.rglob("*.*") if path.is_file()}
    with contextlib.suppress(NotAllowedError, OSError), files.create(text) as file:
        file.write(OPEN)
    for path, content in before.items():
        assert path.read_bytes() == content
    new = {path for path in inside.parent.rglob("*") if path.is_file()} - before.keys()
    for path in new:
        assert path.resolve().is_relative_to(inside)
        assert path.suffix.lower() == ".dcm"
        path.unlink()


@given(text=st.text(max_size=40))
def test_no_text_gets_out(inside: Path, text: str) -> None:
    with contextlib.suppress(NotAllowedError, OSError):
        assert read(Allowed([inside], ["*"]), text) == OPEN


@given(text=st.lists(WINDOWS, max_size=8).map("".join))
def test_what_windows_takes_for_something_else_is_refused(text: str) -> None:
    try:
        root, names = names_in(text, windows=True)
    except NotAllowedError:
        return
    assert root in ("", "C:\\", "D:\\")
    for name in names:
        assert name not in ("..", "")
        assert not set(name) & set('<>:"|?*/\\')
        assert not name.endswith((".", " "))
        assert name.split(".")[0].strip().upper() not in {"CON", "NUL", "COM1", "LPT¹"}


@pytest.mark.parametrize(
    "text",
    [
        "\\\\server\\share\\a",
        "//server/share/a",
        "\\\\?\\C:\\a",
        "\\\\.\\pipe\\a",
        "C:a",
        "\\a",
        "C:\\a:b",
        "C:\\..\\a",
    ],
)
def test_windows_paths_that_begin_elsewhere(text: str) -> None:
    with pytest.raises(NotAllowedError):
        names_in(text, windows=True)


def test_windows_paths_that_are_what_they_seem() -> None:
    assert names_in("C:\\data\\1.dcm", windows=True) == ("C:\\", ["data", "1.dcm"])
    assert names_in("run/1.dcm", windows=True) == ("", ["run", "1.dcm"])


def test_a_link_that_is_put_there_in_between_leads_nowhere(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a path and its opening, what it names is exchanged."""
    folder = grown(tmp_path)
    files = Allowed([folder], ["*"], write=True)
    locate = files._locate

    def slow(text: str) -> object:
        found = locate(text)
        (folder / "sub" / "b.dcm").unlink()
        (folder / "sub" / "a.key").unlink(missing_ok=True)
        (folder / "sub").rename(folder / "was")
        (folder / "sub").symlink_to(tmp_path / "outside" / "sub")
        return found

    monkeypatch.setattr(files, "_locate", slow)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        read(files, "sub/b.dcm")
    (folder / "sub").unlink()
    (folder / "was").rename(folder / "sub")
    (folder / "sub" / "b.dcm").write_bytes(OPEN)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"), files.create("sub/new.dcm") as file:
        file.write(OPEN)
    assert not (tmp_path / "outside" / "sub" / "new.dcm").exists()


def test_links_that_change_all_the_time(tmp_path: Path) -> None:
    folder = grown(tmp_path)
    files = Allowed([folder], [".dcm"])
    link, ending = folder / "moving.dcm", threading.Event()

    def exchange() -> None:
        while not ending.is_set():
            for target in (folder / "a.dcm", tmp_path / "outside" / "a.dcm"):
                new = folder / "new"
                new.symlink_to(target)
                new.replace(link)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(500):
            try:
                assert read(files, "moving.dcm") == OPEN
            except (NotAllowedError, OSError):
                continue
    finally:
        ending.set()
        thread.join()


def test_writing(files: Allowed, tmp_path: Path) -> None:
    with files.create("new/er/c.dcm", folders=True) as file:
        file.write(b"new")
    assert read(files, "new/er/c.dcm") == b"new"
    with pytest.raises(TypeError), files.create("a.dcm") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert read(files, "a.dcm") == OPEN
    assert not list((tmp_path / "in").glob("*partial"))
    for text in ("c.key", "out/c.dcm", "sub", "../c.dcm", "pipe.dcm", "out.dcm", ""):
        with pytest.raises((NotAllowedError, FileNotFoundError)), files.create(text, folders=True):
            pytest.fail(f"{text} can be written")
    assert (tmp_path / "outside" / "a.dcm").read_bytes() == SECRET


def test_without_leave_nothing_is_written_and_nothing_read(tmp_path: Path) -> None:
    inside = grown(tmp_path)
    with pytest.raises(NotAllowedError, match="--write"), Allowed([inside], ["*"]).create("new.dcm"):
        pytest.fail("it can be written")
    with pytest.raises(NotAllowedError, match="--allow"):
        Allowed([], ["*"]).open("/etc/passwd")
    with pytest.raises(UsageError, match="no such folder"):
        Allowed([inside / "none"], ["*"])
    assert PurePosixPath(inside).is_absolute()
