"""Links that lead out of a data set: what is mounted for them, and that an app reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rtflow.bids_apps import links
from rtflow.bids_apps.command_line import Binding
from rtflow.bids_apps.descriptor import Option
from rtflow.bids_apps.links import link_targets
from rtflow.bids_apps.planted import lock_of
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.errors import UsageError


def image(root: Path) -> Path:
    return root / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz"


def test_a_data_set_without_links_needs_nothing(data_set: Path) -> None:
    assert link_targets(data_set, "/data").bindings == {}


def test_an_annex_within_the_data_set_needs_nothing(data_set: Path) -> None:
    kept = data_set / ".git" / "annex" / "objects" / "Xx" / "key" / "key"
    kept.parent.mkdir(parents=True)
    image(data_set).rename(kept)
    image(data_set).symlink_to("../../.git/annex/objects/Xx/key/key")
    (data_set / "sub-03").symlink_to("sub-01")
    assert link_targets(data_set, "/data").bindings == {}


def test_what_links_lead_to_is_read_in_the_container(
    scripted: Callable[..., AppRun], data_set: Path, tmp_path: Path
) -> None:
    """An annex above the data set, a file far away, a folder with a link in it, and a link to a link."""
    annex = tmp_path / ".git" / "annex" / "objects"
    for number in range(links.MOST_MOUNTS + 1):  # far more files than may be mounted
        kept = annex / f"{number}" / "key"
        kept.parent.mkdir(parents=True)
        kept.write_text(f"{number}")
        (data_set / f"annexed-{number}").symlink_to(f"../.git/annex/objects/{number}/key")
    far = tmp_path / "far, away" / "file"
    far.parent.mkdir()
    far.write_text("far")
    (far.parent / "near").symlink_to("../elsewhere")
    (tmp_path / "elsewhere").write_text("elsewhere")
    (data_set / "absolute").symlink_to(far)
    (data_set / "own").symlink_to(data_set / "dataset_description.json")
    (data_set / "folder").symlink_to("../far, away")
    (data_set / "chain").symlink_to("absolute")
    script = "cd $1; cat annexed-7 absolute folder/file folder/near chain >$2/seen; cmp own dataset_desc*"
    outcome = run_app(scripted(script))
    assert (outcome.folder / "seen").read_text() == "7farfarelsewherefar"
    assert len(link_targets(data_set, "/data").bindings) < 8


def test_links_of_a_folder_that_an_option_names_are_followed_too(
    scripted: Callable[..., AppRun], tmp_path: Path
) -> None:
    (tmp_path / "annex").mkdir()
    (tmp_path / "annex" / "key").write_text("template")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "brain").symlink_to(tmp_path / "annex" / "key")
    (tmp_path / "templates" / "fsaverage").symlink_to("/opt/of/the/image")
    options = {"templates": Option(flag="--templates", kind="path")}
    run = scripted(
        "cat $5/brain >$2/seen", {"values": {"templates": tmp_path / "templates"}}, options=options
    )
    assert (run_app(run).folder / "seen").read_text() == "template"


def test_an_absolute_link_in_the_data_set_shows_it_in_its_own_place(data_set: Path) -> None:
    (data_set / "own").symlink_to(data_set / "sub-01")
    assert link_targets(data_set, "/data").bindings == {data_set / "own": Binding(data_set, str(data_set))}


def test_links_that_lead_nowhere_are_named_if_they_are_needed(data_set: Path) -> None:
    image(data_set).unlink()
    image(data_set).symlink_to("../../.git/annex/objects/none")
    with pytest.raises(UsageError, match=r"sub-01_task-rest_bold\.nii\.gz in .* lead nowhere.*datalad get"):
        link_targets(data_set, "/data")
    assert link_targets(data_set, "/data", ["02"]).bindings == {}
    with pytest.raises(UsageError, match="lead nowhere"):
        link_targets(data_set, "/data", ["sub-01"])
    (data_set / "sub-02" / "circle").symlink_to("circle")
    with pytest.raises(UsageError, match=r"circle in .* lead nowhere"):
        link_targets(data_set, "/data", ["02"])


def test_what_would_take_the_place_of_the_image_is_refused(data_set: Path) -> None:
    (data_set / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=r"bids/passwords leads to /etc/passwd: no app.*copy"):
        link_targets(data_set, "/data")


def test_what_a_link_of_an_app_leads_to_is_never_mounted(
    scripted: Callable[..., AppRun], data_set: Path, tmp_path: Path
) -> None:
    """An app that has left links finds nothing behind them when it is run again, nor does the next one."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent" / "file").write_text("lent")
    derivatives = data_set / "derivatives"
    app = derivatives / "scripted"
    script = (
        f"cat $1/derivatives/scripted/* $1/by_way $1/back/scripted/link >$2/read; cat $1/lent/file >$2/lent; "
        f"ln -s {secret} $2/link; ln -s /etc/passwd $2/passwd; ln -s link $2/chain; ln -s {data_set} $2/data"
    )
    (data_set / "lent").symlink_to(tmp_path / "lent")
    (data_set / "by_way").symlink_to(app / "link")  # a person's links, through those of the app
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "back").symlink_to(derivatives)
    (data_set / "back").symlink_to("../elsewhere/back")
    app.mkdir(parents=True)
    (app / "link").write_text("")
    run_app(scripted(script, {"out": derivatives}))
    second = run_app(scripted(script, {"out": derivatives}))
    assert "secret" not in (app / "read").read_text()
    assert (app / "lent").read_text() == "lent"
    text = second.log.read_text()
    assert f"volume={secret}" not in text
    assert f"# {app}/link was left by an app and leads out of the data set: not followed" in text
    told = (
        f"links among the results lead out of them, and are never followed: chain -> link, data -> {data_set}"
    )
    assert [note.startswith(told) for note in second.notes] == [False, True], second.notes
    options = {"file": Option(flag="--file", kind="path")}
    with pytest.raises(UsageError, match=r"option file: .*scripted/link leads to .*secret.txt by a link"):
        run_app(scripted("", {"values": {"file": app / "link"}, "out": derivatives}, options=options))


def test_results_of_apps_elsewhere_are_known_by_their_lock(data_set: Path, tmp_path: Path) -> None:
    made = tmp_path / "elsewhere" / "spy"
    made.mkdir(parents=True)
    (tmp_path / "secret").write_text("")
    (made / "link").symlink_to(tmp_path / "secret")
    (data_set / "spy").symlink_to(made)
    assert [one.inside for one in link_targets(data_set, "/data").bindings.values()] == [
        *(str(made), str(tmp_path / "secret"))
    ]
    lock_of(made).touch()
    led = link_targets(data_set, "/data")
    assert [one.inside for one in led.bindings.values()] == [str(made)]
    assert led.planted == [made / "link"]


def test_a_link_to_everything_is_refused(data_set: Path, tmp_path: Path) -> None:
    (data_set / "up").symlink_to("..")
    with pytest.raises(UsageError, match="up leads to"):
        link_targets(data_set, "/data")


def test_too_many_places_are_named(data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MOST_MOUNTS", 3)
    for number in range(5):
        (tmp_path / f"file-{number}").write_text("")
        (data_set / f"link-{number}").symlink_to(tmp_path / f"file-{number}")
    with pytest.raises(UsageError, match=r"lead to 5 places outside, at most 3 .*file-0.* and 2 more"):
        link_targets(data_set, "/data")
