"""What an agent shows on the terminal: a line for each change, and below them how it stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

_LOOKS_PER_SECOND = 4


class Terminal:
    """Tells of changes on stderr; on a terminal, the last line says how the agent stands.

    Parameters
    ----------
    quiet
        Whether to say nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
        self._live: Live | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, standing: Callable[[], str]) -> None:
        """From now on, show how the agent stands."""
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(
                get_renderable=lambda: Text(standing()),
                console=self._console,
                refresh_per_second=_LOOKS_PER_SECOND,
                transient=True,
            )
            self._live.start()

    def tell(self, says: str) -> None:
        """A change, with the time of day."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {says}")
