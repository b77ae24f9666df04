"""What is measured of gradients, against naive versions, and that measuring changes nothing.

Shape legend: B utterances, S steps, F values a frame, H hidden units, G gates.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn

from lightning_modules.build import build_module
from lightning_modules.config import GradientFlowConfig, TrialConfig
from lightning_modules.gates import gate_saturation, layer_of, recurrent_blocks, spectral_radii
from lightning_modules.gradient_flow import GradientFlow
from lightning_modules.language_id import LanguageId
from lightning_modules.states_over_time import StateTap, gradients_over_time
from tests.lightning_modules.switching import make_config as make_switched
from tests.lightning_modules.switching import noise
from tests.lightning_modules.test_clipping_in_training import StepByStep, config_of, module_of, whole_batches

Fit = Callable[..., LanguageId]
ALLOWED_BY_MLFLOW = re.compile(r"[A-Za-z0-9_\-. /:]+")


def changed(config: TrialConfig, **parts: Any) -> TrialConfig:
    return TrialConfig.model_validate(config.model_dump() | parts)


def measured(config: TrialConfig, *, every: int = 1, **gradient_flow: Any) -> TrialConfig:
    training = config.training.model_dump() | {"gradient_flow": {"every": every, **gradient_flow}}
    return changed(config, training=training)


def weights_of(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


# --- gates and recurrent blocks ---------------------------------------------------------------------------------------


def test_a_recurrent_stack_has_a_layer_a_depth_and_direction() -> None:
    assert layer_of("encoder.recurrence.weight_hh_l1_reverse") == "encoder.recurrence.l1_reverse"
    assert layer_of("encoder.recurrence.bias_ih_l0") == "encoder.recurrence.l0"
    assert layer_of("decoder.cell.weight_hh") == "decoder.cell"
    assert layer_of("head.output.weight") == "head.output"


@pytest.mark.parametrize(
    ("cell", "gates"),
    [
        (nn.RNN, ["state"]),
        (nn.GRU, ["reset", "update", "candidate"]),
        (nn.LSTM, ["input", "forget", "candidate", "output"]),
    ],
)
def test_recurrent_matrices_have_a_block_a_gate(cell: Callable[..., nn.RNNBase], gates: list[str]) -> None:
    found = {name: recurrent_blocks(name, weight) for name, weight in cell(7, 5).named_parameters()}
    assert list(found["weight_hh_l0"]) == gates
    assert all(block.shape == (5, 5) for block in found["weight_hh_l0"].values())
    assert not found["weight_ih_l0"]
    assert not found["bias_hh_l0"]


@given(size=st.integers(1, 40), seed=st.integers(0, 1000), log_scale=st.integers(-6, 6))
@settings(max_examples=40)
def test_spectral_radii_are_those_of_the_eigenvalues(size: int, seed: int, log_scale: int) -> None:
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(3, size, size)) * 10.0**log_scale / np.sqrt(size)
    expected = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    found = spectral_radii(torch.from_numpy(matrices)).numpy()
    assert (found / expected > 0.999).all()
    assert (found / expected < 1.02).all()


def test_spectral_radii_of_special_matrices() -> None:
    orthogonal = nn.init.orthogonal_(torch.empty(64, 64))
    nilpotent = torch.zeros(64, 64)
    nilpotent[0, 1] = 1.0
    radii = spectral_radii(torch.stack([orthogonal, torch.zeros(64, 64), nilpotent, 3.0 * torch.eye(64)]))
    np.testing.assert_allclose(radii, [1.0, 0.0, 0.0, 3.0], atol=0.01)


def naive_saturation(cell: str, module: Any, x_BSF: npt.NDArray[np.float64]) -> dict[str, float]:
    """Shares of saturated gates of one layer and direction, utterance by utterance and step by step."""
    w, u, b, c = (getattr(module, f"{name}_l0").detach().double().numpy() for name in WEIGHTS)
    size = u.shape[1]
    seen: dict[str, list[npt.NDArray[np.float64]]] = {}
    for x_SF in x_BSF:
        h, state = np.zeros(size), np.zeros(size)
        for x_F in x_SF:
            of_x, of_h = w @ x_F + b, u @ h + c
            if cell == "gru":
                r, z = sigmoid(of_x[:size] + of_h[:size]), sigmoid(of_x[size : 2 * size] + of_h[size : 2 * size])
                n = np.tanh(of_x[2 * size :] + r * of_h[2 * size :])
                h = (1 - z) * n + z * h
                gates = {"reset": r, "update": z}
            else:
                i, f, g, o = np.split(of_x + of_h, 4)
                state = sigmoid(f) * state + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(state)
                gates = {"input": sigmoid(i), "forget": sigmoid(f), "output": sigmoid(o)}
            for name, values in gates.items():
                seen.setdefault(name, []).append(values)
    return {name: float(np.mean((np.array(v) < 0.1) | (np.array(v) > 0.9))) for name, v in seen.items()}


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def encoder_of(**encoder: Any) -> Any:
    config = config_of(encoder={"hidden_size": 5, "frames_per_step": 1, "bidirectional": False, **encoder})
    encoder_ = build_module(config).encoder
    for parameter in encoder_.parameters():
        parameter.data *= 3.0  # so that gates saturate
    return encoder_


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_saturation_is_that_of_the_gates_step_by_step(cell: str) -> None:
    encoder, [batch] = encoder_of(cell=cell), whole_batches(1)
    found = gate_saturation(encoder, batch.features, batch.lengths)
    expected = naive_saturation(cell, encoder.recurrence, batch.features[:4].double().numpy())
    assert {name: float(share) for name, share in found.items()} == pytest.approx(
        {f"recurrence.l0/{gate}": share for gate, share in expected.items()}, abs=0.01
    )
    assert 0.0 < max(expected.values()) < 1.0


@pytest.mark.parametrize("window", [1, 7, 30])
def test_saturation_does_not_depend_on_the_windows_of_truncated_bptt(window: int) -> None:
    encoder, [batch] = encoder_of(cell="lstm"), whole_batches(1)
    whole = gate_saturation(encoder, batch.features, batch.lengths)
    encoder.window = window
    found = gate_saturation(encoder, batch.features, batch.lengths)
    assert {name: float(share) for name, share in found.items()} == {name: float(each) for name, each in whole.items()}
    assert encoder.window == window


def test_saturation_of_a_stack_is_that_of_its_layers_alone() -> None:
    """Bidirectional layers one after another, and utterances that read backwards are read forwards."""
    stack, [batch] = encoder_of(cell="gru", num_layers=2, bidirectional=True, dropout=0.5), whole_batches(1)
    found = gate_saturation(stack, batch.features, batch.lengths)
    assert set(found) == {
        f"recurrence.{layer}/{gate}"
        for layer in ("l0", "l0_reverse", "l1", "l1_reverse")
        for gate in ("reset", "update")
    }
    x_BSF = batch.features[:4]
    for layer in ("l0", "l1"):
        outputs = []
        for suffix in ("", "_reverse"):
            alone = nn.GRU(x_BSF.shape[-1], 5, batch_first=True)
            for name in WEIGHTS:
                getattr(alone, f"{name}_l0").data = getattr(stack.recurrence, f"{name}_{layer}{suffix}").data
            read = x_BSF.flip(1) if suffix else x_BSF
            expected = naive_saturation("gru", alone, read.double().detach().numpy())
            for gate, share in expected.items():
                assert float(found[f"recurrence.{layer}{suffix}/{gate}"]) == pytest.approx(share, abs=0.01)
            states = alone(read)[0]
            outputs.append(states.flip(1) if suffix else states)
        x_BSF = torch.cat(outputs, dim=-1)


def test_measuring_gates_leaves_the_encoder_as_it_was() -> None:
    encoder, [batch] = encoder_of(cell="lstm", num_layers=2, dropout=0.5), whole_batches(1)
    before, parameters = weights_of(encoder), [id(each) for each in encoder.parameters()]
    encoder.train()
    gate_saturation(encoder, batch.features, batch.lengths)
    assert encoder.training
    assert encoder.recurrence.training
    assert torch.equal(weights_of(encoder), before)
    assert [id(each) for each in encoder.parameters()] == parameters
    assert not encoder.recurrence._forward_pre_hooks


# --- layers -----------------------------------------------------------------------------------------------------------


def test_norms_and_ratios_are_means_over_measured_steps() -> None:
    torch.manual_seed(0)
    network: Any = nn.ModuleDict({"recurrence": nn.GRU(3, 4, num_layers=2), "head": nn.Linear(4, 2)})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    flow = GradientFlow(GradientFlowConfig(every=2))
    norms, ratios, gates = [], [], []
    for step in range(5):
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape)
        before = [parameter.detach().clone() for parameter in network["head"].parameters()]
        flow.before_step(network, step=step)
        optimizer.step()
        flow.after_step(network)
        if step % 2 == 0:
            moves = [b - parameter.detach() for b, parameter in zip(before, network["head"].parameters(), strict=True)]
            ratios.append(length(moves) / length(before))
            norms.append(length([parameter.grad for parameter in network["head"].parameters()]))
            [weight_hh] = [p.grad for n, p in network.named_parameters() if n == "recurrence.weight_hh_l1"]
            gates.append(length([weight_hh[4:8]]))
    metrics = flow.metrics(network)
    assert metrics["grad/flow/norm/head"] == pytest.approx(np.mean(norms), rel=1e-5)
    assert metrics["grad/flow/update_ratio/head"] == pytest.approx(np.mean(ratios), rel=1e-4)
    assert metrics["grad/flow/gate_norm/recurrence.l1/update"] == pytest.approx(np.mean(gates), rel=1e-5)
    candidate_HH = network["recurrence"].weight_hh_l0.detach().numpy()[8:]
    radius = np.abs(np.linalg.eigvals(candidate_HH)).max()
    assert metrics["grad/flow/spectral_radius/recurrence.l0/candidate"] == pytest.approx(radius, rel=0.02)


def length(tensors: list[Any]) -> float:
    return float(np.sqrt(sum(float((tensor**2).sum()) for tensor in tensors)))


def test_a_step_that_is_not_due_or_not_finite_is_not_measured() -> None:
    network = nn.Linear(2, 2)
    flow = GradientFlow(GradientFlowConfig(every=3))
    for step, value in ((1, 1.0), (2, 1.0), (3, float("nan"))):
        for parameter in network.parameters():
            parameter.grad = torch.full(parameter.shape, value)
        flow.before_step(network, step=step)
        flow.after_step(network)
    assert flow.metrics(network) == {}


def test_nothing_is_measured_where_nothing_is_asked_for(config: TrialConfig, fit: Fit) -> None:
    module = fit(measured(config, every=0), callbacks=[], max_epochs=1)
    assert not [name for name in module.training_metrics() if name.startswith("grad/flow/")]


class Metrics(pl.Callback):
    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        assert isinstance(pl_module, LanguageId)
        self.epochs.append(pl_module.training_metrics())


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_a_training_measures_every_layer_and_gate_of_every_epoch(config: TrialConfig, fit: Fit, cell: str) -> None:
    encoder = config.encoder.model_dump() | {"cell": cell}
    watch = Metrics()
    fit(changed(measured(config, every=3), encoder=encoder), callbacks=[watch], max_epochs=2)
    layers = [f"encoder.recurrence.{name}" for name in ("l0", "l0_reverse", "l1", "l1_reverse")]
    gates = {"rnn_tanh": ["state"], "gru": ["reset", "update", "candidate"]}.get(
        cell, ["input", "forget", "candidate", "output"]
    )
    expected = {f"grad/flow/{what}/{layer}" for layer in [*layers, "head.output"] for what in ("norm", "update_ratio")}
    for layer in layers:
        expected |= {f"grad/flow/{what}/{layer}/{gate}" for gate in gates for what in ("gate_norm", "spectral_radius")}
        expected |= {f"grad/flow/saturation/{layer}/{gate}" for gate in gates if gate not in ("candidate", "state")}
    for metrics in watch.epochs:
        assert {name for name in metrics if name.startswith("grad/flow/")} == expected
        assert all(ALLOWED_BY_MLFLOW.fullmatch(name) for name in metrics)
        assert np.isfinite(list(metrics.values())).all()
    ratio = "grad/flow/update_ratio/head.output"
    assert 0.0 < watch.epochs[0][ratio] != watch.epochs[1][ratio]


def test_measuring_changes_no_training(config: TrialConfig, fit: Fit) -> None:
    plain = fit(measured(config, every=0), callbacks=[], max_epochs=2)
    for every in (1, 2):
        assert torch.equal(
            weights_of(fit(measured(config, every=every), callbacks=[], max_epochs=2)), weights_of(plain)
        )


def test_a_resumed_training_measures_what_an_uninterrupted_one_does(
    config: TrialConfig, fit: Fit, tmp_path: Path
) -> None:
    trial, checkpoint, whole, rest = measured(config, every=2), tmp_path / "last.ckpt", Metrics(), Metrics()
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    fit(trial, callbacks=[whole])
    fit(trial, callbacks=[save], max_epochs=1)
    fit(trial, callbacks=[rest], resume=checkpoint)
    assert rest.epochs == whole.epochs[1:]


# --- over time --------------------------------------------------------------------------------------------------------


def naive_over_time(module: LanguageId, batch: Any) -> list[float]:
    """g_t of a tanh network under last pooling, by the chain rule, one utterance after another."""
    encoder: Any = module.encoder
    w, b = (each.detach().double() for each in encoder.weight_ih.parameters())
    u, v, c = (each.detach().double() for each in (encoder.weight_hh, *module.head.output.parameters()))
    norms = []
    for x_SF, language in zip(batch.features.double(), batch.languages, strict=True):
        h = [torch.zeros(len(u), dtype=torch.float64)]
        for x_F in x_SF:
            h.append(torch.tanh(w @ x_F + b + u @ h[-1]))
        error_L = (v @ h[-1] + c).softmax(0)
        error_L[language] -= 1.0
        gradients = [v.T @ error_L]
        for state in reversed(h[2:]):
            gradients.append(u.T @ (gradients[-1] * (1.0 - state**2)))
        norms.append([float(each.norm()) for each in reversed(gradients)])
    return [float(value) for value in np.mean(norms, axis=0)]


def test_gradients_over_time_are_those_of_the_chain_rule() -> None:
    module, [batch] = module_of(config_of()), whole_batches(1, loudness=0.3)
    found = gradients_over_time(module, batch)
    np.testing.assert_allclose(found["state"], naive_over_time(module, batch), rtol=1e-3)
    assert found["state"][0] < found["state"][-1]


def test_gradients_over_time_are_told_far_below_the_root_of_the_smallest_number() -> None:
    module, [batch] = module_of(config_of()), whole_batches(1, loudness=0.3)
    encoder: Any = module.encoder
    with torch.no_grad():
        encoder.weight_hh.mul_(1e-30 ** (1.0 / batch.features.shape[1]))
    found = gradients_over_time(module, batch)["state"]
    np.testing.assert_allclose(found, naive_over_time(module, batch), rtol=1e-3)
    assert 0.0 < found[0] < 1e-25, "its square is zero in single precision"


def test_gradients_over_time_are_of_beginnings_of_one_length() -> None:
    module, [batch] = module_of(config_of()), whole_batches(1)
    lengths = batch.lengths.clone()
    lengths[1:] -= 7
    uneven = batch._replace(lengths=lengths)
    even = batch._replace(
        features=batch.features[:, : int(lengths.min())], lengths=lengths.clamp(max=int(lengths.min()))
    )
    assert gradients_over_time(module, uneven) == gradients_over_time(module, even)
    assert min(gradients_over_time(module, uneven)["state"]) > 0.0


@pytest.mark.parametrize("kind", ["labelling", "sequence"])
def test_gradients_over_time_of_recordings_know_no_padding(kind: str) -> None:
    encoder = {"cell": "rnn_tanh", "hidden_size": 5, "bidirectional": False, "frames_per_step": 4}
    config = make_switched(kind=kind, encoder=encoder)
    batch = noise([[0, 1], [1, 2, 0]], [[20, 20], [20, 30, 40]])
    found = gradients_over_time(build_module(config), batch)["layer0/forward"]
    assert len(found) == 10, "steps of four frames in the shorter one's forty"
    assert min(found) > 0.0
    longer = noise([[0, 1], [1, 2, 0]], [[30, 40], [20, 30, 40]])
    assert len(gradients_over_time(build_module(config), longer)["layer0/forward"]) == 10, "as the next seed's batch"


def test_gradients_over_time_depend_neither_on_batch_size_nor_on_dropout() -> None:
    [batch] = whole_batches(1)
    twice = type(batch)(*(torch.cat([rows, rows]) for rows in batch))
    pooling = {"kind": "last", "dropout": 0.5}
    module = module_of(config_of(pooling=pooling))
    once = gradients_over_time(module, batch)
    np.testing.assert_allclose(gradients_over_time(module, twice)["state"], once["state"], rtol=1e-4)
    assert gradients_over_time(module, batch) == once


def test_gradients_over_time_are_of_the_feedback_that_training_has() -> None:
    [batch] = whole_batches(1)
    over_time, as_trained = {}, {}
    for feedback in ("teacher_forcing", "free_running"):
        encoder = {"kind": "output_recurrent", "hidden_size": 5, "feedback": {"kind": feedback}}
        module = build_module(config_of(encoder=encoder)).train()
        over_time[feedback] = gradients_over_time(module, batch)["layer0/forward"]
        assert all(each.training for each in module.modules())
        tap = StateTap()
        loss = module.loss(batch, tap=tap).value * len(batch.lengths)
        states = list(tap.steps["layer0/forward"].values())
        as_trained[feedback] = [float(each.norm(dim=-1).mean()) for each in torch.autograd.grad(loss, states)]
        np.testing.assert_allclose(over_time[feedback], as_trained[feedback], rtol=1e-4)
    assert not np.allclose(over_time["teacher_forcing"], over_time["free_running"], rtol=1e-2)


def test_watching_states_leaves_module_gradients_and_random_numbers_as_they_were() -> None:
    [batch], module = whole_batches(1), module_of(config_of())
    module.train()
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = weights_of(module), torch.get_rng_state()
    gradients_over_time(module, batch)
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights_of(module), before)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in module.parameters() if p.grad is not None)


ENCODERS: list[dict[str, Any]] = [
    {"kind": "recurrent", "cell": "gru", "hidden_size": 5, "num_layers": 2, "dropout": 0.5},
    {"kind": "recurrent", "cell": "lstm", "hidden_size": 5},
    {"kind": "output_recurrent", "hidden_size": 5},
    {"kind": "hierarchical", **{level: {"hidden_size": 5} for level in ("low", "middle", "top")}},
    {"kind": "tdnn", "channels": 8, "output_channels": 8},
    {"kind": "ecapa_tdnn", "channels": 8, "output_channels": 8, "bottleneck": 4},
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["cell" if "cell" in encoder else "kind"])
def test_states_of_every_encoder_are_watched(encoder: dict[str, Any]) -> None:
    module, [batch] = build_module(config_of(encoder=encoder, pooling={"kind": "mean"})), whole_batches(1)
    over_time = gradients_over_time(module, batch)
    assert over_time
    for name, values in over_time.items():
        assert np.isfinite(values).all(), name
        assert max(values) > 0.0, name


def test_a_layer_without_recurrence_is_watched_as_a_whole() -> None:
    class Convolution(StepByStep):
        def forward(self, x_BTF: Tensor, lengths_B: Tensor, *, languages_BT: Any = None, tap: Any = None) -> Any:
            encoded = super().forward(x_BTF, lengths_B, languages_BT=languages_BT)
            return encoded if tap is None else encoded._replace(states=tap.sequence("layer", encoded.states))

    [batch], module = whole_batches(1), module_of(config_of())
    module.encoder = Convolution(8, 5)
    over_time = gradients_over_time(module, batch)["layer"]
    assert len(over_time) == batch.features.shape[1]
    assert over_time[-1] > 0.0 == max(over_time[:-1]), "what came out early is read by nobody under last pooling"
