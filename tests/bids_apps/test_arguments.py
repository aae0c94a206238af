"""Options of an app: checked, and spelled as the app spells them."""

from pathlib import Path
from typing import Any

import pytest

from rtflow.bids_apps.arguments import from_text, mount_bindings, option_arguments, path_binding
from rtflow.bids_apps.descriptor import Descriptor, Mount, Option
from rtflow.errors import UsageError

APP = Descriptor(
    name="app",
    image="x",
    options={
        "participant_label": Option(flag="--participant-label", kind="list"),
        "skip": Option(flag="--skip_bids_validation", kind="switch"),
        "threads": Option(flag="-n", kind="whole"),
        "threshold": Option(flag="--threshold", kind="number"),
        "mode": Option(flag="--mode", kind="choice", choices=("fast", "slow")),
        "ignore": Option(flag="--ignore", kind="list", choices=("fieldmaps", "sbref")),
        "mask": Option(flag="--mask", kind="path"),
        "text": Option(flag="--text"),
    },
)


def argv(app: Descriptor = APP, **values: Any) -> list[str]:
    return option_arguments(app, values, lambda name, path: f"/inputs/{name}/{path.name}")


def test_each_kind_is_spelled_in_the_order_of_the_file() -> None:
    assert argv(
        text="a b; rm -rf /",
        threshold=0.5,
        skip=True,
        threads=4,
        mask="/x/m.nii",
        ignore=["sbref"],
        participant_label=["01", "02"],
        mode="fast",
    ) == [
        *("--participant-label", "01", "02", "--skip_bids_validation", "-n", "4", "--threshold", "0.5"),
        *("--mode", "fast", "--ignore", "sbref", "--mask", "/inputs/mask/m.nii", "--text", "a b; rm -rf /"),
    ]


def test_labels_fit_apps_that_take_one_and_apps_that_repeat_the_flag() -> None:
    labels = {"label": ["01", "02"]}
    one = Descriptor(name="app", image="x", options={"label": Option(flag="--label")})
    assert argv(one, label=["01"]) == ["--label", "01"]
    with pytest.raises(UsageError, match=r"expected one value, got \['01', '02'\]"):
        argv(one, **labels)
    each = Descriptor(
        name="app", image="x", options={"label": Option(flag="--label", kind="list", repeated=True)}
    )
    assert argv(each, **labels) == ["--label", "01", "--label", "02"]


def test_what_is_not_given_is_left_out() -> None:
    assert argv(skip=False, mode=None, participant_label=[]) == []


def test_a_value_is_never_an_option() -> None:
    assert argv(text="--version", threads=-1) == ["-n", "-1", "--text=--version"]
    with pytest.raises(UsageError, match="do not begin with '-'"):
        argv(participant_label=["01", "--version"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"skip": "yes"}, "expected true or false, got 'yes'"),
        ({"threads": 1.5}, "expected a whole number, got 1.5"),
        ({"threads": True}, "expected a whole number, got True"),
        ({"threshold": "high"}, "expected a number, got 'high'"),
        ({"mode": "Fast"}, "expected fast or slow, got 'Fast'"),
        ({"ignore": ["t2w"]}, "expected fieldmaps or sbref"),
        ({"participant_lable": "01"}, "did you mean 'participant_label'?"),
    ],
)
def test_what_the_app_does_not_know_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        argv(**values)
    assert said in str(refused.value)


def test_a_needed_option_is_asked_for() -> None:
    app = Descriptor(
        name="app", image="x", options={"mode": Option(flag="--mode", required=True, help="How")}
    )
    with pytest.raises(UsageError, match=r"app needs the option mode \(--mode\): How"):
        argv(app)


def test_options_are_typed_as_text() -> None:
    texts = ["participant_label=01,02", "participant_label=03", "skip=true", "threads=4", "threshold=1e-3"]
    assert from_text(APP, [*texts, "text=a=b", "other=1"]) == {
        "participant_label": ["01", "02", "03"],
        "skip": True,
        "threads": 4,
        "threshold": 0.001,
        "text": "a=b",
        "other": "1",
    }
    with pytest.raises(UsageError, match="expected a whole number, got 'many'"):
        argv(**from_text(APP, ["threads=many"]))
    with pytest.raises(UsageError, match="--set skip: expected NAME=VALUE"):
        from_text(APP, ["skip"])


def test_a_link_that_is_given_is_followed_and_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "real.nii").write_text("")
    (tmp_path / "mask.nii").symlink_to("real.nii")
    found = path_binding("mask", tmp_path / "mask.nii")
    assert (found.host, found.inside, found.read_only) == (
        tmp_path / "real.nii",
        "/inputs/mask/mask.nii",
        True,
    )


def test_a_mount_that_may_be_left_out_may_be_left_out(tmp_path: Path) -> None:
    work = Mount(inside="/work", read_only=False, required=False)
    app = Descriptor(name="app", image="x", mounts={"work": work})
    assert mount_bindings(app, {}) == []
    (found,) = mount_bindings(app, {"work": tmp_path})
    assert (found.host, found.inside, found.read_only) == (tmp_path, "/work", False)
