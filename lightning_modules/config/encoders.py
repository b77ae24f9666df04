"""Encoders: from frames to a sequence of states. Sizes that stand here are those of the papers."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from lightning_modules.config._base import Frozen, PositiveInt, Probability, Share

BATCH_NORMALISING: Final = ("tdnn", "ecapa_tdnn")
"""Kinds whose batch normalisation sees a batch as a whole, so that its parts do not add up to it."""
Cell = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]
HiddenSize = Annotated[int, Field(ge=1, le=2048)]
FramesPerStep = Annotated[int, Field(ge=1, le=20)]


class _Recurrence(Frozen):
    """How recurrent weights begin.

    Attributes:
        initialisation: orthogonal (the identity for rnn_relu) or uniform, as torch does by default.
        forget_bias: of the LSTM's forget gate, under orthogonal initialisation.
    """

    initialisation: Literal["orthogonal", "uniform"] = "orthogonal"
    forget_bias: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0


class RecurrentEncoderConfig(_Recurrence):
    """A stacked recurrent network: (B, T, features) -> (B, S, hidden_size x directions).

    Attributes:
        cell: standard with tanh or relu, or with gates.
        num_layers: each reads the states of the one below.
        hidden_size: units a layer and direction.
        dropout: between layers, and of the states that pooling reads.
        bidirectional: whether each layer reads backwards too.
        frames_per_step: neighbours that are read at once.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Cell = "gru"
    num_layers: Annotated[int, Field(ge=1, le=8)] = 1
    hidden_size: HiddenSize = 64
    dropout: Probability = 0.0
    bidirectional: bool = True
    frames_per_step: FramesPerStep = 3

    @property
    def output_size(self) -> int:
        """Values a state."""
        return self.hidden_size * (2 if self.bidirectional else 1)


class TeacherForcingConfig(Frozen):
    """In training the true output of the step before is fed back; elsewhere the network's own."""

    kind: Literal["teacher_forcing"] = "teacher_forcing"


class FreeRunningConfig(Frozen):
    """The network's own output is fed back, in training too."""

    kind: Literal["free_running"] = "free_running"


class ScheduledSamplingConfig(Frozen):
    """The truth is fed back with a probability that falls linearly over the epochs (Bengio et al., 2015).

    Attributes:
        final_share: of steps that are told the truth in the last epoch; in the first all are.
    """

    kind: Literal["scheduled_sampling"] = "scheduled_sampling"
    final_share: Share = 0.0


FeedbackConfig = Annotated[
    TeacherForcingConfig | FreeRunningConfig | ScheduledSamplingConfig, Field(discriminator="kind")
]


class OutputRecurrentEncoderConfig(Frozen):
    """A network that recurs through its output alone: h_t = tanh(W x_t + V y_(t-1) + b), y_t = softmax(U h_t + c).

    Attributes:
        hidden_size: units of h.
        dropout: of the states that pooling reads.
        frames_per_step: neighbours that are read at once.
        feedback: which y_(t-1) training feeds back.
    """

    kind: Literal["output_recurrent"] = "output_recurrent"
    hidden_size: HiddenSize = 64
    dropout: Probability = 0.0
    frames_per_step: FramesPerStep = 3
    feedback: FeedbackConfig = FreeRunningConfig()

    @property
    def output_size(self) -> int:
        """Values a state."""
        return self.hidden_size


class LevelConfig(Frozen):
    """One level that reads windows of the level below and keeps each window's last state.

    Attributes:
        cell: standard with tanh or relu, or with gates.
        hidden_size: units.
        window: inputs that one state has read.
        hop: inputs from one window's start to the next one's.
    """

    cell: Cell = "gru"
    hidden_size: HiddenSize = 256
    window: Annotated[int, Field(ge=1, le=1000)] = 20
    hop: Annotated[int, Field(ge=1, le=1000)] = 10

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.hop > self.window:
            raise ValueError(f"hop must not exceed window, or inputs are lost, but got {self.hop} and {self.window}.")
        return self

    def num_outputs(self, num_inputs: int) -> int:
        """Windows of so many inputs: as many as it takes to reach the last one."""
        return 1 + -(-max(0, num_inputs - self.window) // self.hop)


class MiddleLevelConfig(LevelConfig):
    """The same with the paper's sizes of the middle level, also where only some of its keys are given."""

    hidden_size: HiddenSize = 512
    window: Annotated[int, Field(ge=1, le=1000)] = 10
    hop: Annotated[int, Field(ge=1, le=1000)] = 10


class TopLevelConfig(Frozen):
    """The level that reads all that the one below has kept.

    Attributes:
        cell: standard with tanh or relu, or with gates.
        hidden_size: units a layer and direction.
        num_layers: each reads the states of the one below.
        bidirectional: whether each layer reads backwards too.
    """

    cell: Cell = "gru"
    hidden_size: HiddenSize = 512
    num_layers: Annotated[int, Field(ge=1, le=8)] = 1
    bidirectional: bool = True


class HierarchicalEncoderConfig(_Recurrence):
    """The hierarchical GRU (Padi et al., 2019): 200 ms every 100 ms, a second of those, then all seconds.

    Attributes:
        low: reads frames.
        middle: reads what the low level keeps.
        top: reads what the middle level keeps.
        dropout: of the states of every level.
    """

    kind: Literal["hierarchical"] = "hierarchical"
    low: LevelConfig = LevelConfig()
    middle: MiddleLevelConfig = MiddleLevelConfig()
    top: TopLevelConfig = TopLevelConfig()
    dropout: Probability = 0.0

    @property
    def output_size(self) -> int:
        """Values a state."""
        return self.top.hidden_size * (2 if self.top.bidirectional else 1)


class TDNNEncoderConfig(Frozen):
    """The time-delay network of x-vectors (Snyder et al., 2018), up to its statistics.

    Attributes:
        channels: of the first four layers.
        output_channels: of the fifth.
        dropout: of the states that pooling reads.
    """

    kind: Literal["tdnn"] = "tdnn"
    channels: HiddenSize = 512
    output_channels: Annotated[int, Field(ge=1, le=4096)] = 1500
    dropout: Probability = 0.0

    @property
    def output_size(self) -> int:
        """Values a state."""
        return self.output_channels


class ECAPAEncoderConfig(Frozen):
    """ECAPA-TDNN (Desplanques et al., 2020), up to its pooling.

    Attributes:
        channels: of the convolutions; 8 (Res2Net's scale) divides it.
        output_channels: after the three blocks are joined.
        bottleneck: of squeeze and excitation.
        dropout: of the states that pooling reads.
    """

    kind: Literal["ecapa_tdnn"] = "ecapa_tdnn"
    channels: Annotated[int, Field(ge=8, le=2048, multiple_of=8)] = 512
    output_channels: Annotated[int, Field(ge=1, le=4096)] = 1536
    bottleneck: PositiveInt = 128
    dropout: Probability = 0.0

    @property
    def output_size(self) -> int:
        """Values a state."""
        return self.output_channels


EncoderConfig = Annotated[
    RecurrentEncoderConfig
    | OutputRecurrentEncoderConfig
    | HierarchicalEncoderConfig
    | TDNNEncoderConfig
    | ECAPAEncoderConfig,
    Field(discriminator="kind"),
]
