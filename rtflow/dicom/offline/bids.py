"""The place of each series in a BIDS data set, or why it has none.

A series has one if its name says it in BIDS terms (or the task was given), and what its header says it shows
agrees. What has none is put aside under ``sourcedata``, where a data set may hold anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rtflow.bids.entities import check_entities, subject_folder
from rtflow.bids.names import SUFFIXES, BidsHint, read_name
from rtflow.dicom.offline.name import plain_names
from rtflow.dicom.offline.place import Place
from rtflow.dicom.offline.repeats import numbered
from rtflow.dicom.offline.sort import Stack
from rtflow.errors import UsageError

ASIDE = PurePosixPath("sourcedata/converted")
_EPI = ("bold", "spin-echo")


@dataclass(frozen=True)
class BidsChoice:
    """What was asked for; it goes before what names say.

    Parameters
    ----------
    subject, session
        Of all series; empty: by the names.
    task
        Of all functional series; empty: by their names.
    """

    subject: str = ""
    session: str = ""
    task: str = ""


def plain_places(stacks: Sequence[Stack]) -> list[Place]:
    """Where stacks are written if no data set is asked for."""
    return [Place(PurePosixPath(), name=name) for name in plain_names(stacks)]


def bids_places(stacks: Sequence[Stack], choice: BidsChoice) -> list[Place]:
    """Where stacks are written in a data set.

    Raises
    ------
    UsageError
        If an entity cannot stand in a name, or nothing says who the subject is.
    """
    chosen = {"subject": choice.subject, "session": choice.session, "task": choice.task}
    check_entities(chosen)
    hints = [_hint(stack) for stack in stacks]
    common = {name: chosen[name] or _only(hints, name) for name in ("subject", "session")}
    if any(not (common["subject"] or hint.entities.get("subject")) for hint in hints):
        raise UsageError("no series says which subject it is of; give --subject LABEL")
    places = []
    for stack, hint, name in zip(stacks, hints, plain_names(stacks), strict=True):
        who = {
            key: value
            for key in ("subject", "session")
            if (value := chosen[key] or hint.entities.get(key, "") or common[key])
        }
        places.append(_place(stack, hint, who, choice.task, name))
    return numbered(stacks, places)


def _hint(stack: Stack) -> BidsHint:
    """By the protocol's name, else by the series': consoles change the latter for what they compute."""
    return read_name(stack.traits.protocol) or read_name(stack.series.name)


def _only(hints: Sequence[BidsHint], entity: str) -> str:
    """What one series says of subject or session holds for all, if no other contradicts."""
    labels = {hint.entities[entity] for hint in hints if entity in hint.entities}
    return labels.pop() if len(labels) == 1 else ""


def _place(stack: Stack, hint: BidsHint, who: dict[str, str], task: str, name: str) -> Place:
    below = subject_folder(who)
    suffix, reason = _suffix(stack, hint, task)
    if not suffix:
        return Place(ASIDE / below, name=name, note=f"put aside: {reason}")
    folder = {"bold": "func", "sbref": "func", "epi": "fmap"}.get(suffix, "anat")
    entities = {key: value for key, value in hint.entities.items() if key != "task" or folder == "func"}
    entities |= who
    if folder == "func":
        entities["task"] = task or entities["task"]
        if stack.series.part != "mag":
            entities["part"] = stack.series.part
    if stack.traits.corrected:
        entities.setdefault("reconstruction", "moco")
    return Place(below / folder, suffix, entities)


def _suffix(stack: Stack, hint: BidsHint, task: str) -> tuple[str, str]:
    """Which BIDS suffix a stack has, or none and the reason."""
    kind, part = stack.series.kind, stack.series.part
    named = hint.folder + (f"-{hint.suffix}" if hint.suffix else "")
    if stack.of > 1:
        return "", f"one of {stack.of} stacks of its series"
    if hint.folder == "fmap" and hint.suffix in ("epi", "") and kind in _EPI and part == "mag":
        if "direction" in hint.entities:
            return "epi", ""
        return "", "a field map of the kind epi needs dir- in its name"
    if hint.folder == "anat" and kind == "anatomy":
        if SUFFIXES.get(hint.suffix) != "anat":
            return "", f"{named} names no image that can be placed"
        if part != "mag" or len(stack.echoes) > 1 or len(stack.volumes) > 1:
            return "", f"{named} should be one magnitude image"
        return hint.suffix, ""
    if kind in ("bold", "sbref"):
        if hint.folder not in ("", "func"):
            return "", f"it is named {named}, and shows {stack.series.kind}"
        if task or "task" in hint.entities:
            return kind, ""
        wrong = f"{hint.unsound[0]} cannot stand in a BIDS name" if hint.unsound else "its name has no task-"
        return "", f"{wrong}; give --task LABEL"
    if hint.folder:
        return "", f"it is named {named}, and shows {stack.series.kind}"
    return "", f"no BIDS name for {stack.series.kind}"
