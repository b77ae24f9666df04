"""Latency: what is passed through the model, and that training is none the wiser. How fast it is, no test says."""

import pytest
import torch

from lightning_modules.build import build_module
from lightning_modules.config import RecurrentEncoderConfig, TrialConfig
from lightning_modules.language_id import LanguageId
from lightning_modules.latency import WARM_UP_PASSES, latency_ms

CONFIG = TrialConfig(encoder=RecurrentEncoderConfig(hidden_size=8, dropout=0.5, num_layers=2))


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], list[int], bool]]:
    """Shape of the features, lengths, and whether the module trains, of every pass."""
    seen: list[tuple[tuple[int, ...], list[int], bool]] = []
    forward = LanguageId.forward

    def watched(module: LanguageId, features: torch.Tensor, lengths: torch.Tensor) -> object:
        seen.append((tuple(features.shape), lengths.tolist(), module.training))
        return forward(module, features, lengths)

    monkeypatch.setattr(LanguageId, "forward", watched)
    return seen


def test_one_utterance_of_the_stated_length_is_scored_as_often_as_is_said(
    passed: list[tuple[tuple[int, ...], list[int], bool]],
) -> None:
    assert latency_ms(build_module(CONFIG), utterance_s=2.5, num_passes=4, device="cpu") > 0.0
    assert passed == [((1, 250, 40), [250], False)] * (WARM_UP_PASSES + 4)


def test_it_is_the_median_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    durations = [9.0] * WARM_UP_PASSES + [0.25, 7.0, 0.5]
    clock = iter([time for duration in durations for time in (1.0, 1.0 + duration)])
    monkeypatch.setattr("lightning_modules.latency.time.perf_counter", lambda: next(clock))
    assert latency_ms(build_module(CONFIG), utterance_s=1.0, num_passes=3, device="cpu") == 500.0


def test_the_module_and_torchs_generator_stay_as_they_are() -> None:
    module = build_module(CONFIG)
    before, state = {key: value.clone() for key, value in module.state_dict().items()}, torch.get_rng_state()
    latency_ms(module, utterance_s=1.0, num_passes=2, device="cpu")
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
