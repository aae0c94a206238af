"""Decoding of a real data set: Haxby et al. 2001, half a slice of one participant, twelve runs."""

from functools import cache

import nibabel as nib
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from rtflow.bids.grid import Grid
from rtflow.bids.masked import Features, Mask
from rtflow.nodes.decoding.decode import Decode

TR, RUNS = 2.5, range(12)
# Between two runs nobody knows what was: so long that no rest of one counts in the next.
APART = 1e5
LIVE = {
    **{"estimator": "lda", "normalise": "running", "within": True},
    **{"choose": "activation", "best": 300},
}


@cache
def read_haxby(folder) -> tuple[np.ndarray, np.ndarray, np.ndarray, Mask]:
    """Volumes within the mask, what each shows, its run, and the mask."""
    image, mask = (nib.load(folder / f"{name}.nii.gz") for name in ("bold", "mask"))
    data = np.asanyarray(mask.dataobj) > 0
    volumes = np.moveaxis(np.asarray(image.dataobj, dtype=np.float32), -1, 0)
    columns = np.loadtxt(folder / "attributes_literal.txt", dtype=str)
    grid = Grid.of(data.shape, mask.affine, "haxby")
    # Voxels of the mask in which nothing was measured are 0: out of view, as realignment leaves them.
    return volumes[:, data], columns[:, 0], columns[:, 1].astype(int), Mask(data, grid)


def offline(folder, conditions: list[str]) -> float:
    """Leave one run out, each run z-scored by all of its volumes, those to come as well: the ceiling."""
    volumes, shown, runs, _ = read_haxby(folder)
    z = np.zeros(volumes.shape)
    for run in RUNS:
        of_run = volumes[runs == run].astype(float)
        deviation = of_run.std(0)
        z[runs == run] = (of_run - of_run.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    z = z[:, (volumes.std(0) > 0)]
    used = np.isin(shown, conditions)
    right = []
    for run in RUNS:
        train, test = used & (runs != run), used & (runs == run)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(z[train], shown[train])
        right.append(np.mean(model.predict(z[test]) == shown[test]))
    return float(np.mean(right))


def live(folder, conditions: list[str], call, make_context, *, pairs=None, **options) -> tuple[float, float]:
    """Train on some runs and decode another, volume by volume through the node; default leave one run out.

    Share of right decisions by single volumes, and as ``accumulate`` makes them.
    """
    volumes, shown, runs, mask = read_haxby(folder)
    # Other categories are neither trained on nor rest.
    used = np.isin(shown, [*conditions, "rest"])
    right, together = [], []
    for trained, run in pairs or [(set(RUNS) - {run}, run) for run in RUNS]:
        decode = Decode(conditions=conditions, **{**LIVE, **options})
        decode.start_run(make_context(volumes=len(volumes)))
        trials: dict[int, list[np.ndarray]] = {}
        order = [*np.flatnonzero(np.isin(runs, list(trained))), *np.flatnonzero(runs == run)]
        for volume, index in enumerate(order, start=1):
            of_run = np.flatnonzero(runs == runs[index])
            rest, testing = shown[index] == "rest", runs[index] == run
            phase = "train" if not testing else "rest" if rest else "test"
            trial = 100 * runs[index] + list(dict.fromkeys(shown)).index(shown[index])
            output = call(
                decode,
                volume,
                features=Features(volumes[index], mask),
                trial_type=str(shown[index]),
                trial=-1 if rest else int(trial),
                phase=phase if used[index] else "omit",
                time=APART * (runs[index] + 100 * testing) + TR * int(index - of_run[0]),
            )
            if "correct" in output:
                right.append(output["correct"])
                scores = np.array([output[f"score_{name}"] for name in conditions])
                so_far = trials.setdefault(trial, [])
                so_far.append(np.log(np.maximum(scores, 1e-300)))
                decided = conditions[int(np.mean(so_far, axis=0).argmax())]
                together.append(decided == shown[index])
    return float(np.mean(right)), float(np.mean(together))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("conditions", "bar"), [([], 0.60), (["face", "house"], 0.93)], ids=["eight", "face-house"]
)
def test_live_statistics_are_near_those_of_the_whole_run(
    series, call, make_context, conditions: list[str], bar: float
) -> None:
    folder = series("haxby_pymvpa")
    _, shown, _, _ = read_haxby(folder)
    conditions = conditions or sorted(set(shown) - {"rest"})
    ceiling = offline(folder, conditions)
    found, together = live(folder, conditions, call, make_context)
    print(f"{len(conditions)} conditions: offline {ceiling:.3f}, live {found:.3f}, trials {together:.3f}")
    assert ceiling >= bar
    assert found >= bar
    assert found > ceiling - 0.10
    assert together > found


@pytest.mark.realdata
def test_one_block_a_condition_is_enough_to_do_better_than_chance(series, call, make_context) -> None:
    folder = series("haxby_pymvpa")
    conditions = sorted(set(read_haxby(folder)[1]) - {"rest"})
    pairs = [({run}, (run + 1) % 12) for run in RUNS]
    plain = {"normalise": "rest", "within": False, "choose": "separation", "rest_class": False}
    before, _ = live(folder, conditions, call, make_context, pairs=pairs, best=200, **plain)
    found, together = live(folder, conditions, call, make_context, pairs=pairs, best=200)
    print(f"trained on one run: plain {before:.3f}, as in the workflow {found:.3f}, trials {together:.3f}")
    assert found > 0.3  # chance is 0.125
    assert found > before + 0.05
    assert together > found
