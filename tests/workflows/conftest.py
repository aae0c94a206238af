"""What tests of the workflows share: a run on a small simulated head."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from building import WORKFLOWS

from rtflow.design import read_events
from rtflow.documents import AnyDocument, Result, RunStop
from rtflow.engine import run
from rtflow.settings import load_settings
from rtflow.trials import Design
from rtflow.workflow_file import load_workflow

#: A whole head in few voxels: 160 x 190 x 140 mm.
SMALL = ("source.shape=[32, 38, 28]", "source.voxel=5.0")


@dataclass
class Ran:
    """A run that has ended."""

    out: Path
    truth: Path
    documents: list[AnyDocument] = field(default_factory=list)
    stop: RunStop | None = None

    @property
    def results(self) -> list[Result]:
        return [document for document in self.documents if isinstance(document, Result)]

    @property
    def design(self) -> Design:
        """What the simulated participant really did, from the simulator's own files."""
        return read_events(self.truth / "events.tsv")

    def values(self, name: str) -> dict[int, Any]:
        """Volume to value, where there is one."""
        return {result.volume: result.values[name] for result in self.results if name in result.values}


@pytest.fixture(scope="session")
def play() -> Callable[..., Ran]:
    """Callable that runs a workflow of the project on a small head, and returns what came of it."""

    def go(
        name: str,
        out: Path,
        *overrides: str,
        small: bool = True,
        stop_after: int = 0,
        session: Path | None = None,
    ) -> Ran:
        workflow = load_workflow(WORKFLOWS / f"{name}.py")
        number = len(list(out.glob("truth-*")))
        ran = Ran(out, out / f"truth-{number}")
        given = ["source.speed=max", f"source.truth={ran.truth}", *(SMALL if small else ()), *overrides]
        if any(override.startswith("source=") for override in overrides):
            given = list(overrides)
        settings = load_settings(workflow.settings_type, WORKFLOWS / f"{name}.toml", given)
        stopping = threading.Event()

        def observe(document: AnyDocument) -> None:
            ran.documents.append(document)
            if isinstance(document, Result) and document.volume == stop_after:
                stopping.set()

        ran.stop = run(workflow, settings, out, session=session, observe=observe, stopping=stopping)
        return ran

    return go
