"""Field by field: the metadata of real series by rtflow and by dcm2niix, and why they differ."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Verdict = Literal["equal", "differ", "rtflow only", "dcm2niix only"]

#: XA software counts the time of a frame in ticks of 2.5 ms. What dcm2niix gives for a run is, slice by
#: slice, up to one tick away from each single volume of it.
TICK = 0.0025

_PERSON = "identifies the person"
_PLACE = "identifies the place or the device"
_EXAM = "identifies the examination"
_CONVERTER = "is about the converter"
_NO_BIDS = "is no field of BIDS, and no node needs it"
_JOINED = "BIDS has a list of strings; dcm2niix joins them with a backslash"

#: Why a field differs so: (field, verdict) to reason.
REASONS: dict[tuple[str, Verdict], str] = {
    **{
        (f"Patient{name}", "dcm2niix only"): _PERSON
        for name in ("Age", "BirthDate", "ID", "Name", "Sex", "Size", "Weight")
    },
    ("ReferringPhysicianName", "dcm2niix only"): _PERSON,
    **{
        (name, "dcm2niix only"): _PLACE
        for name in (
            *("DeviceSerialNumber", "InstitutionAddress", "InstitutionName", "InstitutionalDepartmentName"),
            "StationName",
        )
    },
    **{
        (name, "dcm2niix only"): _EXAM
        for name in (
            *("AcquisitionDateTime", "ProcedureStepDescription", "SeriesInstanceUID", "StudyDescription"),
            *("StudyID", "StudyInstanceUID"),
        )
    },
    ("ImageComments", "dcm2niix only"): "is free text, which may identify the person",
    **{
        (name, "dcm2niix only"): _CONVERTER
        for name in (
            *("BidsGuess", "ConversionSoftware", "ConversionSoftwareVersion"),
            "UsePhilipsFloatNotDisplayScaling",
        )
    },
    **{
        (name, "dcm2niix only"): _NO_BIDS
        for name in (
            *("ConsistencyInfo", "DerivedVendorReportedEchoSpacing", "DeidentificationMethod"),
            *("FrequencyEncodingSteps", "ImageOrientationPatientDICOM", "ImageOrientationText"),
            *("ImageTypeText", "InternalPulseSequenceName", "NumberOfKSpaceTrajectories"),
            *("PhaseEncodingPolarityGE", "PhaseEncodingStepsOutOfPlane", "PrescanReuseString", "RefLinesPE"),
            *("SAR", "ShimSetting", "TxRefAmp", "WipMemBlock"),
        )
    },
    **{(name, "differ"): _JOINED for name in ("ScanOptions", "ScanningSequence", "SequenceVariant")},
    ("ImageType", "differ"): "as the header has it; dcm2niix breaks values at underscores and adds MAGNITUDE",
    ("AcquisitionDuration", "dcm2niix only"): (
        "by BIDS the duration of one volume, and not beside RepetitionTime; dcm2niix gives the run's"
    ),
    ("CoilString", "dcm2niix only"): "is the receive coil's name, which BIDS calls ReceiveCoilName",
    ("ReceiveCoilName", "rtflow only"): "dcm2niix calls it CoilString (GE, Philips)",
    ("MatrixCoilMode", "dcm2niix only"): (
        "by BIDS how coil elements are joined by hardware; dcm2niix gives the acceleration technique, and "
        "SENSE where the protocol says that there is none"
    ),
    ("ParallelAcquisitionTechnique", "rtflow only"): (
        "from the protocol's sPat.ucPATMode; dcm2niix gives it as MatrixCoilMode (Siemens)"
    ),
    ("TablePosition", "dcm2niix only"): (
        "Siemens states it in an element that these files lack, where dcm2niix writes zeros; GE and "
        "Philips in none that is documented"
    ),
    ("EstimatedEffectiveEchoSpacing", "dcm2niix only"): "is an estimate from the water-fat shift (Philips)",
    ("EstimatedTotalReadoutTime", "dcm2niix only"): "is an estimate from the water-fat shift (Philips)",
    ("PulseSequenceType", "differ"): (
        "Philips says in (2001,1013) and (0018,9018) that the images are echo-planar"
    ),
    (
        "PhilipsRescaleSlope",
        "dcm2niix only",
    ): "the header has a real-world slope only; dcm2niix gives it twice",
    ("PhilipsRescaleIntercept", "dcm2niix only"): (
        "the header has a real-world intercept only; dcm2niix gives it twice"
    ),
    ("PhilipsScaleIntercept", "rtflow only"): "dcm2niix leaves it out where it is zero",
    ("SeriesNumber", "differ"): "the number on the console; each volume was split into a series of its own",
}


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], slack: float) -> dict[str, Verdict]:
    """Field to verdict; slice times may differ by `slack` seconds, other numbers in the sixth digit."""
    verdicts: dict[str, Verdict] = {}
    for name in sorted(set(ours) | set(theirs)):
        if name not in theirs:
            verdicts[name] = "rtflow only"
        elif name not in ours:
            verdicts[name] = "dcm2niix only"
        else:
            verdicts[name] = (
                "equal" if _same(ours[name], theirs[name], slack * (name == "SliceTiming")) else "differ"
            )
    return verdicts


def _same(ours: Any, theirs: Any, slack: float) -> bool:
    if isinstance(ours, str) or isinstance(theirs, str) or np.shape(ours) != np.shape(theirs):
        return bool(ours == theirs)
    if np.asarray(ours).dtype.kind not in "biuf" or np.asarray(theirs).dtype.kind not in "biuf":
        return bool(ours == theirs)
    # dcm2niix prints six digits, and slice times to 10 microseconds or so.
    return np.allclose(ours, theirs, rtol=1e-5, atol=slack + 1e-5)


def markdown(compared: Mapping[str, Mapping[str, Verdict]]) -> str:
    """The table: a row per field, how many series say what of it, and why.

    Parameters
    ----------
    compared
        Series to what `compare` found.
    """
    rows = ["| field | equal | differ | rtflow only | dcm2niix only | why |", "|---|---|---|---|---|---|"]
    for name in sorted({name for verdicts in compared.values() for name in verdicts}):
        found = [verdicts[name] for verdicts in compared.values() if name in verdicts]
        counts = [found.count(verdict) for verdict in ("equal", "differ", "rtflow only", "dcm2niix only")]
        why = "; ".join(
            dict.fromkeys(REASONS.get((name, verdict), "?") for verdict in found if verdict != "equal")
        )
        rows.append("| " + " | ".join([name, *(str(count or "") for count in counts), why]) + " |")
    return "\n".join(rows) + "\n"
