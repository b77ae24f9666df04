"""Decoders: from a vector, or from states, to a sequence.

Shape legend: B recordings, S encoder steps, H values a state, E embedding size, P languages of a recording in order,
K symbols that are emitted, G hidden units of the decoder, D bands, L languages.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.attention import Attention
from lightning_modules.config import GRUReconstructionConfig, SequenceConfig
from lightning_modules.encoders.recurrences import initialise
from lightning_modules.initial_draws import named_draws


class Decoded(NamedTuple):
    """What a decoder emitted.

    Attributes:
        log_posteriors: (B, K, L + 1) of every language, and of the end.
        symbols: (B, K) the likeliest of them.
        weights: (B, K, S) of the attention, where there is any.
    """

    log_posteriors: Tensor
    symbols: Tensor
    weights: Tensor | None


class LanguageDecoder(nn.Module):
    """A GRU that emits languages in order, then an end.

    With attention (Bahdanau et al., 2015), at step k:

        c_k = sum_s a_ks m_s,  a_k = attention(m, g_(k-1));  g_k = GRU([y_(k-1); c_k], g_(k-1));  W [g_k; c_k] + b

    where m is the encoder's states, projected to the decoder's size, and y the embedding of the symbol before, at
    first of the end. Without attention there is no c (Sutskever et al., 2014). g_0 = tanh(V e + d), with e the
    embedding of the recording: the pooled states, or with attention the last one.

    Attributes:
        end: the symbol that ends a sequence; languages are those below it.
    """

    def __init__(self, config: SequenceConfig, *, embedding_size: int, state_size: int, num_languages: int) -> None:
        super().__init__()
        size = config.decoder_size
        self.end = num_languages
        with named_draws("start"):
            self.start = nn.Linear(embedding_size, size)
        with named_draws("symbols"):
            self.symbols = nn.Embedding(num_languages + 1, size)
        self.memory: nn.Linear | None = None
        self.attention: Attention | None = None
        heard_size = 0
        if config.attention != "none":
            heard_size = size
            with named_draws("memory"):
                self.memory = nn.Linear(state_size, size)
            with named_draws("attention"):
                self.attention = Attention(config.attention, input_size=size, query_size=size)
        with named_draws("cell"):
            self.cell = _gru_cell(size + heard_size, size)
        with named_draws("output"):
            self.output = nn.Linear(size + heard_size, num_languages + 1)

    def forward(
        self,
        embedding_BE: Tensor,
        h_BSH: Tensor,
        mask_BS: Tensor,
        *,
        max_symbols: int,
        min_symbols: int = 1,
        truth_BP: Tensor | None = None,
        teacher_share: float = 1.0,
    ) -> Decoded:
        """Emits `max_symbols` symbols; where it is told no truth, fewer if all recordings have ended by then.

        One after another, by a GRU cell: what it says, or attends to, enters the next step. Where neither does, a fused
        kernel would compute the same, over so few symbols that it saves nothing.

        Args:
            embedding_BE: of each recording.
            h_BSH: the encoder's states.
            mask_BS: True where a step belongs to its recording.
            max_symbols: K.
            min_symbols: that it emits though all recordings have ended.
            truth_BP: the languages that it is told in place of its own, -1 past their end; at least K - 1 places.
            teacher_share: how often; a coin a step and recording.
        """
        memory_BSG = None if self.memory is None else self.memory(h_BSH)
        state_BG = torch.tanh(self.start(embedding_BE))
        before_B = torch.full((len(h_BSH),), self.end, device=h_BSH.device)
        has_ended_B = torch.zeros_like(before_B, dtype=torch.bool)
        log_posteriors, symbols, weights = [], [], []
        for place in range(max_symbols):
            step = self._step(before_B, state_BG, memory_BSG, mask_BS)
            state_BG = step.state
            log_posteriors.append(step.log_posteriors)
            symbols.append(step.log_posteriors.argmax(dim=-1))
            weights.append(step.weights)
            before_B = symbols[-1]
            if truth_BP is not None:
                before_B = self._told(before_B, truth_BP, place, teacher_share=teacher_share)
                continue
            has_ended_B = has_ended_B | (before_B == self.end)
            if place + 1 >= min_symbols and has_ended_B.all():
                break
        kept = [each for each in weights if each is not None]
        return Decoded(
            torch.stack(log_posteriors, dim=1), torch.stack(symbols, dim=1), torch.stack(kept, dim=1) if kept else None
        )

    def sequences(self, symbols_BK: Tensor) -> list[list[int]]:
        """The languages of each recording, up to its end."""
        return [row[: row.index(self.end)] if self.end in row else row for row in symbols_BK.tolist()]

    def _step(self, before_B: Tensor, state_BG: Tensor, memory_BSG: Tensor | None, mask_BS: Tensor) -> "_Step":
        heard: tuple[Tensor, ...] = ()
        weights_BS = None
        if self.attention is not None and memory_BSG is not None:
            weights_BS = self.attention(memory_BSG, mask_BS, state_BG)
            heard = (torch.einsum("bs,bsg->bg", weights_BS, memory_BSG),)
        state_BG = self.cell(torch.cat([self.symbols(before_B), *heard], dim=-1), state_BG)
        log_posteriors_BK = self.output(torch.cat([state_BG, *heard], dim=-1)).log_softmax(dim=-1)
        return _Step(state_BG, log_posteriors_BK, weights_BS)

    def _told(self, own_B: Tensor, truth_BP: Tensor, place: int, *, teacher_share: float) -> Tensor:
        """The symbol before the next step: the true one, or the decoder's own."""
        if place == truth_BP.shape[1]:
            return own_B  # nothing comes after it
        true_B = truth_BP[:, place]
        true_B = torch.where(true_B < 0, self.end, true_B)
        if teacher_share == 1.0:
            return true_B
        is_told_B = torch.rand(len(own_B), device=own_B.device) < teacher_share
        return torch.where(is_told_B, true_B, own_B)


class _Step(NamedTuple):
    state: Tensor
    log_posteriors: Tensor
    weights: Tensor | None


class FeatureDecoder(nn.Module):
    """A GRU that unrolls an embedding into features: single input, multiple output.

    x_k = W g_k + b, g_k = GRU(x_(k-1), g_(k-1)), g_0 = tanh(V e + d), x_0 = 0: it is told its own output, never the
    true frame before, which would be most of the next one and leave the embedding little to say (the conditional and
    unconditional decoders of Srivastava et al., 2015, differ in the same way).
    """

    def __init__(self, config: GRUReconstructionConfig, *, embedding_size: int, num_values: int) -> None:
        super().__init__()
        self.stride = config.stride
        self.start = nn.Linear(embedding_size, config.hidden_size)
        self.cell = _gru_cell(num_values, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, num_values)

    def forward(self, embedding_BE: Tensor, *, num_frames: int) -> Tensor:
        """(B, K, D) every `stride`-th of so many frames, from the first on."""
        state_BG = torch.tanh(self.start(embedding_BE))
        x_BD = embedding_BE.new_zeros(len(embedding_BE), self.output.out_features)
        frames = []
        for _ in range(0, num_frames, self.stride):
            state_BG = self.cell(x_BD, state_BG)
            x_BD = self.output(state_BG)
            frames.append(x_BD)
        return torch.stack(frames, dim=1)

    def error(self, embedding_BE: Tensor, features_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Mean squared error: over utterances, of each one's mean over its own frames and bands."""
        mask_BK = torch.arange(0, features_BTD.shape[1], self.stride, device=lengths_B.device) < lengths_B.unsqueeze(1)
        wanted_BKD = features_BTD[:, :: self.stride].masked_fill(~mask_BK.unsqueeze(-1), 0.0)
        made_BKD: Tensor = self(embedding_BE, num_frames=features_BTD.shape[1])
        errors_BK: Tensor = (made_BKD - wanted_BKD).square().mean(dim=-1) * mask_BK
        return (errors_BK.sum(dim=1) / mask_BK.sum(dim=1)).mean()


def _gru_cell(input_size: int, hidden_size: int) -> nn.GRUCell:
    """Initialised like the encoders' GRU."""
    cell = nn.GRUCell(input_size, hidden_size)
    initialise(cell, cell="gru", forget_bias=0.0)
    return cell
