"""What is installed, made into wheels again: for an image that is built without an index of packages."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

import rtflow
from rtflow.errors import PackageError

# Of the installation, not of the wheel; RECORD is written anew.
_OF_THE_INSTALLATION = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "top_level.txt"})
# What the package itself consists of, where it is run from its source.
_OWN = re.compile(
    r".*\.(py|toml|md|typed|js|mjs|css|html|svg|png|woff2|json|wasm|m)|LICENSE.*|AUTHORS|NOTICE"
)


def wheel_of(distribution: metadata.Distribution, folder: Path) -> Path:
    """Write a distribution, as it is installed, as a wheel.

    The same files give the same wheel, byte for byte. Each file is compared with the hash that its
    installation noted.

    Parameters
    ----------
    distribution
        What is installed.
    folder
        Where the wheel is written to.

    Raises
    ------
    PackageError
        If a file is missing or was changed since it was installed, or the package runs from a folder of
        its developer.
    """
    name = re.sub(r"[-_.]+", "_", distribution.metadata["Name"])
    info = f"{name}-{distribution.version}.dist-info"
    content = dict(_own_files(distribution, info) if name == "rtflow" else _recorded(distribution, info))
    path = folder / f"{name}-{distribution.version}-{_tag(content[f'{info}/WHEEL'][0].decode())}.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for inside, (data, executable) in sorted(content.items()):
            record.append(f"{_quoted(inside)},sha256={_digest(data)},{len(data)}")
            _add(archive, inside, data, executable)
        record.append(f"{info}/RECORD,,")
        _add(archive, f"{info}/RECORD", ("\n".join(record) + "\n").encode(), False)
    return path


def _add(archive: zipfile.ZipFile, inside: str, data: bytes, executable: bool) -> None:
    entry = zipfile.ZipInfo(inside)  # of 1980, the same each time
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    entry.compress_type = archive.compression
    archive.writestr(entry, data, compresslevel=1)


def _recorded(distribution: metadata.Distribution, info: str) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    """What an installation noted that it wrote: name in the wheel, content, and whether it is a program."""
    name = distribution.metadata["Name"]
    direct = distribution.read_text("direct_url.json") or ""
    if distribution.files is None or '"editable": true' in direct or '"editable":true' in direct:
        raise PackageError(
            f"package {name} {distribution.version} runs from a folder, or not from a wheel: nothing says "
            "what belongs to it; install it as a wheel (pip install FOLDER), then package again"
        )
    scripts = {one.name for one in distribution.entry_points if one.group.endswith("_scripts")}
    data_folder = info.removesuffix("dist-info") + "data"
    for file in distribution.files:
        if file.suffix == ".pyc" or (file.name in _OF_THE_INSTALLATION and ".dist-info" in str(file.parent)):
            continue
        path = Path(str(file.locate()))
        inside = PurePosixPath(re.sub(r"^[^/]+\.dist-info(?=/)", info, file.as_posix()))
        outside = ".." in inside.parts
        if outside and inside.parent.name in ("bin", "Scripts") and inside.stem in scripts:
            continue  # whoever installs the wheel makes them
        try:
            data, executable = path.read_bytes(), os.access(path, os.X_OK)
        except OSError as error:
            raise PackageError(
                f"package {name}: {path} cannot be read ({error.strerror}); install the package anew"
            ) from None
        if file.hash is not None and _digest(data, file.hash.mode) != file.hash.value:
            raise PackageError(
                f"package {name}: {path} was changed since it was installed; install the package anew"
            )
        if outside:
            parts = [part for part in inside.parts if part != ".."]
            script = parts[0] in ("bin", "Scripts")
            data = re.sub(rb"\A#!.*python[^\n]*", b"#!python", data) if script else data
            inside = PurePosixPath(data_folder, *(("scripts", *parts[1:]) if script else ("data", *parts)))
        yield str(inside), (data, executable)


def _own_files(distribution: metadata.Distribution, info: str) -> Iterator[tuple[str, tuple[bytes, bool]]]:
    """This package, as it runs now."""
    root = Path(rtflow.__file__).resolve().parent
    for folder, inner, files in os.walk(root, followlinks=True):
        inner[:] = sorted(one for one in inner if one != "__pycache__")
        for file in files:
            if _OWN.fullmatch(file) and not file.startswith("."):
                path = Path(folder, file)
                yield str(PurePosixPath("rtflow", *path.relative_to(root).parts)), (path.read_bytes(), False)
    described = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    scripts = "[console_scripts]\nrtflow = rtflow.cli.main:main\n"
    wheel = "Wheel-Version: 1.0\nGenerator: rtflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    for name, text in (("METADATA", described), ("entry_points.txt", scripts), ("WHEEL", wheel)):
        yield f"{info}/{name}", (text.encode(), False)


def _tag(wheel: str) -> str:
    """The end of a wheel's name, from its file ``WHEEL``.

    >>> _tag("Wheel-Version: 1.0\\nTag: py2-none-any\\nTag: py3-none-any\\n")
    'py2.py3-none-any'
    """
    tags = [
        line.partition(":")[2].strip().split("-") for line in wheel.splitlines() if line.startswith("Tag:")
    ]
    return "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))


def _digest(data: bytes, kind: str = "sha256") -> str:
    return base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b"=").decode()


def _quoted(name: str) -> str:
    return f'"{name}"' if "," in name else name
