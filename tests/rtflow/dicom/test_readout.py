"""Phase encoding and read-out of series with acceleration, partial Fourier and interpolation, as dcm2niix."""

from dataclasses import replace
from pathlib import Path

import pytest
from native import native_of
from pydicom.dataset import Dataset
from variants import SERIES, SHAPE, edited, files, images, read

FIELDS = (
    *("PhaseEncodingDirection", "EffectiveEchoSpacing", "TotalReadoutTime", "AcquisitionMatrixPE"),
    *("ReconMatrixPE", "ParallelReductionFactorInPlane", "BandwidthPerPixelPhaseEncode"),
    "InPlanePhaseEncodingDirectionDICOM",
)


def agree(data: list[bytes], folder: Path) -> dict[str, object]:
    reference = native_of(data, folder).sidecar
    ours = images(read(data))[1, 1].metadata
    for name in FIELDS:
        assert (name in ours) == (name in reference), name
        if name in ours and not isinstance(ours[name], str):
            assert ours[name] == pytest.approx(reference[name], rel=1e-5), name
        else:
            assert ours.get(name) == reference.get(name), name
    return dict(ours)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1.6, 2.0, 3.0])
@pytest.mark.parametrize("acquired", [SHAPE[1], SHAPE[1] - 2, SHAPE[1] // 2])
@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-"])
def test_ge(direction: str, acquired: int, factor: float, partial: bool, tmp_path: Path) -> None:
    series = replace(SERIES, phase_encoding=direction)

    def change(dataset: Dataset) -> None:
        row = direction.startswith("i")
        dataset.AcquisitionMatrix = [0, SHAPE[0], acquired, 0] if row else [SHAPE[0], 0, 0, acquired]
        dataset[0x0043, 0x1083].value = [f"{1 / factor:.6g}", "1"]
        dataset.ScanOptions = ["EPI_GEMS", "ACC_GEMS", *(["PFF"] if partial else [])]

    agree([edited(data, change) for data in files("ge", series)], tmp_path)


def test_a_factor_that_is_stored_rounded(tmp_path: Path) -> None:
    """12 lines over 1.5 are 8; dcm2niix takes 1.499999 of the stored 0.666667, and so four lines more."""

    def change(dataset: Dataset) -> None:
        dataset.AcquisitionMatrix = [SHAPE[0], 0, 0, 12]
        dataset[0x0043, 0x1083].value = ["0.666667", "1"]
        dataset[0x0043, 0x102C].value = 500
        dataset.ScanOptions = ["EPI_GEMS", "ACC_GEMS", "PFF"]

    data = [edited(one, change) for one in files("ge")]
    ours, reference = images(read(data))[1, 1].metadata, native_of(data, tmp_path).sidecar
    assert ours["EffectiveEchoSpacing"] == pytest.approx(7 * 500e-6 / 11, rel=1e-5)
    assert reference["EffectiveEchoSpacing"] == pytest.approx(11 * 500e-6 / 11, rel=1e-5)


@pytest.mark.parametrize("vendor", ["siemens-mosaic", "siemens-xa", "siemens-xa-classic"])
@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-"])
@pytest.mark.parametrize("acquired", [SHAPE[1], SHAPE[1] - 4])
def test_siemens(direction: str, acquired: int, vendor: str, tmp_path: Path) -> None:
    series = replace(SERIES, phase_encoding=direction)

    def change(dataset: Dataset) -> None:
        if "AcquisitionMatrix" in dataset:
            row = direction.startswith("i")
            dataset.AcquisitionMatrix = [0, SHAPE[0], acquired, 0] if row else [SHAPE[0], 0, 0, acquired]

    ours = agree([edited(data, change) for data in files(vendor, series)], tmp_path)
    assert ours["PhaseEncodingDirection"] == direction
