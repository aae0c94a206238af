import json

import nibabel as nib
import numpy as np
import pytest
from incrementals import AFFINE, DATA, METADATA
from incrementals import incremental as volume
from validator import bids_errors

from rtflow.bids.archive import BidsArchive
from rtflow.bids.nifti import from_image
from rtflow.bids.one_volume import write_dataset
from rtflow.bids.run import BidsRun
from rtflow.errors import OutputError, UsageError

STEM = "sub-01/ses-02/func/sub-01_ses-02_task-faces_run-1"


def test_a_data_set_of_one_volume(tmp_path) -> None:
    root = tmp_path / "one"
    one = volume()
    path = one.write(root)
    assert path == root / f"{STEM}_bold.nii"
    image = nib.load(path)
    assert image.shape == (3, 4, 5, 1)
    assert np.array_equal(image.dataobj.get_unscaled()[..., 0], DATA)
    assert np.array_equal(image.affine, AFFINE.astype(np.float32))
    sidecar = json.loads((root / f"{STEM}_bold.json").read_text())
    assert sidecar == {**METADATA, "TaskName": "faces", "VolumeNumber": 7}
    assert bids_errors(root) == []

    number = sidecar.pop("VolumeNumber")
    back = from_image(path, sidecar, entities=one.entities, volume=number)
    assert back == one.set("TaskName", "faces").on_affine(one.data, AFFINE.astype(np.float32), reference="")


def test_several_echoes_and_a_reference_lie_in_one(tmp_path) -> None:
    echoes = [volume().set("echo", number).set("EchoTime", 0.01 * number) for number in (1, 2, 3)]
    paths = write_dataset(echoes, tmp_path)
    assert [path.name for path in paths] == [f"{STEM[19:]}_echo-{number}_bold.nii" for number in (1, 2, 3)]
    volume(suffix="sbref").write(tmp_path, only_data=True)
    assert (tmp_path / f"{STEM}_sbref.json").exists()
    assert bids_errors(tmp_path) == []


def test_a_run_is_written_as_the_run_it_is(tmp_path) -> None:
    whole = BidsRun(volume(number) for number in (3, 4, 6)).as_incremental()
    path = whole.write(tmp_path)
    image = nib.load(path)
    assert image.shape == (3, 4, 5, 4)
    assert np.array_equal(image.dataobj.get_unscaled(), whole.data)
    assert image.header.get_zooms()[3] == 1.5
    sidecar = json.loads(path.with_suffix(".json").read_text())
    # As in all sidecars, numbers are those of the file.
    listed = {"MissingVolumes": [3], "FirstVolume": 3}
    assert sidecar == {"TaskName": "faces", "RepetitionTime": 1.5, "EchoTime": 0.028} | listed
    back = BidsArchive.open(tmp_path).get_run()
    assert [one.data.tobytes() for one in back] == [volume(n).data.tobytes() for n in (3, 4, 6)]
    assert bids_errors(tmp_path) == []


def test_data_alone_leave_the_rest_of_a_data_set_alone(tmp_path) -> None:
    description = tmp_path / "dataset_description.json"
    description.write_text('{"Name": "mine", "BIDSVersion": "1.8.0"}')
    (tmp_path / "README").write_text("mine")
    volume().write(tmp_path, only_data=True)
    assert description.read_text() == '{"Name": "mine", "BIDSVersion": "1.8.0"}'
    assert {path.name for path in tmp_path.iterdir()} == {"dataset_description.json", "README", "sub-01"}


def test_nothing_is_written_over(tmp_path) -> None:
    path = volume().write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"_bold\.nii is there already"):
        volume().set("RepetitionTime", 2.0).write(tmp_path)
    assert path.read_bytes() == before
    path.rename(path.with_suffix(".nii.gz"))
    with pytest.raises(OutputError, match=r"_bold\.nii\.gz is there already"):
        volume().write(tmp_path)


def test_what_bids_wants_is_wanted_before_anything_is_written(tmp_path) -> None:
    root = tmp_path / "none"
    with pytest.raises(UsageError, match="volume 7 has no task; BIDS wants it of every bold image"):
        volume(entities={"subject": "01"}).write(root)
    with pytest.raises(UsageError, match="task 'a b' cannot stand"):
        volume(entities={"subject": "01", "task": "a b"}).write(root)
    with pytest.raises(OutputError, match=r"two images would be .* give each echo an entity echo of its own"):
        write_dataset([volume(), volume()], root)
    assert not root.exists()


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "sub-01").write_text("a file")
    with pytest.raises(OutputError, match="choose another folder"):
        volume().write(tmp_path)
