"""Settings of a run: a TOML file, overridden key by key, as one typed structure."""

from __future__ import annotations

import msgspec

from rtflow.source_settings import AnySource, SimulateSource


class BidsSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the raw data set calls this run, and what the headers cannot know.

    ``tr`` (seconds) is for series whose headers have no repetition time.
    """

    subject: str = "01"
    session: str = ""
    task: str = "feedback"
    run: int = 1
    tr: float | None = None


class Limits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many volumes may be missing, failed or late before the run's exit status is 3; None is any number."""

    missing: int | None = 0
    failed: int | None = 0
    late: int | None = None


class RunSettings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every workflow can be told; a workflow's own ``class Settings(RunSettings)`` adds to it.

    Parameters
    ----------
    source
        Where volumes come from: a URI, or a table with ``kind`` and the options of that kind.
    bids
        Names in the raw data set.
    dummy_volumes
        Volumes at the start of the run that the scanner saves and nobody uses.
    deadline
        Seconds from a volume's last byte after which its Result is late; default one TR at the
        source's speed, none at full speed.
    limits
        What the run may lose and still end well.
    seed
        What all chance in the nodes comes from.
    work_dir
        Where nodes at set-up keep their results; set by the command line.
    """

    source: AnySource = msgspec.field(default_factory=SimulateSource)
    bids: BidsSettings = msgspec.field(default_factory=BidsSettings)
    dummy_volumes: int = 0
    deadline: float | None = None
    limits: Limits = msgspec.field(default_factory=Limits)
    seed: int = 0
    work_dir: str = ""
