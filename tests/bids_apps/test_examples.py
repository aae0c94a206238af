"""The example apps keep to the BIDS App convention, each in its container."""

import json
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from containers import Podman

HARDENED = ("--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")


def run(podman: Podman, name: str, root: Path, out: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and stderr of an app."""
    out.mkdir(exist_ok=True)
    command = ["podman", "run", *HARDENED, "--tmpfs=/tmp", "--user=0:0"]
    mounts = ["-v", f"{root}:/data:ro", "-v", f"{out}:/out"]
    done = subprocess.run(
        [*command, *mounts, podman.image(name), "/data", "/out", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr


def test_the_python_app_makes_masks_and_means(podman: Podman, data_set: Path, tmp_path: Path) -> None:
    assert run(podman, "example-app", data_set, tmp_path / "out", "participant") == (0, "")
    for subject in ("01", "02"):
        stem = tmp_path / "out" / f"sub-{subject}" / "func" / f"sub-{subject}_task-rest_desc-"
        mask = np.asarray(nibabel.load(f"{stem}brain_mask.nii.gz").dataobj) != 0
        data = nibabel.load(data_set / f"sub-{subject}/func/sub-{subject}_task-rest_bold.nii.gz").get_fdata()
        assert mask.sum() == 4 * 5 * 3
        header, *rows = Path(f"{stem}mean_timeseries.tsv").read_text().split()
        assert header == "mean"
        np.testing.assert_allclose([float(row) for row in rows], data[mask].mean(axis=0), rtol=1e-6)
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"


def test_the_shell_app_lists_images_of_participants_then_of_the_group(
    podman: Podman, data_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(podman, "example-app-shell", data_set, out, "participant", "--participant_label", "02") == (
        0,
        "",
    )
    assert [path.name for path in out.glob("sub-*")] == ["sub-02"]
    assert run(podman, "example-app-shell", data_set, out, "participant") == (0, "")
    assert run(podman, "example-app-shell", data_set, out, "group") == (0, "")
    assert (out / "group_images.tsv").read_text() == (
        "filename\ti\tj\tk\tvolumes\n"
        "sub-01/func/sub-01_task-rest_bold.nii.gz\t6\t7\t5\t4\n"
        "sub-02/func/sub-02_task-rest_bold.nii.gz\t6\t7\t5\t4\n"
    )


@pytest.mark.parametrize("name", ["example-app", "example-app-shell"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("participant", "--participant_label", "03"), 18),
        (("session",), 17),
        (("participant", "--task", "none"), 18),
    ],
)
def test_what_cannot_be_done_has_the_status_of_the_convention(
    podman: Podman, data_set: Path, tmp_path: Path, name: str, arguments: tuple[str, ...], status: int
) -> None:
    assert run(podman, name, data_set, tmp_path / "out", *arguments)[0] == status


@pytest.mark.parametrize("name", ["example-app", "example-app-shell"])
def test_a_folder_that_is_no_data_set_is_refused(
    podman: Podman, data_set: Path, tmp_path: Path, name: str
) -> None:
    (data_set / "dataset_description.json").unlink()
    status, said = run(podman, name, data_set, tmp_path / "out", "participant")
    assert status == 16
    assert "dataset_description.json" in said
    assert run(podman, name, data_set, tmp_path / "out", "participant", "--skip_bids_validator")[0] == 0


def test_the_pinned_requirements_are_those_of_the_project() -> None:
    root = Path(__file__).resolve().parents[2]
    pinned = (root / "constraints.txt").read_text().splitlines()
    wanted = (root / "containers" / "example-app" / "requirements.txt").read_text().splitlines()
    for line in wanted:
        assert any(one.partition(" ")[0] == line for one in pinned), line
