"""Leaks between splits."""

import dataclasses
from collections.abc import Sequence

import pytest

from lightning_modules.data.manifest import Recording, Split
from lightning_modules.data.splits import SharedSpeaker, check_splits, leave_source_out
from lightning_modules.errors import CorpusError


def recording(name: str, *, source: str, speaker: str, split: Split) -> Recording:
    return Recording(
        id=name, path=f"{name}.flac", language="en", source=source, speaker=speaker, duration_s=1.0, split=split
    )


TRAIN = recording("1", source="a", speaker="a/x", split="train")
DEV = recording("2", source="b", speaker="b/y", split="dev")
TEST = recording("3", source="c", speaker="c/z", split="test")


def test_splits_that_share_nothing_pass() -> None:
    assert check_splits([TRAIN, DEV, TEST]) == ()


def test_roles_of_one_source_may_serve_development_and_test() -> None:
    assert check_splits([TRAIN, DEV, dataclasses.replace(TEST, source="b", speaker="b/z")]) == ()


def test_a_speaker_of_development_and_test_is_reported() -> None:
    shared = check_splits([TRAIN, DEV, dataclasses.replace(TEST, source="b", speaker="b/y")])
    assert shared == (SharedSpeaker(language="en", source="b", speaker="b/y"),)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_source_of_training_is_refused_elsewhere(split: Split) -> None:
    with pytest.raises(CorpusError, match=f"source 'a' is in train and in {split}"):
        check_splits([TRAIN, recording("2", source="a", speaker="a/y", split=split)])


def test_a_speaker_of_training_is_refused_in_another_source() -> None:
    with pytest.raises(CorpusError, match="speaker 'a/x' is in train and in test"):
        check_splits([TRAIN, recording("2", source="b", speaker="a/x", split="test")])


def test_a_recording_in_two_splits_is_refused() -> None:
    with pytest.raises(CorpusError, match="two recordings have the id '2'"):
        check_splits([DEV, dataclasses.replace(DEV, split="test")])


def test_one_file_under_two_ids_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"two recordings have the audio file '2\.flac'"):
        check_splits([DEV, dataclasses.replace(DEV, id="4", split="test")])


def corpus_of(*parts: tuple[str, str, str, int]) -> list[Recording]:
    """Recordings of ten seconds each: language, source, speaker, how many."""
    return [
        dataclasses.replace(
            TRAIN,
            id=f"{source}/{speaker}/{number:03}",
            path=f"{source}/{speaker}/{number:03}",
            language=language,
            source=source,
            speaker=f"{source}/{speaker}",
            duration_s=10.0,
        )
        for language, source, speaker, count in parts
        for number in range(count)
    ]


CORPUS = corpus_of(
    ("en", "en-a", "x", 40), ("en", "en-b", "y", 20), ("en", "en-b", "z", 15), ("en", "en-c", "w", 30),
    ("en", "en-tiny", "v", 2),
    ("fr", "fr-a", "x", 40), ("fr", "fr-b", "y", 40), ("nl", "nl-a", "x", 40),
)  # fmt: skip


def scored_sources(recordings: Sequence[Recording]) -> set[str]:
    return {each.source for each in recordings if each.split != "train"}


def test_each_source_is_left_out_in_some_fold_and_the_others_train() -> None:
    folds = [leave_source_out(CORPUS, fold=fold, languages=("en", "fr")) for fold in range(3)]
    assert [scored_sources(fold) for fold in folds] == [{"en-a", "fr-a"}, {"en-b", "fr-b"}, {"en-c", "fr-a"}]
    for fold in folds:
        assert [each.id for each in fold] == [each.id for each in CORPUS], "the order is the feature store's"
        check_splits(fold)
        trained = {each.source for each in fold if each.split == "train"}
        assert trained == {each.source for each in CORPUS} - scored_sources(fold)


def test_what_is_left_out_is_divided_by_speaker_and_else_by_ten_recordings() -> None:
    fold = leave_source_out(CORPUS, fold=1, languages=("en", "fr"))
    of_speaker = {(each.speaker, each.split) for each in fold if each.source == "en-b"}
    assert of_speaker == {("en-b/y", "dev"), ("en-b/z", "test")}
    french = [each.split for each in fold if each.source == "fr-b"]
    assert french == (["dev"] * 10 + ["test"] * 10) * 2


def test_a_language_with_one_source_cannot_be_left_out_of_training() -> None:
    with pytest.raises(CorpusError, match="two sources of 3 minutes a language, but nl has 1"):
        leave_source_out(CORPUS, fold=0, languages=("en", "nl"))
    with pytest.raises(CorpusError, match="folds 0 to 2 of this corpus, not 3"):
        leave_source_out(CORPUS, fold=3, languages=("en", "fr"))


def cut(recordings: Sequence[Recording], *, per_recording: int) -> list[Recording]:
    """The same as cuts of longer recordings, so many of each."""
    return [
        dataclasses.replace(each, cut_of=f"{each.speaker}/call{number // per_recording}")
        for number, each in enumerate(recordings)
    ]


def splits_of_cuts(recordings: Sequence[Recording]) -> dict[str, set[Split]]:
    found = dict[str, set[Split]]()
    for each in recordings:
        found.setdefault(each.cut_of, set()).add(each.split)
    return found


ENGLISH = corpus_of(("en", "en-a", "x", 40))
FRENCH = corpus_of(("fr", "fr-a", "x", 40), ("fr", "fr-b", "y", 40))


def test_cuts_of_a_recording_stay_together_where_a_source_has_one_speaker() -> None:
    corpus = [*ENGLISH, *cut(corpus_of(("en", "en-b", "y", 30)), per_recording=15), *FRENCH]
    fold = leave_source_out(corpus, fold=1, languages=("en", "fr"))
    splits = splits_of_cuts([each for each in fold if each.source == "en-b"])
    assert sorted(splits.values()) == [{"dev"}, {"test"}]


def test_two_sides_of_a_call_stay_together() -> None:
    sides = corpus_of(*(("en", "en-b", speaker, 10) for speaker in "pqrs"))
    calls = [dataclasses.replace(each, cut_of="first" if each.speaker[-1] in "pr" else "second") for each in sides]
    fold = leave_source_out([*ENGLISH, *calls, *FRENCH], fold=1, languages=("en", "fr"))
    splits = splits_of_cuts([each for each in fold if each.source == "en-b"])
    assert splits == {"first": {"dev"}, "second": {"test"}}


def test_a_source_of_one_recording_cannot_be_divided() -> None:
    corpus = [*ENGLISH, *cut(corpus_of(("en", "en-b", "y", 30)), per_recording=30), *FRENCH]
    with pytest.raises(CorpusError, match="would score source 'en-b', which is one recording"):
        leave_source_out(corpus, fold=1, languages=("en", "fr"))


def test_cuts_of_a_recording_in_two_splits_are_refused() -> None:
    pair = [dataclasses.replace(each, cut_of="call") for each in (DEV, dataclasses.replace(TEST, source="b"))]
    with pytest.raises(CorpusError, match="cuts of recording 'call' are in dev and test"):
        check_splits([TRAIN, *pair])
