"""Which of fMRIPrep's files lead from an image of an earlier session to the space of a mask."""

import pytest

from rtflow.errors import NoMatchError, SeveralMatchError, UsageError
from rtflow.nodes.masks.fmriprep import Step, find_way

MNI = "MNI152NLin2009cAsym"
ANAT = [
    "anat/sub-01_desc-preproc_T1w.nii.gz",
    "anat/sub-01_desc-brain_mask.nii.gz",
    "anat/sub-01_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz",
    "anat/sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
    "anat/sub-01_from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5",
    "anat/sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
    "anat/sub-01_from-fsnative_to-T1w_mode-image_xfm.txt",
]
NEW = [
    "func/sub-01_task-nf_desc-hmc_boldref.nii.gz",
    "func/sub-01_task-nf_desc-coreg_boldref.nii.gz",
    "func/sub-01_task-nf_space-T1w_boldref.nii.gz",
    "func/sub-01_task-nf_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    "func/sub-01_task-nf_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
]
OLD = [
    "func/sub-01_task-nf_boldref.nii.gz",
    "func/sub-01_task-nf_from-scanner_to-T1w_mode-image_xfm.txt",
    "func/sub-01_task-nf_from-T1w_to-scanner_mode-image_xfm.txt",
]
RESAMPLED = ["func/sub-01_task-nf_space-T1w_boldref.nii.gz"]


def lay_out(root, files, subject="sub-01"):
    for name in files:
        path = root / subject / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def told(way):
    return way.image.name, [(step.file.name, step.inverse) for step in way.steps]


def test_a_boldref_is_taken_first_and_the_coregistration_turned_if_it_leads_the_other_way(tmp_path) -> None:
    way = find_way(lay_out(tmp_path, ANAT + NEW), MNI, subject="01")
    assert way.contrast == "bold"
    assert told(way) == (
        "sub-01_task-nf_desc-coreg_boldref.nii.gz",
        [
            ("sub-01_task-nf_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt", True),
            (f"sub-01_from-{MNI}_to-T1w_mode-image_xfm.h5", False),
        ],
    )


def test_names_of_earlier_releases_and_the_direction_that_needs_no_inverse(tmp_path) -> None:
    way = find_way(lay_out(tmp_path, ANAT + OLD), "T1w", subject="01")
    assert told(way) == (
        "sub-01_task-nf_boldref.nii.gz",
        [("sub-01_task-nf_from-T1w_to-scanner_mode-image_xfm.txt", False)],
    )


def test_a_boldref_that_is_in_the_space_of_the_t1w_image_needs_no_coregistration(tmp_path) -> None:
    way = find_way(lay_out(tmp_path, ANAT + RESAMPLED), "T1w", subject="01")
    assert told(way) == ("sub-01_task-nf_space-T1w_boldref.nii.gz", [])
    assert way.contrast == "bold"


@pytest.mark.parametrize("files", [ANAT, ANAT + NEW])
def test_the_t1w_image_and_its_brain_serve_without_a_boldref_or_when_asked(tmp_path, files) -> None:
    through = "T1w" if files != ANAT else "auto"
    way = find_way(lay_out(tmp_path, files), MNI, subject="01", through=through)
    assert way.contrast == "T1w"
    assert way.brain == tmp_path / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz"
    step = Step(tmp_path / "sub-01" / "anat" / f"sub-01_from-{MNI}_to-T1w_mode-image_xfm.h5")
    assert (way.image.name, way.steps) == ("sub-01_desc-preproc_T1w.nii.gz", (step,))


def test_a_mask_in_the_space_of_a_boldref_comes_through_that_boldref_alone(tmp_path) -> None:
    root = lay_out(tmp_path, NEW)
    assert told(find_way(root, "boldref", subject="01")) == ("sub-01_task-nf_desc-coreg_boldref.nii.gz", [])
    with pytest.raises(UsageError, match="comes through that boldref"):
        find_way(root, "boldref", subject="01", through="T1w")


def test_sessions_share_an_anatomy_and_runs_are_told_apart(tmp_path) -> None:
    runs = [
        f"ses-{session}/func/sub-01_ses-{session}_task-nf_run-{run}_{rest}"
        for session in "ab"
        for run in ("01", "02")
        for rest in ("desc-coreg_boldref.nii.gz", "from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt")
    ]
    root = lay_out(tmp_path, ANAT + runs)
    way = find_way(root, "T1w", subject="01", session="b", run="2")
    assert told(way) == (
        "sub-01_ses-b_task-nf_run-02_desc-coreg_boldref.nii.gz",
        [("sub-01_ses-b_task-nf_run-02_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt", True)],
    )
    with pytest.raises(SeveralMatchError, match=r"2 files fit of session b: .*run-01.*run-02.*; name the"):
        find_way(root, "T1w", subject="01", session="b")


def test_sessions_with_an_anatomy_each_are_told_apart(tmp_path) -> None:
    files = [name.replace("anat/sub-01_", f"ses-{s}/anat/sub-01_ses-{s}_") for s in "ab" for name in ANAT]
    root = lay_out(tmp_path, files)
    way = find_way(root, MNI, subject="01", session="a")
    assert way.brain is not None
    assert all("ses-a" in str(path) for path in (way.image, way.brain, way.steps[0].file))
    with pytest.raises(SeveralMatchError):
        find_way(root, MNI, subject="01")


def without(files, part):
    return [name for name in files if part not in name]


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        (ANAT, {"subject": "02"}, "has no sub-02"),
        (without(ANAT, "desc-preproc"), {}, "desc-preproc_T1w"),
        (ANAT + without(NEW, "from-boldref"), {}, "no coregistration of sub-01_task-nf_desc-coreg_boldref"),
        (ANAT, {"through": "boldref"}, "no boldref"),
        (ANAT + NEW, {"task": "rest", "through": "boldref"}, "no boldref of task rest"),
        (without(ANAT, f"from-{MNI}"), {}, "leads the other way; the inverse"),
        (ANAT, {"space": "MNI152NLin6Asym"}, f"there are transforms from {MNI}, fsnative"),
    ],
)
def test_what_is_missing_is_said(tmp_path, files, options, says) -> None:
    root = lay_out(tmp_path, files)
    with pytest.raises(UsageError, match=says) as caught:
        find_way(root, **{"space": MNI, "subject": "01", **options})
    assert isinstance(caught.value, NoMatchError) or "sub-02" in says
