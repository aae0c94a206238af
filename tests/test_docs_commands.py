"""What the pages tell to type exists: commands, options and arguments, also where none of it is run."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pages import PAGES, ROOT, Page

from rtflow.cli import bench
from rtflow.cli.main import app

#: Options of podman and docker that the pages speak of.
OF_OTHERS = {"--build-arg", "--change", "--format"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@functools.cache
def options() -> dict[str, set[str]]:
    """Each command's options, as its help tells them; of the bare command under the empty name.

    Of a command with commands below it, such as ``user``, also under ``user add``.
    """

    def told(*command: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "rtflow", *command, "--help"],
            env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def found(text: str) -> set[str]:
        return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))

    def below(*command: str) -> dict[str, set[str]]:
        text = told(*command)
        names = re.findall(r"^│ ([a-z-]+) ", text.partition("─ Commands ─")[2], re.MULTILINE)
        deeper = [below(*command, name) for name in names]
        return {
            " ".join(command): found(text),
            **{key: value for one in deeper for key, value in one.items()},
        }

    return below()


def test_the_help_was_read() -> None:
    assert {"run", "replay", "new", "graph", "bench"} <= set(options())
    assert {"--source", "--set", "-c", "--resume"} <= options()["run"]
    assert "--source" not in options()["new"]
    assert {"--role", "--password-file"} <= options()["user add"]


def refused(words: list[str]) -> str:
    """Why the command line does not understand that; empty if it does."""
    command, rest = typer.main.get_command(app), list(words)
    if rest[0].startswith("-"):
        return "" if rest[0].partition("=")[0] in options()[""] else f"there is no option {rest[0]}"
    while hasattr(command, "commands"):
        name = rest.pop(0) if rest else ""
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    try:
        command.make_context("rtflow", rest)
    except typer.Exit:  # --help
        return ""
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("""
    rtflow run template --nothing

```bash
A=1 rtflow serve >log 2>&1 && .venv/bin/rtflow run mine.py \\
    --source 'a:b?c=1&d=2' | rtflow nothing & rtflow user ad
podman run --tmpfs /tmp localhost/mine serve x --listen 0.0.0.0:1 --plan
docker compose -f compose.yaml run --rm scanner enrol
podman build --tag localhost/rtflow .
```
""")
    commands = list(Page(page).typed_commands())
    assert commands == [
        ["serve"],
        ["run", "mine.py", "--source", "a:b?c=1&d=2"],
        ["nothing"],
        ["user", "ad"],
        ["serve", "x", "--listen", "0.0.0.0:1", "--plan"],
        ["enrol"],
        ["run", "template", "--nothing"],
    ]
    told = [refused(words) for words in commands]
    assert [bool(why) for why in told] == [True, False, True, True, True, True, True], told


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_what_is_typed_is_understood(path: Path) -> None:
    for words in Page(path).typed_commands():
        assert not refused(words), f"rtflow {' '.join(words)}: {refused(words)}"
        if words[0] == "bench":
            assert words[1] in bench.names(), words


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_commands_and_options_exist(path: Path) -> None:
    page = Page(path)
    for words in page.named_commands():
        command = words[0] if not words[0].startswith("-") else ""
        if len(words) > 1 and any(one.startswith(f"{command} ") for one in options()):
            command = " ".join(words[:2])
        assert command in options(), words
        for word in words:
            if word.startswith("-"):
                assert word.partition("=")[0] in options()[command], words
        if command == "bench":
            assert words[1] in bench.names(), words
    known = OF_OTHERS.union(*options().values())
    for span in page.spans():
        if span.startswith("--"):
            assert span.split()[0].partition("=")[0] in known, span


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked: set[str] = set()
    for path in PAGES:
        page = Page(path)
        asked |= {line.split()[1] for line in [*page.typed(), *page.spans()] if re.match(r"make [a-z]", line)}
    assert {"run", "test"} <= asked <= targets
