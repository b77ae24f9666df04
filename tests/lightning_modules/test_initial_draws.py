"""Networks that differ in one part begin alike everywhere else, so that replicates under one seed are pairs."""

from typing import Any

import pytest
import torch

from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig

SIZE = {"hidden_size": 8}


def weights(**parts: Any) -> dict[str, torch.Tensor]:
    config = TrialConfig.model_validate({"encoder": {"hidden_size": 8, "num_layers": 1}, "seed": 3} | parts)
    return {name: parameter.detach() for name, parameter in build_module(config).named_parameters()}


def shared(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    """Parameters of the same name and shape, in layers that read equally much; all of them must be equal."""

    def is_alike(name: str) -> bool:
        return name in one and name in other and one[name].shape == other[name].shape

    names = {
        name
        for name in one
        if is_alike(name) and (not name.endswith(".bias") or is_alike(f"{name.removesuffix('bias')}weight"))
    }
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


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"num_layers": 1}, {"num_layers": 3}, 4),
        ({"bidirectional": False}, {"bidirectional": True}, 4),
        ({"frames_per_step": 1}, {"frames_per_step": 4}, 5),
        ({"cell": "rnn_tanh", "bidirectional": False}, {"cell": "rnn_tanh", "frames_per_step": 2}, 3),
        ({"initialisation": "uniform", "num_layers": 1}, {"initialisation": "uniform", "num_layers": 2}, 8),
        (
            {"kind": "hierarchical", "low": {"hidden_size": 8}, "middle": {"hidden_size": 8}},
            {"kind": "hierarchical", "low": {"hidden_size": 9}, "middle": {"hidden_size": 8}},
            10,
        ),
        ({"kind": "output_recurrent", "frames_per_step": 1}, {"kind": "output_recurrent", "frames_per_step": 2}, 3),
        ({"kind": "tdnn", "channels": 16}, {"kind": "tdnn", "channels": 24}, 1),
        ({"kind": "ecapa_tdnn", "channels": 16}, {"kind": "ecapa_tdnn", "channels": 16, "bottleneck": 8}, 50),
    ],
)
def test_layers_that_both_networks_have_begin_alike(one: Any, other: Any, expected: int) -> None:
    ours, theirs = (weights(encoder=SIZE | each if "kind" not in each else each) for each in (one, other))
    assert len({name for name in shared(ours, theirs) if name.startswith("encoder")}) >= expected


def test_levels_of_one_size_begin_with_different_weights() -> None:
    level = {"hidden_size": 8}
    found = weights(encoder={"kind": "hierarchical", "low": level, "middle": level, "top": level})
    names = [f"encoder.{name}.weight_hh_l0" for name in ("low.recurrence", "middle.recurrence", "top")]
    assert not torch.equal(found[names[0]], found[names[1]])
    assert not torch.equal(found[names[1]], found[names[2]])


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
