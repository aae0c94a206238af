"""Which runtime is taken, and the command lines of each."""

import os
from pathlib import Path

import pytest

from containers import Podman
from rtflow.bids_apps.command_line import Binding, Invocation, command_line
from rtflow.bids_apps.descriptor import AppLimits, Descriptor, Native, Relaxed
from rtflow.bids_apps.runtime import Runtime, find_runtime, image_environment
from rtflow.errors import AppError, UsageError

DIGEST = "sha256:" + 64 * "a"
APP = Descriptor(name="app", image=f"localhost/app@{DIGEST}", native=Native(command=("/opt/app", "--fast")))
PODMAN, DOCKER, APPTAINER = Runtime("podman", "4"), Runtime("docker", "28"), Runtime("apptainer", "1.3")


def invocation(descriptor: Descriptor = APP, **fields: object) -> Invocation:
    return Invocation(descriptor=descriptor, name="rtflow-app-1", **fields)  # type: ignore[arg-type]


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_podman_is_found_by_running_it(podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTFLOW_RUNTIME", raising=False)
    found = find_runtime()
    assert found.name == "podman"
    assert found.version[0].isdigit()
    assert found.rootless == (os.getuid() != 0)


def test_a_runtime_that_is_installed_and_does_not_work_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RTFLOW_RUNTIME", raising=False)
    program(tmp_path / "bin", "podman", "echo 'Error: no storage' >&2; exit 125")
    program(tmp_path / "bin", "apptainer", "echo apptainer version 1.3.4")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_runtime() == Runtime("apptainer", "1.3.4")
    with pytest.raises(AppError, match=r"no storage\); here works: --runtime apptainer$") as refused:
        find_runtime("podman")
    assert refused.value.kind == "runtime"
    (tmp_path / "bin" / "apptainer").unlink()
    with pytest.raises(AppError, match=r"podman: Error: no storage; docker: not installed; appt"):
        find_runtime()


def test_what_is_asked_for_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTFLOW_RUNTIME", "lxc")
    assert find_runtime("native") == Runtime("native")
    with pytest.raises(UsageError, match="RTFLOW_RUNTIME: unknown runtime 'lxc'; known are podman, docker"):
        find_runtime()
    with pytest.raises(UsageError, match="--runtime: unknown runtime 'lxd'"):
        find_runtime("lxd")


@pytest.mark.parametrize("runtime", [PODMAN, DOCKER])
def test_a_container_gets_no_rights(runtime: Runtime) -> None:
    argv = command_line(runtime, invocation(arguments=("/data", "/out", "participant")))
    for protection in (
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--read-only",
        "--network=none",
        "--pull=never",
        f"--user={os.getuid()}:{os.getgid()}",
    ):
        assert protection in argv
    assert argv[:2] == [runtime.name, "run"]
    assert argv[-4:] == [APP.image, "/data", "/out", "participant"]
    assert not any("privileged" in word for word in argv)
    assert ("--http-proxy=false" in argv) == (runtime is PODMAN)


@pytest.mark.parametrize("runtime", [PODMAN, DOCKER])
def test_only_what_the_file_relaxes_is_relaxed(runtime: Runtime) -> None:
    hard = set(command_line(runtime, invocation()))
    networked = Descriptor(name="app", image=APP.image, relaxed=Relaxed(network=True))
    assert hard - set(command_line(runtime, invocation(networked))) == {"--network=none"}
    writable = Descriptor(name="app", image=APP.image, relaxed=Relaxed(writable_root=True))
    assert hard - set(command_line(runtime, invocation(writable))) == {"--read-only"}


def test_limits_and_names_are_passed_on() -> None:
    app = Descriptor(name="app", image=APP.image, limits=AppLimits(memory="2g", cpus=1.5, seconds=10))
    argv = command_line(PODMAN, invocation(app, keep=True, interactive=True, seconds=10))
    assert {"--memory=2g", "--memory-swap=2g", "--cpus=1.5", "--timeout=70", "--interactive"} <= set(argv)
    assert "--name=rtflow-app-1" in argv
    assert "--rm" not in argv
    assert "--rm" in command_line(PODMAN, invocation(app))
    assert not any(word.startswith("--timeout") for word in command_line(DOCKER, invocation(app, seconds=10)))


def test_a_command_takes_the_place_of_the_entry_point() -> None:
    argv = command_line(DOCKER, invocation(command=("python", "/app/run.py", "--worker"), arguments=("-x",)))
    assert "--entrypoint=python" in argv
    assert argv[argv.index(APP.image) :] == [APP.image, "/app/run.py", "--worker", "-x"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("/a b/ä, c", ["--volume=/a b/ä, c:/data:ro"]),
        ("/a:b", ["--mount", "type=bind,source=/a:b,destination=/data,readonly"]),
        ('/a:b,"c', ["--mount", 'type=bind,"source=/a:b,""c",destination=/data,readonly']),
    ],
)
def test_any_path_can_be_mounted(host: str, words: list[str]) -> None:
    argv = command_line(PODMAN, invocation(bindings=(Binding(Path(host), "/data"),)))
    at = argv.index(words[0])
    assert argv[at : at + len(words)] == words


def test_a_name_that_an_app_sees_can_be_any_too() -> None:
    argv = command_line(PODMAN, invocation(bindings=(Binding(Path("/m.nii"), "/inputs/m/a:rw,b"),)))
    assert (
        argv[argv.index("--mount") + 1] == 'type=bind,source=/m.nii,"destination=/inputs/m/a:rw,b",readonly'
    )


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(UsageError, match="rename it"):
        command_line(PODMAN, invocation(bindings=(Binding(Path("/a\nb"), "/data"),)))


def test_root_of_a_docker_without_root_is_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        'case "$1" in version) echo 28.2 ;; info) echo "[name=seccomp,profile=builtin name=rootless]" ;; esac'
    )
    program(tmp_path / "bin", "docker", told)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_runtime("docker")
    assert found == Runtime("docker", "28.2", rootless=True)
    assert "--user=0:0" in command_line(found, invocation())


def test_rootless_podman_keeps_the_users_number() -> None:
    assert "--userns=keep-id" in command_line(Runtime("podman", "4", rootless=True), invocation())


def test_the_arguments_reach_a_fake_apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    program(tmp_path / "bin", "apptainer", 'printf "%s\\n" "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    app = Descriptor(name="app", image=APP.image, limits=AppLimits(memory="2g", cpus=2))
    argv = command_line(
        APPTAINER,
        invocation(
            app,
            arguments=("/data", "/out", "participant", "--label", "a b"),
            bindings=(Binding(tmp_path, "/data"), Binding(tmp_path / "o", "/out", read_only=False)),
            environment={"HOME": "/tmp"},
        ),
    )
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines() == [
        "run",
        "--containall",
        "--cleanenv",
        "--no-home",
        "--no-privs",
        "--drop-caps=all",
        "--net",
        "--network=none",
        "--memory=2G",
        "--cpus=2",
        "--env=HOME=/tmp",
        f"--bind={tmp_path}:/data:ro",
        f"--bind={tmp_path}/o:/out:rw",
        f"docker://localhost/app@{DIGEST}",
        "/data",
        "/out",
        "participant",
        "--label",
        "a b",
    ]
    assert command_line(APPTAINER, invocation(command=("w", "-x")))[:2] == ["apptainer", "exec"]
    with pytest.raises(UsageError, match="Apptainer mounts no path with"):
        command_line(APPTAINER, invocation(bindings=(Binding(Path("/a:b"), "/data"),)))


def test_a_native_app_has_no_container() -> None:
    argv = command_line(Runtime("native"), invocation(arguments=("/data",)))
    assert argv == ["/opt/app", "--fast", "/data"]
    with pytest.raises(UsageError, match=r"no native\.command"):
        command_line(Runtime("native"), invocation(Descriptor(name="app", image="x")))
    with pytest.raises(UsageError, match="--runtime native"):
        command_line(PODMAN, invocation(Descriptor(name="app", native=Native(command=("x",)))))


def test_an_image_tells_its_environment(podman: Podman) -> None:
    app = Descriptor(name="prep", image=podman.pinned("prep-app"))
    assert image_environment(find_runtime("podman"), app)["HOME"] == "/home/prep"


def test_an_image_that_is_not_here_is_told_with_the_way_to_get_it(podman: Podman) -> None:
    app = Descriptor(name="prep", image=f"localhost/none@{DIGEST}", tag="none:1")
    with pytest.raises(AppError, match="wrap it anew: rtflow bids-app wrap none:1 --force") as refused:
        image_environment(find_runtime("podman"), app)
    assert "podman pull" not in str(refused.value)
    app = Descriptor(name="prep", image=f"registry.example/none@{DIGEST}")
    with pytest.raises(AppError, match=f"fetch it: podman pull registry.example/none@{DIGEST}"):
        image_environment(find_runtime("podman"), app)
    assert refused.value.kind == "image"
