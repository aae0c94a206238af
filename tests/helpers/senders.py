"""Objects to send, the programs that send them, and what a receiver makes of them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from rtflow.documents import now
from rtflow.sources.feed import Arrival
from rtflow.sources.receiving import Receiver

needs_dcmtk = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="sends with dcmtk's programs: install the package dcmtk"
)

PATIENCE = 30.0


def an_object(
    folder: Path,
    number: int,
    *,
    sop_class: str = MRImageStorage,
    syntax: str = ExplicitVRLittleEndian,
    side: int = 16,
    name: str = "",
) -> Path:
    """Write an image of ``side`` x ``side`` voxels; its SOPInstanceUID ends with its number."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(syntax)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = UID(sop_class)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = UID(f"1.2.3.{number}")
    image.PatientName = "Simulated"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.0"
    image.InstanceNumber = number
    image.Rows = image.Columns = side
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = (number.to_bytes(2, "little")) * (side * side)
    image["PixelData"].VR = "OW"
    path = folder / (name or f"{number:04d}.dcm")
    image.save_as(path, enforce_file_format=True)
    return path


def several(folder: Path, count: int, **options: object) -> list[Path]:
    """Write images numbered from 1."""
    folder.mkdir(exist_ok=True)
    return [an_object(folder, number, **options) for number in range(1, count + 1)]  # type: ignore[arg-type]


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of dcmtk's programs to its end."""
    return subprocess.run(
        [program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        env=os.environ | environment,
        check=False,
    )


def send(
    port: int, *what: Path, options: Sequence[str] = (), title: str = "RTFLOW"
) -> subprocess.CompletedProcess[str]:
    """Send files, or all files of folders, with dcmtk's ``storescu``."""
    directories = ["+sd"] if any(path.is_dir() for path in what) else []
    return run("storescu", *options, *directories, "-aec", title, "127.0.0.1", port, *what)


def sent(
    port: int, *what: Path, options: Sequence[str] = (), title: str = "RTFLOW"
) -> subprocess.CompletedProcess[str]:
    """Send as `send` does, and see that all was taken."""
    done = send(port, *what, options=options, title=title)
    assert done.returncode == 0, done.stdout
    return done


def begin(*arguments: object) -> subprocess.Popen[str]:
    """Start a program beside the test."""
    return subprocess.Popen(
        list(map(str, arguments)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script of our own beside the test."""
    return begin(sys.executable, "-c", code, *arguments)


def take(receiver: Receiver, count: int, *, done: bool = True) -> list[Arrival]:
    """The next ``count`` objects, and none beyond."""
    found: list[Arrival] = []
    until = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < until:
        for arrival in receiver.arrivals(1.0):
            found.append(arrival)
            if done:
                receiver.done(arrival)
    assert len(found) == count, f"{len(found)} of {count} objects came"
    return found


def waits(receiver: Receiver) -> bool:
    """Whether an object waits to be brought, or is being written."""
    before = now()
    return receiver.brought_until < before


def data_set(file: bytes) -> bytes:
    """What follows the file meta information."""
    assert file[128:132] == b"DICM"
    return file[144 + int.from_bytes(file[140:144], "little") :]
