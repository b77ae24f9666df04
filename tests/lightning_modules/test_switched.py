"""Batches of code-switched recordings: what is in them is what they say, balanced, repeatable, and cut into parts.

Each recording of the corpus moves a band of its own, so that a frame shows what it was cut from.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import BatchParts, SwitchedBatch, training_loader
from lightning_modules.data.features import normalise
from lightning_modules.data.switched import NONE, cut_to_shortest, languages_of_frames, switched_evaluation_batches
from lightning_modules.data.switched_utterances import join_switched, part_rows
from lightning_modules.data.tasks import scored_speech, training_batches
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import CorpusError
from tests.lightning_modules.switching import (
    LANGUAGES,
    NUM_BANDS,
    eight_recordings,
    make_config,
    make_recordings,
    noise,
    one_band_each,
)

TRAIN = make_recordings("train")
STORE = one_band_each(TRAIN)
BATCH: dict[str, Any] = {"training": {"batch_size": 7}}


def drawn(epoch: int = 0, step: int = 0, *, config: TrialConfig | None = None, **options: Any) -> SwitchedBatch:
    batch = training_batches(TRAIN, store=STORE, config=config or make_config(**BATCH, **options))[epoch, step]
    assert isinstance(batch, SwitchedBatch)
    return batch


def parts_of(batch: SwitchedBatch) -> list[list[tuple[int, Tensor]]]:
    """Each recording's parts: language and (T, D) features."""
    return [
        [
            (int(language), x_TD)
            for language, x_TD in zip(
                batch.part_languages[i, :count],
                batch.features[i, : batch.lengths[i]].tensor_split(batch.part_frames[i, : count - 1].cumsum(0)),
                strict=True,
            )
        ]
        for i, count in enumerate(batch.num_parts.tolist())
    ]


def spoken_in(x_TD: Tensor) -> set[str]:
    """The languages of the recordings that were cut."""
    return {TRAIN[band].language for band in (x_TD.abs().amax(dim=0) > 0).nonzero().ravel().tolist()}


# --- training ---------------------------------------------------------------------------------------------------------


def test_each_part_is_speech_of_its_language_and_neighbours_differ() -> None:
    for step in range(10):
        for parts in parts_of(drawn(step=step)):
            assert 2 <= len(parts) <= 4
            assert all(one != other for (one, _), (other, _) in pairwise(parts))
            for language, x_TD in parts:
                assert spoken_in(x_TD) == {LANGUAGES[language]}
                assert 20 <= len(x_TD) <= 50


def test_each_part_is_normalised_by_itself() -> None:
    for parts in parts_of(drawn()):
        for _, x_TD in parts:
            moving_TD = x_TD[:, x_TD.abs().amax(dim=0) > 0]
            torch.testing.assert_close(moving_TD.mean(dim=0), torch.zeros(moving_TD.shape[1]), atol=1e-5, rtol=0)
            assert float(moving_TD.square().mean(dim=0).sub(1).abs().max()) < 0.01


def test_a_channel_is_laid_over_the_whole_recording() -> None:
    """A band that moves in no part shows nothing else, and offsets and gains are its only augmentation here."""
    augmentation = {**make_config().augmentation.model_dump(), "band_offset": 1.0, "gain": 1.0}
    batch = drawn(augmentation=augmentation)
    offsets = []
    for parts in parts_of(batch):
        still_TD = torch.cat([x_TD for _, x_TD in parts])
        still_TD = still_TD[:, still_TD.std(dim=0) < 1e-6]
        assert still_TD.shape[1] > 0
        assert bool((still_TD == still_TD[0]).all())
        offsets.append(float(still_TD[0].abs().mean()))
    assert len(set(offsets)) == len(offsets), "and each recording has its own"


def test_recordings_begin_with_each_language_as_often_to_within_one() -> None:
    for step in range(10):
        counts = torch.bincount(drawn(step=step).part_languages[:, 0], minlength=3)
        assert int(counts.max() - counts.min()) <= 1


def test_each_language_comes_equally_often_at_each_place_and_after_each_other() -> None:
    bigrams: Counter[tuple[int, int]] = Counter()
    counts: Counter[int] = Counter()
    for step in range(150):
        for parts in parts_of(drawn(step=step)):
            languages = [language for language, _ in parts]
            counts.update(languages)
            bigrams.update(pairwise(languages))
    assert all(counts[language] / counts.total() == pytest.approx(1 / 3, abs=0.03) for language in range(3))
    assert len(bigrams) == 6
    assert all(count / bigrams.total() == pytest.approx(1 / 6, abs=0.03) for count in bigrams.values())


def test_numbers_and_lengths_of_parts_vary_over_all_that_is_allowed() -> None:
    batches = [drawn(step=step) for step in range(30)]
    counts = Counter(int(count) for batch in batches for count in batch.num_parts)
    assert all(counts[number] / counts.total() == pytest.approx(1 / 3, abs=0.1) for number in (2, 3, 4))
    frames = torch.cat([batch.part_frames[batch.part_frames > 0] for batch in batches])
    assert (int(frames.min()), int(frames.max())) == (20, 50)


def test_only_training_recordings_of_target_languages_enter() -> None:
    others = [*make_recordings("dev"), *make_recordings("train", languages=("ru",))]
    recordings = [*TRAIN, *others]
    store = one_band_each(recordings, num_bands=len(recordings))
    config = make_config(**BATCH, data={"features": {"num_bands": 64}})
    batches = training_batches(recordings, store=store, config=config)
    assert all(float(batches[0, step].features[..., len(TRAIN) :].abs().max()) == 0 for step in range(10))


def test_a_language_without_training_speech_is_told() -> None:
    with pytest.raises(CorpusError, match="'it' has no training recordings"):
        training_batches(TRAIN[:8], store=STORE, config=make_config())


def same(one: SwitchedBatch, other: SwitchedBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


AUGMENTED = {"augmentation": {}, **BATCH}


def test_a_batch_depends_on_seed_epoch_and_step_alone() -> None:
    config = make_config(**AUGMENTED, seed=7)
    batches = training_batches(TRAIN, store=STORE, config=config)
    for step in range(3):
        _ = batches[1, step]
    again: Any = batches[2, 3]
    assert same(drawn(2, 3, config=config), again)
    for epoch, step, seed in ((1, 3, 7), (2, 4, 7), (2, 3, 8)):
        assert not same(drawn(epoch, step, config=make_config(**AUGMENTED, seed=seed)), again)


@pytest.mark.parametrize("num_parts", [2, 3, 7, 9])
def test_the_parts_of_a_batch_are_its_rows(num_parts: int) -> None:
    batches = training_batches(TRAIN, store=STORE, config=make_config(**AUGMENTED))
    whole = batches[1, 2]
    assert isinstance(whole, SwitchedBatch)
    cut = BatchParts(batches, num_parts=num_parts)
    parts = [cut[1, 2, part] for part in range(num_parts)]
    assert all(isinstance(part, SwitchedBatch) for part in parts)
    assert sum(len(part.lengths) for part in parts) == 7
    for row in range(7):
        part, place = parts[row % num_parts], row // num_parts
        assert all(torch.equal(mine[place], all_of[row]) for mine, all_of in zip(part, whole, strict=True))


def test_a_loader_gives_the_steps_of_an_epoch() -> None:
    batches: Any = training_batches(TRAIN, store=STORE, config=make_config(**AUGMENTED))
    loaded: list[Any] = list(training_loader(batches, steps_per_epoch=3))
    assert [same(batch, batches[0, step]) for step, batch in enumerate(loaded)] == [True] * 3


# --- development and test ---------------------------------------------------------------------------------------------

DEV = make_recordings("dev")
DEV_STORE = one_band_each(DEV)


def test_all_rows_are_in_the_batches_once_and_hold_the_beginning_of_their_utterance() -> None:
    config = make_config()
    assert config.task.kind == "labelling"
    utterances = join_utterances(DEV, split="dev", data=config.data)
    joined = join_switched(utterances, switching=config.task.switching)
    speech = scored_speech(DEV, split="dev", store=DEV_STORE, config=config)
    assert speech.rows == part_rows(joined)
    seen = []
    for batch in speech.batches:
        assert isinstance(batch, SwitchedBatch)
        for i, parts in enumerate(parts_of(batch)):
            for place, (language, x_TD) in enumerate(parts):
                row = speech.rows[int(batch.indices[i, place])]
                frames = np.concatenate([DEV_STORE.frames(recording) for recording in row.recordings])
                np.testing.assert_array_equal(x_TD.numpy(), normalise(frames[: len(x_TD)]))
                assert len(x_TD) == round(100 * row.duration_s)
                assert LANGUAGES[language] == row.language
                seen.append(int(batch.indices[i, place]))
    assert sorted(seen) == list(range(len(speech.rows)))


def test_evaluation_batches_keep_to_their_size_and_pad_with_nothing() -> None:
    config = make_config()
    assert config.task.kind == "labelling"
    joined = join_switched(join_utterances(DEV, split="dev", data=config.data), switching=config.task.switching)
    batches = switched_evaluation_batches(joined, store=DEV_STORE, data=config.data, max_frames=150)
    assert len(batches) > 1
    for batch in batches:
        assert batch.features.shape[0] == 1 or batch.features.shape[0] * batch.features.shape[1] <= 150
        for i, length in enumerate(batch.lengths.tolist()):
            assert not batch.features[i, length:].any()
            assert batch.part_frames[i].sum() == length
            count = int(batch.num_parts[i])
            assert batch.part_languages[i, count:].eq(NONE).all()
            assert batch.indices[i, count:].eq(NONE).all()
            assert batch.part_languages[i, :count].ge(0).all()


# --- frames -----------------------------------------------------------------------------------------------------------


def test_each_frame_has_the_language_of_its_part_and_padding_that_of_the_last() -> None:
    batch = noise([[0, 1, 0], [2, 1]], [[2, 1, 3], [1, 2]], longer=1)
    expected = [[0, 0, 1, 0, 0, 0, 0], [2, 1, 1, 1, 1, 1, 1]]
    assert languages_of_frames(batch).tolist() == expected


def test_a_batch_of_noise_is_what_it_says() -> None:
    batch = eight_recordings(hint=9.0)
    for parts in parts_of(batch):
        for language, x_TD in parts:
            assert int(x_TD.mean(dim=0).argmax()) == language
    assert batch.features.shape[2] == NUM_BANDS


def test_recordings_that_are_cut_to_the_shortest_keep_their_beginnings_and_what_is_spoken_there() -> None:
    whole = noise([[0, 1, 2], [1, 0]], [[7, 4, 6], [5, 8]])
    cut = cut_to_shortest(whole)
    assert isinstance(cut, SwitchedBatch)
    assert cut.lengths.tolist() == [13, 13]
    assert torch.equal(cut.features, whole.features[:, :13])
    assert cut.part_frames.tolist() == [[7, 4, 2], [5, 8, 0]]
    assert cut.num_parts.tolist() == [3, 2]
    assert torch.equal(languages_of_frames(cut), languages_of_frames(whole)[:, :13])
    shorter = cut_to_shortest(noise([[0, 1, 2], [1]], [[3, 4, 6], [5]]))
    assert isinstance(shorter, SwitchedBatch)
    assert shorter.part_languages.tolist() == [[0, 1], [1, NONE]], "no part that nobody is left with"
    assert shorter.indices.tolist() == [[0, 1], [3, NONE]]
