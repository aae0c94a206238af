"""The table of a session's runs, ``runs.tsv``: which series became which run, and how each ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rtflow.errors import OutputError
from rtflow.whole_file import write_whole


def list_run(folder: Path, row: Mapping[str, object]) -> None:
    """Add a row to the session's table of runs, ``runs.tsv``.

    Parameters
    ----------
    folder
        Of the session; made if it is missing.
    row
        Column to value; the same columns for every run.

    Raises
    ------
    OutputError
        If the table cannot be written.
    """
    path = folder / "runs.tsv"
    line = "\t".join(str(value) for value in row.values()) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = listed_runs(folder)
        if earlier and list(earlier[0]) != list(row):  # of a version that had other columns
            columns = [*row, *(name for name in earlier[0] if name not in row)]
            rows = [*earlier, {name: str(value) for name, value in row.items()}]
            lines = [columns, *([one.get(name, "n/a") for name in columns] for one in rows)]
            write_whole(path, "".join("\t".join(cells) + "\n" for cells in lines).encode())
            return
        if not earlier:
            line = "\t".join(row) + "\n" + line
            path.unlink(missing_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise OutputError(
            f"table of runs {path}: {error.strerror or error}; choose a folder that can be written"
        ) from None


def listed_runs(folder: Path) -> list[dict[str, str]]:
    """The rows of the session's table of runs, by their columns; none if there is no table."""
    try:
        lines = (folder / "runs.tsv").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    columns = lines[0].split("\t") if lines else []
    return [dict(zip(columns, line.split("\t"), strict=False)) for line in lines[1:]]
