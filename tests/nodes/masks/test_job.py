"""Which mask is brought: of whom its files are, and what registers."""

from dataclasses import replace

from rtflow.nodes.masks.fmriprep import Step, Way
from rtflow.nodes.masks.job import Job
from rtflow.nodes.motion.alignment import LIMIT


def test_all_files_are_to_be_of_one_participant(tmp_path) -> None:
    atlas, region = tmp_path / "atlas.nii.gz", tmp_path / "sub-03_mask.nii.gz"
    image, brain = tmp_path / "sub-1_T1w.nii.gz", tmp_path / "sub-02_desc-brain_mask.nii.gz"
    step = Step(tmp_path / "sub-04_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5")
    assert Job(atlas, Way(tmp_path / "T1w.nii.gz", "T1w")).foreign_to("01") == ""
    assert Job(atlas, Way(image, "T1w")).foreign_to("01") == ""
    assert Job(atlas, Way(image, "T1w")).foreign_to("") == ""
    assert Job(atlas, Way(image, "T1w")).foreign_to("P1").startswith("sub-1_T1w.nii.gz is of sub-1, but")
    assert Job(region, Way(image, "T1w")).foreign_to("01").startswith("sub-03_mask.nii.gz is of sub-03")
    assert Job(atlas, Way(image, "T1w", brain)).foreign_to("01").startswith("sub-02_desc-brain")
    assert Job(atlas, Way(image, "T1w", None, (step,))).foreign_to("01").startswith("sub-04_from-MNI")


def test_a_repeated_run_registers_by_what_it_did(ants, tmp_path) -> None:
    job = Job(tmp_path / "mask.nii.gz", Way(tmp_path / "T1w.nii.gz", "T1w"))
    by_ants = job.registers_by(tmp_path)
    assert by_ants is not None
    assert by_ants.instead
    assert by_ants.limit == LIMIT
    assert job.registers_by(tmp_path, "SimpleITK 2.5.7") is None
    again = job.registers_by(tmp_path, str(by_ants.ants))
    assert again is not None
    assert not again.instead  # what came to its end once does so once more, however long it takes
    assert again.limit is None
    forced = replace(job, registration="ants").registers_by(tmp_path)
    assert forced is not None
    assert not forced.instead
    assert replace(job, registration="simpleitk").registers_by(tmp_path) is None
    boldref = Job(job.file, Way(tmp_path / "boldref.nii.gz", "bold"))
    assert boldref.registers_by(tmp_path) is None
