"""The Gaussian backend against scikit-learn's and against densities one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lightning_modules.calibration import log_softmax
from lightning_modules.gaussian_backend import fit_gaussian_backend, without_common


def _speech(seed: int, counts: tuple[int, ...] = (12, 30, 20), *, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(counts)), counts)
    means = rng.standard_normal((len(counts), size))
    return means[truth] + rng.standard_normal((len(truth), size)) @ rng.standard_normal((size, size)), truth


@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("counts", [(20, 20, 20), (12, 30, 20)])
def test_it_is_scikit_learns_linear_discriminant_with_equal_priors(counts: tuple[int, ...], shrinkage: float) -> None:
    x, truth = _speech(1, counts)
    backend = fit_gaussian_backend(x, truth, num_languages=3, shrinkage=shrinkage)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3).fit(x, truth)
    np.testing.assert_allclose(np.exp(log_softmax(backend.apply(x))), reference.predict_proba(x), atol=1e-6)


def test_it_is_the_ratio_of_the_languages_densities() -> None:
    x, truth = _speech(2)
    backend = fit_gaussian_backend(x, truth, num_languages=3, shrinkage=0.0)
    covariance = sum(np.cov(x[truth == each].T, bias=True) / 3 for each in range(3))
    naive = np.array(
        [
            [multivariate_normal(x[truth == each].mean(axis=0), covariance).logpdf(row) for each in range(3)]
            for row in x[:10]
        ]
    )
    np.testing.assert_allclose(log_softmax(backend.apply(x[:10])), log_softmax(naive), atol=1e-8)


@given(seed=st.integers(0, 30), constant=st.floats(-50, 50))
def test_a_constant_added_to_all_scores_of_an_utterance_changes_nothing(seed: int, constant: float) -> None:
    s, truth = _speech(seed, size=3)
    backend = fit_gaussian_backend(without_common(s), truth, num_languages=3)
    moved = backend.apply(without_common(s + constant))
    np.testing.assert_allclose(moved, backend.apply(without_common(s)), atol=1e-6)


def test_dimensions_without_the_common_one_keep_all_distances() -> None:
    s = np.random.default_rng(0).standard_normal((6, 5))
    centred = s - s.mean(axis=1, keepdims=True)
    reduced = without_common(s)
    assert reduced.shape == (6, 4)
    np.testing.assert_allclose(reduced @ reduced.T, centred @ centred.T, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "truth", "shrinkage", "message"),
    [
        ([[0.0], [1.0]], [0, 0], 0.1, "language 1 has none"),
        ([[0.0], [np.nan]], [0, 1], 0.1, "must be finite"),
        ([[0.0], [1.0]], [0, 1], 0.1, "must vary within languages"),
        ([[0.0], [1.0], [3.0]], [0, 0, 1], 1.5, "shrinkage must lie between 0 and 1"),
        ([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]], [0, 0, 1], 0.0, "cannot be inverted"),
    ],
)
def test_what_cannot_be_fitted_is_refused(x: object, truth: list[int], shrinkage: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_gaussian_backend(x, truth, num_languages=2, shrinkage=shrinkage)  # type: ignore[arg-type]
