"""Motion correction: every volume is brought to the place of the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import GridError, SessionError, UsageError, VolumeError
from rtflow.nodes.images.brain import COVERAGE, read_mask, read_volume
from rtflow.nodes.images.reslice import Places, require_signal, reslice
from rtflow.nodes.images.spline import Spline
from rtflow.nodes.motion.reference import Reference, prepare
from rtflow.nodes.motion.registration import distrust, estimate, warm_up
from rtflow.nodes.motion.rigid import PARAMETERS, framewise_displacement, parameters_of
from rtflow.nodes.motion.transform_files import FORMATS, write_transforms
from rtflow.session import Session
from rtflow.stream.interface import RunContext, StreamInterface

FIRST = "first"
MEAN = "mean"
SESSION = "session:"
BRAIN = "brain"


@dataclass
class _State:
    """What `Realign` knows in the middle of a run.

    ``transform`` and ``gain`` are those of the last trusted estimate, ``parameters`` those of the
    volume ``volume``, the one before the next, or None if its estimate is missing or not trusted. ``total``
    and ``counts`` are sums over the volumes that a mean is to be made of, None when it is there.
    """

    reference: Reference | None = None
    image: BidsIncremental | None = None
    places: Places | None = None
    transform: NDArray[np.float64] | None = None
    gain: float | None = None
    parameters: NDArray[np.float64] | None = None
    volume: int = 0
    total: NDArray[np.float64] | None = None
    counts: NDArray[np.int32] | None = None
    averaged: int = 0
    moving: Grid | None = None
    transforms: list[tuple[int, bool, NDArray[np.float64]]] = field(default_factory=list)


class RealignInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `Realign`."""

    incremental = traits.Any(mandatory=True, desc="the volume: a BidsIncremental")
    reference = traits.Str(
        FIRST,
        usedefault=True,
        desc="'first' (the first volume that comes), 'mean' (of the first ones, on the grid of the first), "
        "the path of an image, or 'session:NAME'",
    )
    mean_of = traits.Range(
        low=2, value=10, usedefault=True, desc="with reference 'mean': how many trusted volumes it is of"
    )
    reslice = traits.Enum(
        "full", "mask", usedefault=True, desc="where to resample: everywhere, or in the mask; 0 elsewhere"
    )
    mask = traits.Str(
        BRAIN,
        usedefault=True,
        desc="with reslice 'mask': 'brain' (that of the reference, grown by two voxels), the path of an "
        "image, or 'session:NAME'",
    )
    save = traits.Str("", usedefault=True, desc="session item to keep the reference under")
    write = traits.Enum(
        "", *FORMATS, usedefault=True, desc="format of a file in the run's folder with the transforms"
    )


class RealignOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `Realign`."""

    incremental = traits.Any(desc="the volume on the grid of the reference, float32")
    reference = traits.Any(desc="the reference: a BidsIncremental")
    transform = traits.Any(desc="4x4 used to reslice, RAS mm, reference to moved volume")
    trans_x = traits.Float(desc="mm, to the right")
    trans_y = traits.Float(desc="mm, to the front")
    trans_z = traits.Float(desc="mm, up")
    rot_x = traits.Float(desc="rad, about the axis from left to right")
    rot_y = traits.Float(desc="rad, about the axis from back to front")
    rot_z = traits.Float(desc="rad, about the axis from below to above")
    motion = traits.Any(desc="the six, as an array: (6,), float64")
    trusted = traits.Bool(desc="whether the estimate can be trusted; the six are withheld if not")
    framewise_displacement = traits.Float(desc="mm, Power et al. 2012")


class Realign(StreamInterface):
    """Estimate the head's motion against a reference, and reslice the volume onto the reference's grid.

    The estimate starts from the last trusted one, at first from the position in the scanner; a volume may
    have another grid than the reference (a reference of an earlier run). If what comes out cannot be
    trusted it is tried once more from the position in the scanner. If that cannot be trusted either, the
    volume is resliced by the last trusted transform and doubted, the six parameters and the framewise
    displacement are withheld, and the next volume starts from the last trusted estimate.

    Parameters are those of `rtflow.nodes.motion.rigid`, about the centre of the reference's brain. The
    framewise displacement is withheld, too, for the first volume and for one whose predecessor is
    missing or not trusted.
    Voxels outside the volume's field of view, and outside the mask if only that is resliced, are 0. What
    smooths needs more of a volume than the mask that it is for: give it a wider one, or the full volume.

    With reference ``mean``, volumes are aligned with the first until `mean_of` trusted ones have come; their
    mean, less noisy than any of them, is what later volumes are aligned with. Grid, centre, identity and the
    output ``reference`` stay those of the first, so parameters run on, and masks made of it remain valid.

    With ``write``, the transforms of the volumes that came stand in ``RUN_DIR/transforms.*`` when the run
    has ended (`transform_files`); ``transforms.tsv`` says which volumes they are of, and whether
    they were trusted.

    Raises
    ------
    VolumeError
        On a volume that is not finite, or the same everywhere; with reference ``first`` the next one
        becomes the reference then. On every volume, if the session's reference is of another participant.
    GridError
        On a volume whose matrix or voxels are not those of the session's reference.
    UsageError
        At the start of the run, if the reference is not an image of one volume.
    SessionError
        At the start of the run, if the session has no such reference.
    """

    input_spec = RealignInput
    output_spec = RealignOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        """Compile, find the mask, and the reference unless it is to come with the first volume."""
        self._session = Session(context)
        self._run_dir = context.run_dir
        self._state = _State()
        self._subject = ""
        warm_up()
        self._wanted = self._find_mask()
        named = self.inputs.reference
        if named in (FIRST, MEAN):
            return
        identity = ""
        if named.startswith(SESSION):
            item = self._session.load(named.removeprefix(SESSION))
            arrays, self._subject = item.arrays, item.facts.get("subject", "")
            if not {"data", "affine"} <= arrays.keys():
                raise SessionError(
                    f"session item {named.removeprefix(SESSION)!r} is no reference: it holds "
                    f"{', '.join(sorted(arrays))}, expected data and affine; name one that Realign saved"
                )
            data, affine = arrays["data"], arrays["affine"]
            identity = "" if item.grid is None else item.grid.reference
        else:
            data, affine = read_volume(named, "reference")
        try:
            self._refer(BidsIncremental(data, affine, volume=0), identity)
        except VolumeError as error:
            raise UsageError(f"Realign cannot use reference {named}: {error}") from None

    def end_run(self) -> None:
        """Write the transforms, if asked to."""
        state = self._state
        if not self.inputs.write or state.reference is None or state.moving is None:
            return
        self._run_dir.mkdir(parents=True, exist_ok=True)
        path = self._run_dir / "transforms"
        matrices = np.array([transform for _, _, transform in state.transforms])
        write_transforms(path, matrices, state.reference.grid, state.moving, self.inputs.write)
        rows = [f"{volume}\t{'yes' if trusted else 'no'}" for volume, trusted, _ in state.transforms]
        path.with_suffix(".tsv").write_text("\n".join(["volume\ttrusted", *rows, ""]), encoding="utf-8")

    def snapshot(self) -> _State:
        """The reference, and the last estimates."""
        return self._state

    def restore(self, state: _State) -> None:
        """Go on from there."""
        self._state = state

    def _find_mask(self) -> tuple[NDArray[np.bool_], Grid | None] | None:
        """The mask of a file or of the session, with its grid; None where the brain's is to be made."""
        named = self.inputs.mask
        if self.inputs.reslice == "full" or named == BRAIN:
            return None
        if not named.startswith(SESSION):
            mask = read_mask(named)
            return mask.data, mask.grid
        item = self._session.load(named.removeprefix(SESSION))
        data = item.arrays.get("data")
        if data is None or data.dtype != bool or data.ndim != 3:
            raise SessionError(
                f"session item {named.removeprefix(SESSION)!r} is no mask: it holds "
                f"{', '.join(sorted(item.arrays))}; name one that Mask saved"
            )
        return data, item.grid

    def _refer(self, image: BidsIncremental, identity: str = "") -> Reference:
        reference = prepare(image.data, image.affine, identity=identity)
        state = self._state
        state.reference = reference
        state.image = image.with_data(image.data, reference=reference.identity)
        if self.inputs.reslice == "mask":
            if self._wanted is None:
                mask = reference.brain
            else:
                mask, grid = self._wanted
                if grid is not None:
                    reference.grid.require(grid, f"mask {self.inputs.mask}")
            state.places = Places.of(mask)
        if self.inputs.reference == MEAN:
            state.total = np.zeros(image.data.shape)
            state.counts = np.zeros(image.data.shape, dtype=np.int32)
        self._save(image.data)
        return reference

    def _save(self, data: NDArray[Any]) -> None:
        reference, image = self._state.reference, self._state.image
        if self.inputs.save and reference is not None and image is not None:
            self._session.save(
                self.inputs.save,
                {"data": data, "affine": reference.affine},
                reference.grid,
                centre=reference.centre.tolist(),
                subject=self._subject or image.entities.get("subject", ""),
            )

    def _average(self, resliced: NDArray[np.float32]) -> None:
        """Take a trusted volume into the mean, and make that the reference when it is of enough."""
        state = self._state
        if state.total is None or state.counts is None or state.reference is None:
            return
        state.total += resliced
        state.counts += resliced != 0.0
        state.averaged += 1
        if state.averaged < self.inputs.mean_of:
            return
        first = state.reference
        mean = (state.total / np.maximum(state.counts, 1)).astype(np.float32)
        state.reference = prepare(mean, first.affine, identity=first.identity, centre=first.centre)
        state.total = state.counts = None
        self._save(mean)

    def _run_interface(self, runtime: Any) -> Any:
        state = self._state
        incremental: BidsIncremental = self.inputs.incremental
        volume = incremental.volume
        subject = incremental.entities.get("subject", "")
        if self._subject and subject and subject != self._subject:
            raise VolumeError(
                f"volume {volume} is of sub-{subject}, reference {self.inputs.reference} of "
                f"sub-{self._subject}; give each participant a session of their own (--session DIR)"
            )
        # After a gap the numbers do not follow each other, whether or not somebody told of it.
        before = state.parameters if volume == state.volume + 1 else None
        # Should this volume fail, the next one has no predecessor.
        state.parameters, state.volume = None, volume
        require_signal(incremental.data, f"volume {volume}")
        if min(incremental.data.shape) < 4:
            raise VolumeError(
                f"volume {volume} has shape {incremental.data.shape}; motion correction needs at least 4 "
                "voxels along each axis"
            )
        reference = state.reference
        if state.image is not None and self.inputs.reference.startswith(SESSION):
            _require_kin(incremental, state.image)
        parameters: NDArray[np.float64] | None
        if reference is None:
            reference = self._refer(incremental)
            state.transform, state.gain = np.eye(4), 1.0
            transform, parameters = state.transform, np.zeros(6)
            resliced, whole = incremental.data.astype(np.float32, order="C"), True
        else:
            spline = Spline(incremental.data)
            transform, parameters = self._locate(reference, spline, incremental.affine)
            # A mean of masked volumes would be no reference.
            whole = state.places is None or state.total is not None
            places = None if whole else state.places
            resliced = reslice(spline, incremental.affine, transform, reference.grid, places)
        if parameters is not None:
            self._average(resliced)
        if whole and state.places is not None:
            state.places.clear(resliced)
        if self.inputs.write:
            state.moving = incremental.grid if state.moving is None else state.moving
            state.transforms.append((volume, parameters is not None, transform))
        self._results: dict[str, Any] = {
            "incremental": incremental.on_affine(resliced, reference.affine, reference=reference.identity),
            "reference": state.image,
            "transform": transform,
            "trusted": parameters is not None,
        }
        if parameters is not None:
            self._results.update(zip(PARAMETERS, parameters.tolist(), strict=True), motion=parameters)
            if before is not None:
                self._results["framewise_displacement"] = framewise_displacement(before, parameters)
        state.parameters = parameters
        return runtime

    def _locate(
        self, reference: Reference, spline: Spline, affine: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """The transform to reslice by, and the parameters if it can be trusted."""
        state = self._state
        found = estimate(reference, spline, affine, state.transform)
        reason = distrust(found, state.gain)
        if reason and state.transform is not None:
            found = estimate(reference, spline, affine)
            reason = distrust(found, state.gain)
        if reason:
            self.doubt(f"realign: {reason}")
            return (np.eye(4) if state.transform is None else state.transform), None
        if found.overlap < COVERAGE:
            self.doubt(f"realign: only {found.overlap:.1%} of the brain lies in the field of view")
        if found.slices:
            counted = ", ".join(str(number + 1) for number in found.slices)
            self.doubt(
                f"realign: slices {counted} (of {len(reference.slices)}) have lost signal or gained some"
            )
        state.transform, state.gain = found.transform, found.gain
        return found.transform, parameters_of(found.transform, reference.centre)


def _require_kin(volume: BidsIncremental, reference: BidsIncremental) -> None:
    """Refuse a volume of another acquisition: its matrix or voxels are not those of the reference.

    Where the head and the slices lie may differ, from day to day; that is what realignment is for.
    """
    same = volume.data.shape == reference.data.shape
    if same and np.allclose(volume.voxel_size, reference.voxel_size, rtol=0.01):
        return
    ours, theirs = (
        f"{'x'.join(map(str, image.data.shape))} voxels of "
        f"{' x '.join(f'{size:.2f}' for size in image.voxel_size)} mm"
        for image in (volume, reference)
    )
    raise GridError(
        f"volume {volume.volume} has {ours}, the reference {theirs}: it is of another acquisition; "
        "take a reference of the same protocol, or begin a session of its own (--session DIR)"
    )
