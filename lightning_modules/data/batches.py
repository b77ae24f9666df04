"""Batches: balanced training segments, and padded development or test utterances.

Every training batch is drawn from a generator seeded by (seed, epoch, step), so a resumed trial sees exactly the
batches that an uninterrupted one would have seen.

Shape legend: B utterances, T frames, D bands.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_modules.config import TrialConfig
from lightning_modules.data.augmentation import augment, raw_frames_needed
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import normalise
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.errors import CorpusError


class Batch(NamedTuple):
    """Features (B, T, D); and of each utterance (B,): its frames, its language's index, its place in the data set."""

    features: Tensor
    lengths: Tensor
    languages: Tensor
    indices: Tensor


class EpochSteps(Sampler[tuple[int, int]]):
    """The (epoch, step) pairs of one epoch; Lightning calls `set_epoch` before each."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Moves to an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self._epoch, step) for step in range(self._num_steps))


class TrainingBatches(Dataset[Batch]):
    """Training batches by (epoch, step), balanced over languages and, within a language, over sources and speakers."""

    def __init__(self, recordings: Sequence[Recording], *, store: FeatureStore, config: TrialConfig) -> None:
        self._store = store
        self._config = config
        self._pools = _pools(recordings, config.data.languages)

    def __getitem__(self, epoch_step: tuple[int, int]) -> Batch:
        entropy = np.random.SeedSequence((self._config.seed, 2, *epoch_step))
        rng = np.random.default_rng(entropy)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        languages = self._languages(rng)
        num_frames = round(self._config.data.segment_s * self._config.data.features.frames_per_s)
        num_raw_frames = raw_frames_needed(num_frames, self._config.augmentation)
        segments = np.stack([self._segment(rng, int(language), num_raw_frames) for language in languages])
        features = augment(
            torch.from_numpy(segments), self._config.augmentation, num_frames=num_frames, generator=generator
        )
        lengths = torch.full((len(languages),), num_frames)
        return Batch(features, lengths, torch.from_numpy(languages), torch.arange(len(languages)))

    def _languages(self, rng: np.random.Generator) -> np.ndarray:
        """(B,) language indices, each language as often as any other, to within one."""
        num_languages = len(self._config.data.languages)
        order = rng.permutation(num_languages)
        return np.resize(order, self._config.training.batch_size).astype(np.int64)

    def _segment(self, rng: np.random.Generator, language: int, num_frames: int) -> np.ndarray:
        """(num_frames, D) float32: recordings of one speaker, in random order, joined and cut to length."""
        speakers = self._pools[language][rng.integers(len(self._pools[language]))]
        recordings = speakers[rng.integers(len(speakers))]
        pieces: list[np.ndarray] = []
        missing = num_frames
        while missing > 0:
            frames = self._store.frames(recordings[rng.integers(len(recordings))])
            start = rng.integers(max(1, len(frames) - missing + 1)) if not pieces else 0
            pieces.append(frames[start : start + missing])
            missing -= len(pieces[-1])
        return np.concatenate(pieces).astype(np.float32)


def evaluation_batches(
    utterances: Sequence[Utterance], *, store: FeatureStore, languages: Sequence[str], max_frames: int = 40_000
) -> list[Batch]:
    """Utterances in batches of similar length, normalised, padded with zeros, `max_frames` padded frames at most.

    `indices` give each utterance's place in `utterances`.
    """
    lengths = [sum(len(store.frames(recording)) for recording in utterance.recordings) for utterance in utterances]
    groups: list[list[int]] = []
    for index in sorted(range(len(utterances)), key=lambda i: (lengths[i], i)):
        if not groups or lengths[index] * (len(groups[-1]) + 1) > max_frames:
            groups.append([])
        groups[-1].append(index)
    return [_padded(group, utterances, store=store, languages=languages) for group in groups]


def training_loader(batches: TrainingBatches, *, steps_per_epoch: int) -> DataLoader[Batch]:
    """Whole batches, in order, made in the training process: they cost a few milliseconds each."""
    return DataLoader(batches, sampler=EpochSteps(steps_per_epoch), batch_size=None)


def _padded(
    group: Sequence[int], utterances: Sequence[Utterance], *, store: FeatureStore, languages: Sequence[str]
) -> Batch:
    features = [
        torch.from_numpy(normalise(np.concatenate([store.frames(recording) for recording in utterances[i].recordings])))
        for i in group
    ]
    return Batch(
        torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
        torch.tensor([len(frames) for frames in features]),
        torch.tensor([languages.index(utterances[i].language) for i in group]),
        torch.tensor(list(group)),
    )


def _pools(recordings: Sequence[Recording], languages: Sequence[str]) -> list[list[list[list[str]]]]:
    """Recording ids by language, source and speaker."""
    tree: dict[str, dict[str, dict[str, list[str]]]] = {language: {} for language in languages}
    for recording in sorted(recordings, key=lambda r: r.id):
        if recording.split == "train" and recording.language in tree:
            speakers = tree[recording.language].setdefault(recording.source, defaultdict(list))
            speakers[recording.speaker].append(recording.id)
    for language, sources in tree.items():
        if not sources:
            raise CorpusError(
                f"language '{language}' has no training recordings in this corpus; leave it out of data.languages."
            )
    return [[list(speakers.values()) for speakers in sources.values()] for sources in tree.values()]
