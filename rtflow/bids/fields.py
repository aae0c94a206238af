"""The fields of a BidsIncremental by name: entities, suffix and metadata alike."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rtflow.bids.entities import ENTITIES, check_entities, check_suffix, unknown_entity
from rtflow.bids.names import SUFFIXES, read_name
from rtflow.bids.seconds import TIMES, in_seconds, warn_of
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.bids.incremental import BidsIncremental


class Absent(enum.Enum):
    """No value, where None would be one."""

    ABSENT = "no default"


ABSENT = Absent.ABSENT
#: Entities that tell the images of one run apart, and no run from another.
OF_ONE_IMAGE = frozenset({"echo", "part"})


def required(suffix: str) -> tuple[str, ...]:
    """What BIDS wants of an image: entities, and fields of its sidecar.

    >>> required("bold")
    ('subject', 'task', 'RepetitionTime')
    """
    functional = SUFFIXES.get(suffix, "func") == "func"
    return (
        "subject",
        *(("task",) if functional else ()),
        *(("RepetitionTime",) if suffix == "bold" else ()),
    )


def missing(entities: Mapping[str, str], metadata: Mapping[str, Any], suffix: str = "bold") -> list[str]:
    """Which fields BIDS wants, and an image has not.

    >>> missing({"subject": "01"}, {"EchoTime": 0.03})
    ['task', 'RepetitionTime']
    """
    return [name for name in required(suffix) if not entities.get(name) and metadata.get(name) is None]


def require_complete(
    entities: Mapping[str, str], metadata: Mapping[str, Any], suffix: str = "bold", what: str = "the image"
) -> None:
    """Refuse an image that lacks what BIDS wants.

    Parameters
    ----------
    what
        Who lacks it, for the message.

    Raises
    ------
    UsageError
        Naming all that is missing.
    """
    if lacking := missing(entities, metadata, suffix):
        raise UsageError(f"{what} has no {' and no '.join(lacking)}; BIDS wants it of every {suffix} image")


def checked(
    metadata: Mapping[str, Any], entities: Mapping[str, object], suffix: str = "", what: str = "the image"
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata, entities and suffix of an image, brought together, put right and found complete.

    Parameters
    ----------
    metadata
        Sidecar fields; entities by their long names, ``suffix`` and ``datatype`` may stand among them.
    entities
        By their long names. They go before those among the metadata, and these before what the protocol's
        name says (``ProtocolName``, else ``SeriesDescription``).
    suffix
        Empty: as the metadata or the protocol's name say, else ``bold``.
    what
        Whose they are, for messages.

    Returns
    -------
    fields
        ``metadata``, ``entities`` and ``suffix``.
    changes
        What was put right, a sentence each.

    Raises
    ------
    UsageError
        If something is missing that BIDS wants, or an entity cannot stand in a name.
    VolumeError
        If a time is no time, or may be meant in seconds or in milliseconds.
    """
    rest = dict(metadata)
    hint = read_name(str(rest.get("ProtocolName") or rest.get("SeriesDescription") or ""))
    named = {name: rest.pop(name) for name in ENTITIES if name in rest} | dict(entities)
    labels = {name: str(label) for name, label in named.items() if label not in (None, "")}
    check_entities(labels)
    labels = {**hint.entities, **labels}
    labels = {name: labels[name] for name in ENTITIES if name in labels}
    said = suffix or str(rest.pop("suffix", None) or hint.suffix or "bold")
    rest.pop("suffix", None)
    check_suffix(said)
    rest.pop("datatype", None)  # the suffix says it
    right, changes = in_seconds(rest)
    require_complete(labels, right, said, what)
    return {"metadata": right, "entities": labels, "suffix": said}, changes


def same(one: Any, other: Any) -> bool:
    """Whether two values of metadata are equal, arrays and what is not a number among them.

    >>> same({"SliceTiming": [0.0, float("nan")]}, {"SliceTiming": [0.0, float("nan")]})
    True
    """
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        return one.dtype == other.dtype and one.shape == other.shape and same(one.tolist(), other.tolist())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


def get(one: BidsIncremental, field: str, default: Any = ABSENT, *, strict: bool = False) -> Any:
    """As `BidsIncremental.get`."""
    if strict and field not in ENTITIES:
        raise unknown_entity(field)
    if field in ("suffix", "datatype"):
        return getattr(one, field)
    held: Mapping[str, Any] = one.entities if field in ENTITIES else one.metadata
    value = held.get(field, default)
    if value is ABSENT:
        raise _no_field(one, field)
    return value


def with_field(one: BidsIncremental, field: str, value: Any, *, strict: bool = False) -> dict[str, Any]:
    """What is other in the incremental that has this value, as arguments of its constructor."""
    if strict and field not in ENTITIES:
        raise unknown_entity(field)
    if field == "datatype":
        raise UsageError(f"the datatype is that of the suffix: set the suffix, now {one.suffix!r}")
    if field == "suffix":
        check_suffix(value or None)
        return {"suffix": value}
    if field in ENTITIES:
        label = "" if value is None else str(value)
        check_entities({field: label})
        if not label:
            raise UsageError(f"{field} needs a label; remove it to have none")
        return {"entities": {**one.entities, field: label}}
    metadata = {**one.metadata, field: value}
    if field in TIMES:
        # Slice times are judged by the repetition time; what else is there was judged when it came.
        judged = {name: metadata[name] for name in (field, "RepetitionTime") if name in metadata}
        right, changes = in_seconds(judged)
        warn_of(changes, stacklevel=3)
        metadata |= right
    return {"metadata": metadata}


def without_field(one: BidsIncremental, field: str, *, strict: bool = False) -> dict[str, Any]:
    """What is other in the incremental that has not this field, as arguments of its constructor."""
    if strict and field not in ENTITIES:
        raise unknown_entity(field)
    if field in ("suffix", "datatype", *required(one.suffix)):
        raise UsageError(f"{field} cannot be removed: BIDS wants it of every {one.suffix} image; set it")
    where, held = ("entities", one.entities) if field in ENTITIES else ("metadata", one.metadata)
    if field not in held:
        raise _no_field(one, field)
    return {where: {name: value for name, value in held.items() if name != field}}


def _no_field(one: BidsIncremental, field: str) -> UsageError:
    there = ", ".join([*one.entities, *one.metadata]) or "no fields"
    return UsageError(f"volume {one.volume} has no {field}; it has {there}")
