"""What fMRIPrep left of an earlier session: its images, and the way from them to the space of a mask.

Names are those of fMRIPrep 20 to 25 (BIDS derivatives). ``from-A_to-B_mode-image`` is a transform for
*images*: with it an image in A is resampled onto B, so it takes *positions* in B to positions in A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtflow.bids.entities import parse_name
from rtflow.errors import NoMatchError, SeveralMatchError, UsageError

Through = Literal["auto", "boldref", "T1w"]

# The space of the volumes of a run goes by several names: that of release 23.2 and later comes first.
_OF_BOLD = ("boldref", "scanner", "bold")

# An inverse of these can be had; that of a displacement field stands in a file of its own.
_LINEAR = (".txt", ".tfm", ".mat")


@dataclass(frozen=True)
class Step:
    """One transform on the way of a position.

    Parameters
    ----------
    file
        Of ITK: text or .mat (linear), .h5 (composite), or an image of displacements.
    inverse
        Whether the position goes the other way than the file says.
    """

    file: Path
    inverse: bool = False


@dataclass(frozen=True)
class Way:
    """From an image of an earlier session to the space of a mask.

    Parameters
    ----------
    image
        What the reference of today is registered with.
    contrast
        Of that image; one like the reference's own is registered the more precisely.
    brain
        Where the brain is in it, if that is in a file.
    steps
        What takes a position in the image (RAS+ mm) to the same place in the mask's space, in that order.
    """

    image: Path
    contrast: Literal["bold", "T1w"]
    brain: Path | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class _File:
    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str


def find_way(
    root: Path | str,
    space: str,
    *,
    subject: str,
    session: str = "",
    task: str = "",
    run: str = "",
    through: Through = "auto",
) -> Way:
    """The way from an image of an earlier session to the space of a mask.

    Parameters
    ----------
    root
        Folder of fMRIPrep's derivatives: the one with ``sub-*``.
    space
        Of the mask: ``T1w``, ``boldref`` (that run's own), or a template, such as ``MNI152NLin2009cAsym``.
    subject, session, task, run
        Labels without their keys; an empty one takes what there is, if there is one only.
    through
        Which image to come through: ``boldref`` has the contrast of today's reference, ``T1w`` has no
        distortions; ``auto`` takes the first if it is there.

    Raises
    ------
    UsageError
        If there is no such folder; the errors of archives (`NoMatchError`, `SeveralMatchError`) if an image
        or a transform is missing, or several fit.
    """
    folder = Path(root) / f"sub-{subject}"
    if not folder.is_dir():
        raise UsageError(
            f"fMRIPrep's folder {root} has no sub-{subject}; give the one with the sub-* folders"
        )
    wanted = {"session": session, "task": task, "run": run}
    files = _files(folder)
    if space == "boldref" and through == "T1w":
        raise UsageError(
            "a mask in the space of a boldref comes through that boldref; leave out through='T1w'"
        )
    boldref = None
    if through != "T1w":
        boldref = _boldref(files, wanted, folder)
        if boldref is None and (through == "boldref" or space == "boldref"):
            raise NoMatchError(f"{folder} has no boldref{_of(wanted)}; give another run, or through='T1w'")
    to_mask = _to_template(files, space, wanted, folder) if space not in ("boldref", "T1w") else ()
    if boldref is None:
        image = _one(
            [file for file in files if file.suffix == "T1w" and _plain(file, "preproc")],
            wanted,
            f"{folder} has no *_desc-preproc_T1w.nii.gz",
        )
        brains = [file for file in files if file.suffix == "mask" and _plain(file, "brain")]
        brains = [file for file in brains if file.path.parent == image.path.parent]
        brain = _one(brains, wanted, "").path if brains else None
        return Way(image.path, "T1w", brain, to_mask)
    if space == "boldref" or boldref.entities.get("space") == "T1w":
        return Way(boldref.path, "bold", None, to_mask)
    return Way(boldref.path, "bold", None, (_to_t1w(files, boldref, folder), *to_mask))


def _files(folder: Path) -> list[_File]:
    """Images and transforms of a participant, in the order of their paths."""
    found = []
    for kind in ("anat", "func"):
        for path in sorted([*folder.glob(f"{kind}/*"), *folder.glob(f"ses-*/{kind}/*")]):
            entities, suffix, extension = parse_name(path.name)
            if extension in (".nii", ".nii.gz", ".h5", *_LINEAR):
                found.append(_File(path, entities, suffix, extension))
    return found


def _plain(file: _File, desc: str) -> bool:
    """Whether an image is in the participant's own space, and of one description."""
    entities = file.entities
    return entities.get("description") == desc and "space" not in entities and "task" not in entities


def _boldref(files: Iterable[_File], wanted: Mapping[str, str], folder: Path) -> _File | None:
    """The reference image of a run: in its own space if it is there, else in that of the T1w image."""
    images = [file for file in files if file.suffix == "boldref" and file.extension.startswith(".nii")]
    images = _fitting(images, wanted)
    own = [file for file in images if "space" not in file.entities]
    # Of a run there may be one for motion correction and one for coregistration.
    for desc in ("coreg", None, "hmc"):
        if chosen := [file for file in own if file.entities.get("description") == desc]:
            return _one(chosen, wanted, "")
    resampled = [file for file in images if file.entities.get("space") == "T1w"]
    return _one(resampled, wanted, "") if resampled else None


def _to_t1w(files: Iterable[_File], boldref: _File, folder: Path) -> Step:
    """The coregistration of a run: its positions to those in the T1w image."""
    of_run = {name: boldref.entities.get(name, "") for name in ("session", "task", "run")}
    transforms = [
        file
        for file in files
        if file.suffix == "xfm"
        and file.path.parent == boldref.path.parent
        and all(file.entities.get(name, "") == label for name, label in of_run.items())
    ]
    for space in _OF_BOLD:
        if step := _step(transforms, source="T1w", target=space, wanted=of_run):
            return step
    raise NoMatchError(
        f"{folder} has no coregistration of {boldref.path.name}: expected a *_from-boldref_to-T1w_*_xfm.txt "
        "(or from-scanner), or the way back, beside it; give through='T1w' to do without"
    )


def _to_template(
    files: Iterable[_File], space: str, wanted: Mapping[str, str], folder: Path
) -> tuple[Step, ...]:
    """Positions in the T1w image to those in a template."""
    transforms = [file for file in files if file.suffix == "xfm" and file.path.parent.name == "anat"]
    step = _step(transforms, source=space, target="T1w", wanted=wanted)
    if step is not None:
        return (step,)
    there = sorted(
        {file.entities["from"] for file in transforms if file.entities.get("to") == "T1w"} - {"T1w"}
    )
    back = [file for file in transforms if file.entities.get("to") == space]
    why = (
        f"{back[0].path.name} leads the other way; the inverse of a displacement field is a file of its own"
        if back
        else f"there are transforms from {', '.join(there) or 'nowhere'}"
    )
    raise NoMatchError(
        f"{folder} has no *_from-{space}_to-T1w_mode-image_xfm.h5: {why}; run fMRIPrep with "
        f"--output-spaces {space}, or give the mask in another space"
    )


def _step(files: Iterable[_File], *, source: str, target: str, wanted: Mapping[str, str]) -> Step | None:
    """What takes positions in ``target`` to those in ``source``; an inverse where there is no other."""
    files = list(files)
    direct = _between(files, source, target)
    if direct:
        return Step(_one(direct, wanted, "").path)
    back = [file for file in _between(files, target, source) if file.extension in _LINEAR]
    return Step(_one(back, wanted, "").path, inverse=True) if back else None


def _between(files: Iterable[_File], source: str, target: str) -> list[_File]:
    found = [f for f in files if f.entities.get("from") == source and f.entities.get("to") == target]
    return [file for file in found if file.entities.get("mode", "image") == "image"]


def _fitting(files: Iterable[_File], wanted: Mapping[str, str]) -> list[_File]:
    """Files that do not contradict what is wanted; of an anatomy no session need be told."""
    return [
        file
        for file in files
        if all(
            not label or name not in file.entities or same_label(file.entities[name], label)
            for name, label in wanted.items()
        )
    ]


def same_label(one: str, other: str) -> bool:
    """Whether two labels of BIDS mean one thing: ``1`` is ``01``."""
    return one == other or (one.isdigit() and other.isdigit() and int(one) == int(other))


def _one(files: Iterable[_File], wanted: Mapping[str, str], absent: str) -> _File:
    found = _fitting(files, wanted)
    if not found:
        raise NoMatchError(f"{absent}{_of(wanted)}; name another session, task or run")
    if len(found) > 1:
        raise SeveralMatchError(
            f"{len(found)} files fit{_of(wanted)}: {', '.join(file.path.name for file in found[:6])}; "
            "name the session, task or run"
        )
    return found[0]


def _of(wanted: Mapping[str, str]) -> str:
    told = [f"{name} {label}" for name, label in wanted.items() if label]
    return f" of {', '.join(told)}" if told else ""
