"""Files without the preamble, as archives and old exports hand them on: bare data sets."""

import struct
from pathlib import Path

import numpy as np
import pytest
from compressing import transferred
from native import native_of
from variants import equal, files, images, read

from rtflow.dicom.elements import IncompleteError
from rtflow.dicom.identify import read_object
from rtflow.dicom.offline import convert_folder
from rtflow.dicom.read import NotDicomError, looks_like_dicom, read_header
from rtflow.dicom.writing import VENDORS


def bare(data: bytes) -> bytes:
    """The data set alone, without preamble and meta information."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[144 + length :]


@pytest.mark.parametrize("form", ["meta", "explicit", "implicit"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_the_same_volumes(vendor: str, form: str) -> None:
    plain = files(vendor, volumes=1)
    if form == "meta":
        changed = [data[132:] for data in plain]
    elif form == "explicit":
        changed = [bare(data) for data in plain]
    else:
        changed = [bare(transferred(data, "implicit")) for data in plain]
    assert all(looks_like_dicom(data[:132]) for data in changed)
    for one, other in zip(read(changed), read(plain), strict=True):
        assert one.instance == other.instance
    equal(images(read(changed)), images(read(plain)))


@pytest.mark.parametrize("vendor", ["siemens-mosaic", "ge"])
def test_as_dcm2niix_reads_them(vendor: str, tmp_path: Path) -> None:
    data = [bare(transferred(one, "implicit")) for one in files(vendor)]
    reference = native_of(data, tmp_path)
    for (volume, _), image in images(read(data)).items():
        np.testing.assert_array_equal(image.data, reference.stored[..., volume - 1])
        np.testing.assert_allclose(image.affine, reference.image.affine, atol=1e-3)


def test_a_folder_of_them_is_converted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, data in enumerate(files("ge")):
        (tmp_path / "in" / str(number)).write_bytes(bare(data))
    told = convert_folder(tmp_path / "in", tmp_path / "out")
    assert told.complete
    assert [series.volumes for series in told.series] == [2]


@pytest.mark.parametrize("form", ["explicit", "implicit"])
def test_cut_off_anywhere_they_are_incomplete(form: str) -> None:
    data = files("siemens-mosaic")[0]
    whole = bare(data if form == "explicit" else transferred(data, "implicit"))
    read_object(whole)
    for length in (0, 7, 131, 132, 133, 500, len(whole) // 2, len(whole) - 1):
        with pytest.raises(IncompleteError):
            read_object(whole[:length])


@pytest.mark.parametrize(
    "start",
    [
        b"\x08\x00\x05\x00 eight bytes alone",
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100\x10\x00\x10\x00",
        b"\x08\x00\x05\x00CS\x0b\x00ISO_IR 100 \x08\x00\x08\x00",
        b"\x08\x00\x18\x00\x04\x00\x00\x00....\x08\x00\x16\x00",
        b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100\x00\x08\x00\x08",
        b"\x08\x00\x05\x00\xf0\x00\x00\x00",
        b"text of some kind, ",
    ],
)
def test_what_begins_otherwise_is_none(start: bytes) -> None:
    data = start.ljust(132, b"\0")
    assert not looks_like_dicom(data)
    with pytest.raises(NotDicomError):
        read_header(data)
