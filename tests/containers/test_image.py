"""The project's own images are built, without an index or a registry, and `make run`'s job runs inside."""

import json
import re
import secrets
import subprocess
import sysconfig
from pathlib import Path

import pytest
from processes import until

from containers import Podman, podman
from rtflow.packaging.locking import lock_as_installed, requirements

__all__ = ["podman"]

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "rtflow", "nodes", "workflows")
PARTS += ("bids_apps", "dash_app", "containers", ".dockerignore")
HARDENED = ("run", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp")
JOB = ("run", "template", "--out", "/tmp/out", "--json", "--speed", "max")
JOB += ("--set", "source.shape=[24, 24, 12]", "--set", "source.voxel=8")


def context(folder: Path, *locks: str) -> Path:
    """The project as it is, with wheels of what some of its locks name; the others are emptied."""
    for part in PARTS:
        subprocess.run(["cp", "--recursive", "--no-dereference", str(ROOT / part), str(folder)], check=True)
    for file in (folder / "containers").glob("requirements*.txt"):
        lines = file.read_text().splitlines() if file.stem in locks else []
        named = [line.partition("==")[0] for line in lines if "==" in line]
        file.write_text(requirements(lock_as_installed(named, folder / "containers" / "wheels")))
    return folder


def build(podman: Podman, context: Path, file: str) -> str:
    tag = f"localhost/rtflow-tests/{file.lower().replace('.', '-')}"
    podman(
        *("build", "--layers=false", "--format", "docker", "--quiet", "--tag", tag),
        *("--build-arg", "PIP_NO_INDEX=1", "--build-arg", f"BASE={podman.image('bare-python')}"),
        *("--file", str(context / "containers" / file), str(context)),
        timeout=1500,
    )
    return tag


def size_told(podman: Podman, tag: str) -> bool:
    """Whether an image is as large as containers/README.md says, within a tenth."""
    name = {"containerfile": "rtflow", "containerfile-subject": "rtflow-subject"}[tag.rpartition("/")[2]]
    told = re.search(rf"`localhost/{name}`\s+(?:has )?(\d+) MB", (ROOT / "containers/README.md").read_text())
    assert told
    size = int(podman("image", "inspect", "--format", "{{.Size}}", tag)) / 1e6
    return size == pytest.approx(float(told[1]), rel=0.1)


def healthy(name: str) -> bool:
    asked = subprocess.run(["podman", "healthcheck", "run", name], capture_output=True, check=False)
    assert asked.returncode in (0, 1), asked.stderr  # else it does not run
    return asked.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_is_built_runs_the_job_of_make_run_and_tells_its_health(podman, tmp_path):
    """The packages, which take long to install, are those of this environment; the next test has its own."""
    tag = build(podman, context(tmp_path, "requirements-build"), "Containerfile")
    packages = ("--volume", f"{sysconfig.get_path('purelib')}:/packages:ro", "--env")
    packages += ("PYTHONPATH=/opt/rtflow:/packages",)
    name = f"rtflow-tests-health-{secrets.token_hex(4)}"
    try:
        ran = json.loads(podman(*HARDENED, "--rm", *packages, tag, *JOB))
        assert ran["status"] == "completed"
        assert ran["volumes"]["ok"] + ran["volumes"]["late"] == 242
        for command, said in (
            ("id -u", "1000"),
            ("touch /x 2>&1 || true", "Read-only file system"),
            ("python3 -c 'import rtflow; print(rtflow.__file__)'", "/opt/rtflow/rtflow/__init__.py"),
            ("python3 /opt/healthcheck.py 2>&1 || true", "Connection refused"),  # nothing listens there
        ):
            assert said in podman(*HARDENED, "--rm", "--entrypoint", "sh", tag, "-c", command)
        # what is kept stands in volumes, which are of the user that the image runs as
        kept = ("--volume", f"{name}:/access", "--env", "RTFLOW_ACCESS=/access", *packages)
        podman(*HARDENED, "--rm", *kept, tag, "certs", "make", "analysis")
        serve = ("serve", "template", "--listen", "127.0.0.1:8443", "--no-dashboard", "--out", "/tmp/out")
        podman(*HARDENED, "--detach", "--name", name, *kept, tag, *serve)
        until(lambda: healthy(name))
        podman("kill", "--signal", "STOP", name)
        assert not healthy(name), "nobody answers"
        podman("kill", "--signal", "CONT", name)
        until(lambda: healthy(name))
    finally:
        podman("rm", "--force", "--time", "0", name, check=False)
        podman("volume", "rm", name, check=False)
        podman("rmi", "--force", tag)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_image_with_its_packages_runs_the_job_of_make_run(podman, tmp_path):
    tag = build(podman, context(tmp_path, "requirements-build", "requirements"), "Containerfile")
    try:
        assert json.loads(podman(*HARDENED, "--rm", tag, *JOB))["status"] == "completed"
        assert size_told(podman, tag)
    finally:
        podman("rmi", "--force", tag)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_agents_image_has_the_agents_and_no_analysis(podman, tmp_path):
    tag = build(
        podman, context(tmp_path, "requirements-build", "requirements-agents"), "Containerfile.subject"
    )
    try:
        for command in ("subject", "scanner", "enrol"):
            assert "--help" in podman(*HARDENED, "--rm", tag, command, "--help")
        said = podman(
            *HARDENED,
            "--rm",
            "--entrypoint",
            "python3",
            tag,
            "-c",
            "import importlib.util as u; print(u.find_spec('numpy'))",
        )
        assert said == "None"
        assert size_told(podman, tag)
    finally:
        podman("rmi", "--force", tag)
