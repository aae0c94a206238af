"""Enhanced MR objects: which of their frames make which volume."""

from __future__ import annotations

from rtflow.dicom.geometry import place
from rtflow.dicom.instance import Kind, Part, Piece
from rtflow.dicom.kinds import TOLD_BY, kind_of, part_of
from rtflow.dicom.read import Header
from rtflow.errors import DicomError

_COUNTS = ("TemporalPositionIndex", "FrameAcquisitionNumber", "TemporalPositionIdentifier")


def places(header: Header) -> list[float]:
    """Where the planes of the object lie along their normal, mm, ascending, each once."""
    return sorted({place(header.frame(number)) for number in range(len(header.frames))})


def shown_apart(header: Header) -> list[list[int]]:
    """Numbers of the frames that show the same kind and part of the signal; magnitude of BOLD comes first.

    Frames that say the same of themselves are asked once.
    """
    known: dict[tuple[bytes, ...], tuple[Kind, Part]] = {}
    apart: dict[tuple[Kind, Part], list[int]] = {}
    for number in range(len(header.frames)):
        frame = header.frame(number)
        said = tuple(map(frame.raw, TOLD_BY))
        if said not in known:
            known[said] = kind_of(frame), part_of(frame)
        apart.setdefault(known[said], []).append(number)
    return [apart[key] for key in sorted(apart, key=lambda key: (key[1] != "mag", key[0] != "bold"))]


def enhanced_pieces(header: Header, volume: int, echo_times: list[float] | None = None) -> tuple[Piece, ...]:
    """The pieces of an object of several frames.

    Frames are told apart by their place and echo time; several frames of one place and echo are volumes,
    in the order of what counts them (the index of their time, else their order in the object).

    Parameters
    ----------
    header
        Header with its frames, all of one kind and part of the signal.
    volume
        Number of the volume of an object that holds one; one with several holds 1, 2, 3 ...
    echo_times
        Echo times of the protocol, ms, ascending; those in the object if they are not known.

    Raises
    ------
    DicomError
        If frames are as many as they should be for no number of volumes.
    """
    frames = [header.frame(number) for number in range(len(header.frames))]
    times = [_echo_time(frame) for frame in frames]
    known = echo_times if echo_times and len(echo_times) > 1 else sorted(set(times))
    seen: dict[tuple[float, int], list[int]] = {}
    for number, frame in enumerate(frames):
        echo = 1 + min(range(len(known)), key=lambda index: abs(known[index] - times[number]))
        seen.setdefault((place(frame), echo), []).append(number)
    counts = {len(numbers) for numbers in seen.values()}
    if len(counts) != 1:
        raise DicomError(
            f"damaged: {len(frames)} frames do not make whole volumes; some planes are there "
            f"{min(counts)} times, others {max(counts)} times"
        )
    count = counts.pop()
    if count > 1:
        for numbers in seen.values():
            numbers.sort(key=lambda number: _when(frames[number]))
    first = volume if count == 1 else 1
    if len(seen) == 1 and count == 1:
        (where, echo), numbers = next(iter(seen.items()))
        return (Piece(first, echo, tuple(numbers), where),)
    echoes = sorted({echo for _, echo in seen})
    return tuple(
        Piece(
            first + nth,
            echo,
            tuple(seen[key][nth] for key in sorted(seen) if key[1] == echo),
        )
        for nth in range(count)
        for echo in echoes
    )


def _echo_time(frame: Header) -> float:
    # Rounded to a microsecond: the same echo is written with other last digits in some frames.
    return round(frame.number("EffectiveEchoTime") or frame.number("EchoTime") or 0.0, 3)


def _when(frame: Header) -> tuple[float, ...]:
    return tuple(frame.number(name) or 0.0 for name in _COUNTS)
