"""What the operating system tells of files, where it does: fast, and not to be relied on."""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

_LINUX = platform.system() == "Linux"


class Observer:
    """Tells of files that may be complete, from a thread of its own.

    Parameters
    ----------
    folder
        Where they come, at any depth.
    heard
        Called with the path of each.
    """

    def __init__(self, folder: Path, heard: Callable[[str], None]) -> None:
        self._folder = folder
        self._heard = heard
        self._observer: Any = None

    def start(self) -> None:
        """Begin, if it has not; where no events can be had (the system's limit, say), nothing is told."""
        if self._observer is not None:
            return
        observer: Any = None
        # A folder made while watchdog goes through the new one above it is found twice, and watched once.
        warnings.filterwarnings("ignore", "Callback with id .* already exists for watch", RuntimeWarning)
        try:
            observer = _observer()
            observer.schedule(self, str(self._folder), recursive=True, event_filter=_wanted())
            observer.start()
        except OSError:
            if observer is not None:
                observer.stop()  # it has a thread already
            return
        self._observer = observer

    def stop(self) -> None:
        """Tell no more; no thread is left."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            with contextlib.suppress(RuntimeError):
                observer.join()

    @property
    def deaf(self) -> bool:
        """Whether it ended by itself: the folder it watched is gone, if another one is there or not."""
        return self._observer is not None and not all(
            thread.is_alive() for thread in (self._observer, *self._observer.emitters)
        )

    def dispatch(self, event: FileSystemEvent) -> None:
        """Pass an event on; called by watchdog."""
        if not event.is_directory:
            self._heard(os.fsdecode(event.dest_path or event.src_path))


def _observer() -> Any:
    if _LINUX:
        from watchdog.observers.inotify import InotifyObserver

        # Full events, for a file that is moved in from elsewhere would otherwise look like one just begun.
        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer as Any_

    return Any_()


def _wanted() -> list[type[FileSystemEvent]]:
    """The events after which a file may be complete; our own reading would cause many others."""
    from watchdog import events

    if _LINUX:
        return [events.FileClosedEvent, events.FileMovedEvent, events.DirMovedEvent]
    # Other systems do not tell when a file is closed: there, every change is worth a look.
    return [events.FileCreatedEvent, events.FileModifiedEvent, events.FileMovedEvent, events.DirMovedEvent]
