"""The nodes: Nipype interfaces, each a thin face over pure functions.

``from rtflow.nodes import Realign, Decode`` imports the modules of these two and no others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtflow.nodes.accuracy import Accuracy
    from rtflow.nodes.bring_mask import BringMask
    from rtflow.nodes.confounds import Confounds
    from rtflow.nodes.connectivity import Connectivity
    from rtflow.nodes.convert import DicomToBids
    from rtflow.nodes.decode import Decode
    from rtflow.nodes.denoise import Denoise
    from rtflow.nodes.dummies import SkipDummies
    from rtflow.nodes.echoes import Echoes
    from rtflow.nodes.feedback import Feedback
    from rtflow.nodes.glm import GLM
    from rtflow.nodes.keep import KeepItems
    from rtflow.nodes.labels import Labels
    from rtflow.nodes.mask import ApplyMask, Mask
    from rtflow.nodes.realign import Realign
    from rtflow.nodes.record import RecordRun
    from rtflow.nodes.region import Region, RegionOfFeatures
    from rtflow.nodes.scanner import ScannerInput
    from rtflow.nodes.select import SelectVoxels
    from rtflow.nodes.slice_timing import SliceTiming
    from rtflow.nodes.smooth import Smooth
    from rtflow.nodes.subject import SubjectOutput

__all__ = [
    "GLM",
    "Accuracy",
    "ApplyMask",
    "BringMask",
    "Confounds",
    "Connectivity",
    "Decode",
    "Denoise",
    "DicomToBids",
    "Echoes",
    "Feedback",
    "KeepItems",
    "Labels",
    "Mask",
    "Realign",
    "RecordRun",
    "Region",
    "RegionOfFeatures",
    "ScannerInput",
    "SelectVoxels",
    "SkipDummies",
    "SliceTiming",
    "Smooth",
    "SubjectOutput",
]

_MODULES = {
    "Accuracy": "accuracy",
    "ApplyMask": "mask",
    "BringMask": "bring_mask",
    "Confounds": "confounds",
    "Connectivity": "connectivity",
    "Decode": "decode",
    "Denoise": "denoise",
    "DicomToBids": "convert",
    "Feedback": "feedback",
    "GLM": "glm",
    "Echoes": "echoes",
    "KeepItems": "keep",
    "Labels": "labels",
    "Mask": "mask",
    "Realign": "realign",
    "RecordRun": "record",
    "Region": "region",
    "RegionOfFeatures": "region",
    "ScannerInput": "scanner",
    "SelectVoxels": "select",
    "SkipDummies": "dummies",
    "SliceTiming": "slice_timing",
    "Smooth": "smooth",
    "SubjectOutput": "subject",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
