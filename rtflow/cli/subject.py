"""``rtflow subject``: the agent on the subject's host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtflow.cli import options

if TYPE_CHECKING:
    from rtflow.agents.subject import SubjectAgent

EXAMPLES = (
    "Examples: [cyan]rtflow subject --server wss://console.lan:8443 --out feedback[/cyan], "
    "[cyan]rtflow subject --server wss://console.lan:8443 --out feedback --tcp 5555 --lsl[/cyan]"
)


def command(
    server: options.Server,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where values are written: DIR/RUN_UID/volume-0001.json.")
    ],
    tcp: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Values as lines of JSON, to programs on this machine that connect here.",
        ),
    ] = None,
    lsl: Annotated[
        bool, typer.Option("--lsl", help="Values as a stream of the lab streaming layer: rtflow-NAME.")
    ] = False,
    keyboard: Annotated[
        bool,
        typer.Option(
            "--trigger-keyboard",
            help="Lines typed here: an empty one, or 5, is a trigger of the scanner; any other a response.",
        ),
    ] = False,
    service: options.Service = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the workflow calls this display.")
    ] = "subject",
    state: options.State = None,
    token_file: options.TokenFile = None,
    credentials: options.Credentials = None,
    quiet: options.Quiet = False,
) -> None:
    """Give the values of a run on to the participant's display, and tell what comes of them.

    The agent connects outwards, for as long as it takes. Each value is written once, in the order of the
    volumes, also after a lost connection or a crash of either side.
    """
    import asyncio

    from rtflow.agents.lines import Lines, address
    from rtflow.agents.outlets import Files, LabStream, Outlet
    from rtflow.agents.place import find_place
    from rtflow.agents.services import load_services
    from rtflow.agents.state import State, usual_folder
    from rtflow.agents.subject import SubjectAgent
    from rtflow.cli.agents import Terminal
    from rtflow.cli.interrupt import on_interrupt

    services = load_services(service or [])
    host = address(tcp) if tcp is not None else None
    kept = State((state or usual_folder("subject", name)).absolute())
    place = find_place(server, "subject", name, kept.instance, token_file=token_file, credentials=credentials)
    outlets: list[Outlet] = [Files(out.absolute())]
    if lsl:
        outlets.append(LabStream(name))

    async def serve() -> None:
        with Terminal(quiet=quiet) as terminal:
            agent = SubjectAgent(kept.folder, terminal.tell, services=services)
            if host is not None:
                lines = Lines(*host, agent.say, lambda: agent.run_uid, lambda: agent.run_on)
                await lines.open()
                outlets.insert(0, lines)  # nobody waits for the file who need not
                terminal.tell(f"lines of JSON at {lines.host}:{lines.port}")
            terminal.show(lambda: agent.standing)
            if keyboard:
                _listen_to_keyboard(agent)
            with on_interrupt(agent.end):
                await agent.serve(place, outlets)

    asyncio.run(serve())


def _listen_to_keyboard(agent: SubjectAgent) -> None:
    """Tell triggers and responses that are typed; the thread ends with the process, or with what is typed."""
    import sys
    import threading

    from rtflow.agents.keyboard import Typed

    typed = Typed(agent.say_from_anywhere, lambda: agent.run_on)
    threading.Thread(target=typed.read, args=(sys.stdin,), name="keyboard", daemon=True).start()
