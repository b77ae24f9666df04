"""Code-switched recordings for tests: a corpus of which each recording moves one band, and batches of noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_modules.config import AugmentationConfig, TrialConfig
from lightning_modules.data.batches import SwitchedBatch
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording
from lightning_modules.data.switched import switched_batch

LANGUAGES = ("en", "fr", "it")
NUM_BANDS = 12
NO_AUGMENTATION: dict[str, Any] = dict.fromkeys(AugmentationConfig.model_fields, 0) | {"copies": {}}


def make_recordings(
    split: str, *, languages: Sequence[str] = LANGUAGES, count: int = 4, duration_s: float = 1.0
) -> list[Recording]:
    """So many a language, of two speakers of its own."""
    fields: dict[str, Any] = {"split": split}
    return [
        Recording(
            id=f"{split}/{language}/{number}",
            path="",
            language=language,
            source=f"{split}-{language}",
            speaker=f"{split}-{language}/{number % 2}",
            duration_s=duration_s,
            **fields,
        )
        for language in languages
        for number in range(count)
    ]


def one_band_each(recordings: Sequence[Recording], *, num_bands: int = NUM_BANDS) -> FeatureStore:
    """Recording i moves in band i alone, one value a frame that none of its others has."""
    rng = np.random.default_rng(0)
    blocks = []
    for band, recording in enumerate(recordings):
        block = np.zeros((round(recording.duration_s * 100), num_bands), np.float16)
        block[:, band] = rng.normal(size=len(block))
        blocks.append(block)
    offsets = np.cumsum([0, *map(len, blocks)])
    ids = [recording.id for recording in recordings]
    return FeatureStore(Path("nowhere"), frames=np.concatenate(blocks), offsets=offsets, ids=ids)


def make_config(*, kind: str = "labelling", seed: int = 0, **parts: Any) -> TrialConfig:
    """No augmentation, and parts of 0.2 to 0.5 s."""
    task = {
        "kind": kind,
        "switching": {"min_parts": 2, "max_parts": 4, "min_part_s": 0.2, "max_part_s": 0.5},
        **parts.pop("task", {}),
    }
    data = {
        "languages": LANGUAGES,
        "features": {"num_bands": NUM_BANDS},
        "utterance_s": 1.0,
        "minimum_s": 0.1,
        **parts.pop("data", {}),
    }
    return TrialConfig.model_validate(
        {"data": data, "task": task, "augmentation": NO_AUGMENTATION, "seed": seed, **parts}
    )


def noise(
    languages: Sequence[Sequence[int]],
    frames: Sequence[Sequence[int]],
    *,
    hint: float = 0.0,
    garbage: float = 0.0,
    longer: int = 0,
) -> SwitchedBatch:
    """Recordings of noise, each the same whatever stands beside it.

    Args:
        languages: of each recording's parts.
        frames: of each recording's parts.
        hint: what is added to band l wherever language l is spoken.
        garbage: what stands past the ends.
        longer: frames of padding that even the longest recording has.
    """
    features = [_noise(i, *each, hint=hint) for i, each in enumerate(zip(languages, frames, strict=True))]
    first_rows = np.cumsum([0, *map(len, languages)])[:-1].tolist()
    batch = switched_batch(features, languages=languages, frames=frames, first_rows=first_rows)
    padded_BTD = torch.full((len(features), int(batch.lengths.max()) + longer, NUM_BANDS), garbage)
    for i, x_TD in enumerate(features):
        padded_BTD[i, : len(x_TD)] = x_TD
    return batch._replace(features=padded_BTD)


def _noise(seed: int, languages: Sequence[int], frames: Sequence[int], *, hint: float) -> Tensor:
    x_TD = torch.randn(sum(frames), NUM_BANDS, generator=torch.Generator().manual_seed(seed))
    ends = np.cumsum(frames)
    for language, end, count in zip(languages, ends, frames, strict=True):
        x_TD[end - count : end, language] += hint
    return x_TD


def eight_recordings(*, hint: float = 0.0) -> SwitchedBatch:
    """Two to four parts each, of 6 to 20 frames."""
    languages = [[0, 1], [1, 0, 2], [2, 1], [0, 2, 0, 1], [1, 2], [2, 0, 1], [1, 0], [0, 1, 2]]
    frames = [[12, 9], [6, 20, 9], [15, 6], [9, 6, 12, 9], [20, 6], [7, 8, 9], [18, 9], [6, 12, 15]]
    return noise(languages, frames, hint=hint)


def rows_of(batch: SwitchedBatch, chosen: Sequence[int]) -> SwitchedBatch:
    """Some of its recordings, in that order."""
    return SwitchedBatch(*(field[torch.tensor(chosen)] for field in batch))
