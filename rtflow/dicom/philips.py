"""Philips: one file a slice, or one enhanced object for all."""

from __future__ import annotations

from rtflow.dicom.enhanced import enhanced_pieces, places
from rtflow.dicom.geometry import place
from rtflow.dicom.instance import Instance, Piece, Series, UnsupportedError
from rtflow.dicom.kinds import acquisition_time, describe, kind_of, maker, part_of, series_name
from rtflow.dicom.read import Header


def philips(header: Header) -> Instance | None:
    """The place of an object of a Philips scanner; None for another's."""
    if maker(header) != "Philips":
        return None
    first, uncounted = header.frame(0), None
    kind = kind_of(first)
    if header.frames:
        slices, pieces = len(places(header)), enhanced_pieces(header, 1)
        echoes = len({piece.echo for piece in pieces})
    else:
        # InstanceNumber counts the volumes of one slice before it comes to the next.
        volume = header.integer("TemporalPositionIdentifier") or (1 if kind != "bold" else 0)
        if volume < 1:
            uncounted = UnsupportedError(
                f"{describe(header)}: no TemporalPositionIdentifier, so the volume's number is not known"
            )
        slices, echoes = header.integer("PhilipsSlices") or 0, max(header.integer("PhilipsEchoes") or 1, 1)
        if slices < 1 and kind == "bold":
            uncounted = UnsupportedError(
                f"{describe(header)}: no number of slices (2001,1018); "
                "export without removing private elements"
            )
        pieces = (Piece(max(volume, 1), header.integer("EchoNumbers") or 1, place=place(header)),)
    tr = first.number("RepetitionTime")
    return Instance(
        series=Series(
            uid=header.text("SeriesInstanceUID"),
            number=header.integer("SeriesNumber") or 0,
            name=series_name(header),
            kind=kind,
            part=part_of(first),
        ),
        vendor="Philips",
        uid=header.text("SOPInstanceUID"),
        pieces=pieces,
        slices=slices,
        echoes=echoes,
        acquired=acquisition_time(first),
        tr=tr / 1000 if tr else None,
        planned=header.integer("NumberOfTemporalPositions"),
        uncounted=uncounted,
    )
