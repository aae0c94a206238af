"""Volumes to DICOM, as each vendor's scanner writes them: for simulation and for tests.

The elements, their representations and how volumes, slices and echoes are numbered are those of real series
of echo-planar images. Positions, times and identity are the series' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from rtflow.dicom.writing.csa import write_csa
from rtflow.dicom.writing.ge import write_slices
from rtflow.dicom.writing.mosaic import write_mosaics
from rtflow.dicom.writing.philips import write_slice_major
from rtflow.dicom.writing.philips_enhanced import write_whole_run
from rtflow.dicom.writing.series import ScanSeries, Written
from rtflow.dicom.writing.xa import write_enhanced
from rtflow.dicom.writing.xa_classic import write_classic
from rtflow.errors import UsageError

__all__ = ["VENDORS", "ScanSeries", "Written", "write_csa", "write_run", "write_volume"]

VENDORS: tuple[str, ...] = (
    "siemens-mosaic",
    "siemens-xa",
    "siemens-xa-classic",
    "ge",
    "philips",
    "philips-enhanced",
)

_OF_VOLUME: dict[str, Callable[[ScanSeries, Sequence[NDArray[Any]], int], list[Written]]] = {
    "siemens-mosaic": write_mosaics,
    "siemens-xa": write_enhanced,
    "siemens-xa-classic": write_classic,
    "ge": write_slices,
    "philips": write_slice_major,
}


def write_volume(
    vendor: str, series: ScanSeries, echoes: Sequence[NDArray[Any]], volume: int
) -> list[Written]:
    """The DICOM objects of one volume, in the order in which the scanner writes them.

    Parameters
    ----------
    vendor
        One of `VENDORS`.
    series
        What its files share.
    echoes
        Stored values, one array of shape (i, j, k) per echo, int16 of at most 12 bits or uint16 of at most
        16, in the orientation of the series' affine.
    volume
        Number of the volume, from 1.

    Raises
    ------
    UsageError
        If the vendor is not known, or the arrays do not fit the series.
    """
    _check(vendor, series, echoes)
    if vendor not in _OF_VOLUME:
        raise UsageError(f"{vendor}: one object holds the whole run, so it is written by write_run")
    return _OF_VOLUME[vendor](series, echoes, volume)


def write_run(
    vendor: str, series: ScanSeries, volumes: Iterable[Sequence[NDArray[Any]]]
) -> Iterator[Written]:
    """The DICOM objects of a run, in the order in which the scanner writes them.

    Parameters
    ----------
    vendor
        One of `VENDORS`.
    series
        What its files share.
    volumes
        For each volume what `write_volume` takes. A vendor who puts the whole run into one object takes all
        of them before the first object comes.

    Raises
    ------
    UsageError
        As `write_volume` does.
    """
    if vendor == "philips-enhanced":
        yield write_whole_run(series, _checked(vendor, series, volumes))
        return
    for volume, echoes in enumerate(volumes, start=1):
        yield from write_volume(vendor, series, echoes, volume)


def _checked(
    vendor: str, series: ScanSeries, volumes: Iterable[Sequence[NDArray[Any]]]
) -> Iterator[Sequence[NDArray[Any]]]:
    for echoes in volumes:
        _check(vendor, series, echoes)
        yield echoes


def _check(vendor: str, series: ScanSeries, echoes: Sequence[NDArray[Any]]) -> None:
    if vendor not in VENDORS:
        raise UsageError(f"vendor {vendor!r}: expected one of {', '.join(VENDORS)}")
    if len(echoes) != len(series.echo_times):
        raise UsageError(f"expected {len(series.echo_times)} echoes, one per echo time, got {len(echoes)}")
    for data in echoes:
        if data.ndim != 3 or data.dtype.kind not in "iu" or data.dtype.itemsize != 2:
            raise UsageError(
                f"expected volumes of three axes, int16 or uint16, got {data.ndim} of {data.dtype}"
            )
        if vendor != "ge" and data.dtype.kind == "i" and (data.min() < 0 or data.max() > 4095):
            raise UsageError(
                f"expected int16 within 0..4095, got {data.min()}..{data.max()}; give uint16 for more"
            )
        if data.shape != echoes[0].shape:
            raise UsageError(f"expected echoes of one shape, got {echoes[0].shape} and {data.shape}")
