"""Columns of the model: as nilearn has them, and made of what is known when a volume comes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.glm.first_level import make_first_level_design_matrix

from rtflow.design import block_design
from rtflow.nodes.models.regressors import Columns, Drift, TaskColumns, contrast_weights
from rtflow.trials import Design, Trial

VOLUMES = 200

# Impulses are what nilearn warns of, and what must be right.
pytestmark = pytest.mark.filterwarnings("ignore:The following conditions contain events with null duration")


def some_trials(tr: float, seed: int = 0) -> Design:
    """Impulses, short and long trials of two conditions, at odd times."""
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.uniform(0.0, 0.9 * VOLUMES * tr, 25))
    kinds = zip(onsets, rng.choice([0.0, 1.0, 8.3], 25), rng.choice(["scene", "face"], 25), strict=True)
    return Design(tuple(Trial(float(onset), float(length), str(kind)) for onset, length, kind in kinds))


def theirs(design: Design, tr: float, ref: float = 0.0, **options) -> pd.DataFrame:
    events = pd.DataFrame(
        [(trial.onset, trial.duration, trial.trial_type) for trial in design.trials],
        columns=["onset", "duration", "trial_type"],
    )
    return make_first_level_design_matrix((np.arange(VOLUMES) + ref) * tr, events, **options)


def ours(design: Design, tr: float, ref: float = 0.0, hrf="glover", drift="none") -> dict[str, np.ndarray]:
    columns = Columns(TaskColumns.of(design, tr, hrf), (), Drift(drift, tr, VOLUMES), tr, ref)
    rows = np.array([columns.row(volume, np.zeros(0)) for volume in range(1, VOLUMES + 1)])
    return dict(zip(columns.names, rows.T, strict=True))


@pytest.mark.parametrize("hrf", ["glover", "spm"])
@pytest.mark.parametrize(
    ("tr", "ref", "tolerance"),
    # On the same grid they are the same; on one that is stretched by up to half a step in 24 s they are not.
    [(2.0, 0.0, 1e-12), (0.8, 0.0, 1e-12), (1.97, 0.5, 0.02), (1.5, 0.5, 0.02)],
)
def test_task_columns_are_nilearns(hrf, tr, ref, tolerance) -> None:
    design = some_trials(tr)
    expected = theirs(design, tr, ref, hrf_model=hrf, drift_model=None)
    found = ours(design, tr, ref, hrf)
    for name in ("scene", "face"):
        scale = np.abs(expected[name]).max()
        assert np.abs(found[name] - expected[name]).max() < tolerance * scale


def test_a_row_depends_on_what_has_begun_by_then_alone() -> None:
    design = some_trials(2.0)
    at = 150.0
    going_on = Trial(at - 3.0, 6.0, "scene")
    before = tuple(trial for trial in design.trials if trial.onset <= at)
    whole = TaskColumns.of(Design((*design.trials, going_on)), 2.0)
    # Later trials are not there, and the one that goes on will never end.
    known = TaskColumns.of(Design((*before, Trial(at - 3.0, 1e6, "scene"))), 2.0)
    assert set(whole.names) == set(known.names)
    rows = [dict(zip(columns.names, columns.row(at), strict=True)) for columns in (whole, known)]
    assert rows[0] == rows[1]
    assert rows[0]["scene"] > 0


def test_a_long_trial_settles_at_1() -> None:
    columns = TaskColumns.of(Design((Trial(0.0, 200.0, "scene"),)), 2.0)
    assert columns.row(0.0) < 1e-3
    assert columns.row(100.0) == pytest.approx(1.0)
    assert columns.row(300.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("hrf", "duration", "peak"),
    [("glover", 16, 1.56), ("spm", 16, 1.14), ("glover", 1, 0.34), ("spm", 1, 0.21)],
)
def test_a_trial_peaks_where_it_is_said_to(hrf, duration, peak) -> None:
    columns = TaskColumns.of(Design((Trial(0.0, duration, "scene"),)), 2.0, hrf)
    assert max(columns.row(at)[0] for at in np.arange(0.0, 40.0, 0.1)) == pytest.approx(peak, abs=0.005)


def test_cosines_count_from_volume_1_whatever_is_skipped() -> None:
    """Of a run whose first five volumes are dummies: what the rows after them have, in so many words."""
    dummies, volumes = 5, 200
    drift = Drift("cosine", 2.0, volumes)
    rows = np.array([drift.row(volume) for volume in range(dummies + 1, volumes + 1)])
    at = np.arange(dummies, volumes) + 0.5
    expected = np.sqrt(2 / volumes) * np.cos(np.pi * np.outer(at, range(1, 9)) / volumes)
    np.testing.assert_allclose(rows, expected, atol=1e-12)


def test_volumes_that_are_taken_in_their_middle_see_a_later_response() -> None:
    design = block_design(["scene"], blocks=3, block=20.0, rest=20.0, opening=10.0)
    task, drift = TaskColumns.of(design, 2.0), Drift("none", 2.0)
    start, middle = (Columns(task, (), drift, 2.0, ref) for ref in (0.0, 0.5))
    # Volume n, in its middle, is a second after its start.
    assert middle.row(7, np.zeros(0))[1] == task.row(13.0)[0]
    assert start.row(7, np.zeros(0))[1] == task.row(12.0)[0]


def test_cosines_are_nilearns_and_need_the_planned_length() -> None:
    design = some_trials(2.0)
    expected = theirs(design, 2.0, drift_model="cosine", high_pass=0.01)
    found = ours(design, 2.0, drift="cosine")
    names = [name for name in expected if name.startswith("drift")]
    assert len(names) == 8 == sum(name.startswith("drift") for name in found)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12)
    with pytest.raises(ValueError, match="planned"):
        Drift("cosine", 2.0)


@pytest.mark.parametrize("longest", [100.0, 400.0, 900.0, 4000.0])
def test_polynomials_make_up_what_nilearns_do_whatever_they_stand_on(longest) -> None:
    design = some_trials(2.0)
    expected = theirs(design, 2.0, drift_model="polynomial", drift_order=1)
    wanted = expected[["drift_1", "constant"]].to_numpy()
    drift = Drift("polynomial", 2.0, longest=longest)
    rows = np.array([[1.0, *drift.row(volume)] for volume in range(1, VOLUMES + 1)])
    fitted = rows[:, :2] @ np.linalg.lstsq(rows[:, :2], wanted, rcond=None)[0]
    np.testing.assert_allclose(fitted, wanted, atol=1e-9)
    if drift.columns >= 3:
        cubic = theirs(design, 2.0, drift_model="polynomial", drift_order=3)["drift_3"].to_numpy()
        fitted = rows[:, :4] @ np.linalg.lstsq(rows[:, :4], cubic, rcond=None)[0]
        np.testing.assert_allclose(fitted, cubic, atol=1e-8)


def test_a_run_takes_the_drift_of_a_run_of_its_length() -> None:
    drift = Drift("polynomial", 2.0, 200)
    assert (drift.columns, [drift.taken(n) for n in (1, 74, 75, 150, 200, 500)]) == (7, [1, 1, 2, 3, 3, 7])
    # The planned length says nothing: a run of unknown length, and its replay, give the same.
    for volume in (1, 100, 500):
        np.testing.assert_array_equal(drift.row(volume), Drift("polynomial", 2.0).row(volume))
    assert Drift("polynomial", 2.0, longest=300.0).columns == 3
    cosines = Drift("cosine", 2.0, 200)
    assert (cosines.columns, [cosines.taken(n) for n in (1, 25, 199, 200, 300)]) == (8, [0, 1, 7, 8, 8])
    assert Drift("none", 2.0, 200).columns == 0


@settings(deadline=None)
@given(tr=st.floats(0.3, 3.0), volumes=st.integers(2, 900), kind=st.sampled_from(["polynomial", "cosine"]))
def test_a_run_of_the_planned_length_has_taken_all_columns_and_no_earlier_volume_more(
    tr, volumes, kind
) -> None:
    drift = Drift(kind, tr, volumes, longest=tr * volumes)
    taken = [drift.taken(volume) for volume in range(1, volumes + 1)]
    assert taken == sorted(taken)
    assert taken[-1] == drift.columns == drift.row(volumes).size


def test_contrasts_are_expressions_of_conditions() -> None:
    names = ("scene", "face", "object")
    assert contrast_weights("scene - face", names).tolist() == [1.0, -1.0, 0.0]
    assert contrast_weights("object", names).tolist() == [0.0, 0.0, 1.0]
    assert contrast_weights("scene - 0.5 * (face + object)", names).tolist() == [1.0, -0.5, -0.5]
    assert contrast_weights("left hand", ("left hand", "rest of it")).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "wrong", ["scene - house", "scene - scene", "scene -", "1", "", "scene / 0", "scene > 0"]
)
def test_what_is_no_contrast_is_refused_with_what_there_is(wrong) -> None:
    with pytest.raises(ValueError, match="conditions scene, face"):
        contrast_weights(wrong, ("scene", "face"))
