"""Results are put in place in one step, and say where they are from."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from rtflow.bids_apps import outputs
from rtflow.bids_apps.descriptor import Descriptor, Native
from rtflow.bids_apps.outputs import container_uri, describe, generators, put_in_place
from rtflow.bids_apps.running import AppRun, Outcome, run_app
from rtflow.bids_apps.runtime import Runtime
from rtflow.errors import OutputError

PODMAN = Runtime("podman", "4")
APP = Descriptor(name="app", image="localhost/app@sha256:" + 64 * "a", version="2")


def folder(root: Path, **files: str) -> Path:
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def texts(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("exchanging", [True, False])
def test_new_results_replace_old_ones(
    tmp_path: Path, exchanging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanging:  # a system without that call
        monkeypatch.setattr(outputs.ctypes, "CDLL", lambda name, use_errno: object())
    final = folder(tmp_path / "app", a="old", b="old")
    put_in_place(folder(tmp_path / "work", a="new"), final, merging=False)
    assert texts(final) == {"a": "new"}
    assert {path.name for path in tmp_path.iterdir()} == {"app", ".app.lock"}


def test_merging_keeps_what_was_not_written_again(tmp_path: Path) -> None:
    final = folder(tmp_path / "app", a="old", b="old")
    folder(final / "sub-01", c="old")
    (final / "link").symlink_to("b")
    work = folder(tmp_path / "work", a="new")
    (work / "sub-01").write_text("a file where a folder was")
    put_in_place(work, final, merging=True)
    assert texts(final) == {"a": "new", "b": "old", "link": "old", "sub-01": "a file where a folder was"}
    assert (final / "link").is_symlink()


def test_a_link_that_an_app_made_leads_nothing_out_of_its_folder(tmp_path: Path) -> None:
    """Else an app could write anywhere as the user: a file, and then a link in its folder's place."""
    outside = folder(tmp_path / "home")
    final = folder(tmp_path / "app")
    folder(final / "sub-01" / "deep", keys="of the app")
    work = folder(tmp_path / "work", a="new")
    (work / "sub-01").symlink_to(outside)
    put_in_place(work, final, merging=True)
    assert list(outside.iterdir()) == []
    assert (final / "sub-01").is_symlink()


def test_what_cannot_be_put_in_place_is_kept(tmp_path: Path) -> None:
    work = folder(tmp_path / "work", a="new")
    (tmp_path / "app").write_text("a file in its place")
    with pytest.raises(OutputError, match=r"the results are in .*work, move them by hand"):
        put_in_place(work, tmp_path / "none" / "app", merging=True)
    assert texts(work) == {"a": "new"}


def test_the_apps_own_description_is_kept(tmp_path: Path) -> None:
    work = folder(tmp_path / "work")
    own = {
        "Name": "Mine",
        "BIDSVersion": "1.8.0",
        "GeneratedBy": [{"Name": "App", "Version": "3"}, {"Name": "x"}],
    }
    (work / "dataset_description.json").write_text(json.dumps(own))
    for _ in range(2):  # a level that builds on it finds it described already
        describe(work, APP, PODMAN)
    said = json.loads((work / "dataset_description.json").read_text())
    assert (said["Name"], said["BIDSVersion"], said["DatasetType"]) == ("Mine", "1.8.0", "derivative")
    assert [one["Name"] for one in said["GeneratedBy"]] == ["App", "x", "rtflow"]
    assert said["GeneratedBy"][0]["Version"] == "3"
    assert said["GeneratedBy"][0]["Container"] == {"Type": "podman", "URI": f"docker://{APP.image}"}


def test_a_native_app_has_no_container_in_its_description(tmp_path: Path) -> None:
    work = folder(tmp_path / "work")
    describe(work, APP, Runtime("native"))
    said = json.loads((work / "dataset_description.json").read_text())
    assert said["GeneratedBy"][0] == {"Name": "app", "Version": "2"}
    assert said["Name"] == "Results of app"


def test_a_description_is_neither_read_nor_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"auths": "of the user"}')
    work = folder(tmp_path / "work")
    (work / "dataset_description.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(OutputError, match="expected a file, got a link"):
        describe(work, APP, PODMAN)
    (work / "dataset_description.json").unlink()
    os.mkfifo(work / "dataset_description.json")
    with pytest.raises(OutputError, match="expected a file"):
        describe(work, APP, PODMAN)
    (work / "dataset_description.json").unlink()
    for number in range(1, 1000):  # where it would be written first
        partial = work / f".dataset_description.json.{number}.{os.getpid()}.partial"
        partial.symlink_to(tmp_path / "secret.json")
    describe(work, APP, PODMAN)
    assert (tmp_path / "secret.json").read_text() == '{"auths": "of the user"}'


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_description_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    work = folder(tmp_path / "work", **{"dataset_description.json": text})
    with pytest.raises(OutputError, match=r"dataset_description\.json that app wrote"):
        describe(work, APP, PODMAN)


def test_earlier_images_are_named_as_long_as_results_of_them_stay(tmp_path: Path) -> None:
    final = tmp_path / "app"

    def made(digest: str, *, merging: bool = True, **files: str) -> list[str]:
        work = folder(tmp_path / "work", **files)
        if not merging:
            outputs.copy_of(final, work)
            (work / "group").write_text(digest)
        app = msgspec.structs.replace(APP, image=f"localhost/app@sha256:{digest}")
        earlier = generators(final, work, merging=merging)
        describe(work, app, PODMAN, earlier)
        put_in_place(work, final, merging=merging)
        entries = json.loads((final / "dataset_description.json").read_text())["GeneratedBy"]
        assert [one["Name"] for one in entries] == ["app"] * (len(entries) - 1) + ["rtflow"]
        return [container_uri(one)[-1] for one in entries[:-1]]

    assert made("a", one="1", two="2") == ["a"]
    assert made("a", three="3") == ["a"]
    assert made("b", one="new") == ["b", "a"]
    assert made("c", merging=False) == ["c", "b", "a"]
    assert made("d", one="", two="", three="", group="") == ["d"]


def native(script: str, data_set: Path, out: Path, **fields: str) -> Outcome:
    app = Descriptor(name="app", native=Native(command=("/bin/sh", "-c", script, "app")))
    run = AppRun(descriptor=app, runtime=Runtime("native"), bids_dir=data_set, out=out, **fields)  # type: ignore[arg-type]
    return run_app(run)


def test_results_may_be_on_another_disk(data_set: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    big = folder(tmp_path / "big disk" / "results", earlier="earlier")
    (tmp_path / "out" / "app").symlink_to(big)
    outcome = native("echo new >$2/new", data_set, tmp_path / "out")
    assert (tmp_path / "out" / "app").readlink() == outcome.folder == big
    assert {"earlier", "new"} < set(texts(big))
    big.rename(tmp_path / "away")
    with pytest.raises(OutputError, match=r"out/app is a link that leads nowhere, to .*results; make that"):
        native("echo new >$2/new", data_set, tmp_path / "out")
