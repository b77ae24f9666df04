"""Which speech a trial sees, as which features, and how training segments are varied."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from lightning_modules.config._base import Frozen, PositiveInt

SEARCHABLE_DATA: Final = ("segment_s", "long_segment_s")
"""Keys of DataConfig that leave development and test data as they are: they say how training segments are cut."""


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
        long_segment_s: length of the segments of every other training batch; None: as the others.
        utterance_s: length that development and test utterances are joined to, in seconds.
        minimum_s: shorter development and test utterances are left out.
        max_utterances: at most this many development (and test) utterances a language, spread evenly over its speakers.
    """

    corpus: str = "prompts"
    languages: tuple[str, ...] = ("en", "es", "fr", "it", "ru")
    features: FeaturesConfig = FeaturesConfig()
    segment_s: Annotated[float, Field(gt=0.1, le=60.0)] = 2.0
    long_segment_s: Annotated[float | None, Field(gt=0.1, le=60.0)] = None
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
