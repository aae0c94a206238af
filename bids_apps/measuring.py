"""How long an app takes for one volume: started for it, or asked as a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtflow.bids.incremental import BidsIncremental
from rtflow.bids.one_volume import write_dataset
from rtflow.bids_apps.app import BidsApp
from rtflow.bids_apps.descriptor import Descriptor
from rtflow.bids_apps.running import AppRun, run_app
from rtflow.bids_apps.runtime import Runtime
from rtflow.stream.interface import RunContext

SHAPE = (96, 96, 60)
TR = 2.0


def made_volumes(count: int, shape: tuple[int, int, int] = SHAPE) -> list[BidsIncremental]:
    """Volumes of a ball that is brighter than its noise: int16, 2 mm, no brain at all."""
    rng = np.random.default_rng(1)
    axes = [np.linspace(-1.3, 1.3, n) for n in shape]
    inside = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) < 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    entities = {"subject": "01", "task": "bench"}
    metadata = {"RepetitionTime": TR, "TaskName": "bench"}
    return [
        BidsIncremental(
            (rng.integers(0, 100, shape) + 1000 * inside).astype(np.int16, order="F"),  # as from DICOM
            affine.copy(),
            volume=number,
            metadata=metadata,
            entities=entities,
        )
        for number in range(1, count + 1)
    ]


def cold_times(
    descriptor: Descriptor,
    runtime: Runtime,
    folder: Path,
    count: int,
    values: Mapping[str, Any] | None = None,
    shape: tuple[int, int, int] = SHAPE,
) -> list[float]:
    """Milliseconds of whole runs of the app on a data set of one volume.

    The data set is made in ``folder/data``; the results of run ``n``, from 0, are put into ``folder/cold-n``.

    Raises
    ------
    RtflowError
        If the app cannot be run so.
    """
    write_dataset(made_volumes(1, shape), folder / "data")
    times = []
    for number in range(count):
        out = folder / f"cold-{number}"
        began = time.perf_counter()
        run_app(
            AppRun(
                descriptor=descriptor,
                runtime=runtime,
                bids_dir=folder / "data",
                out=out,
                level=descriptor.levels[0],
                values=values or {},
            )
        )
        times.append((time.perf_counter() - began) * 1e3)
    return times


def worker_times(
    descriptor: Descriptor,
    runtime: Runtime,
    folder: Path,
    volumes: Sequence[BidsIncremental],
    values: Mapping[str, Any] | None = None,
) -> list[float]:
    """Milliseconds of each volume: written, asked for, answered and read, as in the stream.

    Raises
    ------
    RtflowError
        If the worker does not start, or fails.
    """
    app = BidsApp.from_descriptor(descriptor, runtime=runtime.name, **(values or {}))
    app.each_volume = True
    app.start_run(RunContext("bench", folder / "run", folder / "bids", folder / "session", tr=TR))
    times = []
    try:
        for incremental in volumes:
            began = time.perf_counter()
            app.inputs.incremental = incremental
            app._results = {}
            app._run_interface(None)
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        app.end_run()
    return times


def spread(times: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile.

    >>> spread([1.0, 2.0, 3.0])
    (2.0, 2.9)
    """
    return float(np.median(times)), round(float(np.percentile(times, 95)), 9)


def too_slow(took: Mapping[str, tuple[float, float]], tr: float) -> list[str]:
    """What takes more than half of a TR, and leaves less for all else; a line for each.

    Parameters
    ----------
    took
        Median and 95th percentile of a way of asking, in ms.
    tr
        Repetition time, in seconds.

    >>> too_slow({"by its worker": (3.0, 9.0)}, 2.0)
    []
    """
    return [
        f"{what}, a volume takes {p95:.0f} ms (p95), more than half of the TR of {tr:g} s: "
        "it does not belong into the stream"
        for what, (_, p95) in took.items()
        if p95 > tr * 500
    ]
