"""TrialConfig: everything that one training depends on, frozen and validated, without importing torch.

A search space names its parameters by paths in this model (`encoder.hidden_size`), an attempt reads it from a JSON
file, and its hash tells replicates from new configurations. Closed choices are discriminated unions on `kind`.
"""

import hashlib
import json
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

SEARCHABLE_DATA: Final = ("segment_s",)
"""Keys of DataConfig that leave development and test data as they are: they say how training segments are cut."""


class Frozen(BaseModel):
    """A record that rejects unknown fields and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeaturesConfig(Frozen):
    """Log-mel filterbank energies: (T frames, num_bands), in nepers."""

    kind: Literal["log_mel"] = "log_mel"
    sample_rate_hz: Literal[8000] = 8000
    num_bands: Annotated[int, Field(ge=8, le=128)] = 40
    window_ms: Annotated[float, Field(ge=5.0, le=500.0)] = 25.0
    hop_ms: Annotated[float, Field(ge=1.0, le=500.0)] = 10.0
    low_hz: Annotated[float, Field(ge=0.0)] = 100.0
    high_hz: Annotated[float, Field(le=4000.0)] = 3400.0

    @model_validator(mode="after")
    def _bands_in_order(self) -> Self:
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz must be below high_hz but got {self.low_hz} and {self.high_hz}.")
        if self.hop_ms > self.window_ms:
            raise ValueError(f"hop_ms must not exceed window_ms but got {self.hop_ms} and {self.window_ms}.")
        return self

    @property
    def frames_per_s(self) -> float:
        """Frames a second."""
        return 1000.0 / self.hop_ms


class DataConfig(Frozen):
    """Which speech a trial sees.

    Attributes:
        corpus: name of a prepared corpus.
        languages: the target languages; the order is the order of the scores.
        segment_s: length of a training segment, in seconds; one speaker's recordings are joined to reach it.
        utterance_s: length that development and test utterances are joined to, in seconds.
        minimum_s: shorter development and test utterances are left out.
        max_utterances: at most this many development (and test) utterances a language, spread evenly over its speakers.
    """

    corpus: str = "prompts"
    languages: tuple[str, ...] = ("en", "es", "fr", "it", "ru")
    features: FeaturesConfig = FeaturesConfig()
    segment_s: Annotated[float, Field(gt=0.1, le=60.0)] = 2.0
    utterance_s: Annotated[float, Field(gt=0.1, le=3600.0)] = 8.0
    minimum_s: Annotated[float, Field(ge=0.0)] = 4.0
    max_utterances: PositiveInt = 40

    @model_validator(mode="after")
    def _languages_and_lengths(self) -> Self:
        if len(set(self.languages)) != len(self.languages):
            raise ValueError(f"languages must be named once each but got {', '.join(self.languages)}.")
        if len(self.languages) < 2:  # noqa: PLR2004
            raise ValueError("at least two languages are needed: with one there is nothing to tell apart.")
        if self.minimum_s > self.utterance_s:
            raise ValueError(f"minimum_s must not exceed utterance_s but got {self.minimum_s} and {self.utterance_s}.")
        if self.segment_s * self.features.frames_per_s < 1:
            raise ValueError(f"segment_s must hold a frame of {self.features.hop_ms} ms but got {self.segment_s}.")
        return self

    def names_same_speech(self, other: Self) -> bool:
        """Whether both stand for the same recordings, features and utterances."""
        left_out = set(SEARCHABLE_DATA)
        return self.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)


class AugmentationConfig(Frozen):
    """Feature-domain augmentation of training segments; strengths, not switches, 0 turns one off.

    Attributes:
        band_offset: sd of a smooth random offset a band, in nepers (channel).
        gain: sd of a random gain over the whole segment, in nepers (level before the noise floor).
        warp: largest relative stretch of the frequency axis (vocal tract length).
        speed: largest relative change of speed.
        noise: largest level of additive noise relative to the segment's mean energy, in nepers above a -4 neper floor.
        time_masks: number of masks over time, each up to a tenth of the segment.
        band_masks: number of masks over bands, each up to a sixth of the bands.
    """

    band_offset: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    gain: Annotated[float, Field(ge=0.0, le=5.0)] = 0.5
    warp: Annotated[float, Field(ge=0.0, le=0.5)] = 0.15
    speed: Annotated[float, Field(ge=0.0, le=0.5)] = 0.15
    noise: Annotated[float, Field(ge=0.0, le=6.0)] = 3.0
    time_masks: Annotated[int, Field(ge=0, le=10)] = 2
    band_masks: Annotated[int, Field(ge=0, le=10)] = 2


class RecurrentEncoderConfig(Frozen):
    """A stacked recurrent network: (B, T, features) -> (B, T, hidden_size x directions)."""

    kind: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn_tanh", "rnn_relu", "gru", "lstm"] = "gru"
    num_layers: Annotated[int, Field(ge=1, le=8)] = 1
    hidden_size: Annotated[int, Field(ge=1, le=2048)] = 64
    dropout: Probability = 0.0
    bidirectional: bool = True
    frames_per_step: Annotated[int, Field(ge=1, le=20)] = 3


class PoolingConfig(Frozen):
    """From frames to one embedding an utterance."""

    kind: Literal["last", "mean", "max", "statistics", "attention"] = "statistics"
    dropout: Probability = 0.0


class _Optimizer(Frozen):
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 1e-3


class AdamConfig(_Optimizer):
    """Adam (Kingma & Ba, 2015)."""

    kind: Literal["adam"] = "adam"


class AdamWConfig(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2


class SGDConfig(_Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Probability = 0.9


OptimizerConfig = Annotated[AdamConfig | AdamWConfig | SGDConfig, Field(discriminator="kind")]


class NoClippingConfig(Frozen):
    """Gradients are left as they are."""

    kind: Literal["none"] = "none"


class NormClippingConfig(Frozen):
    """The global L2 norm is scaled down to max_norm (Pascanu et al., 2013)."""

    kind: Literal["norm"] = "norm"
    max_norm: PositiveFloat = 1.0


class ValueClippingConfig(Frozen):
    """Each gradient element is cut to [-max_value, max_value]."""

    kind: Literal["value"] = "value"
    max_value: PositiveFloat = 0.1


ClippingConfig = Annotated[NoClippingConfig | NormClippingConfig | ValueClippingConfig, Field(discriminator="kind")]


class TrainingConfig(Frozen):
    """How long and in what portions a trial trains.

    Attributes:
        max_epochs: epochs at most; an epoch is `steps_per_epoch` optimiser steps and a pass over development data.
        steps_per_epoch: optimiser steps an epoch.
        batch_size: training segments a step, balanced over languages and, within a language, over sources.
        patience: epochs without a better objective before the trial stops early; None never stops early.
    """

    max_epochs: PositiveInt = 10
    steps_per_epoch: PositiveInt = 40
    batch_size: PositiveInt = 32
    patience: PositiveInt | None = None


class TrialConfig(Frozen):
    """One configuration under one seed: all that a training depends on."""

    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    encoder: RecurrentEncoderConfig = RecurrentEncoderConfig()
    pooling: PoolingConfig = PoolingConfig()
    optimizer: OptimizerConfig = AdamConfig()
    clipping: ClippingConfig = NormClippingConfig()
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def configuration_hash(self) -> str:
        """Hash of everything but the seed: equal for replicates; 12 hexadecimal digits."""
        return content_hash(self.model_dump(mode="json", exclude={"seed"}))


def content_hash(content: object) -> str:
    """First 12 hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
