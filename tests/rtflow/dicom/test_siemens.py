"""Siemens series that differ from the usual ones, by their scanner or an export."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from native import native_of
from pydicom.dataset import Dataset
from variants import SERIES, SHAPE, TIMES, edited, equal, files, images, read

from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import UnsupportedError
from rtflow.dicom.read import NoImageError
from rtflow.dicom.writing import write_csa
from rtflow.errors import DicomError


def siemens_protocol(data: bytes, *lines: str) -> bytes:
    """The file with a protocol of these lines."""
    text = "### ASCCONV BEGIN object=MrProtDataImpl@MrProtocolData version=51130001 ###\n"
    text += "\n".join(lines) + "\n### ASCCONV END ###"

    def change(dataset: Dataset) -> None:
        if (0x0029, 0x1020) in dataset:
            dataset[0x0029, 0x1020].value = write_csa({"MrPhoenixProtocol": [text]})

    return edited(data, change)


@pytest.mark.parametrize(
    ("lines", "comment", "bands"),
    [
        (["sSliceAcceleration.lMultiBandFactor = 4"], "", 4),
        (["sSliceAcceleration.lMultiBandFactor = 1"], "Unaliased MB3/PE3/LB", 3),
        (
            ['tSequenceFileName = "%CustomerSeq%\\cmrr_mbep2d_bold"', "sWipMemBlock.alFree[13] = 6"],
            "",
            6,
        ),
        (
            ['tSequenceFileName = "%CustomerSeq%\\cmrr_mbep2d_bold"', "sWiPMemBlock.alFree[13] = 0x3"],
            "",
            3,
        ),
        (['tSequenceFileName = "%SiemensSeq%\\ep2d_bold"', "sWipMemBlock.alFree[13] = 6"], "", None),
        ([], "EMB12 is no factor", None),
    ],
)
def test_bands_where_slice_times_do_not_show_them(lines: list[str], comment: str, bands: int | None) -> None:
    data = files("siemens-mosaic", replace(SERIES, slice_times=()))[0]
    data = siemens_protocol(data, *lines)
    data = edited(data, lambda dataset: setattr(dataset, "ImageComments", comment))
    (image,) = images(read([data])).values()
    assert image.metadata.get("MultibandAccelerationFactor") == bands


def test_a_slab_has_no_slice_times() -> None:
    """3D echo-planar imaging, as a mosaic: all times are the same, and it is not one band of all slices."""
    data = files("siemens-mosaic", replace(SERIES, slice_times=[0.0] * SHAPE[2]))[0]
    data = edited(data, lambda dataset: setattr(dataset, "MRAcquisitionType", "3D"))
    (image,) = images(read([data])).values()
    assert {"SliceTiming", "MultibandAccelerationFactor"}.isdisjoint(image.metadata)


def test_xa_times_of_a_single_band_volume_are_no_times_of_a_multiband_one() -> None:
    """XA60 gives the first volume of a multiband run times that go on beyond its repetition."""
    wrong = replace(SERIES, slice_times=[time * 4 for time in TIMES])
    (first,) = images(read(files("siemens-xa", wrong)[:1])).values()
    (second,) = images(read(files("siemens-xa")[1:])).values()
    assert "SliceTiming" not in first.metadata
    np.testing.assert_allclose(second.metadata["SliceTiming"], TIMES, atol=2e-3)


@pytest.mark.parametrize("vendor", ["siemens-mosaic"])
def test_a_bare_mosaic_is_refused_when_it_comes(vendor: str) -> None:
    data = edited(files(vendor)[0], Dataset.remove_private_tags)
    with pytest.raises(UnsupportedError, match="a mosaic without its Siemens CSA header"):
        read_object(data)


def test_enhanced_frames_that_were_a_mosaic_are_frames() -> None:
    """XA takes mosaics apart into frames, and leaves the word in ImageType."""

    def name(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    plain = files("siemens-xa")
    equal(images(read([edited(one, name) for one in plain])), images(read(plain)))


def test_an_enhanced_image_of_tiles_is_refused() -> None:
    """A navigator that is exported as one frame holds a mosaic of which nothing is known."""

    def one_tile(dataset: Dataset) -> None:
        frame = dataset.PerFrameFunctionalGroupsSequence[0]
        for element in frame:
            if element.tag.group == 0x0021 and element.VR == "SQ":
                element.value[0][0x0021, 0x1175].value = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.PerFrameFunctionalGroupsSequence = [frame]
        dataset.NumberOfFrames = 1
        dataset.PixelData = dataset.PixelData[: dataset.Rows * dataset.Columns * 2]

    with pytest.raises(UnsupportedError, match="an enhanced image of tiles"):
        read_object(edited(files("siemens-xa")[0], one_tile))


def whole_run(data: Sequence[bytes], order: Sequence[int]) -> bytes:
    """The objects of a run in one, with the frames in the given order, as newer XA software can export it."""
    sets = [pydicom.dcmread(io.BytesIO(one)) for one in data]
    frames, planes = [], []
    for volume, dataset in enumerate(sets, start=1):
        size = dataset.Rows * dataset.Columns * 2
        for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content = frame.FrameContentSequence[0]
            content.TemporalPositionIndex = content.FrameAcquisitionNumber = volume
            frames.append(frame)
            planes.append(dataset.PixelData[number * size : (number + 1) * size])
    whole = sets[0]
    del whole.AcquisitionNumber
    whole.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]
    whole.PixelData = b"".join(planes[index] for index in order)
    whole.NumberOfFrames = len(frames)
    stream = io.BytesIO()
    whole.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_one_enhanced_object_for_the_whole_run(seed: int | None) -> None:
    plain = files("siemens-xa", volumes=4)
    order = np.arange(4 * SHAPE[2])
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    item = read_object(whole_run(plain, order.tolist()))
    assert [piece.volume for piece in item.instance.pieces] == [1, 2, 3, 4]
    assert (item.instance.slices, item.instance.last_volume) == (SHAPE[2], 4)
    equal(images([item]), images(read(plain)))


def test_enhanced_frames_that_lack_a_plane_are_told() -> None:
    order = [index for index in range(4 * SHAPE[2]) if index != 9]
    data = whole_run(files("siemens-xa", volumes=4), [*order, 0][:-1])
    whole = edited(data, lambda dataset: setattr(dataset, "NumberOfFrames", len(order)))
    with pytest.raises(DicomError, match="23 frames do not make whole volumes"):
        read_object(whole)


@pytest.mark.parametrize(
    ("number", "volume", "base"), [(7001, 1, 7), (7999, 999, 7), (8000, 1000, 7), (12, 1, 12)]
)
def test_split_series_are_numbered_by_what_they_were(number: int, volume: int, base: int) -> None:
    def renumber(dataset: Dataset) -> None:
        dataset.SeriesNumber, dataset.AcquisitionNumber = number, volume

    instance = read_object(edited(files("siemens-xa-classic")[0], renumber)).instance
    assert (instance.series.number, instance.volume) == (base, volume)


def test_physiology_that_is_stored_as_an_image_without_one() -> None:
    def log(dataset: Dataset) -> None:
        del dataset.PixelData
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"]
        dataset.private_block(0x7FE1, "SIEMENS CSA NON-IMAGE", create=True).add_new(0x10, "OB", bytes(5000))

    data = edited(files("siemens-mosaic")[0], log)
    with pytest.raises(NoImageError, match="MR without an image"):
        read_object(data)


def test_one_file_a_slice_before_xa(tmp_path: Path) -> None:
    """Echo-planar series that were not stored as mosaics: read-out from the CSA header, times from slices."""

    def older(dataset: Dataset, number: int) -> None:
        for element in [element for element in dataset if element.tag.group == 0x0021]:
            del dataset[element.tag]
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.SoftwareVersions = "syngo MR E11"
        dataset.SeriesNumber, dataset.SeriesInstanceUID, dataset.InstanceNumber = 7, "1.2.3.4.7", number
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        fields = {"PhaseEncodingDirectionPositive": ["0"], "BandwidthPerPixelPhaseEncode": ["40.5"]}
        block.add_new(0x10, "OB", write_csa(fields))
        text = f"### ASCCONV BEGIN ###\nsSliceArray.lSize = {SHAPE[2]}\nlRepetitions = 1\n### ASCCONV END ###"
        block.add_new(0x20, "OB", write_csa({"MrPhoenixProtocol": [text]}))

    data = [
        edited(one, lambda dataset, number=number: older(dataset, number))
        for number, one in enumerate(files("siemens-xa-classic"), start=1)
    ]
    reference = native_of(data, tmp_path)
    objects = read(data)
    assert {str(item.instance.series) for item in objects} == {"series 7 'func_task-feedback'"}
    assert {(item.instance.slices, item.instance.planned) for item in objects} == {(SHAPE[2], 2)}
    for (volume, _), image in images(objects).items():
        np.testing.assert_array_equal(image.data, reference.stored[..., volume - 1])
        np.testing.assert_allclose(image.affine, reference.image.affine, atol=1e-3)
        np.testing.assert_allclose(image.metadata["SliceTiming"], TIMES, atol=2e-3)
        for name in ("PhaseEncodingDirection", "BandwidthPerPixelPhaseEncode"):
            assert image.metadata[name] == reference.sidecar[name]
        for name in ("EffectiveEchoSpacing", "TotalReadoutTime"):
            assert image.metadata[name] == pytest.approx(reference.sidecar[name], rel=1e-5)


@pytest.mark.parametrize("vendor", ["siemens-xa", "siemens-xa-classic"])
def test_echoes_without_the_protocol_are_series_of_their_own(vendor: str) -> None:
    """An export without private elements does not say which echo of how many an object is: not guessed."""

    def strip(dataset: Dataset) -> None:
        dataset.remove_private_tags()
        if "EchoNumbers" in dataset:
            del dataset.EchoNumbers

    series = replace(SERIES, echo_times=(0.0125, 0.03))
    objects = read([edited(one, strip) for one in files(vendor, series)])
    names = {item.instance.series.name for item in objects}
    assert names == {f"func_task-feedback (echo time {time:g} ms)" for time in (12.5, 30)}
    assert {item.instance.echoes for item in objects} == {1}
    assert {item.instance.volume for item in objects} == {1, 2}
