"""Decode any number of conditions: train in one run, decode the next with what that left, live.

Training: ``rtflow run decoding --source folder:DIR --set decode.events=FILE --set decode.save=DECODER``.
Later: the same with ``--set decode.load=DECODER`` in place of ``decode.save``, in any session.
"""

from pathlib import Path

import msgspec
from nipype import JoinNode, Node, Workflow

from rtflow import nodes
from rtflow.design import DesignSettings
from rtflow.nodes.decoding.settings import DecodingSettings
from rtflow.setting_types import NotNegative
from rtflow.settings import RunSettings
from rtflow.source_settings import SimulateSource
from rtflow.whole_file import require_writable_file


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
        if self.decode.save:
            require_writable_file(Path(self.decode.save))


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
    reference = f"session:{decode.place('reference')}" if decode.load else "first"
    realign = Node(
        nodes.Realign(reference=reference, save="" if decode.load else "reference"), name="realign"
    )
    smooth = Node(nodes.Smooth(fwhm=settings.fwhm), name="smooth")
    mask = Node(
        nodes.Mask(**({"load": decode.place("mask")} if decode.load else {"save": "mask"})), name="mask"
    )
    voxels = Node(nodes.ApplyMask(), name="voxels")
    labels = Node(nodes.Labels(**decode.labels(design)), name="labels")
    decoder = Node(nodes.Decode(**decode.decoder(design, settings.fwhm)), name="decode")
    subject = Node(nodes.SubjectOutput(), name="subject")
    score = JoinNode(nodes.Accuracy(), joinsource="scanner", joinfield=["correct"], name="score")

    flow = Workflow(name="decoding", base_dir=settings.work_dir)
    flow.connect(
        [(scanner, convert, [("frame", "frame")]), (convert, skip, [("incremental", "incremental")])]
    )
    flow.connect([(skip, node, [("incremental", "incremental")]) for node in (labels, realign)])
    flow.connect([(convert, record, [("incremental", "incremental")])])
    flow.connect([(realign, smooth, [("incremental", "incremental")]), (realign, mask, [("reference",) * 2])])
    flow.connect([(smooth, voxels, [("incremental", "incremental")]), (mask, voxels, [("mask", "mask")])])
    flow.connect([(labels, decoder, [(name, name) for name in ("trial_type", "trial", "phase", "time")])])
    flow.connect(
        [(realign, decoder, [("framewise_displacement",) * 2]), (voxels, decoder, [("features",) * 2])]
    )
    flow.connect([(decoder, subject, [("value", "value"), ("kind", "kind")])])
    flow.connect([(decoder, score, [("correct", "correct")])])
    if not decode.load:
        items = nodes.KeepItems(names=["reference", "mask", "decoder"], file=decode.save)
        keep = JoinNode(items, joinsource="scanner", joinfield=["volumes"], name="keep")
        flow.connect([(labels, keep, [("phase", "volumes")])])
    return flow
