"""How a network is trained: optimiser, learning rate, gradient clipping, and what is measured of gradients."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from lightning_modules.config._base import Frozen, PositiveFloat, PositiveInt, Probability

FRESH: Final = "none"
"""No trial that a training begins with: its weights are drawn."""
TRIAL_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[0-9]{1,9}"

LearningRate = Annotated[float, Field(gt=0.0, le=10.0)]


class _Optimizer(Frozen):
    """What all have.

    Attributes:
        learning_rate: at its highest; the schedule says when that is.
    """

    learning_rate: LearningRate = 1e-3


class AdamConfig(_Optimizer):
    """Adam (Kingma & Ba, 2015)."""

    kind: Literal["adam"] = "adam"


class AdamWConfig(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    Attributes:
        weight_decay: share of the weights that a step takes away, times the learning rate.
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2


class SGDConfig(_Optimizer):
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: share of the step before that each step repeats.
    """

    kind: Literal["sgd"] = "sgd"
    momentum: Probability = 0.9


OptimizerConfig = Annotated[AdamConfig | AdamWConfig | SGDConfig, Field(discriminator="kind")]


class ConstantScheduleConfig(Frozen):
    """The learning rate stays.

    Attributes:
        warmup_steps: steps over which it rises linearly to its full value.
    """

    kind: Literal["constant"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class CosineScheduleConfig(Frozen):
    """Warm-up, then half a cosine down towards zero at the end of `max_epochs` (Loshchilov & Hutter, 2017).

    Attributes:
        warmup_steps: steps over which it rises linearly to its full value.
    """

    kind: Literal["cosine"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class PlateauScheduleConfig(Frozen):
    """The learning rate falls whenever the development loss has not.

    Attributes:
        factor: that it is multiplied by.
        patience: epochs without a better loss before it is.
    """

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    patience: Annotated[int, Field(ge=0)] = 2


ScheduleConfig = Annotated[
    ConstantScheduleConfig | CosineScheduleConfig | PlateauScheduleConfig, Field(discriminator="kind")
]


class NoClippingConfig(Frozen):
    """Gradients are left as they are."""

    kind: Literal["none"] = "none"


class NormClippingConfig(Frozen):
    """The global L2 norm is scaled down to max_norm (Pascanu et al., 2013).

    Attributes:
        max_norm: in use elsewhere: 0.5, 1, 5.
    """

    kind: Literal["norm"] = "norm"
    max_norm: PositiveFloat = 1.0


class LayerNormClippingConfig(Frozen):
    """The L2 norm of each layer, of a recurrent stack each one and direction, is scaled down to max_norm.

    Attributes:
        max_norm: of a layer.
    """

    kind: Literal["layer_norm"] = "layer_norm"
    max_norm: PositiveFloat = 1.0


class ValueClippingConfig(Frozen):
    """Each gradient element is cut to [-max_value, max_value].

    Attributes:
        max_value: of an element.
    """

    kind: Literal["value"] = "value"
    max_value: PositiveFloat = 0.1


class AutoClipConfig(Frozen):
    """The global norm is scaled down to a percentile of all norms so far (Seetharaman et al., 2020).

    Attributes:
        percentile: of the norms of this training, the present step's included.
    """

    kind: Literal["autoclip"] = "autoclip"
    percentile: Annotated[float, Field(gt=0.0, le=100.0)] = 10.0


class AGCConfig(Frozen):
    """Adaptive gradient clipping: a unit's gradient norm is at most a share of its weight norm (Brock et al., 2021).

    The output layer and biases are left out.

    Attributes:
        max_ratio: gradient norm to weight norm, a unit (row); the paper's lambda.
        epsilon: weight norms count as at least this.
    """

    kind: Literal["agc"] = "agc"
    max_ratio: PositiveFloat = 0.02
    epsilon: PositiveFloat = 1e-3


class SkipClippingConfig(Frozen):
    """The step is dropped where the global norm exceeds a limit, or is no number.

    Attributes:
        skip_above: the limit; named apart from max_norm, which a study of several rules would hand on: a norm to scale
            every gradient down to is one at which every step is dropped.
    """

    kind: Literal["skip"] = "skip"
    skip_above: PositiveFloat = 20.0


class RecurrentClippingConfig(Frozen):
    """The gradient that flows from step to step is cut: each utterance's dL/dh_t is scaled down to max_state_norm.

    Attributes:
        max_state_norm: of one utterance's gradient at one step, for a loss that is a mean over the batch; so of its own
            loss's gradient it is max_state_norm times the batch's size.
    """

    kind: Literal["recurrent"] = "recurrent"
    max_state_norm: PositiveFloat = 1e-2


ClippingConfig = Annotated[
    NoClippingConfig
    | NormClippingConfig
    | LayerNormClippingConfig
    | ValueClippingConfig
    | AutoClipConfig
    | AGCConfig
    | SkipClippingConfig
    | RecurrentClippingConfig,
    Field(discriminator="kind"),
]


class FullBPTTConfig(Frozen):
    """Gradients flow back to the first step."""

    kind: Literal["full"] = "full"


class TruncatedBPTTConfig(Frozen):
    """The state is carried over from window to window, its gradient is not.

    Attributes:
        frames: of a window, rounded up to whole steps of the encoder.
    """

    kind: Literal["truncated"] = "truncated"
    frames: PositiveInt = 100


BPTTConfig = Annotated[FullBPTTConfig | TruncatedBPTTConfig, Field(discriminator="kind")]


class GradientFlowConfig(Frozen):
    """What is measured of gradients, beside their norm and clipping at every step.

    Attributes:
        every: steps from one that is measured to the next; 0 measures none.
        over_time: whether |dL/dh_t| against t is measured too, before the first step and at the end of each epoch.
    """

    every: Annotated[int, Field(ge=0)] = 40
    over_time: bool = False


class TrainingConfig(Frozen):
    """How long and in what portions a trial trains.

    Attributes:
        max_epochs: epochs at most; an epoch is `steps_per_epoch` optimiser steps and a pass over development data.
        steps_per_epoch: optimiser steps an epoch.
        batch_size: training segments a step, balanced over languages.
        patience: epochs without a better objective before the trial stops early; None never stops early.
        accumulation: parts that a batch is trained in, one after the other, before its step; memory, not results,
            depends on it. Refused where an encoder normalises over the batch.
        label_smoothing: share of the target's probability that is spread over all languages.
        class_balance: whether batches hold each language equally often (sampler), or as often as the corpus has it,
            with the loss weighted (weights) or without (none); then the prior is taken off the scores.
        source_exponent: a language's segments come from each of its sources in proportion to the source's speech to
            this power: from all equally often (0), or as often as the corpus has it (1).
        precision: of the forward pass, under automatic mixed precision; float16 needs a GPU.
        bptt: how far gradients flow back.
        gradient_flow: what is measured of gradients.
        pretrained: a trial of the workspace, as `STUDY/NUMBER`, with whose encoder training begins, and with its
            pooling where that is the same; `none`: all weights are drawn.
    """

    max_epochs: PositiveInt = 10
    steps_per_epoch: PositiveInt = 40
    batch_size: PositiveInt = 32
    patience: PositiveInt | None = None
    accumulation: PositiveInt = 1
    label_smoothing: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    class_balance: Literal["sampler", "weights", "none"] = "sampler"
    source_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    bptt: BPTTConfig = FullBPTTConfig()
    gradient_flow: GradientFlowConfig = GradientFlowConfig()
    pretrained: str = FRESH

    @field_validator("pretrained")
    @classmethod
    def _names_a_trial(cls, given: str) -> str:
        if given != FRESH and not re.fullmatch(TRIAL_PATTERN, given):
            raise ValueError(f"must be {FRESH}, or a trial of the workspace as STUDY/NUMBER.")
        return given
