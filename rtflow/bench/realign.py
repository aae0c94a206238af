"""What motion correction costs and errs, beside its peers: the same volumes, the same truth, one core.

Times are CPU times of a volume, estimate and full reslice; each volume goes through all methods in turn, so
that whatever else the machine does hits all of them. ``error_mm`` is the median over volumes of the largest
distance, over the brain, between where the estimated and the true transform put a point.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtflow.bench.realign_peers import PACKAGES, PEERS, available
from rtflow.bench.realign_truth import DAMAGES, SIZES, Damage, Truth, make_truth
from rtflow.bench.report import Bar, BenchReport, bar, machine, versions
from rtflow.bids.incremental import BidsIncremental
from rtflow.errors import UsageError
from rtflow.nodes.images.spline import Spline
from rtflow.nodes.motion.ants import installed
from rtflow.nodes.motion.realign import Realign
from rtflow.nodes.motion.reference import prepare
from rtflow.nodes.motion.registration import estimate
from rtflow.stream.interface import RunContext

_VOLUMES = 12
_DAMAGED = 8

# The slower peers get the first few volumes only.
_FEW = 3

_PEER = "python-rtspm"

#: What python-rtspm erred by on another truth of this recipe, mm.
RTSPM_ERRORS = {"S": 0.009, "M": 0.035, "L": 0.013}


class Ours:
    """The node `Realign` in a run of its own: each volume starts from the last trusted estimate."""

    def __init__(
        self, reference: NDArray[Any], affine: NDArray[np.float64], folder: Path, reslice: str = "full"
    ) -> None:
        self._affine = affine
        self._node = Realign(reslice=reslice)
        self._node.start_run(RunContext("bench", folder, folder, folder))
        self.count = 0
        began = cpu()
        self(reference)
        self.reference_seconds = cpu() - began

    def __call__(self, volume: NDArray[Any]) -> NDArray[np.float64]:
        """Estimate and reslice."""
        self.count += 1
        node = self._node
        node.inputs.incremental = BidsIncremental(volume, self._affine, volume=self.count)
        node._results = {}
        node._run_interface(None)
        found: NDArray[np.float64] = node._results["transform"]
        return found


Method = Callable[[NDArray[Any]], NDArray[np.float64]]


def cpu() -> float:
    """CPU seconds of this process and of the programs that it has run."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def measure(
    truth: Truth, methods: dict[str, Method], volumes: int, damage: Damage | None = None
) -> dict[str, tuple[list[float], list[float]]]:
    """CPU seconds and errors (mm) of each method, volume by volume in turn."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in methods}
    for index in range(volumes):
        volume = truth.volume(index, damage)
        for name, method in methods.items():
            if index >= _FEW and not name.startswith(("rtflow", _PEER)):
                continue
            began = cpu()
            transform = method(volume)
            found[name][0].append(cpu() - began)
            found[name][1].append(truth.phantom.worst(truth.transforms[index], transform))
    return found


def of_size(
    size: str, folder: Path, volumes: int = _VOLUMES, damaged: int = _DAMAGED
) -> tuple[dict[str, float], dict[str, Bar]]:
    """Figures and bars of one size: times and errors, and at size M those of damaged volumes."""
    figures: dict[str, float] = {}
    bars: dict[str, Bar] = {}
    truth = make_truth(*SIZES[size], volumes=max(volumes, damaged if size == "M" else 0))
    ours = Ours(truth.reference, truth.affine, folder)
    peers = {name: peer(truth.reference, truth.affine) for name, peer in available().items()}
    masked = Ours(truth.reference, truth.affine, folder, "mask")
    methods: dict[str, Method] = {"rtflow": ours, "rtflow, brain only": masked, **peers}
    for name, (seconds, errors) in measure(truth, methods, volumes).items():
        row = f"{size} {name}"
        figures[f"{row}:median_ms"] = 1e3 * float(np.median(seconds))
        figures[f"{row}:p95_ms"] = 1e3 * float(np.percentile(seconds, 95))
        figures[f"{row}:error_mm"] = float(np.median(errors))
        figures[f"{row}:worst_mm"] = float(np.max(errors))
        if name == "rtflow":
            first = seconds[0]
    for stage, spent in stages(truth).items():
        figures[f"{size} of which:{stage}_ms"] = 1e3 * spent
    median = figures[f"{size} rtflow:median_ms"]
    figures[f"reference_{size}_ms"] = 1e3 * ours.reference_seconds
    figures[f"first_over_median_{size}"] = 1e3 * first / median
    bars[f"first_over_median_{size}"] = bar(figures[f"first_over_median_{size}"], 2.0)
    if _PEER in peers:
        name = f"time_over_{_PEER}_{size}"
        figures[name] = median / figures[f"{size} {_PEER}:median_ms"]
        bars[name] = bar(figures[name], 0.10)
        figures[f"{_PEER}_error_over_note_{size}"] = figures[f"{size} {_PEER}:error_mm"] / RTSPM_ERRORS[size]
    if size == "M":
        methods = {name: method for name, method in methods.items() if name in ("rtflow", _PEER)}
        for what, (damage, afni) in DAMAGES.items():
            for name, (_, errors) in measure(truth, methods, damaged, damage).items():
                column = "error_mm" if name == "rtflow" else f"{name}_mm"
                figures[f"{what}:{column}"] = float(np.median(errors))
            figures[f"{what}:AFNI_mm"] = afni
            bars[f"{what}:error_mm"] = bar(figures[f"{what}:error_mm"], 2.0 * afni)
    return figures, bars


def stages(truth: Truth, repeats: int = 15) -> dict[str, float]:
    """What a volume's CPU seconds are made of, and two limits of the machine: medians.

    ``arithmetic`` is the 64 products of each voxel's interpolation at the rate at which the machine's BLAS
    multiplies large float32 matrices; ``copy`` is copying a float32 volume once.
    """
    reference = prepare(truth.reference, truth.affine)
    volume = truth.volume(0)
    spline = Spline(volume)
    found = estimate(reference, spline, truth.affine)
    move = np.linalg.inv(truth.affine) @ found.transform @ truth.affine
    sharp = spline.through()
    square = np.random.default_rng(0).random((768, 768), dtype=np.float32)
    image = sharp.onto(move, volume.shape)
    target = np.empty_like(image)
    steps: dict[str, Callable[[], Any]] = {
        "convert": lambda: Spline(volume),
        "estimate": lambda: estimate(reference, spline, truth.affine),
        "prefilter": spline.through,
        "resample": lambda: sharp.onto(move, volume.shape),
        "arithmetic": lambda: square @ square,
        "copy": lambda: np.copyto(target, image),
    }
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            began = cpu()
            step()
            spent[name].append(cpu() - began)
    medians = {name: float(np.median(seconds)) for name, seconds in spent.items()}
    medians["arithmetic"] *= 64.0 * volume.size / float(len(square)) ** 3
    return medians


def run() -> BenchReport:
    """Measure all sizes.

    Raises
    ------
    UsageError
        If the peer that the bars on time are ratios to is not installed.
    """
    from threadpoolctl import threadpool_limits

    there = available()
    if _PEER not in there:
        raise UsageError(
            f"cannot measure: the bars on time are ratios to {_PEER}, which is not here; "
            f"pip install {PACKAGES[_PEER]} (it is made for Python 3.11 and 3.12)"
        )
    figures: dict[str, float] = {}
    bars: dict[str, Bar] = {}
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            more, held = of_size(size, Path(folder))
            figures |= more
            bars |= held
    packages = [package for name, package in PACKAGES.items() if name in there]
    on = machine()
    if absent := ", ".join(name for name in PEERS if name not in there):
        on["not installed"] = absent
    of = versions("rtflow", "numpy", "numba", "scipy", *packages)
    if ants := installed():
        of["ANTs"] = ants.version
    return BenchReport("realign", on, of, figures, bars)
