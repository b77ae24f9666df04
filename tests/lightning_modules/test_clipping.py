"""Gradient clipping rules against NumPy, and whether what they report is what they did.

Shape legend: N units (rows of a weight matrix).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from lightning_modules.clipping import ClippingStep, GradientClipper, clipping_metrics, global_norm
from lightning_modules.config import (
    AGCConfig,
    AutoClipConfig,
    ClippingConfig,
    LayerNormClippingConfig,
    NoClippingConfig,
    NormClippingConfig,
    RecurrentClippingConfig,
    SingleHeadConfig,
    SkipClippingConfig,
    ValueClippingConfig,
)
from lightning_modules.heads import Head

Arrays = list[npt.NDArray[np.float32]]

LAW = settings(max_examples=60)
ELEMENTS = st.floats(-100.0, 100.0, width=32, allow_subnormal=False).map(lambda value: np.float32(round(value, 3)))
SHAPES = npst.array_shapes(max_dims=2, max_side=4)
GRADIENTS = st.lists(SHAPES.flatmap(lambda s: npst.arrays(np.float32, s, elements=ELEMENTS)), min_size=1, max_size=4)
LIMITS = st.floats(1e-3, 200.0)
CUTTING_RULES = st.one_of(
    st.builds(NormClippingConfig, max_norm=LIMITS), st.builds(ValueClippingConfig, max_value=LIMITS)
)
RULES: list[ClippingConfig] = [
    NoClippingConfig(),
    NormClippingConfig(max_norm=1.0),
    LayerNormClippingConfig(max_norm=1.0),
    ValueClippingConfig(max_value=0.1),
    AutoClipConfig(percentile=50.0),
    AGCConfig(),
    SkipClippingConfig(skip_above=1.0),
    RecurrentClippingConfig(),
]
LEAVE_WHAT_IS_NOT_FINITE = [rule for rule in RULES if rule.kind != "skip"]


def parameters_with(gradients: Arrays) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(gradient.shape)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    return parameters


def gradients_of(parameters: list[nn.Parameter]) -> Arrays:
    return [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]


def norm(gradients: Arrays) -> float:
    return float(np.sqrt(sum(np.square(gradient, dtype=np.float64).sum() for gradient in gradients)))


def clip_gradients(parameters: Iterable[nn.Parameter], rule: ClippingConfig) -> ClippingStep:
    return GradientClipper(rule).clip(nn.ParameterList(parameters))


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


@pytest.mark.parametrize("rule", LEAVE_WHAT_IS_NOT_FINITE, ids=lambda rule: rule.kind)
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
    assert len(gradients_of([beside])) == len(gradients_of([alone]))
    assert_same(gradients_of([beside]), gradients_of([alone]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_without_any_gradient_there_is_nothing_to_clip(rule: ClippingConfig) -> None:
    assert clip_gradients([nn.Parameter(torch.ones(3))], rule) == (0.0, 0.0, False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_gradients_of_zero_stay_zero(rule: ClippingConfig) -> None:
    parameters = parameters_with([np.zeros((2, 3), np.float32)])
    assert clip_gradients(parameters, rule) == (0.0, 0.0, False)
    assert_same(gradients_of(parameters), [np.zeros((2, 3), np.float32)])


def test_the_norm_of_nothing_is_zero() -> None:
    assert float(global_norm([])) == 0.0


# --- rules that look at more than one vector --------------------------------------------------------------------------

SEEDS = pytest.mark.parametrize("seed", range(5))


def network() -> nn.Module:
    """A recurrence, a convolution, a gain, and two output layers."""
    head = Head(SingleHeadConfig(), input_size=4, num_languages=3, frames_per_s=100.0)
    head.short = nn.Linear(4, 3)
    return nn.ModuleDict(
        {
            "recurrence": nn.GRU(3, 4, num_layers=2),
            "mix": nn.Conv1d(4, 4, 3),
            "gain": nn.LayerNorm(4),
            "pooling": nn.ModuleDict({"relevance": nn.Linear(4, 4)}),
            "decoder": nn.ModuleDict({"output": nn.Linear(4, 3)}),
            "head": head,
        }
    )


def with_random_gradients(module: nn.Module, *, seed: int, scale: float = 1.0) -> dict[str, npt.NDArray[np.float64]]:
    """Weights and gradients of very different sizes; the gradients by name."""
    rng = np.random.default_rng(seed)
    gradients = {}
    for name, parameter in module.named_parameters():
        parameter.data = torch.from_numpy(rng.normal(size=parameter.shape) * 10.0 ** rng.uniform(-4, 1)).float()
        parameter.grad = torch.from_numpy(rng.normal(size=parameter.shape) * scale * 10.0 ** rng.uniform(-3, 1)).float()
        gradients[name] = parameter.grad.double().numpy()
    return gradients


def assert_clipped_to(module: nn.Module, expected: dict[str, npt.NDArray[np.float64]]) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), expected[name], err_msg=name, rtol=1e-5, atol=1e-7)


@SEEDS
def test_layer_norm_scales_each_layer_by_its_own_norm(seed: int) -> None:
    module, rule = network(), LayerNormClippingConfig(max_norm=0.3)
    gradients = with_random_gradients(module, seed=seed)
    layers = {
        **{layer: [name for name in gradients if name.endswith(layer)] for layer in ("_l0", "_l1")},
        "mix": ["mix.weight", "mix.bias"],
        "gain": ["gain.weight", "gain.bias"],
        "relevance": ["pooling.relevance.weight", "pooling.relevance.bias"],
        "decoder": ["decoder.output.weight", "decoder.output.bias"],
        "output": ["head.output.weight", "head.output.bias"],
        "short": ["head.short.weight", "head.short.bias"],
    }
    expected = {}
    for names in layers.values():
        total = math.sqrt(sum(float((gradients[name] ** 2).sum()) for name in names))
        for name in names:
            expected[name] = gradients[name] * (0.3 / total if total > 0.3 else 1.0)
    step = GradientClipper(rule).clip(module)
    assert_clipped_to(module, expected)
    assert step.norm_before == pytest.approx(norm([*gradients.values()]), rel=1e-5)  # type: ignore[list-item]
    assert step.norm_after == pytest.approx(norm([*expected.values()]), rel=1e-5)  # type: ignore[list-item]
    assert step.clipped == 1.0


def naive_agc(
    weight: npt.NDArray[np.float64], gradient: npt.NDArray[np.float64], *, max_ratio: float, epsilon: float
) -> npt.NDArray[np.float64]:
    """Brock et al. (2021), equation 3, one unit after another."""
    clipped = gradient.copy()
    for unit in range(len(weight)):
        weight_norm = max(math.sqrt(sum(float(w) ** 2 for w in weight[unit].ravel())), epsilon)
        gradient_norm = math.sqrt(sum(float(g) ** 2 for g in gradient[unit].ravel()))
        if gradient_norm / weight_norm > max_ratio:
            clipped[unit] = max_ratio * weight_norm / gradient_norm * gradient[unit]
    return clipped


@SEEDS
@pytest.mark.parametrize("max_ratio", [1e-3, 0.3])
def test_agc_clips_each_row_of_each_weight_matrix_but_the_output_layers(seed: int, max_ratio: float) -> None:
    module = network()
    gradients = with_random_gradients(module, seed=seed)
    weights = {name: parameter.detach().double().numpy() for name, parameter in module.named_parameters()}
    left_out = {name for name in gradients if name.startswith(("head.", "decoder.")) or gradients[name].ndim == 1}
    assert {"mix.bias", "gain.weight", "recurrence.bias_hh_l1", "head.output.weight", "head.short.weight"} < left_out
    expected = {
        name: gradient if name in left_out else naive_agc(weights[name], gradient, max_ratio=max_ratio, epsilon=1e-3)
        for name, gradient in gradients.items()
    }
    step = GradientClipper(AGCConfig(max_ratio=max_ratio, epsilon=1e-3)).clip(module)
    assert_clipped_to(module, expected)
    assert step.norm_after == pytest.approx(norm([*expected.values()]), rel=1e-5)  # type: ignore[list-item]
    assert step.clipped == float(any(not np.allclose(expected[name], gradients[name]) for name in gradients))


def test_agc_lets_weights_of_zero_learn() -> None:
    [weight] = parameters_with([np.full((2, 4), 0.5, np.float32)])  # whose weights are zero
    step = clip_gradients([weight], AGCConfig(max_ratio=0.1, epsilon=0.01))
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.norm(dim=1), [0.001, 0.001], rtol=1e-5)
    assert step.clipped == 1.0


# --- rules that remember ----------------------------------------------------------------------------------------------

NORMS = st.lists(st.floats(2.0**-9, 100.0, width=32), min_size=1, max_size=30)


def clipped_norms(clipper: GradientClipper, norms: Iterable[float]) -> list[ClippingStep]:
    return [clipper.clip(nn.ParameterList(parameters_with([np.array([each], np.float32)]))) for each in norms]


@given(norms=NORMS, percentile=st.floats(0.1, 100.0))
@LAW
def test_autoclip_scales_down_to_the_percentile_of_all_norms_so_far(norms: list[float], percentile: float) -> None:
    steps = clipped_norms(GradientClipper(AutoClipConfig(percentile=percentile)), norms)
    for place, step in enumerate(steps):
        limit = float(np.percentile(norms[: place + 1], percentile))
        assert step.norm_before == pytest.approx(norms[place], rel=1e-6)
        assert step.norm_after == pytest.approx(min(norms[place], limit), rel=1e-6)


@given(norms=NORMS, cut=st.integers(0, 30))
@LAW
def test_autoclip_goes_on_from_its_state_as_if_never_interrupted(norms: list[float], cut: int) -> None:
    rule = AutoClipConfig(percentile=37.0)
    whole, before, after = (GradientClipper(rule) for _ in range(3))
    expected = clipped_norms(whole, norms)
    steps = clipped_norms(before, norms[:cut])
    after.load_state_dict(before.state_dict())
    assert steps + clipped_norms(after, norms[cut:]) == expected


def test_autoclip_forgets_norms_that_are_not_finite() -> None:
    steps = clipped_norms(GradientClipper(AutoClipConfig(percentile=100.0)), [1.0, math.inf, math.nan, 2.0, 1.5])
    assert [step.clipped for step in steps] == [0.0] * 5
    assert steps[-1].norm_after == 1.5


OPTIMIZERS: list[Callable[..., torch.optim.Optimizer]] = [
    lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
]


@pytest.mark.parametrize("optimizer_of", OPTIMIZERS, ids=["sgd", "adamw"])
@pytest.mark.parametrize("spoilt", [30.0, math.nan, math.inf])
def test_a_skipped_step_moves_neither_weights_nor_the_optimiser(
    optimizer_of: Callable[..., torch.optim.Optimizer], spoilt: float
) -> None:
    """Steps with a step between them that is skipped end where they would without it."""
    ends = []
    for gradients in ([1.0, 0.5], [1.0, spoilt, 0.5]):
        parameter = nn.Parameter(torch.tensor([2.0]))
        optimizer = optimizer_of([parameter])
        clipper = GradientClipper(SkipClippingConfig(skip_above=20.0))
        for gradient in gradients:
            parameter.grad = torch.tensor([gradient])
            step = clipper.clip(nn.ParameterList([parameter]))
            assert step.clipped == float(gradient is spoilt)
            optimizer.step()
        ends.append((parameter.item(), optimizer.state_dict()["state"]))
    assert ends[0] == ends[1]


def test_skip_tells_what_it_dropped() -> None:
    step = clip_gradients(parameters_with([np.array([30.0, 40.0], np.float32)]), SkipClippingConfig(skip_above=49.0))
    assert step == (50.0, 0.0, 1.0)


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_over_the_steps_whose_gradient_is_finite() -> None:
    norms = [3.0, 1.0, 2.0, 5.0, 4.0]
    steps = [ClippingStep(each, each / 2, 0.5) for each in norms] + [ClippingStep(math.nan, 0.0, 1.0)]
    assert clipping_metrics(steps) == pytest.approx(
        {
            "grad/share_clipped": 3.5 / 6,
            "grad/steps_non_finite": 1.0,
            "grad/norm_before_clipping": 3.0,
            "grad/norm_after_clipping": 1.5,
            "grad/norm_q10": 1.4,
            "grad/norm_q50": 3.0,
            "grad/norm_q90": 4.6,
            "grad/norm_max": 5.0,
        }
    )


def test_an_epoch_without_a_finite_gradient_has_no_norm() -> None:
    steps = [ClippingStep(math.inf, 0.0, 1.0)] * 2
    assert clipping_metrics(steps) == {"grad/share_clipped": 1.0, "grad/steps_non_finite": 2.0}
