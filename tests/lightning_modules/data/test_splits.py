"""Leaks between splits."""

import dataclasses

import pytest

from lightning_modules.data.manifest import Recording, Split
from lightning_modules.data.splits import SharedSpeaker, check_splits
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
