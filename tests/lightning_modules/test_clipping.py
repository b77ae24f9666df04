"""Gradient clipping rules against NumPy, and whether what they report is what they did."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from lightning_modules.clipping import clip_gradients, global_norm
from lightning_modules.config import ClippingConfig, NoClippingConfig, NormClippingConfig, ValueClippingConfig

Arrays = list[npt.NDArray[np.float32]]

LAW = settings(max_examples=60, deadline=None)
ELEMENTS = st.floats(-100.0, 100.0, width=32, allow_subnormal=False).map(lambda value: np.float32(round(value, 3)))
SHAPES = npst.array_shapes(max_dims=2, max_side=4)
GRADIENTS = st.lists(SHAPES.flatmap(lambda s: npst.arrays(np.float32, s, elements=ELEMENTS)), min_size=1, max_size=4)
LIMITS = st.floats(1e-3, 200.0)
CUTTING_RULES = st.one_of(
    st.builds(NormClippingConfig, max_norm=LIMITS), st.builds(ValueClippingConfig, max_value=LIMITS)
)
RULES: list[ClippingConfig] = [NoClippingConfig(), NormClippingConfig(max_norm=1.0), ValueClippingConfig(max_value=0.1)]


def parameters_with(gradients: Arrays) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(gradient.shape)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    return parameters


def gradients_of(parameters: list[nn.Parameter]) -> Arrays:
    return [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]


def norm(gradients: Arrays) -> float:
    return float(np.sqrt(sum(np.square(gradient, dtype=np.float64).sum() for gradient in gradients)))


def assert_same(actual: Arrays, expected: Arrays) -> None:
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@given(gradients=GRADIENTS)
@LAW
def test_none_leaves_gradients_as_they_are(gradients: Arrays) -> None:
    parameters = parameters_with(gradients)
    step = clip_gradients(parameters, NoClippingConfig())
    assert_same(gradients_of(parameters), gradients)
    assert step.norm_before == step.norm_after == pytest.approx(norm(gradients), rel=1e-5)
    assert not step.clipped


@given(gradients=GRADIENTS, max_norm=LIMITS)
@LAW
def test_norm_scales_down_to_the_largest_norm(gradients: Arrays, max_norm: float) -> None:
    parameters = parameters_with(gradients)
    clip_gradients(parameters, NormClippingConfig(max_norm=max_norm))
    scale = min(1.0, max_norm / norm(gradients)) if norm(gradients) > 0 else 1.0
    for actual, gradient in zip(gradients_of(parameters), gradients, strict=True):
        np.testing.assert_allclose(actual, gradient * scale, rtol=1e-5)


@given(gradients=GRADIENTS, max_norm=LIMITS)
@LAW
def test_norm_keeps_the_direction(gradients: Arrays, max_norm: float) -> None:
    assume(norm(gradients) > 0)
    parameters = parameters_with(gradients)
    clip_gradients(parameters, NormClippingConfig(max_norm=max_norm))
    before, after = (np.concatenate([g.ravel() for g in gs]) for gs in (gradients, gradients_of(parameters)))
    cosine = before.astype(np.float64) @ after / (norm([before]) * norm([after]))
    assert cosine == pytest.approx(1.0, abs=1e-6)


def test_a_norm_at_the_limit_is_not_clipped() -> None:
    parameters = parameters_with([np.array([3.0], np.float32), np.array([[4.0]], np.float32)])
    step = clip_gradients(parameters, NormClippingConfig(max_norm=5.0))
    assert step == (5.0, 5.0, False)
    assert_same(gradients_of(parameters), [np.array([3.0], np.float32), np.array([[4.0]], np.float32)])


def test_norm_is_that_of_all_parameters_together() -> None:
    parameters = parameters_with([np.array([3.0], np.float32), np.array([4.0], np.float32)])
    step = clip_gradients(parameters, NormClippingConfig(max_norm=1.0))
    assert step == (5.0, 1.0, True)
    np.testing.assert_allclose(np.concatenate(gradients_of(parameters)), [0.6, 0.8], rtol=1e-6)


@given(gradients=GRADIENTS, max_value=LIMITS)
@LAW
def test_value_cuts_each_element(gradients: Arrays, max_value: float) -> None:
    parameters = parameters_with(gradients)
    clip_gradients(parameters, ValueClippingConfig(max_value=max_value))
    for actual, gradient in zip(gradients_of(parameters), gradients, strict=True):
        np.testing.assert_allclose(actual, np.clip(gradient, -max_value, max_value), rtol=1e-6)


@given(gradients=GRADIENTS, rule=CUTTING_RULES)
@LAW
def test_what_is_reported_is_what_was_done(gradients: Arrays, rule: NormClippingConfig | ValueClippingConfig) -> None:
    limit = rule.max_norm if isinstance(rule, NormClippingConfig) else rule.max_value
    assume(abs(norm(gradients) / limit - 1) > 1e-5)  # nearer than that, a scaled float may be the same float
    assume(all(np.all(np.abs(np.abs(gradient) / limit - 1) > 1e-5) for gradient in gradients))
    parameters = parameters_with(gradients)
    step = clip_gradients(parameters, rule)
    after = gradients_of(parameters)
    assert step.norm_before == pytest.approx(norm(gradients), rel=1e-5)
    assert step.norm_after == pytest.approx(norm(after), rel=1e-5)
    assert step.clipped == any(not np.array_equal(a, g) for a, g in zip(after, gradients, strict=True))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_reported_and_left_alone(rule: ClippingConfig, value: float) -> None:
    gradients = [np.array([50.0, value], np.float32), np.array([[60.0]], np.float32)]
    parameters = parameters_with(gradients)
    step = clip_gradients(parameters, rule)
    assert_same(gradients_of(parameters), gradients)
    assert not np.isfinite(step.norm_before)
    assert not np.isfinite(step.norm_after)
    assert not step.clipped


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_parameters_without_a_gradient_are_passed_over(rule: ClippingConfig) -> None:
    frozen = nn.Parameter(torch.ones(3))
    [alone] = parameters_with([np.array([30.0, 40.0], np.float32)])
    [beside] = parameters_with([np.array([30.0, 40.0], np.float32)])
    assert clip_gradients([frozen, beside], rule) == clip_gradients([alone], rule)
    assert frozen.grad is None
    assert_same(gradients_of([beside]), gradients_of([alone]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_without_any_gradient_there_is_nothing_to_clip(rule: ClippingConfig) -> None:
    assert clip_gradients([nn.Parameter(torch.ones(3))], rule) == (0.0, 0.0, False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_gradients_of_zero_stay_zero(rule: ClippingConfig) -> None:
    parameters = parameters_with([np.zeros((2, 3), np.float32)])
    assert clip_gradients(parameters, rule) == (0.0, 0.0, False)
    assert_same(gradients_of(parameters), [np.zeros((2, 3), np.float32)])


def test_parameters_may_come_from_a_generator() -> None:
    module = nn.Linear(2, 2)
    (module(torch.full((1, 2), 100.0)).sum()).backward()
    step = clip_gradients(module.parameters(), NormClippingConfig(max_norm=0.5))
    assert step.clipped
    assert norm(gradients_of(list(module.parameters()))) == pytest.approx(0.5, rel=1e-5)


def test_the_norm_of_nothing_is_zero() -> None:
    assert float(global_norm([])) == 0.0
