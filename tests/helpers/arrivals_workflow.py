"""A workflow file for the tests of faults: what comes of every voxel of every volume before."""

from __future__ import annotations

import resource
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nipype import Node, Workflow
from nipype.interfaces.base import BaseInterfaceInputSpec, TraitedSpec, traits

from rtflow.nodes import DicomToBids, ScannerInput
from rtflow.settings import RunSettings
from rtflow.stream import RunContext, StreamInterface


class Settings(RunSettings):
    """What the tests vary."""

    sleep: float = 0.0


def digest(echoes: Any, before: int) -> int:
    """A number that no volume before, and no voxel, can change without being seen."""
    for data in echoes:
        before = zlib.crc32(np.ascontiguousarray(data, dtype=np.float64).tobytes(), before)
    return before


def resident() -> float:
    """Memory in use, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class DigestInput(BaseInterfaceInputSpec):
    echoes = traits.Any(mandatory=True)
    sleep = traits.Float(0.0, usedefault=True)


class DigestOutput(TraitedSpec):
    value = traits.Any()


class Digest(StreamInterface):
    """The digest of all volumes so far, beside them the memory in use."""

    input_spec = DigestInput
    output_spec = DigestOutput
    stateful = True

    def start_run(self, context: RunContext) -> None:
        self._value = 0
        self._log = context.run_dir / "memory.tsv"

    def gap(self, volume: int) -> None:
        pass

    def _run_interface(self, runtime: Any) -> Any:
        time.sleep(self.inputs.sleep)
        self._value = digest((echo.data for echo in self.inputs.echoes), self._value)
        self._results["value"] = self._value
        with self._log.open("a") as file:
            file.write(f"{self.volume}\t{resident():.3f}\n")
        return runtime


def build(settings: Settings) -> Workflow:
    """scanner -> convert -> digest."""
    scanner = Node(ScannerInput(uri=settings.source), name="scanner")
    convert = Node(DicomToBids(task="rest"), name="convert")
    flow = Workflow(name="arrivals", base_dir=settings.work_dir)
    flow.connect(scanner, "frame", convert, "frame")
    flow.connect(convert, "echoes", Node(Digest(sleep=settings.sleep), name="digest"), "echoes")
    return flow
