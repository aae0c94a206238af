"""Which voxels answer the design, with every volume: for the operator; the participant gets nothing.

The screen and the results have the t of a region, its response in percent, its mean, and the framewise
displacement; at the end of the run the maps stand in ``RUN_DIR/glm``, and in the session. To change it, copy
it (``rtflow new DIR --workflow glm_monitor``); where a comment begins with "Yours", the choice is yours.
"""

import msgspec
from nipype import Node, Workflow

from rtflow.design import DesignSettings
from rtflow.nodes import (
    GLM,
    ApplyMask,
    DicomToBids,
    Mask,
    Realign,
    RecordRun,
    ScannerInput,
    SkipDummies,
    Smooth,
)
from rtflow.nodes.models.settings import GLMSettings
from rtflow.setting_types import NotNegative
from rtflow.settings import RunSettings


class Settings(RunSettings):
    """Settings of this experiment; the rest are those of every run.

    Parameters
    ----------
    design
        What the participant is asked to do, and when.
    glm
        How that is fitted.
    fwhm
        Smoothing before it, mm; 0 for none.
    """

    show: tuple[str, ...] = ("glm.region_t", "glm.region_percent", "glm.region_mean")

    dummy_volumes: int = 5
    design: DesignSettings = msgspec.field(default_factory=DesignSettings)
    glm: GLMSettings = msgspec.field(default_factory=GLMSettings)
    fwhm: NotNegative = 5.0


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = settings.design.design()
    scanner = Node(ScannerInput(uri=settings.source, design=design), name="scanner")
    convert = Node(DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(RecordRun(design=design), name="record")
    skip = Node(SkipDummies(volumes=settings.dummy_volumes), name="skip")
    realign = Node(Realign(reference="first", save="reference"), name="realign")
    smooth = Node(Smooth(fwhm=settings.fwhm), name="smooth")
    # Yours: where to look. Here the brain.
    mask = Node(Mask(save="mask"), name="mask")
    voxels = Node(ApplyMask(), name="voxels")
    # Yours: what is not of interest. With "confounds", connect a vector of regressors of your own.
    model = GLM(design=design, nuisance=["motion"], **settings.glm.inputs(settings.design.conditions))
    glm = Node(model, name="glm")

    flow = Workflow(name="glm_monitor", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    for before, after in [(convert, record), (convert, skip), (skip, realign), (realign, smooth)]:
        flow.connect(before, "incremental", after, "incremental")
    flow.connect(realign, "reference", mask, "reference")
    flow.connect([(smooth, voxels, [("incremental",) * 2]), (mask, voxels, [("mask",) * 2])])
    flow.connect([(voxels, glm, [("features",) * 2]), (skip, glm, [("incremental",) * 2])])
    flow.connect([(realign, glm, [(name, name) for name in ("motion", "framewise_displacement")])])
    if settings.glm.region:
        region = Node(Mask(file=settings.glm.region), name="region")
        flow.connect([(realign, region, [("reference",) * 2]), (convert, region, [("incremental",) * 2])])
    flow.connect(region if settings.glm.region else mask, "mask", glm, "region")
    return flow
