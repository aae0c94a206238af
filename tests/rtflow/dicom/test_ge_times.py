"""When GE slices were acquired: by the protocol, by what each slice says, or not known."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native import native_of
from pydicom.dataset import Dataset
from variants import SHAPE, edited, files, images, read

IN_TURN = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
EVERY_SECOND = [0.0, 0.75, 0.25, 1.0, 0.5, 1.25]


def protocol(options: str, order: int | None) -> bytes:
    lines = f'IOPT "{options}"\nVIEWORDER "1"\n' + (f'SLICEORDER "{order}"\n' if order is not None else "")
    packed = gzip.compress(lines.encode())
    return struct.pack("<I", len(packed)) + packed


def slices(
    options: str | None,
    order: int | None = 1,
    *,
    trigger: list[float] | None = None,
    timer: float | None = None,
) -> list[bytes]:
    """Two volumes; `trigger` in ms for each slice, `timer` the unit in seconds of the other one."""

    def change(number: int) -> Callable[[Dataset], None]:
        def apply(dataset: Dataset) -> None:
            volume, nth = divmod(number, SHAPE[2])
            if options is None:
                del dataset[0x0025, 0x101B]
            else:
                dataset[0x0025, 0x101B].value = protocol(options, order)
            dataset[0x0021, 0x105E].value = "0.000000"
            if trigger is not None:
                dataset.TriggerTime = str(trigger[nth])
            if timer is not None:
                dataset[0x0021, 0x105E].value = f"{(3.3 + volume * 1.5 + IN_TURN[nth]) / timer:.6f}"

        return apply

    return [edited(data, change(number)) for number, data in enumerate(files("ge"))]


def found(data: list[bytes]) -> list[float] | None:
    timings = [image.metadata.get("SliceTiming") for image in images(read(data)).values()]
    assert len(timings) == 2
    assert timings[0] == timings[1] or timings[0] == pytest.approx(timings[1], abs=1e-5)
    return timings[0]


@pytest.mark.parametrize(
    ("options", "order", "trigger", "expected"),
    [
        ("EPI, FMRI", 1, None, EVERY_SECOND),
        ("EPI, FMRI", 0, None, IN_TURN),
        ("EDR, EPI", 0, None, IN_TURN),
        ("EDR, EPI", 1, None, EVERY_SECOND),
        ("EDR, EPI, MPH", 0, None, IN_TURN),
        ("EDR, EPI, MPH", None, None, EVERY_SECOND),
        # Rounded to milliseconds, as scanners write it: the same order, so what was reckoned stays.
        ("EDR, EPI, MPH", 1, [0, 751, 249, 1000, 501, 1249], EVERY_SECOND),
    ],
)
def test_by_the_protocol_as_dcm2niix(
    options: str, order: int | None, trigger: list[float] | None, expected: list[float], tmp_path: Path
) -> None:
    data = slices(options, order, trigger=trigger)
    reference = native_of(data, tmp_path)
    assert found(data) == pytest.approx(expected)
    np.testing.assert_allclose(reference.sidecar["SliceTiming"], expected, atol=1e-5)


def test_a_multiphase_scan_in_another_order_than_the_usual_one() -> None:
    """Its protocol does not say the order; dcm2niix takes the usual one, each slice says otherwise."""
    data = slices("EDR, EPI, MPH", trigger=[time * 1000 for time in IN_TURN])
    assert found(data) == pytest.approx(IN_TURN)


@pytest.mark.parametrize(
    ("trigger", "timer"), [([0, 250, 500, 750, 1000, 1250], None), (None, 1.0), (None, 1e-4)]
)
def test_without_a_protocol_each_slice_says_it(trigger: list[float] | None, timer: float | None) -> None:
    assert found(slices(None, trigger=trigger, timer=timer)) == pytest.approx(IN_TURN, abs=1e-5)


@pytest.mark.parametrize(("options", "order"), [(None, 1), ("EDR, EPI", None)])
def test_where_nothing_says_it_there_are_no_times(options: str | None, order: int | None) -> None:
    assert found(slices(options, order)) is None


def test_a_timer_that_is_wrong_gives_no_times() -> None:
    """It can be in the first volume of a run: slices further apart than volumes are."""
    data = files("ge")
    wrong = [
        edited(one, lambda dataset, nth=nth: set_timer(dataset, nth * 0.9)) for nth, one in enumerate(data)
    ]
    assert found(wrong) is None


def set_timer(dataset: Dataset, seconds: float) -> None:
    del dataset[0x0025, 0x101B]
    dataset[0x0021, 0x105E].value = f"{seconds:.6f}"
