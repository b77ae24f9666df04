"""Batches: balanced training segments, and padded development or test utterances.

Every training batch is drawn from a generator seeded by (seed, epoch, step), so a resumed trial sees exactly the
batches that an uninterrupted one would have seen.

Shape legend: B utterances, T frames, D bands.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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


class EpochParts(Sampler[tuple[int, int, int]]):
    """The (epoch, step, part) of one epoch, this rank's only; Lightning calls `set_epoch` before each."""

    def __init__(self, num_steps: int, *, micro_batches: int = 1, num_ranks: int = 1) -> None:
        self._num_steps = num_steps
        self._micro_batches = micro_batches
        self._num_ranks = num_ranks
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Moves to an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_steps * self._micro_batches

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        parts = range(_rank(self._num_ranks), self._micro_batches * self._num_ranks, self._num_ranks)
        return ((self._epoch, step, part) for step in range(self._num_steps) for part in parts)


class RankShare(Sampler[int]):
    """This rank's share of a list; all of it where there is less than one item a rank."""

    def __init__(self, num_items: int, *, num_ranks: int) -> None:
        self._num_items = num_items
        self._num_ranks = num_ranks if num_ranks <= num_items else 1

    def __len__(self) -> int:
        return len(self._share())

    def __iter__(self) -> Iterator[int]:
        return iter(self._share())

    def _share(self) -> range:
        return range(_rank(self._num_ranks), self._num_items, self._num_ranks)


class TrainingBatches(Dataset[Batch]):
    """Training batches by (epoch, step), balanced over languages and, within a language, over sources and speakers.

    Attributes:
        prior_L: how often they hold each language.
    """

    def __init__(self, recordings: Sequence[Recording], *, store: FeatureStore, config: TrialConfig) -> None:
        self._store = store
        self._config = config
        self._pools = _pools(recordings, config.data.languages)
        self.prior_L = _prior(recordings, config)

    def __getitem__(self, epoch_step: tuple[int, int]) -> Batch:
        epoch, step = epoch_step
        entropy = np.random.SeedSequence((self._config.seed, 2, epoch, step))
        rng = np.random.default_rng(entropy)
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        languages = self._languages(rng)
        num_frames = round(self._segment_s(step) * self._config.data.features.frames_per_s)
        num_raw_frames = raw_frames_needed(num_frames, self._config.augmentation)
        segments = np.stack([self._segment(rng, int(language), num_raw_frames) for language in languages])
        features = augment(
            torch.from_numpy(segments), self._config.augmentation, num_frames=num_frames, generator=generator
        )
        lengths = torch.full((len(languages),), num_frames)
        return Batch(features, lengths, torch.from_numpy(languages), torch.arange(len(languages)))

    def _segment_s(self, step: int) -> float:
        data = self._config.data
        return data.segment_s if data.long_segment_s is None or step % 2 == 0 else data.long_segment_s

    def _languages(self, rng: np.random.Generator) -> np.ndarray:
        """(B,) language indices: each language as often as any other, to within one, or drawn from the prior."""
        num_languages = len(self._config.data.languages)
        if self._config.training.class_balance != "sampler":
            return rng.choice(num_languages, size=self._config.training.batch_size, p=self.prior_L).astype(np.int64)
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


class BatchParts(Dataset[Batch]):
    """Training batches cut into parts: rows part, part + num_parts, … of the batch of an (epoch, step)."""

    def __init__(self, batches: TrainingBatches, *, num_parts: int) -> None:
        self._batches = batches
        self._num_parts = num_parts

    def __getitem__(self, epoch_step_part: tuple[int, int, int]) -> Batch:
        epoch, step, part = epoch_step_part
        return Batch(*(rows[part :: self._num_parts] for rows in self._batches[epoch, step]))


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


def training_loader(
    batches: TrainingBatches, *, steps_per_epoch: int, micro_batches: int = 1, num_ranks: int = 1
) -> DataLoader[Batch]:
    """Batches, in order, made in the training process: they cost a few milliseconds each.

    Args:
        batches: whole ones.
        steps_per_epoch: optimiser steps an epoch.
        micro_batches: parts that a rank trains one after the other before it steps.
        num_ranks: processes that share each batch.
    """
    parts = BatchParts(batches, num_parts=micro_batches * num_ranks)
    order = EpochParts(steps_per_epoch, micro_batches=micro_batches, num_ranks=num_ranks)
    return DataLoader(parts, sampler=order, batch_size=None)


def development_loader(batches: Sequence[Batch], *, num_ranks: int = 1) -> DataLoader[Batch]:
    """Padded batches of all utterances; each rank gets its share."""
    dataset: Any = batches  # a list is a map-style data set
    return DataLoader(dataset, sampler=RankShare(len(dataset), num_ranks=num_ranks), batch_size=None)


def _rank(num_ranks: int) -> int:
    """This process's place among the ranks."""
    return torch.distributed.get_rank() if num_ranks > 1 else 0


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


def _prior(recordings: Sequence[Recording], config: TrialConfig) -> np.ndarray:
    """(L,) each language's share of the batches: equal, or its share of the training speech."""
    languages = config.data.languages
    if config.training.class_balance == "sampler":
        return np.full(len(languages), 1.0 / len(languages))
    seconds = dict.fromkeys(languages, 0.0)
    for recording in recordings:
        if recording.split == "train" and recording.language in seconds:
            seconds[recording.language] += recording.duration_s
    total_L = np.array(list(seconds.values()))
    return np.asarray(total_L / total_L.sum())


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
