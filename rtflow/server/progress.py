"""How far a run has come, as the server tells it: from the run's documents."""

from __future__ import annotations

from collections import Counter

from rtflow.documents import AnyDocument, Result, VolumeMissing, VolumeReceived


class Progress:
    """Gathers what the documents of one run say.

    Parameters
    ----------
    run_uid
        Of that run.

    Attributes
    ----------
    received
        Number of the latest volume that came or was given up.
    results
        How many Results there are of each status.
    """

    def __init__(self, run_uid: str = "") -> None:
        self.run_uid = run_uid
        self.received = 0
        self.results: Counter[str] = Counter()

    def add(self, document: AnyDocument) -> None:
        """A document of the run."""
        if isinstance(document, VolumeReceived | VolumeMissing):
            self.received = document.volume
        elif isinstance(document, Result):
            self.results[document.status] += 1
