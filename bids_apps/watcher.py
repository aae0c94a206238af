"""Starts an app's command in its own place, and leaves a watcher that ends the app if rtflow is killed.

``python watcher.py LIFELINE RUNTIME NAME COMMAND...``, where LIFELINE is a pipe whose other end rtflow
holds. NAME is that of a container, which is started in a folder of its own; empty for an app without one.
A container outlives the command that started it, and an app that hangs does not see its stdin
closed. So the watcher, which no signal to rtflow or to the app reaches, waits for the pipe: a byte says
that rtflow has ended the app, the pipe's end that rtflow is gone. Then the command is killed, with all
of its session, and the container removed.

This file is run by itself, before everything else of rtflow, and knows the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_LIMIT = 120.0  # seconds in which the watcher tries


def removed(runtime: str, name: str, seconds: float, times: int = 1) -> str:
    """Remove a container, whether it runs or has ended.

    Parameters
    ----------
    runtime
        Its program, ``podman`` or ``docker``.
    name
        Of the container; one that is not there is gone.
    seconds
        In which to try.
    times
        How often it must have been gone: one that is being started may come later.

    Returns
    -------
    str
        Empty when it is gone, else why not.
    """
    give_up = time.monotonic() + seconds
    gone = 0
    while True:
        _, why = _call(runtime, *removal(runtime, name))
        status, said = _call(runtime, "container", "inspect", name)
        # One that does not answer says nothing.
        gone = gone + 1 if status and "no such" in said.lower() else 0
        if gone == times:
            return ""
        if time.monotonic() > give_up:
            return why or said or "it is there again and again"
        time.sleep(0.2)


def removal(runtime: str, name: str) -> tuple[str, ...]:
    """The arguments that remove a container at once."""
    return ("rm", "--force", *(("--time=0",) if runtime == "podman" else ()), name)


def _call(*argv: str) -> tuple[int, str]:
    """Exit status of a command, and what it said on stderr."""
    import subprocess  # not at the start, which every app waits for

    try:
        # In a session of its own: Ctrl-C at the terminal must not hit what removes a container.
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        return 127, error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return 124, f"{argv[0]} did not answer in 60 s"
    return done.returncode, done.stderr.decode(errors="replace").strip()


def _clear(aside: str) -> None:
    """Remove a container's own folder, with what its monitor notes there when memory runs out."""
    from pathlib import Path  # not at the start either

    with contextlib.suppress(OSError):
        (Path(aside) / "oom").unlink(missing_ok=True)
        Path(aside).rmdir()


def _watch(lifeline: int, app: int, runtime: str, name: str) -> None:
    """Wait until rtflow has ended the app, or is gone."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # By this, not by its number alone: that may be another process's when the app has ended.
    there = os.pidfd_open(app) if hasattr(os, "pidfd_open") else None
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # whoever reads what the app says sees its end
        os.dup2(nothing, stream)
    os.chdir("/")
    if os.read(lifeline, 1):
        return
    if there is None or not select.select([there], [], [], 0)[0]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(app, signal.SIGKILL)
    if name:
        removed(runtime, name, _LIMIT, times=3)


def main() -> None:
    """Become the command."""
    lifeline, runtime, name, *command = sys.argv[1:]
    os.set_inheritable(int(lifeline), False)
    app, aside = os.getpid(), os.getcwd()  # noqa: PTH109
    if os.fork() == 0:
        # A grandchild: the app is not to find a child that it did not make.
        if os.fork() == 0:
            _watch(int(lifeline), app, runtime, name)
            if name:
                _clear(aside)
        os._exit(0)
    os.wait()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    main()
