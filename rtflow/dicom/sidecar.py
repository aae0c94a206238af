"""The metadata of a volume in BIDS terms and units, without what identifies people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtflow.dicom.ge import sampling_time
from rtflow.dicom.instance import Instance
from rtflow.dicom.read import Header
from rtflow.dicom.readout import readout_fields
from rtflow.dicom.sequence import sequence_fields

# BIDS name: (DICOM name, factor to BIDS units); of several DICOM names the first that is there.
_NUMBERS: dict[str, tuple[tuple[str, ...], float]] = {
    "MagneticFieldStrength": (("MagneticFieldStrength",), 1.0),
    "ImagingFrequency": (("ImagingFrequency", "TransmitterFrequency"), 1.0),
    "SliceThickness": (("SliceThickness",), 1.0),
    "SpacingBetweenSlices": (("SpacingBetweenSlices",), 1.0),
    "RepetitionTime": (("RepetitionTime",), 1e-3),
    "EchoTime": (("EffectiveEchoTime", "EchoTime"), 1e-3),
    "InversionTime": (("InversionTime",), 1e-3),
    "FlipAngle": (("FlipAngle",), 1.0),
    "PixelBandwidth": (("PixelBandwidth",), 1.0),
    "PercentPhaseFOV": (("PercentPhaseFieldOfView",), 1.0),
    "PercentSampling": (("PercentSampling",), 1.0),
    "WaterFatShift": (("PhilipsWaterFatShift",), 1.0),
    "PhilipsRescaleSlope": (("RescaleSlope",), 1.0),
    "PhilipsRescaleIntercept": (("RescaleIntercept",), 1.0),
    "PhilipsScaleSlope": (("PhilipsScaleSlope",), 1.0),
    "PhilipsScaleIntercept": (("PhilipsScaleIntercept",), 1.0),
    "PhilipsRWVSlope": (("RealWorldValueSlope",), 1.0),
    "PhilipsRWVIntercept": (("RealWorldValueIntercept",), 1.0),
}
_INTEGERS = {
    "SeriesNumber": ("SeriesNumber",),
    "AcquisitionNumber": ("AcquisitionNumber",),
    "EchoTrainLength": ("GradientEchoTrainLength", "EchoTrainLength"),
    "PhaseEncodingSteps": ("MRAcquisitionPhaseEncodingStepsInPlane", "NumberOfPhaseEncodingSteps"),
}
_TEXTS = {
    "Modality": ("Modality",),
    "ManufacturersModelName": ("ManufacturerModelName",),
    "SoftwareVersions": ("SoftwareVersions",),
    "BodyPart": ("BodyPartExamined",),
    "PatientPosition": ("PatientPosition",),
    "MRAcquisitionType": ("MRAcquisitionType",),
    "SeriesDescription": ("SeriesDescription",),
    "ProtocolName": ("ProtocolName",),
    "SequenceName": ("SequenceName", "PulseSequenceName", "GeSequence"),
    "ReceiveCoilName": ("ReceiveCoilName",),
    "PartialFourierDirection": ("PartialFourierDirection",),
}
_LISTS = {
    "ImageType": ("ImageType",),
    "ScanningSequence": ("ScanningSequence", "SiemensScanningSequence"),
    "SequenceVariant": ("SequenceVariant", "SiemensSequenceVariant"),
    "ScanOptions": ("ScanOptions", "SiemensScanOptions"),
}


def sidecar(
    instance: Instance,
    header: Header,
    shape: tuple[int, ...],
    times: Sequence[float],
    csa: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Metadata of a volume: plain Python values, absent where the header does not say.

    Parameters
    ----------
    instance
        The object of the volume (of its first slice).
    header
        Its header.
    shape
        Voxels along i, j, k.
    times
        When each slice was acquired, seconds from the first; empty if that is not known.
    csa
        The fields of a Siemens CSA header that are needed; empty or None if there is none.
    """
    metadata: dict[str, Any] = {"Manufacturer": instance.vendor}
    for name, choices in _TEXTS.items():
        if text := next(filter(None, map(header.text, choices)), ""):
            metadata[name] = text
    for name, choices in _LISTS.items():
        if parts := next(filter(None, map(header.texts, choices)), []):
            metadata[name] = parts if len(parts) > 1 or name == "ImageType" else parts[0]
    for name, (choices, factor) in _NUMBERS.items():
        number = next((value for value in map(header.number, choices) if value is not None), None)
        if number is not None and not (name.startswith("Philips") and instance.vendor != "Philips"):
            metadata[name] = _twelve_digits(number * factor)
    for name, choices in _INTEGERS.items():
        if integer := next((value for value in map(header.integer, choices) if value), None):
            metadata[name] = integer
    # The number that the console shows: of objects that were split, not their own.
    metadata["SeriesNumber"] = instance.series.number
    if instance.vendor == "GE" and (sampling := sampling_time(header)):
        metadata["RepetitionTime"] = _twelve_digits(sampling)
    # Philips and GE count one, or none, in the train of an echo-planar image that they do not count.
    if metadata.get("EchoTrainLength") == 1:
        del metadata["EchoTrainLength"]
    if clock := _clock(header):
        metadata["AcquisitionTime"] = clock
    metadata |= sequence_fields(instance, header)
    metadata |= readout_fields(instance, header, shape, csa or {})
    if times:
        metadata["SliceTiming"] = list(times)
        together = times.count(times[0])
        if together > 1 and all(times.count(time) == together for time in times):
            metadata["MultibandAccelerationFactor"] = together
    if metadata.get("MultibandAccelerationFactor", 1) > 1 and "PulseSequenceType" in metadata:
        metadata["PulseSequenceType"] = f"Multiband {metadata['PulseSequenceType']}"
    return metadata


def _twelve_digits(number: float) -> float:
    # 2435.37 ms is 2.43537 s, not 2.4353700000000003.
    return float(f"{number:.12g}")


def _clock(header: Header) -> str:
    time = header.text("FrameAcquisitionDateTime")[8:] or header.text("AcquisitionTime")
    time = time or header.text("AcquisitionDateTime")[8:]
    whole, _, fraction = time.partition(".")
    return f"{whole[:2]}:{whole[2:4]}:{whole[4:6]}.{fraction[:6]:0<6}" if len(whole) >= 6 else ""
