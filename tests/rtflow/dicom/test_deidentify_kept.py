"""What a de-identified file keeps and how: texts, UIDs, dates, the record of what was done."""

import subprocess
import sys

import pytest
from persons import (
    BIRTH,
    KEY,
    MARK,
    NUMBER,
    TABLE,
    base,
    elements,
    opened,
    stored,
    without_pixels,
)
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from rtflow.dicom.deidentify import deidentify
from rtflow.dicom.deidentifying import kept
from rtflow.dicom.deidentifying.headers import reduced_protocol
from rtflow.dicom.deidentifying.profile import EDITION, Fate, fate_of
from rtflow.dicom.identify import read_object


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 192", "Čapek^Žofie"), ("ISO_IR 144", "Люкceмбypг"), ("ISO_IR 100", "Østergård^Åse")],
)
def test_names_in_other_alphabets(charset: str, name: str) -> None:
    dataset = base()
    dataset.SpecificCharacterSet = charset
    dataset.PatientName = name
    dataset.SeriesDescription = f"bold {name.replace('^', ' ')} two"
    dataset.ProtocolName = "Покой" if charset == "ISO_IR 144" else "Ablösung"
    after = opened(deidentify(stored(dataset), KEY))
    assert after.SeriesDescription in ("bold   two", "bold  two", "")
    assert after.ProtocolName == dataset.ProtocolName


def test_short_names_and_numbers_do_not_eat_the_protocol() -> None:
    dataset = base()
    dataset.PatientName, dataset.PatientID, dataset.StudyID = "Li^A", "1", "01"
    dataset.InstitutionName = "fMRI"
    dataset.SeriesDescription = "func_task-lights_run-01_Li"
    dataset.ProtocolName = "fmri_1_a"
    after = opened(deidentify(stored(dataset), KEY))
    assert after.SeriesDescription == "func_task-lights_run-01_"
    assert after.ProtocolName == "fmri_1_a"


def test_a_phantom_named_after_its_scanner_stays_readable() -> None:
    dataset = base()
    dataset.PatientName = "Siemens^Mosaic"
    dataset.SeriesDescription = "Mosaic test"
    data = deidentify(stored(dataset), KEY)
    assert opened(data).SeriesDescription.strip() == "test"
    assert read_object(data).instance.mosaic


def test_comments_of_multiband_sequences_stay() -> None:
    for comment, stays in (
        ("Single-band reference SENSE1", True),
        ("Unaliased MB3/PE3/LB", True),
        ("Unaliased MB8/PE4 SENSE1 and moved", False),
        ("restless", False),
    ):
        dataset = base()
        dataset.ImageComments = comment
        assert ("ImageComments" in opened(deidentify(stored(dataset), KEY))) is stays


def test_what_was_done_is_recorded() -> None:
    dataset = base()
    dataset.PatientIdentityRemoved = "NO"
    dataset.DeidentificationMethod = f"{MARK} by hand"
    after = opened(deidentify(stored(dataset), KEY))
    assert after.PatientIdentityRemoved == "YES"
    assert EDITION in after.DeidentificationMethod
    assert after.LongitudinalTemporalInformationModified == "UNMODIFIED"
    codes = [
        (code.CodeValue, code.CodingSchemeDesignator) for code in after.DeidentificationMethodCodeSequence
    ]
    assert codes == [("113100", "DCM"), ("113105", "DCM"), ("113106", "DCM"), ("113111", "DCM")]
    from pydicom.sr.codedict import codes as known

    meanings = {code.CodeValue: code.CodeMeaning for code in after.DeidentificationMethodCodeSequence}
    names = [name for name in known.cid7050.dir() if getattr(known.cid7050, name).value in meanings]
    assert {getattr(known.cid7050, n).value: getattr(known.cid7050, n).meaning for n in names} == meanings
    moved = opened(deidentify(stored(dataset), KEY, dates="moved"))
    assert "113107" in [code.CodeValue for code in moved.DeidentificationMethodCodeSequence]
    assert moved.LongitudinalTemporalInformationModified == "MODIFIED"


def test_uids_are_replaced_consistently() -> None:
    first, second = base(), base()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    reference = Dataset()
    reference.ReferencedSOPClassUID = first.SOPClassUID
    reference.ReferencedSOPInstanceUID = first.SOPInstanceUID
    second.ReferencedImageSequence = Sequence([reference])
    one, other = (opened(deidentify(stored(dataset), KEY)) for dataset in (first, second))
    assert one.SeriesInstanceUID == other.SeriesInstanceUID != first.SeriesInstanceUID
    assert one.StudyInstanceUID == other.StudyInstanceUID != first.StudyInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert other.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert one.SOPClassUID == first.SOPClassUID
    uids = [e.value for e in elements(other) if e.VR == "UI"]
    assert uids
    assert all(UID(uid).is_valid for uid in uids)
    another = opened(deidentify(stored(first), KEY[::-1]))
    assert another.SeriesInstanceUID not in (one.SeriesInstanceUID, first.SeriesInstanceUID)
    assert deidentify(stored(first), KEY) == deidentify(stored(first), KEY)


def test_dates_stay_or_are_moved_together() -> None:
    dataset = base("siemens-xa")
    dataset.PatientID = NUMBER
    dataset.PatientBirthDate = BIRTH
    data = stored(dataset)
    same, moved = opened(deidentify(data, KEY)), opened(deidentify(data, KEY, dates="moved"))
    assert same.AcquisitionDateTime == dataset.AcquisitionDateTime
    before, after = read_object(data).instance, read_object(deidentify(data, KEY, dates="moved")).instance
    assert before.acquired is not None
    assert after.acquired is not None
    days = (before.acquired - after.acquired) / 86400
    # In summer a day's clock may be an hour off.
    assert abs(days - round(days)) <= 1 / 24
    assert 1 <= round(days) <= 3650
    for element in elements(dataset):
        if element.VR == "TM" and int(element.tag) in kept.STANDARD:
            assert moved[element.tag].value == element.value
    other = base("siemens-xa")
    other.PatientID = "another"
    assert (
        opened(deidentify(stored(other), KEY, dates="moved")).AcquisitionDateTime != moved.AcquisitionDateTime
    )
    raw = without_pixels(deidentify(data, KEY, dates="moved"))
    assert str(dataset.StudyDate).encode() not in raw


def test_descriptions_may_be_removed() -> None:
    after = opened(deidentify(stored(base()), KEY, descriptions="removed"))
    assert "SeriesDescription" not in after
    assert "ProtocolName" not in after
    assert after.SequenceName


def test_the_lists_say_what_they_mean() -> None:
    for names in (kept.DESCRIPTIONS, kept.SOFTWARE, kept.TIMES, kept.SCALES):
        for name, tag in names.items():
            assert tag_for_keyword(name) == tag
            assert fate_of(tag) not in (Fate.REMOVED, Fate.EMPTIED, Fate.DUMMY)


def test_the_table_is_that_of_the_standard() -> None:
    """A few of each action, as PS3.15 prints them."""
    printed = {
        Fate.EMPTIED: "AccessionNumber PatientName PatientID PatientSex ReferringPhysicianName",
        Fate.REMOVED: "PatientAge PatientWeight InstitutionAddress OtherPatientIDs StudyDescription "
        "CurveDate DigitalSignaturesSequence DataSetTrailingPadding PerformedProcedureStepID",
        Fate.DUMMY: "ClinicalTrialProtocolID DeviceSerialNumber PersonName InstanceCreationDate DetectorID",
        Fate.UID: "SOPInstanceUID FrameOfReferenceUID DeviceUID ConcatenationUID DimensionOrganizationUID",
    }
    for fate, keywords in printed.items():
        for keyword in keywords.split():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            assert fate_of(tag) is fate, keyword
    assert len(TABLE) > 600


def test_light_to_import_and_prepared_before_the_first_image() -> None:
    program = (
        "import sys; from rtflow.dicom.deidentify import deidentify, prepare; "
        "heavy = {'pydicom', 'numpy', 'dicomanonymizer'}; assert not heavy & set(sys.modules); "
        "prepare(); assert {'pydicom', 'dicomanonymizer'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_protocol_with_a_letter_that_is_none_of_its_own_loses_that_line() -> None:
    lines = ["sSliceAcceleration.lMultiBandFactor\t = \t3", "sSliceAcceleration.\xaaMultiBandFactor\t = \t3"]
    text = "\n".join(["### ASCCONV BEGIN ###", *lines, "### ASCCONV END ###"]).encode("latin-1")
    kept_lines = reduced_protocol(text, str).decode("ascii")
    assert lines[0] in kept_lines
    assert lines[1] not in kept_lines
