"""Images of regions that a workflow cannot do without."""

from __future__ import annotations

from pathlib import Path

from rtflow.errors import SettingsError


def require_regions(**files: str) -> None:
    """Refuse a run in which the image of a region is missing.

    Parameters
    ----------
    files
        Name of each setting, and the file that it names.

    Raises
    ------
    SettingsError
        Naming the first one without a file.

    Examples
    --------
    >>> require_regions(first=__file__, second="")
    Traceback (most recent call last):
    rtflow.errors.SettingsError: second should be the image of a region on the grid of the series, ...
    """
    for name, file in files.items():
        if not file or not Path(file).is_file():
            got = f"{file}, which is no file" if file else "nothing"
            given = " ".join(f"--set {each}={each.upper()}.nii" for each in files)
            raise SettingsError(
                f"{name} should be the image of a region on the grid of the series, got {got}; give "
                f"{given}, or {' and '.join(files)} in the TOML file"
            )
