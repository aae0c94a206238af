"""Checks that belong on every workflow: for this project's tests, and for those of an experimenter."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nipype import Workflow

from rtflow.documents import Frame, Part, Result, now
from rtflow.errors import RunError
from rtflow.sources.gathering import nifti_parts
from rtflow.stream import Plan, RunContext, StreamPlugin, inspect

Replace = Callable[[Frame, np.random.Generator], Frame]


class FrameList:
    """Frames from a list, as a source.

    Parameters
    ----------
    frames
        In the order of their volumes.
    tr
        Repetition time in seconds, if that matters.
    """

    def __init__(self, frames: Sequence[Frame], tr: float | None = None) -> None:
        self.tr = tr
        self.volumes: int | None = len(frames)
        self._frames = frames

    def frames(self, stopping: threading.Event) -> Iterator[Frame]:
        """The frames, as if they came now."""
        from dataclasses import replace

        for frame in self._frames:
            if stopping.is_set():
                return
            yield replace(frame, received=now())


def source_frames(workflow: Workflow) -> tuple[list[Frame], float | None]:
    """All frames of a workflow's own source, and its repetition time."""
    interface: Any = inspect(workflow).source.node.interface
    frames = list(interface.frames(threading.Event()))
    return frames, interface.tr


def noise(frame: Frame, chance: np.random.Generator) -> Frame:
    """The same volume with noise in place of what was measured: same grid, same header, other voxels.

    Parameters
    ----------
    frame
        A frame of DICOM or NIfTI.
    chance
        Where the noise comes from.
    """
    from rtflow.nodes.convert import frame_to_incrementals

    parts: list[Part] = []
    for incremental in frame_to_incrementals(frame, {}):
        data = incremental.data
        low, high = float(data.min()), float(max(data.max(), data.min() + 1))
        drawn = chance.uniform(low, high, data.shape).astype(data.dtype)
        parts += nifti_parts(incremental.with_data(drawn))
    return Frame(frame.volume, frame.received, tuple(parts), acquired=frame.acquired)


def run_frames(
    workflow: Workflow | Plan,
    frames: Sequence[Frame],
    *,
    tr: float | None = None,
    session: Path | None = None,
    seed: int = 0,
) -> list[Result]:
    """The Results of a workflow on given frames, in folders that are gone afterwards.

    Parameters
    ----------
    workflow
        Of a plan, the very nodes run that it has; of a workflow, copies.
    session
        A session whose items the workflow may take; it is not changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if session is not None:
            shutil.copytree(session, root / "session")
        context = RunContext("test", root / "run", root / "bids", root / "session", seed=seed)
        plugin = StreamPlugin(context=context, source=FrameList(frames, tr))
        if isinstance(workflow, Plan):
            plugin.run_plan(workflow)
        else:
            workflow.run(plugin=plugin)
    return plugin.results


def prefix_test(
    workflow: Workflow,
    *,
    after: int | None = None,
    session: Path | None = None,
    replace: Replace = noise,
    seed: int = 0,
) -> None:
    """Check that no Result depends on a later volume.

    The workflow runs twice on the frames of its own source: as they are, and with every volume after
    ``after`` replaced. The Results up to there must have the same values, bit for bit, the same status and
    the same quality; some later one must differ, or the test would prove nothing.

    Parameters
    ----------
    workflow
        A workflow whose source ends by itself, and soon.
    after
        Last volume that is left alone; default two thirds of the run.
    session
        A session whose items the workflow may take.
    replace
        What takes a volume's place; default `noise` on its grid.
    seed
        Of the noise.

    Raises
    ------
    AssertionError
        Naming the first volume and values that differ, or saying that nothing does.
    """
    frames, tr = source_frames(workflow)
    last = after if after is not None else len(frames) * 2 // 3
    chance = np.random.default_rng(seed)
    other = [frame if frame.volume <= last or frame.missing else replace(frame, chance) for frame in frames]
    one = run_frames(workflow, frames, tr=tr, session=session)
    two = run_frames(workflow, other, tr=tr, session=session)
    for left, right in zip(one, two, strict=True):
        if left.volume > last:
            break
        differing = sorted(
            name
            for name in left.values.keys() | right.values.keys()
            if not _same(left.values.get(name), right.values.get(name))
        )
        if differing or (left.status, left.quality, left.stale) != (right.status, right.quality, right.stale):
            raise AssertionError(
                f"volume {left.volume} depends on a volume after {last}: "
                + (
                    ", ".join(differing)
                    or f"{left.status}, {left.quality} became {right.status}, {right.quality}"
                )
            )
    later = [(a.values_sha256, b.values_sha256) for a, b in zip(one, two, strict=True) if a.volume > last]
    if all(a == b for a, b in later):
        raise AssertionError(
            f"no Result changed although every volume after {last} of {len(frames)} was replaced: "
            "the workflow publishes nothing that depends on its volumes"
        )


def begins_anew_test(workflow: Workflow, *, session: Path | None = None, seed: int = 0) -> None:
    """Check that a run leaves nothing in the nodes for the next one.

    The very same nodes go through two runs: one of noise, then one of the frames of the workflow's own
    source. Its Results must be those of nodes that have been through nothing.

    Parameters
    ----------
    workflow
        A workflow whose source ends by itself, and soon.
    session
        A session whose items the workflow may take.
    seed
        Of the noise.

    Raises
    ------
    AssertionError
        Naming the first volume whose values differ.
    """
    frames, tr = source_frames(workflow)
    chance = np.random.default_rng(seed)
    noisy = [frame if frame.missing else noise(frame, chance) for frame in frames]
    fresh = run_frames(workflow, frames, tr=tr, session=session)
    plan = inspect(workflow)
    with contextlib.suppress(RunError):  # what comes of noise does not matter
        run_frames(plan, noisy, tr=tr, session=session)
    for left, right in zip(fresh, run_frames(plan, frames, tr=tr, session=session), strict=True):
        differing = sorted(
            name
            for name in left.values.keys() | right.values.keys()
            if not _same(left.values.get(name), right.values.get(name))
        )
        if differing or left.status != right.status:
            raise AssertionError(
                f"volume {left.volume} depends on a run before: "
                + (", ".join(differing) or f"{left.status} became {right.status}")
            )


def _same(left: Any, right: Any) -> bool:
    return bool(left == right or (left != left and right != right))
