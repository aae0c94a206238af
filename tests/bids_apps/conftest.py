"""What tests of BIDS Apps share: podman, and a data set of two participants."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from docked import docker, open_folder

from containers import Podman, podman
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.running import AppRun
from rtflow.bids_apps.runtime import find_runtime

__all__ = ["docker", "open_folder", "podman"]


def make_data_set(root: Path) -> Path:
    """Two participants with one image of four volumes each."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "two", "BIDSVersion": "1.10.0"}')
    rng = np.random.default_rng(1)
    for subject in ("01", "02"):
        func = root / f"sub-{subject}" / "func"
        func.mkdir(parents=True)
        data = rng.normal(10, 1, (6, 7, 5, 4)).astype(np.float32)
        data[1:5, 1:6, 1:4] += 500
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), func / f"sub-{subject}_task-rest_bold.nii.gz")
    return root


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    return make_data_set(tmp_path / "bids")


@pytest.fixture
def scripted(podman: Podman, data_set: Path, tmp_path: Path) -> Callable[..., AppRun]:
    """Callable from a shell script ($1 is the data set, $2 the outputs) to a run of it as an app."""
    image = podman.pinned("example-app-shell")

    def make(script: str, run: dict[str, object] | None = None, **fields: object) -> AppRun:
        app = Descriptor(
            name="scripted",
            image=image,
            command=("/bin/sh", "-c", script, "scripted"),
            **{"levels": ("participant", "group"), **fields},  # type: ignore[arg-type]
        )
        asked = {"bids_dir": data_set, "out": tmp_path / "derivatives", **(run or {})}
        return AppRun(descriptor=app, runtime=find_runtime("podman"), **asked)  # type: ignore[arg-type]

    return make


@pytest.fixture
def networked(podman: Podman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers have the machine's network, unless they are started without; else the tests' have none."""
    text = (podman.root / "containers.conf").read_text()
    (tmp_path / "containers.conf").write_text(text.replace('netns = "none"', 'netns = "host"'))
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
