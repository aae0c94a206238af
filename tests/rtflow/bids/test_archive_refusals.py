"""Data sets of others, and odd volumes: refused with a sentence, or taken; never damaged."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from validator import bids_errors

from rtflow.bids.archive import BidsArchive
from rtflow.bids.dataset import claim_run, write_json
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run_file import RunFile
from rtflow.bids.volumes import missing_volumes
from rtflow.errors import ArchiveError, OutputError, UsageError, VolumeError

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
STEM = "sub-01/func/sub-01_task-faces_run-1_bold"


def volume(number: int, dtype: str = "int16", metadata: dict[str, Any] | None = None, **entities: str):
    data = np.asfortranarray(np.arange(60).reshape(3, 4, 5).astype(dtype))
    return BidsIncremental(
        data,
        AFFINE,
        volume=number,
        metadata={"RepetitionTime": 1.5} | (metadata or {}),
        entities={"subject": "01", "task": "faces", "run": "1"} | entities,
    )


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[BidsArchive]:
    with BidsArchive.create(tmp_path / "set") as made:
        yield made


def put(archive: BidsArchive, data: np.ndarray, shared: bool = False) -> Path:
    """A run that another program has written."""
    path = archive.root / f"{STEM}.nii"
    path.parent.mkdir(parents=True)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 1.5
    image.to_filename(path)
    beside = archive.root / "task-faces_bold.json" if shared else path.with_suffix(".json")
    beside.write_text('{"RepetitionTime": 1.5, "TaskName": "faces"}')
    return path


@pytest.mark.parametrize("data", [np.ones((3, 4, 5, 3)), np.ones((3, 4, 5), np.int16)])
def test_a_run_that_cannot_grow_in_place_stays_as_it_is(archive, data) -> None:
    path = put(archive, data)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="laid out otherwise than runs that grow"):
        archive.append(volume(4, data.dtype.name))
    assert path.read_bytes() == before


def test_a_run_that_is_cut_off_stays_as_it_is(archive) -> None:
    path = put(archive, np.ones((3, 4, 5, 3), np.int16))
    path.write_bytes(path.read_bytes()[:-7])
    before = path.read_bytes()
    with pytest.raises(OutputError, match="laid out otherwise"):
        archive.append(volume(4))
    assert path.read_bytes() == before


def test_a_run_without_a_sidecar_of_its_own_gets_one(archive) -> None:
    path = put(archive, np.ones((3, 4, 5, 2), np.int16), shared=True)
    archive.append(volume(5))
    archive.close()
    assert json.loads(path.with_suffix(".json").read_text()) == {"MissingVolumes": [3, 4]}
    assert archive.get_run().numbers == (1, 2, 5)
    assert bids_errors(archive.root) == []


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_link(archive, tmp_path, there) -> None:
    path = archive.append(volume(1))
    archive.close()
    kept = tmp_path / "kept"
    before = path.read_bytes()
    path.rename(kept)
    path.symlink_to(kept)
    if not there:  # of git-annex, and not fetched
        kept.unlink()
    with pytest.raises(UsageError if there else VolumeError, match="is a link" if there else "No such file"):
        BidsArchive.open(archive.root).append(volume(2))
    assert path.is_symlink()
    assert not there or kept.read_bytes() == before


def test_metadata_of_another_run_are_refused(archive) -> None:
    archive.append(volume(1))
    with pytest.raises(VolumeError, match=r"RepetitionTime 2\.0, the run has 1\.5"):
        archive.append(volume(2, metadata={"RepetitionTime": 2.0}))
    archive.append(volume(2, metadata={"EchoTime": 0.03}))  # what the first did not tell
    archive.close()
    with pytest.raises(VolumeError, match=r"RepetitionTime 2\.0, the run has 1\.5"):
        archive.append(volume(3, metadata={"RepetitionTime": 2.0}))


@pytest.mark.parametrize("other", [{"task": "Faces"}, {"run": "01"}])
def test_names_that_bids_takes_for_one_are_not_both_there(archive, other) -> None:
    archive.append(volume(1))
    archive.close()
    for refused in (archive.append, lambda one: one.write(archive.root, only_data=True)):
        with pytest.raises(OutputError, match="is there"):
            refused(volume(1, **other))
    # A run that is recorded becomes the next one.
    entry = claim_run(archive.root, dict(volume(1, **other).entities), "uid")
    assert entry.bold.name.endswith(("_task-Faces_run-2_bold.nii", "_run-02_bold.nii"))
    assert bids_errors(archive.root) == []


def test_what_is_no_number_is_left_out(archive) -> None:
    odd = {"EchoTime": float("nan"), "Said": None, "List": [1, np.float32("inf")], "Array": np.arange(2)}
    path = archive.append(volume(1, metadata=odd))
    archive.append(volume(2, metadata=odd))
    archive.close()
    about = json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    expected = {"RepetitionTime": 1.5, "Said": None, "List": [1, None], "Array": [0, 1], "TaskName": "faces"}
    assert about == expected
    assert bids_errors(archive.root) == []
    with pytest.raises(UsageError, match="of type bytes, expected a JSON value"):
        write_json(path.with_name("x.json"), {"Bytes": b"x"})


def test_what_a_sidecar_said_before_the_run_stays(archive) -> None:
    sidecar = archive.root / f"{STEM}.json"
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text('{"Instructions": "Look.", "MissingVolumes": [9]}')
    archive.append(volume(1))
    archive.close()
    about = json.loads(sidecar.read_text())
    assert about == {"RepetitionTime": 1.5, "TaskName": "faces", "Instructions": "Look."}


def test_the_place_of_a_recorded_run_is_left_to_it(archive) -> None:
    claim_run(archive.root, dict(volume(1).entities), "20260101-1")
    with pytest.raises(OutputError, match="of run 20260101-1, which may go on"):
        archive.append(volume(1))


@pytest.mark.parametrize("number", [0, -3])
def test_volumes_are_numbered_from_one(archive, number) -> None:
    with pytest.raises(VolumeError, match="numbered from 1"):
        archive.append(volume(number))


def test_a_number_that_no_file_holds_is_refused_at_once(archive) -> None:
    path = archive.append(volume(1))
    with pytest.raises(VolumeError, match="volume 32768: a NIfTI-1 file holds 32767"):
        archive.append(volume(32768))
    assert nib.load(path).shape[3] == 1


def test_a_value_too_large_for_the_file_is_refused(archive) -> None:
    large = volume(1, "float64")
    data = large.data.copy()
    data[0, 0, 0] = 1e300
    with pytest.raises(VolumeError, match="too large for float32"):
        archive.append(large.with_data(data))


def test_a_gap_is_listed_once_though_the_disk_was_full(tmp_path, monkeypatch) -> None:
    import rtflow.bids.run_file as run_file

    file = RunFile(tmp_path / "x.nii", volume(1))
    file.append(volume(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(run_file, "_write_at", full)
        with pytest.raises(OutputError, match="No space left"):
            file.append(volume(3))
    file.append(volume(3))
    file.close()
    assert (file.missing, file.volumes, file.present) == ([2], 3, 2)


@pytest.mark.parametrize("listed", ["abc", 3, [[1]], ["2"], [1.5], [0], [True]])
def test_missing_volumes_that_are_no_list_of_numbers(archive, listed) -> None:
    path = archive.append(volume(1))
    archive.close()
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": 1.5, "MissingVolumes": listed}))
    for use in (lambda: archive.get_run(), lambda: BidsArchive.open(archive.root).append(volume(2))):
        with pytest.raises(VolumeError, match="expected a list of numbers from 1"):
            use()
    assert missing_volumes({"MissingVolumes": None}, "x") == []


def test_an_image_that_is_there_twice_counts_once(archive) -> None:
    path = archive.append(volume(1))
    archive.append(volume(2))
    archive.close()
    # As a crash leaves it just before the uncompressed one goes.
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    again = BidsArchive.open(archive.root)
    assert again.get_run().numbers == (1, 2)
    assert again.get_volume(2).volume == 2
    assert again.image(suffix="bold") == path


def test_runs_are_sorted_by_number(archive) -> None:
    for run in ("10", "2", "1"):
        archive.append(volume(1, run=run))
    archive.close()
    assert archive.runs() == ["1", "2", "10"]


@pytest.mark.parametrize(
    "table", [b'participant_id\tage\r\nsub-09\t"3\r\nsub-08\t\xe9\r\n', b"\xef\xbb\xbfage\tparticipant_id"]
)
def test_a_table_of_participants_keeps_its_bytes(archive, table) -> None:
    path = archive.root / "participants.tsv"
    path.write_bytes(table)
    archive.append(volume(1))
    archive.append(volume(1, run="2"))
    archive.close()
    said = path.read_bytes()
    assert said.startswith(table)
    assert said.removeprefix(table).strip() in (b"sub-01\tn/a", b"n/a\tsub-01")


@pytest.mark.parametrize("content", ['{"Name": "x"}', "[]", "", '{"Name": '])
def test_a_description_that_says_too_little_is_left_alone(tmp_path, content) -> None:
    (tmp_path / "dataset_description.json").write_text(content)
    with pytest.raises(OutputError, match="mend it first, or choose another folder"):
        BidsArchive.create(tmp_path)
    with pytest.raises(ArchiveError, match="mend it first"):
        BidsArchive.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset_description.json"]
