"""What a benchmark prints."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import msgspec
import numpy as np


class Bar(msgspec.Struct, frozen=True):
    """A figure that must not be exceeded."""

    value: float
    limit: float
    holds: bool


class BenchReport(msgspec.Struct, frozen=True):
    """Figures of one benchmark on one machine.

    Parameters
    ----------
    name
        Name of the benchmark.
    machine
        What it ran on.
    versions
        Packages that matter to it.
    figures
        Name (with its unit) to number. Names of the form ``ROW:COLUMN`` are shown as a table.
    bars
        Figures that must hold.
    """

    name: str
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    figures: dict[str, float]
    bars: dict[str, Bar]

    @property
    def holds(self) -> bool:
        """Whether every bar does."""
        return all(bar.holds for bar in self.bars.values())


def bar(value: float, limit: float) -> Bar:
    """A figure beside its limit."""
    return Bar(value, limit, value <= limit)


def machine() -> dict[str, str | int | float]:
    """The machine at hand: processor, cores, load when the benchmark began."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of installed packages."""
    found = {"python": platform.python_version()}
    found.update({package: importlib.metadata.version(package) for package in packages})
    return found


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, as two figures."""
    milliseconds = np.asarray(seconds) * 1e3
    return {
        f"{name}_median_ms": float(np.median(milliseconds)),
        f"{name}_p99_ms": float(np.percentile(milliseconds, 99)),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of ours
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
