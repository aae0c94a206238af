"""One scan of a simulated session, and the series that come of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from rtflow.dicom.writing import ScanSeries
from rtflow.source_settings import SimulateSource
from rtflow.sources.simulation.plan import Plan
from rtflow.sources.simulation.protocol import ScanProtocol
from rtflow.sources.simulation.scan import Scan


@dataclass(frozen=True)
class Role:
    """What a series is to the run.

    Parameters
    ----------
    role
        ``localizer``, ``sbref``, ``magnitude`` or ``phase``.
    series
        The series.
    scan
        Number of the scan, from 1; 0 for what comes before it.
    seed
        What the images were made from.
    """

    role: str
    series: ScanSeries
    scan: int
    seed: int


@dataclass(frozen=True, eq=False)
class Take:
    """One scan: the run itself, or one that was stopped before it.

    Parameters
    ----------
    number
        From 1.
    spec, plan, scan
        What is scanned.
    begins
        When volume 1 is acquired, seconds from the first of all.
    made
        How many volumes are made before it ends.
    sbref, magnitude, phase
        Its series, None for one that it does not have.
    """

    number: int
    spec: SimulateSource
    plan: Plan
    scan: Scan
    begins: float
    made: int
    sbref: ScanSeries | None
    magnitude: ScanSeries
    phase: ScanSeries | None


def make_take(
    number: int,
    spec: SimulateSource,
    plan: Plan,
    protocol: ScanProtocol,
    series: ScanSeries,
    begins: float,
    made: int,
) -> Take:
    """A scan as the protocol asks for it; of its series all but the affine is given."""
    scan = Scan(
        spec,
        plan,
        orientation=protocol.orientation,
        echo_times=protocol.echo_times,
        slice_times=series.slice_times if protocol.moving else (),
    )
    magnitude = replace(series, affine=scan.affine)
    before = series.began - datetime.timedelta(seconds=spec.tr)
    sbref = replace(magnitude, number=series.number - 1, sbref=True, planned=1, began=before)
    phase = replace(magnitude, number=series.number + 1, image_type="phase")
    return Take(
        number,
        spec,
        plan,
        scan,
        begins,
        made,
        sbref=sbref if protocol.sbref else None,
        magnitude=magnitude,
        phase=phase if protocol.phase else None,
    )


def folder_name(series: ScanSeries) -> str:
    """Where the files of a series go.

    >>> import numpy as np
    >>> folder_name(ScanSeries(np.eye(4), number=5, name="func_task-feedback"))
    '005_func_task-feedback'
    """
    kind = "_phase" if series.image_type == "phase" else ""
    words = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in series.description)
    return f"{series.number:03d}_{words}{kind}"
