"""Monolingual training segments: drawn from a language's sources and, within one, evenly from its speakers.

Shape legend: T frames, D bands, L languages.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lightning_modules.config import CopiesConfig, TrialConfig
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording
from lightning_modules.errors import CorpusError


class Segments:
    """The training speech of some languages, in pieces of any length.

    Args:
        recordings: of a whole corpus.
        store: their features.
        languages: that train; their places are what `draw` is asked for.
        copies: how often segments come from which copy of the speech.
        source_exponent: a source is drawn in proportion to its seconds of training speech to this power.

    Raises:
        CorpusError: a language has none.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        *,
        store: FeatureStore,
        languages: Sequence[str],
        copies: CopiesConfig,
        source_exponent: float,
    ) -> None:
        shares = copies.shares()
        self._stores = [store if kind is None else store.copy(kind) for kind in shares]
        self._shares = list(shares.values())
        self._pools = _pools(recordings, languages)
        self._source_shares = _source_shares(recordings, self._pools, exponent=source_exponent)

    def draw(self, rng: np.random.Generator, language: int, *, num_frames: int) -> np.ndarray:
        """(num_frames, D) float32: recordings of one speaker, in random order, joined and cut to length.

        All of it is the speech itself, or the same kind of copy.
        """
        speakers = self._pools[language][self._source(rng, language)]
        recordings = speakers[rng.integers(len(speakers))]
        store = self._store(rng)
        pieces: list[np.ndarray] = []
        missing = num_frames
        while missing > 0:
            frames = store.frames(recordings[rng.integers(len(recordings))])
            start = rng.integers(max(1, len(frames) - missing + 1)) if not pieces else 0
            pieces.append(frames[start : start + missing])
            missing -= len(pieces[-1])
        return np.concatenate(pieces).astype(np.float32)

    def _source(self, rng: np.random.Generator, language: int) -> int:
        num_sources = len(self._pools[language])
        if self._source_shares is None:
            return int(rng.integers(num_sources))
        return int(rng.choice(num_sources, p=self._source_shares[language]))

    def _store(self, rng: np.random.Generator) -> FeatureStore:
        if len(self._stores) == 1:
            return self._stores[0]
        return self._stores[rng.choice(len(self._stores), p=self._shares)]


def language_shares(recordings: Sequence[Recording], config: TrialConfig) -> np.ndarray:
    """(L,) each language's share of the batches: equal, or its share of the training speech."""
    languages = config.data.trained_languages
    if config.training.class_balance == "sampler":
        return np.full(len(languages), 1.0 / len(languages))
    seconds = dict.fromkeys(languages, 0.0)
    for recording in recordings:
        if recording.split == "train" and recording.language in seconds:
            seconds[recording.language] += recording.duration_s
    total_L = np.array(list(seconds.values()))
    return np.asarray(total_L / total_L.sum())


def check_training_speech(recordings: Sequence[Recording], languages: Sequence[str]) -> None:
    """Refuses languages of which a corpus has nothing to train on.

    Raises:
        CorpusError: names the first.
    """
    there = {recording.language for recording in recordings if recording.split == "train"}
    for language in languages:
        if language not in there:
            raise CorpusError(
                f"language '{language}' has no training recordings in this corpus; leave it out of data.languages or "
                "data.further_languages."
            )


def _pools(recordings: Sequence[Recording], languages: Sequence[str]) -> list[list[list[list[str]]]]:
    """Recording ids by language, source and speaker."""
    check_training_speech(recordings, languages)
    tree: dict[str, dict[str, dict[str, list[str]]]] = {language: {} for language in languages}
    for recording in sorted(recordings, key=lambda r: r.id):
        if recording.split == "train" and recording.language in tree:
            speakers = tree[recording.language].setdefault(recording.source, defaultdict(list))
            speakers[recording.speaker].append(recording.id)
    return [[list(speakers.values()) for speakers in sources.values()] for sources in tree.values()]


def _source_shares(
    recordings: Sequence[Recording], pools: Sequence[Sequence[Sequence[Sequence[str]]]], *, exponent: float
) -> list[np.ndarray] | None:
    """By language, how often each of its sources is drawn; None where all are drawn equally often."""
    if exponent == 0.0:
        return None
    seconds = {recording.id: recording.duration_s for recording in recordings}
    weights = [
        np.array([sum(seconds[each] for speaker in source for each in speaker) for source in sources]) ** exponent
        for sources in pools
    ]
    return [each / each.sum() for each in weights]
