"""Settings of a run: a TOML file, overridden key by key, as one typed structure.

The defaults of the structure stand first, then what the file says, then each override in turn. Tables
are merged key by key; a source of another kind, or a source URI, takes the place of the one that stood.
TOML cannot say that a setting has no value: the text ``none`` says it, where that is allowed.

A relative path counts from where it is written: in a file, from that file's folder; in an override,
from the current folder. ``~`` is the home folder in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import tomli

from rtflow.design import DesignSettings
from rtflow.errors import SettingsError
from rtflow.filling import Filling
from rtflow.setting_types import Count, Label, LabelOrNone, LocalPath, Positive, Whole
from rtflow.source_settings import AnySource, SimulateSource


class BidsSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the raw data set calls this run, and what the headers cannot know.

    Parameters
    ----------
    subject, session, task
        BIDS labels; an empty session is none.
    run
        BIDS index of the run; what it means beyond that is the workflow's.
    tr
        Repetition time in seconds, for series whose headers have none.
    echo
        Which echo of a multi-echo series is worked on and recorded; the journal has all of them.
    """

    subject: Label = "01"
    session: LabelOrNone = ""
    task: Label = "feedback"
    run: Count = 1
    tr: Positive | None = None
    echo: Count = 1


class Limits(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many volumes may be missing, failed or late in a run that ends well.

    Parameters
    ----------
    missing, failed, late
        So many volumes at most; ``none`` is any number.
    """

    missing: Whole | None = 0
    failed: Whole | None = 0
    late: Whole | None = None


class PlotSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A chart of the dashboard: in TOML, one ``[[plots]]``.

    Parameters
    ----------
    values
        What is plotted: values of the results, ``NODE.FIELD``.
    title
        Above the chart; default the names of the values.
    label
        Beside the vertical axis; default what the node says of the first value.
    range
        Lowest and highest value that is shown; default what comes.
    thresholds
        Where lines are drawn across.
    """

    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    title: str = ""
    label: str = ""
    range: tuple[float, float] | None = None
    thresholds: tuple[float, ...] = ()


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
    show
        Values of the results, ``NODE.FIELD``, that the operator sees while the run goes on and at its end.
    plots
        Charts of the dashboard, before those that it has by itself.
    work_dir
        Where nodes at set-up keep their results; set by the command line.
    """

    source: AnySource = msgspec.field(default_factory=SimulateSource)
    bids: BidsSettings = msgspec.field(default_factory=BidsSettings)
    dummy_volumes: Whole = 0
    deadline: Positive | None = None
    limits: Limits = msgspec.field(default_factory=Limits)
    seed: int = 0
    show: tuple[str, ...] = ()
    plots: tuple[PlotSettings, ...] = ()
    work_dir: LocalPath = ""

    def require(self) -> None:
        """Refuse what would cost a scan; asked before a run begins, and not by a replay of an older one.

        Raises
        ------
        SettingsError
            If it makes no sense; a workflow's own Settings may ask more.
        """
        design = getattr(self, "design", None)
        if isinstance(design, DesignSettings):
            design.require()


S = TypeVar("S", bound=RunSettings)


def load_settings(settings_type: type[S], file: Path | None = None, overrides: Sequence[str] = ()) -> S:
    """The settings that a TOML file and overrides make.

    Parameters
    ----------
    settings_type
        The structure to fill.
    file
        A TOML file, or None for the defaults.
    overrides
        ``a.b=VALUE`` each: VALUE in TOML syntax, else taken for text. ``source=URI`` works as well.

    Raises
    ------
    SettingsError
        If the file cannot be read, a key is unknown or a value is of the wrong type; the message names
        the key, what was expected, what was found, and where.
    """
    filling = Filling(settings_type)
    if file is not None:
        filling.add(_read(file), origin=str(file), folder=file.parent.absolute())
    for override in overrides:
        key, equals, text = override.partition("=")
        keys = [part.strip() for part in key.split(".")]
        if not equals or not all(keys):
            raise SettingsError(f"--set {override}: expected NAME=VALUE, such as source.tr=1.5")
        if not override.isprintable():
            raise SettingsError(
                f"--set {override!r}: expected printable text; write such a value into a file"
            )
        filling.add_text(keys, text.strip(), origin=f"--set {override}", folder=Path.cwd())
    return filling.filled()


def settings_to_builtins(settings: RunSettings) -> dict[str, Any]:
    """All settings as what JSON can hold, for the journal."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return plain


def settings_from_builtins(settings_type: type[S], recorded: dict[str, Any]) -> S:
    """The settings that `settings_to_builtins` recorded.

    Raises
    ------
    SettingsError
        If the structure has changed since.
    """
    filling = Filling(settings_type, merging=False)
    filling.add(recorded, origin="the recorded settings")
    return filling.filled()


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomli.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {file} does not exist; give a TOML file with -c") from None
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}; give a TOML file with -c") from None
    except UnicodeDecodeError:
        raise SettingsError(f"settings file {file} is not UTF-8 text; save it as UTF-8") from None
    except tomli.TOMLDecodeError as error:
        raise SettingsError(f"settings file {file} is not valid TOML: {error}; correct that line") from None
