"""A workflow is packaged, proves itself, is built into an image and proves itself there."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from containers import Podman, podman
from rtflow.packaging.locking import lock_by_index
from rtflow.packaging.making import clear, require_ours
from rtflow.packaging.manifest import Manifest, read_manifest, write_manifest
from rtflow.packaging.proving import self_test

__all__ = ["podman"]

WORKFLOW = """
from helper import BLOCKS
from rtflow.workflows import template
Settings = template.Settings
build = template.build
"""
SHORT = ("source.volumes=60", "design.blocks=4", "design.block=8", "design.rest=8", "design.opening=24")
GIVEN = [part for one in (*SHORT, "decoding.train_blocks=2") for part in ("--set", one)]


def rtflow(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtflow", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(WORKFLOW)
    (tmp_path / "helper.py").write_text("BLOCKS = 2\n")
    return tmp_path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "mine.py").write_text(WORKFLOW)
    (folder / "helper.py").write_text("BLOCKS = 2\n")
    made = rtflow(folder, "package", "mine.py", "--offline", "--to", "made", *GIVEN)
    assert made.returncode == 0, made.stderr
    return folder / "made"


def test_a_planted_key_stops_it(lab):
    (lab / "helper.py").write_text("BLOCKS = 2\n\nKEY = '''-----BEGIN RSA " + "PRIVATE KEY-----'''\n")
    made = rtflow(lab, "package", "mine.py", "--offline")
    assert made.returncode == 2
    assert "helper.py line 3: a private key" in made.stderr
    assert not (lab / "mine-package").exists()


def test_only_a_package_is_made_anew(lab):
    folder = lab / "mine-package"
    (folder / "wheels").mkdir(parents=True)
    refused = rtflow(lab, "package", "mine.py", "--offline")
    assert refused.returncode == 2
    assert "is there already, and is no package" in refused.stderr
    manifest = Manifest(
        workflow="workflow/x.py", rtflow="", python="", machine="", made="", packages={}, files={}
    )
    write_manifest(folder, manifest)
    (folder / "build.log").write_text("of a build that failed")
    (folder / "README.md").write_text("of the lab")
    require_ours(folder)
    clear(folder)
    assert [path.name for path in folder.iterdir()] == ["README.md"]


def test_a_broken_extra_index_is_left_out(tmp_path, monkeypatch):
    for index, file in (("main", "tiny-1.0-py3-none-any.whl"), ("extra", "tiny-1.0-2-py3-none-any.whl")):
        page = tmp_path / index / "tiny"
        page.mkdir(parents=True)
        (page / "index.html").write_text(f'<!DOCTYPE html><a href="{file}">{file}</a>')
    info = {"METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n", "RECORD": ""}
    info["WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(tmp_path / "main" / "tiny" / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in info.items():
            wheel.writestr(f"tiny-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "main").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "extra").as_uri())  # its newer build is not there
    said: list[str] = []
    assert [one.version for one in lock_by_index({"tiny": "1.0"}, said.append)] == ["1.0"]
    assert said == ["pip install failed: once more, without its extra indexes"]


def test_a_workflow_that_needs_more_than_goes_along_is_refused(lab):
    # what it reads by itself stands beside it here, and would not there
    (lab / "weights.txt").write_text("1")
    (lab / "helper.py").write_text(
        "from pathlib import Path\nBLOCKS = int(Path(__file__).with_name('weights.txt').read_text())\n"
    )
    made = rtflow(lab, "package", "mine.py", "--offline")
    assert made.returncode == 2
    assert "--include" in made.stderr
    assert "weights.txt" in made.stderr


def test_a_package_proves_itself_and_notices_what_was_changed(package):
    said: list[str] = []
    found = self_test(package, said.append)
    assert found.passed, found
    assert found.equal == read_manifest(package).volumes == 60
    helper = package / "workflow" / "helper.py"
    helper.write_text("BLOCKS = 3\n")
    try:
        told = rtflow(package.parent, "package", "--self-test", "made", "--json")
    finally:
        helper.write_text("BLOCKS = 2\n")
    assert told.returncode == 4
    assert json.loads(told.stdout)["wrong"] == ["workflow/helper.py was changed"]


def test_nothing_of_this_machine_is_told(package):
    for path in package.rglob("*"):
        if path.is_file() and "wheels" not in path.parts:
            data = path.read_bytes()
            assert str(package.parent).encode() not in data, path
            assert str(Path.home()).encode() + b"/" not in data, path


def test_every_requirement_has_its_wheel_and_its_hash(package):
    lines = (package / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert all("==" in line and "--hash=sha256:" in line for line in lines)
    assert len(lines) == len(read_manifest(package).packages)
    assert len(list((package / "wheels").glob("*.whl"))) == len(lines) + 1  # and pip, which installs them


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_its_image_passes_the_self_test_and_runs_as_nobody(lab, podman: Podman):
    tag = "localhost/rtflow-tests/packaged"
    how = ("--base", podman.image("bare-python"), "--tag", tag, "--runtime", "podman")
    made = rtflow(
        lab,
        *("package", "mine.py", "--offline", "--build", "--export", "mine.tar", "--json", *how, *GIVEN),
    )
    assert made.returncode == 0, made.stderr
    image = json.loads(made.stdout)["image"]
    assert image["tested"] == {"equal": 60, "differing": [], "wrong": []}
    assert json.loads((lab / "mine-package" / "image.json").read_text()) == image
    assert image["base_digest"].endswith(f"@{podman.digest(podman.image('bare-python'))}")
    podman("rmi", "--force", tag)
    assert tag in podman("load", "--input", str(lab / "mine.tar"))
    try:
        assert podman("image", "inspect", "--format", "{{.Id}}", tag) == image["id"]
        hardened = ("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp")
        assert "the self-test passed" in podman(*hardened, tag)
        assert podman(*hardened, "--entrypoint", "id", tag, "-u") == "1000"
    finally:
        podman("rmi", "--force", tag)
