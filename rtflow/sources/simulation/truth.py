"""What really happened in a simulated run, to hold results against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Mask
from rtflow.design import write_events
from rtflow.errors import OutputError
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.anatomy import CENTRE
from rtflow.sources.simulation.motion import COLUMNS, framewise_displacement
from rtflow.trials import Design

if TYPE_CHECKING:
    from rtflow.sources.simulation.plan import Plan
    from rtflow.sources.simulation.scan import Scan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of a simulated run.

    Parameters
    ----------
    spec
        What was simulated.
    design
        What the participant was asked to do.
    motion
        Shape (volumes, 6), mm and radians, relative to volume 1; `rtflow.sources.simulation.motion`
        states the convention. The centre of rotation is ``centre``.
    transforms
        Shape (volumes, 4, 4), RAS mm of the scanner: takes a point from where it lies in volume 1 to where
        it lies in each volume.
    pose
        4x4, MNI152 mm to scanner mm in volume 1.
    centre
        Centre of rotation and of the grid, scanner mm.
    brain, regions
        Masks on the grid of volume 1.
    responses
        Shape (volumes, regions): percent signal change of each region, in the order of ``regions``.
    """

    spec: SimulateSource
    design: Design
    motion: Floats
    transforms: Floats
    pose: Floats
    centre: tuple[float, float, float]
    brain: Mask
    regions: dict[str, Mask]
    responses: Floats

    @classmethod
    def of(cls, spec: SimulateSource, plan: Plan, scan: Scan) -> Truth:
        """The truth of a scan and of what was planned for it."""
        grid = Grid.of(spec.shape, scan.affine)
        masks = {name: Mask(data, grid) for name, data in scan.masks().items()}
        return cls(
            spec=spec,
            design=plan.design,
            motion=plan.motion,
            transforms=plan.transforms,
            pose=scan.pose,
            centre=CENTRE,
            brain=masks.pop("brain"),
            regions=masks,
            responses=100.0 * plan.responses,
        )

    @property
    def grid(self) -> Grid:
        """The scanner's grid."""
        return self.brain.grid

    def write(self, folder: Path) -> None:
        """Save as files, replacing those of an earlier run.

        ``events.tsv`` (the design), ``motion.tsv`` (fMRIPrep's column names, mm and radians, with
        framewise_displacement), ``transforms.npy``, ``responses.tsv`` (percent), ``brain.nii`` and
        one mask per region, and ``simulation.json`` (settings, pose, centre, conventions).

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_events(self.design, folder / "events.tsv")
            moved = framewise_displacement(self.motion)
            _write_table(
                folder / "motion.tsv",
                (*COLUMNS, "framewise_displacement"),
                np.column_stack([self.motion, moved]),
            )
            np.save(folder / "transforms.npy", self.transforms)
            _write_table(folder / "responses.tsv", tuple(self.regions), self.responses)
            for name, mask in {"brain": self.brain, **self.regions}.items():
                _write_mask(folder / f"{name}.nii", mask)
            facts = {
                "settings": msgspec.to_builtins(self.spec),
                "pose": self.pose.tolist(),
                "centre": list(self.centre),
                "motion": "x -> Rx(rot_x) Ry(rot_y) Rz(rot_z) (x - centre) + centre + trans, RAS+ mm of the "
                "scanner, radians; from where a point lies in volume 1 to where it lies in the volume",
                "pose_is": "4x4, MNI152 mm to scanner mm in volume 1",
                "moment": "motion, transforms and responses are those at the start of each volume",
            }
            (folder / "simulation.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"the truth cannot be written to {folder}: {error.strerror or error}; give another folder"
            ) from None


def _write_table(path: Path, columns: tuple[str, ...], rows: Floats) -> None:
    lines = ["\t".join(columns)]
    lines += ["\t".join("n/a" if np.isnan(value) else f"{value:.9g}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_mask(path: Path, mask: Mask) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(mask.data.astype(np.uint8), mask.grid.matrix())
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
