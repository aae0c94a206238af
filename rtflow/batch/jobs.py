"""The folder of a batch: one job a run, as files that Snakemake reads and that can be run by hand."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from rtflow.errors import OutputError, UsageError

CONFIG = "batch.json"
SNAKEFILE = "Snakefile"
_FLAGS = ("subject", "session", "task", "run", "acquisition", "direction", "reconstruction")
_NAME = re.compile(r"[A-Za-z0-9_+-]+")

# Paths are from the folder of the batch, so that it can be moved together with what it holds.
_RULES = """# Made by `rtflow batch`. It can be run by hand, in this folder: snakemake --cores 2 --keep-going
# One job a run of the data set; what a job does stands in batch.json. A run that failed is done again, as is
# one whose command has changed, or what stands in the files of its workflow and settings.

from hashlib import sha256
from pathlib import Path


configfile: "batch.json"


def contents():
    files = [Path(file) for file in config["files"]]
    sums = [sha256(file.read_bytes()).hexdigest() if file.is_file() else "none" for file in files]
    return " ".join(["sha256", *sums])


rule all:
    input:
        expand("runs/{name}/result.json", name=sorted(config["runs"])),


rule run:
    output:
        "runs/{name}/result.json",
    params:
        command=lambda wildcards: config["runs"][wildcards.name],
        contents=lambda wildcards: contents(),
    log:
        "runs/{name}/log.txt",
    shell:
        "rm -rf runs/{wildcards.name}/out && "
        "printf '%s\\n' {params.command:q} {params.contents:q} > runs/{wildcards.name}/made-by.txt && "
        "{params.command} --out runs/{wildcards.name}/out > {output}.part 2> {log} && "
        "mv {output}.part {output}"


onsuccess:
    shell(config["table"])


onerror:
    shell(config["table"])
"""


@dataclass(frozen=True)
class Job:
    """One run of the data set.

    Parameters
    ----------
    name
        What the run is called: its entities, as in the names of its files.
    entities
        BIDS entities by their long names.
    """

    name: str
    entities: Mapping[str, str]


class Batch(msgspec.Struct, frozen=True):
    """What stands in ``batch.json``.

    Parameters
    ----------
    data
        The data set.
    workflow
        The workflow.
    table
        The command that makes the table of all runs, in the folder of the batch.
    files
        Those that a change of what stands in them makes all runs to be done again: workflow and settings.
    runs
        Name of each run to the command that replays it, without its ``--out``.
    entities
        Name of each run to its BIDS entities.
    """

    data: str
    workflow: str
    table: str
    files: list[str]
    runs: dict[str, str]
    entities: dict[str, dict[str, str]]


def command_of(job: Job, data: str, workflow: str, options: Sequence[str]) -> str:
    """The command that replays a run, without its ``--out``.

    >>> job = Job("sub-01_task-a", {"subject": "01", "task": "a"})
    >>> command_of(job, "/data/set", "mine.py", []).partition(" -m ")[2]
    'rtflow replay /data/set --subject 01 --task a -w mine.py --speed max --json --quiet'
    """
    chosen = [word for name in _FLAGS if (label := job.entities.get(name)) for word in (f"--{name}", label)]
    words = [sys.executable, "-m", "rtflow", "replay", data, *chosen, "-w", workflow, "--speed", "max"]
    return shlex.join([*words, *options, "--json", "--quiet"])


def made_by(batch: Batch, name: str) -> str:
    """What a run leaves in its folder to say what it was done with; as the Snakefile writes it."""
    files = map(Path, batch.files)
    sums = [sha256(file.read_bytes()).hexdigest() if file.is_file() else "none" for file in files]
    return f"{batch.runs[name]}\n{' '.join(['sha256', *sums])}\n"


def write_batch(
    folder: Path,
    jobs: Sequence[Job],
    data: str,
    workflow: str,
    options: Sequence[str] = (),
    files: Sequence[str] = (),
) -> None:
    """Write what Snakemake reads into a folder.

    What has been done in the folder stays; a run is done again if its command has changed, or what stands in
    ``files``.

    Parameters
    ----------
    folder
        Of the batch; made if it is not there.
    jobs
        One for each run.
    data
        The data set: an absolute path, or what OpenNeuro calls it.
    workflow
        An absolute path, or the name of a workflow that comes with rtflow.
    options
        More words for each command.
    files
        Absolute paths of the workflow and of its settings, which need not be there.

    Raises
    ------
    UsageError
        If two runs have one name.
    OutputError
        If the folder cannot be written, or is of a batch of another data set.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
        raise UsageError(f"the runs {', '.join(names)} cannot be told apart by their names")
    batch = Batch(
        data,
        workflow,
        shlex.join([sys.executable, "-m", "rtflow", "batch", "--table", "."]),
        list(files),
        {job.name: command_of(job, data, workflow, options) for job in jobs},
        {job.name: dict(job.entities) for job in jobs},
    )
    config = msgspec.json.format(msgspec.json.encode(batch), indent=2).decode() + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG).exists() and (before := read_batch(folder).data) != data:
            raise OutputError(
                f"{folder} is a batch of {before}, not of {data}; choose another folder by --out"
            )
        for name, text in ((SNAKEFILE, _RULES), (CONFIG, config)):
            if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
                (folder / f".{name}.partial").write_text(text, encoding="utf-8")
                (folder / f".{name}.partial").replace(folder / name)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror or error}; choose another folder by --out") from None


def read_batch(folder: Path) -> Batch:
    """What `write_batch` wrote.

    Raises
    ------
    UsageError
        If there is no batch in the folder.
    """
    try:
        return msgspec.json.decode((folder / CONFIG).read_bytes(), type=Batch)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{folder} holds no batch ({error}); give the folder of one") from None
