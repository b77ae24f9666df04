"""Code-switched recordings of development and test data: laws of how utterances are joined."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import ClassificationConfig, LabellingConfig, SequenceConfig, SwitchingConfig
from lightning_modules.data.manifest import Utterance
from lightning_modules.data.switched_utterances import Part, join_switched, part_rows, scored_rows
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import CorpusError
from tests.lightning_modules.switching import make_config, make_recordings

LAW = settings(max_examples=60)


def utterance(language: str, number: int, *, duration_s: float = 5.0) -> Utterance:
    return Utterance(
        id=f"{language}/a#{number}",
        language=language,
        source=language,
        speaker=f"{language}/a",
        split="dev",
        recordings=(f"{language}/{number}",),
        duration_s=duration_s,
    )


def utterances_of(counts: dict[str, int], *, duration_s: float = 5.0) -> list[Utterance]:
    return [
        utterance(language, number, duration_s=duration_s)
        for language, count in counts.items()
        for number in range(count)
    ]


def ids(recordings: list[tuple[Part, ...]]) -> list[str]:
    return [part.utterance.id for parts in recordings for part in parts]


switchings = st.builds(
    lambda low, more, short, longer: SwitchingConfig(
        min_parts=low, max_parts=low + more, min_part_s=short, max_part_s=short + longer
    ),
    st.integers(1, 4),
    st.integers(0, 3),
    st.floats(0.2, 4.0),
    st.floats(0.0, 4.0),
)


@given(counts=st.lists(st.integers(8, 30), min_size=2, max_size=5), switching=switchings)
@LAW
def test_each_recording_is_as_configured_and_no_utterance_comes_twice(
    counts: list[int], switching: SwitchingConfig
) -> None:
    utterances = utterances_of({f"l{i}": count for i, count in enumerate(counts)})
    recordings = join_switched(utterances, switching=switching)
    assert max(Counter(ids(recordings)).values()) == 1
    for parts in recordings:
        assert switching.min_parts <= len(parts) <= switching.max_parts
        assert all(one.utterance.language != other.utterance.language for one, other in pairwise(parts))
        for part in parts:
            assert switching.min_part_s <= part.duration_s <= min(switching.max_part_s, part.utterance.duration_s)


@given(count=st.integers(4, 30), num_languages=st.integers(2, 6), switching=switchings)
@LAW
def test_of_languages_that_are_equally_frequent_hardly_anything_is_left_out(
    count: int, num_languages: int, switching: SwitchingConfig
) -> None:
    utterances = utterances_of({f"l{i}": count for i in range(num_languages)})
    left_out = len(utterances) - len(ids(join_switched(utterances, switching=switching)))
    assert left_out < switching.min_parts + 1


def test_lengths_and_numbers_of_parts_vary_over_all_that_is_allowed() -> None:
    switching = SwitchingConfig(min_parts=2, max_parts=4, min_part_s=1.0, max_part_s=3.0)
    recordings = join_switched(utterances_of({"en": 200, "fr": 200, "it": 200}), switching=switching)
    counts = Counter(len(parts) for parts in recordings)
    assert all(counts[number] / len(recordings) == pytest.approx(1 / 3, abs=0.1) for number in (2, 3, 4))
    seconds = [part.duration_s for parts in recordings for part in parts]
    assert sum(seconds) / len(seconds) == pytest.approx(2.0, abs=0.1)
    assert [min(seconds), max(seconds)] == pytest.approx([1.0, 3.0], abs=0.05)


def test_languages_that_are_heard_again_in_a_recording_are_not_avoided() -> None:
    """Else a decoder could guess: with three languages, half of all thirds in a row are the first again."""
    recordings = join_switched(utterances_of({"en": 300, "fr": 300, "it": 300}), switching=SwitchingConfig(min_parts=3))
    again = [parts[0].utterance.language == parts[2].utterance.language for parts in recordings]
    assert sum(again) / len(again) == pytest.approx(0.5, abs=0.1)


def test_an_utterance_that_is_short_is_taken_whole_and_one_that_is_too_short_left_out() -> None:
    switching = SwitchingConfig(min_part_s=1.5, max_part_s=4.0)
    short = [utterance(language, 50, duration_s=1.6) for language in ("en", "fr")]
    too_short = [utterance(language, 51, duration_s=1.4) for language in ("en", "fr")]
    recordings = join_switched([*utterances_of({"en": 9, "fr": 9}), *short, *too_short], switching=switching)
    seconds = {part.utterance.id: part.duration_s for parts in recordings for part in parts}
    assert not {each.id for each in too_short} & set(seconds)
    assert all(seconds[each.id] <= 1.6 for each in short)
    assert max(seconds.values()) > 3.0


def test_a_language_without_a_part_is_told_with_what_to_change() -> None:
    utterances = [*utterances_of({"en": 9, "fr": 9}), utterance("it", 0, duration_s=1.0)]
    with pytest.raises(CorpusError, match=r"no part of a code-switched recording in it: .*min_part_s \(1\.5 s\)"):
        join_switched(utterances, switching=SwitchingConfig())


def test_rows_stand_in_the_order_of_parts_under_names_of_their_own() -> None:
    recordings = join_switched(utterances_of({"en": 9, "fr": 9}), switching=SwitchingConfig())
    rows = part_rows(recordings)
    assert len({row.id for row in rows}) == len(rows)
    assert [row.id.partition(":")[2] for row in rows] == ids(recordings)
    assert rows[0].id.startswith("0.0:")
    assert [row.duration_s for row in rows] == [part.duration_s for parts in recordings for part in parts]


# --- from a corpus ----------------------------------------------------------------------------------------------------

CORPUS = [each for split in ("train", "dev", "test") for each in make_recordings(split, count=8)]
SWITCHED = make_config()


def rows(recordings: list[Any], *, split: Any = "dev", task: Any = SWITCHED.task) -> tuple[Utterance, ...]:
    return scored_rows(recordings, split=split, data=SWITCHED.data, task=task)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_no_speaker_and_no_recording_of_another_split_enters(split: str) -> None:
    spoken = {recording.id: recording for recording in CORPUS}
    found = rows(CORPUS, split=split)
    assert found
    assert {recording.split for row in found for recording in map(spoken.__getitem__, row.recordings)} == {split}
    others = {recording.speaker for recording in CORPUS if recording.split != split}
    assert not others & {row.speaker for row in found}
    used = [recording for row in found for recording in row.recordings]
    assert len(set(used)) == len(used), "what is heard twice would count twice"


def test_rows_are_the_same_whatever_the_order_of_the_recordings_and_the_task_that_asks() -> None:
    shuffled = random.Random(1).sample(CORPUS, len(CORPUS))
    sequence = make_config(kind="sequence").task
    assert rows(CORPUS) == rows(shuffled) == rows(CORPUS, task=sequence)
    assert isinstance(SWITCHED.task, LabellingConfig)
    assert isinstance(sequence, SequenceConfig)


def test_a_row_says_what_is_true_of_its_utterance() -> None:
    utterances = {each.id: each for each in join_utterances(CORPUS, split="dev", data=SWITCHED.data)}
    for row in rows(CORPUS):
        whole = utterances[row.id.partition(":")[2]]
        assert replace(row, id=whole.id, duration_s=whole.duration_s) == whole


def test_classification_is_scored_on_whole_utterances() -> None:
    assert rows(CORPUS, task=ClassificationConfig()) == join_utterances(CORPUS, split="dev", data=SWITCHED.data)
