"""Many files at once: one damaged file never stops the others, duplicates go."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from lightning_modules.data import conversion
from lightning_modules.data.audio import decode as real_decode
from lightning_modules.data.cards import Harvest, Progress
from lightning_modules.data.conversion import Converted, Job, convert, duplicates, write_flac

MakeSpeech = Callable[..., npt.NDArray[np.float32]]


def job(name: str, *, file: Path, language: str = "en") -> Job:
    return Job(id=f"s/{name}", file=file, language=language, source="s", speaker="s/a", split="train")


def new_folder(base: Path) -> Path:
    (base / "corpus").mkdir(exist_ok=True)
    return base / "corpus"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


@pytest.fixture(scope="module")
def harvest(
    folder: Path, make_speech: MakeSpeech, quiet: Progress, tmp_path_factory: pytest.TempPathFactory
) -> Harvest:
    source = tmp_path_factory.mktemp("source")
    shared = (make_speech(seconds=2, seed=9) * 128 + 128).round().clip(0, 255).astype(np.uint8).tobytes()
    soundfile.write(source / "good.wav", make_speech(seconds=1, rate_hz=16000), 16000)
    soundfile.write(source / "again.wav", make_speech(seconds=1, rate_hz=16000), 16000)
    (source / "en.als").write_bytes(shared)
    (source / "es.als").write_bytes(b"\x80" * 50 + shared + b"\x80" * 13)
    (source / "torn.wav").write_bytes(b"RIFF")
    (source / "beep.wav").write_bytes(b"")
    soundfile.write(source / "silent.wav", np.zeros(8000), 8000)
    jobs = [
        job(path.stem, file=path, language="es" if path.stem == "es" else "en") for path in sorted(source.iterdir())
    ]
    return convert(jobs, folder=folder, progress=quiet)


def test_usable_files_become_recordings(harvest: Harvest) -> None:
    (recording,) = harvest.recordings
    assert recording.id == "s/again"
    assert recording.duration_s == pytest.approx(1, abs=0.05)


def test_recordings_are_written_as_telephone_flac(harvest: Harvest, folder: Path) -> None:
    info = soundfile.info(folder / harvest.recordings[0].path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 8000, 1)
    assert info.duration == pytest.approx(harvest.recordings[0].duration_s, abs=1e-3)


def test_every_file_left_out_has_its_reason(harvest: Harvest) -> None:
    assert {entry.path: entry.reason for entry in harvest.skipped} == {
        "s/beep.wav": "a tone, an effect or silence, by its name",
        "s/en.als": "the same waveform in several languages",
        "s/es.als": "the same waveform in several languages",
        "s/good.wav": "the same as s/again",
        "s/silent.wav": "silent",
        "s/torn.wav": "cannot be decoded",
    }


def test_no_file_is_left_of_what_was_skipped(harvest: Harvest, folder: Path) -> None:
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.flac")] == ["audio/s/again.flac"]


def test_a_closed_standard_error_keeps_nothing_from_being_converted(
    tmp_path: Path, make_speech: MakeSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_descriptor: int) -> int:
        raise OSError(9, "Bad file descriptor")

    soundfile.write(tmp_path / "a.wav", make_speech(seconds=1), 8000)
    monkeypatch.setattr(os, "dup", closed)
    (result,) = conversion._convert_chunk([job("a", file=tmp_path / "a.wav")], new_folder(tmp_path))
    assert isinstance(result, Converted)


def test_quiet_recordings_after_silence_are_not_taken_for_each_other(
    tmp_path: Path, make_speech: MakeSpeech, quiet: Progress
) -> None:
    for seed, language in enumerate(("en", "es")):
        speech = np.concatenate([np.zeros(8000, np.float32), 0.03 * make_speech(seconds=1, seed=seed)])
        soundfile.write(tmp_path / f"{language}.wav", speech, 8000)
    jobs = [job(language, file=tmp_path / f"{language}.wav", language=language) for language in ("en", "es")]
    assert convert(jobs, folder=new_folder(tmp_path), progress=quiet).skipped == ()


def test_what_an_interrupted_call_converted_and_nobody_wants_any_more_is_removed(
    tmp_path: Path, make_speech: MakeSpeech, quiet: Progress
) -> None:
    for seed, name in enumerate(("a", "b")):
        soundfile.write(tmp_path / f"{name}.wav", make_speech(seconds=1, seed=seed), 8000)
    jobs = [job(name, file=tmp_path / f"{name}.wav") for name in ("a", "b")]
    convert(jobs, folder=new_folder(tmp_path), progress=quiet)
    convert(jobs[:1], folder=new_folder(tmp_path), progress=quiet)
    assert [path.name for path in (tmp_path / "corpus").rglob("*.flac")] == ["a.flac"]


def deadly_decode(path: Path, *arguments: Any) -> Any:
    """What the kernel does to who takes more memory than there is."""
    if path.stem.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if path.stem.startswith("large"):
        raise MemoryError
    return real_decode(path, *arguments)


def short_of_memory() -> None:
    pytest.MonkeyPatch().setattr(conversion, "decode", deadly_decode)


def pool_that_is_short_of_memory(num_workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=short_of_memory)


def test_a_file_over_which_its_process_is_killed_is_left_out_and_stops_no_other(
    tmp_path: Path, make_speech: MakeSpeech, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*(f"good{number}" for number in range(40)), "deadly", "large"]
    for seed, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.wav", make_speech(seconds=1, seed=seed), 8000)
    jobs = [job(name, file=tmp_path / f"{name}.wav") for name in names]
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "worker_pool", pool_that_is_short_of_memory)
        harvest = convert(jobs, folder=new_folder(tmp_path), progress=quiet)
    assert len(harvest.recordings) == 40
    assert [(each.path, each.reason) for each in harvest.skipped] == [
        ("s/deadly.wav", "takes more memory than there is"),
        ("s/large.wav", "takes more memory than there is"),
    ]
    roomier = convert(jobs, folder=new_folder(tmp_path), progress=quiet)
    assert len(roomier.recordings) == 42


def test_lines_that_begin_alike_in_one_language_both_stay(tmp_path: Path) -> None:
    jobs = [job(name, file=tmp_path) for name in ("short", "long")]
    converted = {entry.id: Converted(duration_s=1.0, audio_hash=entry.id, head_hash="alike") for entry in jobs}
    assert duplicates(jobs, converted) == {}


def test_the_hash_names_the_samples(tmp_path: Path, make_speech: MakeSpeech) -> None:
    first, second = (write_flac(tmp_path / f"{n}.flac", make_speech(seconds=0.5)) for n in range(2))
    other = write_flac(tmp_path / "2.flac", make_speech(seconds=0.5, seed=1))
    assert first == second != other
