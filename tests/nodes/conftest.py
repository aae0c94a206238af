"""What tests of the nodes share: a run's context, and a call as the engine makes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoding import CONDITIONS, MASK, TR, Labeller, Outputs, right_labels
from nipype.interfaces.base import Undefined

from rtflow.bids.masked import Features, Mask
from rtflow.items import publish
from rtflow.nodes.decoding.decode import Decode
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
def leave(make_context) -> Callable[..., None]:
    """Callable that lets the session have what a run has saved, as the engine does when the run has ended."""

    def publish_items(run_uid: str = "run-a") -> None:
        context = make_context(run_uid)
        assert publish(context.run_dir, context.session_dir, whole=True) == ""

    return publish_items


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


@pytest.fixture
def play(call, make_context, leave) -> Callable[..., Outputs]:
    """Callable that takes a run of features through a decoder, and returns the outputs of each volume.

    Where a displacement is NaN, Realign withheld it.
    """

    def run(
        features: np.ndarray,
        labels: Labeller = right_labels,
        *,
        kind: type[Decode] = Decode,
        run_uid: str = "run-a",
        mask: Mask = MASK,
        displacements: np.ndarray | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        decode = kind(**{"conditions": CONDITIONS, **options})
        decode.start_run(make_context(run_uid, seed=7, volumes=len(features)))
        outputs = []
        for volume, row in enumerate(features, start=1):
            label = labels(volume)
            if displacements is not None:
                moved = displacements[volume - 1]
                decode.inputs.framewise_displacement = Undefined if np.isnan(moved) else float(moved)
            outputs.append(
                call(
                    decode,
                    volume,
                    features=Features(row, mask),
                    trial_type=label.trial_type,
                    trial=label.trial,
                    phase=label.phase,
                    time=(volume - 1) * TR,
                )
            )
        decode.end_run()
        leave(run_uid)
        return outputs

    return run
