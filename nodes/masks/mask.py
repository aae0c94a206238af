"""The mask of a run, and the voxels that it picks from each volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits
from numpy.typing import NDArray

from rtflow.bids import masked
from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.documents import Event
from rtflow.errors import GridError, UsageError, VolumeError
from rtflow.items import Item
from rtflow.nodes.images.brain import COVERAGE, LEAST_IN_BRAIN, brain_mask, read_mask, share_in_brain
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface


class MaskInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Mask`."""

    reference = traits.Any(desc="the reference of Realign: a BidsIncremental; needed, once volumes are used")
    incremental = traits.Any(
        desc="of DicomToBids, where the reference is the first volume that is used: a file on another grid "
        "is told with the first volume that comes, even if that is a dummy"
    )
    file = traits.Str(
        "",
        usedefault=True,
        desc="image on the grid of the reference, not 0 where the mask is; default: the brain",
    )
    threshold = traits.Range(
        low=0.0,
        high=1.0,
        value=0.0,
        usedefault=True,
        desc="of the brain, as a fraction of the 98th percentile; 0 finds one by Otsu's method",
    )
    erode = traits.Range(low=0, value=0, usedefault=True, desc="voxels to take off the surface of the brain")
    load = traits.Str("", usedefault=True, desc="session item with the mask of an earlier run")
    save = traits.Str("", usedefault=True, desc="session item to keep the mask under")


class MaskOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Mask`."""

    mask = traits.Any(desc="a Mask on the grid of the reference")


class Mask(StreamInterface):
    """Give the mask of the run: once made, from the first reference seen, it stays.

    It is the brain in the reference (`rtflow.nodes.images.brain.brain_mask`), the image in ``file``, or a
    mask that an earlier run left in the session. It carries the identity of the reference: what uses
    it refuses volumes that are aligned with another. A mask on another grid, or of another day, is brought
    to the reference by `rtflow.nodes.masks.bring_mask.BringMask`. How large a mask in ``file`` is, and
    how much of it lies in the brain, is told once; volumes are doubted if that is less than half, or if it is
    one voxel.

    Raises
    ------
    UsageError
        At the start of the run, if ``file`` is not a mask, or ``load`` is given as well.
    GridError
        If the mask in ``file`` is on another grid than the reference, or than ``incremental``.
    SessionError
        If the session has no such mask, or its mask is of another reference.
    VolumeError
        If no brain is found.
    """

    input_spec = MaskInput
    output_spec = MaskOutput
    stateful = True

    def needed_inputs(self) -> dict[str, str]:
        """The reference: it comes later than the first volume, so it is not mandatory with each."""
        return {"reference": "a mask lies on the grid of a reference, of Realign"}

    def start_run(self, context: RunContext) -> None:
        """Read the mask, if it is in a file or in the session."""
        self._session = Session(context)
        self._emit = context.emit
        self._doubtful = ""
        self._mask: masked.Mask | None = None
        self._file: masked.Mask | None = None
        self._loaded: Item | None = None
        if self.inputs.file and self.inputs.load:
            raise UsageError(
                f"Mask takes its mask from file={self.inputs.file} or load={self.inputs.load}, not both"
            )
        if self.inputs.file:
            self._file = read_mask(self.inputs.file)
        if self.inputs.load:
            self._loaded = self._session.load(self.inputs.load)

    def snapshot(self) -> tuple[masked.Mask | None, str]:
        """The mask, if there is one already, and why to doubt it."""
        return self._mask, self._doubtful

    def restore(self, state: tuple[masked.Mask | None, str]) -> None:
        """Go on with that mask."""
        self._mask, self._doubtful = state

    def _make(self, reference: BidsIncremental) -> masked.Mask:
        grid = reference.grid
        if self._file is not None:
            self._require_file_on(grid)
            self._place(self._file.data, reference)
            return replace(self._file, grid=grid)
        if self._loaded is not None:
            self._loaded.require(grid, self.inputs.load)
            return masked.Mask(self._loaded.arrays["data"], grid)
        brain = brain_mask(reference.data, threshold=self.inputs.threshold or None, erode=self.inputs.erode)
        return masked.Mask(brain, grid)

    def _require_file_on(self, grid: Grid) -> None:
        assert self._file is not None
        try:
            grid.require(self._file.grid, f"mask {self.inputs.file}")
        except GridError as error:
            advice = "give a mask on the grid of the series, or let BringMask bring this one there"
            raise GridError(f"{error}: {advice}") from None

    def _place(self, region: NDArray[np.bool_], reference: BidsIncremental) -> None:
        """Tell how large the region in the file is and where it lies; doubt one that can hardly be meant."""
        grid = reference.grid
        count = int(np.count_nonzero(region))
        size = count * abs(float(np.linalg.det(grid.matrix()[:3, :3]))) / 1000.0
        says = f"mask {Path(self.inputs.file).name} has {count} voxel{'s' * (count > 1)} ({size:.3g} ml)"
        try:
            share = share_in_brain(region, reference.data, grid)
        except VolumeError:
            says += ", and no brain is found in the reference"
        else:
            says += f", {share:.0%} of it in the brain of the reference"
            if share < LEAST_IN_BRAIN:
                self._doubtful = f"{says}; is it in another space?"
        if count == 1:
            self._doubtful = f"{says}; is it the region that is meant?"
        self._emit(Event(name="mask", volume=self.volume, data={"says": self._doubtful or says}))

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        if self._mask is None and isdefined(inputs.reference):
            mask = self._make(inputs.reference)
            if inputs.save:
                self._session.save(inputs.save, {"data": mask.data}, mask.grid)
            self._mask = mask
        if self._mask is None and self._file is not None and isdefined(inputs.incremental):
            self._require_file_on(inputs.incremental.grid)
        if self._doubtful:
            self.doubt(self._doubtful)
        self._results = {} if self._mask is None else {"mask": self._mask}
        return runtime


class MaskFiles:
    """Masks by their paths, each read once."""

    def __init__(self) -> None:
        self._read: dict[str, masked.Mask] = {}

    def find(self, mask: masked.Mask | str | Path) -> masked.Mask:
        """The mask itself, or the one in a file.

        Raises
        ------
        UsageError
            If the file is not a mask.
        """
        if isinstance(mask, masked.Mask):
            return mask
        path = str(mask)
        if path not in self._read:
            self._read[path] = read_mask(path)
        return self._read[path]


def take(incremental: BidsIncremental, mask: masked.Mask) -> NDArray[np.float32]:
    """The values of a volume within a mask, in the scanner's units: percentages need their true zero.

    Parameters
    ----------
    incremental
        The volume.
    mask
        On the same grid.

    Returns
    -------
    Shape (voxels,), float32, in the order of ``mask.indices``.

    Raises
    ------
    GridError
        If the grids differ.
    VolumeError
        If a value is not finite.
    """
    grid: Grid = mask.grid
    grid.require(incremental.grid, f"volume {incremental.volume}")
    values = incremental.data.ravel(order="C").take(mask.indices).astype(np.float32, copy=False)
    if (incremental.slope, incremental.intercept) != (1.0, 0.0):
        scaled = np.float32(incremental.slope) * values + np.float32(incremental.intercept)
        # After motion correction 0 is no value, but what lies outside the field of view.
        values = np.where((values == 0.0) & bool(incremental.reference), np.float32(0.0), scaled)
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise VolumeError(
            f"volume {incremental.volume} has {count} voxels within the mask that are not finite, "
            f"of {values.size}"
        )
    return values


def covered_mean(values: NDArray[np.float32], volume: int) -> tuple[float, str]:
    """The mean over the voxels that have signal, and why to doubt it.

    Voxels outside the field of view are exactly 0 after motion correction. Counted in, 1 % of them would
    pass for a signal change of -1 %.

    Parameters
    ----------
    values
        Within a mask, shape (voxels,).
    volume
        Number of the volume, for the message.

    Returns
    -------
    mean, doubt
        The mean (summed in float64); a reason if less than `COVERAGE` of the voxels have signal, else empty.

    Raises
    ------
    VolumeError
        If no voxel has signal.
    """
    count = int(np.count_nonzero(values))
    if not count:
        raise VolumeError(f"volume {volume} is 0 everywhere within the mask; is the mask where the brain is?")
    covered = count / values.size
    doubt = f"only {covered:.1%} of the mask has signal" if covered < COVERAGE else ""
    return float(values.sum(dtype=np.float64)) / count, doubt


class ApplyMaskInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `ApplyMask`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental")
    mask = traits.Any(mandatory=True, desc="which voxels: a Mask, or the path of an image")


class ApplyMaskOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `ApplyMask`."""

    features = traits.Any(desc="the values within the mask: Features, float32")
    mean = traits.Float(desc="mean over the voxels of the mask that have signal")


class ApplyMask(StreamInterface):
    """Pick the voxels of the mask from each volume, and average them.

    The volume is doubted if less than 95 % of the mask has signal: see `covered_mean`.

    Raises
    ------
    GridError
        If volume and mask are on different grids, or aligned with different references.
    VolumeError
        If a voxel within the mask is not finite, or none has signal.
    """

    input_spec = ApplyMaskInput
    output_spec = ApplyMaskOutput

    def start_run(self, context: RunContext) -> None:
        """Read the mask, if it is in a file or in the session."""
        del context
        self._masks = MaskFiles()
        if isinstance(self.inputs.mask, str | Path):
            self._masks.find(self.inputs.mask)

    def _run_interface(self, runtime: Any) -> Any:
        incremental: BidsIncremental = self.inputs.incremental
        # Not stateful, so stock Nipype may run it too, without start_run.
        masks: MaskFiles = self.__dict__.setdefault("_masks", MaskFiles())
        mask = masks.find(self.inputs.mask)
        values = take(incremental, mask)
        mean, doubt = covered_mean(values, incremental.volume)
        if doubt:
            self.doubt(f"mask: {doubt}")
        self._results = {"features": masked.Features(values, mask), "mean": mean}
        return runtime
