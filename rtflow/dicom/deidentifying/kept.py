"""What a de-identified object keeps: the explicit list. Whoever reads a further element adds it here.

An element that stands here is kept against the profile or in addition to it; how it is made safe follows from
its value representation: texts lose whatever identifies the patient, numbers must be numbers, dates must be
dates. Private elements stand with the form that they must have.
"""

from __future__ import annotations

from enum import Enum


class Form(Enum):
    """What a kept private element may hold."""

    NUMBERS = "numbers, binary or as text"
    CODE = "words of the vendor's own"
    SEQUENCE = "items, whose elements are treated one by one"
    CSA_IMAGE = "Siemens CSA header of an image"
    CSA_SERIES = "Siemens CSA header of a series"
    PROTOCOL = "Siemens protocol"
    GE_PROTOCOL = "GE protocol, compressed"
    GE_VARIABLES = "variables of a GE pulse sequence"


#: Texts that people write, which tell the task: cleaned, or left out if the caller says so.
DESCRIPTIONS = {"SeriesDescription": 0x0008103E, "ProtocolName": 0x00181030}
#: Texts that the scanner's software writes.
SOFTWARE = {
    "Manufacturer": 0x00080070,
    "ManufacturerModelName": 0x00081090,
    "SequenceName": 0x00180024,
    "ImagedNucleus": 0x00180085,
    "SoftwareVersions": 0x00181020,
    "ReceiveCoilName": 0x00181250,
    "TransmitCoilName": 0x00181251,
    "PulseSequenceName": 0x00189005,
    "MultiCoilElementName": 0x00189047,
    "StackID": 0x00209056,
    "RescaleType": 0x00281054,
    # The codes of anatomy and units that enhanced objects must have.
    "CodeValue": 0x00080100,
    "CodingSchemeDesignator": 0x00080102,
    "CodeMeaning": 0x00080104,
}
#: When the image was acquired. Whoever gets it in real time knows that anyway.
TIMES = {
    "StudyDate": 0x00080020,
    "SeriesDate": 0x00080021,
    "AcquisitionDate": 0x00080022,
    "ContentDate": 0x00080023,
    "AcquisitionDateTime": 0x0008002A,
    "StudyTime": 0x00080030,
    "SeriesTime": 0x00080031,
    "AcquisitionTime": 0x00080032,
    "ContentTime": 0x00080033,
    "FrameAcquisitionDateTime": 0x00189074,
    "FrameReferenceDateTime": 0x00189151,
}
#: Scales of stored values, in a group that else describes requests and procedures.
SCALES = {
    "RealWorldValueMappingSequence": 0x00409096,
    "RealWorldValueLastValueMapped": 0x00409211,
    "RealWorldValueFirstValueMapped": 0x00409216,
    "RealWorldValueIntercept": 0x00409224,
    "RealWorldValueSlope": 0x00409225,
}
STANDARD = frozenset({*DESCRIPTIONS.values(), *SOFTWARE.values(), *TIMES.values(), *SCALES.values()})

#: Groups that describe the image. An element of another one, which the profile does not name, is removed.
IMAGE_GROUPS = frozenset({0x0008, 0x0018, 0x0020, 0x0028, 0x2050, 0x5200})

#: Private elements: group, creator, element within the creator's block.
PRIVATE: dict[tuple[int, bytes, int], Form] = {
    (0x0019, b"SIEMENS MR HEADER", 0x0A): Form.NUMBERS,  # slices in a mosaic
    (0x0019, b"SIEMENS MR HEADER", 0x14): Form.NUMBERS,  # position of the table
    (0x0019, b"SIEMENS MR HEADER", 0x18): Form.NUMBERS,  # dwell time
    (0x0019, b"SIEMENS MR HEADER", 0x28): Form.NUMBERS,  # bandwidth along the phase encoding
    (0x0019, b"SIEMENS MR HEADER", 0x29): Form.NUMBERS,  # slice times
    (0x0029, b"SIEMENS CSA HEADER", 0x10): Form.CSA_IMAGE,
    (0x0029, b"SIEMENS CSA HEADER", 0x20): Form.CSA_SERIES,
    (0x0051, b"SIEMENS MR HEADER", 0x0F): Form.CODE,  # coil elements
    (0x0051, b"SIEMENS MR HEADER", 0x11): Form.CODE,  # parallel imaging: "p2"
    (0x0021, b"SIEMENS MR SDS 01", 0xFE): Form.SEQUENCE,
    (0x0021, b"SIEMENS MR SDS 01", 0x19): Form.PROTOCOL,
    (0x0021, b"SIEMENS MR SDI 02", 0xFE): Form.SEQUENCE,
    (0x0021, b"SIEMENS MR SDS 01", 0x5A): Form.CODE,  # ScanningSequence
    (0x0021, b"SIEMENS MR SDS 01", 0x5B): Form.CODE,  # SequenceVariant
    (0x0021, b"SIEMENS MR SDS 01", 0x5C): Form.CODE,  # ScanOptions
    (0x0021, b"SIEMENS MR SDI 02", 0x04): Form.NUMBERS,  # time of the slice after the start
    (0x0021, b"SIEMENS MR SDI 02", 0x06): Form.CODE,  # dimensions, of which the echo is the second
    (0x0021, b"SIEMENS MR SDI 02", 0x1C): Form.NUMBERS,  # phase encoding positive
    (0x0021, b"SIEMENS MR SDI 02", 0x42): Form.NUMBERS,  # dwell time
    (0x0021, b"SIEMENS MR SDI 02", 0x4F): Form.CODE,  # coil elements
    (0x0021, b"SIEMENS MR SDI 02", 0x53): Form.NUMBERS,  # bandwidth along the phase encoding
    (0x0021, b"SIEMENS MR SDI 02", 0x59): Form.NUMBERS,  # position of the table
    (0x0021, b"SIEMENS MR SDI 02", 0x75): Form.CODE,  # ImageType of the frame
    (0x0019, b"GEMS_ACQU_01", 0x7E): Form.NUMBERS,  # echoes
    (0x0019, b"GEMS_ACQU_01", 0x9C): Form.CODE,  # name of the pulse sequence
    (0x0019, b"GEMS_ACQU_01", 0x9E): Form.CODE,  # which kind of pulse sequence that is
    (0x0021, b"GEMS_RELA_01", 0x4F): Form.NUMBERS,  # slices
    (0x0021, b"GEMS_RELA_01", 0x5E): Form.NUMBERS,  # timer of the slice
    (0x0025, b"GEMS_SERS_01", 0x1B): Form.GE_PROTOCOL,
    (0x0043, b"GEMS_PARM_01", 0x2A): Form.GE_VARIABLES,
    (0x0043, b"GEMS_PARM_01", 0x2C): Form.NUMBERS,  # effective echo spacing
    (0x0043, b"GEMS_PARM_01", 0x2F): Form.NUMBERS,  # magnitude, phase ...
    (0x0043, b"GEMS_PARM_01", 0x39): Form.NUMBERS,  # b-values
    (0x0043, b"GEMS_PARM_01", 0x7C): Form.NUMBERS,  # group delay
    (0x0043, b"GEMS_PARM_01", 0x83): Form.NUMBERS,  # acceleration
    (0x0043, b"GEMS_PARM_01", 0xB6): Form.NUMBERS,  # multiband
    (0x2001, b"Philips Imaging DD 001", 0x03): Form.NUMBERS,  # b-value
    (0x2001, b"Philips Imaging DD 001", 0x0A): Form.NUMBERS,  # slice
    (0x2001, b"Philips Imaging DD 001", 0x13): Form.NUMBERS,  # EPI factor
    (0x2001, b"Philips Imaging DD 001", 0x14): Form.NUMBERS,  # echoes
    (0x2001, b"Philips Imaging DD 001", 0x18): Form.NUMBERS,  # slices
    (0x2001, b"Philips Imaging DD 001", 0x22): Form.NUMBERS,  # water-fat shift
    (0x2001, b"Philips Imaging DD 001", 0x81): Form.NUMBERS,  # volumes
    (0x2005, b"Philips MR Imaging DD 001", 0x0D): Form.NUMBERS,  # scale: intercept
    (0x2005, b"Philips MR Imaging DD 001", 0x0E): Form.NUMBERS,  # scale: slope
    (0x2005, b"Philips MR Imaging DD 001", 0x11): Form.CODE,  # magnitude, phase ...
    (0x2005, b"Philips MR Imaging DD 001", 0x30): Form.NUMBERS,  # repetition times
    (0x2005, b"Philips MR Imaging DD 001", 0xA0): Form.NUMBERS,  # time of the volume
    (0x2005, b"Philips MR Imaging DD 005", 0x0F): Form.SEQUENCE,
}
