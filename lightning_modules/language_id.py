"""The LightningModule of utterance language identification: encoder, pooling, scores, optimiser and clipping.

Shape legend: B utterances, T frames, D bands, S steps, L languages.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, assert_never

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules import scoring
from lightning_modules.clipping import ClippingStep, clip_gradients
from lightning_modules.config import AdamConfig, AdamWConfig, OptimizerConfig, SGDConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.encoders import build_encoder
from lightning_modules.pooling import Pooling


class Diverged(Exception):  # noqa: N818 - an outcome of a trial, not an error
    """Loss or gradients are no longer finite."""


class LanguageScores(NamedTuple):
    """Log-likelihoods up to a constant (B, L), embedding (B, E), and attention weights (B, S) where there are any."""

    log_likelihoods: Tensor
    embedding: Tensor
    attention: Tensor | None


class LanguageId(pl.LightningModule):
    """Trains on balanced batches, so its log-posteriors are log-likelihoods with equal priors."""

    def __init__(self, config: TrialConfig, *, num_parts: int = 1) -> None:
        super().__init__()
        self.config = config
        self.num_parts = num_parts
        self.encoder = build_encoder(config.encoder, input_size=config.data.features.num_bands)
        self.pooling = Pooling(
            config.pooling, input_size=self.encoder.output_size, bidirectional=config.encoder.bidirectional
        )
        self.output = nn.Linear(self.pooling.output_size, len(config.data.languages))
        self.clipping_steps: list[ClippingStep] = []
        self.development_scores: np.ndarray | None = None
        self.development_metrics: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._num_correct = 0
        self._num_seen = 0
        self._development: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, features_BTD: Tensor, lengths_B: Tensor) -> LanguageScores:
        """Scores of padded utterances.

        Args:
            features_BTD: normalised features; what lies past a length is ignored.
            lengths_B: frames of each utterance, at least 1.
        """
        h_BSH, steps_B = self.encoder(features_BTD, lengths_B)
        pooled = self.pooling(h_BSH, steps_B)
        return LanguageScores(self.output(pooled.embedding).log_softmax(dim=-1), pooled.embedding, pooled.weights)

    def on_train_epoch_start(self) -> None:
        """Forgets what was measured in the epoch before."""
        self.clipping_steps, self._losses, self._num_correct, self._num_seen = [], [], 0, 0

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Reseeds torch by (seed, epoch, step): dropout is the same after a resume as without one.

        Once an epoch is not enough: starting a data loader draws from the same generator, and after a resume Lightning
        does so before the epoch's start instead of after it.
        """
        place = (self.config.seed, 1, self.current_epoch, batch_idx)
        entropy = np.random.SeedSequence((*place, self.global_rank) if self.global_rank else place)
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Cross-entropy of one batch, or its share of it for a part of one; raises Diverged when it is not finite.

        Lightning averages the gradients of micro-batches, and DDP those of ranks, as if all had the same size.
        """
        scores_BL = self(batch.features, batch.lengths).log_likelihoods
        loss = nn.functional.nll_loss(scores_BL, batch.languages)
        if not torch.isfinite(loss):
            raise Diverged(f"the training loss became {loss.item()} at step {self.global_step}")
        self._losses.append(loss.detach())
        self._num_correct += int((scores_BL.argmax(dim=-1) == batch.languages).sum())
        self._num_seen += len(batch.languages)
        if self.num_parts == 1:
            return loss
        return loss * (len(batch.languages) * self.num_parts / self.config.training.batch_size)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002 - Lightning's signature
        gradient_clip_val: float | None = None,  # noqa: ARG002
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Applies the configured rule and remembers what it did; raises Diverged when a gradient is not finite."""
        step = clip_gradients(self.parameters(), self.config.clipping)
        if not np.isfinite(step.norm_before):
            raise Diverged(f"the gradient norm became {step.norm_before} at step {self.global_step}")
        self.clipping_steps.append(step)

    def training_metrics(self) -> dict[str, float]:
        """Means over the epoch's steps: loss (nats), accuracy, gradient norms, share of steps clipped."""
        before = [step.norm_before for step in self.clipping_steps]
        return {
            "train/loss": float(torch.stack(self._losses).mean()),
            "train/accuracy": self._num_correct / self._num_seen,
            "grad/norm_before_clipping": float(np.mean(before)),
            "grad/norm_after_clipping": float(np.mean([step.norm_after for step in self.clipping_steps])),
            "grad/norm_max": float(np.max(before)),
            "grad/share_clipped": float(np.mean([step.clipped for step in self.clipping_steps])),
        }

    def on_validation_epoch_start(self) -> None:
        """Forgets the scores of the epoch before."""
        self._development = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Keeps the scores of one batch; they are judged together at the epoch's end."""
        scores_BL = self(batch.features, batch.lengths).log_likelihoods
        self._development.append((batch.indices.cpu(), scores_BL.float().cpu(), batch.languages.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Keeps the `val/` metrics; `development_scores` (N, L) are in utterance order."""
        indices, scores, languages = (torch.cat(parts) for parts in zip(*self._all_development(), strict=True))
        if not torch.isfinite(scores).all():
            raise Diverged(f"development scores are not finite at epoch {self.current_epoch}")
        order = torch.from_numpy(np.unique(indices.numpy(), return_index=True)[1])
        self.development_scores = scores[order].double().numpy()
        truth = languages[order].numpy()
        self.development_metrics = development_metrics(self.development_scores, truth)

    def _all_development(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Indices, scores and languages of all batches, also those of other ranks."""
        if not torch.distributed.is_initialized():
            return self._development
        gathered: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, self._development)
        return [part for rank in gathered for part in rank]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimiser over all parameters."""
        return build_optimizer(self.config.optimizer, list(self.parameters()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint carries its configuration, so that it can be rebuilt from the file alone."""
        checkpoint["trial_config"] = self.config.model_dump_json()


def build_optimizer(config: OptimizerConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a configuration names."""
    match config:
        case AdamConfig(learning_rate=rate):
            return torch.optim.Adam(parameters, lr=rate)
        case AdamWConfig(learning_rate=rate, weight_decay=decay):
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        case SGDConfig(learning_rate=rate, momentum=momentum):
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum)
        case _:
            assert_never(config)


def development_metrics(log_likelihoods: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All `val/` metrics of (N, L) log-likelihoods: costs as in the LRE plans, Cllr in bits, the loss in nats."""
    scores = scoring.score(scoring.llr_from_log_likelihoods(log_likelihoods), truth)
    return {
        "val/loss": float(-log_likelihoods[np.arange(len(truth)), truth].mean()),
        "val/accuracy": scores.macro_accuracy,
        "val/error_rate": 1.0 - scores.macro_accuracy,
        "val/c_avg": scores.c_avg,
        "val/c_primary": scores.c_primary,
        "val/c_primary_calibrated": scores.c_primary_calibrated,
        "val/eer": scores.eer,
        "val/cllr": scores.cllr,
        "val/cllr_calibrated": scores.cllr_calibrated,
    }
