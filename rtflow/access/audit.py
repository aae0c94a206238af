"""The audit log: who did what, in lines that nobody can change, take out or put elsewhere unseen."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rtflow.access.chain import Entry, Found, Head, Value, follows, line_of, segment_path, whole_lines
from rtflow.access.private import locked, open_private, private_folder, read_private, write_private
from rtflow.access.store import TOKEN_PREFIX
from rtflow.access.throttle import Throttle, network_of
from rtflow.errors import OutputError, UsageError

#: What a repair is called in the log.
REPAIRED = "audit_repaired"
_WHO, _WHAT, _VALUE, _DETAILS = 128, 64, 256, 16
_SECRET = re.compile(
    rf"{TOKEN_PREFIX}[\w-]{{20,}}"  # a token
    r"|(?<![0-9A-Za-z])[0-9A-Za-z]{5}(?:[ -][0-9A-Za-z]{5}){7}(?![0-9A-Za-z])"  # a code of enrolment
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_NAMES = frozenset({"password", "secret", "authorization", "cookie", "csrf", "session_id"})


@dataclass(frozen=True)
class Verdict:
    """What `AuditLog.verify` found.

    Parameters
    ----------
    lines
        How many lines hold, from the first one on.
    hash
        That of the last of these: to be kept elsewhere, and asked for later.
    broken
        Which line is the first that does not hold, and why; empty if all do.
    unfinished
        Whether the last line has no end: a program was ended while it wrote it. The next line will say so.
    repairs
        How many lines tell of such a repair.
    """

    lines: int
    hash: str
    broken: str = ""
    unfinished: bool = False
    repairs: int = 0


class AuditLog:
    """A log that several processes write to.

    It goes on in another file (``audit.2.jsonl``) when one is large, and nothing is ever removed: to prove
    that all of it is there takes all of it. `refused` keeps it from being flooded from outside.

    Parameters
    ----------
    path
        Its first file; the folder is made with the first line. Beside it stand ``audit.jsonl.head``, which
        says how far it has come, and a lock.
    largest
        Bytes after which it goes on in another file.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, path: Path, *, largest: int = 16 << 20, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._head_path = path.with_name(f"{path.name}.head")
        self._largest = largest
        self._clock = clock
        self._crowd = Throttle(60, 10.0)
        self._untold: dict[str, int] = {}

    def write(self, who: str, what: str, **details: object) -> None:
        """Write a line; it is on the disk when this returns, after some milliseconds.

        Parameters
        ----------
        who
            Name of the one who did it, or claimed to be; cut at 128 characters.
        what
            What was done, in a word or two, such as ``login``; cut at 64.
        details
            At most 16 values; texts are cut at 256 characters. What looks like a secret is left out.

        Raises
        ------
        OutputError
            If it cannot be written: what nobody could look up later should not be done.
        """
        told = {name[:_WHAT]: _bounded(name, value) for name, value in list(details.items())[:_DETAILS]}
        private_folder(self.path.parent)
        with locked(self.path):
            try:
                head, repairs = self._taken_up()
                for repair in repairs:
                    head = self._append(head, "rtflow", REPAIRED, {"found": repair})
                self._append(head, cut(who, _WHO), cut(what, _WHAT), told)
            except OSError as error:
                raise OutputError(
                    f"the audit log {self.path} cannot be written: {error.strerror or error}; make room, or "
                    "set RTFLOW_ACCESS to another folder"
                ) from None

    def refused(self, who: str, what: str, address: str, **details: object) -> None:
        """Write that someone was turned away; of one address 60 lines, then one each ten seconds.

        What is not written is counted, and the next line of that address has the number (``untold``): nobody
        who may do nothing can fill the disk. Parameters and errors as of `write`.
        """
        network = network_of(address)
        if self._crowd.take(network):
            if network in self._untold or len(self._untold) < 10_000:
                self._untold[network] = self._untold.get(network, 0) + 1
            return
        untold = self._untold.pop(network, 0)
        more: dict[str, object] = {"untold": untold} if untold else {}
        self.write(who, what, address=address, **(more | details))

    def verify(self, expect: str = "") -> Verdict:
        """Whether every line is there as it was written.

        Parameters
        ----------
        expect
            Hash of a line, as an earlier verdict gave it: it must still be there.

        Raises
        ------
        UsageError
            If the files cannot be read.
        """
        n, before, repairs, wrong = 0, Head().hash, 0, ""
        with self._reading():
            head = self._head()
            at_head = False
            seen = expect in ("", before)
            for found in self._lines():
                wrong = follows(found, n, before)
                if wrong or found.entry is None:
                    break
                n, before = found.entry.n, found.entry.hash
                repairs += found.entry.what == REPAIRED
                seen = seen or before == expect
                at_head = at_head or (head is not None and (head.n, head.hash) == (n, before))
            unfinished = not wrong and self._unfinished()
        if not wrong and head is None and n:
            wrong = f"{self._head_path.name} is missing, so lines after line {n} may be"
        elif not wrong and head is not None and not at_head:
            missing = f"lines {n + 1} to {head.n} are missing" if head.n > n else "it is not the log that was"
            wrong = f"the log ends with line {n}, and {self._head_path.name} says line {head.n}: {missing}"
        elif not wrong and not seen:
            wrong = (
                f"no line has the hash {expect[:64]!r}: what is here was written anew, or it is another log"
            )
        return Verdict(n, before, wrong, unfinished, repairs)

    def entries(self) -> Iterator[Entry]:
        """What the lines say, from the first one on; without those that do not hold. Raises as `verify`."""
        with self._reading():
            for found in self._lines():
                if found.entry is not None:
                    yield found.entry

    def _lines(self) -> Iterator[Found]:
        number = 1
        while (path := segment_path(self.path, number)).is_file():
            yield from whole_lines(path)
            number += 1

    def _unfinished(self) -> bool:
        number = 1
        while segment_path(self.path, number + 1).is_file():
            number += 1
        last = segment_path(self.path, number)
        return last.is_file() and not _ends_a_line(last)

    def _head(self) -> Head | None:
        content = read_private(self._head_path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Head)
        except msgspec.DecodeError:
            return None

    def _taken_up(self) -> tuple[Head, list[str]]:
        """Where the log stands, and what had to be repaired: after a crash head and lines may differ."""
        head, repairs = self._head(), []
        if head is None:
            head = Head()
            if self.path.is_file():
                repairs.append(f"{self._head_path.name} was missing")
        size = _size(segment_path(self.path, head.segment))
        if size < head.size:
            # Lines were lost, and verify must say so ever after: the next is numbered as if they were here.
            head.size = size
        while True:
            path = segment_path(self.path, head.segment)
            for found in whole_lines(path, head.size):
                head.size = found.end
                if found.entry is not None and not follows(found, head.n, head.hash):
                    head.n, head.hash = found.entry.n, found.entry.hash
            if _size(path) and not _ends_a_line(path):
                repairs.append(_without_half_a_line(path, head.size))
                head.size = _size(path)
            if not segment_path(self.path, head.segment + 1).is_file():
                return head, repairs
            head.segment, head.size = head.segment + 1, 0

    def _append(self, head: Head, who: str, what: str, details: dict[str, Value]) -> Head:
        line, hashed = line_of(head.n + 1, self._clock(), who, what, details, head.hash)
        segment, size = (head.segment, head.size) if head.size < self._largest else (head.segment + 1, 0)
        descriptor = open_private(segment_path(self.path, segment), os.O_WRONLY | os.O_APPEND)
        try:
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            # Half a line must not stand before what may be written when there is room again.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
        head = Head(head.n + 1, hashed, segment, size + len(line) + 1)
        # After the line: a head that is behind is found out by the lines, one that is ahead tells of a loss.
        write_private(self._head_path, msgspec.json.encode(head))
        return head

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"the audit log {self.path} cannot be read: {error.strerror or error}; is it another user's?"
            ) from None


def _bounded(name: str, value: object) -> Value:
    """A value of a detail, as the log has it."""
    if name.lower() in _SECRET_NAMES:
        return "(not kept)"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 53):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(value)} bytes)"
    return cut(str(value), _VALUE)


def cut(text: str, most: int) -> str:
    """A text without secrets, of `most` characters and a note of how many more there were.

    >>> cut("abcdef", 4)
    'abcd(+2)'
    """
    # What stands across the cut is left out too.
    beginning = _SECRET.sub("(secret)", text[: most + 100])[:most]
    more = f"(+{len(text) - most})" if len(text) > most else ""
    return (beginning + more).encode("utf-8", "backslashreplace").decode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _without_half_a_line(path: Path, start: int) -> str:
    """Cut off what stands after the last whole line, and tell it for the log."""
    with path.open("r+b") as file:
        file.seek(start)
        half = file.read()
        if not half:  # a line that had an end has lost it: it is left as it is, for `verify` to find
            file.write(b"\n")
            return f"a line of {path.name} had been cut off"
        file.truncate(start)
    return f"{path.name} ended with half a line, {len(half)} bytes: {half[:200]!r}"
