"""Heads: which output layer an utterance of which length gets."""

import pytest
import torch
from pydantic import ValidationError

from lightning_modules.config import DurationHeadsConfig, SingleHeadConfig, TrialConfig
from lightning_modules.heads import Head

FRAMES_PER_S = 100.0


def make(*, border_s: float | None = None) -> Head:
    torch.manual_seed(0)
    config = SingleHeadConfig() if border_s is None else DurationHeadsConfig(border_s=border_s)
    return Head(config, input_size=5, num_languages=3, frames_per_s=FRAMES_PER_S)


def test_one_head_gives_log_posteriors_by_its_layer() -> None:
    head, embedding_BE = make(), torch.randn(2, 5)
    expected_BL = (embedding_BE @ head.output.weight.T + head.output.bias).log_softmax(dim=1)
    torch.testing.assert_close(head(embedding_BE, torch.tensor([10, 900])), expected_BL)


def test_the_border_itself_is_long() -> None:
    head, embedding_BE = make(border_s=5.0), torch.randn(3, 5)
    assert head.short is not None
    scores_BL = head(embedding_BE, torch.tensor([499, 500, 501]))
    short_BL, long_BL = (layer(embedding_BE).log_softmax(dim=1) for layer in (head.short, head.output))
    torch.testing.assert_close(scores_BL, torch.stack([short_BL[0], long_BL[1], long_BL[2]]))


def test_each_head_learns_from_its_own_utterances_alone() -> None:
    head = make(border_s=5.0)
    assert head.short is not None
    head(torch.randn(4, 5), torch.tensor([100, 200, 300, 400])).sum().backward()
    assert head.short.weight.grad is not None
    assert head.short.weight.grad.any()
    assert head.output.weight.grad is not None
    assert not head.output.weight.grad.any()


@pytest.mark.parametrize(("segment_s", "long_segment_s"), [(2.0, None), (2.0, 4.0), (6.0, 8.0), (5.0, 8.0)])
def test_heads_that_training_would_never_reach_are_refused(segment_s: float, long_segment_s: float | None) -> None:
    data = {"segment_s": segment_s, "long_segment_s": long_segment_s}
    with pytest.raises(ValidationError, match=r"trains a head on either side of head\.border_s \(5 s\)"):
        TrialConfig.model_validate({"data": data, "head": {"kind": "by_duration", "border_s": 5.0}})


def test_segments_on_both_sides_of_the_border_are_accepted() -> None:
    data = {"segment_s": 2.0, "long_segment_s": 5.0}
    TrialConfig.model_validate({"data": data, "head": {"kind": "by_duration", "border_s": 5.0}})
