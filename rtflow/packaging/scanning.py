"""Keys, tokens and participant data in files that are to be given away.

Every file is looked at by its name and its content; what is compressed, or a collection, is opened. What
is found is refused: an image travels further than whoever made it can follow.
"""

from __future__ import annotations

import gzip
import io
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

_KEY, _TOKEN, _PASSWORD = "a private key", "a token", "a password"
_PERSON = "participant data"
_NAMES = (
    (re.compile(r"id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.*\.(key|p12|pfx|jks|keytab|ppk|kdbx|gpg)"), _KEY),
    (re.compile(r"\.netrc|\.pypirc|\.env(\..+)?|\.htpasswd|\.git-credentials|.*\.(token|ovpn)"), _TOKEN),
    (re.compile(r"participants\.(tsv|json)|.*_scans\.tsv|.*\.(dcm|ima)|dicomdir"), _PERSON),
)
_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+(?![0-9A-Za-z]).*")
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
            r"(?i)[\w.-]*(passw(or)?d|passphrase|secret|token|api_?key|access_?key)[\"']?\s*[:=]\s*"
            r"[\"'](?![<{$%])[^\"'\s]{8,}[\"']",
            "a password or token",
        ),
        (
            r"\b(Patient(s?Name|ID|s?BirthDate|s?BirthName|Address|TelephoneNumbers)|OtherPatient(IDs|Names)"
            r"|PatientMotherBirthName)\b[\"']?\s*[:=]\s*[\"'][^\"']+[\"']",
            _PERSON,
        ),
    )
)


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
        names = dict.fromkeys((path.name, *PurePosixPath(name).parts))
        yield from _looked_at(told, names, data, 0)


def _looked_at(told: str, names: Iterable[str], data: bytes, depth: int) -> Iterator[Finding]:
    yield from (Finding(told, 0, what) for what in _by_name(names))
    yield from (Finding(told, 0, what) for what in _image(data))
    text = b"\0" not in data[:4096]
    for number, line in enumerate(data.split(b"\n"), 1):
        for pattern, what in _LINES:
            if pattern.search(line):
                yield Finding(told, number if text else 0, what)
                break
    if depth == _DEPTH:
        return
    try:
        for inner, content in _inside(data):
            yield from _looked_at(f"{told}!{inner}", PurePosixPath(inner).parts, content, depth + 1)
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        zipfile.BadZipFile,
        tarfile.TarError,
        RuntimeError,
    ) as error:
        yield Finding(told, 0, f"a collection that cannot be looked into ({error})")


def _by_name(names: Iterable[str]) -> Iterator[str]:
    """What a file is by its name, or by that of a folder above it.

    >>> list(_by_name(["sub-01_T1w.nii.gz"])), list(_by_name(["subject.py"])), list(_by_name(["ID_RSA"]))
    (['participant data (sub-01_T1w.nii.gz)'], [], ['a private key (ID_RSA)'])
    """
    for name in names:
        if _SUBJECT.fullmatch(name):
            yield f"{_PERSON} ({name})"
        yield from (f"{what} ({name})" for pattern, what in _NAMES if pattern.fullmatch(name.lower()))


def _image(data: bytes) -> Iterator[str]:
    """What a file is by its beginning: DICOM, or a series of volumes."""
    if data[128:132] == b"DICM":
        yield f"{_PERSON} (DICOM)"
    for order in ("little", "big"):
        if len(data) >= 352 and int.from_bytes(data[:4], order) == 348 and data[344:347] in (b"n+1", b"ni1"):
            sizes = [int.from_bytes(data[40 + 2 * n : 42 + 2 * n], order) for n in range(8)]
            if sizes[0] >= 4 and sizes[4] > 1:
                yield f"{_PERSON} (a series of {sizes[4]} volumes)"
            if data[348] and int.from_bytes(data[356:360], order) == 2:
                yield f"{_PERSON} (NIfTI with a DICOM header)"


def _inside(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a collection, or what is compressed; nothing of any other file."""
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as file:
            yield "", _bounded(file)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as inner:
                        yield member.filename, _bounded(inner)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tape:
            for one in tape:
                if (member_file := tape.extractfile(one)) is not None:
                    yield one.name, _bounded(member_file)
    elif data[:6] in (b"7z\xbc\xaf\x27\x1c", b"\xfd7zXZ\0", b"Rar!\x1a\x07") or data[:3] == b"BZh":
        raise ValueError("of a kind that is not known; unpack it, and name the files")


def _bounded(file: IO[bytes] | gzip.GzipFile) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST // 1_000_000} MB when unpacked")
    return data
