"""Aligned sequence labelling (language diarization): a language at every step of a code-switched recording.

Shape legend: B recordings, T frames, D bands, S steps, P parts of a recording, N parts of all of them, L languages.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.config import OutputRecurrentEncoderConfig, TrialConfig
from lightning_modules.data.batches import SwitchedBatch
from lightning_modules.data.switched import languages_of_frames
from lightning_modules.encoders import Encoded, Tap, build_encoder, length_mask, middle_frames
from lightning_modules.initial_draws import own_draws
from lightning_modules.lid_module import LidModule, Loss, Scored, refuse_empty
from lightning_modules.steps import mean_over_steps


class LanguageLabels(NamedTuple):
    """What a recording's features say, step by step.

    Attributes:
        log_posteriors: (B, S, L).
        steps: (B,) how many steps each recording has.
        encoded: the encoder's states.
    """

    log_posteriors: Tensor
    steps: Tensor
    encoded: Encoded


class LanguageLabelling(LidModule):
    """One language a step.

    The label of a step is the language at its middle frame. An encoder with outputs of its own needs no other: they
    are the labels.
    """

    def __init__(self, config: TrialConfig, *, num_parts: int = 1) -> None:
        super().__init__(config, num_parts=num_parts)
        with own_draws(config.seed, "encoder"):
            self.encoder = build_encoder(
                config.encoder,
                input_size=config.data.features.num_values,
                num_languages=self.num_languages,
                bptt=config.training.bptt,
            )
        self.output: nn.Linear | None = None
        if not isinstance(config.encoder, OutputRecurrentEncoderConfig):
            with own_draws(config.seed, "output"):
                self.output = nn.Linear(self.encoder.output_size, self.num_languages)

    def forward(
        self, features_BTD: Tensor, lengths_B: Tensor, *, languages_BT: Tensor | None = None, tap: Tap | None = None
    ) -> LanguageLabels:
        """Log-posteriors of every step of padded recordings.

        Args:
            features_BTD: normalised features; what lies past a length is ignored.
            lengths_B: frames of each recording, at least 1.
            languages_BT: in training, the true language of each frame, for encoders that are told it.
            tap: sees the encoder's states.
        """
        encoded = self.encoder(features_BTD, lengths_B, languages_BT=languages_BT, tap=tap)
        if self.output is None:
            assert encoded.log_posteriors is not None
            return LanguageLabels(encoded.log_posteriors, encoded.steps, encoded)
        return LanguageLabels(self.output(encoded.states).log_softmax(dim=-1), encoded.steps, encoded)

    def loss(self, batch: SwitchedBatch, *, tap: Tap | None = None) -> Loss:
        """Cross-entropy of each step's language: the mean over recordings of each one's mean over its steps."""
        languages_BT = languages_of_frames(batch)
        labels = self(batch.features, batch.lengths, languages_BT=languages_BT, tap=tap)
        middles_BS = self._middles(labels, batch.lengths)
        languages_BS = languages_BT.gather(1, middles_BS)
        mask_BS = length_mask(labels.steps, middles_BS.shape[1])
        losses_BS = self.losses_of_steps(labels.log_posteriors, languages_BS)
        is_right_BS = (labels.log_posteriors.argmax(dim=-1) == languages_BS) & mask_BS
        return Loss(mean_over_steps(losses_BS, labels.steps), int(is_right_BS.sum()), int(mask_BS.sum()))

    def score(self, batch: SwitchedBatch) -> Scored:
        """A row a part: the mean of the log-posteriors of the steps whose middle lies in it, normalised again.

        The tally `frame_error_rate` counts frames, each under its step's label, so that networks whose steps are of
        different lengths compare.
        """
        refuse_empty(batch.lengths)
        labels = self(batch.features, batch.lengths)
        weights_BPS = self._steps_of_parts(labels, batch)
        log_posteriors_BSL = labels.log_posteriors.masked_fill(
            ~length_mask(labels.steps, labels.log_posteriors.shape[1]).unsqueeze(-1), 0.0
        )
        scores_BPL = (weights_BPS @ log_posteriors_BSL).log_softmax(dim=-1)
        is_part_BP = length_mask(batch.num_parts, batch.part_languages.shape[1])
        return Scored(
            batch.indices[is_part_BP],
            scores_BPL[is_part_BP],
            batch.part_languages[is_part_BP],
            {"frame_error_rate": self._frame_errors(labels, batch)},
        )

    def _middles(self, labels: LanguageLabels, lengths_B: Tensor) -> Tensor:
        """(B, S) each step's middle frame."""
        num_steps = labels.log_posteriors.shape[1]
        return middle_frames(lengths_B, num_steps=num_steps, frames_per_step=self.encoder.frames_per_step)

    def _steps_of_parts(self, labels: LanguageLabels, batch: SwitchedBatch) -> Tensor:
        """(B, P, S) weights over the steps of each part; a part too short for a step takes the nearest one."""
        ends_BP1 = batch.part_frames.cumsum(dim=1).unsqueeze(-1)
        starts_BP1 = ends_BP1 - batch.part_frames.unsqueeze(-1)
        middles_B1S = self._middles(labels, batch.lengths).unsqueeze(1)
        mask_B1S = length_mask(labels.steps, middles_B1S.shape[-1]).unsqueeze(1)
        is_inside_BPS = (middles_B1S >= starts_BP1) & (middles_B1S < ends_BP1) & mask_B1S
        distances_BPS = (2 * middles_B1S - (starts_BP1 + ends_BP1 - 1)).abs()
        nearest_BP1 = distances_BPS.masked_fill(~mask_B1S, distances_BPS.max() + 1).argmin(dim=-1, keepdim=True)
        is_nearest_BPS = torch.zeros_like(is_inside_BPS).scatter(-1, nearest_BP1, value=True)
        chosen_BPS = torch.where(is_inside_BPS.any(dim=-1, keepdim=True), is_inside_BPS, is_nearest_BPS)
        weights_BPS = chosen_BPS.to(labels.log_posteriors.dtype)
        return weights_BPS / weights_BPS.sum(dim=-1, keepdim=True)

    def _frame_errors(self, labels: LanguageLabels, batch: SwitchedBatch) -> tuple[float, float]:
        """Frames under a wrong label, and all frames."""
        frames_T = torch.arange(batch.features.shape[1], device=batch.lengths.device)
        steps_T = torch.div(frames_T, self.encoder.frames_per_step, rounding_mode="floor")
        steps_BT = torch.minimum(steps_T.unsqueeze(0), labels.steps.unsqueeze(1) - 1)
        guesses_BT = labels.log_posteriors.argmax(dim=-1).gather(1, steps_BT)
        is_wrong_BT = (guesses_BT != languages_of_frames(batch)) & length_mask(batch.lengths, len(frames_T))
        return float(is_wrong_BT.sum()), float(batch.lengths.sum())
