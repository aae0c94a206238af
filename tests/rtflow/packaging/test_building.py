"""What is noted of an image that was built, and in which form it is written."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from docked import docker, open_folder

from containers import Podman, podman
from rtflow.bids_apps.images import repository
from rtflow.packaging.building import build, builder, export, note

__all__ = ["docker", "open_folder", "podman"]


@pytest.fixture
def folder(podman: Podman, tmp_path: Path) -> Path:
    """What the builder reads of a package."""
    made = tmp_path / "package"
    made.mkdir()
    lines = (f"ARG BASE={podman.image('busybox')}", "FROM ${BASE}", "LABEL made=here")
    (made / "Containerfile").write_text("\n".join(lines) + "\n")
    return made


def written(folder: Path, runtime: str, podman: Podman) -> tuple[dict[str, str], set[str]]:
    """What is noted of the image, and the names in its archive, which podman loads."""
    tag = f"localhost/rtflow-tests/built-{runtime}"
    found = builder(runtime)
    try:
        image = build(folder, runtime=found, tag=tag)
        note(folder, image)
        archive = folder.parent / "image.tar"
        export(image, archive, runtime=found)
        podman("rmi", "--force", tag)
        assert tag in podman("load", "--input", str(archive))
    finally:
        podman("rmi", "--force", tag, check=False)
    with tarfile.open(archive) as opened:
        names = {name.removeprefix("./") for name in opened.getnames()}
    return json.loads((folder / "image.json").read_text()), names


def test_the_base_is_noted_by_its_digest_and_podman_writes_an_oci_archive(
    folder: Path, podman: Podman
) -> None:
    noted, names = written(folder, "podman", podman)
    base = podman.image("busybox")
    assert noted["base"] == base
    assert noted["base_digest"] == f"{repository(base)}@{podman.digest(base)}"
    inspected = podman("image", "inspect", "--format", "{{.Id}}", noted["base_digest"])
    assert inspected == noted["base_id"]
    assert "oci-layout" in names
    assert "manifest.json" not in names


@pytest.mark.usefixtures("docker")
def test_docker_writes_its_own_form(folder: Path, podman: Podman) -> None:
    _, names = written(folder, "docker", podman)
    assert "manifest.json" in names
