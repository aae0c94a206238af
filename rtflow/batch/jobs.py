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
from rtflow.whole_file import put_whole

CONFIG = "batch.json"
SNAKEFILE = "Snakefile"
MADE_BY = "made-by.txt"
_FLAGS = ("subject", "session", "task", "run", "acquisition", "direction", "reconstruction")
_NAME = re.compile(r"[A-Za-z0-9_+-]+")

# Paths are from the folder of the batch, so that it can be moved together with what it holds.
_RULES = """# Made by `rtflow batch`. It can be run by hand, in this folder: snakemake --cores 2 --keep-going
# One job a run of the data set; what a job does stands in batch.json. A run that failed is done again, as is
# one whose command has changed, or what stands in the files of its workflow and settings.
#
# A folder "out" with a result.json is whole, and says in made-by.txt what it is of. While a job is at work
# one that is whole stands aside as "kept"; it comes back if the job fails or is cut off.

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
        r'''
        here=runs/{wildcards.name}
        if [ -e $here/kept ]; then
            if [ -e $here/out/result.json ]; then rm -rf $here/kept
            else rm -rf $here/out; mv $here/kept $here/out; fi
        fi
        rm -rf $here/failed {output}.part
        printf '%s\n' {params.command:q} {params.contents:q} > $here/made-by.txt
        if [ -e $here/out/result.json ]; then
            if [ "$(cat $here/out/made-by.txt)" = "$(cat $here/made-by.txt)" ]; then
                cp $here/out/result.json {output}
                exit 0
            fi
            mv $here/out $here/kept
        fi
        rm -rf $here/out
        if {params.command} --out $here/out > {output}.part 2> {log}; then
            cp $here/made-by.txt $here/out/made-by.txt
            cp {output}.part $here/out/result.json.part
            mv $here/out/result.json.part $here/out/result.json
            mv {output}.part {output}
            rm -rf $here/kept
        else
            status=$?
            if [ -e $here/out ]; then mv $here/out $here/failed; fi
            if [ -e $here/kept ]; then mv $here/kept $here/out; fi
            exit $status
        fi
        '''


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


def whole_results(place: Path) -> Path | None:
    """Where in the folder of a run the results lie that came to their end last, whatever they are of."""
    for name in ("out", "kept"):
        if (place / name / "result.json").is_file():
            return place / name
    return None


def results_of(folder: Path, batch: Batch, name: str) -> Path | None:
    """Where the results of a run lie that are of its present command; None if it is to be done."""
    whole = whole_results(folder / "runs" / name)
    if whole is None:
        return None
    try:
        told = (whole / MADE_BY).read_text(encoding="utf-8")
    except OSError:
        return None
    return whole if told == made_by(batch, name) else None


def planned(
    folder: Path,
    jobs: Sequence[Job],
    data: str,
    workflow: str,
    options: Sequence[str] = (),
    files: Sequence[str] = (),
    *,
    some: bool = False,
) -> Batch:
    """What a batch of these runs is in a folder; nothing is written.

    Parameters
    ----------
    folder
        Of the batch, which need not be there.
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
    some
        Whether the jobs are a choice: the other runs that the folder has stay in the batch. They have the
        same workflow and options, as all of a batch, and are to be done again where these have changed.

    Raises
    ------
    UsageError
        If two runs have one name, or what is in the folder cannot be read.
    OutputError
        If the folder is of a batch of another data set.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
        raise UsageError(f"the runs {', '.join(names)} cannot be told apart by their names")
    others: list[Job] = []
    if (folder / CONFIG).exists():
        before = read_batch(folder)
        if before.data != data:
            raise OutputError(
                f"{folder} is a batch of {before.data}, not of {data}; choose another folder by --out"
            )
        if some:
            others = [Job(name, before.entities[name]) for name in before.runs if name not in names]
    every = sorted([*jobs, *others], key=lambda job: job.name)
    return Batch(
        data,
        workflow,
        shlex.join([sys.executable, "-m", "rtflow", "batch", "--table", "."]),
        list(files),
        {job.name: command_of(job, data, workflow, options) for job in every},
        {job.name: dict(job.entities) for job in every},
    )


def write_batch(folder: Path, batch: Batch) -> None:
    """Write what Snakemake reads into a folder, which is made if it is not there.

    What has been done in the folder stays; a run is done again if its command has changed, or what stands in
    the batch's ``files``.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    config = msgspec.json.format(msgspec.json.encode(batch), indent=2).decode() + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((SNAKEFILE, _RULES), (CONFIG, config)):
            if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
                put_whole(folder / name, text.encode())
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
