"""The output-recurrent encoder against its equations step by step, and which output it is fed.

Shape legend: B utterances, T frames, S steps, F values a frame, H hidden units, L languages.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.config import OutputRecurrentEncoderConfig
from lightning_modules.encoders.output_recurrent import OutputRecurrentEncoder

NUM_LANGUAGES = 3
LENGTHS = [4, 8, 1]
KINDS = ["teacher_forcing", "free_running", "scheduled_sampling"]
Told = Callable[[int, int], bool]


def make(feedback: str, *, frames_per_step: int = 1, dropout: float = 0.0, **options: Any) -> OutputRecurrentEncoder:
    torch.manual_seed(0)
    fields = {"hidden_size": 4, "frames_per_step": frames_per_step, "dropout": dropout}
    config = OutputRecurrentEncoderConfig.model_validate(fields | {"feedback": {"kind": feedback, **options}})
    encoder = OutputRecurrentEncoder(config, input_size=2, num_languages=NUM_LANGUAGES).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=1.0)
    return encoder


def noise(lengths: list[int] = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, lengths, and languages that change from frame to frame."""
    torch.manual_seed(1)
    x_BTF = torch.randn(len(lengths), max(lengths), 2, dtype=torch.float64, requires_grad=True)
    return x_BTF, torch.tensor(lengths), torch.randint(NUM_LANGUAGES, (len(lengths), max(lengths)))


def naive(
    encoder: OutputRecurrentEncoder, x_TF: Tensor, *, languages: list[int] | None, told: Callable[[int], bool]
) -> tuple[Tensor, Tensor]:
    """(S, H) states and (S, L) log-posteriors of one utterance, an equation a line."""
    p, n = dict(encoder.named_parameters()), encoder.frames_per_step
    y_L = torch.full((NUM_LANGUAGES,), 1 / NUM_LANGUAGES, dtype=torch.float64)
    states, outputs = [], []
    for t, start in enumerate(range(0, len(x_TF), n)):
        if t > 0 and languages is not None and told(t):
            middle = min(start - n + n // 2, len(x_TF) - 1)
            y_L = torch.eye(NUM_LANGUAGES, dtype=torch.float64)[languages[middle]]
        frames_F = x_TF[start : start + n].flatten()
        x_F = torch.cat([frames_F, frames_F.new_zeros(2 * n - len(frames_F))])
        h_H = torch.tanh(p["input.weight"] @ x_F + p["feedback.weight"] @ y_L + p["input.bias"])
        y_L = torch.softmax(p["output.weight"] @ h_H + p["output.bias"], dim=0)
        states.append(h_H)
        outputs.append(y_L.log())
    return torch.stack(states), torch.stack(outputs)


class Onlooker:
    """A tap that changes nothing, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, Tensor]] = []

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        self.seen.append((name, t, h_BH))
        return h_BH

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's signature
        raise AssertionError(name)


def assert_follows_the_equations(encoder: OutputRecurrentEncoder, *, told: Told, tap: Onlooker | None = None) -> None:
    """Told the truth where `told(utterance, step)` says so, forward and backward."""
    x_BTF, lengths_B, languages_BT = noise()
    encoded = encoder(x_BTF, lengths_B, languages_BT=languages_BT, tap=tap)
    assert encoded.log_posteriors is not None
    loops = [
        naive(encoder, x_BTF[i, :n], languages=languages_BT[i].tolist(), told=partial(told, i))
        for i, n in enumerate(LENGTHS)
    ]
    sources = [x_BTF, *encoder.parameters()]
    for actual, naive_parts in zip((encoded.states, encoded.log_posteriors), zip(*loops, strict=True), strict=True):
        expected = nn.utils.rnn.pad_sequence(list(naive_parts), batch_first=True)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
        weights = torch.randn_like(actual)
        for one, other in zip(
            torch.autograd.grad((actual * weights).sum(), sources, allow_unused=True, retain_graph=True),
            torch.autograd.grad((expected * weights).sum(), sources, allow_unused=True, retain_graph=True),
            strict=True,
        ):
            if one is None or other is None:  # told all, states do not depend on the output's weights
                assert one is None or not one.any()
                assert other is None or not other.any()
            else:
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


# --- the equations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tapped", [False, True], ids=["untapped", "tapped"])
@pytest.mark.parametrize("frames_per_step", [1, 3])
@pytest.mark.parametrize("feedback", ["teacher_forcing", "free_running"])
def test_states_outputs_and_gradients_follow_the_equations(
    feedback: str, frames_per_step: int, *, tapped: bool
) -> None:
    encoder = make(feedback, frames_per_step=frames_per_step)
    is_told = feedback == "teacher_forcing"
    assert_follows_the_equations(encoder, told=lambda _, __: is_told, tap=Onlooker() if tapped else None)


@pytest.mark.parametrize("frames_per_step", [1, 3])
def test_scheduled_sampling_follows_its_coins(frames_per_step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make("scheduled_sampling", frames_per_step=frames_per_step)
    encoder.start_epoch(0.5)
    coins: list[Tensor] = []
    toss = torch.rand

    def remembered(*size: Any, **options: Any) -> Tensor:
        coins.append(toss(*size, **options))
        return coins[-1]

    monkeypatch.setattr(torch, "rand", remembered)
    torch.manual_seed(4)
    assert_follows_the_equations(encoder, told=lambda i, t: bool(coins[0][i, t, 0] < 0.5))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("feedback", KINDS)
def test_without_languages_its_own_output_is_fed_back(feedback: str, *, training: bool) -> None:
    encoder = make(feedback).train(training)
    x_BTF, lengths_B, _ = noise()
    expected, _ = naive(encoder, x_BTF[1], languages=None, told=lambda _: False)
    torch.testing.assert_close(encoder(x_BTF, lengths_B).states[1], expected)


@pytest.mark.parametrize("feedback", KINDS)
def test_evaluation_never_listens_to_the_truth(feedback: str) -> None:
    encoder = make(feedback)
    x_BTF, lengths_B, languages_BT = noise()
    told = encoder(x_BTF, lengths_B, languages_BT=languages_BT)
    ignored = encoder.eval()(x_BTF, lengths_B, languages_BT=languages_BT)
    assert torch.equal(ignored.states, encoder(x_BTF, lengths_B).states)
    assert torch.equal(told.states, ignored.states) == (feedback == "free_running")


def test_the_truth_past_an_utterance_s_end_is_never_looked_up() -> None:
    encoder = make("teacher_forcing", frames_per_step=3)
    x_BTF, lengths_B, languages_BT = noise()
    expected = encoder(x_BTF, lengths_B, languages_BT=languages_BT).states
    languages_BT[0, 4:] = -100
    assert torch.equal(encoder(x_BTF, lengths_B, languages_BT=languages_BT).states, expected)


# --- the schedule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("final_share", [0.0, 0.4, 1.0])
def test_the_share_of_told_steps_falls_linearly(final_share: float) -> None:
    encoder = make("scheduled_sampling", final_share=final_share)
    shares = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        encoder.start_epoch(progress)
        shares.append(encoder.told_share)
    assert shares == pytest.approx([1 - (1 - final_share) * progress for progress in (0.0, 0.25, 0.5, 1.0)])


def told_steps(encoder: OutputRecurrentEncoder) -> Tensor:
    """(B, S) whether each step heard the truth, of a network that is sure of language 0, where the truth is 1."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.output.bias[0] = 100.0
        encoder.feedback.weight[0, 1] = 1.0
    languages_BT = torch.ones(50, 40, dtype=torch.long)
    x_BTF = torch.zeros(50, 40, 2, dtype=torch.float64)
    states: Tensor = encoder(x_BTF, torch.full((50,), 40), languages_BT=languages_BT).states
    return states[:, 1:, 0] > 0.5


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)])
def test_as_many_steps_are_told_as_the_share_says(progress: float, share: float) -> None:
    encoder = make("scheduled_sampling", final_share=0.2)
    encoder.start_epoch(progress)
    told_BS = told_steps(encoder)
    assert float(told_BS.double().mean()) == pytest.approx(share, abs=0.05)  # 1,950 coins
    if 0 < share < 1:  # each utterance and step has a coin of its own
        assert (told_BS[0] != told_BS[1]).any()
        assert (told_BS[:, 0] != told_BS[:, 1]).any()


@pytest.mark.parametrize(("feedback", "told"), [("teacher_forcing", True), ("free_running", False)])
def test_other_kinds_have_no_schedule(feedback: str, *, told: bool) -> None:
    encoder = make(feedback)
    for progress in (0.0, 1.0):
        encoder.start_epoch(progress)
        assert told_steps(encoder).all() if told else not told_steps(encoder).any()


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_outputs_are_log_posteriors_and_nothing_past_the_end() -> None:
    encoder = make("free_running", frames_per_step=3)
    states, steps_B, log_posteriors = encoder(*noise()[:2])
    assert steps_B.tolist() == [2, 3, 1]
    assert log_posteriors is not None
    for i, steps in enumerate(steps_B.tolist()):
        sums = log_posteriors[i, :steps].exp().sum(dim=-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        assert not log_posteriors[i, steps:].any()
        assert not states[i, steps:].any()


def test_a_tap_sees_each_state_once() -> None:
    onlooker, encoder = Onlooker(), make("free_running")
    states, steps_B, _ = encoder(*noise()[:2], tap=onlooker)
    assert [(name, t) for name, t, _ in onlooker.seen] == [("layer0/forward", t) for t in range(8)]
    for _, t, h_BH in onlooker.seen:
        assert torch.equal(h_BH[t < steps_B], states[t < steps_B, t])


def test_dropout_takes_from_states_and_leaves_the_recurrence_alone() -> None:
    x_BTF, lengths_B, _ = noise([8, 8])
    dropped, whole = make("free_running", dropout=0.5)(x_BTF, lengths_B), make("free_running")(x_BTF, lengths_B)
    kept = dropped.states != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(dropped.states[kept], 2 * whole.states[kept])
    torch.testing.assert_close(dropped.log_posteriors, whole.log_posteriors)
