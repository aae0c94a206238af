import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from rtflow.errors import VolumeError
from rtflow.nodes.decoding.classifier import (
    Decoder,
    logistic,
    moments,
    pack,
    percent,
    separation,
    standardise,
    train,
    unpack,
)

CONDITIONS = ("scene", "face")


def evidence(decoder: Decoder, values: np.ndarray) -> tuple[float, str]:
    """What `Decode` makes of it: P(A) - P(B), and the likelier condition."""
    decision = decoder.decide(values)
    p_a, p_b = decoder.grade(decision)
    return float(p_a - p_b), decoder.conditions[int(decision.argmax())]


def make_samples(volumes: int = 60, voxels: int = 300, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = [("scene", "rest", "face", "rest")[n // 5 % 4] for n in range(volumes)]
    samples = rng.normal(1000.0, 15.0, (volumes, voxels))
    samples[:, :10] += 10.0 * np.array([label == "scene" for label in labels])[:, None]
    samples[:, 10:20] += 10.0 * np.array([label == "face" for label in labels])[:, None]
    return samples.astype(np.float32), labels


@pytest.mark.parametrize("strength", [1e-3, 1.0])
@pytest.mark.parametrize("voxels", [20, 300])
def test_the_fit_on_the_span_of_the_volumes_is_that_on_all_voxels(strength: float, voxels: int) -> None:
    samples, labels = make_samples(voxels=voxels)
    decoder = train(samples, labels, CONDITIONS, strength=strength, seed=0)
    z = (samples.astype(float) - samples.mean(0, dtype=float)) / samples.std(0, dtype=float)
    for row, name in enumerate(CONDITIONS):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=20000)
        model.fit(z, [label == name for label in labels])
        np.testing.assert_allclose(decoder.coef[row], model.coef_[0], atol=2e-5)
        np.testing.assert_allclose(decoder.intercept[row], model.intercept_[0], atol=2e-4)


def test_training_gives_the_same_bits_twice() -> None:
    samples, labels = make_samples()
    first, second = (train(samples, labels, CONDITIONS, strength=1.0, seed=3) for _ in range(2))
    assert all(np.array_equal(pack(first)[key], pack(second)[key]) for key in pack(first))


def test_a_voxel_that_never_varies_has_no_say() -> None:
    samples, labels = make_samples()
    samples[:, 50] = 1234.567
    samples[:, 51] = 0.0
    samples[3, 52] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder = train(samples, labels, CONDITIONS, strength=1.0, seed=0)
    assert (decoder.deviation[50:53] == 0).all()
    assert (decoder.coef[:, 50:53] == 0).all()
    plain = samples[20].copy()
    wild = plain.copy()
    wild[50:53] = 1e9
    assert evidence(decoder, plain) == evidence(decoder, wild)


@pytest.mark.parametrize("absent", CONDITIONS)
def test_both_conditions_are_needed(absent: str) -> None:
    samples, labels = make_samples()
    with pytest.raises(VolumeError, match=f"'{absent}': 0"):
        train(
            samples,
            [label if label != absent else "rest" for label in labels],
            CONDITIONS,
            strength=1.0,
            seed=0,
        )


def test_voxels_that_are_all_constant_are_refused() -> None:
    _, labels = make_samples()
    with pytest.raises(VolumeError, match="none of 7 voxels varies"):
        train(np.full((60, 7), 3.0, np.float32), labels, CONDITIONS, strength=1.0, seed=0)


def test_evidence_is_the_difference_of_two_probabilities() -> None:
    decoder = Decoder(
        CONDITIONS, np.zeros(2), np.ones(2), np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([0.5, -1.0])
    )
    value, predicted = evidence(decoder, np.array([1.0, 1.0], np.float32))
    assert value == pytest.approx(1 / (1 + np.exp(-1.5)) - 1 / (1 + np.exp(-1.0)), abs=1e-15)
    assert predicted == "scene"
    # Where both probabilities are 1 to the last bit, the log-odds still tell.
    value, predicted = evidence(decoder, np.array([500.0, 600.0], np.float32))
    assert (value, predicted) == (0.0, "face")


def test_the_logistic_function_stands_both_ends() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(logistic(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])


def test_percent_takes_out_a_gain_and_drops_what_has_no_baseline() -> None:
    baseline = np.array([100.0, 200.0, 0.0, 400.0])
    values = np.array([101.0, 200.0, 50.0, 392.0], np.float32)
    np.testing.assert_allclose(percent(values, baseline), [1.0, 0.0, np.nan, -2.0], rtol=1e-5)
    np.testing.assert_allclose(percent(1.1 * values, 1.1 * baseline), percent(values, baseline), atol=1e-4)


def test_percent_of_next_to_nothing_is_no_value() -> None:
    values = np.full(5, 500.0, np.float32)
    assert np.isnan(percent(values, np.array([500.0, 500.0, 500.0, 0.1, np.nan]))).tolist() == [
        *(False, False, False, True, True)
    ]
    # Nothing is known of any voxel: nothing is said, and nothing warned of.
    assert np.isnan(percent(values, np.full(5, np.nan))).all()


def test_moments_are_those_of_the_volumes() -> None:
    samples, _ = make_samples()
    mean, deviation = moments(samples)
    z = np.stack([standardise(row, mean, deviation) for row in samples])
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(z.std(0), 1.0, atol=1e-9)


def test_a_decoder_comes_back_from_its_arrays() -> None:
    samples, labels = make_samples()
    decoder = train(samples, labels, CONDITIONS, strength=1.0, seed=0)
    again = unpack(pack(decoder), CONDITIONS)
    assert evidence(again, samples[0]) == evidence(decoder, samples[0])


def test_separation_is_the_f_of_an_analysis_of_variance() -> None:
    from sklearn.feature_selection import f_classif

    samples, labels = make_samples()
    np.testing.assert_allclose(
        separation(samples, labels), f_classif(samples.astype(float), labels)[0], rtol=1e-6
    )
    samples[:, 0] = 3.0
    assert separation(samples, labels)[0] == 0.0


def test_the_best_voxels_are_chosen_and_fitted_as_if_there_were_no_others() -> None:
    samples, labels = make_samples()
    decoder = train(samples, labels, CONDITIONS, strength=1.0, seed=0, best=20)
    chosen = np.flatnonzero(decoder.deviation)
    assert len(chosen) == 20
    assert separation(samples, labels)[chosen].min() >= np.sort(separation(samples, labels))[-20]
    alone = train(np.ascontiguousarray(samples[:, chosen]), labels, CONDITIONS, strength=1.0, seed=0)
    np.testing.assert_allclose(decoder.coef[:, chosen], alone.coef, atol=1e-10)
    assert (np.delete(decoder.coef, chosen, axis=1) == 0).all()
    assert evidence(decoder, samples[0])[0] == pytest.approx(evidence(alone, samples[0, chosen])[0], abs=1e-9)
