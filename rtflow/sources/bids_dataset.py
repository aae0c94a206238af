"""``bids:``: a run of a BIDS data set as a source of volumes."""

from __future__ import annotations

from pathlib import Path

from rtflow.bids.finding import RunImages, choose_run, runs_in
from rtflow.bids.volumes import metadata_for, open_volumes
from rtflow.errors import SourceError, VolumeError
from rtflow.source_settings import BidsSource
from rtflow.source_uri import format_source
from rtflow.sources.images import ImageReplay


class BidsReplay(ImageReplay):
    """A run of a BIDS data set, as it was stored.

    Parameters
    ----------
    spec
        Which data set, which run of it, and how fast to play it.

    Raises
    ------
    SourceError
        If there is no such data set, none or several of its runs are meant, or its files cannot be read.
    """

    def __init__(self, spec: BidsSource) -> None:
        root = Path(spec.path).expanduser()
        if not root.is_dir():
            raise SourceError(
                f"BIDS data set {root} {'is a file' if root.exists() else 'does not exist'}; "
                "give the root of a data set"
            )
        self.run: RunImages = choose_run(runs_in(root), spec.entities, f"data set {root}")
        paths = [root / image for image in self.run.images]
        for path in paths:
            _require_content(path)
        try:
            metadata = [metadata_for(root, path) for path in paths]
        except VolumeError as error:
            raise SourceError(str(error)) from None
        super().__init__(
            str(paths[0]),
            format_source(spec),
            lambda: [open_volumes(path) for path in paths],
            metadata,
            spec.speed,
            limit=spec.volumes,
        )


def _require_content(path: Path) -> None:
    """Refuse a link to what was never fetched, as DataLad leaves them."""
    if path.is_symlink() and not path.exists():
        raise SourceError(
            f"{path} is a link to a file that is not here; fetch it first (datalad get {path.name})"
        )
