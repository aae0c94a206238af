"""Mean of a region, as percent signal change, to the participant's display.

With a design it is compared with the rest before each block, without one with the opening of the run. To
change it, copy it (``rtflow new DIR --workflow roi_feedback``); "Yours" marks what is your choice.
"""

import msgspec
from nipype import Node, Workflow

from rtflow import nodes
from rtflow.nodes.feedback.settings import FeedbackRunSettings
from rtflow.setting_types import LocalPath, NotNegative, Whole
from rtflow.stream import stream


class Settings(FeedbackRunSettings):
    """Settings of this experiment; the rest are those of every run with feedback, such as ``design``.

    Parameters
    ----------
    mask
        An image of the region; without one, and without ``localizer``, it is the whole brain.
    localizer
        The item of the session that a localizer run left: its map is the region.
    opening
        Seconds at the start that the signal is compared with, where there is no design.
    settle
        Seconds that the response takes to die away after each trial.
    """

    dummy_volumes: Whole = 3
    mask: LocalPath = ""
    localizer: str = ""
    opening: NotNegative = 6.0
    settle: NotNegative = 0.0


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = {"design": settings.design.design()} if settings.design else {}
    kept = {"load": settings.localizer} if settings.localizer else {}
    says = "" if settings.mask or kept else "the whole brain; mask=FILE or localizer=NAME names another"
    scanner = Node(nodes.ScannerInput(uri=settings.source, **design), name="scanner")
    convert = Node(nodes.DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(nodes.RecordRun(**design), name="record")
    skip = Node(nodes.SkipDummies(volumes=settings.dummy_volumes), name="skip")
    realign = Node(nodes.Realign(reference="session:reference" if kept else "first"), name="realign")
    mask = Node(nodes.Mask(file=settings.mask, **kept), name="mask")
    # Yours: what becomes of the region: summary="median" or "component", minus=FILE for a difference of two.
    compare = {"baseline": "rest" if design else "opening", "opening": settings.opening}
    region = shown = Node(nodes.Region(**compare, says=says), name="region")
    subject = Node(nodes.SubjectOutput(), name="subject")
    flow = Workflow(name="roi_feedback", base_dir=settings.work_dir)
    flow.connect([(scanner, convert, [("frame",) * 2]), (realign, mask, [("reference",) * 2])])
    for before, after in [(convert, record), (convert, skip), (skip, realign), (realign, region)]:
        flow.connect(before, "incremental", after, "incremental")
    flow.connect([(convert, mask, [("incremental",) * 2]), (mask, region, [("mask",) * 2])])
    if design:
        times = {"lag": settings.lag, "settle": settings.settle, "train_trials": settings.train_blocks}
        labels = Node(nodes.Labels(**times, **design), name="labels")
        flow.connect(skip, "incremental", labels, "incremental")
        flow.connect([(labels, region, [("trial_type",) * 2, ("phase",) * 2])])
    if settings.feedback:
        stream(region, on_error="skip")
        shown = Node(nodes.Feedback(**msgspec.structs.asdict(settings.feedback)), name="feedback")
        flow.connect(skip, "incremental", shown, "incremental")
        flow.connect([(region, shown, [("value",) * 2, ("kind",) * 2])])
        flow.connect([(labels, shown, [("phase",) * 2, ("trial",) * 2])] if design else [])
    # Yours: what is shown when a volume cannot be used. "last" repeats the value before it, marked as stale.
    flow.connect([(stream(shown, on_error="last"), subject, [("value",) * 2, ("kind",) * 2])])
    return flow
