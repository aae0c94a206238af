"""A data set in a folder: nothing of it changes, things are found by entities, runs grow in it."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from validator import bids_errors

from rtflow.bids.archive import BidsArchive
from rtflow.bids.dataset import claim_run
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.run import BidsRun
from rtflow.bids.run_file import run_header
from rtflow.bids.unfinished import ignore
from rtflow.errors import (
    ArchiveError,
    NoMatchError,
    OutputError,
    SeveralMatchError,
    UsageError,
    VolumeError,
)

ABOUT = {"Name": "Theirs", "BIDSVersion": "1.4.0", "Funding": ["x"]}
SHARED = {"RepetitionTime": 1.5, "EchoTime": 0.02, "TaskName": "faces"}
SHAPE = (6, 5, 4)
AFFINE = np.array([[-2.0, 0, 0, 90.1], [0, 2.5, 0.1, -120], [0, -0.1, 3.3, -60], [0, 0, 0, 1]], np.float32)


def volume(number: int, **entities: str) -> BidsIncremental:
    data = np.random.default_rng(number).integers(0, 4000, SHAPE, dtype=np.int16)
    return BidsIncremental(
        np.asfortranarray(data),
        AFFINE,
        volume=number,
        metadata={"RepetitionTime": 1.5, "EchoTime": 0.03, "TaskName": "faces"},
        entities={"subject": "01", "task": "faces", "run": "1"} | entities,
    )


def hashes(root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def somebodys(tmp_path: Path) -> Path:
    """A data set of somebody else: two subjects, sessions, metadata at three levels, compressed or not."""
    root = tmp_path / "somebodys"
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps(ABOUT))
    (root / "README").write_text("What we did.\n")
    (root / "task-faces_bold.json").write_text(json.dumps(SHARED))
    (root / "task-faces_events.tsv").write_text("onset\tduration\ttrial_type\n0\t2\tface\n")
    for subject in ("01", "02"):
        for session in ("a", "b"):
            folder = root / f"sub-{subject}" / f"ses-{session}" / "func"
            folder.mkdir(parents=True)
            for run in ("01", "02"):
                stem = f"sub-{subject}_ses-{session}_task-faces_run-{run}"
                data = (
                    np.random.default_rng(int(subject + run)).integers(0, 999, (*SHAPE, 4)).astype(np.int16)
                )
                image = nib.Nifti1Image(data, AFFINE)
                image.header.set_zooms((2, 2.5, 3.3, 1.5))
                image.to_filename(folder / f"{stem}_bold.nii{'.gz' if run == '02' else ''}")
            (folder / f"{stem}_bold.json").write_text('{"EchoTime": 0.05}')
        anat = root / f"sub-{subject}" / "ses-a" / "anat"
        anat.mkdir()
        nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE).to_filename(
            anat / f"sub-{subject}_ses-a_T1w.nii.gz"
        )
    return root


def test_a_data_set_is_looked_at_and_not_changed(somebodys: Path) -> None:
    before = hashes(somebodys)
    archive = BidsArchive.open(somebodys)
    assert archive.subjects() == ["01", "02"]
    assert archive.sessions(subject="01") == ["a", "b"]
    assert archive.tasks() == ["faces"]
    assert archive.runs(subject="02", session="a") == ["01", "02"]
    assert archive.description["Funding"] == ["x"]
    assert archive.readme == "What we did.\n"
    assert len(archive.images()) == 10
    assert len(archive.images(suffix="bold", run=1)) == 4
    archive.get_run(subject="01", session="a", run=2)
    archive.close()
    assert hashes(somebodys) == before
    # Nor by whoever makes sure that there is one.
    BidsArchive.create(somebodys)
    assert hashes(somebodys) == before


def test_images_and_events_by_entities_exact_or_not(somebodys: Path) -> None:
    archive = BidsArchive.open(somebodys)
    wanted = {"subject": "01", "session": "a"}
    assert [path.name for path in archive.images(**wanted, exact=True)] == ["sub-01_ses-a_T1w.nii.gz"]
    assert len(archive.images(**wanted)) == 3
    found = archive.image(subject="01", session="b", run=1)
    assert found == somebodys / "sub-01" / "ses-b" / "func" / "sub-01_ses-b_task-faces_run-01_bold.nii"
    assert archive.events(task="faces") == [somebodys / "task-faces_events.tsv"]
    assert archive.events(task="faces", subject="01") == []


def test_metadata_are_inherited_as_pybids_inherits_them(somebodys: Path) -> None:
    from bids import BIDSLayout

    archive, layout = BidsArchive.open(somebodys), BIDSLayout(somebodys, validate=False)
    for image in archive.images(suffix="bold"):
        assert archive.metadata(image) == layout.get_metadata(str(image))
    assert archive.metadata(archive.image(subject="01", session="a", run=2))["EchoTime"] == 0.05
    assert archive.metadata(archive.image(subject="01", session="a", run=1))["EchoTime"] == 0.02


def test_none_and_several_are_two_errors_that_say_what_there_is(somebodys: Path) -> None:
    archive = BidsArchive.open(somebodys)
    with pytest.raises(
        NoMatchError, match=r"no image of subject 03; it has sub-01_ses-a_T1w\.nii\.gz, .*\.\.\."
    ):
        archive.image(subject="03")
    with pytest.raises(
        SeveralMatchError, match=r"2 files fit run of subject 01, session a: .*run-01_bold\.nii"
    ):
        archive.get_run(subject="01", session="a")
    with pytest.raises(SeveralMatchError, match="4 files"):
        archive.get_volume(1, subject="01")
    with pytest.raises(UsageError, match="'subjekt' is no BIDS entity; did you mean 'subject'"):
        archive.images(subjekt="01")


def test_what_cannot_be_read_is_never_taken_for_empty(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is no folder"):
        BidsArchive.open(tmp_path / "none")
    with pytest.raises(ArchiveError, match="no dataset_description"):
        BidsArchive.open(tmp_path)
    for text in ("{", "[]", '{"Name": "x"}', ""):
        (tmp_path / "dataset_description.json").write_text(text)
        with pytest.raises(ArchiveError, match="mend it first"):
            BidsArchive.open(tmp_path)
        assert (tmp_path / "dataset_description.json").read_text() == text
    assert issubclass(ArchiveError, UsageError)


@pytest.mark.parametrize("run", ["01", "02"])
def test_a_run_and_its_volumes_have_the_stored_values(somebodys: Path, run: str) -> None:
    archive = BidsArchive.open(somebodys)
    wanted = {"subject": "02", "session": "b", "run": run}
    expected = np.asanyarray(nib.load(archive.image(**wanted)).dataobj)
    whole = archive.get_run(**wanted)
    assert whole.numbers == (1, 2, 3, 4)
    for number in (4, 1, 3):
        one = archive.get_volume(number, **wanted)
        np.testing.assert_array_equal(one.data, expected[..., number - 1])
        assert one == whole.volume(number)
        assert one.tr == 1.5
        np.testing.assert_array_equal(one.affine, AFFINE.astype(float))
    with pytest.raises(VolumeError, match="no volume 5, it has 4"):
        archive.get_volume(5, **wanted)


def test_a_volume_that_never_came_is_not_given_as_zeros(tmp_path: Path) -> None:
    archive = BidsArchive.create(tmp_path / "set")
    for number in (1, 2, 4):
        archive.append(volume(number))
    with pytest.raises(NoMatchError, match=r"volume 3 of .*_bold\.nii never came"):
        archive.get_volume(3, run=1)
    assert archive.get_volume(4, run=1) == archive.get_run(run=1).volume(4)
    archive.close()


def test_one_volume_is_read_without_those_after_it(somebodys: Path) -> None:
    archive = BidsArchive.open(somebodys)
    wanted = {"subject": "01", "session": "a", "run": "1"}
    image = archive.image(**wanted)
    size = np.prod(SHAPE) * 2
    os.truncate(image, 352 + 2 * size)
    with image.open("r+b") as file:  # the first volume's bytes cannot be what the second one is made of
        file.seek(352)
        file.write(b"\xff" * size)
    assert archive.get_volume(2, **wanted).data.any()
    with pytest.raises(VolumeError, match="volume 3 cannot be read"):
        archive.get_volume(3, **wanted)


def test_a_run_grows_and_can_be_read_at_any_moment(tmp_path: Path) -> None:
    archive = BidsArchive.create(tmp_path / "set")
    for number in (1, 2, 4, 5):
        path = archive.append(volume(number))
        image = nib.load(path)
        assert image.shape == (*SHAPE, number)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj)[..., -1], volume(number).data)
        assert path in archive.images(subject="01", run=1)
        assert archive.get_volume(number, run=1).data.tobytes() == volume(number).data.tobytes()
    assert bids_errors(archive.root) == []
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["MissingVolumes"] == [3]
    with pytest.raises(VolumeError, match="after volume 5 was written"):
        archive.append(volume(5))
    with pytest.raises(VolumeError, match=r"scaling \(2\.0, 0\.0\), the run has \(1\.0, 0\.0\)"):
        archive.append(
            BidsIncremental(volume(6).data, AFFINE, volume=6, entities=volume(6).entities, slope=2.0)
        )
    archive.close()
    # Another day it goes on; what is there stays.
    again = BidsArchive.open(archive.root)
    again.append(volume(7))
    assert json.loads(path.with_suffix(".json").read_text()) == about | {"MissingVolumes": [3, 6]}
    (packed,) = again.close(compress_runs=True)
    assert packed.name.endswith(".nii.gz")
    assert not path.exists()
    run = again.get_run(subject="01", task="faces")
    assert run.numbers == (1, 2, 4, 5, 7)
    assert [one.data.tobytes() for one in run] == [volume(n).data.tobytes() for n in run.numbers]
    with pytest.raises(OutputError, match="compressed, which ends a run"):
        again.append(volume(8))
    assert bids_errors(again.root) == []


def test_an_incomplete_volume_begins_no_run(tmp_path: Path) -> None:
    archive = BidsArchive.create(tmp_path)
    before = hashes(tmp_path)
    with pytest.raises(UsageError, match="RepetitionTime"):
        archive.append(BidsIncremental(volume(1).data, AFFINE, volume=1, entities=volume(1).entities))
    assert hashes(tmp_path) == before


def test_a_run_of_somebody_else_is_not_appended_to(somebodys: Path) -> None:
    archive = BidsArchive.open(somebodys)
    image = archive.image(subject="01", session="a", run=1)
    raw = image.read_bytes()
    image.write_bytes(raw[:108] + np.float32(368).tobytes() + raw[112:352] + bytes(16) + raw[352:])
    before = hashes(somebodys)
    theirs = archive.get_volume(4, subject="01", session="a", run=1)
    with pytest.raises(OutputError, match="laid out otherwise"):
        archive.append(
            BidsIncremental(
                theirs.data,
                theirs.affine,
                volume=5,
                metadata=theirs.metadata,
                entities=theirs.entities,
            )
        )
    assert hashes(somebodys) == before


def test_a_run_is_appended_whole_and_never_over_another(tmp_path: Path) -> None:
    archive = BidsArchive.create(tmp_path)
    run = BidsRun(volume(number, echo=echo) for number in (1, 2, 3) for echo in ("1", "2"))
    paths = archive.append_run(run)
    assert [path.name for path in paths] == [
        f"sub-01_task-faces_run-1_echo-{echo}_bold.nii" for echo in (1, 2)
    ]
    again = archive.get_run(run=1)
    assert [(one.volume, one.entities["echo"]) for one in again] == [(n, e) for n in (1, 2, 3) for e in "12"]
    assert [one.data.tobytes() for one in again] == [one.data.tobytes() for one in run]
    before = hashes(tmp_path)
    with pytest.raises(OutputError, match="is there already and stays"):
        archive.append_run(run)
    assert hashes(tmp_path) == before


_WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from test_archive import BidsArchive, volume
archive = BidsArchive.create(sys.argv[1])
for number in range(1, 32000):
    archive.append(volume(number))
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_moment_loses_the_volume_being_written_at_most(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "set"
    here = Path(__file__).parent
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, root, here, here.parents[1] / "helpers"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 60)):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    told = [int(line) for line in writer.stdout.read().splitlines()]
    writer.communicate()
    archive = BidsArchive.open(root)
    image = nib.load(archive.image(run=1))
    count = image.shape[3]
    assert count >= max(told, default=1)
    data = np.asanyarray(image.dataobj)
    for number in range(1, count + 1):
        np.testing.assert_array_equal(data[..., number - 1], volume(number).data)
    if seed == 0:
        assert bids_errors(root) == []
    # It goes on where it was.
    archive.append(volume(count + 1))
    archive.close()
    assert archive.get_run().numbers == tuple(range(1, count + 2))


def test_the_header_is_the_one_that_a_run_begins_with(tmp_path: Path) -> None:
    with BidsArchive.create(tmp_path) as archive:
        path = archive.append(volume(1))
    assert path.read_bytes()[:352] == run_header(volume(1), np.dtype("<i2"))


def test_between_image_and_sidecar_the_run_is_passed_over(tmp_path: Path) -> None:
    root = BidsArchive.create(tmp_path).root
    entities = {"subject": "01", "task": "faces", "run": "1"}
    entry = claim_run(root, entities, "20261128-000000-abcdef")
    assert not entry.bold.exists()
    assert bids_errors(root) == []  # as it is left by a crash just then
    other = claim_run(root, entities, "20261128-000001-abcdef")
    mark = "# rtflow is writing this, or was cut off:\n"
    first, second = (f"{mark}sub-01_task-faces_run-{run}_*\n" for run in (1, 2))
    assert (root / ".bidsignore").read_text() == first + second
    ignore(root, entry.bold, unfinished=False)
    assert (root / ".bidsignore").read_text() == second
    assert bids_errors(root) != []
    ignore(root, other.bold, unfinished=False)
    assert not (root / ".bidsignore").exists()


def test_a_whole_run_is_not_passed_over(tmp_path: Path) -> None:
    archive = BidsArchive.create(tmp_path)
    (tmp_path / ".bidsignore").write_text("notes/\n")
    archive.append(volume(3))
    archive.append(volume(4))
    archive.close()
    assert (tmp_path / ".bidsignore").read_text() == "notes/\n"


def test_a_run_that_goes_on_is_no_longer_passed_over(tmp_path: Path) -> None:
    with BidsArchive.create(tmp_path) as archive:
        path = archive.append(volume(1))
    ignore(tmp_path, path)  # as it is left by a crash between the first volume and this list
    with BidsArchive.open(tmp_path) as archive:
        archive.append(volume(2))
    assert not (tmp_path / ".bidsignore").exists()
    assert bids_errors(tmp_path) == []
