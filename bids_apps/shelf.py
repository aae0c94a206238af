"""Where the files of apps are: ``apps`` in the current folder, then those that come with rtflow."""

from __future__ import annotations

from pathlib import Path

from rtflow.bids_apps.descriptor import Descriptor, read_descriptor
from rtflow.errors import UsageError
from rtflow.setting_types import suggestion

SHIPPED = Path(__file__).parent / "apps"


def app_files() -> dict[str, Path]:
    """Files of apps by name; one in the current folder stands before one that comes with rtflow."""
    found: dict[str, Path] = {}
    for folder in (Path("apps"), SHIPPED):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find_app(name: str) -> Descriptor:
    """The app of that name, or of that file.

    Raises
    ------
    UsageError
        If there is none.
    SettingsError
        If its file makes no sense.
    """
    if name.endswith(".toml"):
        return read_descriptor(Path(name))
    files = app_files()
    if name not in files:
        way = suggestion(name, files) if files else "there is none yet"
        raise UsageError(f"no app {name!r} in apps/; {way}; 'rtflow bids-app wrap IMAGE' makes its file")
    return read_descriptor(files[name])
