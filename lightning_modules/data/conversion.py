"""Many audio files at once: decoded, cleaned and written as FLAC on all cores, with duplicates left out.

Worker processes are spawned, so nothing of the caller (threads, a CUDA context) leaks into them.
"""

import hashlib
import io
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from lightning_modules.data.audio import SAMPLE_RATE_HZ, NotSpeechError, Samples, clean, decode, is_effect
from lightning_modules.data.cards import Harvest, Progress, Skipped
from lightning_modules.data.manifest import Recording, Split, samples_hash

_HEAD_S: Final = 0.5
_LOUD: Final = 0.05  # of full scale; above the noise of 8 bits
_CHUNK: Final = 32


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to bring in: `id` becomes the recording's, the rest its manifest row."""

    id: str
    file: Path
    language: str
    source: str
    speaker: str
    split: Split


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A recording that was written.

    Attributes:
        duration_s: seconds, after trimming.
        audio_hash: of its 16-bit samples.
        head_hash: of half a second of the file as it was decoded, from the first loud sample on: what two copies share
            even where their silences differ.
    """

    duration_s: float
    audio_hash: str
    head_hash: str


def convert(jobs: Sequence[Job], *, folder: Path, progress: Progress) -> Harvest:
    """Converts all files below `folder / "audio"`; unusable ones and duplicates are skipped with a reason."""
    wanted = [job for job in jobs if not is_effect(job.id)]
    results = dict(zip((job.id for job in wanted), _run(wanted, folder=folder, progress=progress), strict=True))
    converted = {job.id: result for job in wanted if isinstance(result := results[job.id], Converted)}
    reasons = {job.id: "a tone, an effect or silence, by its name" for job in jobs if is_effect(job.id)}
    reasons |= {name: result for name, result in results.items() if isinstance(result, str)}
    reasons |= duplicates(wanted, converted)
    for name in reasons.keys() & converted.keys():
        audio_file(folder, name).unlink()
    kept = [job for job in wanted if job.id not in reasons]
    return Harvest(
        recordings=tuple(sorted((_recording(job, converted[job.id]) for job in kept), key=lambda row: row.id)),
        audio_hashes={job.id: converted[job.id].audio_hash for job in kept},
        skipped=tuple(Skipped(path=name, reason=reasons[name]) for name in sorted(reasons)),
    )


def duplicates(jobs: Sequence[Job], converted: dict[str, Converted]) -> dict[str, str]:
    """Ids to leave out, and why.

    Of recordings with the same samples the first id stays. Of recordings in several languages that begin alike none
    stays: a line that was not dubbed is in one language only, and nobody wrote down which.
    """
    by_samples, by_head = defaultdict[str, list[Job]](list), defaultdict[str, list[Job]](list)
    for job in sorted((job for job in jobs if job.id in converted), key=lambda job: job.id):
        by_samples[converted[job.id].audio_hash].append(job)
        by_head[converted[job.id].head_hash].append(job)
    reasons = {job.id: f"the same as {group[0].id}" for group in by_samples.values() for job in group[1:]}
    for group in by_head.values():
        if len({job.language for job in group}) > 1:
            reasons |= {job.id: "the same waveform in several languages" for job in group}
    return reasons


def audio_file(folder: Path, name: str) -> Path:
    """Where the recording of that id is written."""
    return folder / relative_path(name)


def relative_path(name: str) -> str:
    """The same, relative to the corpus folder."""
    return f"audio/{name}.flac"


def _recording(job: Job, converted: Converted) -> Recording:
    return Recording(
        id=job.id,
        path=relative_path(job.id),
        language=job.language,
        source=job.source,
        speaker=job.speaker,
        duration_s=converted.duration_s,
        split=job.split,
    )


def _run(jobs: Sequence[Job], *, folder: Path, progress: Progress) -> Iterator[Converted | str]:
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        done = 0
        for results in pool.map(_convert_chunk, chunks, [folder] * len(chunks)):
            done += len(results)
            progress("converting recordings", done, len(jobs))
            yield from results


def _convert_chunk(jobs: Sequence[Job], folder: Path) -> list[Converted | str]:
    return [_convert_one(job, folder) for job in jobs]


def _convert_one(job: Job, folder: Path) -> Converted | str:
    try:
        decoded, rate_hz = decode(job.file)
        samples = clean(decoded, rate_hz=rate_hz)
    except NotSpeechError as error:
        return str(error)
    return Converted(
        duration_s=round(samples.size / SAMPLE_RATE_HZ, 4),
        audio_hash=write_flac(audio_file(folder, job.id), samples),
        head_hash=_head_hash(decoded, rate_hz=rate_hz),
    )


def write_flac(path: Path, samples: Samples) -> str:
    """Writes (num_samples,) at 8 kHz as 16-bit FLAC; returns 16 hexadecimal digits of a hash of the 16-bit samples."""
    import soundfile

    pcm = np.round(samples * 32767.0).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()  # soundfile does not say that a disk is full, Python's own files do
    soundfile.write(encoded, pcm, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16", compression_level=0.2)
    path.write_bytes(encoded.getvalue())
    return samples_hash(pcm)


def _head_hash(samples: Samples, *, rate_hz: int) -> str:
    # Copies have more or less silence before the speech: the head starts at the first sample that is loud.
    start = int(np.argmax(np.abs(samples) > _LOUD))
    head = samples[start : start + round(_HEAD_S * rate_hz)]
    return hashlib.sha256(np.round(head * 32767.0).astype("<i2").tobytes()).hexdigest()
