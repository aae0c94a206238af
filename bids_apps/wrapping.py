"""From an image to the file of an app: what it is, and what its options are, wherever that is said."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rtflow.bids_apps.boutiques import from_boutiques
from rtflow.bids_apps.descriptor import Descriptor, Worker, complaints
from rtflow.bids_apps.found import Found, named, together
from rtflow.bids_apps.help_text import from_help
from rtflow.bids_apps.images import ASK_SECONDS, Image, app_says, find_image, repository
from rtflow.bids_apps.runtime import Runtime
from rtflow.errors import AppError, SettingsError, UsageError

#: Labels of an image, both JSON: a worker, as the ``[worker]`` of an app's file, and a Boutiques descriptor.
WORKER_LABEL, BOUTIQUES_LABEL = "org.rtflow.worker", "org.rtflow.boutiques"
_VERSION_LABELS = ("org.opencontainers.image.version", "org.label-schema.version", "version")


@dataclass(frozen=True)
class Wrapped:
    """An app that was looked at.

    Parameters
    ----------
    descriptor
        For its file.
    sources
        Where was looked, and what came of it, each in words.
    left_out
        What was found and could not be taken.
    """

    descriptor: Descriptor
    sources: tuple[str, ...]
    left_out: tuple[str, ...]


def wrap(
    asked: str,
    runtime: Runtime,
    *,
    name: str = "",
    levels: Sequence[str] = (),
    boutiques: Path | None = None,
    allow_tag: bool = False,
    seconds: float = ASK_SECONDS,
) -> Wrapped:
    """Look at an image.

    Options are those of the Boutiques descriptor that is given, of the image's labels, of
    ``--bids-exec-spec`` and of ``--help``, in this order: of each, the first that knows it is believed.

    Parameters
    ----------
    asked
        The image, by its tag or digest; with Apptainer also a ``.sif`` file.
    runtime
        What runs it.
    name
        Of the app; default is the image's.
    levels
        Of analysis, where what is found is wrong.
    boutiques
        A file.
    allow_tag
        Whether an image may stay that may be another one tomorrow.
    seconds
        In which the app must answer.

    Raises
    ------
    UsageError
        If its digest is not known, or something that was given makes no sense.
    AppError
        If the image cannot be had, or not be run.
    """
    name = app_name(asked, name)
    given = [_given(boutiques)] if boutiques is not None else []
    image = find_image(runtime, asked)
    if image.moves and not allow_tag:
        raise UsageError(
            f"{asked} is a tag, which may be another image tomorrow, and {runtime.name} does not say "
            "its digest; give NAME@sha256:..., or --allow-tag"
        )
    sources: list[str] = []
    found: list[Found] = []
    for where, one in (*given, ("labels", from_labels(image))):
        found.append(one)
        sources.append(_told(where, one))
    for where, ask_app in (("--bids-exec-spec", _exec_spec), ("--help", _help)):
        try:
            one = ask_app(runtime, image.pinned, seconds)
        except AppError as error:
            if error.kind != "time-out":
                raise
            one = Found()
            sources.append(f"{where}: no answer within {seconds:g} s")
        else:
            sources.append(_told(where, one))
        found.append(one)
    every = together(found)
    descriptor = Descriptor(
        name=name,
        image=image.pinned,
        tag="" if asked == image.pinned else asked,
        wrapped=datetime.date.today().isoformat(),
        version=every.version,
        levels=tuple(levels) or every.levels or ("participant",),
        options=named(every.options),
        worker=every.worker,
    )
    for wrong in complaints(descriptor):
        raise UsageError(f"{asked}: {wrong}")
    return Wrapped(descriptor, tuple(sources), every.left_out)


def from_labels(image: Image) -> Found:
    """What the labels of an image say."""
    labels, left_out = image.labels, []
    worker = None
    if text := labels.get(WORKER_LABEL):
        try:
            worker = msgspec.json.decode(text, type=Worker)
        except msgspec.DecodeError as error:
            left_out.append(f"label {WORKER_LABEL}: {error}")
    known = Found()
    if text := labels.get(BOUTIQUES_LABEL):
        try:
            known = from_boutiques(text, f"label {BOUTIQUES_LABEL}", origin="labels")
        except SettingsError as error:
            left_out.append(str(error))
    version = next((labels[name] for name in _VERSION_LABELS if labels.get(name)), "")
    return Found(known.options, known.levels, version or known.version, worker, (*known.left_out, *left_out))


def _given(path: Path) -> tuple[str, Found]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"{path}: {why}; give a Boutiques descriptor") from None
    return str(path), from_boutiques(text, str(path))


def _exec_spec(runtime: Runtime, image: str, seconds: float) -> Found:
    status, text, _ = app_says(runtime, image, "--bids-exec-spec", seconds)
    if status != 0:
        return Found()  # few apps know it
    try:
        return from_boutiques(text, "--bids-exec-spec", origin="bids-exec-spec")
    except SettingsError:
        return Found()


def _help(runtime: Runtime, image: str, seconds: float) -> Found:
    _, text, errors = app_says(runtime, image, "--help", seconds)
    found = from_help(text)
    return found if found.options else from_help(errors)


def _told(where: str, found: Found) -> str:
    parts = [
        f"{len(found.options)} option{'s' * (len(found.options) != 1)}" if found.options else "",
        f"levels {', '.join(found.levels)}" if found.levels else "",
        "a worker" if found.worker else "",
    ]
    return f"{where}: {', '.join(filter(None, parts)) or 'nothing'}"


def app_name(asked: str, name: str = "") -> str:
    """What an app is called: as somebody wants it, else by its image.

    >>> app_name("localhost/lab/Prep:2.0"), app_name("/images/prep 2.sif")
    ('prep', 'prep-2')

    Raises
    ------
    UsageError
        If no image was asked for, or no folder can have that name.
    """
    if not asked.strip():
        raise UsageError("no image was given; give its tag or its digest, such as nipreps/mriqc:24.0.2")
    for wrong in complaints(Descriptor(name=name or "app", image="an-image")):
        raise UsageError(f"--name: {wrong}")
    if name:
        return name
    last = repository(asked).rpartition("/")[2].removesuffix(".sif")
    return re.sub(r"[^a-z0-9_.-]+", "-", last.lower()).strip("-._") or "app"
