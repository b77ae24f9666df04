"""Utterance classification: encoder, pooling, head, and a reconstruction of the features where one is asked for.

Shape legend: B utterances, T frames, D bands, S steps, A attention heads, E embedding size, L languages that train, of
which the targets, the first ones, are scored.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.config import GRUReconstructionConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.decoders import FeatureDecoder
from lightning_modules.encoders import Encoded, Tap, build_encoder
from lightning_modules.heads import Head
from lightning_modules.initial_draws import own_draws
from lightning_modules.lid_module import LidModule, Loss, Scored, refuse_empty
from lightning_modules.pooling import Pooling
from lightning_modules.steps import mean_over_steps

MAX_FRAMES = 12_000
"""Longer utterances (two minutes at 10 ms) are scored in pieces, so that memory stays bounded."""


class LanguageScores(NamedTuple):
    """What an utterance's features say.

    Attributes:
        log_likelihoods: (B, targets), up to a constant.
        log_posteriors: (B, L) of all languages that train, under the training prior: what the loss is taken of.
        embedding: (B, E).
        attention: (B, A, S) weights, where there are any.
        encoded: the encoder's states.
    """

    log_likelihoods: Tensor
    log_posteriors: Tensor
    embedding: Tensor
    attention: Tensor | None
    encoded: Encoded


class LanguageId(LidModule):
    """One language an utterance."""

    def __init__(self, config: TrialConfig, *, num_parts: int = 1) -> None:
        super().__init__(config, num_parts=num_parts)
        features = config.data.features
        with own_draws(config.seed, "encoder"):
            self.encoder = build_encoder(
                config.encoder,
                input_size=features.num_values,
                num_languages=self.num_languages,
                bptt=config.training.bptt,
            )
        with own_draws(config.seed, "pooling"):
            self.pooling = Pooling(
                config.pooling, input_size=self.encoder.output_size, bidirectional=self.encoder.bidirectional
            )
        with own_draws(config.seed, "head"):
            self.head = Head(
                config.head,
                input_size=self.pooling.output_size,
                num_languages=self.num_languages,
                frames_per_s=features.frames_per_s,
            )
        self.reconstruction: FeatureDecoder | None = None
        if isinstance(config.reconstruction, GRUReconstructionConfig):
            with own_draws(config.seed, "reconstruction"):
                self.reconstruction = FeatureDecoder(
                    config.reconstruction, embedding_size=self.pooling.output_size, num_values=features.num_values
                )

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, *, languages_B: Tensor | None = None, tap: Tap | None = None
    ) -> LanguageScores:
        """Scores of padded utterances, as if all languages were equally likely beforehand.

        Args:
            features_BTD: normalised features; what lies past a length is ignored.
            lengths_B: frames of each utterance, at least 1.
            languages_B: in training, the true languages, for encoders that are told them.
            tap: sees the encoder's states.
        """
        languages_BT = None if languages_B is None else languages_B.unsqueeze(1).expand(-1, features_BTD.shape[1])
        encoded = self.encoder(features_BTD, lengths_B, languages_BT=languages_BT, tap=tap)
        pooled = self.pooling(encoded.states, encoded.steps)
        log_posteriors_BL = self.head(pooled.embedding, lengths_B)
        log_likelihoods = self.of_targets(self.without_prior(log_posteriors_BL))
        return LanguageScores(log_likelihoods, log_posteriors_BL, pooled.embedding, pooled.weights, encoded)

    def loss(self, batch: Batch, *, tap: Tap | None = None) -> Loss:
        """Cross-entropy of each utterance's language, plus the weighted error of its reconstruction, if any."""
        scores = self(batch.features, batch.lengths, languages_B=batch.languages, tap=tap)
        loss = self.cross_entropy(scores.log_posteriors, batch.languages)
        if scores.encoded.log_posteriors is not None:
            loss = loss + self._of_outputs(scores.encoded, scores.encoded.log_posteriors, batch.languages)
        if self.reconstruction is not None:
            assert isinstance(self.config.reconstruction, GRUReconstructionConfig)
            error = self.reconstruction.error(scores.embedding, batch.features, batch.lengths)
            if self.training:
                self.note("reconstruction_error", error, num_rows=len(batch.lengths))  # unweighted
            loss = loss + self.config.reconstruction.weight * error
        num_correct = int((self.without_prior(scores.log_posteriors).argmax(dim=-1) == batch.languages).sum())
        return Loss(loss, num_correct, len(batch.languages))

    def score(self, batch: Batch) -> Scored:
        """A row an utterance; see `LidModule.score`."""
        refuse_empty(batch.lengths)
        if batch.features.shape[1] <= MAX_FRAMES:
            scores_BL = self(batch.features, batch.lengths).log_likelihoods
        else:
            scores_BL = torch.cat([self._in_pieces(*each) for each in zip(batch.features, batch.lengths, strict=True)])
        return Scored(batch.indices, scores_BL, batch.languages)

    def _in_pieces(self, features_TD: Tensor, length: Tensor) -> Tensor:
        """(1, L) normalised: the mean over pieces of nearly equal length, each scored by itself."""
        features_TD = features_TD[: int(length)]
        pieces = features_TD.tensor_split(-(-len(features_TD) // MAX_FRAMES))
        scores = [self(piece.unsqueeze(0), length.new_tensor([len(piece)])).log_likelihoods for piece in pieces]
        return torch.stack(scores).mean(dim=0).log_softmax(dim=-1)

    def _of_outputs(self, encoded: Encoded, log_posteriors_BSL: Tensor, languages_B: Tensor) -> Tensor:
        """Cross-entropy of the outputs that an encoder has at every step."""
        languages_BS = languages_B.unsqueeze(1).expand(-1, log_posteriors_BSL.shape[1])
        return mean_over_steps(self.losses_of_steps(log_posteriors_BSL, languages_BS), encoded.steps)
