"""How the sequence samples: acceleration, k-space, coils; from the header and, for Siemens, the protocol."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from rtflow.dicom.csa import protocol_count, read_protocol
from rtflow.dicom.instance import EPI, Instance
from rtflow.dicom.read import Header
from rtflow.dicom.timing import ge_bands

#: Siemens: how much of k-space is acquired, the rest computed (sKSpace.ucPhasePartialFourier).
_PARTIAL_FOURIER = {1: 0.5, 2: 0.625, 4: 0.75, 8: 0.875}
_COMBINED = {1: "Sum of Squares", 2: "Adaptive Combine"}
_TECHNIQUES = {2: "GRAPPA"}
_COILS = (
    "sCoilSelectMeas.aRxCoilSelectData[0].asList[0].sCoilElementID.tCoilID",
    "asCoilSelectMeas[0].asList[0].sCoilElementID.tCoilID",
)
_COIL_ELEMENTS = "sCoilSelectMeas.sCoilStringForConversion"
# The research sequence of the University of Minnesota says its bands here, and 1 in lMultiBandFactor.
_CMRR_BANDS = ("sWipMemBlock.alFree[13]", "sWiPMemBlock.alFree[13]")
_BANDS = re.compile(r"\bMB(\d+)\b")


def sequence_fields(instance: Instance, header: Header) -> dict[str, Any]:
    """The BIDS fields of acceleration, k-space and coils; absent where the header does not say."""
    fields: dict[str, Any] = {}
    for name in ("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"):
        if factor := header.number(name):
            fields[name] = factor
    if (technique := header.text("ParallelAcquisitionTechnique")) and technique != "NONE":
        fields["ParallelAcquisitionTechnique"] = technique
    for name, tag in (("SpoilingState", "Spoiling"), ("MTState", "MagnetizationTransfer")):
        if stated := header.text(tag).upper():
            fields[name] = stated != "NONE"
    if instance.vendor == "Siemens":
        fields |= _siemens(header)
    elif instance.vendor == "GE":
        fields |= _ge(header)
    if instance.series.kind in EPI:
        echo = "Spin" if instance.series.kind == "spin-echo" else "Gradient"
        fields["PulseSequenceType"] = f"{echo} Echo EPI"
    return fields


def siemens_bands(header: Header, protocol: Mapping[str, str]) -> int:
    """How many slices are excited at once by the protocol or a comment; 1 if neither says."""
    bands = protocol_count(protocol, "sSliceAcceleration.lMultiBandFactor")
    if bands < 2 and (comment := _BANDS.search(header.text("ImageComments"))):
        bands = int(comment[1])
    if bands < 2 and "cmrr_mbep2d" in protocol.get("tSequenceFileName", ""):
        bands = max(protocol_count(protocol, name) for name in _CMRR_BANDS)
    return max(bands, 1)


def _ge(header: Header) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if (bands := ge_bands(header)) > 1:
        fields["MultibandAccelerationFactor"] = bands
    # What is stored is the part of the lines that is acquired, in plane and across.
    factors = header.numbers("GeAcceleration")
    for name, stored in zip(
        ("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"), factors, strict=False
    ):
        if stored > 0:
            fields[name] = float(f"{1 / stored:.6g}")
    return fields


def _siemens(header: Header) -> dict[str, Any]:
    protocol = read_protocol(header.raw("SiemensProtocol") or header.raw("CsaSeries"))
    fields: dict[str, Any] = {}
    if (bands := siemens_bands(header, protocol)) > 1:
        fields["MultibandAccelerationFactor"] = bands
    if factor := protocol_count(protocol, "sPat.lAccelFactPE"):
        fields["ParallelReductionFactorInPlane"] = factor
        if factor > 1 and (technique := _TECHNIQUES.get(protocol_count(protocol, "sPat.ucPATMode"))):
            fields["ParallelAcquisitionTechnique"] = technique
    if factor := protocol_count(protocol, "sPat.lAccelFact3D"):
        fields["ParallelReductionFactorOutOfPlane"] = factor
    if partial := _PARTIAL_FOURIER.get(protocol_count(protocol, "sKSpace.ucPhasePartialFourier")):
        fields["PartialFourier"] = partial
    if base := protocol_count(protocol, "sKSpace.lBaseResolution"):
        fields["BaseResolution"] = base
    if resolution := protocol.get("sKSpace.dPhaseResolution"):
        with contextlib.suppress(ValueError):
            fields["PhaseResolution"] = float(resolution)
    if combined := _COMBINED.get(protocol_count(protocol, "ucCoilCombineMode")):
        fields["CoilCombinationMethod"] = combined
    if delay := protocol_count(protocol, "lDelayTimeInTR"):
        fields["DelayTime"] = delay * 1e-6
    if details := protocol.get("tSequenceFileName"):
        fields["PulseSequenceDetails"] = details
    if coil := next(filter(None, map(protocol.get, _COILS)), header.text("ReceiveCoilName")):
        fields["ReceiveCoilName"] = coil
    elements = header.text("XaCoilElements") or header.text("SiemensCoilElements")
    if elements := elements or protocol.get(_COIL_ELEMENTS, ""):
        fields["ReceiveCoilActiveElements"] = elements
    if dwell := header.number("XaDwellTime") or header.number("SiemensDwellTime"):
        fields["DwellTime"] = float(f"{dwell * 1e-9:.6g}")
    if table := header.numbers("XaTablePosition") or header.numbers("SiemensTablePosition"):
        fields["TablePosition"] = table
    types = {*header.texts("ImageType"), *header.texts("SiemensImageType")}
    if corrected := types & {"ND", "DIS2D", "DIS3D"}:
        fields["NonlinearGradientCorrection"] = "ND" not in corrected
    return fields
