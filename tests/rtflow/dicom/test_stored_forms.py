"""What else stands in files, and how values are stored in them."""

from pathlib import Path

import numpy as np
import pytest
from compressing import transferred
from native import native_of
from pydicom.dataset import Dataset
from variants import Change, edited, equal, files, images, read

from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import VENDORS


def put_icon(dataset: Dataset) -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = 8
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = bytes(64)
    dataset.IconImageSequence = [icon]


def put_private(dataset: Dataset) -> None:
    """Sequences of other makers, of undefined length, nested, that hold what must not be taken for ours."""
    inner = Dataset()
    inner.SeriesNumber, inner.Rows, inner.AcquisitionNumber = 99, 1, 55
    inner.ImagePositionPatient = [1, 2, 3]
    outer = Dataset()
    outer.add_new(0x00290010, "LO", "SOMEBODY ELSE")
    outer.add_new(0x00291010, "SQ", [inner, inner])
    outer[0x00291010].is_undefined_length = True
    for group in (0x0009, 0x0019, 0x0029, 0x2001, 0x7FDF):
        block = dataset.private_block(group, "SOMEBODY ELSE", create=True)
        block.add_new(0x01, "SQ", [outer, Dataset(), outer])
        dataset[block.get_tag(0x01)].is_undefined_length = True
        block.add_new(0x02, "UN", b"\xfe\xff\x00\xe0 any bytes ")
        block.add_new(0x03, "LO", "text")


def put_overlay(dataset: Dataset) -> None:
    dataset.add_new(0x60000010, "US", dataset.Rows)
    dataset.add_new(0x60000011, "US", dataset.Columns)
    dataset.add_new(0x60003000, "OW", bytes(dataset.Rows * dataset.Columns // 8))


def put_after(dataset: Dataset) -> None:
    """What archives put behind the pixel data: a signature, padding."""
    dataset.add_new(0xFFFCFFFC, "OB", bytes(300))


@pytest.mark.parametrize("syntax", ["plain", "lengths", "implicit", "big-endian"])
@pytest.mark.parametrize("change", [put_icon, put_private, put_overlay, put_after])
@pytest.mark.parametrize("vendor", VENDORS)
def test_what_else_stands_in_a_file(vendor: str, change: Change, syntax: str) -> None:
    plain = files(vendor, volumes=1)
    changed = [edited(data, change) for data in plain]
    if syntax != "plain":
        changed = [transferred(data, syntax) for data in changed]
    for one, other in zip(read(changed), read(plain), strict=True):
        assert one.instance == other.instance
    equal(images(read(changed)), images(read(plain)))


@pytest.mark.parametrize("vendor", VENDORS)
def test_private_elements_in_other_blocks(vendor: str) -> None:
    """An archive moves private blocks when it adds its own; the creator says which is whose."""

    def move(dataset: Dataset) -> None:
        for group in (0x0019, 0x0021, 0x0025, 0x0029, 0x0043, 0x0051, 0x2001, 0x2005):
            creators = [tag for tag in dataset if tag.tag.group == group and 0x10 <= tag.tag.element <= 0xFF]
            if not creators:
                continue
            held = [element for element in dataset if element.tag.group == group]
            for element in held:
                del dataset[element.tag]
            dataset.add_new(group << 16 | 0x10, "LO", "SOMEBODY ELSE")
            dataset.add_new(group << 16 | 0x1010, "LO", "not ours")
            for element in held:
                low = element.tag.element
                new = low + 0x20 if low <= 0xFF else low + 0x2000
                dataset.add_new(group << 16 | new, element.VR, element.value)

    plain = files(vendor)
    moved = [edited(data, move) for data in plain]
    for one, other in zip(read(moved), read(plain), strict=True):
        assert one.instance == other.instance
    found, expected = images(read(moved)), images(read(plain))
    assert found == expected


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Gesichter \u00fcben"),
        ("ISO_IR 192", "\u9854 \u0444\u0443\u043d\u043a\u0446\u0438\u044f"),
        ("ISO_IR 144", "\u0424\u0443\u043d\u043a\u0446\u0438\u044f"),
        ("GB18030", "\u529f\u80fd"),
        (["", "ISO 2022 IR 87"], "\u6a5f\u80fd"),
    ],
)
@pytest.mark.parametrize("vendor", VENDORS)
def test_names_in_other_scripts(vendor: str, charset: str | list[str], name: str) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.SeriesDescription = dataset.ProtocolName = name
        dataset.PatientName = name

    data = [edited(one, rename) for one in files(vendor, volumes=1)]
    assert {item.instance.series.name for item in read(data)} == {name}
    assert images(read(data))[1, 1].metadata["ProtocolName"] == name


def test_names_that_are_not_in_the_character_set_they_name() -> None:
    """Consoles write one character set and say another: the name suffers, the volume does not."""
    data = edited(files("ge")[0], lambda dataset: setattr(dataset, "SpecificCharacterSet", "ISO_IR 192"))
    name = b"func_task-feedback"
    assert data.count(name) > 0
    broken = data.replace(name, b"func\xe4task-feedback")
    assert read_object(broken).instance.series.name == "func\ufffdtask-feedback"
    unknown = data.replace(b"ISO_IR 192", b"ISO_IR 999").replace(name, b"func\xe4task-feedback")
    assert read_object(unknown).instance.series.name == "func\u00e4task-feedback"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("vendor", ["siemens-mosaic", "ge", "philips"])
def test_bits_that_are_not_used_may_hold_anything(vendor: str, signed: bool, tmp_path: Path) -> None:
    """The standard promises nothing of them: masked away, or overwritten by the sign."""

    def litter(dataset: Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF | 0xA000
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(signed)

    data = [edited(one, litter) for one in files(vendor)]
    reference = native_of(data, tmp_path)
    for (volume, _), image in images(read(data)).items():
        assert (image.data.min() < 0) == signed
        np.testing.assert_array_equal(image.data, reference.stored[..., volume - 1])
