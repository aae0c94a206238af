"""One mask to be brought to one reference: what is read beforehand, and what is done then."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.entities import parse_name
from rtflow.bids.grid import Grid
from rtflow.documents import Event
from rtflow.errors import UsageError, VolumeError
from rtflow.nodes.images.brain import brain_mask, read_mask, read_volume
from rtflow.nodes.masks import bringing, overlay
from rtflow.nodes.masks.fmriprep import Through, Way, find_way
from rtflow.nodes.motion.alignment import Alignment, align
from rtflow.stream.interface import RunContext, StreamInterface

# By how much the worker process gives way to the volumes, which cannot wait.
_NICE = 5

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
    """

    file: Path
    way: Way
    labels: tuple[int, ...] = ()
    threshold: float = 0.5

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


@dataclass(frozen=True, eq=False)
class Outcome:
    """A mask that has come to the reference.

    Parameters
    ----------
    data
        Booleans, shape (i, j, k).
    covered
        Fraction of the mask in the reference's field of view.
    transform
        4x4, RAS+ mm, positions in the reference to positions in the registered image.
    says
        All of it in words, with the path of the picture.
    """

    data: NDArray[np.bool_]
    covered: float
    transform: NDArray[np.float64]
    says: str


@dataclass(eq=False)
class Loaded:
    """All that a job reads; nothing is read once the volumes come."""

    job: Job
    roi: bringing.Roi
    image: NDArray[Any]
    affine: NDArray[np.float64]
    brain: NDArray[np.bool_] | None
    transforms: list[Any] = field(repr=False)

    @classmethod
    def of(cls, job: Job) -> Loaded:
        """Read mask, image and transforms.

        Raises
        ------
        UsageError
            If one of them cannot be read, or is something else.
        """
        roi = bringing.read_roi(job.file, job.labels)
        image, affine = read_volume(job.way.image, "image")
        image = np.nan_to_num(np.asarray(image, dtype=np.float32))
        brain = None
        if job.way.brain is not None:
            found = read_mask(job.way.brain)
            Grid.of(image.shape, affine).require(found.grid, f"brain mask {job.way.brain}")
            brain = found.data
        return cls(job, roi, image, affine, brain, bringing.read_steps(job.way.steps))

    def bring(self, data: NDArray[Any], grid: Grid, picture: Path) -> Outcome:
        """Bring the mask to a reference, and draw it there.

        Parameters
        ----------
        data, grid
            The reference, shape (i, j, k), and its grid.
        picture
            Where to write the overlay.

        Raises
        ------
        VolumeError
            If the reference cannot be registered with the image; as GridError if the mask is empty on the
            reference, or lies for the most part outside its brain.
        """
        way = self.job.way
        found = align(data, grid.matrix(), self.image, self.affine, way.contrast, self.brain)
        brought = bringing.bring(
            self.roi, self.transforms, found.transform, grid, threshold=self.job.threshold
        )
        overlay.write_png(overlay.draw(data, grid, brought.data, self._outline(found, grid)), picture)
        try:
            bringing.require_in_brain(brought, data, grid, self.roi.name)
        except VolumeError as error:
            raise type(error)(f"{error}; look at {picture}") from None
        says = (
            f"mask {self.job.file.name} was brought to the reference: {int(brought.data.sum())} voxels "
            f"({brought.millilitres:.3g} ml), {brought.covered:.0%} of it in the field of view; registered "
            f"with {way.image.name} {found.says}, {found.shift:.1f} mm and {found.turn:.1f} degrees away; "
            f"look at {picture}"
        )
        return Outcome(brought.data, brought.covered, found.transform, says)

    def _outline(self, found: Alignment, grid: Grid) -> NDArray[np.bool_]:
        """The brain of the registered image on the reference; of its head where the brain is not known."""
        brain = brain_mask(self.image) if self.brain is None else self.brain
        move = np.linalg.inv(self.affine) @ found.transform @ grid.matrix()
        outline: NDArray[np.bool_] = (
            ndimage.affine_transform(
                brain.astype(np.float32), move[:3, :3], move[:3, 3], output_shape=grid.shape, order=1
            )
            > 0.5
        )
        return outline


class BringerInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Bringer`."""

    job = traits.Any(mandatory=True, desc="a Job")
    picture = traits.Any(mandatory=True, desc="path of the overlay")
    data = traits.Any(desc="voxels of the reference")
    grid = traits.Any(desc="its Grid")


class BringerOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Bringer`."""

    outcome = traits.Any(desc="an Outcome")


class Bringer(StreamInterface):
    """What runs in the worker process: reads everything at the start of the run, then brings one mask.

    Tells ``mask_brought`` as an event, with the SHA-256 of each file that was read.
    """

    input_spec = BringerInput
    output_spec = BringerOutput

    def start_run(self, context: RunContext) -> None:
        """Read it all, and load what computes."""
        import SimpleITK

        del SimpleITK
        os.nice(_NICE)
        self._emit = context.emit
        self._loaded = Loaded.of(self.inputs.job)
        self._files = {str(path): _sha256(path) for path in self.inputs.job.files()}

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        outcome = self._loaded.bring(inputs.data, inputs.grid, Path(inputs.picture))
        told = {"says": outcome.says, "picture": str(inputs.picture), "files": self._files}
        self._emit(Event(name="mask_brought", data=told))
        self._results = {"outcome": outcome}
        return runtime


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
