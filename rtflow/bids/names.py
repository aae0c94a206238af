"""BIDS entities that are written into the name of a protocol, as many laboratories do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rtflow.bids.entities import ENTITIES, is_sound

# What a protocol's name can know of its images; which echo or part one is, its header says.
_SAID = ("subject", "session", "task", "acquisition", "ceagent", "reconstruction", "direction", "run")
_LONG = {ENTITIES[name]: name for name in _SAID}
_FOLDERS = ("func", "anat", "fmap", "dwi", "perf")
#: Names of images that can be placed, and the folder of each.
SUFFIXES = {
    **dict.fromkeys(("bold", "sbref"), "func"),
    **dict.fromkeys(
        ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio"), "anat"
    ),
    "epi": "fmap",
}
_BY_LOWER_CASE = {suffix.lower(): suffix for suffix in SUFFIXES}


@dataclass(frozen=True)
class BidsHint:
    """What a name says in BIDS terms.

    Parameters
    ----------
    folder
        ``func``, ``anat``, ...; empty if it is not said.
    suffix
        ``bold``, ``T1w``, ...; empty if it is not said.
    entities
        By their long names.
    unsound
        Parts that look like entities, and cannot stand in a BIDS name.
    """

    folder: str = ""
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    unsound: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.folder or self.entities)


def read_name(text: str) -> BidsHint:
    """What a protocol's name says in BIDS terms; words that are none of BIDS are passed over.

    The form is that of BIDS names, with the folder before: ``func-bold_task-faces_run-01``,
    ``func_ses-01_task-faces``, ``anat-T1w``. What follows ``__`` is a remark.

    >>> hint = read_name("func-bold_task-faces_run-01__first")
    >>> hint.folder, hint.suffix, dict(hint.entities)
    ('func', 'bold', {'task': 'faces', 'run': '01'})
    """
    folder = suffix = ""
    entities: dict[str, str] = {}
    unsound: list[str] = []
    for place, word in enumerate(text.partition("__")[0].split("_")):
        key, hyphen, label = word.partition("-")
        if place == 0 and key.lower() in _FOLDERS:
            folder = key.lower()
            suffix = _BY_LOWER_CASE.get(label.lower(), label)
            if suffix and not (suffix.isascii() and suffix.isalnum()):
                unsound.append(word)
                suffix = ""
        elif hyphen and (name := _LONG.get(key.lower())):
            if is_sound(name, label):
                entities.setdefault(name, label)
            else:
                unsound.append(word)
        elif word in SUFFIXES and word != "epi":  # many names say EPI, and mean how it is acquired
            suffix = suffix or word
    return BidsHint(folder or SUFFIXES.get(suffix, ""), suffix, entities, tuple(unsound))
