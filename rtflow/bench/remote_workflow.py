"""What `rtflow bench remote` runs: the mean of a region, to the subject's display on another machine."""

from __future__ import annotations

import msgspec
from nipype import Node, Workflow

from rtflow.nodes import DicomToBids, Realign, Region, ScannerInput, SubjectOutput
from rtflow.setting_types import LocalPath
from rtflow.settings import RunSettings


class Settings(RunSettings):
    """The region, and whether to correct motion, too.

    Parameters
    ----------
    mask
        An image of the region, on the grid of the volumes.
    realign
        Whether volumes are aligned with the first.
    """

    mask: LocalPath = ""
    realign: bool = False


def build(settings: Settings) -> Workflow:
    """Scanner, conversion, motion correction if asked for, region, subject."""
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    convert = volumes = Node(DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    region = Node(Region(mask=settings.mask, baseline="none"), name="region")
    subject = Node(SubjectOutput(), name="subject")
    flow = Workflow(name="remote", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    if settings.realign:
        volumes = Node(Realign(), name="realign")
        flow.connect(convert, "incremental", volumes, "incremental")
    flow.connect(volumes, "incremental", region, "incremental")
    flow.connect([(region, subject, [("value", "value"), ("kind", "kind")])])
    return flow
