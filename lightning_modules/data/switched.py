"""Batches of code-switched recordings, joined from monolingual speech of one split, with known boundaries.

Each part is normalised by itself, as an utterance is: parts come from different sources, whose channels would tell
languages and boundaries otherwise. In training speed, vocal tract and noise vary from part to part, and then one
channel, one level and one set of masks are laid over the whole recording, as one microphone would.

Shape legend: B recordings, N parts of all of them, P parts of one, T frames, D bands.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from lightning_modules.config import DataConfig, SwitchingConfig, TrialConfig
from lightning_modules.data.augmentation import normalise_segments, raw_frames_needed, vary_channel, vary_speech
from lightning_modules.data.batches import (
    AnyBatch,
    SwitchedBatch,
    balanced_languages,
    generators_of,
    groups_of_similar_length,
)
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import normalise
from lightning_modules.data.manifest import Recording
from lightning_modules.data.representation import represent
from lightning_modules.data.segments import Segments, language_shares
from lightning_modules.data.switched_utterances import Part

NONE = -1
"""Language and place of a part that a recording does not have."""


class SwitchedTrainingBatches(Dataset[SwitchedBatch]):
    """Training batches by (epoch, step).

    The languages that recordings begin with are balanced to within one; each further one is drawn from all others
    alike. So every language comes equally often in the long run, and what was heard tells nothing of what follows,
    but that it is another language.

    Attributes:
        prior_L: how often they hold each language.
    """

    def __init__(
        self, recordings: Sequence[Recording], *, store: FeatureStore, config: TrialConfig, switching: SwitchingConfig
    ) -> None:
        self._config = config
        self._num_behind = config.data.features.pitch_size
        self._switching = switching
        self._segments = Segments(
            recordings,
            store=store,
            languages=config.data.languages,
            copies=config.augmentation.copies,
            source_exponent=config.training.source_exponent,
        )
        self.prior_L = language_shares(recordings, config)

    def __getitem__(self, epoch_step: tuple[int, int]) -> SwitchedBatch:
        rng, generator = generators_of(self._config.seed, *epoch_step)
        num_languages = len(self._config.data.languages)
        firsts = balanced_languages(rng, num_languages, count=self._config.training.batch_size)
        languages = [self._languages(rng, int(first)) for first in firsts]
        frames = [self._frames(rng, count=len(each)) for each in languages]
        parts = iter(self._parts(rng, generator, np.concatenate(languages), np.concatenate(frames)))
        joined = [torch.cat([next(parts) for _ in each]) for each in languages]
        varied = [
            vary_channel(
                x_TD.unsqueeze(0), self._config.augmentation, generator=generator, num_behind=self._num_behind
            ).squeeze(0)
            for x_TD in joined
        ]
        features = [represent(x_TD, self._config.data.features) for x_TD in varied]
        return switched_batch(features, languages=languages, frames=frames, first_rows=_first_rows(languages))

    def _languages(self, rng: np.random.Generator, first: int) -> list[int]:
        """Language indices of one recording's parts; no two neighbours are equal."""
        languages = [first]
        for _ in range(int(rng.integers(self._switching.min_parts, self._switching.max_parts + 1)) - 1):
            step = int(rng.integers(1, len(self._config.data.languages)))
            languages.append((languages[-1] + step) % len(self._config.data.languages))
        return languages

    def _frames(self, rng: np.random.Generator, *, count: int) -> list[int]:
        seconds = rng.uniform(self._switching.min_part_s, self._switching.max_part_s, size=count)
        return [_num_frames(float(each), self._config.data) for each in seconds]

    def _parts(
        self, rng: np.random.Generator, generator: torch.Generator, languages_N: np.ndarray, frames_N: np.ndarray
    ) -> list[Tensor]:
        """Each part (T, D), varied and normalised; all are drawn at the length of the longest and cut."""
        num_frames, augmentation = int(frames_N.max()), self._config.augmentation
        num_raw_frames = raw_frames_needed(num_frames, augmentation)
        drawn = [self._segments.draw(rng, int(language), num_frames=num_raw_frames) for language in languages_N]
        varied_NTD = vary_speech(
            torch.from_numpy(np.stack(drawn)),
            augmentation,
            num_frames=num_frames,
            generator=generator,
            num_behind=self._num_behind,
        )
        return [
            normalise_segments(x_TD[:length].unsqueeze(0)).squeeze(0)
            for x_TD, length in zip(varied_NTD, frames_N.tolist(), strict=True)
        ]


def switched_evaluation_batches(
    recordings: Sequence[Sequence[Part]], *, store: FeatureStore, data: DataConfig, max_frames: int = 40_000
) -> list[SwitchedBatch]:
    """Recordings in batches of similar length, padded with zeros, `max_frames` padded frames at most.

    `indices` give each part's place among all parts, in the order of `part_rows`.
    """
    features = [[_cut(part, store=store, data=data) for part in parts] for parts in recordings]
    languages = [[data.languages.index(part.utterance.language) for part in parts] for parts in recordings]
    frames = [[len(part) for part in parts] for parts in features]
    first_rows = _first_rows(languages)
    groups = groups_of_similar_length([sum(each) for each in frames], max_frames=max_frames)
    return [
        switched_batch(
            [represent(torch.cat(features[i]), data.features) for i in group],
            languages=[languages[i] for i in group],
            frames=[frames[i] for i in group],
            first_rows=[first_rows[i] for i in group],
        )
        for group in groups
    ]


def switched_batch(
    features: Sequence[Tensor],
    *,
    languages: Sequence[Sequence[int]],
    frames: Sequence[Sequence[int]],
    first_rows: Sequence[int],
) -> SwitchedBatch:
    """Pads recordings: each one's (T, D) features, its parts' languages and frames, and its first part's row."""
    rows = [range(first, first + len(each)) for first, each in zip(first_rows, languages, strict=True)]
    return SwitchedBatch(
        features=pad_sequence(list(features), batch_first=True),
        lengths=torch.tensor([len(x_TD) for x_TD in features]),
        part_languages=_padded(languages, filling=NONE),
        part_frames=_padded(frames, filling=0),
        num_parts=torch.tensor([len(each) for each in languages]),
        indices=_padded(rows, filling=NONE),
    )


def languages_of_frames(batch: SwitchedBatch) -> Tensor:
    """(B, T) the language that is spoken in each frame; past a recording's end, that of its last part."""
    ends_BP = batch.part_frames.cumsum(dim=1)
    frames_T = torch.arange(batch.features.shape[1], device=ends_BP.device)
    parts_BT = torch.searchsorted(ends_BP, frames_T.expand(len(ends_BP), -1).contiguous(), right=True)
    parts_BT = torch.minimum(parts_BT, batch.num_parts.unsqueeze(1) - 1)
    return batch.part_languages.gather(1, parts_BT)


def least_frames(switching: SwitchingConfig, data: DataConfig) -> int:
    """Frames that every recording has."""
    return switching.min_parts * _num_frames(switching.min_part_s, data)


def cut_to_shortest(batch: AnyBatch, *, at_most: int | None = None) -> AnyBatch:
    """The beginnings of a batch's utterances or recordings, as long as the shortest, and no longer than `at_most`."""
    shortest = min(int(batch.lengths.min()), at_most or batch.features.shape[1])
    changes = {"features": batch.features[:, :shortest], "lengths": torch.full_like(batch.lengths, shortest)}
    if not isinstance(batch, SwitchedBatch):
        return batch._replace(**changes)
    ends_BP = batch.part_frames.cumsum(dim=1).clamp(max=shortest)
    frames_BP = ends_BP.diff(dim=1, prepend=ends_BP.new_zeros(len(ends_BP), 1))
    most = int((frames_BP > 0).sum(dim=1).max())
    is_left_BP = frames_BP[:, :most] > 0
    return batch._replace(
        **changes,
        part_languages=batch.part_languages[:, :most].masked_fill(~is_left_BP, NONE),
        part_frames=frames_BP[:, :most],
        num_parts=is_left_BP.sum(dim=1),
        indices=batch.indices[:, :most].masked_fill(~is_left_BP, NONE),
    )


def _cut(part: Part, *, store: FeatureStore, data: DataConfig) -> Tensor:
    """(T, D) the beginning of an utterance, normalised."""
    frames = store.utterance(part.utterance, frames_per_s=data.features.frames_per_s)
    return torch.from_numpy(normalise(frames[: _num_frames(part.duration_s, data)]))


def _num_frames(seconds: float, data: DataConfig) -> int:
    return max(1, round(seconds * data.features.frames_per_s))


def _first_rows(languages: Sequence[Sequence[int]]) -> list[int]:
    """Each recording's first part's place among all parts."""
    return list(accumulate((len(each) for each in languages[:-1]), initial=0))


def _padded(rows: Sequence[Sequence[int]], *, filling: int) -> Tensor:
    return pad_sequence([torch.tensor(list(row)) for row in rows], batch_first=True, padding_value=filling)
