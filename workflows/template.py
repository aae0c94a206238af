"""Decode two categories volume by volume: train on the first blocks, give feedback in the others.

This file is there to be copied: ``rtflow new DIR``. Where a comment begins with "Yours", the choice is
the experimenter's. The settings beside it (``template.toml``) need no change to this file.

Run 1 trains, and leaves reference, mask and decoder in the session. Later runs
(``--set bids.run=2``) take them from there, and all their blocks are test blocks.
"""

import msgspec
from nipype import JoinNode, Node, Workflow

from rtflow import nodes
from rtflow.design import DesignSettings
from rtflow.nodes.decoding.settings import TrainingSettings
from rtflow.setting_types import NotNegative
from rtflow.settings import RunSettings


class Settings(RunSettings):
    """Settings of this experiment; the rest are those of every run.

    Parameters
    ----------
    design
        What the participant is asked to do, and when.
    decoding
        How the decoder is trained.
    fwhm
        Smoothing, mm; 0 for none.
    """

    dummy_volumes: int = 10
    design: DesignSettings = msgspec.field(default_factory=DesignSettings)
    decoding: TrainingSettings = msgspec.field(default_factory=TrainingSettings)
    fwhm: NotNegative = 5.0

    def require(self) -> None:
        """Refuse a first run that could train no decoder."""
        super().require()
        if self.bids.run == 1:
            self.decoding.require(self.design.design(), self.design.conditions[:2])


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design, first = settings.design.design(), settings.bids.run == 1
    conditions = list(settings.design.conditions[:2])
    kept = settings.decoding.decoder(settings.fwhm) | {"save" if first else "load": "decoder"}

    scanner = Node(nodes.ScannerInput(uri=settings.source, design=design), name="scanner")
    convert = Node(nodes.DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(nodes.RecordRun(design=design), name="record")
    skip = Node(nodes.SkipDummies(volumes=settings.dummy_volumes), name="skip")
    # Yours: which volume all others are aligned with. Here the first that is used, in run 1.
    reference = {"reference": "first", "save": "reference"} if first else {"reference": "session:reference"}
    realign = Node(nodes.Realign(**reference), name="realign")
    smooth = Node(nodes.Smooth(fwhm=settings.fwhm), name="smooth")
    # Yours: where to look. Here the brain; for a region, Mask(file="region.nii.gz") on the reference's grid.
    mask = Node(nodes.Mask(**({"save": "mask"} if first else {"load": "mask"})), name="mask")
    voxels = Node(nodes.ApplyMask(), name="voxels")
    labels = Node(nodes.Labels(design=design, **settings.decoding.labels(training=first)), name="labels")
    # Yours: what the feedback is of. Any node of your own will do that gives a `value` for a volume.
    decode = Node(nodes.Decode(conditions=conditions, **kept), name="decode")
    subject = Node(nodes.SubjectOutput(), name="subject")
    score = JoinNode(nodes.Accuracy(), joinsource="scanner", joinfield=["correct"], name="score")

    flow = Workflow(name="template", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    for before, afters in [(convert, (record, skip)), (skip, (labels, realign)), (realign, (smooth,))]:
        flow.connect([(before, after, [("incremental", "incremental")]) for after in afters])
    flow.connect(realign, "reference", mask, "reference")
    flow.connect([(smooth, voxels, [("incremental", "incremental")]), (mask, voxels, [("mask", "mask")])])
    flow.connect(voxels, "features", decode, "features")
    flow.connect([(labels, decode, [(name, name) for name in ("trial_type", "trial", "phase")])])
    flow.connect(realign, "framewise_displacement", decode, "framewise_displacement")
    flow.connect([(decode, subject, [("value", "value"), ("kind", "kind")])])
    flow.connect(decode, "correct", score, "correct")
    return flow
