"""The browser that pages are measured, tested and photographed with: the system's Chromium."""

from __future__ import annotations

import shutil

from rtflow.errors import UsageError

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without these, Chromium speaks to its makers' hosts on its own."""


def find_chromium() -> str:
    """The program of the browser.

    Raises
    ------
    UsageError
        If there is none.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise UsageError("this needs Chromium; on Debian: apt-get install chromium (as root)")
    return program
