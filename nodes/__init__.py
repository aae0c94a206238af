"""The nodes: Nipype interfaces, each a thin face over pure functions.

``from rtflow.nodes import Realign, Decode`` imports the modules of these two and no others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtflow.nodes.confounds.confounds import Confounds
    from rtflow.nodes.convert import DicomToBids
    from rtflow.nodes.decoding.accuracy import Accuracy
    from rtflow.nodes.decoding.decode import Decode
    from rtflow.nodes.dummies import SkipDummies
    from rtflow.nodes.feedback.feedback import Feedback
    from rtflow.nodes.images.echoes import Echoes
    from rtflow.nodes.images.slice_timing import SliceTiming
    from rtflow.nodes.images.smooth import Smooth
    from rtflow.nodes.keep import KeepItems
    from rtflow.nodes.labels import Labels
    from rtflow.nodes.masks.bring_mask import BringMask
    from rtflow.nodes.masks.mask import ApplyMask, Mask
    from rtflow.nodes.models.denoise import Denoise
    from rtflow.nodes.models.glm import GLM
    from rtflow.nodes.motion.realign import Realign
    from rtflow.nodes.record import RecordRun
    from rtflow.nodes.scanner import ScannerInput
    from rtflow.nodes.signals.connectivity import Connectivity
    from rtflow.nodes.signals.region import Region, RegionOfFeatures
    from rtflow.nodes.signals.select import SelectVoxels
    from rtflow.nodes.subject import SubjectOutput
    from rtflow.nodes.subject_input import SubjectInput

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
    "SubjectInput",
    "SubjectOutput",
]

_MODULES = {
    "Accuracy": "decoding.accuracy",
    "ApplyMask": "masks.mask",
    "BringMask": "masks.bring_mask",
    "Confounds": "confounds.confounds",
    "Connectivity": "signals.connectivity",
    "Decode": "decoding.decode",
    "Denoise": "models.denoise",
    "DicomToBids": "convert",
    "Feedback": "feedback.feedback",
    "GLM": "models.glm",
    "Echoes": "images.echoes",
    "KeepItems": "keep",
    "Labels": "labels",
    "Mask": "masks.mask",
    "Realign": "motion.realign",
    "RecordRun": "record",
    "Region": "signals.region",
    "RegionOfFeatures": "signals.region",
    "ScannerInput": "scanner",
    "SelectVoxels": "signals.select",
    "SkipDummies": "dummies",
    "SliceTiming": "images.slice_timing",
    "Smooth": "images.smooth",
    "SubjectInput": "subject_input",
    "SubjectOutput": "subject",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
