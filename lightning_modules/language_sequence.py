"""Encoder-decoder: a code-switched recording's languages in order, without their boundaries.

Shape legend: B recordings, T frames, D bands, S steps, P parts of a recording, K symbols that are emitted, N parts of
all recordings, L languages.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.config import SequenceConfig, TrialConfig
from lightning_modules.data.batches import SwitchedBatch
from lightning_modules.data.switched import NONE, languages_of_frames
from lightning_modules.decoders import Decoded, LanguageDecoder
from lightning_modules.encoders import Encoded, Tap, build_encoder, length_mask, middle_frames
from lightning_modules.initial_draws import own_draws
from lightning_modules.lid_module import LidModule, Loss, Scored, refuse_empty
from lightning_modules.pooling import Pooling, last_state
from lightning_modules.steps import mean_over_steps

LONGEST: Final = 2
"""Decoding stops at this many times the most languages that recordings of the configuration have."""


class LanguageSequences(NamedTuple):
    """What recordings' features say.

    Attributes:
        log_posteriors: (B, K, L + 1) of each language, and of the end, at each place.
        symbols: (B, K) the likeliest; L is the end, and what follows it means nothing.
        attention: (B, K, S) weights, where there are any.
        encoded: the encoder's states.
    """

    log_posteriors: Tensor
    symbols: Tensor
    attention: Tensor | None
    encoded: Encoded


class LanguageSequence(LidModule):
    """An encoder, and a decoder that emits the languages in order and an end symbol.

    Neighbouring parts of a recording never have the same language. Whoever is told the true history, as the decoder is
    in training, can exclude one language before it hears anything. Scores are therefore told nothing: each place is
    scored given what the decoder said itself, so that who only guesses gets 1 / L of the languages right.
    """

    def __init__(self, config: TrialConfig, *, num_parts: int = 1) -> None:
        super().__init__(config, num_parts=num_parts)
        assert isinstance(config.task, SequenceConfig)
        self.task = config.task
        with own_draws(config.seed, "encoder"):
            self.encoder = build_encoder(
                config.encoder,
                input_size=config.data.features.num_values,
                num_languages=self.num_languages,
                bptt=config.training.bptt,
            )
        self.pooling: Pooling | None = None  # attention hears the states themselves
        if config.task.attention == "none":
            with own_draws(config.seed, "pooling"):
                self.pooling = Pooling(
                    config.pooling, input_size=self.encoder.output_size, bidirectional=self.encoder.bidirectional
                )
        with own_draws(config.seed, "decoder"):
            self.decoder = LanguageDecoder(
                config.task,
                embedding_size=self.pooling.output_size if self.pooling else self.encoder.output_size,
                state_size=self.encoder.output_size,
                num_languages=self.num_languages,
            )

    def forward(self, features_BTD: Tensor, lengths_B: Tensor) -> LanguageSequences:
        """Greedy decoding of padded recordings: at each place the likeliest symbol, given those before.

        Args:
            features_BTD: normalised features; what lies past a length is ignored.
            lengths_B: frames of each recording, at least 1.
        """
        encoded = self.encoder(features_BTD, lengths_B)
        decoded = self._decode(encoded, max_symbols=LONGEST * self.task.switching.max_parts)
        return LanguageSequences(decoded.log_posteriors, decoded.symbols, decoded.weights, encoded)

    def loss(self, batch: SwitchedBatch, *, tap: Tap | None = None) -> Loss:
        """Cross-entropy of each symbol: the mean over recordings of each one's mean over its languages and its end.

        Labels are smoothed over all symbols. The outputs of an encoder that has some are trained on the language of
        each of its steps.
        """
        languages_BT = languages_of_frames(batch)
        encoded = self.encoder(batch.features, batch.lengths, languages_BT=languages_BT, tap=tap)
        decoded = self._decode(
            encoded,
            max_symbols=batch.part_languages.shape[1] + 1,
            truth_BP=batch.part_languages,
            teacher_share=self.task.teacher_share if self.training else 1.0,
        )
        targets_BK, mask_BK = self._targets(batch), length_mask(batch.num_parts + 1, batch.part_languages.shape[1] + 1)
        losses_BK = self.losses_of_steps(decoded.log_posteriors, targets_BK)
        loss = mean_over_steps(losses_BK, batch.num_parts + 1)
        if encoded.log_posteriors is not None:
            loss = loss + self._of_outputs(encoded.log_posteriors, encoded.steps, languages_BT, batch.lengths)
        num_correct = int(((decoded.symbols == targets_BK) & mask_BK).sum())
        return Loss(loss, num_correct, int(mask_BK.sum()))

    def score(self, batch: SwitchedBatch) -> Scored:
        """A row a part: log-posteriors over the languages at its place, given the decoder's own symbols before it.

        The end is left out and the rest normalised again; a decoder that ends too early is asked for the places that
        are left. The tallies come from the same greedy decoding, up to its end: `sequence_error_rate` is the edit
        distance over the true length, `sequence_wrong` the share of recordings whose languages are not exactly right.
        """
        refuse_empty(batch.lengths)
        encoded = self.encoder(batch.features, batch.lengths)
        num_places = batch.part_languages.shape[1]
        own = self._decode(
            encoded, min_symbols=num_places, max_symbols=max(num_places, LONGEST * self.task.switching.max_parts)
        )
        is_part_BP = length_mask(batch.num_parts, num_places)
        scores_BPL = own.log_posteriors[:, :num_places, : self.num_languages].log_softmax(dim=-1)
        return Scored(
            batch.indices[is_part_BP],
            scores_BPL[is_part_BP],
            batch.part_languages[is_part_BP],
            _tallies(self.decoder.sequences(own.symbols), _truth(batch)),
        )

    def _decode(self, encoded: Encoded, **options: Any) -> Decoded:
        mask_BS = length_mask(encoded.steps, encoded.states.shape[1])
        decoded: Decoded = self.decoder(self._embedding(encoded), encoded.states, mask_BS, **options)
        return decoded

    def _embedding(self, encoded: Encoded) -> Tensor:
        """(B, E) what the decoder starts from: the pooled states, or with attention the last one."""
        if self.pooling is None:
            return last_state(encoded.states, encoded.steps, bidirectional=self.encoder.bidirectional)
        embedding_BE: Tensor = self.pooling(encoded.states, encoded.steps).embedding
        return embedding_BE

    def _of_outputs(
        self, log_posteriors_BSL: Tensor, steps_B: Tensor, languages_BT: Tensor, lengths_B: Tensor
    ) -> Tensor:
        """Cross-entropy of the outputs that an encoder has at every step."""
        middles_BS = middle_frames(
            lengths_B, num_steps=log_posteriors_BSL.shape[1], frames_per_step=self.encoder.frames_per_step
        )
        return mean_over_steps(self.losses_of_steps(log_posteriors_BSL, languages_BT.gather(1, middles_BS)), steps_B)

    def _targets(self, batch: SwitchedBatch) -> Tensor:
        """(B, P + 1) the languages in order, then the end, which also fills what is left."""
        ended_BK = nn.functional.pad(batch.part_languages, (0, 1), value=NONE)
        return torch.where(ended_BK == NONE, self.decoder.end, ended_BK)


def _truth(batch: SwitchedBatch) -> list[list[int]]:
    rows = zip(batch.part_languages.tolist(), batch.num_parts.tolist(), strict=True)
    return [languages[:count] for languages, count in rows]


def _tallies(emitted: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> dict[str, tuple[float, float]]:
    errors = [edit_distance(one, other) for one, other in zip(emitted, truth, strict=True)]
    return {
        "sequence_error_rate": (sum(errors), sum(len(each) for each in truth)),
        "sequence_wrong": (sum(error > 0 for error in errors), len(errors)),
    }


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """The least number of insertions, deletions and substitutions that make one of the other (Levenshtein, 1966)."""
    row = list(range(len(other) + 1))
    for i, symbol in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, wanted in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (symbol != wanted))
    return row[-1]
