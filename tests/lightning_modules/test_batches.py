"""Batches: balanced and repeatable in training; complete, padded and bounded in evaluation.

Training tests use recordings of which each moves one band of its own, so that a segment shows what it was cut from.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import AugmentationConfig, DataConfig, TrialConfig
from lightning_modules.data.batches import Batch, TrainingBatches, evaluation_batches, training_loader
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import normalise
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.errors import CorpusError

LAW = settings(max_examples=40)
NUM_BANDS = 16
NO_AUGMENTATION: dict[str, Any] = dict.fromkeys(AugmentationConfig.model_fields, 0) | {"copies": {}}


def recording(name: str, *, split: str = "train") -> Recording:
    """A recording named `language/source/speaker/number`."""
    language, source, speaker, _ = name.split("/")
    fields: dict[str, Any] = {"language": language, "source": source, "speaker": speaker, "split": split}
    return Recording(id=name, path="", duration_s=0.4, **fields)


def store_of(frames: dict[str, npt.NDArray[np.float16]]) -> FeatureStore:
    offsets = np.concatenate([[0], np.cumsum([len(block) for block in frames.values()])])
    blocks = np.concatenate(list(frames.values()))
    return FeatureStore(Path("nowhere"), frames=blocks, offsets=offsets, ids=list(frames))


def one_band_each(recordings: Sequence[Recording], *, num_frames: int = 40) -> FeatureStore:
    """Recording i moves in band i alone."""
    rng = np.random.default_rng(0)
    frames = {}
    for band, item in enumerate(recordings):
        frames[item.id] = np.zeros((num_frames, NUM_BANDS), np.float16)
        frames[item.id][:, band] = rng.normal(size=num_frames)
    return store_of(frames)


def make_config(*, languages: tuple[str, ...] = ("en", "fr"), batch_size: int = 6, seed: int = 0) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "data": {"languages": languages, "segment_s": 0.3, "features": {"num_bands": NUM_BANDS}},
            "augmentation": NO_AUGMENTATION,
            "training": {"batch_size": batch_size},
            "seed": seed,
        }
    )


def parts_of(batch: Batch, recordings: Sequence[Recording]) -> list[list[Recording]]:
    """The recordings that each segment was cut from."""
    moving_BD = batch.features.abs().amax(dim=1) > 0.5
    return [[recordings[band] for band in row.nonzero().ravel().tolist()] for row in moving_BD]


TALKERS = [
    *(recording(f"en/studio/ann/{number}") for number in range(6)),
    recording("en/studio/bob/0"),
    recording("en/radio/cat/0"),
    recording("fr/studio/dan/0"),
    recording("fr/studio/dan/1"),
]


@pytest.fixture(scope="module")
def drawn() -> Counter[tuple[str, str, str]]:
    """How often 100 batches drew each (language, source, speaker)."""
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=make_config(batch_size=16))
    parts = [part for step in range(100) for part in parts_of(batches[0, step], TALKERS)]
    assert all(len(part) == 1 for part in parts)  # each recording is longer than a segment
    return Counter((item.language, item.source, item.speaker) for [item] in parts)


# --- training ---------------------------------------------------------------------------------------------------------


def test_every_other_batch_has_long_segments_where_they_are_asked_for() -> None:
    config = make_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"long_segment_s": 0.7})})
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=config)
    assert [set(batches[0, step].lengths.tolist()) for step in range(4)] == [{30}, {70}, {30}, {70}]


@pytest.mark.parametrize("balance", ["weights", "none"])
def test_without_balancing_languages_come_as_often_as_the_corpus_has_them(balance: str) -> None:
    config = TrialConfig.model_validate(
        make_config().model_dump() | {"training": {"batch_size": 100, "class_balance": balance}}
    )
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=config)
    assert batches.prior_L.tolist() == pytest.approx([0.8, 0.2])  # eight recordings of one length against two
    drawn_N = torch.cat([batches[0, step].languages for step in range(20)])
    assert 0.75 < float((drawn_N == 0).double().mean()) < 0.85


def test_further_languages_are_trained_on_behind_the_targets() -> None:
    config = make_config(languages=("fr", "es"), batch_size=9)
    config = config.model_copy(update={"data": config.data.model_copy(update={"further_languages": ("en",)})})
    talkers = [*TALKERS, recording("es/studio/eve/0")]
    batches = TrainingBatches(talkers, store=one_band_each(talkers), config=config)
    assert batches.prior_L.tolist() == pytest.approx([1 / 3] * 3)
    batch = batches[0, 0]
    spoken = [{part.language for part in parts}.pop() for parts in parts_of(batch, talkers)]
    assert [("fr", "es", "en")[place] for place in batch.languages.tolist()] == spoken
    assert sorted(spoken) == ["en"] * 3 + ["es"] * 3 + ["fr"] * 3


def test_balanced_batches_have_an_equal_prior() -> None:
    assert TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=make_config()).prior_L.tolist() == [0.5, 0.5]


@given(batch_size=st.integers(1, 20), seed=st.integers(0, 100), epoch=st.integers(0, 50), step=st.integers(0, 50))
@LAW
def test_each_batch_has_each_language_as_often_to_within_one(batch_size: int, seed: int, epoch: int, step: int) -> None:
    recordings = [recording(f"{language}/studio/{language}/0") for language in ("en", "fr", "it")]
    config = make_config(languages=("en", "fr", "it"), batch_size=batch_size, seed=seed)
    batch = TrainingBatches(recordings, store=one_band_each(recordings), config=config)[epoch, step]
    counts = torch.bincount(batch.languages, minlength=3)
    assert int(counts.sum()) == batch_size
    assert int(counts.max() - counts.min()) <= 1


def test_the_language_that_comes_once_more_is_not_always_the_same() -> None:
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=make_config(batch_size=3))
    assert {int(batches[0, step].languages.sum()) for step in range(20)} == {1, 2}


def test_each_segment_is_of_the_language_that_it_is_said_to_be() -> None:
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=make_config(languages=("fr", "en")))
    for step in range(10):
        batch = batches[0, step]
        spoken = [("fr", "en").index(part[0].language) for part in parts_of(batch, TALKERS)]
        assert batch.languages.tolist() == spoken


def test_sources_of_a_language_are_drawn_equally(drawn: Counter[tuple[str, str, str]]) -> None:
    assert drawn["en", "radio", "cat"] / 800 == pytest.approx(0.5, abs=0.07)


def test_speakers_of_a_source_are_drawn_equally(drawn: Counter[tuple[str, str, str]]) -> None:
    ann, bob = drawn["en", "studio", "ann"], drawn["en", "studio", "bob"]
    assert ann / (ann + bob) == pytest.approx(0.5, abs=0.1)


def test_every_speaker_is_drawn(drawn: Counter[tuple[str, str, str]]) -> None:
    assert set(drawn) == {(item.language, item.source, item.speaker) for item in TALKERS}


def test_only_training_recordings_of_target_languages_enter() -> None:
    others = [
        recording("en/studio/eve/0", split="dev"),
        recording("fr/studio/dan/9", split="test"),
        recording("it/studio/gio/0"),
    ]
    recordings = [*others, *TALKERS]
    batches = TrainingBatches(recordings, store=one_band_each(recordings), config=make_config(batch_size=16))
    heard = {item.id for step in range(50) for part in parts_of(batches[0, step], recordings) for item in part}
    assert heard == {item.id for item in TALKERS}


def test_short_recordings_of_one_speaker_are_joined() -> None:
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS, num_frames=10), config=make_config(batch_size=16))
    parts = [part for step in range(10) for part in parts_of(batches[0, step], TALKERS)]
    assert max(map(len, parts)) > 1
    assert all(len({item.speaker for item in part}) == 1 for part in parts)


def test_a_segment_starts_anywhere_in_its_recording() -> None:
    recordings = [recording("en/studio/ann/0"), recording("fr/studio/dan/0")]
    ramp = np.linspace(0, 8, 40, dtype=np.float16)[:, None].repeat(NUM_BANDS, axis=1)
    ramp[20, 0] = 100.0  # one frame stands out, wherever a segment starts
    batches = TrainingBatches(
        recordings, store=store_of({item.id: ramp for item in recordings}), config=make_config(batch_size=16)
    )
    places = torch.cat([batches[0, step].features[:, :, 0].argmax(dim=1) for step in range(20)])
    assert sorted(set(places.tolist())) == list(range(11, 21))  # 31 of 40 frames can start at 0 to 9


def test_a_batch_has_the_shape_that_the_configuration_asks_for() -> None:
    batch = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=make_config(batch_size=5))[0, 0]
    assert batch.features.shape == (5, 30, NUM_BANDS)
    assert batch.features.dtype == torch.float32
    assert batch.lengths.tolist() == [30] * 5
    assert batch.languages.dtype == torch.int64
    assert batch.indices.tolist() == list(range(5))


def augmented_config(*, seed: int = 0) -> TrialConfig:
    return make_config(seed=seed).model_copy(update={"augmentation": AugmentationConfig()})


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@given(order=st.permutations(TALKERS), epoch=st.integers(0, 1000), step=st.integers(0, 1000))
@LAW
def test_a_batch_depends_on_seed_epoch_and_step_alone(order: list[Recording], epoch: int, step: int) -> None:
    store, config = one_band_each(TALKERS), augmented_config(seed=7)
    used = TrainingBatches(order, store=store, config=config)
    _ = used[step, epoch]
    fresh = TrainingBatches(TALKERS, store=store, config=config)
    assert same(used[epoch, step], fresh[epoch, step])


@pytest.mark.parametrize(("seed", "epoch", "step"), [(8, 2, 3), (7, 3, 3), (7, 2, 4), (7, 3, 2)])
def test_another_seed_epoch_or_step_gives_another_batch(seed: int, epoch: int, step: int) -> None:
    store = one_band_each(TALKERS)
    one = TrainingBatches(TALKERS, store=store, config=augmented_config(seed=7))[2, 3]
    other = TrainingBatches(TALKERS, store=store, config=augmented_config(seed=seed))[epoch, step]
    assert not torch.equal(one.features, other.features)


def test_no_two_batches_of_a_training_are_alike() -> None:
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=augmented_config())
    seen = {batches[epoch, step].features.numpy().tobytes() for epoch in range(5) for step in range(5)}
    assert len(seen) == 25


@pytest.mark.parametrize("split", ["dev", "test", None])
def test_a_language_without_training_recordings_is_refused(split: str | None) -> None:
    recordings = [recording("en/studio/ann/0"), *([recording("fr/studio/dan/0", split=split)] if split else [])]
    with pytest.raises(CorpusError, match=r"language 'fr' has no training recordings .* data\.languages"):
        TrainingBatches(recordings, store=one_band_each(recordings), config=make_config())


def test_the_loader_gives_the_steps_of_its_epoch() -> None:
    batches = TrainingBatches(TALKERS, store=one_band_each(TALKERS), config=augmented_config())
    loader = training_loader(batches, steps_per_epoch=3)
    sampler: Any = loader.sampler
    sampler.set_epoch(4)
    assert len(loader) == 3
    for step, batch in enumerate(loader):
        assert same(Batch(*batch), batches[4, step])


# --- evaluation -------------------------------------------------------------------------------------------------------


def spoken(lengths: Sequence[int]) -> tuple[list[Utterance], FeatureStore]:
    """Utterances of so many frames, every second one joined of two recordings where it is long enough."""
    rng = np.random.default_rng(0)
    frames: dict[str, npt.NDArray[np.float16]] = {}
    utterances = []
    for number, length in enumerate(lengths):
        cuts = [length // 2, length - length // 2] if number % 2 and length > 1 else [length]
        names = tuple(f"{number}-{part}" for part in range(len(cuts)))
        frames |= {
            name: rng.normal(3.0, 2.0, size=(cut, 8)).astype(np.float16) for name, cut in zip(names, cuts, strict=True)
        }
        utterances.append(
            Utterance(
                id=f"#{number}",
                language=["en", "fr", "it"][number % 3],
                source="studio",
                speaker="ann",
                split="dev",
                recordings=names,
                duration_s=length / 100,
            )
        )
    return utterances, store_of(frames)


def batched(lengths: Sequence[int], *, max_frames: int) -> list[Batch]:
    utterances, store = spoken(lengths)
    return evaluation_batches(
        utterances, store=store, data=DataConfig(languages=("it", "en", "fr")), max_frames=max_frames
    )


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)
MAX_FRAMES = st.integers(1, 300)


@given(lengths=LENGTHS, max_frames=MAX_FRAMES)
@LAW
def test_each_utterance_is_evaluated_exactly_once(lengths: list[int], max_frames: int) -> None:
    indices = torch.cat([batch.indices for batch in batched(lengths, max_frames=max_frames)])
    assert sorted(indices.tolist()) == list(range(len(lengths)))


@given(lengths=LENGTHS, max_frames=MAX_FRAMES)
@LAW
def test_a_batch_is_bounded_unless_one_utterance_is_longer(lengths: list[int], max_frames: int) -> None:
    for batch in batched(lengths, max_frames=max_frames):
        num_utterances, num_frames, _ = batch.features.shape
        assert num_utterances * num_frames <= max_frames or num_utterances == 1
        assert num_frames == int(batch.lengths.max())


@given(lengths=LENGTHS, max_frames=MAX_FRAMES)
@LAW
def test_utterances_are_joined_normalised_and_padded_with_zeros(lengths: list[int], max_frames: int) -> None:
    utterances, store = spoken(lengths)
    for batch in batched(lengths, max_frames=max_frames):
        for features, length, index in zip(batch.features, batch.lengths.tolist(), batch.indices.tolist(), strict=True):
            joined = np.concatenate([store.frames(name) for name in utterances[index].recordings])
            assert length == lengths[index]
            np.testing.assert_array_equal(features[:length], normalise(joined))
            assert not features[length:].any()


@given(lengths=LENGTHS, max_frames=MAX_FRAMES)
@LAW
def test_languages_are_numbered_in_the_order_given(lengths: list[int], max_frames: int) -> None:
    utterances, _ = spoken(lengths)
    for batch in batched(lengths, max_frames=max_frames):
        names = [("it", "en", "fr")[language] for language in batch.languages.tolist()]
        assert names == [utterances[index].language for index in batch.indices.tolist()]


def test_utterances_of_similar_length_share_a_batch() -> None:
    lengths = [50, 1, 49, 2, 48, 3]
    groups = [sorted(batch.lengths.tolist()) for batch in batched(lengths, max_frames=150)]
    assert groups == [[1, 2, 3], [48, 49, 50]]


def test_there_are_no_batches_of_no_utterances() -> None:
    store = store_of({"a": np.zeros((1, 8), np.float16)})
    assert evaluation_batches([], store=store, data=DataConfig(languages=("en", "fr"))) == []
