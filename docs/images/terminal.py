"""Draw a terminal as it really looks: runs a command in tmux, and saves what stands on the screen as SVG.

    python docs/images/terminal.py OUT.svg SECONDS COMMAND...

SECONDS is when to look; ``end`` waits until the command has ended. Needs tmux, and rich.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
import uuid
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 100, 34


def tmux(*words: str) -> str:
    """Run one command of tmux on a server of our own."""
    return subprocess.run(["tmux", "-L", SERVER, *words], check=True, capture_output=True, text=True).stdout


SERVER = f"rtflow-{uuid.uuid4().hex[:8]}"


def main(out: Path, when: str, command: list[str]) -> None:
    """Run the command, look, draw."""
    shown = shlex.join(command)
    prompt = f"printf '\\033[1m$ %s\\033[0m\\n' {shlex.quote(shown)}"
    line = f"{prompt}; {shown}; tmux wait-for -S ended; sleep 600"
    tmux("new-session", "-d", "-s", "picture", "-x", str(WIDTH), "-y", str(HEIGHT), "sh", "-c", line)
    try:
        if when == "end":
            tmux("wait-for", "ended")
        else:
            time.sleep(float(when))
        screen = tmux("capture-pane", "-e", "-p", "-N", "-t", "picture").rstrip("\n")
    finally:
        tmux("kill-server")
    with Path("/dev/null").open("w") as nowhere:
        console = Console(
            record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        console.print(Text.from_ansi(screen))
    picture = console.export_svg(title=shown)
    # No font from another host: the reader's own monospace does.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    out.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
