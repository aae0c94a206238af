"""Connectivity of two regions to the participant's display: their correlation over the last seconds.

Motion is taken out of both within the window; what the whole brain shares is not. To change it, copy it
(``rtflow new DIR --workflow connectivity``); "Yours" marks what is your choice.
"""

import msgspec
from nipype import Node, Workflow

from rtflow import nodes
from rtflow.design import DesignSettings
from rtflow.nodes.feedback.settings import FeedbackRunSettings, FeedbackSettings
from rtflow.nodes.signals.region_files import require_regions
from rtflow.setting_types import LocalPath, Positive, Whole
from rtflow.stream import stream


class Settings(FeedbackRunSettings):
    """Settings of this experiment; the rest are those of every run with feedback.

    Parameters
    ----------
    first, second
        Images of two regions on the grid of the series; both are needed.
    window
        Seconds that the correlation is taken over.
    fisher
        Whether the value is Fisher's z of the correlation.
    motion
        Whether motion is taken out.
    """

    dummy_volumes: Whole = 5
    first: LocalPath = ""
    second: LocalPath = ""
    window: Positive = 40.0
    fisher: bool = False
    motion: bool = True
    design: DesignSettings = msgspec.field(default_factory=DesignSettings)
    feedback: FeedbackSettings = msgspec.field(default_factory=FeedbackSettings)

    def require(self) -> None:
        """Refuse a run without two regions."""
        super().require()
        require_regions(first=self.first, second=self.second)


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = settings.design.design()
    scanner = Node(nodes.ScannerInput(uri=settings.source, design=design), name="scanner")
    convert = Node(nodes.DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(nodes.RecordRun(design=design), name="record")
    skip = Node(nodes.SkipDummies(volumes=settings.dummy_volumes), name="skip")
    realign = Node(nodes.Realign(), name="realign")
    times = nodes.Labels(design=design, lag=settings.lag, train_trials=settings.train_blocks)
    labels = Node(times, name="labels")
    # Yours: which seconds, and trial of Labels where rest and task shall not be in one window.
    pair = Node(nodes.Connectivity(window=settings.window, fisher=settings.fisher), name="connectivity")
    feedback = Node(nodes.Feedback(**msgspec.structs.asdict(settings.feedback)), name="feedback")
    subject = Node(nodes.SubjectOutput(), name="subject")

    flow = Workflow(name="connectivity", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    for name, file in (("first", settings.first), ("second", settings.second)):
        mask = Node(nodes.Mask(file=file), name=f"mask_{name}")
        # Yours: what stands for a region; summary="component" is its first principal component.
        region = Node(nodes.Region(baseline="none"), name=name)
        flow.connect([(realign, mask, [("reference",) * 2]), (mask, region, [("mask",) * 2])])
        flow.connect([(convert, mask, [("incremental",) * 2]), (realign, region, [("incremental",) * 2])])
        flow.connect(region, "value", pair, name)
    for before, afters in [(convert, (record, skip)), (skip, (realign, labels, pair, feedback))]:
        flow.connect([(before, after, [("incremental",) * 2]) for after in afters])
    flow.connect([(realign, pair, [("motion",) * 2])] if settings.motion else [])
    flow.connect([(labels, feedback, [("phase",) * 2, ("trial",) * 2])])
    flow.connect([(pair, feedback, [("value",) * 2, ("kind",) * 2])])
    flow.connect([(stream(feedback, on_error="last"), subject, [("value",) * 2, ("kind",) * 2])])
    return flow
