"""How far a run has come, as the server tells it: from the run's documents."""

from __future__ import annotations

from collections import Counter

from rtflow.documents import AnyDocument, Result, RunStart, VolumeMissing, VolumeReceived

_COPIES = 2
"""Of each volume, in the journal and in the data set; all else that a run writes is small beside them."""


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
    began
        When it began, seconds since 1970; None where that was not seen.
    """

    def __init__(self, run_uid: str = "") -> None:
        self.run_uid = run_uid
        self.received = 0
        self.results: Counter[str] = Counter()
        self.began: float | None = None
        self._volumes = self._bytes = 0

    def add(self, document: AnyDocument) -> None:
        """A document of the run."""
        if isinstance(document, VolumeReceived | VolumeMissing):
            self.received = document.volume
            if isinstance(document, VolumeReceived):
                self._volumes += 1
                self._bytes += sum(part.size for part in document.parts)
        elif isinstance(document, Result):
            self.results[document.status] += 1
        elif isinstance(document, RunStart):
            self.began = document.time

    def bytes_for(self, volumes: int | None) -> int | None:
        """Bytes that more volumes will take on disk, by those that came; None while that is not known."""
        if volumes is None or not self._volumes:
            return None
        return volumes * _COPIES * self._bytes // self._volumes
