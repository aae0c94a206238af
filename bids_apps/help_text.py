"""The options of a command line, read from what it prints at ``--help``.

Understood is what argparse, click and Typer print, and tables by hand that look like theirs. They say little
of types: what is not certain stays text, so that nothing is refused that the app would take.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rtflow.bids_apps.descriptor import Kind, Option, Origin, Scalar
from rtflow.bids_apps.found import Found, Spelled, levels_among, preferred
from rtflow.bids_apps.help_boxes import unboxed

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|.\x08")
_FLAG = r"--?[A-Za-z0-9][A-Za-z0-9_.-]*"
_ENTRY = re.compile(rf"( {{1,8}})({_FLAG})(?=[\s,=\[]|$)")
_SECTION = re.compile(r"\S.*:\s*$")
_NOT_OPTIONS = re.compile(r"(?i)(.*\bexamples?|notes?|positional arguments|commands)\s*:?\s*$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DEFAULT = re.compile(r"\s*\((?:default|Default|DEFAULT)(?: is|:)?\s+(.*?)\)(?=\.?\s*$|\s)")
_OF_CLICK = re.compile(r"default: |required$|env var: |.*[<>]=?x|x[<>=]")
#: These end the app without a run of it.
_ASIDE = ("-h", "--help", "--version", "--bids-exec-spec", "--install-completion", "--show-completion")
_WHOLE = {"INT", "INTEGER", "INTEGER RANGE"}
_REAL = {"FLOAT", "FLOAT RANGE", "NUM", "NUMBER"}
_PATH = re.compile(r"(?i)(?:.*[_-])?(?:path|file|dir|directory|filename|folder)")
#: Written to by the app: a place within the container or among the outputs, not one that is mounted.
_WRITTEN = re.compile(
    r"(?i)(?:.*[_-])?(?:work|working|scratch|tmp|temp|cache|log|logs|out|output|crash)(?:[_-].*)?"
)


@dataclass(frozen=True)
class _Entry:
    """One line of the table, with those that continue it."""

    spelling: str
    help: str


def from_help(text: str, *, origin: Origin = "help") -> Found:
    """What a text of ``--help`` says.

    Parameters
    ----------
    text
        As it was printed, wide if that could be asked for.
    origin
        Of the options.
    """
    text = unboxed(_ANSI.sub("", text).expandtabs().replace("\r\n", "\n"))
    usage = _usage(text)
    click = bool(re.search(r"Usage:.*\[OPTIONS\]", usage, re.DOTALL))
    listed = set(re.findall(_FLAG, usage)) if re.search(r"\[-h\]|\[-h \|", usage) else set()
    required = set(re.findall(rf"(?<![\w-]){_FLAG}", _unbracketed(usage)))
    options: list[Spelled] = []
    left_out: list[str] = []
    known: set[str] = set(_ASIDE)
    for entry in _entries(text):
        for spelled in _options(entry, click, origin, required):
            if not known.isdisjoint(spelled.flags):
                continue
            if listed and listed.isdisjoint(spelled.flags):
                left_out.append(f"{spelled.option.flag}: the usage of the app does not have it")
                continue
            known |= set(spelled.flags)
            options.append(spelled)
    return Found(tuple(options), _levels(text, usage), left_out=tuple(left_out))


def _usage(text: str) -> str:
    """The usage in one line; none if there is none."""
    found = re.search(r"^[ \t]*usage:.*?(?=\n[ \t]*\n|\Z)", text, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    return " ".join(found[0].split()) if found else ""


def _unbracketed(usage: str) -> str:
    """The usage without what is in brackets, parentheses or braces: what stands there always."""
    kept, depth = [], 0
    for letter in usage:
        if letter in "[({":
            depth += 1
        if not depth:
            kept.append(letter)
        if letter in "])}" and depth:
            depth -= 1
    return "".join(kept)


def _levels(text: str, usage: str) -> tuple[str, ...]:
    for group in re.findall(r"\{([^{}]*)\}", f"{usage}\n{text}"):
        if levels := levels_among(re.split(r"[,|]", group)):
            return levels
    return ()


def _entries(text: str) -> Iterator[_Entry]:
    """The lines of the tables that begin with a flag, with those that continue them."""
    ignored, indent = False, 0
    spelling, said = "", [""]
    for line in [*text.splitlines(), "end:"]:
        begins = len(line) - len(line.lstrip())
        if line.strip() and not begins:
            if spelling:
                yield _Entry(spelling, " ".join(filter(None, said)))
            spelling, indent = "", 0
            # What follows the usage, or a paragraph, is no table.
            ignored = bool(_NOT_OPTIONS.match(line)) or not (_SECTION.match(line) or line.isupper())
            continue
        if not line.strip() or ignored:
            continue
        entry = _ENTRY.match(line)
        if entry and (not indent or begins <= indent + 4):
            if spelling:
                yield _Entry(spelling, " ".join(filter(None, said)))
            indent = indent or begins
            spelling, _, first = _columns(line.strip())
            said = [first.strip()]
        elif spelling and begins > indent:
            said.append(line.strip())
        elif spelling:  # the description of another group
            yield _Entry(spelling, " ".join(filter(None, said)))
            spelling = ""


def _columns(line: str) -> tuple[str, str, str]:
    """How the option is written, and what is said of it; two spaces stand between."""
    depth = 0
    for place, letter in enumerate(line):
        depth += (letter in "[{<") - (letter in "]}>")
        if line.startswith("  ", place) and depth <= 0:
            return line[:place], "  ", line[place:]
    return line, "", ""


def _options(entry: _Entry, click: bool, origin: Origin, required: set[str]) -> Iterator[Spelled]:
    """The option of an entry; two of one that can be switched on and off."""
    forms = re.split(rf",\s+(?={_FLAG})|\s+/\s+(?={_FLAG})", entry.spelling)
    flags, metavar = [], ""
    for form in forms:
        found = re.match(rf"({_FLAG})(?:=|\s+|(?=\[))?(.*)", form)
        if found is None:
            return
        flags.append(found[1].rstrip("."))
        metavar = found[2].strip() or metavar
    if set(_ASIDE) & set(flags):
        return
    said, default, is_required = _said(entry.help, click)
    is_required = is_required or not required.isdisjoint(flags)
    if not metavar:
        off = [flag for flag in flags if _negative(flag, set(flags))]
        if " / " in entry.spelling:
            off = re.findall(_FLAG, entry.spelling.partition(" / ")[2])
        on = [flag for flag in flags if flag not in off]
        for group in (on, off):
            if group:
                option = Option(flag=preferred(group), kind="switch", help=said, origin=origin)
                yield Spelled(option, tuple(group))
        return
    flag = preferred(flags)
    repeated = click and metavar.endswith("*")
    kind, choices = ("list", ()) if repeated else _kind(metavar, flag, default, click)
    yield Spelled(
        Option(
            flag=flag,
            kind=kind,
            choices=choices,
            default=_typed(default, kind),
            help=said,
            required=is_required,
            repeated=repeated,
            origin=origin,
        ),
        tuple(flags),
    )


def _negative(flag: str, flags: set[str]) -> bool:
    """Whether a flag switches off what another one switches on, as argparse and click spell it."""
    return flag.startswith("--no-") and f"--{flag.removeprefix('--no-')}" in flags


def _said(text: str, click: bool) -> tuple[str, str, bool]:
    """What is said of an option, its default as it is written, and whether it is said to be required."""
    default, required = "", False
    if click and (parts := _aside(text)):
        text = text[: text.rindex(f"[{parts}]")]
        for part in parts.split("; "):
            key, _, value = part.partition(": ")
            required = required or part == "required"
            default = value if key == "default" else default
    elif found := _DEFAULT.search(text):
        default = found[1].strip()
        text = text[: found.start()] + text[found.end() :]
    return text.strip(), "" if default in ("None", "False", "True", "==SUPPRESS==") else default, required


def _aside(text: str) -> str:
    """What click says of an option in brackets, at the end; nothing if those say something else."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] == "]") - (text[place] == "[")
        if not depth:
            inside = text[place + 1 : -1]
            return inside if _OF_CLICK.match(inside) and text.endswith("]") else ""
    return ""


def _kind(metavar: str, flag: str, default: str, click: bool) -> tuple[Kind, tuple[str, ...]]:
    """What follows a flag, and among which values it is chosen."""
    choices = _choices(metavar, click)
    words = re.sub(r"\{[^{}]*\}|\[[^\[\]|]*\|[^\[\]]*\]", "CHOICE", metavar)
    several = "..." in words or (not click and len(words.split()) > 1) or words.startswith("<")
    if click and words.upper() in _WHOLE | _REAL:
        several = False
    if several and not re.fullmatch(r"<[^<>\s]+>", words):
        return "list", choices
    if choices:
        return "choice", choices
    bare = words.strip("[]<>").strip()
    if click and bare == "BOOLEAN":
        return "choice", ("true", "false")
    if bare.upper() in _WHOLE:
        return "whole", ()
    if bare.upper() in _REAL:
        return "number", ()
    name = flag.lstrip("-")
    if (_PATH.fullmatch(bare) or _PATH.fullmatch(name)) and not _WRITTEN.fullmatch(name):
        return "path", ()
    # A default of 5 may be that of a fraction, too.
    return ("number" if _NUMBER.fullmatch(default) else "text"), ()


def _choices(metavar: str, click: bool) -> tuple[str, ...]:
    found = re.search(r"\{([^{}]*)\}", metavar)
    separator = r"[,|]"
    if found is None:
        found = re.search(r"\[([^\[\]]*\|[^\[\]]*)\]" if not click else r"^\[([^\[\]]*)\]", metavar)
        separator = r"\|"
    if found is None or "%" in found[1]:  # click's dates
        return ()
    made = (one.strip().strip("'\"") for one in re.split(separator, found[1]))
    return tuple(dict.fromkeys(one for one in made if one))


def _typed(default: str, kind: Kind) -> Scalar | tuple[Scalar, ...] | None:
    """A default as a value of its kind; as text where it is none."""
    if not default:
        return None
    if kind == "whole" and re.fullmatch(r"[+-]?\d+", default):
        return int(default)
    if kind in ("whole", "number") and _NUMBER.fullmatch(default):
        return int(default) if re.fullmatch(r"[+-]?\d+", default) else float(default)
    if kind == "list":
        try:
            values = ast.literal_eval(default)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return default
        if isinstance(values, list | tuple) and all(isinstance(v, str | int | float) for v in values):
            return tuple(values) or None
    return default
