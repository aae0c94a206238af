"""The metadata of a volume in BIDS terms and units, without what identifies people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rtflow.dicom.csa import protocol_count, read_protocol
from rtflow.dicom.ge import filled_forwards, sampling_time
from rtflow.dicom.instance import Instance
from rtflow.dicom.read import Header
from rtflow.dicom.timing import ge_bands

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
    "BandwidthPerPixelPhaseEncode": (("SiemensPhaseEncodingBandwidth",), 1.0),
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
    "ImageType": "ImageType",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
    "ScanOptions": "ScanOptions",
}
# Siemens: how much of k-space the protocol leaves to be computed.
_PARTIAL_FOURIER = {1: 0.5, 2: 0.625, 4: 0.75, 8: 0.875}


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
        For a mosaic, what `rtflow.dicom.mosaic.mosaic_csa` found.
    """
    metadata: dict[str, Any] = {"Manufacturer": instance.vendor}
    for name, choices in _TEXTS.items():
        if text := next(filter(None, map(header.text, choices)), ""):
            metadata[name] = text
    for name, tag in _LISTS.items():
        if parts := header.texts(tag):
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
    if instance.echoes > 1 or (header.integer("EchoNumbers") or 0) > 0:
        metadata["EchoNumber"] = instance.pieces[0].echo
    if clock := _clock(header):
        metadata["AcquisitionTime"] = clock
    metadata.update(_acceleration(instance, header))
    metadata.update(_phase_encoding(instance, header, shape, csa or {}))
    if times:
        metadata["SliceTiming"] = list(times)
        together = times.count(times[0])
        if together > 1 and all(times.count(time) == together for time in times):
            metadata["MultibandAccelerationFactor"] = together
    return metadata


def _twelve_digits(number: float) -> float:
    # 2435.37 ms is 2.43537 s, not 2.4353700000000003.
    return float(f"{number:.12g}")


def _clock(header: Header) -> str:
    time = header.text("FrameAcquisitionDateTime")[8:] or header.text("AcquisitionTime")
    time = time or header.text("AcquisitionDateTime")[8:]
    return f"{time[:2]}:{time[2:4]}:{time[4:]}" if len(time) >= 6 else ""


def _acceleration(instance: Instance, header: Header) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if instance.vendor == "GE":
        if (bands := ge_bands(header)) > 1:
            fields["MultibandAccelerationFactor"] = bands
        if (factors := header.numbers("GeAcceleration")) and factors[0] > 0:
            fields["ParallelReductionFactorInPlane"] = _twelve_digits(1 / factors[0])
    elif factor := header.number("ParallelReductionFactorInPlane"):
        fields["ParallelReductionFactorInPlane"] = factor
    if instance.vendor == "Siemens":
        protocol = read_protocol(header.raw("SiemensProtocol") or header.raw("CsaSeries"))
        if lines := protocol_count(protocol, "sPat.lAccelFactPE"):
            fields["ParallelReductionFactorInPlane"] = lines
        if partial := _PARTIAL_FOURIER.get(protocol_count(protocol, "sKSpace.ucPhasePartialFourier")):
            fields["PartialFourier"] = partial
    return fields


def _phase_encoding(
    instance: Instance, header: Header, shape: tuple[int, ...], csa: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Direction along the image's axes as rtflow (and NIfTI) orders them, and the read-out times from it."""
    axis = {"ROW": "i", "COL": "j"}.get(header.text("InPlanePhaseEncodingDirection")[:3])
    if axis is None:
        return {}
    fields: dict[str, Any] = {}
    positive = _polarity(instance, header, csa)
    if positive is None:
        fields["PhaseEncodingAxis"] = axis
    else:
        # Rows are turned over on conversion, so along j positive becomes negative.
        fields["PhaseEncodingDirection"] = axis + ("-" if positive == (axis == "j") else "")
    lines = shape["ij".index(axis)]
    spacing = _echo_spacing(instance, header, csa, lines)
    if spacing and lines > 1:
        # BIDS: TotalReadoutTime = EffectiveEchoSpacing * (ReconMatrixPE - 1)
        fields["EffectiveEchoSpacing"] = float(f"{spacing:.6g}")
        fields["TotalReadoutTime"] = float(f"{spacing * (lines - 1):.6g}")
    return fields


def _polarity(instance: Instance, header: Header, csa: Mapping[str, Sequence[str]]) -> bool | None:
    """Whether k-space is filled along the rows' (or columns') own direction; None if it is not said."""
    if instance.vendor == "GE":
        return filled_forwards(header)
    stated = csa.get("PhaseEncodingDirectionPositive", [""])[0] or header.text("SiemensPhaseEncodingPositive")
    return {"0": False, "1": True}.get(stated)


def _echo_spacing(
    instance: Instance, header: Header, csa: Mapping[str, Sequence[str]], lines: int
) -> float | None:
    """Effective echo spacing, seconds; None if it is not known."""
    if instance.vendor == "GE":
        return _ge_echo_spacing(header, lines)
    stated = header.number("SiemensPhaseEncodingBandwidth")
    try:
        bandwidth = float(csa["BandwidthPerPixelPhaseEncode"][0]) if stated is None else stated
    except (KeyError, IndexError, ValueError):
        return None
    return 1 / (bandwidth * lines) if bandwidth > 0 else None


def _ge_echo_spacing(header: Header, lines: int) -> float | None:
    """GE states the spacing of the echoes that are acquired, in microseconds.

    Read-out takes the lines that are acquired, rounded up to two, or to four with partial Fourier; the
    effective spacing is that time over the lines of the image (dcm2niix, GE/README.md, Total Readout Time).
    """
    stated, factors = header.number("GeEchoSpacing"), header.numbers("GeAcceleration")
    if not stated or lines < 2:
        return None
    acquired = max(header.numbers("AcquisitionMatrix") or [lines])
    step = 4 if "PFF" in header.texts("ScanOptions") else 2
    factor = 1 / factors[0] if factors and factors[0] > 0 else 1.0
    echoes = math.ceil(acquired / factor / step - 1e-6) * step
    return (echoes - 1) * stated * 1e-6 / (lines - 1)
