"""Inputs and outputs of an app's node: their types, their names, and what is left in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traits.api import TraitError

from rtflow.bids_apps import BidsApp
from rtflow.bids_apps.descriptor import Descriptor, Mount, Option, Worker
from rtflow.bids_apps.found import reserved
from rtflow.bids_apps.one_volume import OneVolume
from rtflow.bids_apps.specs import AppInput, held_by
from rtflow.errors import SettingsError, UsageError

IMAGE = "app@sha256:" + 64 * "0"
APP = Descriptor(
    name="typed",
    image=IMAGE,
    levels=("participant", "group"),
    options={
        "n": Option(flag="--n", kind="number", default=4, help="How many"),
        "whole": Option(flag="--whole", kind="whole"),
        "space": Option(flag="--space", kind="choice", choices=("a", "b")),
        "spaces": Option(flag="--spaces", kind="list", choices=("a", "b")),
        "labels": Option(flag="--labels", kind="list"),
        "quick": Option(flag="--quick", kind="switch"),
        "file": Option(flag="--file", kind="path"),
        "needed": Option(flag="--needed", required=True),
    },
    mounts={"licence": Mount(inside="/licence.txt")},
)


def test_a_relative_path_counts_from_where_it_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bids").mkdir()
    Path("text").write_text("")
    app = BidsApp.from_descriptor(APP, bids_dir="bids", out_dir="out", file="text", licence="text")
    given = app.inputs.bids_dir, app.inputs.out_dir, app.inputs.file, app.inputs.licence
    assert given == tuple(str(tmp_path / name) for name in ("bids", "out", "text", "text"))


def test_a_misspelt_option_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(UsageError, match="typed has no input 'spaec'; did you mean 'space'"):
        BidsApp.from_descriptor(APP, spaec="b")


def test_values_stay_what_they_are() -> None:
    app = BidsApp.from_descriptor(APP, n=4, labels=["01", 2], quick=True, space="b", level="group")
    assert (app.inputs.n, app.inputs.labels, app.inputs.level) == (4, ["01", 2], "group")
    assert isinstance(app.inputs.n, int)
    assert app.options() == {"n": 4, "space": "b", "labels": ["01", 2], "quick": True}
    app.inputs.n = 0.5
    assert app.options()["n"] == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", "many"), ("whole", 1.5), ("space", "c"), ("spaces", ["c"]), ("labels", "01")),
        *(("quick", "yes"), ("file", "/no/such/file"), ("level", "session"), ("runtime", "lxc")),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(TraitError):
        BidsApp.from_descriptor(APP, **{name: value})


def test_what_is_required_is_mandatory() -> None:
    app = BidsApp.from_descriptor(APP)
    assert set(app.inputs.traits(mandatory=True)) == {"needed", "licence"}
    assert app.inputs.trait("n").desc == "How many (the app's default: 4)"
    assert "/licence.txt" in app.inputs.trait("licence").desc


@pytest.mark.parametrize(
    "options",
    [{"bids_dir": Option(flag="--bids-dir")}, {"trait": Option(flag="--t")}, {"licence": Option(flag="--l")}],
)
def test_a_name_that_is_taken_is_refused(options: dict[str, Option]) -> None:
    app = Descriptor(name="x", image=IMAGE, options=options, mounts={"licence": Mount(inside="/l")})
    with pytest.raises(SettingsError, match="is the name of another input"):
        BidsApp.from_descriptor(app)


def test_an_output_whose_name_is_taken_is_refused() -> None:
    app = Descriptor(name="x", image=IMAGE, worker=Worker(command=("w",), outputs={"files": "list"}))
    with pytest.raises(SettingsError, match=r"worker\.outputs\.files"):
        BidsApp.from_descriptor(app)


def test_every_name_of_an_input_is_reserved() -> None:
    assert [name for name in AppInput().copyable_trait_names() if not reserved(name)] == []
    public = [name for name in dir(AppInput) if not name.startswith("_")]
    assert [name for name in public if not reserved(name)] == []


def test_it_is_made_from_a_file_alone() -> None:
    with pytest.raises(UsageError, match="from_descriptor"):
        BidsApp()


def test_what_a_data_set_holds_is_known_though_links_lead_in_circles(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(8):  # each way through them all would be another one
            (tmp_path / name / f"{number}").symlink_to("..")
    before = held_by(tmp_path)
    (tmp_path / "a" / "file").write_text("")
    assert held_by(tmp_path) != before


def test_memory_of_a_process_that_was_killed_is_given_back(tmp_path: Path) -> None:
    script = (
        "import os, signal; from rtflow.bids_apps.one_volume import OneVolume; "
        "print(OneVolume('x').root, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    OneVolume("y").close()
    assert not left.exists()
