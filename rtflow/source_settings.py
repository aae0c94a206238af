"""Where volumes come from: the tables behind ``[source]`` and the source URI (`rtflow.source_uri`)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rtflow.setting_types import Count, LocalPath, NotNegative, Positive, Whole

Speed = Positive | Literal["max"]
ADDRESS = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]*):[0-9]{1,5}$(?!\n)"
Address = Annotated[str, msgspec.Meta(pattern=ADDRESS)]
"""``HOST:PORT``, with a version 6 address in brackets."""
AeTitle = Annotated[str, msgspec.Meta(pattern=r"^[!-+\--\[\]-~]{1,16}$(?!\n)")]
"""Application entity title: up to 16 characters without spaces, commas and backslashes."""
Network = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$(?!\n)")]
"""An address, or a network with the length of its prefix."""

AgentName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
"""Name of an agent: up to 64 letters, digits, dots, hyphens and underscores."""

Accession = Annotated[str, msgspec.Meta(pattern=r"^ds[0-9]{6}$(?!\n)")]
"""Accession number of a data set of OpenNeuro."""


class SourceTable(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every source can be told.

    Parameters
    ----------
    volumes
        Number of volumes of the run, where the source does not know it itself.
    drop
        Whether a volume that comes while the graph is behind is given up (its Result says so), instead of
        waiting for its turn.
    """

    volumes: Count | None = None
    drop: bool = False


class SimulateSource(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="simulate"):
    """``simulate:?tr=2&volumes=100``: a scanner, a head and what it does, all made up from a seed.

    Parameters
    ----------
    tr
        Repetition time, seconds.
    speed
        How many times faster than a scanner, or ``max`` for no waiting at all.
    shape
        Voxels along i, j, k.
    voxel
        Size of a voxel, mm.
    seed
        What all chance comes from.
    activation
        Height of the haemodynamic response in a region while its own condition lasts, percent of the signal.
    crosstalk
        The same for other conditions, as a fraction of it.
    echoes
        Number of echoes: one at 30 ms, or several, 15 ms apart from 13 ms on, which decay as tissue does. The
        heights above are those at 30 ms.
    tsnr
        Temporal signal-to-noise ratio of the median voxel of the brain, without drift, breath and motion.
    motion
        Scale of the head's motion: 1 is a quiet participant (about a millimetre over a run), 0 is none.
    drift
        Slow drift over the run, percent of the signal.
    ar
        Lag-one autocorrelation of the noise, 0 to 1.
    breathing
        Amplitude of a breathing signal, percent.
    smooth_noise
        Full width at half maximum of the noise's spatial correlation, mm; 0 for none.
    task_motion
        How far the head nods in every trial, whatever its condition, degrees.
    hrf_delay
        Seconds by which the response is later than the canonical one.
    reconstruction
        Seconds from a volume's acquisition to its arrival.
    jitter
        Standard deviation of that delay, seconds.
    shift
        Millimetres by which the head lies elsewhere than in the reference session, along x.
    gain
        Factor on all intensities.
    capsule
        Whether an oil capsule marks the left side of the head.
    truth
        Folder for the ground truth (events, motion, region masks); empty for none.
    """

    tr: Positive = 2.0
    speed: Speed = 1.0
    shape: tuple[Count, Count, Count] = (64, 64, 30)
    voxel: Positive = 3.5
    seed: Whole = 1
    activation: float = 2.0
    crosstalk: float = 0.35
    echoes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    tsnr: Positive = 60.0
    motion: NotNegative = 1.0
    drift: float = 0.5
    ar: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    breathing: NotNegative = 0.0
    smooth_noise: NotNegative = 0.0
    task_motion: float = 0.0
    hrf_delay: float = 0.0
    reconstruction: NotNegative = 0.0
    jitter: NotNegative = 0.0
    shift: float = 0.0
    gain: Positive = 1.0
    capsule: bool = False
    truth: LocalPath = ""


class ScannerTable(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every source of DICOM objects can be told.

    Parameters
    ----------
    series
        SeriesNumber of the volumes to take, where there are several, or where it is one that is not streamed
        unless asked for (a single-band reference, say).
    idle
        Seconds without a new volume after which the run ends; default the larger of 10 TR and 30 s.
    wait
        Seconds to wait for the first volume.
    patience
        TRs to wait for a volume after a later one has come, before it is given up; default the larger of 2 TR
        and 2 s.
    """

    series: int | None = None
    idle: NotNegative | None = None
    wait: NotNegative = 30.0
    patience: NotNegative | None = None


class FolderSource(ScannerTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="folder"):
    """``folder:DIR?pattern=*.dcm&volumes=100``: DICOM files as a scanner writes them into a folder.

    ``idle`` counts from the newest file's change, so that a folder that was finished long ago is replayed
    without waiting.

    Parameters
    ----------
    path
        The folder; subfolders belong to it.
    pattern
        Which file names to look at.
    existing
        Whether files that are there already belong to the run.
    """

    path: LocalPath
    pattern: str = "*"
    existing: bool = True


class DicomSource(ScannerTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="dicom"):
    """``dicom://HOST:PORT``: DICOM objects that a scanner sends (C-STORE) to this address of this machine.

    Parameters
    ----------
    address
        ``HOST:PORT`` to listen at; ``0.0.0.0:PORT`` for all addresses of this machine, port 0 for any that is
        free.
    ae_title
        Application entity title that the scanner calls.
    calling
        Titles that may call; empty for any.
    peers
        Addresses or networks (``10.1.0.0/16``) that may call; empty for any.
    """

    address: Address
    ae_title: AeTitle = "RTFLOW"
    calling: tuple[AeTitle, ...] = ()
    peers: tuple[Network, ...] = ()


class AgentSource(ScannerTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="agent"):
    """``agent:NAME``: what ``rtflow scanner`` on the scanner's host sends to the port of this run.

    The agent begins when it hears of the run, and ends with it. What it takes volumes from (a folder, a port,
    a data set) it was told where it was started.

    Parameters
    ----------
    name
        Of the agent, as it was given to ``rtflow scanner --name``.
    pattern
        Which file names to look at, where the agent watches a folder.
    existing
        Whether files that are there already, when the agent hears of the run, belong to it.
    """

    name: AgentName = "scanner"
    pattern: str = "*"
    existing: bool = False


class JournalSource(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="journal"):
    """``journal:RUN_DIR``: the volumes of a recorded run, as they came.

    Parameters
    ----------
    path
        Folder of the run.
    speed
        How many times faster than the recorded run, or ``max`` for no waiting at all.
    """

    path: LocalPath
    speed: Speed = "max"


class RecordedTable(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every source of runs in a BIDS data set can be told; what is empty may be anything, if it is one.

    Parameters
    ----------
    subject, session, task
        BIDS labels of the run.
    run
        BIDS index of the run; 1 is also 01.
    acquisition, direction, reconstruction
        Further BIDS labels, where they tell one run from another.
    speed
        How many times faster than the scanner, or ``max`` for no waiting at all.
    """

    subject: str = ""
    session: str = ""
    task: str = ""
    run: str = ""
    acquisition: str = ""
    direction: str = ""
    reconstruction: str = ""
    speed: Speed = "max"

    @property
    def entities(self) -> dict[str, str]:
        """The BIDS entities that are asked for, by their long names."""
        names = ("subject", "session", "task", "run", "acquisition", "direction", "reconstruction")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class BidsSource(RecordedTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="bids"):
    """``bids:DIR?subject=01&task=faces``: a run of a BIDS data set, ``.nii`` or ``.nii.gz``.

    Parameters
    ----------
    path
        Folder of the data set.
    """

    path: LocalPath


class OpenNeuroSource(RecordedTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="openneuro"):
    """``openneuro:ds002338?subject=xp201&task=1dNF&run=1``: a run of a data set of OpenNeuro, while it comes.

    Parameters
    ----------
    dataset
        Accession number, such as ds002338.
    endpoint
        URL of another S3 server that holds OpenNeuro's bucket; empty for the environment's
        AWS_ENDPOINT_URL_S3, else Amazon's.
    cache
        Folder that files are kept in; empty for the environment's RTFLOW_CACHE, else the user's cache folder.
    """

    dataset: Accession
    endpoint: str = ""
    cache: LocalPath = ""


AnySource = (
    SimulateSource | FolderSource | DicomSource | AgentSource | BidsSource | OpenNeuroSource | JournalSource
)
