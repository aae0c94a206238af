"""BIDS entities: what tells files apart (subject, task, run, ...), and the names made of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from rtflow.errors import UsageError

#: Key of each entity in a file's name, by its long name, in the order in which BIDS puts them.
ENTITIES: Mapping[str, str] = MappingProxyType(
    {
        **{"subject": "sub", "template": "tpl", "session": "ses", "cohort": "cohort", "sample": "sample"},
        **{"task": "task", "tracksys": "tracksys", "acquisition": "acq", "nucleus": "nuc", "volume": "voi"},
        **{"ceagent": "ce", "tracer": "trc", "stain": "stain", "reconstruction": "rec", "direction": "dir"},
        **{"run": "run", "modality": "mod", "echo": "echo", "flip": "flip", "inversion": "inv"},
        **{"mtransfer": "mt", "part": "part", "processing": "proc", "hemisphere": "hemi", "space": "space"},
        **{"split": "split", "recording": "recording", "chunk": "chunk", "atlas": "atlas"},
        **{"segmentation": "seg", "scale": "scale", "resolution": "res", "density": "den"},
        **{"label": "label", "description": "desc"},
    }
)
#: Entities that are numbers: zeros before them say nothing.
INDICES = frozenset({"run", "echo", "flip", "inversion", "split", "chunk"})
_ONE_OF = {
    "part": ("mag", "phase", "real", "imag"),
    "mtransfer": ("on", "off"),
    "hemisphere": ("L", "R"),
}
_NAMES = {key: name for name, key in ENTITIES.items()}
_LABEL = re.compile(r"[0-9A-Za-z+]+")
_INDEX = re.compile(r"[0-9]+")
_PADDED = re.compile(rf"(_(?:{'|'.join(ENTITIES[name] for name in sorted(INDICES))})-)0+(\d)")


def is_sound(entity: str, label: str) -> bool:
    """Whether a label can stand in a name: an index is digits, all others letters, digits and plus signs."""
    if entity in _ONE_OF:
        return label in _ONE_OF[entity]
    return (_INDEX if entity in INDICES else _LABEL).fullmatch(label) is not None


def check_entities(entities: Mapping[str, str]) -> None:
    """Refuse what cannot stand in a file's name.

    Parameters
    ----------
    entities
        By their long names; empty ones are none.

    Raises
    ------
    UsageError
        Naming the entity: BIDS has none of that name, or its label has other characters than it may.
    """
    for entity, label in entities.items():
        if entity not in ENTITIES:
            raise unknown_entity(entity)
        if label and not (isinstance(label, str) and is_sound(entity, label)):
            allowed = "digits only" if entity in INDICES else "letters and digits only"
            if entity in _ONE_OF:
                allowed = f"one of {', '.join(_ONE_OF[entity])}"
            raise UsageError(
                f"{entity} {label!r} cannot stand in a BIDS name: give {allowed}, without "
                f"'{ENTITIES[entity]}-'"
            )


def check_suffix(suffix: object) -> None:
    """Refuse a suffix that cannot stand in a file's name; an empty one is none.

    Raises
    ------
    UsageError
        If it has other characters than letters and digits.
    """
    if not isinstance(suffix, str) or (suffix and not (suffix.isascii() and suffix.isalnum())):
        raise UsageError(f"suffix {suffix!r} cannot stand in a BIDS name: give letters and digits only")


def unknown_entity(entity: str) -> UsageError:
    """What to say of a name that is no entity's."""
    near = _NAMES.get(entity) or next(iter(difflib.get_close_matches(entity, ENTITIES, n=1)), "")
    hint = f"; did you mean {near!r}?" if near else f"; expected one of {', '.join(ENTITIES)}"
    return UsageError(f"{entity!r} is no BIDS entity{hint}")


def bids_name(entities: Mapping[str, str]) -> str:
    """Entities as they stand in a file name, in the order that BIDS gives them.

    >>> bids_name({"task": "faces", "subject": "01", "run": "2"})
    'sub-01_task-faces_run-2'
    """
    return "_".join(f"{key}-{entities[name]}" for name, key in ENTITIES.items() if entities.get(name))


def file_name(entities: Mapping[str, str], suffix: str = "bold", extension: str = ".nii") -> str:
    """The name of a file.

    Parameters
    ----------
    entities
        By their long names; empty ones are left out.
    suffix
        ``bold``, ``events``, ``T1w``, ...
    extension
        With its dot.

    Raises
    ------
    UsageError
        If an entity or the suffix cannot stand in a name.

    Examples
    --------
    >>> file_name({"subject": "01", "task": "faces", "run": "1"}, "events", ".tsv")
    'sub-01_task-faces_run-1_events.tsv'
    """
    check_entities(entities)
    check_suffix(suffix)
    return "_".join(filter(None, (bids_name(entities), suffix))) + extension


def folded(name: str) -> str:
    """What a file's name says, whatever its case, and without the zeros before its indices.

    >>> folded("sub-01_task-Faces_run-01_bold.nii") == folded("sub-01_task-faces_run-1_bold.nii")
    True
    """
    return _PADDED.sub(r"\1\2", name.lower())


def parse_name(name: str) -> tuple[dict[str, str], str, str]:
    """What the name of a file says, whether or not all of it is BIDS.

    Parameters
    ----------
    name
        The last part of a path.

    Returns
    -------
    entities
        By their long names, in the order of the name. A key that BIDS has not stands for itself, the first
        of two wins, and words without a hyphen say nothing.
    suffix
        The last word, if it is no entity; else empty.
    extension
        From the first dot on; empty if there is none.

    Examples
    --------
    >>> parse_name("sub-01_ses-02_task-faces_run-01_bold.nii.gz")
    ({'subject': '01', 'session': '02', 'task': 'faces', 'run': '01'}, 'bold', '.nii.gz')
    """
    stem, dot, extension = name.partition(".")
    entities: dict[str, str] = {}
    words = stem.split("_")
    for word in words:
        key, hyphen, label = word.partition("-")
        if hyphen and key and label:
            entities.setdefault(_NAMES.get(key, key), label)
    suffix = "" if "-" in words[-1] else words[-1]
    return entities, suffix, dot + extension


def subject_folder(entities: Mapping[str, str]) -> PurePosixPath:
    """Where the folders of a subject (and session) lie, from the root of the data set.

    Raises
    ------
    UsageError
        If there is no subject, or one of both cannot stand in a name.

    Examples
    --------
    >>> str(subject_folder({"subject": "01", "session": "02", "task": "faces"}))
    'sub-01/ses-02'
    """
    above = {name: entities[name] for name in ("subject", "session") if entities.get(name)}
    check_entities(above)
    if "subject" not in above:
        raise UsageError(f"a file in a BIDS data set needs a subject, got {dict(entities)}; give one")
    return PurePosixPath(*bids_name(above).split("_"))


def relative_path(
    entities: Mapping[str, str], datatype: str = "func", suffix: str = "bold", extension: str = ".nii"
) -> PurePosixPath:
    """Where a file lies, from the root of the data set.

    Raises
    ------
    UsageError
        If there is no subject, or an entity cannot stand in a name.

    Examples
    --------
    >>> str(relative_path({"subject": "01", "session": "02", "task": "faces", "run": "1"}))
    'sub-01/ses-02/func/sub-01_ses-02_task-faces_run-1_bold.nii'
    """
    return subject_folder(entities) / datatype / file_name(entities, suffix, extension)


def matches(entities: Mapping[str, str], wanted: Mapping[str, object], exact: bool = False) -> bool:
    """Whether a file is among those that are wanted.

    Parameters
    ----------
    entities
        What the file has, by long names.
    wanted
        What it should have; empty ones and None are not asked for. Indices are compared as numbers: run
        ``"01"`` is run ``"1"``, and run ``1``.
    exact
        Whether it must have no other entities than these.

    Examples
    --------
    >>> matches({"subject": "01", "task": "faces", "run": "01"}, {"task": "faces", "run": 1})
    True
    >>> matches({"subject": "01", "task": "faces", "run": "01"}, {"task": "faces", "run": 1}, exact=True)
    False
    """
    asked = {name: str(label) for name, label in wanted.items() if label not in (None, "")}
    if exact and {name for name, label in entities.items() if label} != set(asked):
        return False
    return all(_same(name, entities.get(name, ""), label) for name, label in asked.items())


def _same(entity: str, one: str, other: str) -> bool:
    if entity in INDICES and _INDEX.fullmatch(one) and _INDEX.fullmatch(other):
        return int(one) == int(other)
    return one == other
