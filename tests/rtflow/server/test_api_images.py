import json
from pathlib import Path

import counting_workflow
import nibabel as nib
import numpy as np
import pytest
from visitors import Served, ask, guarded

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.picture import Drawn, pictures
from rtflow.engine import run
from rtflow.server.api_images import ABOUT
from rtflow.server.messages import BeginRun
from rtflow.settings import RunSettings, load_settings
from rtflow.workflow_file import load_workflow
from rtflow.workflows import template


@pytest.fixture
def served(tmp_path: Path):
    with guarded(tmp_path, settings=RunSettings()) as place:
        yield place


def get(served: Served, path: str):
    return ask(served, "GET", path, token=served.tokens["viewer"])


def go(served: Served, out: Path, file: str, *changes: str):
    workflow = load_workflow(Path(file))
    settings = load_settings(workflow.settings_type, None, ["source=simulate:?speed=max", *changes])
    return run(workflow, settings, out, server=served.server)


def test_the_latest_volume_of_a_run_can_be_seen(served: Served, tmp_path: Path):
    assert get(served, "/api/images")[:2] == (200, [])
    stop = go(served, tmp_path / "out", template.__file__, "source.volumes=60")
    _, images, _ = get(served, "/api/images")
    by_name = {image["name"]: image for image in images}
    assert by_name["realign.incremental"] == {
        "name": "realign.incremental",
        "kind": "volume",
        "shape": by_name["mask.mask"]["shape"],
        "volume": 60,
        "run_uid": stop.run_uid,
    }
    assert (by_name["mask.mask"]["kind"], by_name["voxels.features"]["kind"]) == ("mask", "map")

    status, body, headers = get(served, "/api/images/realign.incremental")
    about = json.loads(headers[ABOUT])
    assert (status, about["run_uid"], about["volume"]) == (200, stop.run_uid, 60)
    assert len(body) == np.prod(about["shape"])
    assert nib.aff2axcodes(np.array(about["affine"])) == ("R", "A", "S")
    shown = np.frombuffer(body, np.uint8).reshape(about["shape"], order="F")
    status, body, headers = get(served, "/api/images/realign.incremental?form=nifti")
    assert (status, headers["Content-Type"]) == (200, "application/gzip")
    file = tmp_path / "image.nii.gz"
    file.write_bytes(body)
    low, high = about["window"]
    itself = nib.as_closest_canonical(nib.load(file)).get_fdata()
    expected = np.clip((itself - low) / (high - low), 0, 1) * 255
    assert np.abs(expected - shown).max() <= 0.51


def test_brightness_does_not_change_within_a_run(served: Served):
    server, dim = served.server, np.arange(60.0).reshape(3, 4, 5)
    for run_uid, scale, expected in (("r1", 1.0, 1.0), ("r1", 9.0, 1.0), ("r2", 9.0, 9.0)):
        if scale == 1.0 or run_uid == "r2":
            server.begin_run(BeginRun(run_uid=run_uid), pictures)
            server.end_run(run_uid, "completed")
        server.show(run_uid, 1, ["n"], [{"out": BidsIncremental(dim * scale, np.eye(4), volume=1)}])
        about = json.loads(get(served, "/api/images/n.out")[2][ABOUT])
        assert about["window"] == pytest.approx([0.59 * expected, 58.705 * expected], rel=1e-3)


def test_however_often_an_image_is_asked_for_it_is_made_once_a_volume(served: Served, monkeypatch):
    """Else whoever looks on could take the processors from the run."""
    made: list[str] = []

    class Counting(Drawn):
        def picture(self, window):
            made.append("picture")
            return super().picture(window)

        def nifti(self):
            made.append("nifti")
            return super().nifti()

    monkeypatch.setattr("rtflow.bids.picture.Drawn", Counting)
    server, data = served.server, np.arange(60.0).reshape(3, 4, 5)
    server.begin_run(BeginRun(run_uid="r1"), pictures)
    for volume in (1, 2):
        server.show("r1", volume, ["n"], [{"out": BidsIncremental(data + volume, np.eye(4), volume=volume)}])
        for _ in range(3):
            assert json.loads(get(served, "/api/images/n.out")[2][ABOUT])["volume"] == volume
            assert get(served, "/api/images/n.out?form=nifti")[0] == 200
    server.end_run("r1", "completed")
    assert made == ["picture", "nifti"] * 2


def test_what_cannot_be_drawn_is_no_image_and_the_run_goes_on(served: Served, tmp_path: Path):
    stop = go(served, tmp_path / "out", counting_workflow.__file__)
    assert stop.status == "completed"
    assert get(served, "/api/images")[:2] == (200, [])


def test_images_are_for_those_who_may_look(served: Served):
    assert ask(served, "GET", "/api/images")[0] == 401
    assert ask(served, "GET", "/api/images/a.b", token=served.tokens["subject"])[0] == 403
    assert get(served, "/api/images/a.b")[0] == 404
    assert get(served, "/api/images/a.b?form=jpeg")[0] == 400
