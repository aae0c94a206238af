"""Which mask is to be brought to a reference, by which way, and by what it is registered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtflow.bids.entities import parse_name
from rtflow.errors import UsageError
from rtflow.nodes.masks import bringing
from rtflow.nodes.masks.fmriprep import Through, Way, find_way, same_label
from rtflow.nodes.motion.alignment import LIMIT, ByAnts
from rtflow.nodes.motion.ants import COMMAND, installed

#: What registers T1w images; ``auto`` is ANTs where it is installed, and SimpleITK where it is not or fails.
Registration = Literal["auto", "ants", "simpleitk"]

# Suffixes of BIDS that mean an echo-planar image.
_EPI = ("bold", "boldref", "sbref", "epi")


@dataclass(frozen=True)
class Job:
    """Which mask to bring, and by which way.

    Parameters
    ----------
    file
        Of the mask.
    way
        From the image that the reference is registered with to the space of the mask.
    labels
        Which values of the file belong; none for a mask or a map of probabilities.
    threshold
        Least mean probability of a voxel that belongs.
    registration
        What registers the image: ANTs only where it is a T1w image.

    Raises
    ------
    UsageError
        If ANTs is said to register an echo-planar image.
    """

    file: Path
    way: Way
    labels: tuple[int, ...] = ()
    threshold: float = 0.5
    registration: Registration = "auto"

    def __post_init__(self) -> None:
        if self.registration == "ants" and self.way.contrast == "bold":
            raise UsageError(
                f"registration='ants' is for T1w images, and {self.way.image.name} is echo-planar: leave "
                "registration out, or give the T1w image (through='T1w')"
            )

    @property
    def name(self) -> str:
        """A name for its picture: that of the file, and six digits over all that it is made of."""
        stem = self.file.name.partition(".")[0]
        return f"{stem}-{hashlib.sha256(repr(self).encode()).hexdigest()[:6]}"

    def files(self) -> list[Path]:
        """All that is read: mask, image, brain and transforms."""
        way = self.way
        brain = [] if way.brain is None else [way.brain]
        return [self.file, way.image, *brain, *(step.file for step in way.steps)]

    def foreign_to(self, subject: str) -> str:
        """Why this is not to be brought to volumes of a participant; empty if no name speaks against it.

        A name without ``sub-``, as those of atlases are, speaks of nobody; an empty ``subject`` is anybody.
        """
        for file in self.files():
            label = parse_name(file.name)[0].get("subject", "")
            if label and subject and not same_label(label, subject):
                return (
                    f"{file.name} is of sub-{label}, but the volumes are of sub-{subject}: give the files of "
                    "this participant, or other_subject=True if another label is meant"
                )
        return ""

    def registers_by(self, folder: Path, recorded: str = "") -> ByAnts | None:
        """What registers the image: ANTs, or None for SimpleITK.

        Parameters
        ----------
        folder
            Where the files of ANTs may lie meanwhile.
        recorded
            What registered it in the run that is repeated (`Alignment.by`): the same does so again, for as
            long as it takes.

        Raises
        ------
        UsageError
            If it must be ANTs, and that is not there.
        """
        choice = self.registration
        if recorded:
            choice = "ants" if recorded.startswith("ANTs") else "simpleitk"
        if self.way.contrast != "T1w" or choice == "simpleitk":
            return None
        ants = installed()
        if ants is not None:
            return ByAnts(ants, folder, None if recorded else LIMIT, instead=choice == "auto")
        if choice == "ants":
            wanted = (
                f"the recorded run registered by {recorded}" if recorded else "registration='ants' is set"
            )
            raise UsageError(
                f"{wanted}, but there is no ANTs: neither {COMMAND} on the path nor the package antspyx; "
                "install it, or set registration='simpleitk'"
            )
        return None


@dataclass(frozen=True)
class FmriprepRun:
    """A run of an earlier session, in a folder of fMRIPrep; labels without their keys."""

    root: str
    subject: str = ""
    session: str = ""
    task: str = ""
    run: str = ""
    through: Through = "auto"


def job_with_image(
    file: str,
    image: str,
    *,
    contrast: str = "auto",
    brain: str = "",
    transforms: tuple[str, ...] = (),
    labels: tuple[int, ...] = (),
    threshold: float = 0.5,
) -> Job:
    """A job whose image is named.

    Parameters
    ----------
    file, labels, threshold
        As in `Job`.
    image
        Of the same head, in whose space the mask is; or where the transforms take it.
    contrast
        ``T1w``, ``bold``, or ``auto``: by the suffix in the image's name.
    brain
        Mask of the brain in that image, if there is one.
    transforms
        What takes the mask from its space to the image's, in that order (`bringing.check_steps`).

    Raises
    ------
    UsageError
        If a transform is missing or they contradict each other.
    """
    steps = bringing.check_steps(Path(name) for name in transforms)
    bold = contrast == "bold" or (contrast == "auto" and parse_name(Path(image).name)[1] in _EPI)
    way = Way(Path(image), "bold" if bold else "T1w", Path(brain) if brain else None, steps)
    return Job(Path(file), way, labels, threshold)


def job_of_fmriprep(
    file: str, space: str, of: FmriprepRun, *, labels: tuple[int, ...] = (), threshold: float = 0.5
) -> Job:
    """A job whose image and transforms fMRIPrep has left.

    Parameters
    ----------
    file, labels, threshold
        As in `Job`.
    space
        Of the mask; empty for what its name says (``space-``).
    of
        The run of the earlier session.

    Raises
    ------
    UsageError
        If the space or the subject is not known, or something is missing (`fmriprep.find_way`).
    """
    named = parse_name(Path(file).name)[0]
    space = space or named.get("space", "")
    if not space:
        raise UsageError(
            f"the name of mask {file} does not say in which space it is; give space='T1w', 'boldref' or the "
            "name of a template"
        )
    subject = of.subject or named.get("subject", "")
    if not subject:
        raise UsageError(f"the name of mask {file} does not say of whom it is; give subject='LABEL'")
    way = find_way(
        of.root,
        space,
        subject=subject,
        session=of.session,
        task=of.task,
        run=of.run,
        through=of.through,
    )
    return Job(Path(file), way, labels, threshold)
