"""Every preset with its space: all that can be drawn is a configuration, builds, and has a loss with gradients."""

from typing import Any

import pytest
import torch

from lightning_modules.build import build_module
from lightning_modules.config import ClassificationConfig, TrialConfig
from lightning_modules.data.batches import AnyBatch, Batch
from lightning_modules.data.switched import switched_batch
from search_spaces.checking import corners
from search_spaces.space import Space, load_space
from study.config import load_study_config, preset_names

NARROW = 16
"""Units in place of more: what is tested is how parts go together."""


def narrowed(content: Any) -> Any:
    """The same configuration with small networks."""
    if not isinstance(content, dict):
        return content
    sizes = ("hidden_size", "channels", "output_channels", "bottleneck", "attention_size", "decoder_size")
    return {
        key: min(value, NARROW) if key in sizes and isinstance(value, int) else narrowed(value)
        for key, value in content.items()
    }


def configurations(name: str) -> list[TrialConfig]:
    """The base, and each value and end of each parameter beside it."""
    study = load_study_config(name)
    space: Space = load_space(study.space, around_defaults=False)
    base = study.trial.model_dump(mode="json")
    found = [space.apply(base, values) for _, values in corners(space.in_order)]
    return list({config.configuration_hash(): config for config in found}.values())


def batch_of(config: TrialConfig) -> AnyBatch:
    """Noise as long as what the task is trained on."""
    generator, features = torch.Generator().manual_seed(0), config.data.features
    if isinstance(config.task, ClassificationConfig):
        num_frames = round(config.data.segment_s * features.frames_per_s)
        noise = torch.randn(4, num_frames, features.num_values, generator=generator)
        return Batch(noise, torch.full((4,), num_frames), torch.tensor([0, 1, 0, 1]), torch.arange(4))
    num_frames = round(config.task.switching.max_part_s * features.frames_per_s)
    recordings = [torch.randn(2 * num_frames, features.num_values, generator=generator) for _ in range(4)]
    return switched_batch(recordings, languages=[[0, 1]] * 4, frames=[[num_frames] * 2] * 4, first_rows=[0, 2, 4, 6])


@pytest.mark.parametrize("name", preset_names())
def test_whatever_a_preset_can_draw_builds_and_trains(name: str) -> None:
    drawn = configurations(name)
    assert drawn
    for config in drawn:
        small = TrialConfig.model_validate(narrowed(config.model_dump(mode="json")))
        module = build_module(small)
        torch.autograd.backward(module.loss(batch_of(small)).value)
        idle = [key for key, value in module.encoder.named_parameters() if value.grad is None or not value.grad.any()]
        assert not [key for key in idle if "weight_hh" in key], f"{config.encoder} has recurrences that learn nothing"
