"""Runs of apps in real containers: what they get, what they leave, and how they fail."""

import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import nibabel
import numpy as np
import psutil
import pytest
from processes import until

from containers import EXAMPLES, Podman
from rtflow.bids_apps.descriptor import AppLimits, Descriptor, Mount, Native, Option, Relaxed
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import Runtime, find_runtime
from rtflow.errors import AppError, OutputError, UsageError

Scripted = Callable[..., AppRun]

EXAMPLE_OPTIONS = {
    "participant_label": Option(flag="--participant_label", kind="list"),
    "threshold": Option(flag="--threshold", kind="number"),
    "mask": Option(flag="--mask", kind="path"),
}
PREP = {
    "participant_label": Option(flag="--participant-label", kind="list"),
    "skip_bids_validation": Option(flag="--skip_bids_validation", kind="switch"),
    "bold2t1w_dof": Option(flag="--bold2t1w-dof", kind="choice", choices=("6", "9", "12")),
}


def example(podman: Podman) -> Descriptor:
    return Descriptor(
        name="example-app",
        image=podman.pinned("example-app"),
        tag="localhost/example-app:1.0",
        version="1.0",
        options=EXAMPLE_OPTIONS,
        native=Native(command=("python3", str(EXAMPLES / "example-app" / "run.py"))),
    )


changed = msgspec.structs.replace


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_results_are_those_of_the_app_without_a_container(
    podman: Podman, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    run = AppRun(
        descriptor=example(podman),
        runtime=find_runtime("podman"),
        bids_dir=data_set,
        out=tmp_path / "contained",
        values={"threshold": 0.4},
    )
    before = files_of(data_set)
    lines: list[str] = []
    contained = run_app(run, lines.append)
    native = run_app(replace(run, runtime=Runtime("native"), out=tmp_path / "native"))
    assert contained.folder == tmp_path / "contained" / "example-app"
    tables = {name: text for name, text in files_of(contained.folder).items() if name.endswith(".tsv")}
    assert len(tables) == 2
    assert tables == {name: text for name, text in files_of(native.folder).items() if name.endswith(".tsv")}
    assert contained.files == native.files == 5
    assert "sub-01_task-rest_bold.nii.gz: 60 voxels, 4 volumes" in lines
    assert files_of(data_set) == before
    assert not [name for name in podman.running() if name.startswith("rtflow-example-app")]
    assert {path.name for path in (tmp_path / "contained").iterdir()} == {
        *(".example-app", ".example-app.lock", "example-app")
    }
    text = contained.log.read_text()
    assert run.descriptor.image in text
    assert "60 voxels" in text


def test_the_results_say_which_image_made_them(podman: Podman, data_set: Path, tmp_path: Path) -> None:
    app = example(podman)
    runtime = find_runtime("podman")
    outcome = run_app(AppRun(descriptor=app, runtime=runtime, bids_dir=data_set, out=tmp_path / "out"))
    said = json.loads((outcome.folder / "dataset_description.json").read_text())
    own, wrapper = said["GeneratedBy"]
    assert own == {
        "Name": "example-app",
        "Version": "1.0",
        "Container": {"Type": "podman", "Tag": "localhost/example-app:1.0", "URI": f"docker://{app.image}"},
    }
    assert app.digest in own["Container"]["URI"]
    assert wrapper["Name"] == "rtflow"


@pytest.mark.parametrize("name", ["a b", "Größe, 例", "a:b", 'a:b,"c'])
def test_any_name_of_a_folder_will_do(scripted: Scripted, data_set: Path, tmp_path: Path, name: str) -> None:
    moved = tmp_path / name / "bids"
    moved.parent.mkdir()
    data_set.rename(moved)
    run = scripted(
        "cat $1/dataset_description.json >$2/seen", {"bids_dir": moved, "out": tmp_path / name / "out"}
    )
    outcome = run_app(run)
    assert (outcome.folder / "seen").read_bytes() == (moved / "dataset_description.json").read_bytes()


def test_outputs_are_the_users_and_nothing_else_can_be_written(scripted: Scripted, data_set: Path) -> None:
    outcome = run_app(
        scripted(
            """
            id -u >$2/user
            touch /tmp/x /var/tmp/x || exit 1
            for place in $1/x $1/sub-01/x /x /etc/x /app/run.sh; do touch $place 2>>$2/refused && exit 1; done
            grep -E '^Cap(Eff|Bnd|Prm)|NoNewPrivs' /proc/self/status >$2/rights
            env >$2/environment
            """
        )
    )
    found = {path.name: path.read_text() for path in outcome.folder.iterdir()}
    assert int(found["user"]) == os.getuid()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in outcome.folder.rglob("*")} == {
        (os.getuid(), os.getgid())
    }
    assert len(re.findall("Read-only file system", found["refused"])) == 5
    assert set(re.findall(r"Cap\w+:\s*(\d+)", found["rights"])) == {"0000000000000000"}
    assert re.search(r"NoNewPrivs:\s*1", found["rights"])
    assert "HOME=/tmp" in found["environment"]
    assert not (data_set / "x").exists()


@pytest.mark.usefixtures("networked")
def test_an_app_has_a_network_where_its_file_says_so(scripted: Scripted) -> None:
    script = "grep -v lo: /proc/net/dev | tail -n +3 >$2/network; touch $2/x"
    for network in (True, False):
        outcome = run_app(scripted(script, relaxed=Relaxed(network=network)))
        assert bool((outcome.folder / "network").read_text()) == network


def test_what_this_machine_has_in_its_environment_stays_here(
    podman: Podman, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/of/this/machine")
    monkeypatch.setenv("http_proxy", "http://person:secret@proxy")
    licence = tmp_path / "license.txt"
    licence.write_text("lent")
    app = Descriptor(
        name="prep",
        image=podman.pinned("prep-app"),
        options=PREP,
        mounts={"licence": Mount(inside="/opt/freesurfer/license.txt", help="FreeSurfer's")},
    )
    run = AppRun(
        descriptor=app,
        runtime=find_runtime("podman"),
        bids_dir=data_set,
        out=tmp_path / "out",
        values={"participant_label": ["01"], "skip_bids_validation": True, "bold2t1w_dof": "9"},
        extra=("--output-spaces", "MNI152NLin2009cAsym"),
        mounts={"licence": licence},
    )
    outcome = run_app(run)
    seen = json.loads((outcome.folder / "sub-01" / "sub-01_seen.json").read_text())
    assert seen["licence"] == "lent"
    assert seen["arguments"] == [
        *("/data", "/out", "participant", "--participant-label", "01", "--skip_bids_validation"),
        *("--bold2t1w-dof", "9", "--output-spaces", "MNI152NLin2009cAsym"),
    ]
    assert "/of/this/machine" not in seen["environment"]["PATH"]
    assert "http_proxy" not in seen["environment"]
    assert seen["environment"]["HOME"] == "/home/prep"
    assert seen["user"] == [os.getuid(), os.getgid()]
    with pytest.raises(UsageError, match=r"prep needs licence \(FreeSurfer's\); give it: --mount lic"):
        run_app(replace(run, mounts={}))
    with pytest.raises(UsageError, match="it does not exist"):
        run_app(replace(run, mounts={"licence": tmp_path / "none"}))
    with pytest.raises(UsageError, match="no mount 'license'; did you mean 'licence'"):
        run_app(replace(run, mounts={"license": licence}))


def test_a_file_that_an_option_names_is_given_to_the_app(
    podman: Podman, data_set: Path, tmp_path: Path
) -> None:
    mask = np.zeros((6, 7, 5), np.uint8)
    mask[2, 3, 1:3] = 1
    (tmp_path / "my masks").mkdir()
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "my masks" / "roi.nii")
    run = AppRun(
        descriptor=example(podman),
        runtime=find_runtime("podman"),
        bids_dir=data_set,
        out=tmp_path / "out",
        values={"mask": tmp_path / "my masks" / "roi.nii", "participant_label": "02"},
    )
    lines: list[str] = []
    run_app(run, lines.append)
    assert lines == ["sub-02_task-rest_bold.nii.gz: 2 voxels, 4 volumes"]
    with pytest.raises(UsageError, match="does not exist"):
        run_app(replace(run, values={"mask": tmp_path / "none.nii"}))


def test_a_relaxed_protection_is_in_the_log(scripted: Scripted) -> None:
    outcome = run_app(scripted("touch /app/x && touch $2/x", relaxed=Relaxed(writable_root=True)))
    assert "# relaxed in its file: it may write its root" in outcome.log.read_text()
    assert "network" not in outcome.log.read_text().splitlines()[2]


def test_results_of_other_participants_stay(scripted: Scripted) -> None:
    run_app(scripted("mkdir $2/sub-01; echo old >$2/sub-01/a; echo old >$2/sub-01/b; echo old >$2/top"))
    outcome = run_app(scripted("n=$(ls $2 | wc -l); echo $n >$2/top; mkdir $2/sub-02; echo new >$2/sub-02/a"))
    found = {
        name: text.decode().strip() for name, text in files_of(outcome.folder).items() if "json" not in name
    }
    assert found == {"sub-01/a": "old", "sub-01/b": "old", "sub-02/a": "new", "top": "0"}


def test_a_group_builds_on_what_is_there_and_spoils_nothing_when_it_fails(scripted: Scripted) -> None:
    first = run_app(scripted("echo one >$2/a"))
    before = files_of(first.folder)
    for script in ("echo spoilt >$2/a; exit 3", "rm $2/a; exit 137", "true"):
        with pytest.raises(AppError):
            run_app(scripted(script, {"level": "group"}))
        assert files_of(first.folder) == before
    second = run_app(scripted("echo two >>$2/a; echo group >$2/b", {"level": "group"}))
    assert (second.folder / "a").read_text() == "one\ntwo\n"
    assert [path for path in (second.folder.parent / ".scripted").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("true", "empty", "ended well and wrote nothing"),
        ("echo broken >&2; exit 16", "invalid BIDS", "the end of its stderr: broken"),
        ("exit 17", "usage", "does not know that level"),
        ("exit 18", "no match", "holds nothing of what was asked for"),
        ("exit 64", "usage", "did not understand its arguments"),
        ("exit 1", "failed", "it failed (exit status 1)"),
        ("sh -c 'kill -9 $$'; exit $?", "killed", "ended by SIGKILL"),
        ("touch /x", "failed", "Read-only file system"),
        ("exit 127", "failed", "exit status 127"),
    ],
)
def test_failures_are_told_apart(
    scripted: Scripted, podman: Podman, script: str, kind: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(AppError) as failed:
        run_app(scripted(script))
    assert failed.value.kind == kind
    assert said in str(failed.value)
    assert failed.value.argv[0] == "podman"
    assert failed.value.log is not None
    assert failed.value.log.is_file()
    assert str(failed.value.log) in str(failed.value)
    assert not (tmp_path / "derivatives" / "scripted").exists()
    assert not [name for name in podman.running() if name.startswith("rtflow-scripted")]


def test_an_image_whose_program_is_missing_is_broken(scripted: Scripted) -> None:
    run = scripted("")
    with pytest.raises(AppError, match="the image is broken") as failed:
        run_app(replace(run, descriptor=changed(run.descriptor, command=("/nowhere/app",))))
    assert failed.value.kind == "image"


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM INT HUP; while true; do sleep 600; done"])
def test_an_app_that_hangs_is_gone_after_its_time(scripted: Scripted, podman: Podman, script: str) -> None:
    with pytest.raises(AppError, match=r"limits\.seconds") as failed:
        run_app(scripted(f"echo partial >$2/a; echo hanging >&2; {script}", limits=AppLimits(seconds=1.5)))
    assert failed.value.kind == "time-out"
    assert failed.value.stderr == "hanging"
    assert not [name for name in podman.running() if name.startswith("rtflow-scripted")]


def test_a_client_that_is_killed_leaves_no_container(scripted: Scripted, podman: Podman) -> None:
    """Podman's command line may die, and its container goes on: it is ended by its name."""
    caught: list[AppError] = []

    def run() -> None:
        with pytest.raises(AppError) as failed:
            run_app(scripted("touch $2/x; echo here; sleep 600"), lambda line: started.set())
        caught.append(failed.value)

    started = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(60)
    for child in psutil.Process().children():
        if child.name() == "podman" and "--name=rtflow-scripted" in " ".join(child.cmdline()):
            child.kill()
    thread.join(60)
    assert caught[0].kind == "killed"
    assert not [name for name in podman.running() if name.startswith("rtflow-scripted")]


def test_an_app_that_takes_too_much_memory_is_told_so(
    podman: Podman, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (podman.root / "containers.conf").read_text()
    (tmp_path / "containers.conf").write_text(text.replace('cgroups = "disabled"', 'cgroups = "enabled"'))
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    app = Descriptor(
        name="greedy",
        image=podman.pinned("example-app"),
        command=("python3", "-c", "print('here', flush=True); held = bytearray(400_000_000)"),
        limits=AppLimits(memory="100m"),
    )
    run = AppRun(descriptor=app, runtime=find_runtime("podman"), bids_dir=data_set, out=tmp_path / "out")
    for folder in ("here", "temporary"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    aside: list[Path] = []
    with pytest.raises(AppError) as failed:
        run_app(run, lambda line: aside.extend((tmp_path / "temporary").iterdir()))
    assert failed.value.kind == "out of memory", failed.value
    # The container's monitor notes it in a file, and not where somebody works.
    assert list((tmp_path / "here").iterdir()) == []
    assert len(aside) == 1
    until(lambda: not list((tmp_path / "temporary").iterdir()))


def test_what_cannot_be_run_is_refused_before_anything_is_made(
    scripted: Scripted, data_set: Path, tmp_path: Path
) -> None:
    run = scripted("touch $2/x")
    with pytest.raises(UsageError, match="has no level 'session'; known are participant, group"):
        run_app(replace(run, level="session"))
    with pytest.raises(UsageError, match="expected a BIDS data set"):
        run_app(replace(run, bids_dir=tmp_path / "none"))
    with pytest.raises(UsageError, match="has no option 'labels'; none is known"):
        run_app(replace(run, values={"labels": "01"}))
    with pytest.raises(UsageError, match="holds the data set itself"):
        run_app(replace(run, descriptor=changed(run.descriptor, name="bids"), out=data_set))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run_app(replace(run, out=tmp_path / "file"))
    assert not (tmp_path / "derivatives").exists()
