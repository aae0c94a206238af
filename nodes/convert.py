"""Frames to BIDS-incrementals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.bids.entities import check_entities
from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.nifti import read_nifti
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.documents import Frame
from rtflow.errors import VolumeError
from rtflow.stream.interface import RunContext, StreamInterface

# Two statements of a repetition time agree within this; headers round to a microsecond at worst.
_TOLERANCE = 0.01


def frame_to_incrementals(
    frame: Frame, entities: Mapping[str, str], tr: float | None = None
) -> tuple[BidsIncremental, ...]:
    """The volume in a frame, echo by echo: DICOM objects, or NIfTI images with their JSON sidecars.

    Parameters
    ----------
    frame
        One volume. What the source decoded already is used if it is there; the result is the same without.
    entities
        BIDS entities by their long names.
    tr
        Repetition time in seconds, for headers that have none.

    Raises
    ------
    VolumeError
        If the parts are damaged or of another kind, if the header numbers the volume otherwise than the
        frame, or if ``tr`` contradicts the header by more than one percent.
    """
    kinds = {part.media_type for part in frame.parts}
    if kinds == {"application/dicom"}:
        decoded = isinstance(frame.payload, tuple) and len(frame.payload) == len(frame.parts)
        items = frame.payload if decoded else tuple(read_object(part.data) for part in frame.parts)
        incrementals = to_incrementals(items, frame.volume, entities)
    elif "application/x-nifti" in kinds and kinds <= {"application/json", "application/x-nifti"}:
        incrementals = tuple(_from_nifti(frame, entities))
    else:
        raise VolumeError(
            f"volume {frame.volume}: expected DICOM files, or NIfTI images with JSON sidecars, "
            f"got {', '.join(sorted(kinds)) or 'nothing'}"
        )
    return incrementals if tr is None else tuple(_with_tr(incremental, tr) for incremental in incrementals)


def _from_nifti(frame: Frame, entities: Mapping[str, str]) -> Iterator[BidsIncremental]:
    """Each image with the sidecar of its name (or the only one)."""
    images = [part for part in frame.parts if part.media_type == "application/x-nifti"]
    sidecars = {
        Path(part.name).stem: part.data for part in frame.parts if part.media_type == "application/json"
    }
    for number, part in enumerate(images, start=1):
        sidecar = sidecars.get(part.name.removesuffix(".gz").removesuffix(".nii"), b"")
        if not sidecar and len(images) == len(sidecars) == 1:
            sidecar = next(iter(sidecars.values()))
        names = dict(entities) | ({"echo": str(number)} if len(images) > 1 else {})
        yield read_nifti(part.data, sidecar, volume=frame.volume, entities=names)


def _with_tr(incremental: BidsIncremental, tr: float) -> BidsIncremental:
    stated = incremental.metadata.get("RepetitionTime")
    if stated is None:
        return incremental.with_data(incremental.data, RepetitionTime=tr)
    if abs(float(stated) - tr) > _TOLERANCE * tr:
        raise VolumeError(
            f"volume {incremental.volume}: the header says RepetitionTime {stated:g} s, "
            f"the settings {tr:g} s; correct or remove [bids] tr"
        )
    return incremental


class DicomToBidsInput(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs of `DicomToBids`."""

    frame = traits.Any(mandatory=True, desc="Frame of one volume")
    subject = traits.Any("01", usedefault=True, desc="BIDS label of the participant")
    session = traits.Any("", usedefault=True, desc="BIDS label of the session; empty for none")
    task = traits.Str("feedback", usedefault=True, desc="BIDS label of the task")
    run = traits.Any(1, usedefault=True, desc="BIDS index of the run")
    tr = traits.Any(desc="repetition time in seconds, for headers that have none")
    echo = traits.Int(1, usedefault=True, desc="which echo of a multi-echo series to give on alone, from 1")


class DicomToBidsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `DicomToBids`."""

    incremental = traits.Any(desc="BidsIncremental of the chosen echo")
    echoes = traits.Any(desc="tuple of the BidsIncrementals of all echoes")


class DicomToBids(StreamInterface):
    """Make a BIDS-incremental of each volume, in memory.

    Voxels, their order and the affine are those of dcm2niix. Volumes that are BIDS already (from the
    simulator, or a replay) pass through with their stored values.

    Raises
    ------
    UsageError
        At the start of the run, if a label cannot stand in a BIDS name.
    VolumeError
        As `frame_to_incrementals`, or if there is no such echo.
    """

    input_spec = DicomToBidsInput
    output_spec = DicomToBidsOutput

    def start_run(self, context: RunContext) -> None:
        """Check the labels, before the first volume comes."""
        del context
        check_entities(self._entities())

    def _entities(self) -> dict[str, str]:
        names = {name: getattr(self.inputs, name) for name in ("subject", "session", "task", "run")}
        # An empty label is none; nothing else that is false can be a label.
        return {
            name: str(value) for name, value in names.items() if isdefined(value) and value not in ("", None)
        }

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        tr = inputs.tr if isdefined(inputs.tr) else None
        echoes = frame_to_incrementals(inputs.frame, self._entities(), tr)
        if not 1 <= inputs.echo <= len(echoes):
            raise VolumeError(
                f"volume {inputs.frame.volume}: no echo {inputs.echo}, the series has {len(echoes)}; "
                "correct [bids] echo"
            )
        self._results["incremental"] = echoes[inputs.echo - 1]
        self._results["echoes"] = echoes
        return runtime
