"""The project's own images are built, without an index or a registry, and `make run`'s job runs inside."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from containers import Podman, podman
from rtflow.packaging.locking import BUILDERS, lock_as_installed, needed, requirements

__all__ = ["podman"]

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "rtflow", "nodes", "workflows")
PARTS += ("bids_apps", "dash_app", "containers")
HARDENED = ("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is, with wheels of what is installed here: no index is asked."""
    folder = tmp_path_factory.mktemp("context")
    for part in PARTS:
        subprocess.run(["cp", "--recursive", "--no-dereference", str(ROOT / part), str(folder)], check=True)
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache, ignore_errors=True)
    wheels = folder / "containers" / "wheels"
    files = {path.name: path.read_text() for path in (folder / "containers").glob("requirements*.txt")}
    names = [name for name in needed(["rtflow"]) if name != "rtflow"]
    locked = {one.name: one for one in lock_as_installed(dict.fromkeys([*names, *BUILDERS]), wheels)}
    for file, text in files.items():
        wanted = [line.partition("==")[0] for line in text.splitlines() if "==" in line]
        (folder / "containers" / file).write_text(requirements([locked[name] for name in wanted]))
    return folder


def build(podman: Podman, context: Path, file: str) -> str:
    tag = f"localhost/rtflow-tests/{file.lower().replace('.', '-')}"
    base = podman.image("bare-python")
    podman(
        *("build", "--format", "docker", "--quiet", "--build-arg", "PIP_NO_INDEX=1"),
        *(
            "--build-arg",
            f"BASE={base}",
            "--file",
            str(context / "containers" / file),
            "--tag",
            tag,
            str(context),
        ),
        timeout=1500,
    )
    return tag


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_image_runs_what_make_run_runs(podman, context):
    tag = build(podman, context, "Containerfile")
    try:
        smaller = ("--set", "source.shape=[24, 24, 12]", "--set", "source.voxel=8", "--speed", "max")
        ran = podman(*HARDENED, tag, "run", "template", "--out", "/tmp/out", "--json", *smaller)
        assert json.loads(ran)["status"] == "completed"
        assert podman(*HARDENED, "--entrypoint", "id", tag, "-u") == "1000"
        checked = json.loads(podman("image", "inspect", tag))[0]["Healthcheck"]["Test"]
        assert checked == ["CMD", "python3", "/opt/healthcheck.py"]
        # Nothing listens in a container that only asks.
        assert "Connection refused" in podman(
            *HARDENED, "--entrypoint", "sh", tag, "-c", "python3 /opt/healthcheck.py 2>&1 || true"
        )
    finally:
        podman("rmi", "--force", tag)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_agents_image_has_the_agents_and_no_analysis(podman, context):
    tag = build(podman, context, "Containerfile.subject")
    try:
        for command in ("subject", "scanner", "enrol"):
            assert "--help" in podman(*HARDENED, tag, command, "--help")
        said = podman(
            *HARDENED,
            "--entrypoint",
            "python3",
            tag,
            "-c",
            "import importlib.util as u; print(u.find_spec('numpy'))",
        )
        assert said == "None"
    finally:
        podman("rmi", "--force", tag)
