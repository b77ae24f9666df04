"""Batches: balanced training segments, padded development or test utterances, and how ranks share them.

Every training batch is drawn from a generator seeded by (seed, epoch, step), so a resumed trial sees exactly the
batches that an uninterrupted one would have seen.

Shape legend: B utterances or recordings, T frames, D bands, P parts of a recording, L languages.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_modules.config import DataConfig, TrialConfig
from lightning_modules.data.augmentation import augment, raw_frames_needed
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import normalise
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.data.representation import represent
from lightning_modules.data.segments import Segments, language_shares


class Batch(NamedTuple):
    """Features (B, T, D); and of each utterance (B,): its frames, its language's index, its place in the data set."""

    features: Tensor
    lengths: Tensor
    languages: Tensor
    indices: Tensor


class SwitchedBatch(NamedTuple):
    """Code-switched recordings, padded.

    Attributes:
        features: (B, T, D).
        lengths: (B,) frames of each recording.
        part_languages: (B, P) each part's language, -1 where a recording has no such part.
        part_frames: (B, P) its frames, in order; 0 where there is none.
        num_parts: (B,) parts of each recording.
        indices: (B, P) each part's place among the rows that are scored; -1 where there is none.
    """

    features: Tensor
    lengths: Tensor
    part_languages: Tensor
    part_frames: Tensor
    num_parts: Tensor
    indices: Tensor


AnyBatch = Batch | SwitchedBatch
"""Every field of a batch has a row an utterance or recording, and one of them is `lengths`."""


class TrainingData(Protocol):
    """Whole training batches by (epoch, step).

    Attributes:
        prior_L: how often they hold each language.
    """

    prior_L: np.ndarray  # noqa: N815 - names carry shapes

    def __getitem__(self, epoch_step: tuple[int, int], /) -> AnyBatch:
        """The batch of a step, the same whenever it is asked for."""


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
    """Training batches by (epoch, step), balanced over languages and, within a source, over speakers.

    Attributes:
        prior_L: how often they hold each language.
    """

    def __init__(self, recordings: Sequence[Recording], *, store: FeatureStore, config: TrialConfig) -> None:
        self._config = config
        self._segments = Segments(
            recordings,
            store=store,
            languages=config.data.trained_languages,
            copies=config.augmentation.copies,
            source_exponent=config.training.source_exponent,
        )
        self.prior_L = language_shares(recordings, config)

    def __getitem__(self, epoch_step: tuple[int, int]) -> Batch:
        rng, generator = generators_of(self._config.seed, *epoch_step)
        languages = self._languages(rng)
        num_frames = round(self._segment_s(epoch_step[1]) * self._config.data.features.frames_per_s)
        num_raw_frames = raw_frames_needed(num_frames, self._config.augmentation)
        segments = np.stack(
            [self._segments.draw(rng, int(language), num_frames=num_raw_frames) for language in languages]
        )
        augmented = augment(
            torch.from_numpy(segments),
            self._config.augmentation,
            num_frames=num_frames,
            generator=generator,
            num_behind=self._config.data.features.pitch_size,
        )
        features = represent(augmented, self._config.data.features)
        lengths = torch.full((len(languages),), num_frames)
        return Batch(features, lengths, torch.from_numpy(languages), torch.arange(len(languages)))

    def _segment_s(self, step: int) -> float:
        data = self._config.data
        return data.segment_s if data.long_segment_s is None or step % 2 == 0 else data.long_segment_s

    def _languages(self, rng: np.random.Generator) -> np.ndarray:
        """(B,) language indices: each language as often as any other, to within one, or drawn from the prior."""
        num_languages, batch_size = len(self._config.data.trained_languages), self._config.training.batch_size
        if self._config.training.class_balance != "sampler":
            return rng.choice(num_languages, size=batch_size, p=self.prior_L).astype(np.int64)
        return balanced_languages(rng, num_languages, count=batch_size)


def generators_of(seed: int, epoch: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """What a training batch is drawn and augmented with."""
    entropy = np.random.SeedSequence((seed, 2, epoch, step))
    return np.random.default_rng(entropy), torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))


def balanced_languages(rng: np.random.Generator, num_languages: int, *, count: int) -> np.ndarray:
    """(count,) language indices: each language as often as any other, to within one."""
    return np.resize(rng.permutation(num_languages), count).astype(np.int64)


class BatchParts(Dataset[AnyBatch]):
    """Training batches cut into parts: rows part, part + num_parts, … of the batch of an (epoch, step)."""

    def __init__(self, batches: TrainingData, *, num_parts: int) -> None:
        self._batches = batches
        self._num_parts = num_parts

    def __getitem__(self, epoch_step_part: tuple[int, int, int]) -> AnyBatch:
        epoch, step, part = epoch_step_part
        batch = self._batches[epoch, step]
        return type(batch)(*(rows[part :: self._num_parts] for rows in batch))


def evaluation_batches(
    utterances: Sequence[Utterance], *, store: FeatureStore, data: DataConfig, max_frames: int = 40_000
) -> list[Batch]:
    """Utterances in batches of similar length, normalised, padded with zeros, `max_frames` padded frames at most.

    `indices` give each utterance's place in `utterances`.
    """
    lengths = [store.utterance_frames(each, frames_per_s=data.features.frames_per_s) for each in utterances]
    groups = groups_of_similar_length(lengths, max_frames=max_frames)
    return [_padded(group, utterances, store=store, data=data) for group in groups]


def groups_of_similar_length(lengths: Sequence[int], *, max_frames: int) -> list[list[int]]:
    """Places in `lengths`, the shortest first, in groups of `max_frames` padded frames at most, or of one."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not groups or lengths[index] * (len(groups[-1]) + 1) > max_frames:
            groups.append([])
        groups[-1].append(index)
    return groups


def training_loader(
    batches: TrainingData, *, steps_per_epoch: int, micro_batches: int = 1, num_ranks: int = 1
) -> DataLoader[AnyBatch]:
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


def development_loader(batches: Sequence[AnyBatch], *, num_ranks: int = 1) -> DataLoader[AnyBatch]:
    """Padded batches of all utterances; each rank gets its share."""
    dataset: Any = batches  # a list is a map-style data set
    return DataLoader(dataset, sampler=RankShare(len(dataset), num_ranks=num_ranks), batch_size=None)


def _rank(num_ranks: int) -> int:
    """This process's place among the ranks."""
    return torch.distributed.get_rank() if num_ranks > 1 else 0


def _padded(group: Sequence[int], utterances: Sequence[Utterance], *, store: FeatureStore, data: DataConfig) -> Batch:
    heard = (store.utterance(utterances[i], frames_per_s=data.features.frames_per_s) for i in group)
    normalised = map(normalise, heard)
    features = [represent(torch.from_numpy(frames), data.features) for frames in normalised]
    return Batch(
        torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
        torch.tensor([len(frames) for frames in features]),
        torch.tensor([data.languages.index(utterances[i].language) for i in group]),
        torch.tensor(list(group)),
    )
