"""What is told of the nodes that run once: at set-up, and at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Literal

from rtflow.documents import Event
from rtflow.errors import RtflowError, in_words

Tell = Callable[[Event], object]

_LONGEST = 8000
"""Characters of an error: Nipype's have the whole traceback."""


@contextlib.contextmanager
def telling(tell: Tell, when: Literal["set-up", "end"], node: str) -> Iterator[None]:
    """Tell that a node begins, and how it ended: Events ``step``, each with ``data``.

    ``when``, ``node`` and ``state`` (``begun``, ``done`` or ``failed``) are in all, ``milliseconds`` in those
    of its end, and ``error``, in full, in that of a failure.

    Parameters
    ----------
    tell
        Puts an Event into the journal.
    when, node
        Of the node.
    """
    about = {"when": when, "node": node}
    tell(Event(name="step", node=node, data=about | {"state": "begun"}))
    begun = perf_counter()

    def end(state: str, **more: str) -> None:
        took = {"milliseconds": (perf_counter() - begun) * 1e3}
        tell(Event(name="step", node=node, data=about | {"state": state} | took | more))

    try:
        yield
    except BaseException as error:
        cause = error.__cause__ or error
        with contextlib.suppress(RtflowError):  # a full disk must not hide what went wrong before
            end("failed", error=(str(cause) or in_words(cause))[:_LONGEST])
        raise
    end("done")
