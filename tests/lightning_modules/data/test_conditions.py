"""Which stretches of which recordings a condition scores."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data.conditions import Condition, Cut, cut, nested, parse_condition
from lightning_modules.data.manifest import Recording
from lightning_modules.errors import ConfigError

RATE = 8000


def _recordings(durations_s: list[float], *, speaker: str = "a", language: str = "en") -> list[Recording]:
    return [
        Recording(
            id=f"{language}-{speaker}-{number:03}",
            path=f"audio/{number}.flac",
            language=language,
            source=f"{language}-source",
            speaker=f"{language}/{speaker}",
            duration_s=duration_s,
            split="test",
        )
        for number, duration_s in enumerate(durations_s)
    ]


def _cut(recordings: list[Recording], name: str, *, max_utterances: int = 1000) -> tuple[Cut, ...]:
    return cut(recordings, parse_condition(name), languages=["en", "fr"], max_utterances=max_utterances)


def _samples(each: Cut) -> set[tuple[str, int]]:
    """Each hundredth sample of the recordings, whichever stretch it lies in."""
    return {
        (piece.recording.id, at) for piece in each.pieces for at in range(-(-piece.start // 100) * 100, piece.stop, 100)
    }


@given(
    duration=st.sampled_from([None, 3, 10, 30]),
    over=st.sampled_from([None, "noise", "music"]),
    snr_db=st.integers(0, 40),
    first_half=st.booleans(),
    two_speakers=st.booleans(),
)
def test_a_condition_s_name_reads_as_it(
    duration: int | None, over: str | None, snr_db: int, *, first_half: bool, two_speakers: bool
) -> None:
    condition = Condition(
        duration_s=duration,
        over=over,  # type: ignore[arg-type]
        snr_db=snr_db if over else 0,
        first_half=first_half and over is not None,
        two_speakers=two_speakers,
    )
    assert parse_condition(condition.name) == condition


@pytest.mark.parametrize("text", ["", "5s", "10s-noise", "10s-noise-99db", "whole-first-half", "10s-hum-5db", "10s "])
def test_what_is_no_condition_is_told_what_is(text: str) -> None:
    with pytest.raises(ConfigError, match="is no condition; allowed: 3s, 10s, 30s or whole"):
        parse_condition(text)


@given(length_s=st.integers(0, 200))
def test_stretches_lie_within_the_longer_ones_and_apart_from_each_other(length_s: int) -> None:
    length = length_s * RATE + 17
    outer = [(0, length)]
    for duration_s in (30, 10, 3):
        tiles = nested(length, duration_s * RATE)
        assert all(stop - start == duration_s * RATE for start, stop in tiles)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(tiles))
        assert all(any(a <= start and stop <= b for a, b in outer) for start, stop in tiles)
        outer = tiles or outer


def test_short_recordings_are_joined_to_exactly_the_duration() -> None:
    cuts = _cut(_recordings([7.0] * 10), "30s")
    assert [each.row.duration_s for each in cuts] == [30.0, 30.0]
    assert len(cuts[0].pieces) == 5
    assert cuts[0].pieces[-1].stop == 2 * RATE, "the last is cut to fit"


def test_a_long_recording_is_cut_and_never_joined() -> None:
    cuts = _cut(_recordings([65.0, 5.0, 5.0]), "30s")
    assert [[(p.recording.id, p.start, p.stop) for p in each.pieces] for each in cuts] == [
        [("en-a-000", 0, 30 * RATE)],
        [("en-a-000", 30 * RATE, 60 * RATE)],
    ]


@given(durations=st.lists(st.floats(0.5, 80.0), min_size=1, max_size=12))
def test_what_is_scored_at_three_seconds_is_part_of_what_is_scored_at_ten_and_thirty(durations: list[float]) -> None:
    recordings = _recordings([round(each, 4) for each in durations])
    long, middle, short = (_cut(recordings, name) for name in ("30s", "10s", "3s"))
    in_long, in_middle = (set[tuple[str, int]]().union(*map(_samples, each)) for each in (long, middle))
    assert all(_samples(each) <= in_long for each in middle[: 3 * len(long)])
    assert all(_samples(each) <= in_middle for each in short[: 3 * len(middle)])
    assert len(short) >= len(middle) >= len(long)
    taken = [sample for each in short for sample in _samples(each)]
    assert len(taken) == len(set(taken)), "nothing is scored twice at one duration"


def test_what_is_left_of_a_speaker_still_gives_short_stretches() -> None:
    assert len(_cut(_recordings([12.0]), "30s")) == 0
    assert len(_cut(_recordings([12.0]), "10s")) == 1
    assert len(_cut(_recordings([12.0]), "3s")) == 3, "within the ten seconds"


def test_whole_is_each_recording_but_the_shortest() -> None:
    cuts = _cut(_recordings([12.0, 0.8, 100.0]), "whole")
    assert [each.row.duration_s for each in cuts] == [12.0, 100.0]


def test_two_speakers_share_a_stretch_half_and_half() -> None:
    recordings = [*_recordings([10.0] * 3), *_recordings([10.0] * 3, speaker="b")]
    (first, *_) = _cut(recordings, "10s-two-speakers")
    assert [(piece.recording.speaker, piece.start, piece.stop) for piece in first.pieces] == [
        ("en/a", 0, 5 * RATE),
        ("en/b", 5 * RATE, 10 * RATE),
    ]
    assert first.row.speaker == "en/a+en/b"
    assert first.row.duration_s == 10.0


def test_a_language_with_one_speaker_has_no_stretch_of_two() -> None:
    assert _cut(_recordings([30.0] * 3), "10s-two-speakers") == ()


@given(seed=st.integers(0, 20))
def test_the_order_of_recordings_changes_nothing(seed: int) -> None:
    recordings = [*_recordings([4.0] * 9), *_recordings([8.0] * 4, speaker="b"), *_recordings([33.0], language="fr")]
    shuffled = random.Random(seed).sample(recordings, len(recordings))
    assert _cut(shuffled, "10s") == _cut(recordings, "10s")


def test_languages_are_capped_evenly_over_speakers_and_ids_are_unique() -> None:
    recordings = [*_recordings([30.0] * 9), *_recordings([30.0] * 2, speaker="b"), *_recordings([10.0], language="fr")]
    cuts = _cut(recordings, "10s", max_utterances=8)
    speakers = [each.row.speaker for each in cuts]
    assert (speakers.count("en/a"), speakers.count("en/b"), speakers.count("fr/a")) == (4, 4, 1)
    assert len({each.row.id for each in cuts}) == len(cuts)


@pytest.mark.parametrize("most", [1, 2, 5, 11])
def test_under_a_limit_too_what_is_short_lies_within_what_is_long(most: int) -> None:
    recordings = [*_recordings([7.3] * 40), *_recordings([95.0, 4.0], speaker="b")]
    long, middle, short = (_cut(recordings, name, max_utterances=most) for name in ("30s", "10s", "3s"))
    in_long, in_middle = (set[tuple[str, int]]().union(*map(_samples, each)) for each in (long, middle))
    assert (len(long), len(middle), len(short)) == (most, most, most)
    assert all(_samples(each) <= in_long for each in middle)
    assert all(_samples(each) <= in_middle for each in short)


def test_a_speaker_with_too_little_for_the_longer_duration_gives_what_there_is() -> None:
    assert [each.row.duration_s for each in _cut(_recordings([9.5]), "3s", max_utterances=2)] == [3.0, 3.0]
