"""Mean of a region, as percent signal change, to the participant's display.

The region is the brain, found in the first volume, unless ``mask`` names an image. With a design the
signal is compared with the rest before each block, without one with the opening of the run.
"""

import msgspec
from nipype import Node, Workflow

from rtflow.design import DesignSettings
from rtflow.nodes import (
    DicomToBids,
    Labels,
    Mask,
    Realign,
    RecordRun,
    Region,
    ScannerInput,
    SkipDummies,
    SubjectOutput,
)
from rtflow.setting_types import LocalPath
from rtflow.settings import RunSettings
from rtflow.stream import stream


class Settings(RunSettings):
    """Settings of this experiment; the rest are those of every run.

    Parameters
    ----------
    mask
        An image of the region on the grid of the series; empty for the brain.
    opening
        Seconds at the start of the run that the signal is compared with, where there is no design.
    lag
        Seconds by which the haemodynamic response trails the trials.
    design
        What the participant is asked to do, and when; none if that is not known.
    """

    dummy_volumes: int = 3
    mask: LocalPath = ""
    opening: float = 6.0
    lag: float = 4.0
    design: DesignSettings | None = None


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = {"design": settings.design.design()} if settings.design else {}

    scanner = Node(ScannerInput(uri=settings.source, **design), name="scanner")
    convert = Node(DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(RecordRun(**design), name="record")
    skip = Node(SkipDummies(volumes=settings.dummy_volumes), name="skip")
    realign = Node(Realign(reference="first"), name="realign")
    mask = Node(Mask(file=settings.mask), name="mask")
    # Yours: what is shown when a volume cannot be used. "last" repeats the value before it, marked as stale.
    region = stream(
        Node(Region(baseline="rest" if design else "opening", opening=settings.opening), name="region"),
        on_error="last",
    )
    subject = Node(SubjectOutput(), name="subject")

    flow = Workflow(name="roi_feedback", base_dir=settings.work_dir)
    flow.connect(
        [
            (scanner, convert, [("frame", "frame")]),
            (convert, record, [("incremental", "incremental")]),
            (convert, skip, [("incremental", "incremental")]),
            (skip, realign, [("incremental", "incremental")]),
            (realign, mask, [("reference", "reference")]),
            (realign, region, [("incremental", "incremental")]),
            (mask, region, [("mask", "mask")]),
            (region, subject, [("value", "value"), ("kind", "kind")]),
        ]
    )
    if design:
        labels = Node(Labels(lag=settings.lag, **design), name="labels")
        flow.connect(
            [
                (skip, labels, [("incremental", "incremental")]),
                (labels, region, [("trial_type", "trial_type")]),
            ]
        )
    return flow
