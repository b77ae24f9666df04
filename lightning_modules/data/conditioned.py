"""Speech under a condition, from the audio on: cut, joined, mixed with noise, and in batches. Imports torch.

Shape legend: T frames, D bands.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_modules.config import DataConfig
from lightning_modules.data.audio import Samples
from lightning_modules.data.batches import Batch, groups_of_similar_length
from lightning_modules.data.conditions import Condition, Cut
from lightning_modules.data.features import Filterbank, filterbank, normalise
from lightning_modules.data.noises import in_band, music_stretch, noise
from lightning_modules.data.representation import represent
from lightning_modules.data.waveforms import mix
from lightning_modules.errors import CorpusError
from lightning_modules.open_set import OUT_OF_SET

MAX_FRAMES = 40_000
"""Padded frames of a batch."""


def samples_of(cut: Cut, condition: Condition, *, corpus: Path, music: Samples) -> Samples:
    """(num_samples,) of speech under a condition, the same each time: chance is drawn from the cut's id.

    Args:
        cut: of which recordings.
        condition: what lies over them.
        corpus: the folder that their paths are relative to.
        music: of the test set, where the condition asks for it.

    Raises:
        CorpusError: a file is missing, damaged or shorter than its manifest says.
    """
    speech = np.concatenate([_read(corpus / each.recording.path, each.start, each.stop) for each in cut.pieces])
    if condition.over is None:
        return speech
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(cut.row.id.encode()).digest()[:8], "big"))
    if condition.over == "noise":
        over = noise(rng, len(speech), split="test")
    else:
        over = music_stretch(rng, len(speech), music=music)
    over = in_band(over)  # or a ratio would count what lies below and above all that is heard of speech
    return mix(speech, over, snr_db=condition.snr_db, part="first_half" if condition.first_half else "all")


def conditioned_batches(
    cuts: Sequence[Cut], condition: Condition, *, corpus: Path, data: DataConfig, music: Samples, models: Path
) -> Iterator[Batch]:
    """Normalised features of all cuts, those of similar length together, made as they are asked for.

    Languages that are no targets have the index OUT_OF_SET.
    """
    compute = filterbank(data.features, models=models)
    lengths = [round(each.row.duration_s * data.features.frames_per_s) for each in cuts]
    for group in groups_of_similar_length(lengths, max_frames=MAX_FRAMES):
        features = [
            _features(samples_of(cuts[place], condition, corpus=corpus, music=music), compute, data) for place in group
        ]
        yield Batch(
            torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
            torch.tensor([len(frames) for frames in features]),
            torch.tensor([_index(cuts[place].row.language, data.languages) for place in group]),
            torch.tensor(list(group)),
        )


def _features(samples: Samples, compute: Filterbank, data: DataConfig) -> torch.Tensor:
    """(T, D), rounded as the store rounds what networks were trained on."""
    frames = compute(samples).astype(np.float16)
    return represent(torch.from_numpy(normalise(frames)), data.features)


def _read(path: Path, start: int, stop: int) -> Samples:
    import soundfile

    try:
        samples, _ = soundfile.read(path, start=start, stop=stop, dtype="float32")
    except (OSError, RuntimeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from None
    if len(samples) != stop - start:
        raise CorpusError(f"{path} is shorter than its manifest says; prepare the corpus again.")
    return np.asarray(samples)


def _index(language: str, languages: Sequence[str]) -> int:
    return languages.index(language) if language in languages else OUT_OF_SET
