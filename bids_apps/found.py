"""What one source of knowledge says of an app, and how what several say is put together."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtflow.bids_apps.descriptor import Option, Worker

#: Inputs that every app's node has; an option of such a name gets an underscore behind it.
OWN_INPUTS = frozenset({"bids_dir", "out_dir", "level", "runtime", "extra_args", "incremental", "identity"})
#: Names that a set of Nipype's inputs has for itself.
_OF_TRAITS = frozenset(
    {"get", "get_hashval", "has_metadata", "items", "observe", "package_version", "set", "wrappers"}
)
_LEVEL = re.compile(r"(participant|group|session|run|subject|dataset)\w*")


@dataclass(frozen=True)
class Spelled:
    """An option, and every way to write its flag."""

    option: Option
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What was found.

    Parameters
    ----------
    options
        Of the command line.
    levels
        Of analysis; empty if nothing was said of them.
    version
        Of the app, if it was said.
    worker
        If the app says that it has one.
    left_out
        What could not be taken, each in words.
    """

    options: tuple[Spelled, ...] = ()
    levels: tuple[str, ...] = ()
    version: str = ""
    worker: Worker | None = None
    left_out: tuple[str, ...] = field(default=())


def together(found: Sequence[Found]) -> Found:
    """All that was found, where the first that says something of a thing is believed.

    Options are the same if they share one spelling.
    """
    options: list[Spelled] = []
    known: set[str] = set()
    for one in found:
        options += [spelled for spelled in one.options if known.isdisjoint(spelled.flags)]
        known |= {flag for spelled in one.options for flag in spelled.flags}
    return Found(
        tuple(options),
        next((one.levels for one in found if one.levels), ()),
        next((one.version for one in found if one.version), ""),
        next((one.worker for one in found if one.worker), None),
        tuple(dict.fromkeys(said for one in found for said in one.left_out)),
    )


def named(options: Sequence[Spelled]) -> dict[str, Option]:
    """Options by the names that the node's inputs get.

    >>> list(named([Spelled(Option(flag="--n-cpus"), ("--n-cpus",)), Spelled(Option(flag="--from"), ())]))
    ['n_cpus', 'from_']
    """
    names: dict[str, Option] = {}
    for spelled in options:
        name = re.sub(r"\W", "_", spelled.option.flag.lstrip("-"), flags=re.ASCII)
        if not name[:1].isalpha():
            name = f"option_{name}"
        while reserved(name) or name in names:
            name += "_"
        names[name] = spelled.option
    return names


def reserved(name: str) -> bool:
    """Whether no input that stands for an option can have this name."""
    return name in OWN_INPUTS or name in _OF_TRAITS or "trait" in name or keyword.iskeyword(name)


def levels_among(words: Sequence[str]) -> tuple[str, ...]:
    """These words, if they are levels of analysis, else nothing.

    >>> levels_among(["participant", "group"]), levels_among(["T1w", "T2w"])
    (('participant', 'group'), ())
    """
    stripped = [word.strip().strip("'\"") for word in words]
    known = all(_LEVEL.fullmatch(word) for word in stripped)
    return tuple(stripped) if known and any(w.startswith(("participant", "group")) for w in stripped) else ()


def preferred(flags: Sequence[str]) -> str:
    """Of the ways to write a flag, the one to use: the first long one.

    >>> preferred(["-w", "--work-dir", "--work_dir"])
    '--work-dir'
    """
    return next((flag for flag in flags if flag.startswith("--")), flags[0])
