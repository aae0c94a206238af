"""Docker's command line, against podman's service."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from containers import Podman
from rtflow.bids_apps.descriptor import AppLimits, Descriptor
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import find_runtime, image_environment
from rtflow.errors import AppError


def scripted(podman: Podman, script: str, **fields: object) -> Descriptor:
    return Descriptor(
        name="docked",
        image=podman.pinned("example-app-shell"),
        command=("/bin/sh", "-c", script, "docked"),
        **fields,  # type: ignore[arg-type]
    )


def assert_gone(podman: Podman, argv: tuple[str, ...]) -> None:
    (name,) = (word.removeprefix("--name=") for word in argv if word.startswith("--name="))
    assert name not in podman.running()


def test_an_app_runs_by_docker(docker: None, podman: Podman, data_set: Path, tmp_path: Path) -> None:
    runtime = find_runtime("docker")
    assert runtime.name == "docker"
    app = scripted(podman, "cat $1/dataset_description.json >$2/seen; touch /x 2>>$2/seen; id -u >>$2/seen")
    outcome = run_app(AppRun(descriptor=app, runtime=runtime, bids_dir=data_set, out=tmp_path / "ä b, c"))
    seen = (outcome.folder / "seen").read_text()
    assert "two" in seen
    assert "Read-only file system" in seen
    said = json.loads((outcome.folder / "dataset_description.json").read_text())
    assert said["GeneratedBy"][0]["Container"]["Type"] == "docker"
    assert_gone(podman, outcome.argv)


def test_failures_are_told_apart_by_docker_too(
    docker: None, podman: Podman, data_set: Path, tmp_path: Path
) -> None:
    for script, kind in (("exit 16", "invalid BIDS"), ("true", "empty")):
        run = AppRun(
            descriptor=scripted(podman, script),
            runtime=find_runtime("docker"),
            bids_dir=data_set,
            out=tmp_path / "out",
        )
        with pytest.raises(AppError) as failed:
            run_app(run)
        assert failed.value.kind == kind
    missing = msgspec.structs.replace(run.descriptor, command=("/nowhere",))
    with pytest.raises(AppError) as failed:
        run_app(replace(run, descriptor=missing))
    # Docker's daemon says why; podman's service, asked by docker, only that it did not start.
    assert failed.value.kind in ("image", "runtime")
    assert "cannot be started" in str(failed.value) or "could not be started" in str(failed.value)
    absent = Descriptor(name="none", image="localhost/none@sha256:" + 64 * "0")
    with pytest.raises(AppError, match="build it, and wrap it anew"):
        image_environment(run.runtime, absent)


def test_a_container_of_docker_is_gone_after_its_time(
    docker: None, podman: Podman, data_set: Path, tmp_path: Path
) -> None:
    run = AppRun(
        descriptor=scripted(podman, "touch $2/x; sleep 600", limits=AppLimits(seconds=1.5)),
        runtime=find_runtime("docker"),
        bids_dir=data_set,
        out=tmp_path / "out",
    )
    with pytest.raises(AppError) as failed:
        run_app(run)
    assert failed.value.kind == "time-out"
    assert_gone(podman, failed.value.argv)
