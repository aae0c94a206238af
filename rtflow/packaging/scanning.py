"""Keys, tokens and participant data in files that are to be given away.

Every file is looked at by its name and its content; what is compressed, or a collection, is opened. What
is found is refused: an image travels further than whoever made it can follow.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from rtflow.access.store import TOKEN_PREFIX
from rtflow.errors import PackageError

LARGEST = 500_000_000  # bytes of what is unpacked of one file: more is refused, for it is not looked at
_DEPTH = 3  # collections within collections
_SHOWN = 10

_KEY, _TOKEN, _PASSWORD, _SETTING = "a private key", "a token", "a password", "a password or token"
_PERSON = "participant data"
_NAMES = (
    (re.compile(r"id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.*\.(key|p12|pfx|jks|keytab|ppk|kdbx|gpg)"), _KEY),
    (re.compile(r"\.netrc|\.pypirc|\.env(\..+)?|\.htpasswd|\.git-credentials|.*\.(token|ovpn)"), _TOKEN),
    (re.compile(r"participants\.(tsv|json)|.*_scans\.tsv|.*\.(dcm|ima)|dicomdir"), _PERSON),
)
_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+(?![0-9A-Za-z]).*")
_SECRET = "(passw(or)?d|passphrase|secret|token|(api|access|secret|private|auth)[_-]?key)"
_LINES = tuple(
    (re.compile(pattern.encode()), what)
    for pattern, what in (
        (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|PuTTY-User-Key-File-|AGE-SECRET-KEY-1", _KEY),
        (rf"\b{TOKEN_PREFIX}[\w-]{{20,}}", _TOKEN),
        (r"(?<![0-9A-Za-z])[0-9A-Za-z]{5}(?:-[0-9A-Za-z]{5}){7}(?![0-9A-Za-z-])", "a code of enrolment"),
        (r"\b(AKIA|ASIA)[0-9A-Z]{16}\b", _TOKEN),
        (r"\b(gh[pousr]_[0-9A-Za-z]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,})", _TOKEN),
        (
            r"\b(xox[abeprs]-[\w-]{10,}|sk-[\w-]{32,}|AIza[\w-]{35}|(npm|hf)_[0-9A-Za-z]{30,}|pypi-AgE\w{20,})",
            _TOKEN,
        ),
        (r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", _TOKEN),
        (r"(?i)\bauthorization\W{1,4}(bearer|basic) +[\w.~+/=-]{12,}", _TOKEN),
        (r"\$argon2(id|i|d)\$|\$(2[aby]|5|6|y)\$[\w./$]{20,}", "the hash of a password"),
        (r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"{}<>]+:[^\s/@'\"{}<>]+@", _PASSWORD),
        (
            # token = "...", "token": "...", TOKEN: str = b"...", environ["TOKEN"] = '...'
            rf"(?i){_SECRET}[\"']?\]?(\s*:\s*[\w\[\]| ]{{1,40}}(?==))?\s*[:=]\s*"
            r"[bfru]{0,2}[\"']{1,3}(?![<{$%])[^\"'\s]{8,}[\"']",
            _SETTING,
        ),
        (  # of several words
            r"(?i)(passw(or)?d|passphrase)[\"']?\s*[:=]\s*[\"'](?![<{$%])[^\"']{8,}[\"']",
            _PASSWORD,
        ),
        (
            r"\b(Patient(s?Name|ID|s?BirthDate|s?BirthName|Address|TelephoneNumbers|Sex|Age|Weight|Size)"
            r"|OtherPatient(IDs|Names)|PatientMotherBirthName)\b[\"']?\s*[:=]\s*([\"'][^\"']+[\"']|\d)",
            _PERSON,
        ),
        (r"^[\"']?participant_id[\"']?\s*([\t,;]|$)", _PERSON),  # the heading of participants.tsv
    )
)
# In files of variables or settings, values stand without quotes; in a program, what does so is a name.
_BARE = re.compile(
    rf"(?i)^\s*(export\s+|set\s+|-\s+)?[\w.-]*{_SECRET}\s*[:=]\s*".encode()
    + rb"(?![\"'<{$%(])[^\s\"'(){}]{8,}\s*(#.*)?$"
)
_PROGRAMS = (".py", ".pyi", ".js", ".m", ".r", ".jl", ".c", ".cpp", ".h")
# Private keys as their standards write them in binary: PKCS #8 and #1, PKCS #12, SEC 1.
_BINARY_KEY = re.compile(
    rb"\x30(\x81.|\x82..|[\x20-\x7f])\x02\x01"
    rb"(\0(\x30.\x06|\x02[\x21-\x82])|\x03\x30|\x01\x04[\x14-\x42])",
    re.DOTALL,
)
# DICOM of old scanners: no preamble, the first element is of group 2 or 8.
_BARE_DICOM = re.compile(rb"[\x02\x08]\0[\0\x01\x05\x08\x12\x13\x16]\0(UL|OB|CS|DA|TM|UI|[\x02-\x40]\0\0\0)")
# NIfTI-1 and Analyze, NIfTI-2: size of the header to where its dimensions begin, and their width.
_HEADERS = {348: (40, 2), 540: (16, 8)}
_MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8"))
_UNKNOWN = (
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\0",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
)
_BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, RuntimeError, zlib.error)
_BROKEN += (lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True)
class Finding:
    """Something that must not be given away.

    Parameters
    ----------
    file
        Where; what is inside a collection stands behind ``!``.
    line
        From 1; 0 if it is the file as a whole.
    what
        Why it is refused; never the secret itself.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}{f' line {self.line}' if self.line else ''}: {self.what}"


def refuse(files: Mapping[str, Path]) -> None:
    """Refuse files that hold keys, tokens or participant data.

    Parameters
    ----------
    files
        What each is called in the package, to where it is.

    Raises
    ------
    PackageError
        Naming every file and line; the secret itself is not repeated.
    """
    found = list(scan(files))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise PackageError(
            f"nothing was packaged: {'; '.join(map(str, found[:_SHOWN]))}{more}. Keep keys, passwords and "
            "tokens outside (a file or variable of the machine that runs it), and participants' data where "
            "it is: both are given to a container when it runs"
        )


def scan(files: Mapping[str, Path]) -> Iterator[Finding]:
    """What must not be given away, file by file; one that cannot be read is a finding, too."""
    for name, path in files.items():
        told = str(path)
        try:
            data = path.read_bytes() if path.stat().st_size <= LARGEST else None
        except OSError as error:
            yield Finding(told, 0, f"cannot be read ({error.strerror or error})")
            continue
        if data is None:
            yield Finding(told, 0, f"larger than {LARGEST // 1_000_000} MB, too large to be looked at")
            continue
        real = path.resolve()  # a harmless name may be a link to another one
        subjects = [part for part in real.parts if _SUBJECT.fullmatch(part)]
        names = dict.fromkeys((path.name, real.name, *subjects, *PurePosixPath(name).parts))
        yield from _looked_at(told, names, data, 0)


def _looked_at(told: str, names: Iterable[str], data: bytes, depth: int) -> Iterator[Finding]:
    names = [*names]
    yield from (Finding(told, 0, what) for what in _by_name(names))
    yield from (Finding(told, 0, what) for what in _by_beginning(data))
    lines = _as_utf8(data)
    text = b"\0" not in lines[:4096]
    bare = () if any(name.lower().endswith(_PROGRAMS) for name in names) else ((_BARE, _SETTING),)
    for number, line in enumerate(lines.split(b"\n"), 1):
        for pattern, what in (*_LINES, *bare):
            if pattern.search(line):
                yield Finding(told, number if text else 0, what)
                break
    try:
        for inner, content in _inside(data):
            if depth == _DEPTH:
                raise ValueError("within too many others; unpack it, and name the files")
            yield from _looked_at(f"{told}!{inner}", PurePosixPath(inner).parts, content, depth + 1)
    except _BROKEN as error:
        yield Finding(told, 0, f"a collection that cannot be looked into ({error})")


def _as_utf8(data: bytes) -> bytes:
    """Text as most write it: Windows writes two bytes for each character, and a mark before the first."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace").encode()
    return data


def _by_name(names: Iterable[str]) -> Iterator[str]:
    """What a file is by its name, or by that of a folder above it.

    >>> list(_by_name(["sub-01_T1w.nii.gz"])), list(_by_name(["subject.py"])), list(_by_name(["ID_RSA"]))
    (['participant data (sub-01_T1w.nii.gz)'], [], ['a private key (ID_RSA)'])
    """
    for name in names:
        if _SUBJECT.fullmatch(name):
            yield f"{_PERSON} ({name})"
        yield from (f"{what} ({name})" for pattern, what in _NAMES if pattern.fullmatch(name.lower()))


def _by_beginning(data: bytes) -> Iterator[str]:
    """What a file is by its beginning: a key in binary, DICOM, or a series of volumes."""
    if _BINARY_KEY.match(data):
        yield f"{_KEY} (binary)"
    if data[128:132] == b"DICM" or _BARE_DICOM.match(data):
        yield f"{_PERSON} (DICOM)"
    for order in ("little", "big"):
        size = int.from_bytes(data[:4], order) if len(data) >= 348 else 0
        if size not in _HEADERS:
            continue
        first, width = _HEADERS[size]
        sizes = [int.from_bytes(data[n : n + width], order) for n in range(first, first + 8 * width, width)]
        if 4 <= sizes[0] <= 7 and sizes[4] > 1:
            yield f"{_PERSON} (a series of {sizes[4]} volumes)"
        if any(data[size : size + 1]) and int.from_bytes(data[size + 8 : size + 12], order) == 2:
            yield f"{_PERSON} (NIfTI with a DICOM header)"


def _inside(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a collection, or what is compressed; nothing of any other file."""
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as file:
            yield "", _bounded(file)
    elif data[:4] == b"PK\x03\x04" or zipfile.is_zipfile(io.BytesIO(data)):  # a program may stand before it
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as inner:
                        yield member.filename, _bounded(inner)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tape:
            for one in tape:
                member_file = tape.extractfile(one) if one.isfile() else None  # a link may lead nowhere
                yield one.name, b"" if member_file is None else _bounded(member_file)
    elif data.startswith(_UNKNOWN):
        raise ValueError("of a kind that is not known; unpack it, and name the files")


def _bounded(file: IO[bytes] | gzip.GzipFile) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST // 1_000_000} MB when unpacked")
    return data
