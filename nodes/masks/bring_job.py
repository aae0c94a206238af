"""One mask brought to one reference: what is read beforehand, and what is done then."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray
from scipy import ndimage

from rtflow.bids.grid import Grid
from rtflow.documents import Event
from rtflow.errors import VolumeError
from rtflow.nodes.images.brain import brain_mask, read_mask, read_volume
from rtflow.nodes.masks import bringing, overlay
from rtflow.nodes.masks.job import Job
from rtflow.nodes.motion.alignment import Alignment, ByAnts, align
from rtflow.stream.interface import RunContext, StreamInterface

# By how much the worker process gives way to the volumes, which cannot wait.
_NICE = 5


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
    by
        The program that registered, with its version.
    """

    data: NDArray[np.bool_]
    covered: float
    transform: NDArray[np.float64]
    says: str
    by: str


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

    def bring(self, data: NDArray[Any], grid: Grid, picture: Path, by_ants: ByAnts | None = None) -> Outcome:
        """Bring the mask to a reference, and draw it there.

        Parameters
        ----------
        data, grid
            The reference, shape (i, j, k), and its grid.
        picture
            Where to write the overlay.
        by_ants
            That ANTs registers (`Job.registers_by`); None for SimpleITK.

        Raises
        ------
        VolumeError
            If the reference cannot be registered with the image; as GridError if the mask is empty on the
            reference, or lies for the most part outside its brain.
        """
        way = self.job.way
        found = align(data, grid.matrix(), self.image, self.affine, way.contrast, self.brain, by_ants)
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
        return Outcome(brought.data, brought.covered, found.transform, says, found.by)

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
    folder = traits.Any(mandatory=True, desc="where files may lie meanwhile")
    data = traits.Any(desc="voxels of the reference")
    grid = traits.Any(desc="its Grid")


class BringerOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Bringer`."""

    outcome = traits.Any(desc="an Outcome")


class Bringer(StreamInterface):
    """What runs in the worker process: reads everything at the start of the run, then brings one mask.

    Tells ``mask_brought`` as an event, with what registered and the SHA-256 of each file that was read.
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
        self._by_ants = self.inputs.job.registers_by(
            Path(self.inputs.folder), self._recorded(context.decisions.events if context.decisions else ())
        )

    def _recorded(self, events: Iterable[Event]) -> str:
        """What registered in the run that is repeated; its files may have lain elsewhere."""
        ours = sorted(self._files.values())
        for event in events:
            if event.name == "mask_brought" and sorted(event.data["files"].values()) == ours:
                return str(event.data.get("registered_by", ""))
        return ""

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        outcome = self._loaded.bring(inputs.data, inputs.grid, Path(inputs.picture), self._by_ants)
        told = {
            "says": outcome.says,
            "picture": str(inputs.picture),
            "registered_by": outcome.by,
            "files": self._files,
        }
        self._emit(Event(name="mask_brought", data=told))
        self._results = {"outcome": outcome}
        return runtime


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
