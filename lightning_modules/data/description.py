"""What a prepared corpus sounds like, in numbers that can be drawn: durations, speech a language, speakers, noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lightning_modules.data.audio import frame_rms
from lightning_modules.data.manifest import Recording, Split
from lightning_modules.data.splits import num_shared
from lightning_modules.errors import CorpusError

SAMPLED: Final = 60
"""Recordings of a source whose audio is looked at, evenly over its ids."""
_LOUD, _QUIET = 95.0, 5.0
_FLOOR: Final = 1e-5  # of full scale: below the last bit of 16


@dataclass(frozen=True, kw_only=True)
class SourceSound:
    """One source of one language.

    Attributes:
        ranges_db: of some recordings, how far the loudest twentieth of their frames lies above the quietest: noise and
            room fill the pauses of speech, so that a small range means a low ratio of speech to noise.
    """

    language: str
    source: str
    ranges_db: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Description:
    """A corpus in numbers.

    Attributes:
        durations_s: split -> of each recording.
        hours: (split, language) -> of speech.
        speakers: (split, language) -> how many.
        sounds: each source, by language and name.
        shared: what stands on both sides of a split -> how many.
    """

    durations_s: dict[Split, tuple[float, ...]]
    hours: dict[tuple[Split, str], float]
    speakers: dict[tuple[Split, str], int]
    sounds: tuple[SourceSound, ...]
    shared: dict[str, int]


def describe(recordings: Sequence[Recording], *, corpus: Path, num_leaks: int | None) -> Description:
    """Reads some recordings of each source.

    Args:
        recordings: of a whole corpus.
        corpus: the folder that their paths are relative to.
        num_leaks: pairs of recordings with the same audio on both sides of a split; None where nobody has looked.

    Raises:
        CorpusError: an audio file is missing or damaged.
    """
    keys = sorted({(each.split, each.language) for each in recordings})
    groups = {key: [each for each in recordings if (each.split, each.language) == key] for key in keys}
    splits = dict.fromkeys(split for split, _ in keys)
    return Description(
        durations_s={split: tuple(each.duration_s for each in recordings if each.split == split) for split in splits},
        hours={key: sum(each.duration_s for each in group) / 3600.0 for key, group in groups.items()},
        speakers={key: len({each.speaker for each in group}) for key, group in groups.items()},
        sounds=tuple(
            _sound(language, source, recordings, corpus)
            for language, source in sorted({(each.language, each.source) for each in recordings})
        ),
        shared=num_shared(recordings) | ({} if num_leaks is None else {"same audio": num_leaks}),
    )


def _sound(language: str, source: str, recordings: Sequence[Recording], corpus: Path) -> SourceSound:
    mine = sorted((each for each in recordings if (each.language, each.source) == (language, source)), key=_by_id)
    chosen = [mine[place * len(mine) // min(SAMPLED, len(mine))] for place in range(min(SAMPLED, len(mine)))]
    ranges = (range_db(_read(corpus / each.path)) for each in chosen)
    return SourceSound(language=language, source=source, ranges_db=tuple(each for each in ranges if each is not None))


def _by_id(recording: Recording) -> str:
    return recording.id


def range_db(samples: np.ndarray) -> float | None:
    """Decibels from the quietest twentieth of the 20 ms frames to the loudest; None of less than twenty frames."""
    rms = frame_rms(np.asarray(samples, dtype=np.float32))
    if len(rms) < 20:  # noqa: PLR2004 - one frame must be a twentieth
        return None
    loud, quiet = np.percentile(rms, [_LOUD, _QUIET])
    return float(20.0 * np.log10(max(loud, _FLOOR) / max(quiet, _FLOOR)))


def _read(path: Path) -> np.ndarray:
    import soundfile

    try:
        samples, _ = soundfile.read(path, dtype="float32")
    except (OSError, RuntimeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}; prepare the corpus again.") from None
    return np.asarray(samples)
