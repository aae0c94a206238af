"""How echo-planar images are read out: the direction of phase encoding, and how long its echoes take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rtflow.dicom.ge import filled_forwards
from rtflow.dicom.instance import Instance
from rtflow.dicom.read import Header


def readout_fields(
    instance: Instance, header: Header, shape: tuple[int, ...], csa: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The BIDS fields of phase encoding and read-out; absent where the header does not say.

    Parameters
    ----------
    instance
        The object of the volume.
    header
        Its header.
    shape
        Voxels along i, j, k. The direction is one along these axes, as rtflow (and NIfTI) orders them.
    csa
        For a mosaic, what `rtflow.dicom.mosaic.mosaic_csa` found.
    """
    # Enhanced objects write COLUMN.
    stated = header.text("InPlanePhaseEncodingDirection")[:3]
    axis = {"ROW": "i", "COL": "j"}.get(stated)
    if axis is None:
        return {}
    lines = shape["ij".index(axis)]
    fields: dict[str, Any] = {"InPlanePhaseEncodingDirectionDICOM": stated, "ReconMatrixPE": lines}
    if acquired := acquired_lines(header):
        fields["AcquisitionMatrixPE"] = acquired
    positive = _polarity(instance, header, csa)
    if positive is None:
        fields["PhaseEncodingAxis"] = axis
    else:
        # Rows are turned over on conversion, so along j positive becomes negative.
        fields["PhaseEncodingDirection"] = axis + ("-" if positive == (axis == "j") else "")
    if bandwidth := _bandwidth(header, csa):
        fields["BandwidthPerPixelPhaseEncode"] = bandwidth
        spacing: float | None = 1 / (bandwidth * lines)
    else:
        spacing = _ge_echo_spacing(header, lines) if instance.vendor == "GE" else None
    if spacing and lines > 1:
        # BIDS: TotalReadoutTime = EffectiveEchoSpacing * (ReconMatrixPE - 1)
        fields["EffectiveEchoSpacing"] = float(f"{spacing:.6g}")
        fields["TotalReadoutTime"] = float(f"{spacing * (lines - 1):.6g}")
    return fields


def acquired_lines(header: Header) -> int | None:
    """How many phase-encoding lines k-space has, acquired or computed; None if the header does not say."""
    if lines := header.integer("MRAcquisitionPhaseEncodingStepsInPlane"):
        return lines
    # Frequency rows and columns, phase rows and columns: two of the four are zero.
    matrix = header.numbers("AcquisitionMatrix")
    return int(max(matrix[2:])) or None if len(matrix) == 4 else None


def _polarity(instance: Instance, header: Header, csa: Mapping[str, Sequence[str]]) -> bool | None:
    """Whether k-space is filled along the rows' (or columns') own direction; None if it is not said."""
    if instance.vendor == "GE":
        return filled_forwards(header)
    stated = csa.get("PhaseEncodingDirectionPositive", [""])[0] or header.text("SiemensPhaseEncodingPositive")
    return {"0": False, "1": True}.get(stated)


def _bandwidth(header: Header, csa: Mapping[str, Sequence[str]]) -> float | None:
    """Bandwidth per pixel along phase encoding, Hz; None if the header does not say, as only Siemens does."""
    stated = header.number("SiemensPhaseEncodingBandwidth")
    try:
        bandwidth = float(csa["BandwidthPerPixelPhaseEncode"][0]) if stated is None else stated
    except (KeyError, IndexError, ValueError):
        return None
    return bandwidth if math.isfinite(bandwidth) and bandwidth > 0 else None


def _ge_echo_spacing(header: Header, lines: int) -> float | None:
    """GE states the spacing of the echoes that are acquired, in microseconds.

    Read-out takes the lines that are acquired, rounded up to two, or to four with partial Fourier; the
    effective spacing is that time over the lines of k-space, which are fewer than the image's where it is
    interpolated (dcm2niix, GE/README.md, Total Readout Time).
    """
    stated, factors = header.number("GeEchoSpacing"), header.numbers("GeAcceleration")
    acquired = acquired_lines(header) or lines
    if not stated or acquired < 2:
        return None
    step = 4 if "PFF" in header.texts("ScanOptions") else 2
    factor = 1 / factors[0] if factors and factors[0] > 0 else 1.0
    echoes = math.ceil(acquired / factor / step - 1e-6) * step
    return (echoes - 1) * stated * 1e-6 / (acquired - 1)
