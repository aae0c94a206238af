"""Pages of documentation, taken apart: blocks of code, what they print, links, commands that they name."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_INDENTED = re.compile(r"(?:^ {4}\S.*\n?)+", re.MULTILINE)
_ENDS = re.compile(r"[;|&]+")  # a command; ``>&`` and the like do not
_FILE_NAME = re.compile(r"# (\S+\.py)\n")

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "containers/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

# What differs from run to run and from machine to machine, and what stands for it in a comparison.
_VARYING = (
    (re.compile(r"/\S*?/(?=rtflow-out|sub-\d)"), ""),  # the folder of whoever tried it
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}"), "RUN_UID"),
    (re.compile(r"[+\-−]?\d+(\.\d+)?(e[+-]?\d+)?"), "#"),
    (re.compile(r"\s+"), " "),
    # Told from the first one on, and rounding decides which volume that is.
    (re.compile(r", # suspect(?=, latency)"), ""),
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Parameters
    ----------
    language
        What stands behind the opening fence.
    text
        What is between the fences.
    line
        Line of the page that it begins at.
    shown
        The block of text that follows at once: what it prints; empty if none does.
    """

    language: str
    text: str
    line: int
    shown: str = ""

    @property
    def file_name(self) -> str:
        """The file that the reader is to write it to, named in its first line; empty if none is."""
        found = _FILE_NAME.match(self.text)
        return found.group(1) if found else ""


class Page:
    """A page in Markdown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    def blocks(self) -> Iterator[Block]:
        """Blocks of code in their order, each with what it prints."""
        found = list(_FENCE.finditer(self.text))
        for block, after in itertools.zip_longest(found, found[1:]):
            follows = after is not None and not self.text[block.end() : after.start()].strip()
            shown = after.group(2) if after is not None and follows and after.group(1) == "text" else ""
            line = self.text.count("\n", 0, block.start()) + 1
            yield Block(block.group(1), block.group(2), line, shown)

    def links(self) -> list[str]:
        """Targets of links and images."""
        return _LINK.findall(_FENCE.sub("", self.text))

    def anchors(self) -> set[str]:
        """What a link can point to behind a ``#``, as GitHub makes it of the headings."""
        headings = _HEADING.findall(_FENCE.sub("", self.text))
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def spans(self) -> list[str]:
        """Pieces of code in the text."""
        # A command may be broken between two lines of the text.
        return _SPAN.findall(re.sub(r"(`[^`\n]*)\n([^`\n]*`)", r"\1 \2", _FENCE.sub("", self.text)))

    def typed(self) -> list[str]:
        """Lines that the reader is to type into a shell, here or on another machine."""
        blocks = [block.text for block in self.blocks() if block.language in ("sh", "bash")]
        indented = _INDENTED.findall(_FENCE.sub("", self.text))
        blocks += [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in indented]
        return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]

    def typed_commands(self) -> Iterator[list[str]]:
        """Every command of rtflow that is to be typed, word by word; those in a container, too."""
        for line in self.typed():
            if re.search("rtflow|localhost/|compose", line):
                yield from filter(None, map(_of_rtflow, _commands(line)))

    def named_commands(self) -> Iterator[list[str]]:
        """Every command of rtflow that the text names, perhaps not all of it, word by word."""
        for span in self.spans():
            words = shlex.split(span.partition(" || ")[0].partition(" | ")[0], comments=True)
            if len(words) > 1 and Path(words[0]).name == "rtflow":
                yield words[1:]


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of a line of shell, without what they are redirected to and their variables."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if _ENDS.fullmatch(word):
            yield words
            words, redirected = [], False
        elif set(word) <= set("<>&"):
            redirected = True
        elif not redirected and (words or not re.match(r"\w+=", word)):
            words.append(word)


def _of_rtflow(words: list[str]) -> list[str]:
    """What rtflow is given; empty if it is another command, or rtflow by itself."""
    if words and Path(words[0]).name == "rtflow":
        return words[1:]
    if not words or words[0] not in ("podman", "docker") or "run" not in words:
        return []
    rest = words[words.index("run") + 1 :]
    # A service of compose.yaml is the first word that is no option; of podman's options some have a value.
    inside = (lambda word: word[0] != "-") if "compose" in words else (lambda word: "localhost/" in word)
    return list(itertools.dropwhile(lambda word: not inside(word), rest))[1:]


def alike(line: str) -> str:
    """A line of output without what differs from run to run: numbers, names of runs, folders, spaces."""
    for pattern, replacement in _VARYING:
        line = pattern.sub(replacement, line)
    return line.strip()


def not_printed(shown: str, printed: str) -> list[str]:
    """Lines that are shown and were not printed, in that order; ``...`` stands for any lines."""
    rest = iter([alike(line) for line in printed.splitlines()])
    lines = [alike(line) for line in shown.splitlines() if line.strip() not in ("", "...")]
    return [line for line in lines if line not in rest]
