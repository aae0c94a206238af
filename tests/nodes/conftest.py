"""What tests of the nodes share: a run's context, and a call as the engine makes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtflow.stream.interface import RunContext, StreamInterface


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., RunContext]:
    """Callable from the identity of a run (and other fields) to its context; all runs share one session."""

    def make(run_uid: str = "run-a", **fields: Any) -> RunContext:
        return RunContext(
            run_uid=run_uid,
            run_dir=tmp_path / "runs" / run_uid,
            **{"bids_dir": tmp_path / "bids", "session_dir": tmp_path / "session", **fields},
        )

    return make


@pytest.fixture
def call() -> Callable[..., dict[str, Any]]:
    """Callable that takes a volume through a started interface and returns what it gives."""

    def run(interface: StreamInterface, volume: int, **inputs: Any) -> dict[str, Any]:
        interface.volume = volume
        for name, value in inputs.items():
            setattr(interface.inputs, name, value)
        interface._results = {}
        interface._run_interface(None)
        return dict(interface._results)

    return run
