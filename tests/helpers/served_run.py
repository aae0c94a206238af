"""A run with a server of its own, as a process; anybody may connect.

``served_run.py PORT OUT [--workflow FILE] SETTING...``, or ``served_run.py PORT --resume RUN_DIR``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import arrivals_workflow
from aiohttp import web

from rtflow.engine import run
from rtflow.errors import RtflowError
from rtflow.rerun import resume
from rtflow.server.thread import Server
from rtflow.settings import load_settings
from rtflow.workflow_file import load_workflow


async def anyone(request: web.Request, kind: str) -> None:
    """Let everybody in."""


def main(port: str, *arguments: str) -> None:
    file = arrivals_workflow.__file__
    if arguments[1] == "--workflow":
        file, arguments = arguments[2], (arguments[0], *arguments[3:])
    try:
        with Server("127.0.0.1", int(port), authorise=anyone) as server:
            if arguments[0] == "--resume":
                stop = resume(Path(arguments[1]), server=server)
            else:
                workflow = load_workflow(Path(file))
                settings = load_settings(workflow.settings_type, None, list(arguments[1:]))
                stop = run(workflow, settings, Path(arguments[0]), server=server)
    except RtflowError as error:
        print(error)
        sys.exit(1)
    print(stop.status, dict(sorted(stop.counts.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
