"""The metadata of a volume in BIDS terms and units, without what identifies people."""

from __future__ import annotations

from typing import Any

from rtflow.dicom.mosaic import Csa, slice_times
from rtflow.dicom.read import Header

# BIDS name: (DICOM name, factor to BIDS units)
_NUMBERS = {
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "ImagingFrequency": ("ImagingFrequency", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "SpacingBetweenSlices": ("SpacingBetweenSlices", 1.0),
    "RepetitionTime": ("RepetitionTime", 1e-3),
    "EchoTime": ("EchoTime", 1e-3),
    "FlipAngle": ("FlipAngle", 1.0),
    "PixelBandwidth": ("PixelBandwidth", 1.0),
}
_INTEGERS = {
    "SeriesNumber": "SeriesNumber",
    "AcquisitionNumber": "AcquisitionNumber",
    "EchoTrainLength": "EchoTrainLength",
}
_TEXTS = {
    "Modality": "Modality",
    "ManufacturersModelName": "ManufacturerModelName",
    "SoftwareVersions": "SoftwareVersions",
    "BodyPart": "BodyPartExamined",
    "PatientPosition": "PatientPosition",
    "MRAcquisitionType": "MRAcquisitionType",
    "SeriesDescription": "SeriesDescription",
    "ProtocolName": "ProtocolName",
    "SequenceName": "SequenceName",
}
_LISTS = {
    "ImageType": "ImageType",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
    "ScanOptions": "ScanOptions",
}


def siemens_sidecar(header: Header, csa: Csa, shape: tuple[int, ...]) -> dict[str, Any]:
    """Metadata of a Siemens volume: plain Python values, absent where the header does not say.

    Parameters
    ----------
    header
        The DICOM header.
    csa
        What `rtflow.dicom.mosaic.mosaic_csa` found.
    shape
        Voxels along i, j, k.
    """
    metadata: dict[str, Any] = {"Manufacturer": "Siemens"}
    for name, tag in _TEXTS.items():
        if text := header.text(tag):
            metadata[name] = text
    for name, tag in _LISTS.items():
        if parts := header.texts(tag):
            metadata[name] = parts if len(parts) > 1 or name == "ImageType" else parts[0]
    for name, (tag, factor) in _NUMBERS.items():
        number = header.number(tag)
        if number is not None:
            # Twelve digits: 2435.37 ms is 2.43537 s, not 2.4353700000000003.
            metadata[name] = float(f"{number * factor:.12g}")
    for name, tag in _INTEGERS.items():
        if (integer := header.integer(tag)) is not None:
            metadata[name] = integer
    if echo := header.integer("EchoNumbers"):
        metadata["EchoNumber"] = echo
    clock = header.text("AcquisitionTime")
    if len(clock) >= 6:
        metadata["AcquisitionTime"] = f"{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    metadata.update(_phase_encoding(header, csa, shape))
    if times := slice_times(header, csa):
        metadata["SliceTiming"] = times
        together = times.count(times[0])
        if together > 1 and all(times.count(time) == together for time in times):
            metadata["MultibandAccelerationFactor"] = together
    return metadata


def _phase_encoding(header: Header, csa: Csa, shape: tuple[int, ...]) -> dict[str, Any]:
    """Direction along the image's axes as rtflow (and NIfTI) orders them, and the read-out times from it."""
    fields: dict[str, Any] = {}
    axis = {"ROW": "i", "COL": "j"}.get(header.text("InPlanePhaseEncodingDirection"))
    polarity = csa.get("PhaseEncodingDirectionPositive", [""])[0]
    if axis and polarity in ("0", "1"):
        # Rows are turned over on conversion, so along j positive becomes negative.
        backwards = (polarity == "1") == (axis == "j")
        fields["PhaseEncodingDirection"] = axis + ("-" if backwards else "")
    lines = shape["ij".index(axis)] if axis else 0
    try:
        bandwidth = float(csa["BandwidthPerPixelPhaseEncode"][0])
    except (KeyError, ValueError):
        bandwidth = 0.0
    if bandwidth > 0 and lines > 1:
        # BIDS: TotalReadoutTime = EffectiveEchoSpacing * (ReconMatrixPE - 1)
        spacing = 1 / (bandwidth * lines)
        fields["EffectiveEchoSpacing"] = float(f"{spacing:.6g}")
        fields["TotalReadoutTime"] = float(f"{spacing * (lines - 1):.6g}")
    return fields
