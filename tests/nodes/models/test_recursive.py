"""Least squares row by row, against least squares at once; what some rows can tell, and what not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtflow.nodes.models.recursive import CHUNK, LeastSquares, t_values, z_values


def fitted(design: np.ndarray, data: np.ndarray) -> LeastSquares:
    fit = LeastSquares(design.shape[1], data.shape[1])
    for row, values in zip(design, data, strict=True):
        fit.add(row, values)
    return fit


def example(rows: int, columns: int, voxels: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A design with a constant, and data in a scanner's units."""
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(rows), rng.normal(size=(rows, columns - 1))])
    data = 1000.0 + design @ rng.normal(0.0, 20.0, (columns, voxels)) + rng.normal(0, 10, (rows, voxels))
    return design, data.astype(np.float32)


def offline(design: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and the sum of squares that is left."""
    length = np.linalg.norm(design, axis=0)
    coefficients, *_ = np.linalg.lstsq(design / length, data.astype(np.float64), rcond=None)
    coefficients /= length[:, None]
    return coefficients, ((data - design @ coefficients) ** 2).sum(axis=0)


@settings(deadline=None)
@given(rows=st.integers(9, 40), columns=st.integers(1, 8), seed=st.integers(0, 999))
def test_after_every_row_it_is_least_squares_of_the_rows_so_far(rows, columns, seed) -> None:
    design, data = example(rows, columns, seed=seed)
    fit = LeastSquares(columns, data.shape[1])
    for count, (row, values) in enumerate(zip(design, data, strict=True), start=1):
        fit.add(row, values)
        model = fit.model()
        if count <= columns or model.condition > 1e3:
            continue
        coefficients, left = offline(design[:count], data[:count])
        assert model.dof == count - columns
        # Float64 throughout: 3e-6 was seen of a float64 state that is less careful.
        np.testing.assert_allclose(fit.coefficients(model), coefficients, rtol=3e-6, atol=1e-6)
        np.testing.assert_allclose(fit.unexplained(), left, rtol=1e-6, atol=1e-6)


def test_a_long_run_of_many_voxels_loses_nothing() -> None:
    design, data = example(800, 15, voxels=CHUNK + 5)
    design[:, 1:] *= np.logspace(-4, 4, 14)
    fit = fitted(design, data)
    coefficients, left = offline(design, data)
    scale = np.abs(coefficients).max(axis=1, keepdims=True)
    assert np.abs((fit.coefficients(fit.model()) - coefficients) / scale).max() < 1e-9
    np.testing.assert_allclose(fit.unexplained(), left, rtol=1e-9)


@settings(deadline=None)
@given(order=st.permutations(range(14)))
def test_the_order_of_the_rows_does_not_matter(order) -> None:
    design, data = example(14, 4)
    one, two = fitted(design, data), fitted(design[order], data[order])
    np.testing.assert_allclose(
        one.coefficients(one.model()), two.coefficients(two.model()), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(one.unexplained(), two.unexplained(), rtol=1e-8)


@pytest.mark.parametrize("leading", range(1, 7))
def test_the_first_columns_are_a_model_of_their_own(leading) -> None:
    design, data = example(30, 6)
    fit = fitted(design, data)
    model = fit.model(leading)
    coefficients, left = offline(design[:, :leading], data)
    assert model.dof == 30 - leading
    np.testing.assert_allclose(fit.coefficients(model), coefficients, rtol=1e-8)
    np.testing.assert_allclose(fit.unexplained(leading), left, rtol=1e-8)


def test_a_column_that_is_0_at_first_costs_nothing_and_is_taken_when_it_is_not() -> None:
    design, data = example(30, 4)
    design[:20, 2] = 0.0
    fit = fitted(design[:20], data[:20])
    model = fit.model()
    assert model.active.tolist() == [0, 1, 3]
    assert [model.estimable(contrast) for contrast in np.eye(4)] == [True, True, False, True]
    np.testing.assert_allclose(
        fit.coefficients(model), offline(design[:20, [0, 1, 3]], data[:20])[0], rtol=1e-8
    )
    for row, values in zip(design[20:], data[20:], strict=True):
        fit.add(row, values)
    assert fit.model().estimable(np.eye(4)[2])
    np.testing.assert_allclose(fit.coefficients(fit.model()), offline(design, data)[0], rtol=1e-8)


def test_what_two_columns_share_is_not_said_of_either() -> None:
    design, data = example(30, 5)
    design[:, 3] = 2.0 * design[:, 1] - 0.7 * design[:, 0]
    fit = fitted(design, data)
    model = fit.model()
    assert (model.active.tolist(), model.dof) == ([0, 1, 2, 4], 26)
    assert [model.estimable(contrast) for contrast in np.eye(5)] == [False, False, True, False, True]
    # What the data do fix is found.
    coefficients, left = offline(design, data)
    for column in (2, 4):
        found = fit.combine(model.weights(np.eye(5)[column]))
        np.testing.assert_allclose(found, coefficients[column], rtol=1e-6)
    np.testing.assert_allclose(fit.unexplained(), left, rtol=1e-6)


def test_the_condition_does_not_depend_on_units_nor_on_where_0_is_nor_on_how_drift_is_written() -> None:
    design, data = example(40, 6)
    fit = fitted(design, data)
    plain = fit.model(apart=4).condition
    assert 1.0 < plain < 3.0
    assert plain < fit.model().condition
    moved = design * [1.0, 1e-3, 1e4, 1.0, 1.0, 1.0] + [0.0, 5.0, 0.0, -300.0, 0.0, 0.0]
    moved[:, 4:] = design[:, 4:] @ [[1.0, 50.0], [0.01, 1.0]]
    assert fitted(moved, data).model(apart=4).condition == pytest.approx(plain, rel=1e-6)


def test_the_condition_is_by_how_much_standard_errors_grow() -> None:
    rng = np.random.default_rng(0)
    design, data = example(40, 4)
    for rest, share in ((1, 1e-3), (3, 1e-2)):
        close = design.copy()
        # The second column is all but the first, or all but drift.
        close[:, 2] = design[:, rest] + share * rng.normal(size=40)
        fit = fitted(close, data)
        assert 0.5 < share * fit.model(apart=3).condition < 3.0
        weights = fit.model().weights(np.eye(4)[2])
        alone = 1.0 / np.sqrt(np.square(close[:, 2] - close[:, 2].mean()).sum())
        assert np.sqrt(weights @ weights) / alone <= fit.model(apart=3).condition * (1 + 1e-9)
    assert fitted(design[:, :1], data).model().condition == 1.0


def test_t_is_that_of_the_textbook() -> None:
    design, data = example(25, 2)
    fit = fitted(design, data)
    model = fit.model()
    weights = model.weights(np.array([0.0, 1.0]))
    t = t_values(fit.combine(weights), fit.unexplained(), float(weights @ weights), model.dof)
    for voxel in range(data.shape[1]):
        line = stats.linregress(design[:, 1], data[:, voxel].astype(float))
        assert t[voxel] == pytest.approx(line.slope / line.stderr, rel=1e-8)
    assert t_values(np.ones(2), np.array([0.0, 4.0]), 1.0, 4).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dof", [10, 30, 150])
def test_z_is_about_as_unlikely_as_t(dof) -> None:
    t = np.linspace(-8.0, 8.0, 101)
    exact = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), dof))
    assert np.abs(z_values(t, dof) - exact).max() < 0.03
