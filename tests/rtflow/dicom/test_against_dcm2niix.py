"""Every real series against what the native dcm2niix makes of the same files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from native import Native, canonical, native
from sidecar_table import REASONS, TICK, Verdict, compare, markdown

from rtflow.bids.incremental import BidsIncremental
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.dicom.instance import DicomObject

SERIES = [
    *("siemens_E11_mosaic_rtcloud", "siemens_Trio_mosaic_opennft155", "siemens_D13_mosaic_ep2dInt"),
    *("siemens_D13_mosaic_multiecho", "siemens_E11_mosaic_nihAP", "siemens_E11_mosaic_nihRL"),
    *("siemens_XA30_enhanced_fa7", "siemens_XA30_classic_fa7", "ge_MR750_slices_nih4", "ge_Architect_HB3_48"),
    *("philips_classic_magdeburg", "philips_classic_studyforrest_half1"),
]
PAGE = Path(__file__).parents[3] / "docs" / "metadata.md"
pytestmark = pytest.mark.realdata


@dataclass(frozen=True)
class Both:
    """A series read by rtflow (volume and echo to image) and by dcm2niix (echo to image)."""

    ours: dict[tuple[int, int], BidsIncremental]
    theirs: dict[int, Native]
    objects: list[DicomObject]

    @property
    def slack(self) -> float:
        """By how much slice times may differ, seconds."""
        return TICK if self.objects[0].header.text("SoftwareVersions").startswith("syngo MR XA") else 0.0


@pytest.fixture(scope="session")
def both(series: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    """Callable from the name of a series to both readings of it, made once."""

    @cache
    def read(name: str) -> Both:
        folder = series(name) / "dicom"
        found = [read_object(path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
        # One of the samples holds a file twice.
        objects = list({item.instance.uid: item for item in found}.values())
        held: dict[int, list[DicomObject]] = {}
        for item in objects:
            for volume in {piece.volume for piece in item.instance.pieces}:
                held.setdefault(volume, []).append(item)
        ours = {
            (volume, int(image.entities.get("echo", "1"))): image
            for volume, items in held.items()
            for image in to_incrementals(items, volume)
        }
        theirs = native(folder, tmp_path_factory.mktemp("dcm2niix") / name)
        assert len({image.echo for image in theirs}) == len(theirs)
        return Both(ours, {image.echo: image for image in theirs}, objects)

    return read


@pytest.mark.parametrize("name", SERIES)
def test_voxels_and_places(name: str, both: Callable[[str], Both]) -> None:
    found = both(name)
    volumes = {echo: image.stored.shape[3] for echo, image in found.theirs.items()}
    assert set(found.ours) == {(v + 1, echo) for echo, count in volumes.items() for v in range(count)}
    for (volume, echo), image in found.ours.items():
        reference = found.theirs[echo]
        stored = reference.stored[..., volume - 1]
        assert image.data.dtype == stored.dtype
        ours, theirs = canonical(image.data, image.affine), canonical(stored, reference.image.affine)
        np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
        # And as they lie in the file, without turning.
        np.testing.assert_array_equal(image.data, stored)
        np.testing.assert_allclose(image.affine, reference.image.affine, atol=1e-3)


@pytest.mark.parametrize("name", SERIES)
def test_times(name: str, both: Callable[[str], Both]) -> None:
    found = both(name)
    for (_, echo), image in found.ours.items():
        reference = found.theirs[echo]
        np.testing.assert_allclose(
            image.metadata["RepetitionTime"], reference.sidecar["RepetitionTime"], rtol=1e-5
        )
        np.testing.assert_allclose(
            image.metadata["RepetitionTime"], reference.image.header["pixdim"][4], rtol=1e-5
        )
        assert ("SliceTiming" in image.metadata) == ("SliceTiming" in reference.sidecar)
        if "SliceTiming" in image.metadata:
            assert len(image.metadata["SliceTiming"]) == image.data.shape[2]
            # Each volume is timed by its own header, and dcm2niix gives one volume's times for all.
            slack = max(found.slack, TICK) if name.startswith("siemens") else 0.0
            np.testing.assert_allclose(
                image.metadata["SliceTiming"], reference.sidecar["SliceTiming"], atol=slack + 1e-5
            )


@pytest.mark.parametrize("name", SERIES)
def test_instances(name: str, both: Callable[[str], Both]) -> None:
    """What headers say of the run, object by object, holds for the whole of it."""
    found = both(name)
    shape = next(iter(found.theirs.values())).stored.shape
    instances = [item.instance for item in found.objects]
    assert len({instance.series for instance in instances}) == 1
    assert instances[0].series.streamed
    assert {instance.echoes for instance in instances} == {len(found.theirs)}
    assert {1 if instance.mosaic else instance.slices for instance in instances} == {
        1 if instances[0].mosaic else shape[2]
    }
    tr = instances[0].tr
    assert tr == pytest.approx(next(iter(found.theirs.values())).sidecar["RepetitionTime"], rel=1e-5)
    first = min(item.acquired or 0.0 for item in instances)
    for instance in instances:
        assert instance.acquired is not None
        # The slices of an object of one slice are acquired within the repetition.
        assert -1e-3 <= instance.acquired - first - (instance.volume - 1) * tr < tr


def test_metadata(both: Callable[[str], Both]) -> None:
    """Each field agrees with dcm2niix's, or there is a reason why not; and no reason that is not needed."""
    compared: dict[str, dict[str, Verdict]] = {}
    for name in SERIES:
        found = both(name)
        for echo, image in found.theirs.items():
            ours = dict(found.ours[1, echo].metadata)
            assert json.loads(json.dumps(ours)) == ours
            compared[f"{name}, echo {echo}"] = compare(ours, image.sidecar, found.slack)
    table = markdown(compared)
    print("\n" + table)
    assert table in PAGE.read_text(), f"{PAGE.name} shows another table: put the one that is printed there"
    needed = {
        (field, verdict)
        for verdicts in compared.values()
        for field, verdict in verdicts.items()
        if verdict != "equal"
    }
    assert needed - set(REASONS) == set(), "fields that differ without a reason"
    assert set(REASONS) - needed == set(), "reasons that are not needed"
    for name, verdicts in compared.items():
        agreed = {field for field, verdict in verdicts.items() if verdict == "equal"}
        wanted = {
            "Manufacturer",
            "ManufacturersModelName",
            "MagneticFieldStrength",
            "RepetitionTime",
            "EchoTime",
        }
        assert wanted | {"FlipAngle", "SliceThickness", "SpacingBetweenSlices"} <= agreed, name
        if "philips" not in name:
            wanted = {"SliceTiming", "PhaseEncodingDirection", "EffectiveEchoSpacing", "TotalReadoutTime"}
            assert wanted <= agreed, name
