"""Settings as a TOML file, as `rtflow.settings.load_settings` reads it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from rtflow.errors import OutputError, SettingsError
from rtflow.server.desk import BusyError
from rtflow.setting_types import NONE
from rtflow.settings import RunSettings, load_settings, settings_to_builtins
from rtflow.toml_text import to_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def save_settings(settings: RunSettings, folder: Path, name: str) -> Path:
    """Write settings into a file of a name that is free; every one of them stands in it.

    Parameters
    ----------
    settings
        What to write.
    folder
        Where to; it is made.
    name
        Of the file, without ``.toml``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingsError
        If the name cannot be a file's, or the settings cannot stand in TOML.
    BusyError
        If there is such a file already.
    OutputError
        If the folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"the name {name[:64]!r}: expected up to 64 letters, digits, dots, hyphens and underscores"
        )
    path, values = folder / f"{name}.toml", settings_to_builtins(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.open("x").close()
        # Where any text is a value, "none" is one, too; most of these are none if nothing is said.
        for none in (NONE, None):
            path.write_text(to_toml(values, none=none), encoding="utf-8")
            if _reads_as(type(settings), path, values):
                return path
        path.unlink()
    except FileExistsError:
        raise BusyError(f"{path} is there already; choose another name") from None
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise OutputError(f"{path}: {error.strerror or error}; choose an output folder with room") from None
    raise SettingsError("these settings cannot stand in a file; write one by hand")


def _reads_as(settings_type: type[RunSettings], path: Path, values: dict[str, Any]) -> bool:
    try:
        return settings_to_builtins(load_settings(settings_type, path)) == values
    except SettingsError:
        return False
