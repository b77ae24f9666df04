"""The Gaussian backend against scikit-learn's and against densities one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lightning_modules import scoring
from lightning_modules.calibration import log_softmax
from lightning_modules.gaussian_backend import (
    LEAST_UTTERANCES,
    fit_calibrated_gaussians,
    fit_gaussian_backend,
    without_common,
)


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


def _cllr(log_likelihoods: np.ndarray, truth: np.ndarray) -> float:
    return scoring.cllr(scoring.llr_from_log_likelihoods(log_likelihoods), truth)


def test_a_regression_takes_out_the_overconfidence_of_gaussians_of_few_utterances() -> None:
    alone, followed = [], []
    for seed in range(10):
        s, truth = _speech(seed, (106,) * 6, size=6)
        few = np.concatenate([np.flatnonzero(truth == language)[:6] for language in range(6)])
        rest = np.setdiff1d(np.arange(len(truth)), few)
        fitted = fit_calibrated_gaussians(s[few], truth[few])
        alone.append(_cllr(fitted.gaussians.apply(without_common(s[rest])), truth[rest]))
        followed.append(_cllr(fitted.apply(s[rest]), truth[rest]))
    assert np.mean(followed) < 0.9 * np.mean(alone)


def test_a_regression_that_keeps_speakers_whole_knows_how_little_gaussians_know_of_others() -> None:
    """Five languages of four speakers, who differ as much from each other as languages do."""
    apart, whole = list[float](), list[float]()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        s, truth, speakers = _of_speakers(rng, num_speakers=4)
        others, others_truth, _ = _of_speakers(rng, num_speakers=20)
        for found, groups in ((apart, None), (whole, speakers)):
            found.append(_cllr(fit_calibrated_gaussians(s, truth, groups=groups).apply(others), others_truth))
    assert np.mean(whole) < 0.85 * np.mean(apart)


@pytest.mark.parametrize("sizes", [(2, 1), (30, 1)])
def test_speakers_that_leave_no_spread_are_divided(sizes: tuple[int, int]) -> None:
    rng, num = np.random.default_rng(0), sum(sizes)
    truth = np.repeat([0, 1], num)
    speakers = [f"{language}-{speaker}" for language in (0, 1) for speaker in (0, 1) for _ in range(sizes[speaker])]
    fitted = fit_calibrated_gaussians(np.eye(2)[truth] + rng.standard_normal((2 * num, 2)), truth, groups=speakers)
    assert np.isfinite(fitted.calibration.scale)


def _of_speakers(rng: np.random.Generator, *, num_speakers: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Ten utterances of each speaker."""
    speakers = np.repeat(np.arange(5 * num_speakers), 10)
    truth = speakers // num_speakers
    voices = rng.standard_normal((5 * num_speakers, 5))
    return np.eye(5)[truth] + voices[speakers] + 0.3 * rng.standard_normal((len(truth), 5)), truth, speakers.tolist()


@given(seed=st.integers(0, 15), constant=st.floats(-50, 50))
def test_the_constant_of_an_utterance_changes_nothing_after_the_regression_either(seed: int, constant: float) -> None:
    s, truth = _speech(seed, size=3)
    moved = s + constant * np.random.default_rng(seed).standard_normal((len(s), 1))
    expected = log_softmax(fit_calibrated_gaussians(s, truth).apply(s))
    np.testing.assert_allclose(log_softmax(fit_calibrated_gaussians(moved, truth).apply(moved)), expected, atol=1e-6)


@given(seed=st.integers(0, 15), factor=st.floats(0.1, 10.0))
def test_the_scale_of_scores_changes_nothing(seed: int, factor: float) -> None:
    s, truth = _speech(seed, size=3)
    expected = log_softmax(fit_calibrated_gaussians(s, truth).apply(s))
    np.testing.assert_allclose(
        log_softmax(fit_calibrated_gaussians(factor * s, truth).apply(factor * s)), expected, atol=1e-6
    )


def test_with_too_few_utterances_to_leave_some_out_the_gaussians_stand_alone() -> None:
    s, truth = _speech(4, (LEAST_UTTERANCES - 1, 9, 9), size=3)
    fitted = fit_calibrated_gaussians(s, truth)
    expected = log_softmax(fitted.gaussians.apply(without_common(s)))
    np.testing.assert_allclose(log_softmax(fitted.apply(s)), expected, atol=1e-9)
