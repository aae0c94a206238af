"""Sources of volumes: a folder or a port that a scanner writes to, a simulated scanner, a recorded run,
one of a BIDS data set."""

from __future__ import annotations

from rtflow.errors import SourceError
from rtflow.source_settings import (
    AgentSource,
    AnySource,
    BidsSource,
    DicomSource,
    FolderSource,
    JournalSource,
    OpenNeuroSource,
    SimulateSource,
)
from rtflow.sources.base import Source
from rtflow.trials import Design

__all__ = ["Source", "open_source"]


def open_source(spec: AnySource, design: Design | None = None) -> Source:
    """Open the source that a table describes.

    Parameters
    ----------
    spec
        What `rtflow.source_uri.parse_source` made of a URI, or the ``[source]`` table.
    design
        What the simulated participant does; other sources have a real one.

    Raises
    ------
    SourceError
        If the source does not exist, or holds no volumes that can be read.
    """
    # Each kind is imported when it is used: a folder run needs no simulator.
    match spec:
        case FolderSource():
            from rtflow.sources.folder import FolderStream

            return FolderStream(spec)
        case DicomSource():
            from rtflow.sources.port import PortStream

            return PortStream(spec)
        case SimulateSource():
            from rtflow.sources.simulator import SimulatorSource

            return SimulatorSource(spec, design)
        case AgentSource():
            from rtflow.sources.agent import AgentStream

            return AgentStream(spec)
        case JournalSource():
            from rtflow.sources.journal import JournalReplay

            return JournalReplay(spec)
        case BidsSource():
            from rtflow.sources.bids_dataset import BidsReplay

            return BidsReplay(spec)
        case OpenNeuroSource():
            from rtflow.sources.openneuro import OpenNeuroReplay

            return OpenNeuroReplay(spec)
    raise SourceError(
        f"cannot open a source of kind {type(spec).__name__}; "
        "use folder:, dicom:, agent:, simulate:, bids:, openneuro: or journal:"
    )
