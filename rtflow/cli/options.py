"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from rtflow.settings import RunSettings
    from rtflow.workflow_file import WorkflowFile


def complete_workflow(incomplete: str) -> list[str]:
    """Workflows that come with rtflow, Python files and folders that begin so, for the shell's completion."""
    from rtflow.cli.shipped import shipped_workflows

    above = incomplete[: incomplete.rfind("/") + 1]
    there = sorted(Path(above or ".").glob("[!.]*"))
    folders = [f"{above}{path.name}/" for path in there if path.is_dir()]
    files = [f"{above}{path.name}" for path in there if path.suffix == ".py"]
    return [one for one in [*shipped_workflows(), *folders, *files] if one.startswith(incomplete)]


WORKFLOW = typer.Argument(
    help="A Python file with build(settings), or the name of a workflow that comes with rtflow.",
    autocompletion=complete_workflow,
)
Config = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE.toml",
        help="Settings, in place of the TOML of the same name beside WORKFLOW: what FILE leaves out "
        "has the default of the code, not the value of that TOML.",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Where volumes come from, such as folder:DIR or simulate:?tr=1. Default: the settings'.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as source.tr=1.5; may be repeated."),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="1|N|max",
        help="How many times faster than the scanner; [bold]max[/bold] does not wait at all.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where everything is written.")]
OUT = Path("rtflow-out")
Session = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="References, masks and models of the session; default OUT/session."),
]
DicomFolder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Where the DICOM files are, under any names, in folders below too."),
]
Endpoint = Annotated[
    str,
    typer.Option(metavar="URL", help="Another S3 server; default AWS_ENDPOINT_URL_S3, else OpenNeuro's own."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors, and what was asked for.")
]

# Of the agents' commands.
Server = Annotated[str, typer.Option(metavar="wss://HOST:PORT", help="The analysis host's rtflow.")]
Service = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:CLASS",
        help="Nodes may call the public, typed methods of this class; may be repeated.",
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="What is kept from start to start; default scanner-NAME or subject-NAME in ~/.rtflow, or in "
        "$XDG_STATE_HOME/rtflow where that is set.",
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds the token that the server knows this agent by.")
]
Credentials = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="What enrolling left. Default: in the folder of the settings."),
]


def settings_file(workflow: WorkflowFile, config: Path | None) -> Path | None:
    """The TOML file of a workflow: the one that was given, or the one beside it, if there is one."""
    beside = workflow.path.with_suffix(".toml")
    return config or (beside if beside.is_file() else None)


def settings_for(
    workflow: WorkflowFile,
    config: Path | None,
    source: str | None,
    settings: list[str] | None,
    speed: str | None = None,
) -> RunSettings:
    """The settings that a command was given for a workflow.

    A source comes first, so that ``--set source.NAME=VALUE`` refines it.

    Raises
    ------
    SettingsError
        If there is a mistake in them, told by the option that it stands in.
    """
    from rtflow.settings import load_settings

    as_typed = {f"source={source}": f"--source {source}"} if source is not None else {}
    paced = {f"source.speed={speed}": f"--speed {speed}"} if speed is not None else {}
    overrides = [*as_typed, *(settings or []), *paced]
    try:
        return load_settings(workflow.settings_type, settings_file(workflow, config), overrides)
    except SettingsError as error:
        message = str(error)
        for override, typed in (as_typed | paced).items():
            message = message.replace(f"--set {override}: ", f"{typed}: ", 1)
        raise SettingsError(message) from None


def recorded_run(run_dir: Path) -> Path:
    """The folder, if a run was recorded in it.

    Raises
    ------
    UsageError
        If none was.
    """
    if not (run_dir / "journal").is_dir():
        raise UsageError(
            f"{run_dir} {'holds no run' if run_dir.is_dir() else 'does not exist'}; "
            "give the folder of a run, such as rtflow-out/runs/RUN_UID"
        )
    return run_dir
