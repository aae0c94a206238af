"""Find a region by a localizer run, and keep it in the session for the feedback runs after it.

    rtflow run localizer --source folder:/data/incoming
    rtflow run roi_feedback --source folder:/data/incoming --set localizer=localizer --set bids.run=2

The region is the best voxels of a linear model within an anatomical mask. It is kept when the run has ended,
with the reference that it lies on; too few voxels fail the run. ``rtflow new DIR --workflow localizer``
copies this file; where a comment begins with "Yours", the choice is yours.
"""

import msgspec
from nipype import JoinNode, Node, Workflow

from rtflow import nodes
from rtflow.design import DesignSettings
from rtflow.nodes.models.settings import GLMSettings
from rtflow.nodes.signals.select_settings import SelectSettings
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
    select
        Which voxels become the region.
    fwhm
        Smoothing before the fit, mm; 0 for none.
    """

    dummy_volumes: int = 5
    design: DesignSettings = msgspec.field(default_factory=DesignSettings)
    glm: GLMSettings = msgspec.field(default_factory=GLMSettings)
    select: SelectSettings = msgspec.field(default_factory=SelectSettings)
    fwhm: NotNegative = 5.0


def build(settings: Settings) -> Workflow:
    """The graph; which node runs when is read off it."""
    design = settings.design.design()
    maps = settings.glm.save or "glm"
    fit = settings.glm.inputs(settings.design.conditions) | {"save": maps}

    scanner = Node(nodes.ScannerInput(uri=settings.source, design=design), name="scanner")
    convert = Node(nodes.DicomToBids(**msgspec.structs.asdict(settings.bids)), name="convert")
    record = Node(nodes.RecordRun(design=design), name="record")
    skip = Node(nodes.SkipDummies(volumes=settings.dummy_volumes), name="skip")
    realign = Node(nodes.Realign(reference="first", save="reference"), name="realign")
    smooth = Node(nodes.Smooth(fwhm=settings.fwhm), name="smooth")
    brain = Node(nodes.Mask(), name="brain")
    voxels = Node(nodes.ApplyMask(), name="voxels")
    # Yours: what is not of interest. With "confounds", connect a vector of regressors of your own.
    glm = Node(nodes.GLM(design=design, nuisance=["motion"], **fit), name="glm")
    # Yours: where to look for the region.
    anatomy = Node(nodes.Mask(file=settings.select.mask, save="anatomy"), name="anatomy")
    best = nodes.SelectVoxels(maps=maps, within="anatomy", **settings.select.inputs())
    select = JoinNode(best, joinsource="scanner", joinfield=["volumes"], name="select")

    flow = Workflow(name="localizer", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    for before, after in [(convert, record), (convert, skip), (skip, realign), (realign, smooth)]:
        flow.connect(before, "incremental", after, "incremental")
    masks = [brain, anatomy]
    if settings.glm.region:
        masks.append(Node(nodes.Mask(file=settings.glm.region), name="region"))
        flow.connect(masks[-1], "mask", glm, "region")
    flow.connect([(realign, mask, [("reference",) * 2]) for mask in masks])
    flow.connect([(convert, mask, [("incremental",) * 2]) for mask in masks])
    flow.connect([(smooth, voxels, [("incremental",) * 2]), (brain, voxels, [("mask",) * 2])])
    flow.connect([(voxels, glm, [("features",) * 2]), (skip, glm, [("incremental",) * 2])])
    flow.connect([(realign, glm, [(name, name) for name in ("motion", "framewise_displacement")])])
    flow.connect(glm, "dof", select, "volumes")
    return flow
