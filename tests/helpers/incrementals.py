"""A volume with metadata, as it comes from a scanner, and others like it."""

from typing import Any

import numpy as np

from rtflow.bids.incremental import BidsIncremental

AFFINE = np.array([[-3, 0, 0, 90.5], [0, 2.9, -0.7, -120.25], [0, 0.7, 2.9, -60], [0, 0, 0, 1.0]])
DATA = np.asfortranarray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
METADATA = {"RepetitionTime": 1.5, "EchoTime": 0.028, "AcquisitionTime": "09:31:02.500000"}
ENTITIES = {"subject": "01", "session": "02", "task": "faces", "run": "1"}


def incremental(number: int = 7, **changes: Any) -> BidsIncremental:
    """Volume ``number``, its voxels unlike those of any other number."""
    given = {"metadata": METADATA, "entities": ENTITIES, "slope": 2.0, "intercept": -3.0, "affine": AFFINE}
    given |= {"data": DATA + np.int16(number - 7), "volume": number} | changes
    return BidsIncremental(given.pop("data"), given.pop("affine"), **given)
