"""Decode any number of conditions: train in one run, decode the next with what that left, live.

Training: ``rtflow run decoding --source folder:DIR --set decode.events=FILE --set decode.save=DECODER``.
Later: the same with ``--set decode.load=DECODER`` in place of ``decode.save``, in any session.
"""

import msgspec
from nipype import JoinNode, Node, Workflow

from rtflow import nodes
from rtflow.design import DesignSettings
from rtflow.nodes.decoding.settings import DecodingSettings
from rtflow.setting_types import NotNegative
from rtflow.settings import RunSettings
from rtflow.source_settings import SimulateSource


class Settings(RunSettings):
    """Settings of this experiment; the rest are those of every run.

    Parameters
    ----------
    decode
        How it is decoded, and what is left for a later run.
    design
        What a simulated participant does, where there is no file of events.
    fwhm
        Smoothing, mm; 0 for none.
    """

    decode: DecodingSettings = msgspec.field(default_factory=DecodingSettings)
    design: DesignSettings = msgspec.field(default_factory=DesignSettings)
    fwhm: NotNegative = 4.0

    def require(self) -> None:
        """Refuse a file that the decoder could not be left in."""
        super().require()
        self.decode.require()


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    decode = settings.decode
    simulated = settings.design.design() if isinstance(settings.source, SimulateSource) else None
    design = decode.design(simulated)
    known = {"design": design} if design else {}

    scanner = Node(nodes.ScannerInput(uri=settings.source, **known), name="scanner")
    convert = Node(nodes.DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(nodes.RecordRun(**known), name="record")
    skip = Node(nodes.SkipDummies(volumes=settings.dummy_volumes), name="skip")
    # A later run is aligned with the reference of the training run, and has its mask: the same voxels.
    aligned = {"reference": f"session:{decode.place('reference')}"} if decode.load else {"save": "reference"}
    realign = Node(nodes.Realign(**aligned), name="realign")
    smooth = Node(nodes.Smooth(fwhm=settings.fwhm), name="smooth")
    within = {"load": decode.place("mask")} if decode.load else {"save": "mask"}
    mask = Node(nodes.Mask(**within), name="mask")
    voxels = Node(nodes.ApplyMask(), name="voxels")
    labels = Node(nodes.Labels(**decode.labels(design)), name="labels")
    decoder = Node(nodes.Decode(**decode.decoder(design, settings.fwhm)), name="decode")
    subject = Node(nodes.SubjectOutput(), name="subject")
    score = JoinNode(nodes.Accuracy(), joinsource="scanner", joinfield=["correct"], name="score")

    flow = Workflow(name="decoding", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    for before, afters in [(convert, (record, skip)), (skip, (labels, realign)), (realign, (smooth,))]:
        flow.connect([(before, after, [("incremental",) * 2]) for after in afters])
    flow.connect(realign, "reference", mask, "reference")
    flow.connect([(smooth, voxels, [("incremental",) * 2]), (mask, voxels, [("mask",) * 2])])
    flow.connect([(labels, decoder, [(name, name) for name in ("trial_type", "trial", "phase", "time")])])
    flow.connect(realign, "framewise_displacement", decoder, "framewise_displacement")
    flow.connect(voxels, "features", decoder, "features")
    flow.connect([(decoder, subject, [("value",) * 2, ("kind",) * 2])])
    flow.connect(decoder, "correct", score, "correct")
    if not decode.load:
        items = nodes.KeepItems(names=["reference", "mask", "decoder"], file=decode.save)
        keep = JoinNode(items, joinsource="scanner", joinfield=["volumes"], name="keep")
        flow.connect([(labels, keep, [("phase", "volumes")])])
    return flow
