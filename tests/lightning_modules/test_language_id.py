"""LanguageId: what must never change a score, learning, divergence, and going on from a checkpoint.

Shape legend: B utterances, T frames, D bands, L languages.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn

from lightning_modules import language_id
from lightning_modules.build import build_module
from lightning_modules.config import AdamConfig, AdamWConfig, OptimizerConfig, SGDConfig, TrialConfig
from lightning_modules.data.batches import Batch, TrainingBatches, evaluation_batches
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.language_id import LanguageId
from lightning_modules.lid_module import Diverged, development_metrics
from lightning_modules.optimizers import build_optimizer

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
POOLINGS = ["last", "mean", "max", "statistics", "attention", "multi_head", "attentive_statistics"]
NUM_BANDS = 8
Fit = Callable[..., LanguageId]


def make(config: TrialConfig) -> LanguageId:
    module = build_module(config)
    assert isinstance(module, LanguageId)
    return module


@cache
def scorer(cell: str, pooling: str, *, bidirectional: bool, frames_per_step: int) -> LanguageId:
    """An untrained module in evaluation mode."""
    encoder = {"cell": cell, "hidden_size": 6, "bidirectional": bidirectional, "frames_per_step": frames_per_step}
    return make(small_config(encoder=encoder, pooling={"kind": pooling})).eval()


def small_config(**parts: Any) -> TrialConfig:
    data = {"languages": ["en", "fr", "it"], "features": {"num_bands": NUM_BANDS}}
    return TrialConfig.model_validate({"data": data, **parts})


def padded(lengths: Sequence[int], *, garbage: float = 1e4, longer: int = 0) -> tuple[Tensor, Tensor]:
    """Utterances whose i-th is the same whatever stands beside it, with garbage past their ends."""
    features_BTD = torch.full((len(lengths), max(lengths) + longer, NUM_BANDS), garbage)
    for i, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(i)
        features_BTD[i, :length] = torch.randn(length, NUM_BANDS, generator=generator)
    return features_BTD, torch.tensor(lengths)


def scores_of(module: LanguageId, features_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    with torch.no_grad():
        scores_BL: Tensor = module(features_BTD, lengths_B).log_likelihoods
    return scores_BL


def assert_same_scores(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


# --- padding ----------------------------------------------------------------------------------------------------------

ALL_KINDS = list(product(CELLS, POOLINGS, [False, True], [1, 3]))


@pytest.mark.parametrize(("cell", "pooling", "bidirectional", "frames_per_step"), ALL_KINDS)
def test_padding_never_changes_a_score(cell: str, pooling: str, frames_per_step: int, *, bidirectional: bool) -> None:
    module = scorer(cell, pooling, bidirectional=bidirectional, frames_per_step=frames_per_step)
    features_BTD, lengths_B = padded([1, 200, 37, 2, 3, 99])
    alone = [scores_of(module, features_BTD[i : i + 1, :n], lengths_B[i : i + 1]) for i, n in enumerate(lengths_B)]
    assert_same_scores(scores_of(module, features_BTD, lengths_B), torch.cat(alone))


@given(
    kind=st.sampled_from(ALL_KINDS),
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=5),
    longer=st.integers(0, 20),
    garbage=st.sampled_from([-1e6, 1e30, float("inf"), float("nan")]),
)
@settings(max_examples=40)
def test_padding_never_changes_a_score_at_any_length(
    kind: tuple[str, str, bool, int], lengths: list[int], longer: int, garbage: float
) -> None:
    cell, pooling, bidirectional, frames_per_step = kind
    module = scorer(cell, pooling, bidirectional=bidirectional, frames_per_step=frames_per_step)
    features_BTD, lengths_B = padded(lengths, garbage=garbage, longer=longer)
    alone = [scores_of(module, features_BTD[i : i + 1, :n], lengths_B[i : i + 1]) for i, n in enumerate(lengths)]
    assert_same_scores(scores_of(module, features_BTD, lengths_B), torch.cat(alone))


@given(kind=st.sampled_from(ALL_KINDS), order=st.permutations(range(5)), count=st.integers(1, 5))
@settings(max_examples=40)
def test_neither_order_nor_company_changes_a_score(
    kind: tuple[str, str, bool, int], order: list[int], count: int
) -> None:
    cell, pooling, bidirectional, frames_per_step = kind
    module = scorer(cell, pooling, bidirectional=bidirectional, frames_per_step=frames_per_step)
    features_BTD, lengths_B = padded([5, 30, 1, 12, 30])
    chosen = torch.tensor(order[:count])
    whole = scores_of(module, features_BTD, lengths_B)
    assert_same_scores(scores_of(module, features_BTD[chosen], lengths_B[chosen]), whole[chosen])


def test_scores_are_log_posteriors() -> None:
    scores_BL = scores_of(scorer("lstm", "mean", bidirectional=True, frames_per_step=3), *padded([4, 9]))
    torch.testing.assert_close(scores_BL.exp().sum(dim=1), torch.ones(2))


# --- learning ---------------------------------------------------------------------------------------------------------


def step_on(module: LanguageId, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """What Lightning does with one batch; returns the loss."""
    optimizer.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    module.configure_gradient_clipping(optimizer)
    optimizer.step()
    return float(loss.detach())


def eight_utterances() -> Batch:
    features_BTD, lengths_B = padded([20, 14, 9, 20, 17, 3, 11, 20], garbage=0.0)
    return Batch(features_BTD, lengths_B, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), torch.arange(8))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_eight_utterances_by_heart(cell: str) -> None:
    config = small_config(
        encoder={"cell": cell, "hidden_size": 16, "frames_per_step": 1},
        optimizer={"kind": "adam", "learning_rate": 0.02},
    )
    module, batch = make(config), eight_utterances()
    optimizer = module.configure_optimizers()
    losses = [step_on(module, batch, optimizer) for _ in range(40)]
    guesses = scores_of(module.eval(), batch.features, batch.lengths).argmax(dim=1)
    assert torch.equal(guesses, batch.languages)
    assert losses[-1] < 0.2 * losses[0]


def test_smoothing_spreads_a_share_of_the_target_over_all_languages() -> None:
    module, batch = make(small_config(training={"label_smoothing": 0.3})).eval(), eight_utterances()
    scores_BL = scores_of(module, batch.features, batch.lengths)
    targets_BL = 0.7 * nn.functional.one_hot(batch.languages, 3) + 0.1
    expected = -float((targets_BL * scores_BL).sum(dim=1).mean())
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-5)


PRIOR = np.array([0.5, 0.3, 0.2])


def test_weights_count_each_language_as_if_batches_were_balanced() -> None:
    module, batch = make(small_config(training={"class_balance": "weights"})).eval(), eight_utterances()
    module.learn_prior(PRIOR)
    scores_BL = scores_of(module, batch.features, batch.lengths).numpy()
    losses = [-scores_BL[i, each] / (3 * PRIOR[each]) for i, each in enumerate(batch.languages.tolist())]
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(np.mean(losses), rel=1e-5)


def test_smoothing_does_not_make_weights_favour_rare_languages() -> None:
    """Of a network that knows nothing, equal scores are best, as they would be in balanced batches."""
    module = make(small_config(training={"class_balance": "weights", "label_smoothing": 0.3}))
    module.learn_prior(PRIOR)
    languages_N = torch.from_numpy(np.repeat(np.arange(3), np.round(PRIOR * 1000).astype(int)))
    scores_L = torch.zeros(3, requires_grad=True)
    torch.autograd.backward(module.cross_entropy(scores_L.log_softmax(-1).expand(len(languages_N), -1), languages_N))
    assert scores_L.grad is not None
    torch.testing.assert_close(scores_L.grad, torch.zeros(3), atol=1e-6, rtol=0)


def test_the_loss_of_an_output_recurrent_network_holds_that_of_its_outputs() -> None:
    module = make(small_config(encoder={"kind": "output_recurrent", "hidden_size": 4})).eval()
    batch = eight_utterances()
    scores = module(batch.features, batch.lengths, languages_B=batch.languages)
    outputs = scores.encoded.log_posteriors.detach().numpy()
    means = [-outputs[i, : int(n), int(batch.languages[i])].mean() for i, n in enumerate(scores.encoded.steps)]
    pooled = torch.nn.functional.cross_entropy(scores.log_posteriors, batch.languages)
    assert float(module.loss(batch).value.detach()) == pytest.approx(float(pooled.detach()) + np.mean(means), rel=1e-5)


def test_the_labels_of_an_encoders_own_outputs_are_smoothed_too() -> None:
    training = {"label_smoothing": 0.3}
    module = make(small_config(encoder={"kind": "output_recurrent", "hidden_size": 4}, training=training)).eval()
    batch = eight_utterances()
    scores = module(batch.features, batch.lengths, languages_B=batch.languages)
    outputs = scores.encoded.log_posteriors.detach().numpy()
    means = []
    for i, n in enumerate(scores.encoded.steps.tolist()):
        of_truth, of_all = outputs[i, :n, int(batch.languages[i])], outputs[i, :n].mean(axis=-1)
        means.append(-(0.7 * of_truth + 0.3 * of_all).mean())
    pooled = module.cross_entropy(scores.log_posteriors, batch.languages)
    assert float(module.loss(batch).value.detach()) == pytest.approx(float(pooled.detach()) + np.mean(means), rel=1e-5)


def test_where_nothing_balances_the_prior_is_taken_off_the_scores_and_put_back_for_the_loss() -> None:
    module, batch = make(small_config(training={"class_balance": "none"})).eval(), eight_utterances()
    plain = make(small_config()).eval()
    plain.load_state_dict(module.state_dict())
    module.learn_prior(PRIOR)
    posteriors_BL = scores_of(plain, batch.features, batch.lengths).exp().numpy()
    expected_BL = posteriors_BL / PRIOR
    expected_BL /= expected_BL.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores_of(module, batch.features, batch.lengths).exp(), expected_BL, rtol=1e-4)
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(
        float(plain.training_step(batch, 0).detach()), rel=1e-5
    )


@pytest.mark.parametrize("balance", ["sampler", "weights", "none"])
@pytest.mark.parametrize("encoder", [{}, {"kind": "output_recurrent", "hidden_size": 4}])
def test_languages_that_train_beside_the_targets_are_in_the_loss_and_in_no_score(
    balance: str, encoder: dict[str, Any]
) -> None:
    data = {"languages": ["en", "fr"], "further_languages": ["it"], "features": {"num_bands": NUM_BANDS}}
    parts = {"encoder": encoder, "training": {"class_balance": balance}}
    module = make(TrialConfig.model_validate({"data": data, **parts})).eval()
    beside = make(small_config(**parts)).eval()  # all three are targets
    beside.load_state_dict(module.state_dict())
    batch = eight_utterances()
    for each in (module, beside):
        each.learn_prior(PRIOR)
    assert set(batch.languages.tolist()) == {0, 1, 2}
    torch.testing.assert_close(module.loss(batch).value, beside.loss(batch).value)
    scores_BL = scores_of(module, batch.features, batch.lengths)
    torch.testing.assert_close(scores_BL, scores_of(beside, batch.features, batch.lengths)[:, :2].log_softmax(-1))
    assert module.score(batch).log_likelihoods.shape == (8, 2)


def test_the_prior_comes_with_the_checkpoint() -> None:
    module = make(small_config(training={"class_balance": "none"}))
    module.learn_prior(PRIOR)
    other = make(small_config(training={"class_balance": "none"}))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.log_prior_L, module.log_prior_L)


def test_a_long_recording_is_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    module = scorer("gru", "statistics", bidirectional=True, frames_per_step=1)
    features_BTD, lengths_B = padded([25, 7])
    monkeypatch.setattr(language_id, "MAX_FRAMES", 10)
    with torch.no_grad():
        scored = module.score(Batch(features_BTD, lengths_B, torch.tensor([0, 1]), torch.tensor([3, 4])))
    pieces = [
        scores_of(module, piece.unsqueeze(0), torch.tensor([len(piece)]))
        for piece in features_BTD[0].tensor_split([9, 17])
    ]
    torch.testing.assert_close(scored.log_likelihoods[0], torch.cat(pieces).mean(dim=0).log_softmax(dim=-1))
    torch.testing.assert_close(scored.log_likelihoods[1:], scores_of(module, features_BTD[1:, :7], torch.tensor([7])))
    assert scored.indices.tolist() == [3, 4]


def test_the_loss_is_the_mean_cross_entropy() -> None:
    module, batch = make(small_config()).eval(), eight_utterances()
    scores_BL = scores_of(module, batch.features, batch.lengths).numpy()
    expected = -np.mean([scores_BL[i, language] for i, language in enumerate(batch.languages.tolist())])
    assert float(module.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-5)


def test_training_metrics_are_means_over_the_steps_of_an_epoch() -> None:
    module, batch = make(small_config(clipping={"kind": "norm", "max_norm": 0.2})), eight_utterances()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    step_on(module, batch, optimizer)  # of the epoch before
    module.on_train_epoch_start()
    rights, norms, losses = [], [], []
    for _ in range(3):
        guesses = scores_of(module, batch.features, batch.lengths).argmax(dim=1)
        rights.append(float((guesses == batch.languages).float().mean()))
        losses.append(step_on(module, batch, optimizer))
        norms.append(module.clipping_steps[-1].norm_before)
    metrics = module.training_metrics()
    assert metrics["train/loss"] == pytest.approx(np.mean(losses))
    assert metrics["train/accuracy"] == pytest.approx(np.mean(rights))
    assert metrics["grad/norm_before_clipping"] == pytest.approx(np.mean(norms))
    assert metrics["grad/norm_after_clipping"] == pytest.approx(np.mean(np.minimum(norms, 0.2)))
    assert metrics["grad/norm_max"] == max(norms)
    assert metrics["grad/share_clipped"] == pytest.approx(np.mean(np.array(norms) > 0.2))


def test_the_configured_rule_clips_the_gradients() -> None:
    module = make(small_config(clipping={"kind": "value", "max_value": 1e-3}))
    step_on(module, eight_utterances(), torch.optim.SGD(module.parameters(), lr=0.0))
    largest = max(float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None)
    assert largest == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        (AdamConfig(learning_rate=0.5), torch.optim.Adam, {"lr": 0.5, "weight_decay": 0}),
        (AdamWConfig(learning_rate=0.5, weight_decay=0.25), torch.optim.AdamW, {"lr": 0.5, "weight_decay": 0.25}),
        (SGDConfig(learning_rate=0.5, momentum=0.75), torch.optim.SGD, {"lr": 0.5, "momentum": 0.75}),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_the_optimiser_is_the_configured_one(
    config: OptimizerConfig, kind: type[torch.optim.Optimizer], expected: dict[str, float]
) -> None:
    optimizer = build_optimizer(config, [nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is kind
    assert {key: optimizer.param_groups[0][key] for key in expected} == expected


# --- divergence -------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_ends_in_diverged() -> None:
    module, batch = make(small_config()), eight_utterances()
    batch.features[2, 1, 0] = float("nan")
    with pytest.raises(Diverged, match="training loss became nan at step 0"):
        module.training_step(batch, 0)


def test_infinite_features_end_in_diverged_even_where_gates_bound_the_loss() -> None:
    module, batch = make(small_config()), eight_utterances()
    batch.features[2, 1, 0] = float("inf")
    with pytest.raises(Diverged, match="became nan at step 0"):
        step_on(module, batch, torch.optim.SGD(module.parameters(), lr=0.1))


def test_an_infinite_loss_ends_in_diverged() -> None:
    module = make(small_config())
    nn.init.constant_(module.head.output.bias, 0.0)
    module.head.output.bias.data[0] = -float("inf")
    with pytest.raises(Diverged, match="training loss became inf"):
        module.training_step(eight_utterances(), 0)


def spoil_gradients(module: LanguageId, value: float) -> None:
    weight: Any = module.head.output.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, value))


@pytest.mark.parametrize("clipping", ["none", "norm", "value"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_end_in_diverged(clipping: str, value: float) -> None:
    module = make(small_config(clipping={"kind": clipping}))
    spoil_gradients(module, value)
    with pytest.raises(Diverged, match=f"gradient norm became {value} at step 0"):
        step_on(module, eight_utterances(), torch.optim.SGD(module.parameters(), lr=0.1))


def test_weights_stay_as_they_were_when_gradients_diverge() -> None:
    module = make(small_config())
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    spoil_gradients(module, float("nan"))
    with pytest.raises(Diverged):
        step_on(module, eight_utterances(), torch.optim.SGD(module.parameters(), lr=0.1))
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_development_scores_that_are_not_finite_end_in_diverged() -> None:
    module, batch = make(small_config()).eval(), eight_utterances()
    batch.features[5, 0] = float("nan")
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    with pytest.raises(Diverged, match="development scores are not finite at epoch 0"):
        module.on_validation_epoch_end()


# --- whole trainings --------------------------------------------------------------------------------------------------


class Watch(pl.Callback):
    """The batches trained on and the metrics of each epoch."""

    def __init__(self) -> None:
        self.features: list[Tensor] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,  # noqa: ARG002 - Lightning's signature
        pl_module: pl.LightningModule,  # noqa: ARG002
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        self.features.append(batch.features)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        assert isinstance(pl_module, LanguageId)
        self.metrics.append(pl_module.training_metrics() | pl_module.development_metrics)


def changed(config: TrialConfig, **parts: dict[str, Any]) -> TrialConfig:
    """The configuration with some parts replaced."""
    return TrialConfig.model_validate(config.model_dump() | parts)


DEEP = {"hidden_size": 5, "num_layers": 2, "dropout": 0.3}


@pytest.mark.parametrize(
    "parts",
    [
        {"encoder": {"cell": cell, **DEEP}, "pooling": {"kind": pooling, "dropout": 0.3}, "optimizer": {"kind": kind}}
        for cell, pooling, kind in [
            ("gru", "attention", "adam"),
            ("lstm", "statistics", "sgd"),
            ("rnn_tanh", "last", "adamw"),
        ]
    ],
    ids=["gru", "lstm", "rnn_tanh"],
)
def test_a_resumed_training_ends_bit_for_bit_as_an_uninterrupted_one(
    config: TrialConfig, fit: Fit, tmp_path: Path, parts: dict[str, Any]
) -> None:
    trial, checkpoint, whole, rest = changed(config, **parts), tmp_path / "last.ckpt", Watch(), Watch()
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    uninterrupted = fit(trial, callbacks=[whole])
    fit(trial, callbacks=[save], max_epochs=2)
    resumed = fit(trial, callbacks=[rest], resume=checkpoint)
    assert len(rest.metrics) == 2
    assert rest.metrics == whole.metrics[2:]
    for name, weight in uninterrupted.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_training_twice_gives_the_same_weights(config: TrialConfig, fit: Fit) -> None:
    one = fit(config, callbacks=[], max_epochs=2)
    torch.randn(3)
    other = fit(config, callbacks=[], max_epochs=2)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


def test_each_epoch_trains_on_batches_of_its_own(
    config: TrialConfig, fit: Fit, store: FeatureStore, recordings: Sequence[Recording]
) -> None:
    watch, batches = Watch(), TrainingBatches(recordings, store=store, config=config)
    fit(config, callbacks=[watch], max_epochs=2)
    expected = [batches[epoch, step].features for epoch in (0, 1) for step in range(3)]
    assert len(watch.features) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(watch.features, expected, strict=True))


def test_dropout_differs_from_step_to_step(config: TrialConfig) -> None:
    module = make(config)
    batch = Batch(torch.randn(4, 20, NUM_BANDS), torch.full((4,), 20), torch.tensor([0, 1, 0, 1]), torch.arange(4))
    losses = []
    for step in (0, 1, 0):
        module.on_train_batch_start(batch, step)
        losses.append(float(module.training_step(batch, step).detach()))
    assert losses[0] == losses[2] != losses[1]


def test_every_step_of_every_epoch_draws_dropout_anew(config: TrialConfig, fit: Fit) -> None:
    seeds: list[int] = []
    note = LambdaCallback(on_train_batch_end=lambda *_: seeds.append(torch.initial_seed()))
    fit(config, callbacks=[note], max_epochs=2)
    assert len(set(seeds)) == len(seeds) == 6


def test_development_scores_stand_in_the_order_of_utterances(
    config: TrialConfig, fit: Fit, store: FeatureStore, utterances: Sequence[Utterance]
) -> None:
    module = fit(config, callbacks=[], max_epochs=1).eval()
    assert module.development_scores is not None
    [batch] = evaluation_batches(utterances, store=store, data=config.data)
    expected = np.zeros((len(utterances), 2))
    expected[batch.indices.numpy()] = scores_of(module, batch.features, batch.lengths).numpy()
    np.testing.assert_allclose(module.development_scores, expected, atol=1e-5)


def test_logged_metrics_are_those_of_the_development_scores(
    config: TrialConfig, fit: Fit, utterances: Sequence[Utterance]
) -> None:
    watch = Watch()
    module = fit(config, callbacks=[watch], max_epochs=2)
    assert module.development_scores is not None
    truth = np.array([config.data.languages.index(utterance.language) for utterance in utterances])
    for name, value in development_metrics(module.development_scores, truth).items():
        assert watch.metrics[-1][name] == pytest.approx(value, rel=1e-5), name


def test_a_training_that_diverges_says_so(config: TrialConfig, fit: Fit) -> None:
    wild = changed(
        config,
        encoder={"cell": "rnn_relu", "hidden_size": 32, "num_layers": 2, "frames_per_step": 1},
        optimizer={"kind": "sgd", "learning_rate": 10.0, "momentum": 0.99},
        clipping={"kind": "none"},
    )
    with pytest.raises(Diverged, match=r"at (step|epoch) "):
        fit(wild, callbacks=[], max_epochs=20)
