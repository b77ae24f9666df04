"""Time-delay networks, x-vector and ECAPA: states against loops over frames, padding, taps.

Shape legend: B utterances, T frames, C channels, N frames of all utterances.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.config import ECAPAEncoderConfig, TDNNEncoderConfig
from lightning_modules.encoders._base import Encoder, length_mask
from lightning_modules.encoders.convolution import MaskedBatchNorm
from lightning_modules.encoders.ecapa_tdnn import ECAPAEncoder
from lightning_modules.encoders.tdnn import TDNNEncoder

LENGTHS = {"equal": [9, 9], "padded": [4, 17, 1], "one_frame_each": [1, 1]}
Normalise = Callable[[str, list[Tensor]], list[Tensor]]
"""Batch normalisation of a batch of utterances (T, C) by the layer of a name."""


def unsettled(encoder: Any) -> Any:
    """With parameters and running statistics that differ from 0 and 1, where a wrong one would not show."""
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    for module in encoder.modules():
        if isinstance(module, MaskedBatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return encoder.double()


def tdnn(**fields: Any) -> TDNNEncoder:
    torch.manual_seed(2)
    config = TDNNEncoderConfig.model_validate({"channels": 3, "output_channels": 5} | fields)
    encoder: TDNNEncoder = unsettled(TDNNEncoder(config, input_size=2))
    return encoder


def ecapa(**fields: Any) -> ECAPAEncoder:
    torch.manual_seed(0)
    config = ECAPAEncoderConfig.model_validate({"channels": 16, "output_channels": 5, "bottleneck": 3} | fields)
    encoder: ECAPAEncoder = unsettled(ECAPAEncoder(config, input_size=2))
    return encoder


def noise(lengths: list[int], *, size: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x_BTF = torch.randn(len(lengths), max(lengths), size, dtype=torch.float64, requires_grad=True)
    return x_BTF, torch.tensor(lengths)


# --- the same by loops ------------------------------------------------------------------------------------------------
# A batch is a list of utterances (T, C), which have no padding.


def normalised(p: Mapping[str, Tensor], name: str, batch: list[Tensor], *, training: bool) -> list[Tensor]:
    """γ (x - mean) / sqrt(variance + 1e-5) + β; in training by the moments of all frames, if there are two."""
    mean_C, variance_C = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    frames_NC = torch.cat(batch)
    if training and len(frames_NC) > 1:
        mean_C = frames_NC.mean(dim=0)
        variance_C = ((frames_NC - mean_C) ** 2).mean(dim=0)
    scale_C = p[f"{name}.weight"] / (variance_C + 1e-5).sqrt()
    return [(x_TC - mean_C) * scale_C + p[f"{name}.bias"] for x_TC in batch]


def convolved(p: Mapping[str, Tensor], name: str, x_TC: Tensor, *, offsets: list[int]) -> Tensor:
    """Σ_k W_k x_(t + offset k) + b, with nothing beyond the ends."""
    rows = []
    for t in range(len(x_TC)):
        row_C = p[f"{name}.bias"]
        for k, offset in enumerate(offsets):
            if 0 <= t + offset < len(x_TC):
                row_C = row_C + p[f"{name}.weight"][:, :, k] @ x_TC[t + offset]
        rows.append(row_C)
    return torch.stack(rows)


class Naive:
    """Layers of an encoder, over a batch of utterances without padding."""

    def __init__(self, encoder: Encoder) -> None:
        self.p = dict(encoder.state_dict(keep_vars=True))
        self.training = encoder.training

    def layer(self, name: str, batch: list[Tensor], offsets: list[int]) -> list[Tensor]:
        active = [convolved(self.p, f"{name}.convolution", x_TC, offsets=offsets).clamp(min=0) for x_TC in batch]
        return normalised(self.p, f"{name}.normalisation", active, training=self.training)

    def tdnn(self, batch: list[Tensor]) -> list[Tensor]:
        contexts = [[-2, -1, 0, 1, 2], [-2, 0, 2], [-3, 0, 3], [0], [0]]
        for number, offsets in enumerate(contexts):
            batch = self.layer(f"layers.{number}", batch, offsets)
        return batch

    def ecapa(self, batch: list[Tensor]) -> list[Tensor]:
        first = self.layer("first", batch, [-2, -1, 0, 1, 2])
        one = self.block("blocks.0", first, 2)
        two = self.block("blocks.1", [a + b for a, b in zip(first, one, strict=True)], 3)
        three = self.block("blocks.2", [a + b + c for a, b, c in zip(first, one, two, strict=True)], 4)
        joined = [torch.cat(each, dim=1) for each in zip(one, two, three, strict=True)]
        return [convolved(self.p, "aggregation", x_TC, offsets=[0]).clamp(min=0) for x_TC in joined]

    def block(self, name: str, batch: list[Tensor], dilation: int) -> list[Tensor]:
        h = self.layer(f"{name}.after", self.res2(name, self.layer(f"{name}.before", batch, [0]), dilation), [0])
        return [x_TC + h_TC * self.gain(f"{name}.excitation", h_TC) for x_TC, h_TC in zip(batch, h, strict=True)]

    def res2(self, name: str, batch: list[Tensor], dilation: int) -> list[Tensor]:
        width = batch[0].shape[1] // 8
        parts = [[x_TC[:, i * width : (i + 1) * width] for x_TC in batch] for i in range(8)]
        out = [parts[0]]
        for i in range(1, 8):
            given = parts[i] if i == 1 else [a + b for a, b in zip(parts[i], out[-1], strict=True)]
            out.append(self.layer(f"{name}.res2.layers.{i - 1}", given, [-dilation, 0, dilation]))
        return [torch.cat(each, dim=1) for each in zip(*out, strict=True)]

    def gain(self, name: str, h_TC: Tensor) -> Tensor:
        z_C = sum(h_TC) / len(h_TC)
        hidden = (self.p[f"{name}.squeeze.weight"] @ z_C + self.p[f"{name}.squeeze.bias"]).clamp(min=0)
        return torch.sigmoid(self.p[f"{name}.excite.weight"] @ hidden + self.p[f"{name}.excite.bias"])


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", ["tdnn", "ecapa"])
def test_states_and_gradients_are_those_of_loops_over_frames(kind: str, lengths: list[int], *, training: bool) -> None:
    encoder: Encoder = (tdnn() if kind == "tdnn" else ecapa()).train(training)
    x_BTF, lengths_B = noise(lengths)
    naive = Naive(encoder)
    utterances = [x_BTF[i, :length] for i, length in enumerate(lengths)]
    loops = naive.tdnn(utterances) if kind == "tdnn" else naive.ecapa(utterances)
    expected = nn.utils.rnn.pad_sequence(loops, batch_first=True)
    sources, weights = [x_BTF, *encoder.parameters()], torch.randn_like(expected)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), sources)
    states = encoder(x_BTF, lengths_B).states  # last, since it updates the running statistics
    torch.testing.assert_close(states, expected, rtol=1e-6, atol=1e-6)
    for one, other in zip(torch.autograd.grad((states * weights).sum(), sources), expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [tdnn, ecapa])
@pytest.mark.parametrize("training", [False, True])
def test_a_single_frame_is_enough(make: Callable[[], Encoder], *, training: bool) -> None:
    encoder = make().train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    states = encoder(*noise([1])).states
    assert states.shape == (1, 1, 5)
    assert states.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_an_x_vector_state_has_heard_fifteen_frames() -> None:
    x_BTF, lengths_B = noise([40])
    states = tdnn(channels=32).eval()(x_BTF, lengths_B).states
    (gradient_BTF,) = torch.autograd.grad(states[0, 20].square().sum(), x_BTF)
    assert gradient_BTF[0].any(dim=-1).nonzero().flatten().tolist() == list(range(13, 28))


# --- padding, taps, dropout -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tdnn, ecapa])
@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_nothing_in_the_padding_reaches_a_state_or_a_gradient_in_training(
    make: Callable[[], Encoder], garbage: float
) -> None:
    results = []
    for filling in (0.0, garbage):
        encoder, (x_BTF, lengths_B) = make(), noise([4, 9])
        x_BTF = x_BTF.masked_fill(~length_mask(lengths_B, 9).unsqueeze(-1), filling)
        states = encoder(x_BTF, lengths_B).states
        results.append([states, *torch.autograd.grad(states.square().sum(), list(encoder.parameters()))])
        results[-1] += encoder.state_dict().values()
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


class Onlooker:
    """A tap that remembers sequences, and puts another in the place of one."""

    def __init__(self, *, silenced: str = "") -> None:
        self.silenced = silenced
        self.seen: dict[str, Tensor] = {}

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's signature
        raise AssertionError(name)

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:
        assert name not in self.seen
        self.seen[name] = h_BSH
        return h_BSH * 0.0 if name == self.silenced else h_BSH


@pytest.mark.parametrize(
    ("make", "names"),
    [(tdnn, [f"layer{i}" for i in range(5)]), (ecapa, ["first", "block0", "block1", "block2", "aggregation"])],
)
def test_a_tap_sees_each_layer_and_says_what_to_go_on_with(make: Callable[[], Encoder], names: list[str]) -> None:
    encoder, onlooker = make().eval(), Onlooker()
    x_BTF, lengths_B = noise([4, 9])
    states = encoder(x_BTF, lengths_B, tap=onlooker).states
    assert list(onlooker.seen) == names
    assert torch.equal(onlooker.seen[names[-1]], states)
    assert torch.equal(encoder(x_BTF, lengths_B).states, states)
    for name in names:
        changed = encoder(x_BTF, lengths_B, tap=Onlooker(silenced=name)).states
        assert not torch.equal(changed, states)
    assert not changed.any()


@pytest.mark.parametrize("make", [tdnn, ecapa])
def test_dropout_takes_from_states_in_training_alone(make: Callable[..., Encoder]) -> None:
    x_BTF, lengths_B = noise([9, 9])
    dropped, whole = make(dropout=0.5), make()
    one, other = dropped(x_BTF, lengths_B).states, whole(x_BTF, lengths_B).states
    kept = one != 0
    assert 0 < int(kept.sum()) < int((other != 0).sum())
    torch.testing.assert_close(one[kept], 2 * other[kept])
    assert torch.equal(dropped.eval()(x_BTF, lengths_B).states, whole.eval()(x_BTF, lengths_B).states)
