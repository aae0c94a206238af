"""Help in boxes, as Typer and rich-click draw it, brought into the form in which click writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOP = re.compile(r"\s*[╭┌┏+][─━-] ?(.*?) ?[─━-]*[╮┐┓+]\s*")
_BOTTOM = re.compile(r"\s*[╰└┗+][─━-]+[╯┘┛+]\s*")
_ROW = re.compile(r"\s*[│┃|](.*)[│┃|]\s*")
_CELL = re.compile(r"\S+(?: \S+)*")
_METAVAR = re.compile(r"<[^<>]+>(\.\.\.)?( \[.*\])?|\[.*\]|[A-Z][A-Z0-9_ ]*(\.\.\.)?( \[.*\])?")
_ASIDE = re.compile(r"\s*\[(default: [^\[\]]*|env var: [^\[\]]*|required)\]$")
#: How Typer calls what click calls otherwise.
_OF_TYPER = {
    "str": "TEXT",
    "int": "INTEGER",
    "float": "FLOAT",
    "path": "PATH",
    "file": "FILENAME",
    "bool": "",
    "int range": "INTEGER RANGE",
    "float range": "FLOAT RANGE",
}


def unboxed(text: str) -> str:
    """A help without boxes; what has none stays as it is.

    Behind a metavar that is ``*``, the flag may be repeated.
    """
    lines: list[str] = []
    box: list[str] | None = None
    for line in text.splitlines():
        if box is None and (top := _TOP.fullmatch(line)) and top[1]:
            lines += ["", f"{top[1]}:"]
            box = []
        elif box is not None and _BOTTOM.fullmatch(line):
            lines += _table(box)
            box = None
        elif box is not None and (row := _ROW.fullmatch(line)):
            box.append(row[1].rstrip())
        else:
            lines.append(line)
    return "\n".join([*lines, *(box or [])])


def _table(rows: Sequence[str]) -> list[str]:
    """The rows of a box, an option in each; what is broken into several lines is put together."""
    metavar_at, help_at = _columns(rows)
    found: list[tuple[list[str], str, str, bool]] = []
    for row in rows:
        names = [cell[0] for cell in _CELL.finditer(row[:metavar_at])]
        starred, names = names[:1] == ["*"], [name for name in names if name != "*"]
        metavar, said = row[metavar_at:help_at].strip(), row[help_at:].strip()
        if names:
            # A name that was cut short is none; apps are asked with a terminal wide enough.
            names = [name for name in names if not name.endswith("…")] or [""]
            found.append((names, metavar, said, starred))
        elif found:
            names, first, before, starred = found[-1]
            between = " " if first[-1:] not in "|,[" else ""
            found[-1] = names, (first + between + metavar).strip(), f"{before} {said}".strip(), starred
    return [_line(*one) for one in found if one[0] != [""]]


def _columns(rows: Sequence[str]) -> tuple[int, int]:
    """Where metavars begin, and where help does."""
    first: set[int] = set()
    second: set[int] = set()
    metavars = True
    for row in rows:
        cells = [cell for cell in _CELL.finditer(row) if cell[0] != "*"]
        named = len(cells) and (cells[0][0].startswith("-") or not row.startswith("     "))
        if not named:
            continue
        options = cells[0][0].startswith("-")
        rest = [cell for cell in cells if not cell[0].startswith("-")] if options else cells[1:]
        if rest:
            first.add(rest[0].start())
            metavars = metavars and bool(_METAVAR.fullmatch(rest[0][0]))
            second |= {cell.start() for cell in rest[1:2]}
    longest = max(map(len, rows), default=0)
    if not first:
        return longest, longest
    if len(first) > 1:
        return min(first), max(first)
    start = min(first)
    return (start, min(second, default=longest)) if metavars else (start, start)


def _line(names: Sequence[str], metavar: str, said: str, starred: bool) -> str:
    flags = [flag for name in names for flag in re.split(r",\s*", name)]
    asides: list[str] = []
    while aside := _ASIDE.search(said):
        said = said[: aside.start()]
        asides.insert(0, aside[1])
    if starred and "required" not in asides:
        asides.append("required")
    said += f"  [{'; '.join(asides)}]" if asides else ""
    written = f"  {', '.join(flags)} {_metavar(metavar, option=flags[0].startswith('-'))}".rstrip()
    return f"{written}  {said}".rstrip()


def _metavar(text: str, *, option: bool) -> str:
    """As click writes it.

    >>> [_metavar(text, option=True) for text in ("<int>", "<a|b>", "<list[str]>", "<int,int>...", "<bool>")]
    ['INTEGER', '[a|b]', 'TEXT*', '<int int>...', '']
    """
    text = re.sub(r" \[[^|\]]*[<>][^|\]]*\]$", "", text)  # the range of a number
    found = re.fullmatch(r"<(.+)>(\.\.\.)?", text)
    if found is None:
        return text
    inner = found[1]
    if several := re.fullmatch(r"list\[(.*)\]", inner):
        return f"{_OF_TYPER.get(several[1], 'TEXT') or 'TEXT'}*"
    if "|" in inner:
        return f"[{inner}]" if option else f"{{{inner}}}"
    if found[2]:
        return f"<{inner.replace(',', ' ')}>..."
    return _OF_TYPER.get(inner, inner.upper())
