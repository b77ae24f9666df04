"""From states to one embedding an utterance, and from embeddings to scores."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_modules.config._base import Frozen, PositiveFloat, Probability

AttentionScore = Literal["additive", "dot", "general"]


class _Pooling(Frozen):
    """What all have.

    Attributes:
        dropout: of the embedding.
    """

    dropout: Probability = 0.0


class LastPoolingConfig(_Pooling):
    """What each direction knew when it had read the whole utterance."""

    kind: Literal["last"] = "last"


class MeanPoolingConfig(_Pooling):
    """Mean over steps."""

    kind: Literal["mean"] = "mean"


class MaxPoolingConfig(_Pooling):
    """Largest value of each state element over steps."""

    kind: Literal["max"] = "max"


class StatisticsPoolingConfig(_Pooling):
    """Mean and standard deviation over steps (Snyder et al., 2018)."""

    kind: Literal["statistics"] = "statistics"


class AttentionPoolingConfig(_Pooling):
    """A weighted mean over steps.

    Attributes:
        score: what a step's weight is made of: additive asks a learned vector (Padi et al., 2019), dot and general the
            last state (Luong et al., 2015).
    """

    kind: Literal["attention"] = "attention"
    score: AttentionScore = "additive"


class MultiHeadPoolingConfig(_Pooling):
    """Self multi-head attention: each head weighs its own slice of the states (India et al., 2019).

    Attributes:
        num_heads: slices, at most as many as a state has values; the last ones are one value shorter where it does not
            divide these.
    """

    kind: Literal["multi_head"] = "multi_head"
    num_heads: Annotated[int, Field(ge=1, le=64)] = 4


class AttentiveStatisticsPoolingConfig(_Pooling):
    """Weighted mean and deviation, with weights of each channel's own (Desplanques et al., 2020).

    Attributes:
        attention_size: hidden units of the attention.
    """

    kind: Literal["attentive_statistics"] = "attentive_statistics"
    attention_size: Annotated[int, Field(ge=1, le=1024)] = 128


PoolingConfig = Annotated[
    LastPoolingConfig
    | MeanPoolingConfig
    | MaxPoolingConfig
    | StatisticsPoolingConfig
    | AttentionPoolingConfig
    | MultiHeadPoolingConfig
    | AttentiveStatisticsPoolingConfig,
    Field(discriminator="kind"),
]


class SingleHeadConfig(Frozen):
    """One output layer for all utterances."""

    kind: Literal["single"] = "single"


class DurationHeadsConfig(Frozen):
    """One output layer for short utterances and one for long ones (Padi et al., 2019).

    Attributes:
        border_s: shorter utterances, in seconds, are the short head's; training segments have to lie on both sides of
            it (data.segment_s and data.long_segment_s).
    """

    kind: Literal["by_duration"] = "by_duration"
    border_s: PositiveFloat = 5.0


HeadConfig = Annotated[SingleHeadConfig | DurationHeadsConfig, Field(discriminator="kind")]
