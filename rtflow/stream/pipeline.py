"""Threads of a run: one for the source, one for each stage, with bounded queues between them."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path

from rtflow.documents import Frame
from rtflow.stream.algebra import this_thread_too
from rtflow.stream.calls import own_working_directory
from rtflow.stream.executor import Step, run_stage
from rtflow.stream.volume import VolumeInFlight

_END = None


class Pipeline:
    """Takes frames through the stages, in order, and hands each volume to ``finish``.

    Parameters
    ----------
    stages
        Steps of each stage.
    accept
        Called with each frame in the source's thread before anything is done with it.
    take_off
        Makes a volume of a frame.
    finish
        Called with each volume in the thread of the last stage, in the order of the volumes.
    backlog
        How many volumes may wait before the first stage, and between two stages.
    drop
        What to do with a volume that finds the backlog full: False waits, and loses nothing; True gives it up
        (its Result says so).
    directory
        Working directory of the stages' threads.
    """

    def __init__(
        self,
        stages: list[list[Step]],
        *,
        accept: Callable[[Frame], None],
        take_off: Callable[[Frame], VolumeInFlight],
        finish: Callable[[VolumeInFlight], None],
        backlog: int,
        drop: bool,
        directory: Path,
    ) -> None:
        self._stages = stages
        self._take_off = take_off
        self._accept = accept
        self._finish = finish
        self._drop = drop
        self._directory = directory
        self._queues: list[queue.Queue[VolumeInFlight | None]] = [queue.Queue()]
        self._queues += [queue.Queue(maxsize=backlog) for _ in stages[1:]]
        # The first queue is bounded by places, so that the word of a dropped volume passes when it is full.
        self._places = threading.Semaphore(backlog)
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.done = threading.Event()
        self.error: BaseException | None = None

    def start(self, frames: Iterable[Frame]) -> None:
        """Start the threads."""
        self._threads = [
            threading.Thread(target=self._run_stage, args=(number,), name=f"stage-{number}", daemon=True)
            for number in range(len(self._stages))
        ]
        self._threads.append(
            threading.Thread(target=self._run_source, args=(frames,), name="source", daemon=True)
        )
        for thread in self._threads:
            thread.start()

    def stop(self, error: BaseException | None = None) -> None:
        """Ask the source to end; volumes that were received are finished."""
        if error is not None and self.error is None:
            self.error = error
        self.stopping.set()

    def join(self, limit: float | None = None) -> bool:
        """Wait until the last volume is finished; False if ``limit`` seconds passed first."""
        return self.done.wait(limit)

    def _run_source(self, frames: Iterable[Frame]) -> None:
        coming = iter(frames)
        try:
            # A place first, then the frame: what waits outside is not read before it can be worked on.
            while not self.stopping.is_set() and (self._drop or self._await_place()):
                frame = next(coming, None)
                if frame is None or self.stopping.is_set():
                    break
                self._admit(frame)
        except BaseException as error:
            self.stop(error)
        finally:
            if isinstance(coming, Generator):
                with contextlib.suppress(Exception):
                    coming.close()  # what it holds is closed before the run is called done
            self._queues[0].put(_END)

    def _await_place(self) -> bool:
        while not self._places.acquire(timeout=0.5):
            if self.stopping.is_set():
                return False
        return True

    def _admit(self, frame: Frame) -> None:
        placed = not self._drop or self._places.acquire(blocking=False)
        if not placed:
            frame = replace(
                frame, parts=(), payload=None, missing="dropped: the graph was behind when it came"
            )
        self._accept(frame)
        item = self._take_off(frame)
        item.placed = placed
        self._queues[0].put(item)

    def _run_stage(self, number: int) -> None:
        last = number == len(self._stages) - 1
        steps = self._stages[number]
        inbox = self._queues[number]
        outbox = None if last else self._queues[number + 1]
        this_thread_too()
        # Where a thread cannot own its directory, the compiler has put whatever needs one elsewhere.
        if own_working_directory():
            with contextlib.suppress(OSError):
                os.chdir(self._directory)
        try:
            while (item := inbox.get()) is not _END:
                if number == 0 and item.placed:
                    self._places.release()
                run_stage(steps, item)
                if outbox is None:
                    self._finish(item)
                else:
                    outbox.put(item)
        except BaseException as error:
            self.stop(error)
            self._drain(inbox)
        finally:
            if outbox is None:
                self.done.set()
            else:
                outbox.put(_END)

    def _drain(self, inbox: queue.Queue[VolumeInFlight | None]) -> None:
        # The stage before must not wait for ever for a place in a queue that nobody empties.
        while inbox.get() is not _END:
            self._places.release()
