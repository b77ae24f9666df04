"""A corpus of the user's own: where it lies, how it is laid out, and how it is split. Read from a TOML file."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lightning_modules.config._base import Frozen

CORPUS_NAME: Final = r"^[a-z][a-z0-9_]{0,39}$"

Shared = Literal["source", "speaker"]
"""What training may share with development and test, where the user insists."""

Detector = Literal["none", "energy", "silero"]
"""How speech is told from what is none."""


def _is_place(value: object) -> object:
    """What is neither is told in words: pydantic's own would be of all that it tried."""
    places = value.items() if isinstance(value, dict) else [("train", value)]
    if not all(split in ("train", "dev", "test") and isinstance(path, str | Path) for split, path in places):
        raise ValueError('name a folder or file, or one for each split: { train = "…", dev = "…", test = "…" }')
    return value


Place = Annotated[Path | dict[Literal["train", "dev", "test"], Path], BeforeValidator(_is_place)]
"""A folder or file, or one for each split; relative paths start at the corpus's file."""


class ReaderConfig(Frozen):
    """What the readers of all layouts are told.

    Attributes:
        kind: the layout.
        path: where it lies.
    """

    kind: Literal[
        "common_language",
        "common_voice",
        "fleurs",
        "folders",
        "kaldi",
        "lhotse",
        "lre17",
        "table",
        "voxlingua107",
    ]
    path: Place


class GivenSplitsConfig(Frozen):
    """The splits that the layout has, or that `path` names."""

    kind: Literal["given"] = "given"


class SpeakerSplitsConfig(Frozen):
    """Speakers are divided by chance, in each language; a recording's cuts and a speaker's recordings stay together.

    Attributes:
        dev: share of the recordings for development.
        test: share for test; 0 where the layout has test data of its own, or none is wanted.
        seed: of the division.
    """

    kind: Literal["speakers"] = "speakers"
    dev: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    test: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.dev + self.test >= 1.0:
            raise ValueError(f"dev and test together must leave something for training but are {self.dev + self.test}.")
        return self


class SourceSplitsConfig(Frozen):
    """Whole sources are for development and test, all others for training.

    Attributes:
        dev: names of sources.
        test: names of sources.
    """

    kind: Literal["sources"] = "sources"
    dev: Annotated[tuple[str, ...], Field(min_length=1)]
    test: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if both := sorted(set(self.dev) & set(self.test)):
            raise ValueError(f"{', '.join(both)} cannot be both in dev and in test.")
        return self


SplitsConfig = Annotated[
    GivenSplitsConfig | SpeakerSplitsConfig | SourceSplitsConfig,
    Field(discriminator="kind"),
]


class CorpusConfig(Frozen):
    """A corpus of the user's own.

    Attributes:
        name: what studies call it.
        title: one line for reports.
        licence: what its terms are called.
        languages: codes to bring in; None for all.
        rename: languages as the layout writes them -> what studies call them, so that `en_us` of one corpus and `eng`
            of another are one language.
        reader: its layout.
        activity: leaves out, of each recording, what is no speech: by its energy, or by Silero's network.
        splits: who is trained on, and who is not.
        allow_shared: what training may share with development and test; scores then reward knowing it, and every report
            says so.
    """

    name: Annotated[str, Field(pattern=CORPUS_NAME)]
    title: str = ""
    licence: str = "unknown"
    languages: tuple[str, ...] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    reader: ReaderConfig
    activity: Detector = "none"
    splits: SplitsConfig = GivenSplitsConfig()
    allow_shared: tuple[Shared, ...] = ()
