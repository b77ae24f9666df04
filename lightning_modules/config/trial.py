"""TrialConfig: everything that one training depends on, and what its parts must agree on."""

import hashlib
import json
from typing import Annotated, Self

from pydantic import Field, model_validator

from lightning_modules.config._base import Frozen
from lightning_modules.config.data import AugmentationConfig, DataConfig
from lightning_modules.config.encoders import (
    BATCH_NORMALISING,
    ECAPAEncoderConfig,
    EncoderConfig,
    HierarchicalEncoderConfig,
    OutputRecurrentEncoderConfig,
    RecurrentEncoderConfig,
    ScheduledSamplingConfig,
    TDNNEncoderConfig,
)
from lightning_modules.config.pooling import (
    DurationHeadsConfig,
    HeadConfig,
    MultiHeadPoolingConfig,
    PoolingConfig,
    SingleHeadConfig,
    StatisticsPoolingConfig,
)
from lightning_modules.config.tasks import (
    ClassificationConfig,
    NoReconstructionConfig,
    ReconstructionConfig,
    SwitchingConfig,
    TaskConfig,
)
from lightning_modules.config.training import (
    AdamConfig,
    ClippingConfig,
    ConstantScheduleConfig,
    NormClippingConfig,
    OptimizerConfig,
    PlateauScheduleConfig,
    RecurrentClippingConfig,
    ScheduleConfig,
    TrainingConfig,
    TruncatedBPTTConfig,
)


class TrialConfig(Frozen):
    """One configuration under one seed: all that a training depends on."""

    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    task: TaskConfig = ClassificationConfig()
    encoder: EncoderConfig = RecurrentEncoderConfig()
    pooling: PoolingConfig = StatisticsPoolingConfig()
    head: HeadConfig = SingleHeadConfig()
    reconstruction: ReconstructionConfig = NoReconstructionConfig()
    optimizer: OptimizerConfig = AdamConfig()
    schedule: ScheduleConfig = ConstantScheduleConfig()
    clipping: ClippingConfig = NormClippingConfig()
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        for complaint in (
            self._heads,
            self._truncation,
            self._recurrence,
            self._task,
            self._bands,
            self._parts,
            self._warmup,
            self._never,
            self._slices,
            self._levels,
        ):
            if said := complaint():
                raise ValueError(said)
        return self

    def _heads(self) -> str | None:
        if not isinstance(self.head, DurationHeadsConfig):
            return None
        short_s, long_s = self.data.segment_s, self.data.long_segment_s
        if long_s is not None and short_s < self.head.border_s <= long_s:
            return None
        return (
            f"head.kind by_duration trains a head on either side of head.border_s ({self.head.border_s:g} s), so "
            "data.segment_s must lie below it and data.long_segment_s not; "
            f"they are {short_s:g} and {'not set' if long_s is None else f'{long_s:g}'}."
        )

    def _truncation(self) -> str | None:
        if not isinstance(self.training.bptt, TruncatedBPTTConfig):
            return None
        if not isinstance(self.encoder, RecurrentEncoderConfig) or self.encoder.bidirectional:
            return (
                "training.bptt.kind truncated carries a state forward from window to window: it needs "
                "encoder.kind recurrent with encoder.bidirectional false."
            )
        longest_s = self._longest_s
        if self.training.bptt.frames < longest_s * self.data.features.frames_per_s:
            return None
        return (
            f"training.bptt.frames ({self.training.bptt.frames}) truncates nothing: the longest that is trained on "
            f"has {longest_s:g} s; make it smaller, or training.bptt.kind full."
        )

    @property
    def _longest_s(self) -> float:
        """Seconds of the longest segment or recording that is trained on."""
        if isinstance(self.task, ClassificationConfig):
            return max(self.data.segment_s, self.data.long_segment_s or 0.0)
        return self.task.switching.max_parts * self.task.switching.max_part_s

    def _recurrence(self) -> str | None:
        if isinstance(self.clipping, RecurrentClippingConfig) and isinstance(
            self.encoder, (TDNNEncoderConfig, ECAPAEncoderConfig)
        ):
            return f"clipping.kind recurrent needs a recurrence, which encoder.kind {self.encoder.kind} does not have."
        return None

    def _task(self) -> str | None:
        if isinstance(self.task, ClassificationConfig):
            return None
        if not isinstance(self.head, SingleHeadConfig):
            return f"head.kind {self.head.kind} is for task.kind classification; got {self.task.kind}."
        if not isinstance(self.reconstruction, NoReconstructionConfig):
            return f"reconstruction is an auxiliary loss of task.kind classification; got {self.task.kind}."
        if self.data.further_languages:
            return f"data.further_languages are for task.kind classification; got {self.task.kind}."
        if self.training.class_balance != "sampler":
            return f"task.kind {self.task.kind} needs training.class_balance sampler."
        return None

    @property
    def has_batch_norm(self) -> bool:
        """Whether statistics are taken over a batch, so that its parts do not add up to the whole."""
        return self.encoder.kind in BATCH_NORMALISING

    def _warmup(self) -> str | None:
        if isinstance(self.schedule, PlateauScheduleConfig):
            return None
        num_steps = self.training.max_epochs * self.training.steps_per_epoch
        if self.schedule.warmup_steps < num_steps:
            return None
        return (
            f"schedule.warmup_steps ({self.schedule.warmup_steps}) would last as long as training or longer, which has "
            f"{num_steps} steps; make it smaller."
        )

    def _never(self) -> str | None:
        """What takes several epochs to do anything."""
        epochs = self.training.max_epochs
        if isinstance(self.schedule, PlateauScheduleConfig) and self.schedule.patience + 2 >= epochs:
            return (
                f"schedule.patience ({self.schedule.patience}) leaves the learning rate as it is for "
                f"{self.schedule.patience + 2} epochs at least, and training has {epochs}; make it smaller."
            )
        patience = self.training.patience
        if patience is not None and patience + 1 >= epochs:
            return (
                f"training.patience ({patience}) stops a trial after {patience + 1} epochs at the earliest, but "
                f"training has {epochs}; make it smaller, or leave it out."
            )
        encoder = self.encoder
        is_scheduled = isinstance(encoder, OutputRecurrentEncoderConfig) and isinstance(
            encoder.feedback, ScheduledSamplingConfig
        )
        if is_scheduled and epochs == 1:
            return "encoder.feedback.kind scheduled_sampling tells the truth throughout the first epoch; train several."
        return None

    def _slices(self) -> str | None:
        """An attention head needs a slice of the states."""
        if not isinstance(self.pooling, MultiHeadPoolingConfig):
            return None
        size = self.encoder.output_size
        if self.pooling.num_heads <= size:
            return None
        return f"pooling.num_heads ({self.pooling.num_heads}) must not exceed the encoder's values a state ({size})."

    def _parts(self) -> str | None:
        if self.training.accumulation > self.training.batch_size:
            return (
                f"training.accumulation ({self.training.accumulation}) must not exceed training.batch_size "
                f"({self.training.batch_size})."
            )
        if self.has_batch_norm and self.training.accumulation > 1:
            return (
                f"training.accumulation changes what encoder.kind {self.encoder.kind} learns, since its batch "
                "normalisation sees each part by itself; set it to 1."
            )
        return None

    def _levels(self) -> str | None:
        """With one step at the top, nothing of its recurrence or of an attention over it is trained."""
        if not isinstance(self.encoder, HierarchicalEncoderConfig):
            return None
        length_s = self.data.segment_s if isinstance(self.task, ClassificationConfig) else self._longest_s
        frames = round(length_s * self.data.features.frames_per_s)
        steps = self.encoder.middle.num_outputs(self.encoder.low.num_outputs(frames))
        if steps > 1:
            return None
        key = "data.segment_s" if isinstance(self.task, ClassificationConfig) else "task.switching's longest recording"
        return (
            f"{key} ({length_s:g} s) gives the top level of encoder.kind hierarchical one step, so that neither its "
            "recurrence nor attention over it would be trained; make it longer, or windows and hops of the lower "
            "levels shorter."
        )

    def _bands(self) -> str | None:
        """What stretches or colours frequencies needs frequencies."""
        if self.data.features.kind != "self_supervised":
            return None
        of_bands = ("band_offset", "gain", "warp", "noise", "band_masks")
        given = [name for name in of_bands if getattr(self.augmentation, name) != 0]
        if not given:
            return None
        return (
            f"augmentation.{given[0]} acts on frequency bands, which data.features.kind self_supervised does not have: "
            f"set {', '.join(given)} to 0."
        )

    def names_same_speech(self, other: Self) -> bool:
        """Whether both are scored on the same rows of the same recordings, and train on the same speech."""
        return self.data.names_same_speech(other.data) and self._switching == other._switching

    @property
    def _switching(self) -> SwitchingConfig | None:
        """How what is scored is joined, where it is."""
        return None if isinstance(self.task, ClassificationConfig) else self.task.switching

    def configuration_hash(self) -> str:
        """Hash of everything but the seed: equal for replicates; 12 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json", exclude={"seed"}))


def content_hash(content: object) -> str:
    """First 12 hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
