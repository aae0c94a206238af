"""Lines of the audit log, each of which carries the hash of the one before.

A line is a JSON object that ends with its own SHA-256, taken of all that stands before it::

    {"n":2,"time":"2026-05-04T09:30:00.123Z","who":"anna","what":"login","details":{},"before":"...","hash":"..."}

So a line that was changed does not have its hash, and one that was taken out or put elsewhere is not the one
that its neighbour names. There is no secret in that: who may write the file can make all that follows anew.
Only a hash that is kept elsewhere, on paper for instance, helps against that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

#: What the first line names as the hash of the one before.
BEGINNING = "0" * 64

Value = str | int | float | bool | None

_END = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_END_SIZE = len(b',"hash":""}') + 64


class Entry(msgspec.Struct, frozen=True):
    """A line, as written; `n` counts from 1, `time` is UTC."""

    n: int
    time: str
    who: str
    what: str
    details: dict[str, Value]
    before: str
    hash: str = ""


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """How far the log has come: the last line, the number of its file, and that file's size in bytes."""

    n: int = 0
    hash: str = BEGINNING
    segment: int = 1
    size: int = 0


@dataclass(frozen=True)
class Found:
    """A whole line of a file.

    Parameters
    ----------
    where
        File and line in it, from 1.
    end
        Offset in bytes of what follows it.
    entry
        What it says; None if that is not what was written.
    wrong
        What is wrong with it by itself; empty if nothing.
    """

    where: str
    end: int
    entry: Entry | None
    wrong: str = ""


def line_of(
    n: int, seconds: float, who: str, what: str, details: dict[str, Value], before: str
) -> tuple[bytes, str]:
    """A line without its end of line, and its hash."""
    at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry = Entry(n, at, who, what, details, before)
    told = {name: getattr(entry, name) for name in Entry.__struct_fields__ if name != "hash"}
    text = msgspec.json.encode(told)[:-1]
    hashed = hashlib.sha256(text).hexdigest()
    return text + b',"hash":"' + hashed.encode() + b'"}', hashed


def segment_path(path: Path, number: int) -> Path:
    """The files that a log is in, one after the other.

    >>> segment_path(Path("audit.jsonl"), 1).name, segment_path(Path("audit.jsonl"), 2).name
    ('audit.jsonl', 'audit.2.jsonl')
    """
    return path if number == 1 else path.with_suffix(f".{number}{path.suffix}")


def whole_lines(path: Path, start: int = 0) -> Iterator[Found]:
    """Lines of one file that have an end, from an offset on; none if there is no file. Raises OSError."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        end = start
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield _read(f"{path.name} line {number}", end, line[:-1])


def follows(found: Found, n: int, before: str) -> str:
    """Why a line is not the one after line `n`, whose hash is `before`; empty if it is."""
    entry = found.entry
    if entry is None:
        return f"{found.where}: {found.wrong}"
    if entry.n > n + 1:
        missing = f"line {n + 1} is" if entry.n == n + 2 else f"lines {n + 1} to {entry.n - 1} are"
        return f"{found.where}: this is line {entry.n}, and {missing} missing before it"
    if entry.n <= n:
        return f"{found.where}: this is line {entry.n}, where line {n + 1} should be: it was moved, or copied"
    if entry.before != before:
        return f"{found.where}: line {entry.n} follows another line {n} than the one that stands before it"
    return ""


def _read(where: str, end: int, line: bytes) -> Found:
    text, tail = line[:-_END_SIZE], line[-_END_SIZE:]
    ending = _END.fullmatch(tail)
    if ending is None:
        return Found(where, end, None, "it is no line of an audit log")
    if hashlib.sha256(text).hexdigest() != ending.group(1).decode():
        return Found(where, end, None, "it was changed: it does not have the hash that it names")
    try:
        return Found(where, end, msgspec.json.decode(line, type=Entry))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Found(where, end, None, "it is no line of an audit log")
