"""The files that one run of a data set needs: which they are, and where they are while they come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from rtflow.bids.entities import check_entities
from rtflow.bids.finding import RunImages, beside, choose_run, find_runs
from rtflow.errors import OutputError
from rtflow.openneuro.bucket import Bucket, ChangedError, StoredObject
from rtflow.openneuro.cache import Cache
from rtflow.openneuro.download import Download
from rtflow.openneuro.listing import objects

_OF_DATASET = ("dataset_description.json", "README", "README.md", "README.txt", "README.rst")


def listed(
    dataset: str, subject: str, cache: Cache, bucket: Bucket | None, *, anew: bool = False
) -> list[StoredObject]:
    """What a data set holds: as it was listed last, else (or ``anew``) as it is.

    Parameters
    ----------
    dataset
        Accession number.
    subject
        BIDS label of the one participant that is of interest; empty for all.
    bucket
        Asked for what is not known; None for the usual one.

    Raises
    ------
    SourceError
        If there is no such data set or subject, or the server has to be asked and cannot be reached.
    """
    known = None if anew else cache.listing(dataset, subject)
    if known is None:
        known = objects(bucket or Bucket(), dataset, subject)
        with contextlib.suppress(OutputError):  # what cannot be kept can be shown
            cache.keep_listing(dataset, subject, known)
    return known


def runs_of(items: Sequence[StoredObject]) -> list[RunImages]:
    """The functional runs among the files of a data set."""
    return find_runs(PurePosixPath(item.path) for item in items)


def fetched_events(
    run: RunImages, items: Sequence[StoredObject], cache: Cache, endpoint: str = ""
) -> Path | None:
    """The file of events of a run, fetched if it is not here; None if there is none. Raises as `RunFiles`."""
    by_path = {item.path: item for item in items}
    found = beside(map(PurePosixPath, by_path), run.images[0], "events", ".tsv")
    if not found:
        return None
    item = by_path[str(found[-1])]
    return cache.whole(item) or cache.keep(item, Bucket(endpoint).read(item))


class RunFiles:
    """The files of one run, those here already and those on their way.

    The network is not asked for anything that is here: what is kept is used as it is, until the cache is
    cleared.

    Parameters
    ----------
    dataset
        Accession number.
    wanted
        BIDS entities of the run.
    endpoint
        URL of another S3 server, or empty.
    cache
        Where files are kept.

    Raises
    ------
    SourceError
        If no run, or several are meant, or something is not here and cannot be fetched.
    OutputError
        If the cache cannot be written.
    """

    def __init__(self, dataset: str, wanted: Mapping[str, str], endpoint: str, cache: Cache) -> None:
        check_entities(wanted)
        self.dataset = dataset
        self.root = cache.folder(dataset)
        self.downloads: list[Download] = []
        self._cache, self._endpoint = cache, endpoint
        self._bucket: Bucket | None = None
        subject = wanted.get("subject", "")
        known = cache.listing(dataset, subject)
        try:
            try:
                self._fetch(self._listed(subject) if known is None else known, wanted)
                self._await_first()
            except ChangedError:
                if known is None:
                    raise
                self.close()
                self._fetch(self._listed(subject), wanted)
        except BaseException:
            self.close()
            raise

    @property
    def bytes(self) -> int:
        """Size of the run's images."""
        return sum(item.size for item in self._images)

    @property
    def fetched(self) -> int:
        """Bytes that were fetched over the network for this run, so far."""
        return self._small + sum(download.fetched for download in self.downloads)

    @property
    def received(self) -> int:
        """Bytes of the run's images that are here."""
        return self.bytes - sum(one.item.size - one.received for one in self.downloads)

    def image(self, path: PurePosixPath) -> Path | Download:
        """An image of the run: the file if it is here, else its download."""
        for download in self.downloads:
            if download.item.path == str(path):
                return download
        return self.root / path

    def close(self) -> None:
        """End fetching; what has come is kept."""
        for download in self.downloads:
            download.close()
        self.downloads = []

    def _fetch(self, items: Sequence[StoredObject], wanted: Mapping[str, str]) -> None:
        self._small = 0
        self.run = choose_run(runs_of(items), wanted, self.dataset)
        by_path = {item.path: item for item in items}
        self._images = [by_path[str(path)] for path in self.run.images]
        for item in self._images:
            if self._cache.whole(item) is None:
                # First of all, so that its first bytes are under way while the small files come.
                self.downloads.append(Download(self._server, item, self._cache).start())
        paths = [PurePosixPath(path) for path in by_path]
        small = {name for name in _OF_DATASET if name in by_path}
        for image in self.run.images:
            for suffix, extension in (("bold", ".json"), ("events", ".tsv")):
                small |= {str(path) for path in beside(paths, image, suffix, extension)}
        for name in sorted(small):
            if self._cache.whole(by_path[name]) is None:
                self._cache.keep(by_path[name], self._server.read(by_path[name]))
                self._small += by_path[name].size

    def _await_first(self) -> None:
        """Wait for the first byte of each download: by then it is known whether what was listed is there."""
        for download in self.downloads:
            download.read_at(0, 1, threading.Event())

    def _listed(self, subject: str) -> list[StoredObject]:
        return listed(self.dataset, subject, self._cache, self._server, anew=True)

    @property
    def _server(self) -> Bucket:
        if self._bucket is None:
            self._bucket = Bucket(self._endpoint)
        return self._bucket
