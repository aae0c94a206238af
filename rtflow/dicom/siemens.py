"""Siemens: mosaics, enhanced objects (XA), and one file a slice."""

from __future__ import annotations

from collections.abc import Mapping

from rtflow.dicom.csa import protocol_count, read_protocol
from rtflow.dicom.enhanced import enhanced_pieces, places
from rtflow.dicom.geometry import place
from rtflow.dicom.instance import Instance, Piece, Series, UnsupportedError
from rtflow.dicom.kinds import acquisition_time, describe, kind_of, maker, part_of, series_name
from rtflow.dicom.read import Header

# XA consoles number the series that they split an enhanced one into 7001, 7002 ...
_SPLIT = 1000


def siemens(header: Header) -> Instance | None:
    """The place of an object of a Siemens scanner; None for another's."""
    if maker(header) != "Siemens":
        return None
    types = header.texts("ImageType")
    protocol = read_protocol(header.raw("SiemensProtocol") or header.raw("CsaSeries"))
    first = header.frame(0)
    echo_times = _echo_times(protocol)
    counted = _volume(header)
    volume = counted or 1
    tr = first.number("RepetitionTime")
    name = series_name(header)
    if not protocol and not _is_mosaic(header, types) and not header.integer("EchoNumbers"):
        # Without the protocol nothing tells which echo of how many it is: each is a series of its own.
        time = first.number("EffectiveEchoTime") or first.number("EchoTime") or 0.0
        name = f"{name} (echo time {time:g} ms)".strip()
    series = Series(
        uid=header.text("SeriesInstanceUID"),
        number=header.integer("SeriesNumber") or 0,
        name=name,
        kind=kind_of(first),
        part=part_of(first),
    )
    slices, mosaic, pieces = 0, False, tuple[Piece, ...]()
    if header.frames:
        _refuse_tiles(header, first)
        slices = len(places(header))
        if slices == 1:
            slices = protocol_count(protocol, "sSliceArray.lSize") or 1
        pieces = enhanced_pieces(header, volume, echo_times)
    elif _is_mosaic(header, types):
        _refuse_bare_mosaic(header)
        # InstanceNumber counts files, and so echoes too; AcquisitionNumber counts volumes.
        mosaic, slices, pieces = True, 1, (Piece(volume, header.integer("EchoNumbers") or 1),)
    else:
        if "MFSPLIT" in types:
            # Each volume has a SeriesInstanceUID of its own; they share that of what they were split from.
            number = series.number
            if number > _SPLIT:
                # 7001 is volume 1 of series 7; 8000 is its volume 1000.
                number = (number - min(volume, number - _SPLIT)) // _SPLIT
            origin = header.text("RelatedSeries") or f"{header.text('StudyInstanceUID')}/{number}"
            series = Series(origin, number, series.name, series.kind, series.part)
        # A slab of a 3D sequence counts as one slice in the protocol.
        flat = header.text("MRAcquisitionType") == "2D"
        slices = protocol_count(protocol, "sSliceArray.lSize") if flat and series.kind != "anatomy" else 0
        echo = header.integer("EchoNumbers") or _echo(header, echo_times)
        pieces = (Piece(volume, echo, place=place(header)),)
    return Instance(
        series=series,
        vendor="Siemens",
        uid=header.text("SOPInstanceUID"),
        pieces=pieces,
        slices=slices,
        echoes=max(len(echo_times), 1),
        mosaic=mosaic,
        acquired=acquisition_time(first),
        tr=tr / 1000 if tr else None,
        planned=_planned(protocol),
        # An object of several volumes counts its own; what is no run is one volume.
        uncounted=_uncounted(header)
        if counted is None and series.kind == "bold" and len({piece.volume for piece in pieces}) == 1
        else None,
    )


def _uncounted(header: Header) -> UnsupportedError:
    return UnsupportedError(f"{describe(header)}: no AcquisitionNumber, so the volume's number is not known")


def _is_mosaic(header: Header, types: list[str]) -> bool:
    # What was processed or made anonymous may have lost the word; what has one slice has no tiles.
    return (
        "MOSAIC" in types
        or "MOSAIC" in header.texts("SiemensImageType")
        or (header.integer("MosaicSize") or 0) > 1
    )


def _refuse_bare_mosaic(header: Header) -> None:
    if not header.raw("CsaImage"):
        raise UnsupportedError(
            f"{describe(header)}: a mosaic without its Siemens CSA header (0029,1010), which holds the "
            "number and direction of the slices; export it with its private elements, on XA as Enhanced"
        )


def _refuse_tiles(header: Header, first: Header) -> None:
    # XA takes mosaics apart into frames, and leaves the word in ImageType. What is one frame is still tiled.
    if len(header.frames) == 1 and "MOSAIC" in first.texts("SiemensImageType"):
        raise UnsupportedError(f"{describe(header)}: an enhanced image of tiles, as of a navigator")


def _volume(header: Header) -> int | None:
    # The same count in mosaics and on XA (TemporalPositionIndex is 1 in every file of XA30's).
    volume = header.integer("AcquisitionNumber") or header.frame(0).integer("FrameAcquisitionNumber")
    return volume if volume and volume > 0 else None


def _echo_times(protocol: Mapping[str, str]) -> list[float]:
    """Echo times of the protocol, ms."""
    count = protocol_count(protocol, "lContrasts")
    return [protocol_count(protocol, f"alTE[{number}]") / 1000 for number in range(count)]


def _echo(header: Header, echo_times: list[float]) -> int:
    time = header.number("EchoTime")
    if time is None or len(echo_times) < 2:
        return 1
    return 1 + min(range(len(echo_times)), key=lambda number: abs(echo_times[number] - time))


def _planned(protocol: Mapping[str, str]) -> int | None:
    # Absent fields of the protocol are zero (repetitions) or one (averages). With averages, or without
    # repetitions, the count of files is not the protocol's to tell.
    repetitions = protocol_count(protocol, "lRepetitions")
    averages = protocol_count(protocol, "lAverages") if "lAverages" in protocol else 1
    return repetitions + 1 if repetitions > 0 and averages == 1 else None
