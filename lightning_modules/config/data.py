"""Which speech a trial sees, as which features, and how training segments are varied."""

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from lightning_modules.config._base import Frozen, PositiveInt

STORED_FEATURES: Final = ("kind", "sample_rate_hz", "num_bands", "window_ms", "hop_ms", "low_hz", "high_hz")
"""Keys of FeaturesConfig that the feature store is computed from, in the order of its hash."""
STORED_OF_MODELS: Final = ("kind", "sample_rate_hz", "model", "layer", "size")
"""The same where a pretrained network computes them."""
PITCH_SIZE: Final = 2
"""Its logarithm, and how voiced a frame is."""
MODEL_HOP_MS: Final = 20.0
MODEL_WINDOW_MS: Final = 25.0
"""Of wav2vec 2.0, HuBERT and WavLM alike."""
CUTTING: Final = ("segment_s", "long_segment_s")
"""Keys of DataConfig that say how training segments are cut."""
SEARCHABLE_DATA: Final = (
    *CUTTING,
    "features.cepstra",
    "features.dynamics.kind",
    "features.dynamics.order",
    "features.dynamics.window",
    "features.dynamics.spread",
    "features.dynamics.shift",
    "features.dynamics.blocks",
    "features.normalisation",
    "features.sliding_s",
)
"""Keys of DataConfig that leave development and test speech, and the feature store, as they are."""


class NoDeltasConfig(Frozen):
    """Each frame by itself."""

    kind: Literal["none"] = "none"


class DeltasConfig(Frozen):
    """Slopes over time beside the values, and slopes of slopes: regression over 2 `window` + 1 frames.

    Attributes:
        order: 1 for slopes, 2 for their slopes too.
        window: frames on either side.
    """

    kind: Literal["deltas"] = "deltas"
    order: Literal[1, 2] = 2
    window: Annotated[int, Field(ge=1, le=10)] = 2


class ShiftedDeltasConfig(Frozen):
    """Shifted delta cepstra N-d-P-k (Torres-Carrasquillo et al., ICSLP 2002), N the number of cepstra: 7-1-3-7.

    Block i of frame t is c(t + iP + d) - c(t + iP - d), i = 0 … k - 1; the cepstra themselves stand before the blocks.

    Attributes:
        spread: d, in frames.
        shift: P, frames from one block to the next.
        blocks: k.
    """

    kind: Literal["shifted"] = "shifted"
    spread: Annotated[int, Field(ge=1, le=10)] = 1
    shift: Annotated[int, Field(ge=1, le=20)] = 3
    blocks: Annotated[int, Field(ge=1, le=20)] = 7


DynamicsConfig = Annotated[NoDeltasConfig | DeltasConfig | ShiftedDeltasConfig, Field(discriminator="kind")]


class FeaturesConfig(Frozen):
    """Log-mel filterbank energies: (T frames, num_bands), in nepers; and what is made of them.

    Attributes:
        kind: `log_mel` (torchaudio's, windows centred on their frames), `kaldi` (Kaldi's pre-emphasis and window), or
            `self_supervised`: a layer of a pretrained network (wav2vec 2.0, XLS-R, HuBERT, WavLM), a frame each 20 ms.
        model: of `self_supervised`: a folder of the workspace's `models`, as transformers saves one.
        layer: of `self_supervised`: 0 is what its first transformer layer reads, 1 what it gives, and so on.
        size: of `self_supervised`: values of that layer, such as 768 or 1024.
        pitch: whether two values more stand behind the bands or cepstra of `log_mel` and `kaldi`: the logarithm of the
            pitch, and how voiced the frame is.
        cepstra: coefficients of a cosine transform, from c0 on, in place of the bands; 0: the bands themselves.
        dynamics: what stands beside each frame's values.
        normalisation: of each band and coefficient to zero mean and unit variance, over the whole utterance; or then
            over the `sliding_s` around each frame.
        sliding_s: seconds that sliding means and variances are taken over.
        sample_rate_hz: of the corpus; all are brought to it.
        num_bands: of the filterbank.
        window_ms: length of a frame's window.
        hop_ms: from one frame to the next.
        low_hz: where the lowest band begins.
        high_hz: where the highest band ends.
    """

    kind: Literal["log_mel", "kaldi", "self_supervised"] = "log_mel"
    model: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")] = ""
    layer: Annotated[int, Field(ge=0, le=100)] = 6
    size: Annotated[int, Field(ge=1, le=8192)] | None = None
    pitch: bool = False
    cepstra: Annotated[int, Field(ge=0, le=64)] = 0
    dynamics: DynamicsConfig = NoDeltasConfig()
    normalisation: Literal["utterance", "sliding"] = "utterance"
    sliding_s: Annotated[float, Field(ge=0.5, le=30.0)] = 3.0
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
        for key in ("window_ms", "hop_ms"):
            if not (getattr(self, key) * self.sample_rate_hz / 1000.0).is_integer():
                raise ValueError(f"{key} must be whole samples, multiples of 0.125, but is {getattr(self, key)}.")
        if self.hop_ms > self.window_ms:
            raise ValueError(f"hop_ms must not exceed window_ms but got {self.hop_ms} and {self.window_ms}.")
        if self.cepstra > self.num_bands:
            raise ValueError(f"cepstra must not exceed num_bands but got {self.cepstra} and {self.num_bands}.")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.kind != "self_supervised":
            if self.model or self.size is not None:
                raise ValueError(f"model and size are of kind self_supervised; got kind {self.kind}.")
            return self
        if not self.model or self.size is None:
            raise ValueError("kind self_supervised needs model (a folder of the workspace's models) and size.")
        if (self.hop_ms, self.window_ms) != (MODEL_HOP_MS, MODEL_WINDOW_MS):
            raise ValueError(f"kind self_supervised has a frame each 20 ms: hop_ms must be 20 but is {self.hop_ms:g}.")
        if self.cepstra:
            raise ValueError("cepstra are made of bands, which kind self_supervised does not have.")
        if self.pitch:
            raise ValueError("pitch stands beside bands, which kind self_supervised does not have.")
        return self

    @property
    def band_size(self) -> int:
        """Values a frame that the feature store holds before those of the pitch."""
        return self.num_bands if self.size is None else self.size

    @property
    def pitch_size(self) -> int:
        """Values a frame of the pitch."""
        return PITCH_SIZE if self.pitch else 0

    @property
    def stored_size(self) -> int:
        """Values a frame that the feature store holds."""
        return self.band_size + self.pitch_size

    @property
    def num_values(self) -> int:
        """Values a frame that networks see."""
        static = (self.cepstra or self.band_size) + self.pitch_size
        match self.dynamics:
            case NoDeltasConfig():
                return static
            case DeltasConfig(order=order):
                return static * (1 + order)
            case ShiftedDeltasConfig(blocks=blocks):
                return static * (1 + blocks)

    def stored(self) -> dict[str, Any]:
        """What the feature store depends on; the rest is made of what it holds, batch by batch."""
        keys = STORED_OF_MODELS if self.kind == "self_supervised" else STORED_FEATURES
        return self.model_dump(mode="json", include=set(keys)) | ({"pitch": True} if self.pitch else {})

    @property
    def frames_per_s(self) -> float:
        """Frames a second."""
        return 1000.0 / self.hop_ms


class PreparedSplitsConfig(Frozen):
    """Training, development and test as the corpus was prepared."""

    kind: Literal["prepared"] = "prepared"


class LeaveSourceOutConfig(Frozen):
    """One source of each language is development and test, all others train: cross-validation over sources.

    Attributes:
        fold: which; each source of a language is left out in one of them at least.
    """

    kind: Literal["leave_source_out"] = "leave_source_out"
    fold: Annotated[int, Field(ge=0)] = 0


class DataConfig(Frozen):
    """Which speech a trial sees.

    Attributes:
        corpus: name of a prepared corpus.
        splits: which of its recordings train, and which are scored.
        languages: the target languages; the order is the order of the scores.
        further_languages: that train beside the targets, each an output of its own, and are never scored.
        segment_s: length of a training segment, in seconds; one speaker's recordings are joined to reach it.
        long_segment_s: length of the segments of every other training batch; None: as the others.
        utterance_s: length that development and test utterances are joined to, in seconds.
        minimum_s: shorter development and test utterances are left out.
        long_recordings: of development and test of more than three times utterance_s: left out, or cut into stretches.
        max_utterances: at most this many development (and test) utterances a language, spread evenly over its speakers.
    """

    corpus: str = "prompts"
    splits: Annotated[PreparedSplitsConfig | LeaveSourceOutConfig, Field(discriminator="kind")] = PreparedSplitsConfig()
    languages: tuple[str, ...] = ("en", "es", "fr", "it", "ru")
    further_languages: tuple[str, ...] = ()
    features: FeaturesConfig = FeaturesConfig()
    segment_s: Annotated[float, Field(gt=0.1, le=60.0)] = 2.0
    long_segment_s: Annotated[float | None, Field(gt=0.1, le=60.0)] = None
    utterance_s: Annotated[float, Field(gt=0.1, le=3600.0)] = 8.0
    minimum_s: Annotated[float, Field(ge=0.0)] = 4.0
    long_recordings: Literal["leave_out", "cut"] = "leave_out"
    max_utterances: PositiveInt = 40

    @model_validator(mode="after")
    def _languages_and_lengths(self) -> Self:
        if len(set(self.trained_languages)) != len(self.trained_languages):
            raise ValueError(f"languages must be named once each but got {', '.join(self.trained_languages)}.")
        if len(self.languages) < 2:  # noqa: PLR2004
            raise ValueError("at least two languages are needed: with one there is nothing to tell apart.")
        if self.minimum_s > self.utterance_s:
            raise ValueError(f"minimum_s must not exceed utterance_s but got {self.minimum_s} and {self.utterance_s}.")
        if self.segment_s * self.features.frames_per_s < 1:
            raise ValueError(f"segment_s must hold a frame of {self.features.hop_ms} ms but got {self.segment_s}.")
        return self

    @property
    def trained_languages(self) -> tuple[str, ...]:
        """The targets, and then those that train beside them."""
        return (*self.languages, *self.further_languages)

    def names_same_speech(self, other: Self) -> bool:
        """Whether both stand for the same recordings, features and utterances."""
        left_out = set(CUTTING)
        return self.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)


CopyKind = Literal["noise", "music", "reverberation", "telephone", "pitch"]
Weight = Annotated[float, Field(ge=0.0, le=10.0)]


class CopiesConfig(Frozen):
    """How often training segments come from a copy of the speech, made once in the waveform: 1 is as often as from it.

    Attributes:
        noise: synthesised noises that no test has, at 5 to 20 dB.
        music: of an adventure game, at 5 to 20 dB.
        reverberation: rooms of 0.2 to 0.8 s, from half a metre to 2.5 m.
        telephone: a narrow band, then a codec (GSM, G.711, G.721, ADPCM, Opus, Vorbis, MP3).
        pitch: up or down by up to three semitones, at the same speed.
    """

    noise: Weight = 0.0
    music: Weight = 0.0
    reverberation: Weight = 0.0
    telephone: Weight = 0.0
    pitch: Weight = 0.0

    def shares(self) -> dict[CopyKind | None, float]:
        """Kind -> share of the segments, None for the speech itself; without kinds that are not drawn."""
        weights: dict[CopyKind | None, float] = {None: 1.0}
        weights |= {kind: getattr(self, kind) for kind in get_args(CopyKind) if getattr(self, kind) > 0.0}
        total = sum(weights.values())
        return {kind: weight / total for kind, weight in weights.items()}


class AugmentationConfig(Frozen):
    """Augmentation of training segments; strengths, not switches, 0 turns one off. All but copies acts on features.

    Attributes:
        copies: of the speech as other surroundings would have left it.
        band_offset: sd of a smooth random offset a band, in nepers (channel).
        gain: sd of a random gain over the whole segment, in nepers (level before the noise floor).
        warp: largest relative stretch of the frequency axis (vocal tract length).
        speed: largest relative change of speed.
        noise: largest level of additive noise relative to the segment's mean energy, in nepers above a -4 neper floor.
        time_masks: number of masks over time, each up to a tenth of the segment.
        band_masks: number of masks over bands, each up to a sixth of the bands.
    """

    copies: CopiesConfig = CopiesConfig()
    band_offset: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    gain: Annotated[float, Field(ge=0.0, le=5.0)] = 0.5
    warp: Annotated[float, Field(ge=0.0, le=0.5)] = 0.15
    speed: Annotated[float, Field(ge=0.0, le=0.5)] = 0.15
    noise: Annotated[float, Field(ge=0.0, le=6.0)] = 3.0
    time_masks: Annotated[int, Field(ge=0, le=10)] = 2
    band_masks: Annotated[int, Field(ge=0, le=10)] = 2
