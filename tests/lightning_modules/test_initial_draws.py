"""Networks that differ in one part begin alike everywhere else, so that replicates under one seed are pairs."""

from typing import Any

import pytest
import torch

from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig


def weights(**parts: Any) -> dict[str, torch.Tensor]:
    config = TrialConfig.model_validate({"encoder": {"hidden_size": 8, "num_layers": 1}, "seed": 3} | parts)
    return {name: parameter.detach() for name, parameter in build_module(config).named_parameters()}


def shared(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """Parameters of the same name and shape; all of them must be equal."""
    names = {name for name in one.keys() & other.keys() if one[name].shape == other[name].shape}
    for name in names:
        assert torch.equal(one[name], other[name]), name
    return names


@pytest.mark.parametrize("task", [{"kind": "classification"}, {"kind": "labelling"}, {"kind": "sequence"}])
def test_another_cell_leaves_the_rest_as_it_was(task: dict[str, Any]) -> None:
    gru, lstm = ({"cell": cell, "hidden_size": 8, "num_layers": 1} for cell in ("gru", "lstm"))
    one, other = weights(encoder=gru, task=task), weights(encoder=lstm, task=task)
    same = {name for name in one if not name.startswith("encoder")}
    assert same
    assert shared({name: one[name] for name in same}, {name: other[name] for name in same}) == same


def test_another_pooling_leaves_encoder_and_head_as_they_were() -> None:
    one, other = weights(pooling={"kind": "mean"}), weights(pooling={"kind": "attention"})
    assert shared(one, other) == set(one)


def test_what_is_not_of_the_network_changes_nothing_and_the_seed_changes_all() -> None:
    one, other = weights(clipping={"kind": "norm"}), weights(clipping={"kind": "none"}, optimizer={"kind": "sgd"})
    assert shared(one, other) == set(one) == set(other)
    reseeded = weights(seed=4)
    drawn = [name for name in one if one[name].std() > 0]
    assert drawn
    assert not any(torch.equal(one[name], reseeded[name]) for name in drawn)


def test_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    weights()
    assert torch.equal(torch.rand(3), expected)
