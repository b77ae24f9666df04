"""What the LightningModules of all tasks share: seeds, optimiser, clipping, and development scores.

Shape legend: B utterances, S steps, N rows that are scored (an utterance or a segment each), L languages that train, of
which the targets, the first ones, are scored.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lightning_modules import scoring
from lightning_modules.clipping import ClippingStep, GradientClipper, clipping_metrics
from lightning_modules.config import PlateauScheduleConfig, SkipClippingConfig, TrialConfig
from lightning_modules.encoders import Encoder, Tap
from lightning_modules.gradient_flow import GradientFlow
from lightning_modules.optimizers import build_optimizer, rate_at

T = TypeVar("T")


class Diverged(Exception):  # noqa: N818 - an outcome of a trial, not an error
    """Loss or gradients are no longer finite."""


class Loss(NamedTuple):
    """The mean loss of a batch, in nats, and how many of its rows were told right."""

    value: Tensor
    num_correct: int
    num_rows: int


class Scored(NamedTuple):
    """Rows of development or test data.

    Attributes:
        indices: (N,) places in the data set.
        log_likelihoods: (N, L), up to a constant a row.
        languages: (N,) the truth.
        tallies: name -> (errors, how many there could be), summed over batches into the metric of that name.
    """

    indices: Tensor
    log_likelihoods: Tensor
    languages: Tensor
    tallies: Mapping[str, tuple[float, float]] = {}


class LidModule(pl.LightningModule, ABC):
    """A network that is trained to tell languages, whatever it is asked."""

    encoder: Encoder

    def __init__(self, config: TrialConfig, *, num_parts: int = 1) -> None:
        super().__init__()
        self.config = config
        self.num_parts = num_parts
        self.num_targets = len(config.data.languages)
        self.num_languages = len(config.data.trained_languages)
        self.log_prior_L: Tensor
        self.register_buffer("log_prior_L", torch.full((self.num_languages,), -math.log(self.num_languages)))
        self.clipper = GradientClipper(config.clipping)
        self.clipping_steps: list[ClippingStep] = []
        self.gradient_flow = GradientFlow(config.training.gradient_flow)
        self.development_speakers: Sequence[str] | None = None
        self.development_scores: np.ndarray | None = None
        self.development_calibrated: np.ndarray | None = None
        self.development_metrics: dict[str, float] = {}
        self._means: dict[str, list[tuple[Tensor, int]]] = {}
        self._num_correct = 0
        self._num_seen = 0
        self._learned: dict[str, float] = {}
        self._development: list[Scored] = []
        self._learning_rate: float | None = None  # of the last step
        self._plateau: ReduceLROnPlateau | None = None
        self._plateau_before: dict[str, Any] | None = None

    @abstractmethod
    def loss(self, batch: Any, *, tap: Tap | None = None) -> Loss:
        """The training loss of one batch; a tap sees the encoder's states."""

    @abstractmethod
    def score(self, batch: Any) -> Scored:
        """Scores one batch of development or test data.

        Raises:
            ValueError: a row has no frames.
        """

    # --- priors ------------------------------------------------------------------------------------------------------

    def learn_prior(self, prior_L: np.ndarray) -> None:
        """Takes how often training batches hold each language; scores are as if all were equally likely."""
        self.log_prior_L.copy_(torch.from_numpy(prior_L).log())

    def without_prior(self, log_posteriors: Tensor) -> Tensor:
        """Log-posteriors (…, L) as if all languages were equally likely, from those under the training prior."""
        if self.config.training.class_balance != "none":
            return log_posteriors
        return (log_posteriors - self.log_prior_L).log_softmax(dim=-1)

    def of_targets(self, log_likelihoods: Tensor) -> Tensor:
        """Log-likelihoods (…, targets), up to a constant, from those of all languages that train (…, L)."""
        if self.num_targets == self.num_languages:
            return log_likelihoods
        return log_likelihoods[..., : self.num_targets].log_softmax(dim=-1)

    def cross_entropy(self, log_posteriors_NL: Tensor, languages_N: Tensor) -> Tensor:
        """Mean over rows of `cross_entropies`."""
        return self.cross_entropies(log_posteriors_NL, languages_N).mean()

    def cross_entropies(self, log_posteriors_NL: Tensor, languages_N: Tensor) -> Tensor:
        """(N,) smoothed and weighted as configured, in nats."""
        training = self.config.training
        losses_N = nn.functional.cross_entropy(
            log_posteriors_NL, languages_N, label_smoothing=training.label_smoothing, reduction="none"
        )
        if training.class_balance == "weights":
            # Of the row's language: torch's own weights would weigh the smoothed share of every language by its own.
            losses_N = losses_N * (torch.exp(-self.log_prior_L) / self.num_languages)[languages_N]
        return losses_N

    def losses_of_steps(self, log_posteriors_BSL: Tensor, languages_BS: Tensor) -> Tensor:
        """(B, S) `cross_entropies` of each step."""
        return self.cross_entropies(log_posteriors_BSL.flatten(0, 1), languages_BS.flatten()).view_as(languages_BS)

    # --- training ----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Forgets what was measured in the epoch before, and tells the encoder how far training has come."""
        self.encoder.start_epoch(self.current_epoch / max(1, self.config.training.max_epochs - 1))
        self.clipping_steps, self._means, self._num_correct, self._num_seen = [], {}, 0, 0
        self._learned = {}
        self.gradient_flow.start_epoch()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reseeds torch by (seed, epoch, step): dropout is the same after a resume as without one.

        Once an epoch is not enough: starting a data loader draws from the same generator, and after a resume Lightning
        does so before the epoch's start instead of after it. The devices that are in use alone: torch.manual_seed also
        notes the stack for each kind of accelerator that is not, at every call, which took 2 ms.
        """
        self.gradient_flow.see_gates(self.encoder, batch.features, batch.lengths, step=self._step())
        place = (self.config.seed, 1, self.current_epoch, batch_idx)
        entropy = np.random.SeedSequence((*place, self.global_rank) if self.global_rank else place)
        seed = int(entropy.generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Cross-entropy of one batch, or its share of it for a part of one; raises Diverged when it is not finite.

        Lightning averages the gradients of micro-batches, and DDP those of ranks, as if all had the same size.
        """
        loss, num_correct, num_rows = self.loss(batch, tap=self.clipper.tap(loss_scale=self._loss_scale()))
        if not torch.isfinite(loss):
            raise Diverged(f"the training loss became {loss.item()} at step {self.global_step}")
        self.note("loss", loss, num_rows=len(batch.lengths))
        self._num_correct += num_correct
        self._num_seen += num_rows
        if self.num_parts == 1:
            return loss
        return loss * (len(batch.lengths) * self.num_parts / self.config.training.batch_size)

    def note(self, name: str, mean: Tensor, *, num_rows: int) -> None:
        """Keeps a mean over so many rows of a batch, or of a part of one, for the epoch's metric `train/<name>`."""
        self._means.setdefault(name, []).append((mean.detach(), num_rows))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002 - Lightning's signature
        gradient_clip_val: float | None = None,  # noqa: ARG002
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Applies the configured rule and remembers what it did; raises Diverged when a gradient is not finite.

        Lightning calls this once a step: after the last part's backward pass, and once gradients are unscaled.
        """
        self.gradient_flow.before_step(self, step=self._step())
        step = self.clipper.clip(self)
        if not step.is_finite and not self._drops_what_is_not_finite():
            raise Diverged(f"the gradient norm became {step.norm_before} at step {self.global_step}")
        self.clipping_steps.append(step)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Lets the optimiser step, once gradients are there and clipped; then sees what that did."""
        self._learning_rate = float(optimizer.param_groups[0]["lr"])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.gradient_flow.after_step(self)

    def _step(self) -> int:
        """Optimiser steps since the training began, over all its attempts."""
        return self.current_epoch * self.config.training.steps_per_epoch + len(self.clipping_steps)

    def _scaler(self) -> torch.amp.GradScaler | None:
        """What scales the loss, so that gradients in float16 do not vanish."""
        return None if self._trainer is None else getattr(self.trainer.precision_plugin, "scaler", None)

    def _loss_scale(self) -> float:
        """What multiplies the gradients that the backward pass sees: the scaler, and ranks, whose mean is taken."""
        scaler = self._scaler()
        num_ranks = 1 if self._trainer is None else self.trainer.world_size
        return num_ranks * (1.0 if scaler is None else scaler.get_scale())

    def _drops_what_is_not_finite(self) -> bool:
        """Whether such a step is dropped: by `skip`, or by the scaler, which then halves a scale that was too large."""
        scaler = self._scaler()
        return isinstance(self.config.clipping, SkipClippingConfig) or (scaler is not None and scaler.get_scale() > 1.0)

    def training_metrics(self) -> dict[str, float]:
        """Of the epoch's steps: mean loss (nats), accuracy, the last one's learning rate, clipping, gradient flow."""
        rate = {} if self._learning_rate is None else {"train/learning_rate": self._learning_rate}
        return {
            **rate,
            **(self._learned or self._training_scores()),
            **clipping_metrics(self.clipping_steps),
            **self.gradient_flow.metrics(self),
        }

    # --- development -------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Forgets the scores of the epoch before."""
        self._development = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Keeps the scores of one batch; they are judged together at the epoch's end."""
        scored = self.score(batch)
        self._development.append(
            Scored(
                scored.indices.cpu(), scored.log_likelihoods.float().cpu(), scored.languages.cpu(), dict(scored.tallies)
            )
        )

    def _training_scores(self) -> dict[str, float]:
        """The epoch's accuracy, and means of what was noted, over the rows of all parts and ranks."""
        ranks = _gathered((_sums(self._means), self._num_correct, self._num_seen))
        scores = {
            f"train/{name}": sum(sums[name][0] for sums, _, _ in ranks) / sum(sums[name][1] for sums, _, _ in ranks)
            for name in self._means
        }
        seen = sum(count for _, _, count in ranks)
        return scores | {"train/accuracy": sum(right for _, right, _ in ranks) / seen}

    def on_validation_epoch_end(self) -> None:
        """Keeps the `train/` scores and the `val/` metrics, of all ranks.

        And the scores (N, L) in the order of rows: raw, and cross-fitted calibrated.
        """
        if self._num_seen:  # else nothing was trained: a validation by itself
            self._learned = self._training_scores()
        scored = joined([part for rank in _gathered(self._development) for part in rank])
        if not torch.isfinite(scored.log_likelihoods).all():
            raise Diverged(f"development scores are not finite at epoch {self.current_epoch}")
        truth = scored.languages.numpy()
        self.development_scores = scored.log_likelihoods.double().numpy()
        self.development_calibrated = scoring.cross_fitted(
            self.development_scores, truth, groups=self.development_speakers
        )
        self.development_metrics = development_metrics(
            self.development_scores, truth, calibrated=self.development_calibrated
        )
        self.development_metrics |= {
            f"val/{name}": errors / count for name, (errors, count) in scored.tallies.items() if count
        }
        if self._plateau is not None:  # Lightning would step it after the epoch's checkpoint
            self._plateau.step(self.development_metrics["val/loss"])

    # --- optimiser and checkpoint ------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The configured optimiser over all parameters, and its learning rate's schedule."""
        training, schedule = self.config.training, self.config.schedule
        optimizer = build_optimizer(self.config.optimizer, list(self.parameters()))
        if isinstance(schedule, PlateauScheduleConfig):
            self._plateau = ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
        share = rate_at(schedule, num_steps=training.max_epochs * training.steps_per_epoch)
        if share is None:
            return optimizer
        return [optimizer], [{"scheduler": LambdaLR(optimizer, share), "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint carries its configuration, so that it can be rebuilt from the file alone."""
        checkpoint["trial_config"] = self.config.model_dump_json()
        checkpoint["clipping"] = self.clipper.state_dict()
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on as the attempt before would have."""
        self.clipper.load_state_dict(checkpoint["clipping"])
        self._plateau_before = checkpoint.get("plateau")

    def on_fit_start(self) -> None:
        """Optimisers are made by now."""
        if self._plateau is not None and self._plateau_before is not None:
            self._plateau.load_state_dict(self._plateau_before)


def _sums(means: Mapping[str, Sequence[tuple[Tensor, int]]]) -> dict[str, tuple[float, int]]:
    """Name -> the sum over rows, and how many there are."""
    sums = {}
    for name, parts in means.items():
        rows = torch.tensor([count for _, count in parts], dtype=torch.float64)
        values = torch.stack([mean for mean, _ in parts]).double().cpu()
        sums[name] = (float(values @ rows), int(rows.sum()))
    return sums


def refuse_empty(lengths_B: Tensor) -> None:
    """Refuses a batch to be scored of which some row has no frame.

    Raises:
        ValueError: names these rows.
    """
    if empty := (lengths_B < 1).nonzero().ravel().tolist():
        raise ValueError(f"each utterance needs a frame, but those in rows {empty} of the batch have none.")


def joined(parts: Sequence[Scored]) -> Scored:
    """All rows in the order of the data set, each once, and all tallies added up."""
    indices = torch.cat([part.indices for part in parts])
    order = torch.from_numpy(np.unique(indices.numpy(), return_index=True)[1])
    tallies: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (errors, count) in part.tallies.items():
            before = tallies.get(name, (0.0, 0.0))
            tallies[name] = (before[0] + errors, before[1] + count)
    return Scored(
        indices[order],
        torch.cat([part.log_likelihoods for part in parts])[order],
        torch.cat([part.languages for part in parts])[order],
        tallies,
    )


def development_metrics(
    log_likelihoods: np.ndarray, truth: np.ndarray, *, calibrated: np.ndarray | None = None
) -> dict[str, float]:
    """All `val/` metrics of (N, L) log-likelihoods: costs as in the LRE plans, Cllr in bits, the loss in nats."""
    scores = scoring.score(scoring.llr_from_log_likelihoods(log_likelihoods), truth, calibrated=calibrated)
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


def _gathered(mine: T) -> list[T]:
    """What every rank has of something, this one's first of all where there is one rank."""
    if not torch.distributed.is_initialized():
        return [mine]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    return found
