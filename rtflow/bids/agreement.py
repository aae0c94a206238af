"""Whether two images can be volumes of one run: where they differ, and in what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from rtflow.bids.entities import ENTITIES, matches
from rtflow.bids.fields import OF_ONE_IMAGE, same
from rtflow.bids.incremental import BidsIncremental

#: Sidecar fields that are those of the whole run; what is not here may differ from volume to volume.
OF_THE_RUN = (
    *("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber", "MagneticFieldStrength"),
    *("ProtocolName", "SeriesDescription", "SeriesNumber", "SeriesInstanceUID", "TaskName"),
    *("RepetitionTime", "EchoTime", "EchoNumber", "InversionTime", "FlipAngle"),
    *("PhaseEncodingDirection", "SliceEncodingDirection", "EffectiveEchoSpacing", "TotalReadoutTime"),
    *("MultibandAccelerationFactor", "ParallelReductionFactorInPlane", "PartialFourier"),
)
# Of numbers that were written in decimal, and of affines in millimetres.
_RELATIVE, _MILLIMETRES = 1e-6, 1e-3


def entity_differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Where entities differ, each with both labels; which echo or part an image is makes no difference.

    >>> entity_differences({"subject": "01", "run": "2"}, {"subject": "01", "run": "1"})
    ['run 2, the run has 1']
    """
    return [
        _said(name, found.get(name), expected.get(name))
        for name in _names(found, expected)
        if name not in OF_ONE_IMAGE and not _same_label(name, found.get(name), expected.get(name))
    ]


def voxel_differences(found: BidsIncremental, expected: BidsIncremental) -> list[str]:
    """Where shape, type or scaling differ, each with both values: such volumes cannot stand in one file."""
    pairs = [
        ("shape", found.data.shape, expected.data.shape),
        ("type", found.data.dtype.name, expected.data.dtype.name),
        ("scaling", (found.slope, found.intercept), (expected.slope, expected.intercept)),
    ]
    return [_said(name, one, other) for name, one, other in pairs if one != other]


def header_differences(found: BidsIncremental, expected: BidsIncremental) -> list[str]:
    """Where shape, type, scaling, reference, suffix or affine differ, each with both values."""
    differences = voxel_differences(found, expected)
    pairs = [("reference", found.reference, expected.reference), ("suffix", found.suffix, expected.suffix)]
    differences += [_said(name, one, other) for name, one, other in pairs if one != other]
    if not np.allclose(found.affine, expected.affine, rtol=0, atol=_MILLIMETRES):
        differences.append(_said("affine", found.affine.tolist(), expected.affine.tolist()))
    return differences


def metadata_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Where the metadata of the run (`OF_THE_RUN`) differ, each with both values.

    >>> metadata_differences({"RepetitionTime": 2.0}, {"RepetitionTime": 1.5, "InstanceNumber": 1})
    ['RepetitionTime 2.0, the run has 1.5']
    """
    return [
        _said(name, found.get(name), expected.get(name))
        for name in OF_THE_RUN
        if not _same_value(found.get(name), expected.get(name))
    ]


def _names(*held: Mapping[str, str]) -> list[str]:
    return [*ENTITIES, *dict.fromkeys(name for one in held for name in one if name not in ENTITIES)]


def _same_label(name: str, one: str | None, other: str | None) -> bool:
    return not other if not one else bool(other) and matches({name: one}, {name: other})


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, Real) and isinstance(other, Real):
        return math.isclose(one, other, rel_tol=_RELATIVE) or same(one, other)
    return same(one, other)


def _said(name: str, found: Any, expected: Any) -> str:
    def value(one: Any) -> str:
        return "none" if one in (None, "") else str(one)

    return f"{name} {value(found)}, the run has {value(expected)}"
