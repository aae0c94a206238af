"""What an image shows, by what scanners write."""

import pytest
from pydicom.dataset import Dataset
from variants import edited, files, images, read

from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import UnsupportedError

MOSAICS = {
    "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\M\\ND\\NORM\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\M\\MB\\ND\\NORM\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\M\\ND\\ECHO_00\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\M\\DIS2D\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\M\\ND\\NORM\\MOCO\\MOSAIC": ("bold", "mag"),
    "DERIVED\\PRIMARY\\M\\ND\\MOCO\\MOSAIC": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\P\\ND\\MOSAIC": ("bold", "phase"),
    "ORIGINAL\\PRIMARY\\ASL\\NONE\\ND\\NORM\\MOSAIC": ("perfusion", "mag"),
    "DERIVED\\PRIMARY\\ASL\\ND\\NORM\\SUB\\TTEST\\MOSAIC": ("derived", "mag"),
    "DERIVED\\PRIMARY\\M\\ND\\MEAN\\MOSAIC": ("derived", "mag"),
    "ORIGINAL\\PRIMARY\\DIFFUSION\\NONE\\ND\\MOSAIC": ("spin-echo", "mag"),
    "ORIGINAL\\PRIMARY\\DIFFUSION\\FA\\ND\\MOSAIC": ("derived", "mag"),
}
PHILIPS = {
    "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE": ("bold", "mag"),
    "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE": ("bold", "phase"),
    "ORIGINAL\\PRIMARY\\R_FFE\\R\\FFE": ("bold", "real"),
    "ORIGINAL\\PRIMARY\\I_FFE\\I\\FFE": ("bold", "imag"),
    "ORIGINAL\\PRIMARY\\B0 MAP\\B0\\UNSPECIFIED": ("fieldmap", "mag"),
    "ORIGINAL\\PRIMARY\\B0\\B0\\UNSPECIFIED": ("fieldmap", "mag"),
    "ORIGINAL\\PRIMARY\\T2 MAP\\T2\\MIXED": ("derived", "mag"),
    "ORIGINAL\\PRIMARY\\ADC_SE\\ADC\\SE": ("derived", "mag"),
}


def shown(vendor: str, **elements: object) -> tuple[str, str]:
    """Kind and part of an image of a run, some of whose elements say something else."""

    def change(dataset: Dataset) -> None:
        for name, value in elements.items():
            setattr(dataset, name, value)

    series = read_object(edited(files(vendor, volumes=1)[0], change)).instance.series
    return series.kind, series.part


@pytest.mark.parametrize(
    ("vendor", "types", "expected"),
    [
        *(("siemens-mosaic", types, expected) for types, expected in MOSAICS.items()),
        *(("philips", types, expected) for types, expected in PHILIPS.items()),
    ],
)
def test_by_image_type(vendor: str, types: str, expected: tuple[str, str]) -> None:
    assert shown(vendor, ImageType=types.split("\\")) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("func_task-rest_SBRef", "sbref"),
        ("func_task-rest_SBRef_Pha", "sbref"),
        ("func_task-sbrefstudy", "bold"),
        ("func_task-rest_SBRef_long", "bold"),
    ],
)
def test_a_single_band_reference_has_it_at_the_end_of_its_name(name: str, expected: str) -> None:
    assert shown("siemens-mosaic", SeriesDescription=name)[0] == expected


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [("*epfid2d1_64", "bold"), ("epse2d1_94", "spin-echo"), ("*ep_b0", "spin-echo"), ("*re_b0", "spin-echo")],
)
def test_by_the_name_of_a_siemens_sequence(sequence: str, expected: str) -> None:
    assert shown("siemens-mosaic", SequenceName=sequence)[0] == expected


@pytest.mark.parametrize(
    ("scanning", "sequence", "internal", "expected"),
    [
        (["EP", "GR"], "epiRT", "EPI", "bold"),
        (["EP", "RM"], "epiRT", "EPI", "bold"),
        (["EP", "RM"], "epi2", "EPI2", "spin-echo"),
        (["EP", "RM"], "research/site/epi2new", "", "spin-echo"),
        (["EP", "SE"], "epi", "EPI", "spin-echo"),
    ],
)
def test_by_the_sequence_of_ge(scanning: list[str], sequence: str, internal: str, expected: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.ScanningSequence = scanning
        dataset[0x0019, 0x109C].value = sequence
        dataset[0x0019, 0x109E].value = internal

    assert read_object(edited(files("ge", volumes=1)[0], change)).instance.series.kind == expected


@pytest.mark.parametrize(
    ("vendor", "manufacturer", "expected"),
    [
        ("siemens-mosaic", "Siemens Healthineers", "Siemens"),
        ("siemens-mosaic", "", "Siemens"),
        ("siemens-xa-classic", "", "Siemens"),
        ("ge", "GE", "GE"),
        ("ge", "", "GE"),
        ("philips", "Philips", "Philips"),
        ("philips", "", "Philips"),
    ],
)
def test_who_made_the_scanner(vendor: str, manufacturer: str, expected: str) -> None:
    def change(dataset: Dataset) -> None:
        dataset.Manufacturer = manufacturer

    assert read_object(edited(files(vendor, volumes=1)[0], change)).instance.vendor == expected


def test_without_manufacturer_and_private_elements_nobody_is() -> None:
    def change(dataset: Dataset) -> None:
        dataset.Manufacturer = ""
        dataset.remove_private_tags()

    with pytest.raises(UnsupportedError, match="unknown vendor"):
        read_object(edited(files("philips", volumes=1)[0], change))


def test_private_elements_do_not_outweigh_the_manufacturer() -> None:
    def change(dataset: Dataset) -> None:
        dataset.Manufacturer = "UIH"

    with pytest.raises(UnsupportedError, match="UIH"):
        read_object(edited(files("ge", volumes=1)[0], change))


def test_slices_of_a_gradient_echo_have_no_time_of_their_own() -> None:
    def change(dataset: Dataset) -> None:
        dataset.ScanningSequence = "GR"
        dataset.SequenceName = "*fm2d2r"

    objects = read([edited(data, change) for data in files("siemens-xa-classic", volumes=1)])
    (image,) = images(objects).values()
    assert "SliceTiming" not in image.metadata
