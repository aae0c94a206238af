"""Frames to BIDS-incrementals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, isdefined, traits

from rtflow.bids.incremental import BidsIncremental, check_labels
from rtflow.bids.nifti import read_nifti
from rtflow.dicom.convert import to_incremental
from rtflow.dicom.identify import DicomObject, read_object
from rtflow.documents import Frame
from rtflow.errors import VolumeError
from rtflow.stream.interface import RunContext, StreamInterface

# Two statements of a repetition time agree within this; headers round to a microsecond at worst.
_TOLERANCE = 0.01


def frame_to_incremental(
    frame: Frame, entities: Mapping[str, str], tr: float | None = None
) -> BidsIncremental:
    """The volume in a frame: one DICOM object, or a NIfTI image with its JSON sidecar.

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
    kinds = sorted(part.media_type for part in frame.parts)
    if kinds == ["application/dicom"]:
        payload = frame.payload
        item = payload if isinstance(payload, DicomObject) else read_object(frame.parts[0].data)
        if item.instance.volume != frame.volume:
            raise VolumeError(
                f"volume {frame.volume}: {frame.parts[0].name} is volume {item.instance.volume} by its header"
            )
        incremental = to_incremental(item, entities)
    elif kinds in (["application/json", "application/x-nifti"], ["application/x-nifti"]):
        data = {part.media_type: part.data for part in frame.parts}
        incremental = read_nifti(
            data["application/x-nifti"],
            data.get("application/json", b""),
            volume=frame.volume,
            entities=entities,
        )
    else:
        raise VolumeError(
            f"volume {frame.volume}: expected one DICOM file, or a NIfTI image with a JSON sidecar, "
            f"got {', '.join(kinds) or 'nothing'}"
        )
    return incremental if tr is None else _with_tr(incremental, tr)


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


class DicomToBidsOutput(TraitedSpec):  # type: ignore[misc]
    """Outputs of `DicomToBids`."""

    incremental = traits.Any(desc="BidsIncremental")


class DicomToBids(StreamInterface):
    """Make a BIDS-incremental of each volume, in memory.

    Voxels, their order and the affine are those of dcm2niix. Volumes that are BIDS already (from the
    simulator, or a replay) pass through with their stored values.

    Raises
    ------
    UsageError
        At the start of the run, if a label cannot stand in a BIDS name.
    VolumeError
        As `frame_to_incremental`.
    """

    input_spec = DicomToBidsInput
    output_spec = DicomToBidsOutput

    def start_run(self, context: RunContext) -> None:
        """Check the labels, before the first volume comes."""
        del context
        check_labels(self._entities())

    def _entities(self) -> dict[str, str]:
        names = {name: getattr(self.inputs, name) for name in ("subject", "session", "task", "run")}
        # An empty label is none; nothing else that is false can be a label.
        return {
            name: str(value) for name, value in names.items() if isdefined(value) and value not in ("", None)
        }

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        tr = inputs.tr if isdefined(inputs.tr) else None
        self._results["incremental"] = frame_to_incremental(inputs.frame, self._entities(), tr)
        return runtime
