"""What a network is asked: one language an utterance, one a segment, or a recording's languages in order."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from lightning_modules.config._base import Frozen, PositiveFloat, Share
from lightning_modules.config.encoders import HiddenSize
from lightning_modules.config.pooling import AttentionScore


class ClassificationConfig(Frozen):
    """One language an utterance."""

    kind: Literal["classification"] = "classification"


class SwitchingConfig(Frozen):
    """Code-switched recordings, joined from monolingual speech; neighbours differ in language.

    Attributes:
        min_parts: languages in a row, at least.
        max_parts: at most.
        min_part_s: seconds of each, at least.
        max_part_s: at most.
    """

    min_parts: Annotated[int, Field(ge=1, le=20)] = 2
    max_parts: Annotated[int, Field(ge=1, le=20)] = 4
    min_part_s: Annotated[float, Field(gt=0.1, le=600.0)] = 1.5
    max_part_s: Annotated[float, Field(gt=0.1, le=600.0)] = 4.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_parts > self.max_parts:
            raise ValueError(f"min_parts must not exceed max_parts but got {self.min_parts} and {self.max_parts}.")
        if self.min_part_s > self.max_part_s:
            raise ValueError(f"min_part_s must not exceed max_part_s but got {self.min_part_s} and {self.max_part_s}.")
        return self


class LabellingConfig(Frozen):
    """Language diarization: one language a step of a code-switched recording, scored a segment."""

    kind: Literal["labelling"] = "labelling"
    switching: SwitchingConfig = SwitchingConfig()


class SequenceConfig(Frozen):
    """An encoder and a decoder that emits a code-switched recording's languages in order, then an end.

    Attributes:
        switching: what recordings are made of.
        decoder_size: hidden units of the decoder's GRU.
        attention: over the encoder's states (Bahdanau et al., 2015; Luong et al., 2015), or none: then the embedding
            that pooling makes is all that the decoder hears (Sutskever et al., 2014).
        teacher_share: of the decoder's steps that training tells the true language before; others are told its own.
    """

    kind: Literal["sequence"] = "sequence"
    switching: SwitchingConfig = SwitchingConfig()
    decoder_size: HiddenSize = 64
    attention: Literal[AttentionScore, "none"] = "additive"
    teacher_share: Share = 1.0


TaskConfig = Annotated[ClassificationConfig | LabellingConfig | SequenceConfig, Field(discriminator="kind")]

TASK_SCORES: Final = {"frame_error_rate": "labelling", "sequence_error_rate": "sequence"}
"""Scores of one task alone -> its kind; all others are taken of rows in one language each, which every task has."""
SCORED_DATA: Final = ("task.kind", "task.switching")
"""What of a task says which development and test data it is scored on: these keys, and all below them."""


class NoReconstructionConfig(Frozen):
    """No auxiliary loss."""

    kind: Literal["none"] = "none"


class GRUReconstructionConfig(Frozen):
    """A GRU unrolls the embedding into features again, which adds their mean squared error to the loss.

    Attributes:
        weight: of that error in the loss.
        hidden_size: hidden units.
        stride: frames from one that is reconstructed to the next.
    """

    kind: Literal["gru"] = "gru"
    weight: PositiveFloat = 0.1
    hidden_size: HiddenSize = 64
    stride: Annotated[int, Field(ge=1, le=100)] = 10


ReconstructionConfig = Annotated[NoReconstructionConfig | GRUReconstructionConfig, Field(discriminator="kind")]
