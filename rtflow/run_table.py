"""The table of a session's runs, ``runs.tsv``: which series became which run, and how each ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rtflow.errors import JournalError, OutputError, UsageError
from rtflow.items import SUFFIX, maker_of
from rtflow.journal import Recording
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


def require_subject(folder: Path, subject: str) -> None:
    """Refuse a session whose items another participant's runs have left: they would be used, and replaced.

    Parameters
    ----------
    folder
        Of the session.
    subject
        BIDS label of the participant of the run that is to begin.

    Raises
    ------
    UsageError
        If there is an item of a run that the session's table says was of somebody else.
    """
    subjects = {row.get("run_uid", ""): row.get("subject", "n/a") for row in listed_runs(folder)}
    others: dict[str, list[str]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")) if set(subjects.values()) - {subject} else ():
        maker = subjects.get(maker_of(path), "n/a")  # of an item from elsewhere nothing is known
        if maker not in (subject, "n/a"):
            others.setdefault(maker, []).append(path.stem)
    for other, names in others.items():
        raise UsageError(
            f"session {folder} holds {', '.join(names)} of subject {other}, and this run is of subject "
            f"{subject} (bids.subject): take another session for each participant: start rtflow "
            "(run, or serve) again with --session DIR or another --out"
        )


def require_recorded_subject(run_dir: Path, subject: str) -> None:
    """Refuse a recorded run of one participant as the source of another one's run.

    What comes of it would stand in the data set, and in the session, under the wrong name. A replay cannot go
    wrong there: it takes the recorded settings.

    Parameters
    ----------
    run_dir
        Folder of the recorded run.
    subject
        BIDS label of the participant of the run that is to begin.

    Raises
    ------
    UsageError
        If it was recorded of somebody else.
    """
    try:
        bids = Recording(run_dir).start.settings.get("bids", {})
    except JournalError:
        return  # which the source says
    recorded = str(bids.get("subject", subject))
    if recorded != subject:
        raise UsageError(
            f"source {run_dir} is a run of subject {recorded}, and this run is of subject {subject} "
            f"(bids.subject): give --subject {recorded}, or take 'rtflow replay'"
        )
