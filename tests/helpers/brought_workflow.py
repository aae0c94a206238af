"""A workflow whose region lies in an image of an earlier day, and the files of that day."""

from pathlib import Path

import numpy as np
from earlier import ball, save
from nipype import Node, Workflow

from rtflow.bids.incremental import BidsIncremental
from rtflow.nodes import BringMask, DicomToBids, Realign, Region, ScannerInput
from rtflow.nodes.convert import frame_to_incrementals
from rtflow.nodes.images.brain import brain_mask
from rtflow.settings import RunSettings
from rtflow.testing import source_frames

SOURCE = "simulate:?speed=max&shape=24,24,16&voxel=8&volumes=18&tr=2"


class Settings(RunSettings):
    """The files."""

    file: str = ""
    image: str = ""


def build(settings: Settings) -> Workflow:
    """The mean of a region of another day."""
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    convert, realign = Node(DicomToBids(), name="convert"), Node(Realign(), name="realign")
    bring = BringMask(file=settings.file, image=settings.image, contrast="T1w", hold=8.0)
    bring, region = Node(bring, name="bring"), Node(Region(baseline="none"), name="region")
    flow = Workflow(name="brought", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    flow.connect(convert, "incremental", realign, "incremental")
    flow.connect(realign, "incremental", region, "incremental")
    flow.connect(realign, "incremental", bring, "incremental")
    flow.connect(realign, "reference", bring, "reference")
    flow.connect(bring, "mask", region, "mask")
    return flow


def first_volume() -> BidsIncremental:
    """That of the source."""
    flow = Workflow(name="source")
    flow.add_nodes([Node(ScannerInput(uri=SOURCE), name="scanner")])
    frames, _ = source_frames(flow)
    return frame_to_incrementals(frames[0], {})[0]


def write_earlier(root: Path) -> dict[str, str]:
    """A reference, the image of an earlier day (the head 12 mm to the front), and a mask in that."""
    volume = first_volume()
    there = np.array(volume.affine)
    there[1, 3] += 12.0
    brain = brain_mask(volume.data)
    centre = there[:3, :3] @ np.argwhere(brain).mean(axis=0) + there[:3, 3] + [-25.0, 0.0, 10.0]
    made = {
        "reference": save(root / "reference.nii.gz", volume.data, volume.affine),
        "image": save(root / "sub-01_task-nf_boldref.nii.gz", volume.data, there),
        "file": save(root / "left.nii.gz", ball(volume.data.shape, there, centre, (20.0, 24.0, 20.0)), there),
    }
    return {name: str(path) for name, path in made.items()}
