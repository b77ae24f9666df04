"""Synthetic speech: texts and voices are divided, and the real synthesiser is tried where it is installed."""

import os
import time
from pathlib import Path

import pytest

from lightning_modules.data.cards import Progress
from lightning_modules.data.conversion import JOURNAL
from lightning_modules.data.corpora import espeak
from lightning_modules.data.corpora.espeak import GROUPS, Espeak, VoiceGroup, make_texts, plan, words_of
from lightning_modules.data.manifest import Split
from lightning_modules.data.splits import check_splits
from lightning_modules.data.synthesis import Line, speak_apart, synthesiser_available
from lightning_modules.errors import CorpusError

needs_synthesiser = pytest.mark.skipif(not synthesiser_available(), reason="the extra 'synth' is not installed")


def test_no_variant_serves_twice() -> None:
    variants = [variant for group in GROUPS for variant in group.variants]
    assert len(set(variants)) == len(variants)


@needs_synthesiser
@pytest.mark.parametrize("language", ["en", "ru"])
def test_splits_share_no_words(language: str) -> None:
    train, dev, test = (set(words_of(language, split=split)) for split in ("train", "dev", "test"))
    assert not train & dev
    assert not train & test
    assert not dev & test
    assert min(len(train), len(dev), len(test)) > 50


@needs_synthesiser
def test_texts_are_the_same_every_time_and_differ_between_voices() -> None:
    texts = make_texts("fr", split="dev", count=5, seed="x")
    assert texts == make_texts("fr", split="dev", count=5, seed="x")
    assert texts != make_texts("fr", split="dev", count=5, seed="y")
    assert all(text.count(",") >= 3 for text in texts)


@needs_synthesiser
def test_a_plan_gives_each_line_a_recording(tmp_path: Path) -> None:
    lines = list(plan("it", tmp_path))
    assert len(lines) == sum(group.num_lines * len(group.variants) for group in GROUPS)
    assert all(line.path == job.file for line, job in lines)
    assert {job.split for _, job in lines} == {"train", "dev", "test"}


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(espeak, "synthesiser_available", lambda: False)
    with pytest.raises(CorpusError, match=r"needs the extra 'synth'.*pip install"):
        Espeak().prepare(tmp_path, downloads=tmp_path, progress=quiet)


@needs_synthesiser
def test_a_small_corpus_is_spoken(tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    voices: dict[Split, str] = {"train": "m1", "dev": "f2", "test": "m4"}
    groups = [VoiceGroup(name=split, split=split, variants=(voice,), num_lines=1) for split, voice in voices.items()]
    monkeypatch.setattr(espeak, "GROUPS", groups)
    harvest = Espeak(languages=("en", "fr")).prepare(tmp_path, downloads=tmp_path, progress=quiet)
    assert len(harvest.recordings) == 6
    assert all(1 < recording.duration_s < 15 for recording in harvest.recordings)
    assert check_splits(harvest.recordings) == ()
    assert set(harvest.versions) == {"espeakng-loader", "babel"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio", JOURNAL]


@needs_synthesiser
def test_a_voice_that_breathes_sounds_the_same_every_time(tmp_path: Path) -> None:
    lines = [Line(variant="f2", text="one, two", path=tmp_path / f"{number}.wav") for number in range(2)]
    for line in lines:
        second = int(time.time())
        assert speak_apart("en", [line])
        while int(time.time()) == second:  # the library would seed itself by the clock, in seconds
            os.sched_yield()
    assert lines[0].path.read_bytes() == lines[1].path.read_bytes()


@needs_synthesiser
def test_a_voice_that_ends_its_process_is_survived(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = Line(variant="nobody-has-this-voice", text="x", path=tmp_path / "x.wav")
    assert not speak_apart("xx-no-such-language", [line])
    capfd.readouterr()


@needs_synthesiser
def test_a_language_that_fails_is_left_out_with_a_warning(
    tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(espeak, "GROUPS", [VoiceGroup(name="a", split="train", variants=("m1",), num_lines=1)])
    monkeypatch.setattr(
        espeak, "speak_apart", lambda language, lines: language != "fr" and speak_apart(language, lines)
    )
    harvest = Espeak(languages=("en", "fr")).prepare(tmp_path, downloads=tmp_path, progress=quiet)
    assert {recording.language for recording in harvest.recordings} == {"en"}
    assert harvest.warnings == ("the synthesiser aborted on fr, which is left out",)
