"""The incremental model on a real neurofeedback run: its own regions, and whether time is right."""

from functools import cache

import numpy as np
import pytest

from rtflow.bids.masked import Features, Mask
from rtflow.dicom.convert import to_incrementals
from rtflow.dicom.identify import read_object
from rtflow.nodes.images.brain import brain_mask, read_mask
from rtflow.nodes.masks.mask import take
from rtflow.nodes.models.denoise import Denoise
from rtflow.nodes.models.glm import GLM
from rtflow.nodes.motion.realign import Realign
from rtflow.nodes.motion.rigid import PARAMETERS
from rtflow.stream.interface import RunContext
from rtflow.trials import Design, Trial

VOLUMES, TR = 155, 1.97
#: The scanner saved five volumes that the protocol does not count: its first block begins with volume 11.
SKIPPED = 5
STARTS = (11, 31, 51, 71, 91, 111, 131)


def design(shift: int = 0, skipped: int = SKIPPED) -> Design:
    """Seven blocks of ten volumes, so many volumes later than they were."""
    trials = ((start - 1 + skipped + shift) * TR for start in STARTS)
    return Design(tuple(Trial(onset, 10 * TR, "regulate") for onset in trials))


@cache
def aligned(folder, root):
    """The volumes that count, on the grid that the regions stand on, and their motion."""
    realign = Realign(reference=str(folder / "fanon-0007-00006-000006-01.nii"))
    realign.start_run(RunContext("run", root / "run", root / "bids", root / "session"))
    volumes = {}
    for path in sorted((folder / "dicom").glob("*.dcm")):
        item = read_object(path.read_bytes())
        if item.instance.volume > SKIPPED:
            realign.volume = item.instance.volume
            (realign.inputs.incremental,) = to_incrementals([item], realign.volume)
            realign._run_interface(None)
            found = realign._results
            volumes[realign.volume] = found["incremental"], np.array([found[name] for name in PARAMETERS])
    assert len(volumes) == VOLUMES - SKIPPED
    return volumes


@pytest.fixture
def fit(series, tmp_path_factory, make_context, call):
    """Callable from a design (and options of the node) to what the last volume says of each of some masks."""
    folder = series("siemens_Trio_mosaic_opennft155")
    volumes = aligned(folder, tmp_path_factory.getbasetemp())

    def run(design: Design, mask: Mask, hrf: str = "spm", **options):
        node = GLM(design=design, contrast="regulate", nuisance=["motion"], hrf=hrf, **options)
        node.start_run(make_context(tr=TR, volumes=VOLUMES))
        for volume, (image, motion) in sorted(volumes.items()):
            inside = Mask(mask.data, image.grid)
            output = call(node, volume, features=Features(take(image, inside), inside), motion=motion)
        return output

    run.left, run.right = (read_mask(folder / "ROIs_D1" / name) for name in ("lROI_1.nii", "rROI_2.nii"))
    run.volumes = volumes
    run.brain = Mask(brain_mask(volumes[SKIPPED + 1][0].data), run.left.grid)
    return run


@pytest.mark.realdata
def test_the_regions_of_the_run_respond_and_most_of_the_brain_does_not(fit) -> None:
    found = fit(design(), fit.brain, region=fit.left)
    # 12.9 was seen offline.
    assert found["region_t"] > 10.0
    assert 0.5 < found["region_percent"] < 3.0
    inside, brain = fit.left.data[fit.brain.data], found["t"].values
    assert np.median(brain[inside]) > 4.0
    assert abs(np.median(brain[~inside])) < 1.0
    # Of a region without anything in common with it, the right one here, nobody says that it responds less.
    assert fit(design(), fit.right, region=fit.right)["region_t"] > 5.0


@pytest.mark.realdata
def test_the_response_is_largest_where_the_design_is_not_moved(fit) -> None:
    # With the model of the software that ran it: SPM's response, sampled at the start of each volume. With
    # Glover's, which rises faster, it is largest between 0 and 1: the participant was told what to do when a
    # volume had come, and not when it began.
    t = {shift: fit(design(shift), fit.left, region=fit.left)["region_t"] for shift in range(-5, 6)}
    assert max(t, key=t.__getitem__) == 0
    assert min(t[0] - t[-2], t[0] - t[2]) > 2.0
    # As if the protocol counted from the first volume of the scanner.
    assert fit(design(skipped=0), fit.left, region=fit.left)["region_t"] == t[-5]
    glover = [fit(design(shift), fit.left, "glover", region=fit.left)["region_t"] for shift in (-1, 0, 1, 2)]
    assert min(glover[1:3]) > 10.0 > glover[0]
    assert max(glover) == max(glover[1:3])


@pytest.mark.realdata
def test_a_real_run_is_cleaner_and_responds_as_before(fit, make_context, call) -> None:
    inside = fit.left.data[fit.brain.data]
    shown = {volume: design().label(volume, TR, 6.0) for volume in fit.volumes}

    def clean(**options):
        """Temporal signal-to-noise ratio before and after, and the region's response in percent."""
        node = Denoise(nuisance=["motion"], **options)
        node.start_run(make_context(tr=TR, volumes=VOLUMES))
        raw, cleaned = {}, {}
        for volume, (image, motion) in sorted(fit.volumes.items()):
            given = Features(take(image, Mask(fit.brain.data, image.grid)), fit.brain)
            output = call(node, volume, features=given, motion=motion)
            if "features" in output:
                raw[volume], cleaned[volume] = given.values, output["features"].values
        found = []
        for values in (raw, cleaned):
            late = np.array([values[volume] for volume in values if volume > 60])
            ratio = np.median(late.mean(axis=0) / late.std(axis=0))
            mean = {
                label: np.mean([values[volume][inside].mean() for volume in values if shown[volume] == label])
                for label in ("regulate", "rest")
            }
            found.append((ratio, 100.0 * (mean["regulate"] / mean["rest"] - 1.0)))
        return found

    (noisy, response), (clear, kept) = clean(design=design(), hrf="spm")
    # 79 and 95 were seen, and 0.84 and 0.82 percent.
    assert clear > 1.15 * noisy
    assert kept == pytest.approx(response, abs=0.1)
    # Without the design in the model, drift and motion take a third of the response along.
    assert clean()[1][1] < 0.8 * response
