"""Where volumes come from: one structure behind the ``[source]`` table and the source URI."""

from __future__ import annotations

from typing import Literal

import msgspec

Speed = float | Literal["max"]


class SourceTable(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every source can be told.

    ``volumes`` is the number of volumes of the run, where the source does not know it itself.
    """

    volumes: int | None = None


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
        Height of the haemodynamic response in the two regions, percent of the signal.
    tsnr
        Temporal signal-to-noise ratio in the brain.
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
        How far the head nods with the task, degrees.
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
    truth
        Folder for the ground truth (events, motion, region masks); empty for none.
    """

    tr: float = 2.0
    speed: Speed = 1.0
    shape: tuple[int, int, int] = (64, 64, 30)
    voxel: float = 3.5
    seed: int = 1
    activation: float = 1.5
    tsnr: float = 60.0
    motion: float = 1.0
    drift: float = 1.0
    ar: float = 0.0
    breathing: float = 0.0
    smooth_noise: float = 0.0
    task_motion: float = 0.0
    hrf_delay: float = 0.0
    reconstruction: float = 0.0
    jitter: float = 0.0
    shift: float = 0.0
    gain: float = 1.0
    truth: str = ""


class FolderSource(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="folder"):
    """``folder:DIR?pattern=*.dcm&volumes=100``: DICOM files as a scanner writes them into a folder.

    Parameters
    ----------
    path
        The folder; subfolders belong to it.
    pattern
        Which file names to look at.
    existing
        Whether files that are there already belong to the run.
    idle
        Seconds without a new volume after which the run ends; default the larger of 10 TR and 30 s,
        or 0 where all the volumes that the headers announce are there.
    wait
        Seconds to wait for the first volume.
    patience
        TRs to wait for a volume after a later one has come, before it is given up.
    """

    path: str
    pattern: str = "*"
    existing: bool = True
    idle: float | None = None
    wait: float = 30.0
    patience: float = 5.0


class JournalSource(SourceTable, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="journal"):
    """``journal:RUN_DIR``: the volumes of a recorded run, as they came.

    Parameters
    ----------
    path
        Folder of the run.
    speed
        How many times faster than the recorded run, or ``max`` for no waiting at all.
    """

    path: str
    speed: Speed = "max"


AnySource = SimulateSource | FolderSource | JournalSource
