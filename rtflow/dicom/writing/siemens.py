"""What Siemens scanners write of a protocol, in whichever kind of file."""

from __future__ import annotations

from typing import Any

from rtflow.dicom.writing.common import along_columns, echo_planar, lines, study
from rtflow.dicom.writing.encoding import Elements, public
from rtflow.dicom.writing.series import Layout, ScanSeries

SOFTWARE_XA = "syngo MR XA30"
SERIES, SLICE = "SIEMENS MR SDS 01", "SIEMENS MR SDI 02"


def siemens(series: ScanSeries, layout: Layout, manufacturer: str, version: str) -> Elements:
    """What files of all volumes have in common, of those that hold no functional groups."""
    return (
        study(series)
        | echo_planar(series, layout)
        | public(
            Manufacturer=manufacturer,
            ManufacturerModelName="Prisma" if manufacturer == "SIEMENS" else "MAGNETOM Prisma",
            SoftwareVersions=version,
            ImageComments=image_comments(series),
            ScanningSequence="EP",
            SequenceVariant="SK",
            ScanOptions="FS",
            SequenceName=sequence_name(series, layout),
            AngioFlag="N",
            EchoTrainLength=lines(series, layout),
            PixelBandwidth=2300,
            TransmitCoilName="Body",
            NumberOfAverages=1,
            ImagingFrequency=123.2,
            ImagedNucleus="1H",
            NumberOfPhaseEncodingSteps=lines(series, layout),
        )
    )


def sequence_name(series: ScanSeries, layout: Layout) -> str:
    """An echo-planar sequence of free induction decays, as Siemens names it."""
    return f"epfid2d1_{lines(series, layout)}"


def kind(series: ScanSeries) -> str:
    """Magnitude or phase, as ImageType says it."""
    return "P" if series.image_type == "phase" else "M"


def image_comments(series: ScanSeries) -> str | None:
    """What multiband sequences write beside the image."""
    if series.sbref:
        return "Single-band reference"
    return f"Unaliased MB{series.multiband}/PE3" if series.multiband > 1 else None


def positive(series: ScanSeries) -> int:
    """PhaseEncodingDirectionPositive; rows run against j."""
    return int(series.phase_encoding in ("i", "j-"))


def bandwidth(series: ScanSeries, layout: Layout) -> float:
    """BandwidthPerPixelPhaseEncode, Hz: of an echo spacing of half a millisecond."""
    return 1 / (0.0005 * lines(series, layout))


def slice_plane(layout: Layout) -> str:
    """The component of a slice's position that the protocol states first."""
    return {"axial": "Tra", "coronal": "Cor", "sagittal": "Sag"}[layout.plane]


def protocol(series: ScanSeries, layout: Layout) -> str:
    """The protocol as a text of names and values, between marks."""
    entries: dict[str, object] = {
        "ulVersion": 51130001,
        "tSequenceFileName": '""%SiemensSeq%\\ep2d_bold""',
        "tProtocolName": f'""{series.name}""',
        "tReferenceImage0": f'""{series.uid}.1.1""',
        "lContrasts": len(series.echo_times),
        "lAverages": 1,
        "lTotalScanTimeSec": round(series.tr * (series.planned or 1)),
    }
    if series.planned is not None and series.planned > 1:
        entries["lRepetitions"] = series.planned - 1
    entries["alTR[0]"] = round(series.tr * 1e6)
    for number, echo_time in enumerate(series.echo_times):
        entries[f"alTE[{number}]"] = round(echo_time * 1e6)
    entries["sSliceArray.lSize"] = layout.slices
    entries["sSliceArray.lConc"] = 1
    middle = [layout.columns / 2 - 0.5, layout.rows / 2 - 0.5]
    for number, corner in enumerate(layout.corners):
        place = f"sSliceArray.asSlice[{number}]."
        entries[place + "dThickness"] = layout.spacing[2]
        entries[place + "dPhaseFOV"] = layout.rows * layout.spacing[0]
        entries[place + "dReadoutFOV"] = layout.columns * layout.spacing[1]
        for axis, name in enumerate(("dSag", "dCor", "dTra")):
            entries[place + "sPosition." + name] = round(
                float(corner[axis])
                + middle[0] * layout.spacing[1] * layout.cosines[axis]
                + middle[1] * layout.spacing[0] * layout.cosines[3 + axis],
                6,
            )
            entries[place + "sNormal." + name] = round(layout.normal[axis], 8)
    if series.reversed_slices:
        entries[f"sSliceArray.ucImageNumb{slice_plane(layout)}"] = "0x1"
    entries["sKSpace.lBaseResolution"] = layout.columns if along_columns(series) else layout.rows
    entries["sKSpace.lPhaseEncodingLines"] = lines(series, layout)
    entries["sPat.lAccelFactPE"] = 1
    entries["sSliceAcceleration.lMultiBandFactor"] = 1
    if series.multiband > 1:
        # The multiband sequences of the University of Minnesota keep it here.
        entries["sWipMemBlock.alFree[13]"] = series.multiband
    text = "".join(f"{name}\t = \t{value}\n" for name, value in entries.items())
    return f"### ASCCONV BEGIN ###\n{text}### ASCCONV END ###"


def series_private(series: ScanSeries, layout: Layout) -> dict[int, tuple[str, Any]]:
    """Elements of the creator 'SIEMENS MR SDS 01', which an XA scanner keeps for a whole series."""
    text = f'<XProtocol> \n{{\n  <Name> "PhoenixMetaProtocol" \n{protocol(series, layout)}" \n}}\n'
    return {
        0x05: ("IS", [0, 0, 0]),
        0x0C: ("SH", "+LPH"),
        0x10: ("IS", 63010001),
        0x19: ("OB", text.encode("latin-1")),
        0x22: ("SH", "USER"),
        0x2B: ("ST", f"1;{series.patient_position};70;;{series.sex};0;2;0"),
        0x48: ("CS", "FMRI"),
        0x5C: ("CS", ["PFP", "FS"]),
        0x5E: (
            "LO",
            f"FoV {layout.rows * layout.spacing[0]:.0f}*{layout.columns * layout.spacing[1]:.0f}",
        ),
    }


def frame_private(series: ScanSeries, layout: Layout, number: int) -> dict[int, tuple[str, Any]]:
    """Elements of the creator 'SIEMENS MR SDI 02', which an XA scanner keeps for each slice.

    Parameters
    ----------
    series, layout
        What is scanned.
    number
        Number of the slice, from 0.
    """
    kinds = ["ORIGINAL", "PRIMARY", kind(series), *(["MB"] if series.multiband > 1 else []), "ND"]
    return {
        0x1C: ("IS", positive(series)),
        0x33: ("IS", layout.columns // 2),
        0x42: ("IS", 3400),
        0x48: ("IS", layout.rows // 2),
        0x49: ("IS", layout.columns // 2),
        0x53: ("FD", bandwidth(series, layout)),
        0x58: ("SH", f"{lines(series, layout)}p*{layout.columns}"),
        0x59: ("IS", [0, 0, 0]),
        0x5B: ("FD", layout.corners[number].tolist()),
        0x5E: ("IS", number),
        0x75: ("CS", kinds),
        0x76: ("LO", ["ChannelMixing:ND=true_CMM=1_CDM=1", "CC:SoS"]),
        0x88: ("DS", slice_location(layout, number)),
    }


def frame_counters(
    series: ScanSeries, layout: Layout, number: int, echo: int, volume: int
) -> dict[int, tuple[str, Any]]:
    """Those of them that differ between volumes: time after the start, and the loops' counters.

    Parameters
    ----------
    series, layout
        What is scanned.
    number
        Number of the slice, from 0.
    echo, volume
        Numbers from 1.
    """
    loops = f"X_{echo}_1_1_{volume}_1_1_{number + 1}_1_1_{number + 1}_1_1"
    ends = f"{loops}_1_1_1_1_{series.planned or 1}_2_1_{layout.slices}_1_1"
    return {
        0x04: ("DS", (volume - 1) * series.tr + (layout.times[number] if layout.times else 0)),
        0x06: ("LO", loops),
        0x8A: ("IS", (volume - 1) * layout.slices + number + 1),
        0x8E: ("ST", ends),
    }


def slice_location(layout: Layout, number: int) -> float:
    """How far along the normal a slice lies, mm."""
    return float(layout.corners[number] @ layout.normal)
