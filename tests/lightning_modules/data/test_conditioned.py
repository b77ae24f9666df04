"""What a condition sounds like."""

from pathlib import Path

import numpy as np
import pytest

from lightning_modules.data.audio import SAMPLE_RATE_HZ, Samples
from lightning_modules.data.conditioned import samples_of
from lightning_modules.data.conditions import Cut, cut, parse_condition
from lightning_modules.data.conversion import write_flac
from lightning_modules.data.manifest import Recording
from lightning_modules.data.waveforms import speech_power
from lightning_modules.errors import CorpusError

MUSIC: Samples = np.sin(np.arange(50_000) / 7).astype(np.float32)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Two speakers of noise-like speech, twelve seconds each, at two levels."""
    rng = np.random.default_rng(0)
    found = []
    for number, level in enumerate((0.05, 0.2)):
        samples = (level * rng.standard_normal(12 * SAMPLE_RATE_HZ)).astype(np.float32)
        audio_hash = write_flac(tmp_path / f"{number}.flac", samples)
        found.append(
            Recording(
                id=str(number),
                path=f"{number}.flac",
                language="en",
                source="s",
                speaker=f"s/{number}",
                duration_s=12.0,
                split="test",
                audio_hash=audio_hash,
            )
        )
    return found


def heard(name: str, recordings: list[Recording], folder: Path) -> list[tuple[Cut, Samples, Samples]]:
    """Each cut, what is heard of it, and the same cut without what lies over it."""
    condition = parse_condition(name)
    plain = parse_condition(name.split("-", maxsplit=1)[0])
    cuts = cut(recordings, condition, languages=["en"], max_utterances=10)
    return [
        (
            each,
            samples_of(each, condition, corpus=folder, music=MUSIC),
            samples_of(each, plain, corpus=folder, music=MUSIC),
        )
        for each in cuts
    ]


@pytest.mark.parametrize(("over", "snr_db"), [("noise", 5), ("noise", 20), ("music", 10)])
def test_what_lies_over_speech_has_the_power_that_its_name_says(
    over: str, snr_db: int, recordings: list[Recording], tmp_path: Path
) -> None:
    found = heard(f"10s-{over}-{snr_db}db", recordings, tmp_path)
    assert len(found) == 2
    for _, mixed, plain in found:
        added = (mixed - plain).astype(np.float64)
        assert 10 * np.log10(speech_power(plain) / np.square(added).mean()) == pytest.approx(snr_db, abs=0.2)
        power, frequency = np.square(np.abs(np.fft.rfft(added))), np.fft.rfftfreq(len(added), 1 / SAMPLE_RATE_HZ)
        assert power[(frequency < 95) | (frequency > 3405)].sum() < 0.01 * power.sum(), (
            "all of it in the band of speech"
        )


def test_the_first_half_alone_is_noisy(recordings: list[Recording], tmp_path: Path) -> None:
    for _, mixed, plain in heard("10s-noise-5db-first-half", recordings, tmp_path):
        half = len(mixed) // 2
        np.testing.assert_array_equal(mixed[half:], plain[half:])
        assert np.abs(mixed[:half] - plain[:half]).mean() > 0.01


def test_the_same_cut_sounds_the_same_each_time(recordings: list[Recording], tmp_path: Path) -> None:
    first, again = (heard("3s-noise-10db", recordings, tmp_path) for _ in range(2))
    for (_, one, _), (_, other, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    (_, one, plain), (_, other, other_plain) = first[:2]
    assert np.abs((one - plain) - (other - other_plain)).max() > 1e-3, "cuts have noises of their own"


def test_two_speakers_are_heard_one_after_the_other(recordings: list[Recording], tmp_path: Path) -> None:
    condition = parse_condition("10s-two-speakers")
    for each in cut(recordings, condition, languages=["en"], max_utterances=10):
        samples = samples_of(each, condition, corpus=tmp_path, music=MUSIC)
        levels = [float(np.std(part)) for part in np.array_split(samples, 2)]
        assert sorted(levels) == pytest.approx([0.05, 0.2], rel=0.1)


def test_a_missing_file_is_told(recordings: list[Recording], tmp_path: Path) -> None:
    (tmp_path / "0.flac").unlink()
    with pytest.raises(CorpusError):
        heard("3s", recordings, tmp_path)
