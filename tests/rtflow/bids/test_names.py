import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.bids.entities import bids_name
from rtflow.bids.names import SUFFIXES, read_name

LABELS = st.from_regex(r"[0-9A-Za-z+]{1,8}", fullmatch=True)
SAID = st.fixed_dictionaries(
    {"task": LABELS},
    optional={
        **dict.fromkeys(("subject", "session", "acquisition", "ceagent"), LABELS),
        **dict.fromkeys(("reconstruction", "direction"), LABELS),
        "run": st.from_regex(r"[0-9]{1,3}", fullmatch=True),
    },
)


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


@given(SAID, st.sampled_from(sorted(SUFFIXES)), st.sampled_from(["", "__again", "__run-9"]))
def test_a_protocol_named_as_bids_names_files_says_it_all(
    entities: dict[str, str], suffix: str, remark: str
) -> None:
    hint = read_name(f"{SUFFIXES[suffix]}-{suffix}_{bids_name(entities)}{remark}")
    assert (hint.folder, hint.suffix) == (SUFFIXES[suffix], suffix)
    assert (dict(hint.entities), hint.unsound) == (entities, ())


@given(st.text(max_size=40))
def test_any_name_can_be_read(text: str) -> None:
    hint = read_name(text)
    assert all(f"-{label}" in text for label in hint.entities.values())
    assert all(word in text for word in hint.unsound)


def test_which_echo_it_is_the_header_says() -> None:
    assert dict(read_name("func-bold_task-a_echo-2_part-mag").entities) == {"task": "a"}
