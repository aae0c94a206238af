"""Decode two categories volume by volume: train on the first blocks, give feedback in the others.

This file is there to be copied: ``rtflow new DIR``. Where a comment begins with "Yours", the choice is
the experimenter's. The settings beside it (``template.toml``) need no change to this file.

Run 1 trains, and leaves reference, mask and decoder in the session. Later runs
(``--set bids.run=2``) take them from there, and all their blocks are test blocks.
"""

import msgspec
from nipype import JoinNode, Node, Workflow

from rtflow.design import DesignSettings
from rtflow.nodes import (
    Accuracy,
    ApplyMask,
    Decode,
    DicomToBids,
    Labels,
    Mask,
    Realign,
    RecordRun,
    ScannerInput,
    SkipDummies,
    Smooth,
    SubjectOutput,
)
from rtflow.settings import RunSettings


class Decoding(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the decoder is trained; see `rtflow.nodes.decode.Decode`.

    Parameters
    ----------
    train_blocks
        How many blocks of run 1 are for training; the others are tested.
    lag
        Seconds by which the haemodynamic response trails the trials.
    transition
        Seconds left out after each start and end of a block, in training and test.
    normalise
        ``rest``: each volume as percent of the rest block before it, ``opening``: of the run's opening rest;
        both then as z-scores by the training volumes;
        ``training``: z-scores by the training volumes alone.
    best
        How many voxels decide: those that tell the training volumes apart best; 0 takes all. Over a whole
        brain, drift and motion have more voxels than the response.
    strength
        Inverse of the L2 penalty (C of scikit-learn).
    max_fd
        Volumes that moved more (framewise displacement, mm) are not trained on; 0 takes all.
    """

    train_blocks: int = 4
    lag: float = 4.0
    transition: float = 0.0
    normalise: str = "rest"
    best: int = 200
    strength: float = 1.0
    max_fd: float = 0.0


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
    decoding: Decoding = msgspec.field(default_factory=Decoding)
    fwhm: float = 5.0


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = settings.design.design()
    decoding = settings.decoding
    first = settings.bids.run == 1

    scanner = Node(ScannerInput(uri=settings.source, design=design), name="scanner")
    convert = Node(DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(RecordRun(design=design), name="record")
    skip = Node(SkipDummies(volumes=settings.dummy_volumes), name="skip")

    # Yours: which volume all others are aligned with. Here the first that is used, in run 1.
    reference = {"reference": "first", "save": "reference"} if first else {"reference": "session:reference"}
    realign = Node(Realign(**reference), name="realign")
    smooth = Node(Smooth(fwhm=settings.fwhm), name="smooth")

    # Yours: where to look. Here the brain; for a region, Mask(file="region.nii.gz") on the reference's grid.
    mask = Node(Mask(**({"save": "mask"} if first else {"load": "mask"})), name="mask")
    voxels = Node(ApplyMask(), name="voxels")

    labels = Node(
        Labels(
            design=design,
            lag=decoding.lag,
            transition=decoding.transition,
            train_trials=decoding.train_blocks if first else 0,
        ),
        name="labels",
    )
    # Yours: what the feedback is of. Any node of your own will do that gives a `value` for a volume.
    decode = Node(
        Decode(
            conditions=list(settings.design.conditions[:2]),
            normalise=decoding.normalise,
            best=decoding.best,
            strength=decoding.strength,
            max_fd=decoding.max_fd,
            **({"save": "decoder"} if first else {"load": "decoder"}),
        ),
        name="decode",
    )
    subject = Node(SubjectOutput(), name="subject")
    score = JoinNode(Accuracy(), joinsource="scanner", joinfield=["correct"], name="score")

    flow = Workflow(name="template", base_dir=settings.work_dir)
    flow.connect(
        [
            (scanner, convert, [("frame", "frame")]),
            (convert, record, [("incremental", "incremental")]),
            (convert, skip, [("incremental", "incremental")]),
            (skip, labels, [("incremental", "incremental")]),
            (skip, realign, [("incremental", "incremental")]),
            (realign, smooth, [("incremental", "incremental")]),
            (realign, mask, [("reference", "reference")]),
            (smooth, voxels, [("incremental", "incremental")]),
            (mask, voxels, [("mask", "mask")]),
            (voxels, decode, [("features", "features")]),
            (labels, decode, [("trial_type", "trial_type"), ("trial", "trial"), ("phase", "phase")]),
            (realign, decode, [("framewise_displacement", "framewise_displacement")]),
            (decode, subject, [("value", "value"), ("kind", "kind")]),
            (decode, score, [("correct", "correct")]),
        ]
    )
    return flow
