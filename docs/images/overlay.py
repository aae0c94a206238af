"""Draw the picture of docs/masks.md: a region of a T1w image on a day when the head lies elsewhere.

python docs/images/overlay.py OUT.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from rtflow.bids.grid import Grid
from rtflow.nodes.masks.bring_job import Loaded
from rtflow.nodes.masks.fmriprep import find_way
from rtflow.nodes.masks.job import Job

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))


def main(out: Path) -> None:
    """Make the session of the earlier day, register, draw."""
    from earlier import T1W, ball, moved, save, t1w, write_fmriprep
    from phantom import PHANTOM, oblique, rigid

    shape, affine = oblique((80, 80, 36), (2.7, 2.7, 3.3), (12.0, -4.0, 3.0), True)
    today = PHANTOM.scan(shape, affine, rigid((9.0, -8.0, 6.0), (7.0, -5.0, 8.0)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        head, own = t1w()
        place = moved(T1W, np.array([-36.0, -22.0, 16.0]))
        region = save(root / "left_mask.nii.gz", ball(head.shape, own, place, (13.0, 18.0, 12.0)), own)
        way = find_way(write_fmriprep(root), "T1w", subject="01", through="T1w")
        print(Loaded.of(Job(region, way)).bring(today, Grid.of(shape, affine), out).says)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
