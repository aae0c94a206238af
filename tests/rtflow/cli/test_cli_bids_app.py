"""``rtflow bids-app``: list, show and run, as a person calls them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from containers import Podman, podman
from rtflow.bids_apps.descriptor import (
    AppLimits,
    Descriptor,
    Mount,
    Option,
    Relaxed,
    Worker,
    write_descriptor,
)

__all__ = ["podman"]

Rtflow = Callable[..., subprocess.CompletedProcess]

ABSENT = "localhost/none@sha256:" + 64 * "0"


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    (tmp_path / "ds" / "sub-01").mkdir(parents=True)
    (tmp_path / "ds" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return tmp_path / "ds"


@pytest.fixture
def app(tmp_path: Path, podman: Podman, environment: dict[str, str]) -> Callable[..., Descriptor]:
    """Callable from a script to an app of the current folder, ``scripted``."""
    environment.update(podman.environment)

    def make(script: str, **fields: object) -> Descriptor:
        made = Descriptor(
            name="scripted",
            image=podman.pinned("example-app-shell"),
            command=("/bin/sh", "-c", script, "scripted"),
            **fields,  # type: ignore[arg-type]
        )
        write_descriptor(tmp_path / "apps" / "scripted.toml", made)
        return made

    return make


def test_an_app_is_listed_and_shown(tmp_path: Path, rtflow: Rtflow) -> None:
    described = Descriptor(
        name="mask",
        image=ABSENT,
        tag="none:1",
        wrapped="2026-11-28",
        options={
            "mode": Option(
                flag="--mode",
                kind="choice",
                choices=("a", "b"),
                default="b",
                help="How\x1b[2J.",
                origin="help",
            ),
        },
        mounts={"licence": Mount(inside="/l.txt", help="Of the app")},
        limits=AppLimits(memory="2g"),
        relaxed=Relaxed(network=True),
        worker=Worker(command=("/work",), outputs={"mean": "number", "mask": "image"}),
    )
    write_descriptor(tmp_path / "apps" / "mask.toml", described)
    listed = rtflow("bids-app", "list")
    assert "mask  participant; none:1; apps/mask.toml" in listed.stdout
    shown = rtflow("bids-app", "show", "mask").stdout.splitlines()
    assert {
        "relaxed  network",
        "limits   2g",
        "option   mode: --mode (a or b, default b; from help). How\\x1b[2J.",
        "outputs  mean (number), mask (image)",
        "mount    licence: /l.txt, needed. Of the app",
    } <= set(shown)
    assert json.loads(rtflow("bids-app", "show", "mask", "--json").stdout)["image"] == ABSENT
    (tmp_path / "apps" / "broken.toml").write_text("image = ")
    half = rtflow("bids-app", "list", "--json")
    assert json.loads(half.stdout)[0]["name"] == "mask"
    assert half.returncode == 1
    assert "apps/broken.toml is not valid TOML" in half.stderr


def test_an_app_is_run_and_tells_where_its_results_are(
    tmp_path: Path, data_set: Path, rtflow: Rtflow, app: Callable[..., Descriptor]
) -> None:
    app(
        'out=$2; echo "working on it"; echo "$@" >$out/arguments',
        options={
            "participant_label": Option(flag="--label", kind="list"),
            "n": Option(flag="-n", kind="whole"),
        },
    )
    done = rtflow(
        *("bids-app", "run", "scripted", "ds", "ds/derivatives", "participant", "--participant-label", "01"),
        *("--set", "n=3", "--runtime", "podman", "--", "--new-option", "x"),
    )
    assert done.returncode == 0, done.stderr
    folder = data_set / "derivatives" / "scripted"
    said = "/data /out participant --label 01 -n 3 --new-option x"
    assert (folder / "arguments").read_text().strip() == said
    assert f"2 files in {folder}" in done.stdout
    assert "working on it" in done.stderr
    again = rtflow("bids-app", "run", "scripted", "ds", "ds/derivatives", "--json", "-q", "--", "--bogus")
    told = json.loads(again.stdout)
    # What stands behind -- is never the level.
    assert (folder / "arguments").read_text().strip() == "/data /out participant --bogus"
    assert told["folder"] == str(folder)
    assert told["runtime"] == "podman"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("run", "nothing", "ds", "out"), 2, "no app 'nothing' in apps/"),
        (("run", "scripted", "ds", "out", "group"), 2, "has no level 'group'"),
        (("run", "scripted", "none", "out"), 2, "expected a BIDS data set"),
        (
            ("run", "scripted", "ds", "out", "participant", "--participant-label", "01", "02"),
            2,
            "'02' belongs to nothing: several participants are --participant-label 01 --participant-label 02",
        ),
        (("run", "scripted", "ds", "out", "--set", "x=1"), 2, "has no option 'x'"),
        (("run", "scripted", "ds", "out", "--mount", "x"), 2, "expected NAME=PATH"),
        (("run", "scripted", "ds", "out", "--participant-label", ""), 2, "expected letters and digits"),
        (("run", "scripted", "ds", "out", "--participant-label", "../x"), 2, "got '../x'"),
        (("run", "scripted", "ds", "out", "--runtime", "lxc"), 2, "unknown runtime 'lxc'"),
        (("run", "scripted", "ds", "out"), 1, "the data set is not valid BIDS (exit status 16)"),
        (("show", "none.toml"), 2, "does not exist"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(
    data_set: Path,
    rtflow: Rtflow,
    app: Callable[..., Descriptor],
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    app("exit 16")
    done = rtflow("bids-app", *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_app_that_is_interrupted_is_gone(
    tmp_path: Path,
    data_set: Path,
    environment: dict[str, str],
    podman: Podman,
    app: Callable[..., Descriptor],
    number: signal.Signals,
) -> None:
    app("trap '' INT TERM; echo half >$2/a; echo begun >&2; while true; do sleep 600; done")
    command = [
        sys.executable,
        "-m",
        "rtflow",
        "bids-app",
        "run",
        "scripted",
        "ds",
        "out",
        "--runtime",
        "podman",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        log = next((tmp_path / "out" / ".scripted").glob("*.log"))
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert "scripted was ended; earlier results, if there are any, stand as they were" in said
    assert f"rtflow-scripted-{log.stem.lower()}" not in podman.running()
    assert not (tmp_path / "out" / "scripted").exists()
    assert [path for path in (tmp_path / "out" / ".scripted").iterdir() if path.is_dir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["example-app", "example-app-shell", "prep-app"])
def test_any_image_is_wrapped_and_run(
    tmp_path: Path, data_set: Path, rtflow: Rtflow, podman: Podman, environment: dict[str, str], name: str
) -> None:
    """One in Python, one in shell, and one in fMRIPrep's style and spelling."""
    environment.update(podman.environment)
    (data_set / "sub-01" / "func").mkdir()
    image = nibabel.Nifti1Image(np.ones((3, 3, 3, 2), np.float32), np.eye(4))
    nibabel.save(image, data_set / "sub-01" / "func" / "sub-01_task-x_bold.nii.gz")
    wrapped = rtflow("bids-app", "wrap", podman.image(name), "--name", name)
    assert wrapped.returncode == 0, wrapped.stderr
    file = tmp_path / "apps" / f"{name}.toml"
    assert f"@{podman.digest(podman.image(name))}" in file.read_text()
    given = []
    if name == "prep-app":
        file.write_text(file.read_text() + '\n[mounts.licence]\ninside = "/opt/freesurfer/license.txt"\n')
        (tmp_path / "license.txt").write_text("lent")
        given = ["--mount", "licence=license.txt", "--set", "skip_bids_validation=true"]
    done = rtflow("bids-app", "run", name, "ds", "out", "participant", "--participant-label", "01", *given)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / name / "sub-01").is_dir()
