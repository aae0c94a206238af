import pytest

from rtflow.bids.names import read_name


@pytest.mark.parametrize(
    ("text", "folder", "suffix", "entities"),
    [
        ("func-bold_task-faces_run-01", "func", "bold", {"task": "faces", "run": "01"}),
        ("func_ses-01_task-faces_run-01", "func", "", {"session": "01", "task": "faces", "run": "01"}),
        ("ses-01_task-faces_bold_SBRef", "func", "bold", {"session": "01", "task": "faces"}),
        ("anat-T1w_acq-mprage", "anat", "T1w", {"acquisition": "mprage"}),
        ("anat-t1w", "anat", "T1w", {}),
        ("T2w", "anat", "T2w", {}),
        ("fmap-epi_dir-AP", "fmap", "epi", {"direction": "AP"}),
        ("func-bold_task-rest__second_task-no", "func", "bold", {"task": "rest"}),
        ("sub-07_task-x_rec-moco", "", "", {"subject": "07", "task": "x", "reconstruction": "moco"}),
    ],
)
def test_what_names_say(text: str, folder: str, suffix: str, entities: dict[str, str]) -> None:
    hint = read_name(text)
    assert (hint.folder, hint.suffix, dict(hint.entities), hint.unsound) == (folder, suffix, entities, ())
    assert hint


@pytest.mark.parametrize(
    "text", ["", "EPI_asc", "EPI PE=AP", "t1_mprage_sag", "Ax fMRI HB3 48sl", "MoCoSeries"]
)
def test_names_that_say_nothing(text: str) -> None:
    assert not read_name(text)


@pytest.mark.parametrize("word", ["task-face house", "task-face-house", "run-one", "task-", "task-é"])
def test_labels_that_cannot_stand_in_a_name(word: str) -> None:
    hint = read_name(f"func-bold_{word}")
    assert dict(hint.entities) == {}
    assert hint.unsound == (word,)
