"""What an MR image shows: BOLD or something else, magnitude or phase; and when it was acquired."""

from __future__ import annotations

import datetime
import re

from rtflow.dicom.instance import Kind, Part, Vendor
from rtflow.dicom.read import Header

_PARTS: dict[str, Part] = {
    **dict.fromkeys(("M", "MAGNITUDE"), "mag"),
    **dict.fromkeys(("P", "PHASE", "PHASE MAP"), "phase"),
    **dict.fromkeys(("R", "REAL"), "real"),
    **dict.fromkeys(("I", "IMAGINARY"), "imag"),
}
_DERIVED = frozenset(
    {
        *("SECONDARY", "T-MAP", "ADC", "FA", "TRACEW", "PROJECTION IMAGE"),
        # Siemens: a difference, its t values, means over time (github.com/Open-Minds-Lab/mrQA/issues/49).
        *("SUB", "TTEST", "MEAN", "STDDEV"),
        # Philips: relaxation times.
        *("T1 MAP", "T2 MAP", "T2* MAP", "R2 MAP", "R2* MAP"),
    }
)
_PERFUSION = frozenset({"ASL", "PERFUSION"})
_FIELD_MAPS = frozenset({"B0", "B0 MAP", "FIELD_MAP", "FIELDMAP"})
_PRIVATE: dict[Vendor, tuple[str, ...]] = {
    "Siemens": ("CsaImage", "SiemensProtocol"),
    "GE": ("GeSlices", "GeProtocol"),
    "Philips": ("PhilipsSlices", "PhilipsEpiFactor"),
}
#: What `kind_of` and `part_of` look at, and may differ from frame to frame.
TOLD_BY = ("GeImageComponent", "ComplexImageComponent", "FrameType", "ImageType")
# At the end of the name, or before what says which part of the signal or which correction.
_SINGLE_BAND = re.compile(r"_SBREF(_(PHA|PHASE|MAG|ND|DIS2D|NORM))*$", re.IGNORECASE)
_GE_PARTS: tuple[Part, ...] = ("mag", "phase", "real", "imag")


def maker(header: Header) -> Vendor | None:
    """Who made the scanner: by Manufacturer, or where that was taken out by private elements of a vendor."""
    stated = header.text("Manufacturer").upper()
    for vendor, elements in _PRIVATE.items():
        if stated.startswith(vendor.upper()) or (not stated and any(map(header.raw, elements))):
            return vendor
    return None


def series_name(header: Header) -> str:
    """SeriesDescription or ProtocolName; may be empty."""
    return header.text("SeriesDescription") or header.text("ProtocolName")


def part_of(header: Header) -> Part:
    """Magnitude, phase, real or imaginary part, by what the vendors write; magnitude if nothing is said."""
    if (code := header.integer("GeImageComponent")) is not None and 0 <= code < 4:
        return _GE_PARTS[code]
    stated = header.text("ComplexImageComponent").upper()
    if stated in _PARTS:
        return _PARTS[stated]
    # Siemens: the third value; Philips: the fourth ("ORIGINAL\PRIMARY\PHASE MAP\P\FFE").
    for value in header.texts("ImageType")[2:5]:
        if value.upper() in _PARTS:
            return _PARTS[value.upper()]
    return "mag"


def kind_of(header: Header) -> Kind:
    """What the image shows."""
    types = [value.upper() for value in (*header.texts("ImageType"), *header.texts("FrameType"))]
    types += [value.upper() for value in header.texts("SiemensImageType")]
    name = (header.text("SequenceName") or header.text("PulseSequenceName")).lstrip("*").lower()
    if not _DERIVED.isdisjoint(types):
        return "derived"
    if name.startswith("fm2d") or not _FIELD_MAPS.isdisjoint(types):
        return "fieldmap"
    scanning = [value.upper() for value in header.texts("ScanningSequence")]
    epi = (
        header.text("EchoPlanarPulseSequence").upper() == "YES"
        or "EP" in scanning
        or name.startswith("ep")
        or (header.integer("PhilipsEpiFactor") or 0) > 1
        or "MOSAIC" in types
    )
    if not epi:
        return "anatomy"
    spin_echo = (
        "SE" in scanning or name.startswith("epse") or header.text("EchoPulseSequence").upper() == "SPIN"
    )
    # "re_b" is diffusion with segments along read-out.
    if spin_echo or "DIFFUSION" in types or name.startswith(("ep_b", "re_b")) or _ge_spin_echo(header):
        return "spin-echo"
    if not _PERFUSION.isdisjoint(types):
        return "perfusion"
    comment = header.text("ImageComments").lower()
    if "single-band reference" in comment or _SINGLE_BAND.search(series_name(header)):
        return "sbref"
    return "bold"


def _ge_spin_echo(header: Header) -> bool:
    # In research mode ScanningSequence is EP and RM for gradient and spin echoes alike. Spin echo is the
    # sequence of diffusion, "epi2", which has a folder before it where it is a site's own.
    sequence = header.text("GeSequence").rpartition("/")[2].lower()
    return sequence.startswith("epi2") or header.text("GeInternalSequence").upper() == "EPI2"


def acquisition_time(header: Header) -> float | None:
    """When acquisition began: seconds since 1970 in this machine's time zone, None if it is not said."""
    frame = header.text("FrameAcquisitionDateTime")
    if frame:
        return _seconds(frame)
    date, time = header.text("AcquisitionDate") or header.text("SeriesDate"), header.text("AcquisitionTime")
    if date and time:
        return _seconds(date + time)
    return _seconds(header.text("AcquisitionDateTime"))


def _seconds(text: str) -> float | None:
    whole, _, fraction = text.partition(".")
    try:
        seconds = _whole_seconds(whole[:14])
    except ValueError:
        return None
    digits = fraction.partition("+")[0].partition("-")[0]
    return seconds + (float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0)


def _whole_seconds(text: str) -> float:
    if len(text) == 14 and text.isascii() and text.isdigit():
        # The same as below in a tenth of the time: each slice has one.
        month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
        return datetime.datetime(int(text[:4]), month, day, hour, minute, second).timestamp()
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%S").timestamp()


def describe(header: Header) -> str:
    """What a DICOM object is, in a few words, for messages."""
    number = header.text("SeriesNumber")
    name = series_name(header)
    kind = "/".join(header.texts("ImageType")) or "no image type"
    maker = header.text("Manufacturer") or "unknown vendor"
    return f"series {number or '?'}" + (f" {name!r}" if name else "") + f", {maker} {kind}"
