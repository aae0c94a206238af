"""What a BIDS App costs per volume: native, started in a container for each, and asked as a worker in one.

The app is the example in Python (``containers/example-app``): the mean in a mask, which a run of the app has
made before, of a volume of 96x96x60. Each figure is the full round trip: the volume is written as a data set,
the app works, and its result is read. Started anew it is a whole run, with its results put in place.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

import rtflow
from rtflow.bench.report import BenchReport, bar, machine, versions
from rtflow.bids_apps.descriptor import Descriptor, Native
from rtflow.bids_apps.measuring import SHAPE, cold_times, made_volumes, spread, worker_times
from rtflow.bids_apps.runtime import Runtime, find_runtime
from rtflow.bids_apps.wrapping import wrap
from rtflow.errors import UsageError

_SCRIPT = Path(rtflow.__file__).parents[1] / "containers" / "example-app" / "run.py"
#: The image of the example, where it has another name.
IMAGE_VARIABLE = "RTFLOW_BENCH_IMAGE"
_IMAGE = "localhost/example-app:1.0"
_COLD, _WARM, _SETTLING = 10, 300, 10
_LIMIT = 5.0


def run(cold: int = _COLD, warm: int = _WARM, shape: tuple[int, int, int] = SHAPE) -> BenchReport:
    """Measure, and compare.

    Raises
    ------
    UsageError
        If the example is not here.
    AppError
        If its image is not.
    """
    if not _SCRIPT.is_file():
        raise UsageError(f"{_SCRIPT} does not exist; run this benchmark in a clone of the repository")
    runtime = find_runtime()
    wrapped = wrap(os.environ.get(IMAGE_VARIABLE, _IMAGE), runtime, name="example-app").descriptor
    here = (sys.executable, str(_SCRIPT))
    native = Runtime("native")
    app: Descriptor = replace(wrapped, native=Native(command=here, worker=(*here, "--worker")))
    volumes = made_volumes(warm + _SETTLING, shape)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rtflow-bench-") as made:
        folder = Path(made)
        cold_times(app, native, folder / "mask", 1, shape=shape)
        values = {"mask": str(next((folder / "mask" / "cold-0").rglob("*_mask.nii.gz")))}
        for row, where in (("native", native), (runtime.name, runtime)):
            asked = worker_times(app, where, folder / row, volumes, values)
            figures[f"{row}:worker_first_ms"] = asked[0]
            for column, times in (
                ("cold", cold_times(app, where, folder / row, cold + 1, values, shape)[1:]),
                ("worker", asked[_SETTLING:]),
            ):
                figures[f"{row}:{column}_median_ms"], figures[f"{row}:{column}_p95_ms"] = spread(times)
    name = f"{runtime.name}:worker_median_ms"
    bars = {name: bar(figures[name], _LIMIT)}
    about = machine() | {"runtime": f"{runtime.name} {runtime.version}"}
    return BenchReport("bids-app", about, versions("rtflow", "nipype", "numpy", "nibabel"), figures, bars)
