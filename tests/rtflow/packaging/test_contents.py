"""What a workflow is made of goes in, with what it imports and names, and nothing else."""

import hashlib
import os
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from rtflow.errors import PackageError
from rtflow.packaging.contents import descriptors, imported, lay_out
from rtflow.packaging.locking import Locked, fetch, lock_as_installed, lock_by_index, needed, requirements
from rtflow.packaging.scanning import refuse
from rtflow.packaging.wheels import wheel_of
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow

ROOT = Path(__file__).resolve().parents[3]
WORKFLOW = """
import json
import numpy.linalg
from helper import thing
from rtflow.workflows.roi_feedback import Settings, build
try:
    import torch_of_the_future
except ImportError:
    pass
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    (folder / "apps").mkdir(parents=True)
    (folder / "mine.py").write_text(WORKFLOW)
    (folder / "helper.py").write_text("import nibabel\nthing = 1\n")
    (folder / "notes.txt").write_text("of no concern")
    (folder / "events.tsv").write_text("onset\tduration\ttrial_type\n0\t1\ta\n")
    return folder


def test_modules_beside_the_file_are_told_from_packages(lab):
    (lab / "rtflow").mkdir()
    (lab / "rtflow" / "__init__.py").write_text("a clone of the project")
    found = imported(lab / "mine.py")
    assert [path.name for path in found.local] == ["mine.py", "helper.py"]
    assert {"numpy", "nibabel", "rtflow"} <= found.packages


def test_a_module_that_is_nowhere_is_told_with_its_line(lab):
    (lab / "helper.py").write_text("\nimport gone_module\n")
    with pytest.raises(PackageError, match=r"helper\.py line 2 imports gone_module"):
        imported(lab / "mine.py")


def test_only_what_belongs_to_the_workflow_goes_in(lab, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(lab))
    workflow = load_workflow(lab / "mine.py")
    overrides = [f"design.events={lab / 'events.tsv'}", "work_dir=/somewhere/private"]
    settings = load_settings(workflow.settings_type, None, overrides)
    stage = tmp_path / "stage"
    files = lay_out(workflow, settings, [lab / "apps"], stage)
    copy = "workflow/files/design.events/events.tsv"
    assert set(files) == {"workflow/mine.py", "workflow/helper.py", "workflow/mine.toml", copy}
    assert {str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()} == set(files)
    said = (stage / "workflow" / "mine.toml").read_text()
    assert 'events = "files/design.events/events.tsv"' in said
    assert str(tmp_path) not in said
    assert "/somewhere" not in said
    again = load_settings(workflow.settings_type, stage / "workflow" / "mine.toml", [])
    assert again.design.events == str(stage / copy)


def test_what_is_planted_in_a_folder_that_goes_along_is_found_and_links_lead_nowhere(lab, tmp_path):
    stage, deep = tmp_path / "stage", lab / "more" / "deep"
    deep.mkdir(parents=True)
    (lab / "more" / ".git").mkdir()
    (lab / "more" / ".git" / "config").write_text("not taken along")
    planted = {
        "notes.txt": "-----BEGIN EC " + "PRIVATE KEY-----\n",
        ".env": "A=1\n",
        "b.toml": 'token = "' + '0123456789"\n',
        "image": 128 * "\0" + "DICM",
        "people.csv": "participant_id,age\n",
    }
    for name, text in planted.items():
        (deep / name).write_text(text)
    workflow = load_workflow(ROOT / "workflows" / "template.py")
    settings = load_settings(workflow.settings_type, None, [])
    files = lay_out(workflow, settings, [lab / "more"], stage)
    with pytest.raises(PackageError) as error:
        refuse(files)
    assert all(str(deep / name) in str(error.value) for name in planted)
    assert not [name for name in files if ".git" in name]
    (deep / "link").symlink_to(lab / "notes.txt")
    with pytest.raises(PackageError, match=r"deep/link is a link to .*lab/notes\.txt, no file within"):
        lay_out(workflow, settings, [lab / "more"], stage)


def test_an_app_without_a_digest_is_refused(lab):
    path = lab / "apps" / "mask.toml"
    path.write_text('name = "mask"\nimage = "localhost/mask:latest"\n')
    with pytest.raises(PackageError, match="no digest"):
        descriptors([path])
    pinned = "localhost/mask@sha256:" + 64 * "0"
    path.write_text(f'name = "mask"\nimage = "{pinned}"\n')
    assert descriptors([path]) == {"mask": pinned}


def test_all_that_is_needed_is_pinned_as_it_is_installed():
    pins = needed(["rtflow"])
    assert pins["numpy"] == metadata.version("numpy")
    assert "docopt" in pins, "what is needed by what is needed"
    assert "pytest" not in pins
    with pytest.raises(PackageError, match="no-such-package is not installed"):
        needed(["no-such-package"])


def test_a_wheel_of_what_is_installed_is_what_was_installed(tmp_path):
    distribution = metadata.distribution("msgspec")
    first = wheel_of(distribution, tmp_path)
    data = first.read_bytes()
    assert wheel_of(distribution, tmp_path).read_bytes() == data
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
    assert "msgspec/__init__.py" in names
    assert not [name for name in names if name.startswith(("/", "..")) or name.endswith(".pyc")]


def test_a_package_that_was_changed_since_is_refused(tmp_path):
    site = tmp_path / "site"
    info = site / "thing-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "thing.py").write_text("good = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
    (info / "RECORD").write_text(
        "thing.py,sha256=AAAA,9\nthing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/WHEEL,,\n"
    )
    with pytest.raises(PackageError, match=r"thing\.py was changed"):
        wheel_of(metadata.Distribution.at(info), tmp_path)


def test_hashes_are_those_of_the_index_and_what_it_has_is_fetched(tmp_path, monkeypatch):
    wheel = wheel_of(metadata.distribution("msgspec"), tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    version = metadata.version("msgspec")
    hash_ = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert lock_by_index({"msgspec": version}) == [Locked("msgspec", version, (hash_,))]
    assert f"--hash=sha256:{hash_}" in requirements(lock_by_index({"msgspec": version}))
    # of what is locked, the index has one, and what was made here is in the folder
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    mine = lock_as_installed(["rtflow"], wheels)
    (tmp_path / "requirements.txt").write_text(requirements([*lock_by_index({"msgspec": version}), *mine]))
    fetch(tmp_path / "requirements.txt", wheels)
    assert {path.name.partition("-")[0] for path in wheels.iterdir()} == {"msgspec", "rtflow"}
    with pytest.raises(PackageError, match=r"pip install failed.*--offline"):
        lock_by_index({"msgspec": "0.0.1"})
