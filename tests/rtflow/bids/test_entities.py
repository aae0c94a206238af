from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.bids.entities import (
    ENTITIES,
    INDICES,
    check_entities,
    file_name,
    is_sound,
    matches,
    parse_name,
    relative_path,
)
from rtflow.errors import UsageError

LABELS = st.from_regex(r"[0-9A-Za-z+]{1,8}", fullmatch=True)
NUMBERS = st.from_regex(r"[0-9]{1,4}", fullmatch=True)
ONE_OF = {"part": ["mag", "phase", "real", "imag"], "mtransfer": ["on", "off"], "hemisphere": ["L", "R"]}


def label_of(entity: str) -> st.SearchStrategy[str]:
    if entity in ONE_OF:
        return st.sampled_from(ONE_OF[entity])
    return NUMBERS if entity in INDICES else LABELS


ENTITY_SETS = st.fixed_dictionaries(
    {"subject": LABELS}, optional={name: label_of(name) for name in ENTITIES if name != "subject"}
)
SUFFIXES = st.sampled_from(["bold", "sbref", "events", "T1w", "physio"])
EXTENSIONS = st.sampled_from([".nii", ".nii.gz", ".json", ".tsv", ".tsv.gz"])


def test_the_entities_are_those_of_the_standard() -> None:
    from bidsschematools.schema import load_schema

    schema = load_schema()
    official = schema.objects.entities
    assert dict(ENTITIES) == {name: official[name].name for name in schema.rules.entities}
    assert list(ENTITIES) == list(schema.rules.entities)
    assert {name for name in ENTITIES if official[name].format == "index"} == INDICES
    assert {name: list(official[name].enum) for name in ENTITIES if "enum" in official[name]} == ONE_OF


@given(ENTITY_SETS, SUFFIXES, EXTENSIONS)
def test_a_name_says_what_it_was_made_of(entities: dict[str, str], suffix: str, extension: str) -> None:
    check_entities(entities)
    name = file_name(entities, suffix, extension)
    assert parse_name(name) == (entities, suffix, extension)
    assert list(parse_name(name)[0]) == [entity for entity in ENTITIES if entity in entities]
    path = relative_path(entities, "func", suffix, extension)
    assert path.name == name
    session = [f"ses-{entities['session']}"] if "session" in entities else []
    assert path.parts[:-1] == (f"sub-{entities['subject']}", *session, "func")


@given(st.text(max_size=30))
def test_any_name_can_be_read(name: str) -> None:
    entities, suffix, extension = parse_name(name)
    assert name.endswith(suffix + extension)
    assert all(f"-{label}" in name for label in entities.values())


@given(ENTITY_SETS)
def test_what_has_all_its_entities_matches(entities: dict[str, str]) -> None:
    assert matches(entities, entities, exact=True)
    fewer = dict(list(entities.items())[:-1])
    assert matches(entities, fewer)
    assert not matches(entities, fewer, exact=True)
    assert not matches(fewer, entities)


@pytest.mark.parametrize(
    ("wanted", "exact", "expected"),
    [
        ({"run": "1"}, False, True),
        ({"run": 1}, False, True),
        ({"run": "10"}, False, False),
        ({"subject": "1"}, False, False),  # a label, no number
        ({"session": ""}, False, True),
        ({"session": None, "task": "a"}, False, True),
        ({"subject": "01", "task": "a", "run": "001", "session": None}, True, True),
        ({"subject": "01", "task": "a"}, True, False),
        ({}, False, True),
        ({}, True, False),
    ],
)
def test_matching(wanted: dict[str, object], exact: bool, expected: bool) -> None:
    assert matches({"subject": "01", "task": "a", "run": "01"}, wanted, exact) is expected


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ({"subject": "sub-01"}, "subject 'sub-01' cannot stand .* letters and digits only, without 'sub-'"),
        ({"task": "a b"}, "task 'a b'"),
        ({"task": "é"}, "task 'é'"),
        ({"task": "a\n"}, "task 'a"),
        ({"run": "one"}, "run 'one' .* digits only"),
        ({"run": "١"}, "run"),  # a digit, but not one of ASCII
        ({"part": "magnitude"}, "one of mag, phase, real, imag"),
        ({"sub": "01"}, "'sub' is no BIDS entity; did you mean 'subject'"),
        ({"sesion": "01"}, "did you mean 'session'"),
        ({"RepetitionTime": "2"}, "'RepetitionTime' is no BIDS entity; expected one of subject"),
    ],
)
def test_what_cannot_stand_in_a_name_is_refused(entities: dict[str, str], message: str) -> None:
    for refuse in (check_entities, file_name):
        with pytest.raises(UsageError, match=message):
            refuse({"subject": "01", **entities})


def test_empty_labels_are_none() -> None:
    assert file_name({"subject": "01", "session": "", "task": "a"}) == "sub-01_task-a_bold.nii"
    assert relative_path({"subject": "01", "session": ""}) == PurePosixPath("sub-01/func/sub-01_bold.nii")
    assert not is_sound("session", "")


def test_a_path_needs_a_subject() -> None:
    with pytest.raises(UsageError, match=r"needs a subject, got \{'task': 'a'}"):
        relative_path({"task": "a"})
