"""What identifies people is planted wherever a file has room for it, and must be found nowhere afterwards."""

import struct

import pytest
from persons import (
    BIRTH,
    FAMILY,
    GIVEN,
    HOSPITAL,
    KEY,
    MARK,
    NUMBER,
    ROOT_UID,
    SECRETS,
    SERIAL,
    TABLE,
    WITHIN,
    assert_clean,
    base,
    elements,
    identified,
    opened,
    planted,
    representation,
    stored,
    written,
)
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from rtflow.dicom.csa import read_csa, read_protocol
from rtflow.dicom.deidentify import deidentify
from rtflow.dicom.deidentifying import kept
from rtflow.dicom.identify import read_object
from rtflow.dicom.writing import VENDORS, write_csa
from rtflow.errors import DicomError


@pytest.mark.parametrize("vendor", VENDORS)
def test_nothing_of_the_profile_survives(vendor: str) -> None:
    """Every element of the table at once, at the outermost level and within the sequences that stay."""
    dataset = identified(vendor)
    inner = Dataset()
    for tag in WITHIN:
        if tag in kept.STANDARD:
            continue
        if keyword_for_tag(tag) in ("SOPInstanceUID", "PatientName", "PatientID", "PatientBirthDate"):
            continue
        for level in (dataset, inner):
            level.add_new(tag, representation(tag), planted(tag))
    # Texts that stay lose what identifies the patient, whoever typed it in.
    for place in (dataset, inner):
        place.SeriesDescription = f"bold {FAMILY.upper()}_{NUMBER} run 2"
        place.ProtocolName = f"nback 17.05.1921 {HOSPITAL}/{SERIAL} {GIVEN} 1921-05-17"
        place.SequenceName = FAMILY[:15]
        place.BodyPartExamined = NUMBER
        place.ImageComments = f"told {FAMILY} to lie still"
        place.RescaleType = GIVEN
    dataset.DataSetTrailingPadding = f"{MARK} padding".encode() + b" "
    dataset.MRTimingAndRelatedParametersSequence = Sequence([inner])
    outer = Dataset()
    outer.MRModifierSequence = Sequence([inner])
    dataset.MREchoSequence = Sequence([outer])
    data = deidentify(stored(dataset), KEY)
    assert_clean(data)
    after = opened(data)
    for element in elements(after):
        if int(element.tag) in TABLE and int(element.tag) not in kept.STANDARD and element.VR != "SQ":
            harmless = str(element.value) in ("", "None", "0", "0.0", "REMOVED", "19000101", "000Y", "000000")
            harmless = harmless or str(element.value) == "19000101000000" or element.value == b""
            assert harmless or str(element.value).startswith(("2.25.", "1.2.840.10008.")), element
    assert after.SeriesDescription == "bold _ run 2"
    assert after.MREchoSequence[0].MRModifierSequence[0].SeriesDescription == "bold _ run 2"
    assert read_object(data).instance.pieces == read_object(written(vendor)).instance.pieces


@pytest.mark.parametrize("tag", WITHIN, ids=lambda tag: f"{tag:08x}")
def test_each_element_of_the_profile_alone(tag: int) -> None:
    dataset = base()
    value, kind = planted(tag), representation(tag)
    if tag == tag_for_keyword("SOPInstanceUID"):
        dataset.file_meta.MediaStorageSOPInstanceUID = value
    dataset.add_new(tag, kind, value)
    if kind == "UI" or tag in kept.STANDARD:
        secrets = [FAMILY, NUMBER, ROOT_UID] if tag not in kept.DESCRIPTIONS.values() else [NUMBER]
        if tag not in (*kept.TIMES.values(), *kept.DESCRIPTIONS.values()):
            secrets.append(BIRTH)
    else:
        secrets = [
            FAMILY,
            GIVEN,
            NUMBER,
            HOSPITAL,
            BIRTH,
            MARK,
            ROOT_UID,
            "031415.9265",
            "31415.9265",
            "314159265",
        ]
    assert_clean(deidentify(stored(dataset), KEY), secrets)


def test_private_elements() -> None:
    dataset = identified()
    text = f"{MARK} {FAMILY} {NUMBER}"
    for group, creator in {(group, creator.decode()) for group, creator, _ in kept.PRIVATE}:
        block = dataset.private_block(group, creator, create=True)
        for number in range(256):
            place = (group, creator.encode(), number)
            if place not in kept.PRIVATE:
                block.add_new(number, "LO", text)
            elif (
                kept.PRIVATE[place] in (kept.Form.NUMBERS, kept.Form.CODE)
                and block.get_tag(number) not in dataset
            ):
                block.add_new(number, "LO", FAMILY)
    # Somebody else's block with the numbers of elements that are kept, and a creator that is a secret itself.
    for creator in ("SOMEBODY ELSE", FAMILY):
        block = dataset.private_block(0x0029, creator, create=True)
        block.add_new(0x10, "OB", text.encode())
        block.add_new(0x20, "UT", text)
        nested = Dataset()
        nested.PatientName = FAMILY
        block.add_new(0x30, "SQ", Sequence([nested]))
    sequence = Dataset()
    inner = sequence.private_block(0x0021, "SIEMENS MR SDS 01", create=True)
    inner.add_new(
        0x19,
        "OB",
        f'### ASCCONV BEGIN ###\nlRepetitions = 4\ntPatientName = ""{FAMILY}""\n'
        f'tSequenceFileName = ""%CustomerSeq%\\{FAMILY}""\n### ASCCONV END ###'.encode(),
    )
    inner.add_new(0x01, "LO", text)
    sequence.PatientID = NUMBER
    dataset.private_block(0x0021, "SIEMENS MR SDS 01").add_new(0xFE, "SQ", Sequence([sequence]))
    data = deidentify(stored(dataset), KEY)
    assert_clean(data)
    after = opened(data)
    creators = {str(e.value) for e in elements(after) if e.tag.is_private and 0x10 <= e.tag.element <= 0xFF}
    assert creators <= {creator.decode() for _, creator, _ in kept.PRIVATE}
    private = {
        (e.tag.group, e.private_creator.encode(), e.tag.element & 0xFF)
        for e in elements(after)
        if e.tag.is_private and e.tag.element > 0xFF
    }
    assert private
    assert private <= set(kept.PRIVATE)
    protocol = after.get_private_item(0x0021, 0xFE, "SIEMENS MR SDS 01").value[0]
    assert b"lRepetitions\t = \t4\n" in protocol.get_private_item(0x0021, 0x19, "SIEMENS MR SDS 01").value


def test_headers_of_siemens_are_written_anew() -> None:
    dataset = identified()
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER")
    image = bytearray(
        write_csa(
            {
                "NumberOfImagesInMosaic": ["4"],
                "SliceNormalVector": ["0", "0", FAMILY],
                "PatientName": [FAMILY],
                "ImageComments": [NUMBER],
            }
        )
    )
    # Behind a name and behind a value lie remains of the scanner's memory.
    name = b"NumberOfImagesInMosaic\0"
    image[image.index(name) + len(name) :][:14] = b""
    at = image.index(name) + len(name)
    image[at : at + len(FAMILY)] = FAMILY.encode()
    block[0x10].value = bytes(image)
    series = f"{MARK} ### ASCCONV BEGIN ###\nlRepetitions = 9 # {FAMILY}\nlContrasts = {FAMILY}\n"
    series += f'sName = "{FAMILY}"\ntSequenceFileName = ""%CustomerSeq%\\{FAMILY}\\ep2d""\n'
    block[0x20].value = write_csa({"MrPhoenixProtocol": [series + "### ASCCONV END ###"], "Name": [FAMILY]})
    data = deidentify(stored(dataset), KEY)
    assert_clean(data)
    header = opened(data).get_private_item(0x0029, 0x10, "SIEMENS CSA HEADER").value
    assert read_csa(header, {"NumberOfImagesInMosaic", "SliceNormalVector", "PatientName"}) == {
        "NumberOfImagesInMosaic": ["4"],
        "SliceNormalVector": ["0", "0"],
    }
    assert read_protocol(opened(data).get_private_item(0x0029, 0x20, "SIEMENS CSA HEADER").value) == {
        "lRepetitions": "9"
    }


def test_headers_of_siemens_that_cannot_be_read_are_refused() -> None:
    dataset = base()
    dataset.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value = b"old " + FAMILY.encode()
    with pytest.raises(DicomError, match="not of version 2"):
        deidentify(stored(dataset), KEY)


def test_overlays_and_curves_are_removed() -> None:
    dataset = identified()
    for group in (0x6000, 0x6002, 0x601E):
        dataset.add_new(group << 16 | 0x0010, "US", 8)
        dataset.add_new(group << 16 | 0x0100, "US", 1)
        dataset.add_new(group << 16 | 0x1500, "LO", f"{MARK} label")
        dataset.add_new(group << 16 | 0x3000, "OW", f"{MARK} overlay".encode() + b" ")
        dataset.add_new(group << 16 | 0x4000, "LT", f"{FAMILY} overlay")
    for group in (0x5000, 0x501E):
        dataset.add_new(group << 16 | 0x0022, "LO", f"{MARK} curve")
        dataset.add_new(group << 16 | 0x3000, "OW", f"{MARK} curve".encode() + b" ")
    data = deidentify(stored(dataset), KEY)
    assert_clean(data)
    assert not [e for e in opened(data) if e.tag.group & 0xFF00 in (0x5000, 0x6000)]


def test_what_lies_around_the_data_set() -> None:
    dataset = identified()
    dataset.preamble = f"{FAMILY} was here".encode().ljust(128, b"x")
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = MARK
    meta.SendingApplicationEntityTitle = MARK
    meta.PrivateInformationCreatorUID = UID(ROOT_UID + "1")
    meta.PrivateInformation = FAMILY.encode()
    meta.ImplementationVersionName = FAMILY[:15]
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    signature = Dataset()
    signature.CertificateOfSigner = FAMILY.encode()
    dataset.add_new(0xFFFAFFFA, "SQ", Sequence([signature]))
    dataset.add_new(0xFFFCFFFC, "OB", f"{MARK}{NUMBER}".encode() + b" ")
    # Longer pixel data than there are pixels.
    dataset.PixelData += FAMILY.encode()
    original = str(dataset.SOPInstanceUID)
    data = deidentify(stored(dataset) + f"{FAMILY} at the end".encode(), KEY)
    assert_clean(data, [*SECRETS, original])
    after = opened(data)
    assert data[:128] == bytes(128)
    assert FAMILY.encode() not in data
    assert len(after.PixelData) == 2 * after.Rows * after.Columns
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert {e.keyword for e in after.file_meta} == {
        *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID"),
        *("MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID"),
        "ImplementationVersionName",
    }


def test_texts_where_numbers_belong() -> None:
    """Values that are not what their representation says they are do not slip through."""
    data = stored(identified())
    places = [
        (0x00180080, b"DS", f"{FAMILY} ".encode()),  # RepetitionTime
        (0x00200013, b"IS", f"{NUMBER} ".encode()),  # InstanceNumber
        (0x00181314, b"LO", f"{FAMILY} ".encode()),  # FlipAngle as a text
        (0x00080022, b"DA", f"{FAMILY} ".encode()),
        (0x00080032, b"TM", f"{FAMILY} ".encode()),
        (0x00180091, b"UN", f"{FAMILY} ".encode()),
        (0x00189087, b"FD", f"{FAMILY} ".encode()[:14].ljust(16)),
        (0x00180023, b"CS", b"not capitals"),
    ]
    dataset = opened(data)
    for tag, _, _ in places:
        if tag in dataset:
            del dataset[tag]
    plain = stored(dataset)
    for tag, kind, value in places:
        head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind)
        head += struct.pack("<HI", 0, len(value)) if kind == b"UN" else struct.pack("<H", len(value))
        at = next(
            i
            for i in sorted(
                plain.find(struct.pack("<HH", e.tag.group, e.tag.element) + e.VR.encode())
                for e in dataset
                if e.tag > tag
            )
            if i > 0
        )
        safe = deidentify(plain[:at] + head + value + plain[at:], KEY)
        assert_clean(safe)
        assert tag not in opened(safe)
