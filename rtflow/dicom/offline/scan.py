"""Files to what is found in them: which images, of which series and volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import classify_parts
from rtflow.dicom.instance import Instance, Series, UnsupportedError
from rtflow.dicom.kinds import acquisition_time, describe
from rtflow.dicom.offline.found import Form, Found, Left, Traits
from rtflow.dicom.read import (
    Header,
    NoImageError,
    NotDicomError,
    TruncatedError,
    looks_like_dicom,
    read_header,
)
from rtflow.errors import DicomError, SourceError

_DICOMDIR = b"1.2.840.10008.1.3.10"
# Of a DICOM file the first bytes name its class: enough to tell an index of files from a file.
_META = 1024
_Value = TypeVar("_Value", Form, Traits, Series)
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def files_below(folder: Path, skipped: Path | None = None) -> Iterator[Path]:
    """Files below a folder, sorted, through links, each once; those with a leading dot are passed over.

    Parameters
    ----------
    folder
        Where to look.
    skipped
        A folder that is not gone into.

    Raises
    ------
    SourceError
        If there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SourceError(f"{folder} {what}; give the folder that the DICOM files are in")
    # A link may lead upwards, or to what is there already: nothing is met twice.
    met = {folder.resolve()} | ({skipped.resolve()} if skipped is not None else set())
    yield from _below(folder, met)


def _below(folder: Path, met: set[Path]) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"{folder} cannot be read ({error.strerror}); make it readable, or move it away"
        ) from None
    folders = []
    for path in paths:
        if path.name.startswith("."):
            continue
        real = path.resolve()
        if real in met:
            continue
        met.add(real)
        if real.is_dir():
            folders.append(path)
        else:
            yield path
    for path in folders:
        yield from _below(path, met)


@dataclass(frozen=True, slots=True)
class Read:
    """An image that was read.

    Parameters
    ----------
    found
        What it is; of an object that shows several kinds or parts of the signal, each.
    header
        Header and pixel data.
    """

    found: tuple[Found, ...]
    header: Header


class Scanner:
    """Reads files; equal descriptions of many files become one object."""

    def __init__(self) -> None:
        self._kept: dict[object, object] = {}

    def read(self, path: Path) -> Read | Left:
        """The image in a file, or why there is none."""
        name = path.name
        header: Header | None = None
        try:
            data = _bytes(path)
            header = read_header(data)
            found = self._found(path, len(data), header)
        except OSError as error:
            reason = "links that lead nowhere" if path.is_symlink() else str(error.strerror or error)
            return Left("files that cannot be read", reason, example=name, wanted=True)
        except NotDicomError:
            return Left("files of another kind", "no DICOM", example=name)
        except NoImageError as error:
            return Left("DICOM without an image", str(error), example=name)
        except UnsupportedError as error:
            what, _, reason = str(error).partition(": ")
            return Left(what, reason, example=name, wanted=not (header and _is_picture(header)))
        except TruncatedError as error:
            what = describe(error.header) if error.header else "damaged DICOM files"
            return Left(what, f"cut off: {error}", example=name, wanted=True)
        except IncompleteError as error:
            return _incomplete(data, str(error), name)
        except DicomError as error:
            what = describe(header) if header else "damaged DICOM files"
            reason = str(error).removeprefix(f"{what}: ")
            return Left(what, reason, example=name, wanted=not (header and _is_picture(header)))
        if isinstance(found, Left):
            return found
        return Read(found, header)

    def _found(self, path: Path, size: int, header: Header) -> tuple[Found, ...] | Left:
        instances = classify_parts(header)
        if _is_picture(header):
            return Left(describe(header), "a picture for the eye, no grey values", example=path.name)
        return tuple(self._one_found(path, size, header, instance) for instance in instances)

    def _one_found(self, path: Path, size: int, header: Header, instance: Instance) -> Found:
        first = header.frame(instance.pieces[0].frames[0])
        form = Form(
            header.required("Rows"),
            header.required("Columns"),
            tuple(round(value, 4) for value in first.numbers("PixelSpacing")),
            tuple(round(value, 4) for value in first.numbers("ImageOrientationPatient")),
        )
        scale = (first.number(name) for name in ("RescaleSlope", "RescaleIntercept", "PhilipsScaleSlope"))
        types = [value.upper() for value in header.texts("ImageType")]
        sequence = (first.text("SequenceName") or first.text("PulseSequenceName")).lstrip("*").lower()
        traits = Traits(
            header.text("ProtocolName"),
            corrected=any("MOCO" in value for value in types),
            diffusion="DIFFUSION" in types or sequence.startswith("ep_b"),
            scale=tuple(value for value in scale if value is not None),
        )
        return Found(
            str(path),
            size,
            replace(instance, series=self._one(instance.series)),
            self._one(form),
            self._one(traits),
            header.integer("InstanceNumber"),
            _began(first),
        )

    def _one(self, value: _Value) -> _Value:
        return self._kept.setdefault(value, value)  # type: ignore[return-value]


def _began(header: Header) -> float | None:
    # Philips writes the time of the series' begin into all files, and this one from there.
    since = header.number("PhilipsVolumeTime")
    return acquisition_time(header) if since is None else since


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(_META)
        # A file of another kind may be large: it is not read to its end.
        return start + file.read() if looks_like_dicom(start) else start


def _incomplete(data: bytes, reason: str, name: str) -> Left:
    if not data:
        return Left("files of another kind", "empty", example=name)
    if not looks_like_dicom(data):
        return Left("files of another kind", "no DICOM", example=name)
    if _DICOMDIR in data[:_META]:
        return Left("DICOM without an image", "an index of files (DICOMDIR)", example=name)
    return Left("damaged DICOM files", reason, example=name, wanted=True)


def _is_picture(header: Header) -> bool:
    """Whether it is an image of a screen or in colours: nothing that was measured."""
    return (header.integer("SamplesPerPixel") or 1) > 1 or header.text("SOPClassUID").startswith(_SECONDARY)


def scan_folder(
    folder: Path,
    *,
    skipped: Path | None = None,
    seen: Callable[[int, int], None] = lambda done, files: None,
    keep: Callable[[Read], None] = lambda read: None,
) -> tuple[list[Found], list[Left]]:
    """Read all files below a folder, each once.

    Parameters
    ----------
    folder
        Where to look.
    skipped
        A folder below it that is not gone into.
    seen
        Told after each file how many were read, and how many there are.
    keep
        Given each image, for what is wanted of it beside its place.

    Returns
    -------
    tuple
        Images, and everything else by kind and reason, as it was met.

    Raises
    ------
    SourceError
        If there is no such folder.
    """
    scanner = Scanner()
    found: list[Found] = []
    left: dict[tuple[str, str, bool], Left] = {}
    paths = list(files_below(folder, skipped))
    for done, path in enumerate(paths, start=1):
        read = scanner.read(path)
        if isinstance(read, Left):
            # Numbers of bytes differ from file to file.
            key = (read.what, "".join(c for c in read.reason if not c.isdigit()), read.wanted)
            before = left.get(key)
            left[key] = replace(before, files=before.files + 1) if before else read
        else:
            found.extend(read.found)
            keep(read)
        seen(done, len(paths))
    return found, list(left.values())
