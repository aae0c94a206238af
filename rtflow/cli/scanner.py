"""``rtflow scanner``: the agent on the scanner's host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options
from rtflow.cli.deidentify import Dates, DatesOption, Descriptions, DescriptionsOption
from rtflow.errors import UsageError

if TYPE_CHECKING:
    from rtflow.agents.protection import Protection
    from rtflow.source_settings import AnySource

EXAMPLES = (
    "Examples: [cyan]rtflow scanner --server wss://console.lan:8443 --watch /data/incoming[/cyan], "
    "[cyan]rtflow scanner --server wss://console.lan:8443 --listen-dicom 0.0.0.0:11112[/cyan], "
    "[cyan]rtflow scanner --server wss://console.lan:8443 --source 'bids:/data/set?subject=01'[/cyan]"
)


def command(
    server: options.Server,
    watch: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Send DICOM files that are written here, or below, during a run."),
    ] = None,
    pattern: Annotated[
        str, typer.Option(metavar="GLOB", help="Which file names to look at, where the run does not say.")
    ] = "*",
    listen_dicom: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Send what the scanner sends here (C-STORE) during a run."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="Send the volumes of another source, such as bids:DIR: a replay service."
        ),
    ] = None,
    allow: Annotated[
        str,
        typer.Option(
            metavar="DIR,...", help="Folders whose files the server may list and fetch, with all below them."
        ),
    ] = "",
    types: Annotated[
        str, typer.Option(metavar=".END,...", help="Only files whose names end so; * for any.")
    ] = ".dcm,.ima,.nii,.nii.gz,.json,.tsv,.txt",
    write: Annotated[
        bool, typer.Option("--write", help="The server may write files of these types there, too.")
    ] = False,
    service: options.Service = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the run calls this agent: agent:NAME.")
    ] = "scanner",
    state: options.State = None,
    token_file: options.TokenFile = None,
    credentials: options.Credentials = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The site's secret key for new UIDs; default site.key in --state, made if missing.",
        ),
    ] = None,
    dates: DatesOption = Dates.kept,
    descriptions: DescriptionsOption = Descriptions.cleaned,
    identified: Annotated[
        bool,
        typer.Option(
            "--identified",
            help="Send everything as it is: names, birth dates and numbers of patients then stand on the "
            "analysis host, in its journal and in its logs. Without it no DICOM object leaves "
            "with them; names of files and folders, and files that are not DICOM, are sent as they are.",
        ),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Send what the scanner writes to a run on the analysis host, and serve files to it.

    The agent connects outwards, for as long as it takes, and sends during a run only: files that were there
    before belong to no run. What the server did not confirm is sent again, after a crash of either side too.
    """
    import asyncio

    from rtflow.agents.allowed import Allowed
    from rtflow.agents.place import find_place
    from rtflow.agents.scanner import ScannerAgent
    from rtflow.agents.services import load_services
    from rtflow.agents.state import State, usual_folder
    from rtflow.cli.agents import Terminal
    from rtflow.cli.interrupt import on_interrupt

    services = load_services(service or [])
    folders = [Path(one).expanduser() for one in allow.split(",") if one]
    files = Allowed(folders, [one for one in types.split(",") if one], write=write)
    taken = _source(watch, pattern, listen_dicom, source)
    kept = State((state or usual_folder("scanner", name)).absolute())
    place = find_place(server, "scanner", name, kept.instance, token_file=token_file, credentials=credentials)
    if taken is None and not folders and not services:
        raise UsageError(
            "there is nothing to send and nothing to serve; give --watch DIR, --listen-dicom HOST:PORT or "
            "--source URI to send volumes, --allow DIR or --service MODULE:CLASS to serve files or methods"
        )
    protection = _protection(key or kept.folder / "site.key", dates, descriptions, identified=identified)

    async def serve() -> None:
        with Terminal(quiet=quiet) as terminal:
            agent = ScannerAgent(taken, kept, protection, terminal.tell, files=files, services=services)
            terminal.show(lambda: agent.standing)
            with on_interrupt(agent.end):
                await agent.serve(place)

    asyncio.run(serve())


def _source(
    watch: Path | None, pattern: str, listen_dicom: str | None, source: str | None
) -> AnySource | None:
    from rtflow.source_settings import FolderSource
    from rtflow.source_uri import parse_source

    given = [one for one in (watch, listen_dicom, source) if one is not None]
    if len(given) > 1:
        raise UsageError("--watch, --listen-dicom and --source are three ways; give one of them")
    if watch is not None:
        return FolderSource(path=str(watch), pattern=pattern)
    if listen_dicom is not None:
        return parse_source(f"dicom://{listen_dicom}")
    return parse_source(source) if source is not None else None


def _protection(key: Path, dates: Dates, descriptions: Descriptions, *, identified: bool) -> Protection:
    from rtflow.agents.protection import Protection
    from rtflow.dicom.deidentifying.site_key import site_key

    if identified:
        return Protection(None)
    secret, made = site_key(key)
    if made:
        typer.echo(f"made a new key, {key}: keep it, and keep it here", err=True)
    return Protection(
        secret,
        dates="moved" if dates is Dates.moved else "kept",
        descriptions="removed" if descriptions is Descriptions.removed else "cleaned",
    )
