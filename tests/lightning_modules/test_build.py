"""From a configuration to a module and back from a checkpoint."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback

from lightning_modules.build import build_module, load_module
from lightning_modules.config import TrialConfig
from lightning_modules.lid_module import LidModule

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
POOLINGS = ["last", "mean", "max", "statistics", "attention"]


def make_config(*, seed: int = 0, cell: str = "gru", pooling: str = "attention", **encoder: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {"encoder": {"cell": cell, "hidden_size": 4, **encoder}, "pooling": {"kind": pooling}, "seed": seed}
    )


def same_weights(one: LidModule, other: LidModule) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == other_name and torch.equal(a, b) for (name, a), (other_name, b) in pairs)


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    one = build_module(make_config(seed=4))
    torch.randn(7)
    assert same_weights(one, build_module(make_config(seed=4)))


@pytest.mark.parametrize("cell", CELLS)
def test_another_seed_gives_other_weights_in_every_part(cell: str) -> None:
    one, other = (build_module(make_config(seed=seed, cell=cell)) for seed in (0, 1))
    for name, weight in one.named_parameters():
        fixed = "bias_ih" in name or "bias_hh" in name or (cell == "rnn_relu" and "weight_hh" in name)
        assert torch.equal(weight, other.get_parameter(name)) == fixed, name


@pytest.mark.parametrize(("cell", "pooling", "bidirectional"), list(product(CELLS, POOLINGS, [False, True])))
def test_every_combination_scores_each_language(cell: str, pooling: str, *, bidirectional: bool) -> None:
    config = make_config(cell=cell, pooling=pooling, bidirectional=bidirectional)
    scores = build_module(config)(torch.randn(3, 10, 40), torch.tensor([10, 1, 7]))
    assert scores.log_likelihoods.shape == (3, 5)
    assert scores.embedding.shape == (3, 4 * (1 + bidirectional) * (1 + (pooling == "statistics")))
    assert (scores.attention is not None) == (pooling == "attention")


@pytest.fixture
def trained(config: TrialConfig, fit: Callable[..., LidModule], tmp_path: Path) -> tuple[LidModule, Path]:
    """A module after an epoch, and its checkpoint with everything that Lightning puts in one."""
    checkpoint = tmp_path / "last.ckpt"
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    return fit(config, callbacks=[save], max_epochs=1), checkpoint


def test_a_checkpoint_holds_all_that_the_module_needs(trained: tuple[LidModule, Path], config: TrialConfig) -> None:
    module, checkpoint = trained
    loaded = load_module(checkpoint)
    assert loaded.config == config
    assert same_weights(loaded, module)
    assert not same_weights(loaded, build_module(config))  # else nothing was trained


def test_a_loaded_module_gives_the_scores_of_the_trained_one(trained: tuple[LidModule, Path]) -> None:
    module, checkpoint = trained
    features_BTD, lengths_B = torch.randn(3, 20, 8), torch.tensor([20, 5, 1])
    expected = module.eval()(features_BTD, lengths_B)
    loaded = load_module(checkpoint)(features_BTD, lengths_B)
    assert torch.equal(loaded.log_likelihoods, expected.log_likelihoods)
    assert torch.equal(loaded.embedding, expected.embedding)


def test_a_loaded_module_is_ready_for_evaluation(trained: tuple[LidModule, Path]) -> None:
    _, checkpoint = trained
    assert not any(part.training for part in load_module(checkpoint).modules())


def test_a_checkpoint_is_read_without_running_what_is_in_it(
    trained: tuple[LidModule, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, checkpoint = trained
    asked: list[bool] = []
    load = torch.load

    def spy(path: Path, *, map_location: str, weights_only: bool) -> Any:
        asked.append(weights_only)
        return load(path, map_location=map_location, weights_only=weights_only)

    monkeypatch.setattr(torch, "load", spy)
    load_module(checkpoint)
    assert asked == [True]
