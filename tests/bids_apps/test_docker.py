"""Docker's command line, against podman's service: users that are not root, whose outputs must be theirs."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from containers import Podman
from rtflow.bids_apps import watcher
from rtflow.bids_apps.descriptor import AppLimits, Descriptor, write_descriptor
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import find_runtime, image_environment
from rtflow.errors import AppError

ROOT = Path(__file__).resolve().parents[2]
PERSON = 1234


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
    with pytest.raises(AppError, match="fetch it: docker pull localhost/none"):
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


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_outputs_of_a_person_are_theirs_though_the_daemon_is_roots(
    docker: None, podman: Podman, data_set: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, PERSON, PERSON)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path("/tmp"):
            break
        folder.chmod(folder.stat().st_mode | 0o755)
    app = scripted(podman, "id -u >$2/user; id -g >>$2/user; mkdir -p $2/a/b")
    write_descriptor(tmp_path / "docked.toml", app)
    (tmp_path / "docked.toml").chmod(0o644)
    # What the person runs must be open to them; of rtflow all is loaded before root becomes that person.
    watching = Path(shutil.copy(watcher.__file__, tmp_path))
    watching.chmod(0o644)
    program = f"""
import os, sys
from pathlib import Path
from rtflow.bids_apps import watcher
from rtflow.bids_apps.descriptor import read_descriptor
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import find_runtime
app, data, out = map(Path, sys.argv[1:])
run = AppRun(descriptor=read_descriptor(app), runtime=find_runtime("docker"), bids_dir=data, out=out)
sys.executable, watcher.__file__ = {_interpreter()!r}, {str(watching)!r}
os.setgroups([])
os.setresgid({PERSON}, {PERSON}, {PERSON})
os.setresuid({PERSON}, {PERSON}, {PERSON})
print(run_app(run).folder)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "docked.toml", data_set, home / "derivatives"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert (folder / "user").read_text().split() == [str(PERSON), str(PERSON)]
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (home / "derivatives").rglob("*")}
    assert owners == {(PERSON, PERSON)}


def _interpreter() -> str:
    """A Python that a person may run: the one of the tests may be in root's home folder."""
    for program in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if not subprocess.run(
                [program, "-c", ""], user=PERSON, capture_output=True, check=False
            ).returncode:
                return program
    pytest.skip("no Python here that is open to others than root")
