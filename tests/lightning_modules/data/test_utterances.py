"""How recordings are joined."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.config import DataConfig
from lightning_modules.data.manifest import Recording, Split
from lightning_modules.data.utterances import LONGEST, join_utterances
from lightning_modules.errors import CorpusError

DATA = DataConfig(languages=("en", "fr"), utterance_s=4.0, minimum_s=2.0, max_utterances=10)


def recording(number: int, *, speaker: str, duration_s: float, language: str = "en", split: Split = "dev") -> Recording:
    name = f"{language}/{speaker}/{number:03}"
    return Recording(
        id=name,
        path=f"{name}.flac",
        language=language,
        source=language,
        speaker=f"{language}/{speaker}",
        duration_s=duration_s,
        split=split,
    )


def english(durations_s: list[float], *, speaker: str = "a") -> list[Recording]:
    return [recording(number, speaker=speaker, duration_s=duration_s) for number, duration_s in enumerate(durations_s)]


FRENCH = [recording(0, speaker="z", duration_s=4.0, language="fr")]


@st.composite
def corpora(draw: st.DrawFn) -> list[Recording]:
    """Some speakers in two languages, each language with at least one usable recording."""
    durations = st.lists(st.floats(0.2, 20.0), max_size=12)
    rows = [*FRENCH, recording(999, speaker="z", duration_s=4.0)]
    for speaker in ("a", "b"):
        for language in ("en", "fr"):
            for split in ("dev", "test"):
                rows += [
                    recording(number, speaker=f"{speaker}-{split}", duration_s=value, language=language, split=split)
                    for number, value in enumerate(draw(durations))
                ]
    return rows


configurations = st.builds(
    DataConfig,
    languages=st.just(("fr", "en")),
    utterance_s=st.floats(3.0, 10.0),
    minimum_s=st.floats(0.0, 3.0),
    max_utterances=st.integers(1, 12),
)


@given(corpora(), configurations)
def test_an_utterance_is_one_speaker_in_one_split_and_its_parts_add_up(rows: list[Recording], data: DataConfig) -> None:
    by_id = {row.id: row for row in rows}
    for utterance in join_utterances(rows, split="dev", data=data):
        parts = [by_id[name] for name in utterance.recordings]
        assert {(part.speaker, part.language, part.split) for part in parts} == {
            (utterance.speaker, utterance.language, "dev")
        }
        assert utterance.recordings == tuple(sorted(utterance.recordings))
        assert utterance.duration_s == pytest.approx(sum(part.duration_s for part in parts))


@given(corpora(), configurations)
def test_no_recording_serves_twice_and_no_id_is_given_twice(rows: list[Recording], data: DataConfig) -> None:
    utterances = join_utterances(rows, split="dev", data=data)
    used = Counter(name for utterance in utterances for name in utterance.recordings)
    assert max(used.values()) == 1
    assert len({utterance.id for utterance in utterances}) == len(utterances)


@given(corpora(), configurations, st.randoms(use_true_random=False))
def test_the_order_of_recordings_does_not_matter(
    rows: list[Recording], data: DataConfig, shuffler: random.Random
) -> None:
    shuffled = shuffler.sample(rows, len(rows))
    assert join_utterances(shuffled, split="dev", data=data) == join_utterances(rows, split="dev", data=data)


@given(corpora(), configurations)
def test_lengths_and_numbers_keep_their_bounds(rows: list[Recording], data: DataConfig) -> None:
    utterances = join_utterances(rows, split="dev", data=data)
    for utterance in utterances:
        limit = LONGEST if len(utterance.recordings) == 1 else 2
        assert data.minimum_s <= utterance.duration_s <= limit * data.utterance_s
    assert max(Counter(utterance.language for utterance in utterances).values()) <= data.max_utterances
    assert list(dict.fromkeys(utterance.language for utterance in utterances)) == ["fr", "en"]


def test_a_speaker_of_two_languages_has_ids_that_differ() -> None:
    rows = [
        replace(recording(number, speaker="x", duration_s=4.0, language=language), speaker="client7", split="test")
        for number, language in enumerate(("en", "fr"))
    ]
    utterances = join_utterances(rows, split="test", data=DataConfig(languages=("en", "fr")))
    assert [each.id for each in utterances] == ["en/en/client7#0", "fr/fr/client7#0"]


def test_recordings_are_joined_until_the_length_is_reached() -> None:
    utterances = join_utterances([*english([1, 2, 1.5, 3, 1.5]), *FRENCH], split="dev", data=DATA)
    assert [utterance.recordings for utterance in utterances[:2]] == [
        ("en/a/000", "en/a/001", "en/a/002"),
        ("en/a/003", "en/a/004"),
    ]
    assert [utterance.id for utterance in utterances] == ["en/a#0", "en/a#1", "fr/z#0"]


def test_a_long_recording_stays_alone_and_interrupts_nothing() -> None:
    utterances = join_utterances([*english([1.5, 6, 3]), *FRENCH], split="dev", data=DATA)
    assert [utterance.recordings for utterance in utterances[:2]] == [("en/a/001",), ("en/a/000", "en/a/002")]


def test_a_far_too_long_recording_is_left_out() -> None:
    utterances = join_utterances([*english([12.5, 4]), *FRENCH], split="dev", data=DATA)
    assert [utterance.recordings for utterance in utterances if utterance.language == "en"] == [("en/a/001",)]


def test_a_rest_is_kept_from_the_minimum_on() -> None:
    for rest_s, expected in ((1.9, 1), (2.0, 2)):
        utterances = join_utterances([*english([4, rest_s]), *FRENCH], split="dev", data=DATA)
        assert sum(utterance.language == "en" for utterance in utterances) == expected


def test_the_limit_is_shared_evenly_and_spread_over_each_speaker() -> None:
    rows = [*english([4] * 20, speaker="a"), *english([4] * 2, speaker="b"), *english([4] * 20, speaker="c"), *FRENCH]
    utterances = join_utterances(rows, split="dev", data=DATA)
    shares = Counter(utterance.speaker for utterance in utterances if utterance.language == "en")
    assert shares == {"en/a": 4, "en/b": 2, "en/c": 4}
    assert [utterance.id for utterance in utterances][:4] == ["en/a#0", "en/a#5", "en/a#10", "en/a#15"]


def test_a_language_without_utterances_is_named() -> None:
    with pytest.raises(CorpusError, match=r"no dev utterance of 2 to 12 s in fr; dev speech exists in en\."):
        join_utterances(english([4]), split="dev", data=DATA)


def test_a_split_without_speech_says_so() -> None:
    with pytest.raises(CorpusError, match=r"in en, fr; test speech exists in no language"):
        join_utterances(english([4]), split="test", data=DATA)


def test_a_long_recording_is_left_out_or_cut_into_stretches_of_the_length() -> None:
    rows = [*english([13.0, 4.0]), *FRENCH]
    left_out = [each for each in join_utterances(rows, split="dev", data=DATA) if each.language == "en"]
    assert [each.recordings for each in left_out] == [("en/a/001",)]
    cutting = DATA.model_copy(update={"long_recordings": "cut"})
    cut = [each for each in join_utterances(rows, split="dev", data=cutting) if each.language == "en"]
    assert [(each.recordings, each.start_s, each.duration_s) for each in cut] == [
        (("en/a/000",), 0.0, 4.0),
        (("en/a/000",), 4.0, 4.0),
        (("en/a/000",), 8.0, 4.0),
        (("en/a/001",), None, 4.0),
    ]
    assert len({each.id for each in cut}) == len(cut)


@given(corpora(), configurations)
def test_cutting_adds_utterances_and_changes_no_other(rows: list[Recording], data: DataConfig) -> None:
    many = data.model_copy(update={"max_utterances": 1000})
    plain = join_utterances(rows, split="dev", data=many)
    cut = join_utterances(rows, split="dev", data=many.model_copy(update={"long_recordings": "cut"}))
    assert [each.recordings for each in cut if each.start_s is None] == [each.recordings for each in plain]
    assert all(each.duration_s == data.utterance_s for each in cut if each.start_s is not None)
