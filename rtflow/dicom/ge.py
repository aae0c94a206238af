"""GE: one file a slice."""

from __future__ import annotations

import struct

from rtflow.dicom.geometry import place
from rtflow.dicom.instance import Instance, Piece, Series, UnsupportedError
from rtflow.dicom.kinds import acquisition_time, describe, kind_of, maker, part_of, series_name
from rtflow.dicom.read import Header


def ge(header: Header) -> Instance | None:
    """The place of an object of a GE scanner; None for another's."""
    if maker(header) != "GE":
        return None
    if header.frames:
        raise UnsupportedError(
            f"{describe(header)}: enhanced objects of GE are not supported; "
            "export classic ones (MR Image Storage)"
        )
    slices, uncounted = header.integer("GeSlices") or 0, None
    number = header.integer("InstanceNumber") or 0
    if number < 1:
        uncounted = UnsupportedError(
            f"{describe(header)}: no InstanceNumber, so the slice's place in the run is not known"
        )
    kind = kind_of(header)
    if slices < 1 and kind == "bold":
        uncounted = UnsupportedError(
            f"{describe(header)}: no number of slices (0021,104f); export without removing private elements"
        )
    echoes = max(header.integer("GeEchoes") or 1, 1) if kind == "bold" else 1
    # A run is numbered through: the slices of a volume (and its echoes) follow one another.
    volume, within = divmod(number - 1, slices * echoes) if slices and number > 0 else (0, 0)
    stated = header.integer("EchoNumbers") or None
    echo = within // slices + 1 if slices and echoes > 1 else stated or 1
    if uncounted is None and kind == "bold" and (echo > echoes or (stated is not None and stated != echo)):
        # Some sequences number each echo's images from 1, or call every echo the first.
        uncounted = UnsupportedError(
            f"{describe(header)}: image {number} is of echo {stated} by EchoNumbers, and of echo "
            f"{min(echo, echoes)} of {echoes} by its number, {slices} slices after one another"
        )
    if uncounted is not None:
        volume, echo = 0, stated or 1
    tr = sampling_time(header)
    began = acquisition_time(header)
    return Instance(
        series=Series(
            uid=header.text("SeriesInstanceUID"),
            number=header.integer("SeriesNumber") or 0,
            name=series_name(header),
            kind=kind,
            part=part_of(header),
        ),
        vendor="GE",
        uid=header.text("SOPInstanceUID"),
        pieces=(Piece(volume + 1, echo, place=place(header)),),
        slices=slices,
        echoes=echoes,
        # AcquisitionTime is that of the series' begin in each file.
        acquired=began + volume * tr if began is not None and tr else began,
        tr=tr,
        planned=header.integer("NumberOfTemporalPositions") if kind == "bold" else None,
        uncounted=uncounted,
    )


def sampling_time(header: Header) -> float | None:
    """Seconds from volume to volume: RepetitionTime leaves out the delay after each group of slices."""
    tr = header.number("RepetitionTime")
    delay = header.number("GeGroupDelay") or 0.0
    # Seconds, or milliseconds in some versions: no delay is as long as a minute.
    if delay > 60:
        delay /= 1000
    return tr / 1000 + max(delay, 0.0) if tr else None


def filled_forwards(header: Header) -> bool | None:
    """Whether k-space is filled along the image's own phase axis; None if the header does not say.

    Software from release 27 on says so; before, it stands in the pulse sequence's own variables, whose
    places are described with dcm2niix (GE/README.md, User Define Data GE).
    """
    stated = {"LINEAR": True, "REVERSE_LINEAR": False}.get(
        header.text("RectilinearPhaseEncodeReordering").upper()
    )
    return _from_variables(header.raw("GeUserData")) if stated is None else stated


def _from_variables(block: bytes) -> bool | None:
    try:
        (start,) = struct.unpack_from("<H", block, 24)
        (version,) = struct.unpack_from("<f", block, start)
        polarity, order = start + 0x30, start + 0x394
        if version >= 25.002:
            polarity, order = polarity + 0x4C, order + 0x4C - 0x8C
        (is_epi,) = struct.unpack_from("<H", block, polarity + 10)
        (flags,) = struct.unpack_from("<H", block, polarity)
        (direction,) = struct.unpack_from("<H", block, order)
    except struct.error:
        return None
    if not 5 <= version <= 40 or not is_epi & 0x800:
        return None
    # Flipped gradients, or lines from the bottom upwards; both together are as before.
    return not (bool(flags & 4) ^ (direction == 2))
