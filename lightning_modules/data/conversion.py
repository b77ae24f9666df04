"""Many audio files at once: decoded, cleaned and written as FLAC on all cores, with duplicates left out.

What was converted is noted in a journal beside the audio, a line a file, so that a call that was interrupted goes on
where it was. Worker processes are spawned, so nothing of the caller (threads, a CUDA context) leaks into them.
"""

import contextlib
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from lightning_modules.config.corpus import Detector
from lightning_modules.data.activity import only_speech
from lightning_modules.data.audio import (
    SAMPLE_RATE_HZ,
    WHOLE,
    NotSpeechError,
    Samples,
    Stretch,
    clean,
    decode,
    is_effect,
)
from lightning_modules.data.cards import Damaged, Harvest, Progress, Skipped
from lightning_modules.data.damage import damage_of
from lightning_modules.data.manifest import Recording, Split, samples_hash
from lightning_modules.errors import CorpusError
from lightning_modules.processes import worker_pool

JOURNAL: Final = "converted.jsonl"
_HEAD_S: Final = 0.5
_ENDS_S: Final = 0.3
_ENDS_SHARE: Final = 0.02
_LOUD: Final = 0.05  # of full scale; above the noise of 8 bits
_CHUNK: Final = 32
_BLOCK: Final = 4_000_000  # samples that are looked through at a time
TOO_LARGE: Final = "takes more memory than there is"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file, or a stretch of one, to bring in: `id` becomes the recording's, the rest its manifest row.

    Attributes:
        copy_of: id of a recording that this is another file of: it is of use only if that one is not.
        cut_of: as of Recording.
    """

    id: str
    file: Path
    stretch: Stretch = WHOLE
    activity: Detector = "none"
    language: str
    source: str
    speaker: str
    split: Split
    copy_of: str = ""
    cut_of: str = ""

    @property
    def shown(self) -> str:
        """What a user finds it by: its id, and the file's name."""
        name, suffix = self.file.name, self.file.suffix
        if self.id.endswith(name):
            return self.id
        return f"{self.id}{suffix}" if self.id.endswith(self.file.stem) else f"{self.id} ({name})"


class Converted(NamedTuple):
    """A recording that was written.

    Attributes:
        duration_s: seconds, after trimming.
        audio_hash: of its 16-bit samples.
        head_hash: of half a second of the file as it was decoded, from the first loud sample on: what two copies share
            even where their silences differ.
        damage: what is wrong with the file; "" where nothing is.
    """

    duration_s: float
    audio_hash: str
    head_hash: str
    damage: str = ""


Results = list[Converted | str]
"""Of jobs: a recording, or why there is none."""


def convert(jobs: Sequence[Job], *, folder: Path, progress: Progress) -> Harvest:
    """Converts all files below `folder / "audio"`; unusable ones and duplicates are skipped with a reason.

    Args:
        jobs: what to bring in.
        folder: of the corpus; may hold what an interrupted call has converted.
        progress: told how far it is.

    Raises:
        CorpusError: two have the same id, or one that is no name for a file.
    """
    _check_names(jobs)
    wanted = [job for job in jobs if not is_effect(job.id)]
    results = _run(wanted, folder=folder, progress=progress)
    converted = {job.id: result for job in wanted if isinstance(result := results[job.id], Converted)}
    reasons = {job.id: "a tone, an effect or silence, by its name" for job in jobs if is_effect(job.id)}
    reasons |= {name: result for name, result in results.items() if isinstance(result, str)}
    reasons |= duplicates(wanted, converted)
    kept = [job for job in wanted if job.id not in reasons]
    _remove_all_but({audio_file(folder, job.id) for job in kept}, folder=folder)
    return Harvest(
        recordings=tuple(sorted((_recording(job, converted[job.id]) for job in kept), key=lambda row: row.id)),
        skipped=tuple(
            Skipped(path=job.shown, reason=reasons[job.id])
            for job in sorted(jobs, key=lambda job: job.id)
            if job.id in reasons
        ),
        damaged=tuple(
            Damaged(path=job.shown, reason=converted[job.id].damage)
            for job in sorted(kept, key=lambda job: job.id)
            if converted[job.id].damage
        ),
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
    reasons = {
        job.id: f"another file of {job.copy_of}"
        for job in jobs
        if job.copy_of in converted and job.id in converted and _as_long(converted[job.id], converted[job.copy_of])
    }
    reasons |= {job.id: f"the same as {group[0].id}" for group in by_samples.values() for job in group[1:]}
    for group in by_head.values():
        if len({job.language for job in group}) > 1:
            reasons |= {job.id: "the same waveform in several languages" for job in group}
    return reasons


def _as_long(first: Converted, second: Converted) -> bool:
    """As two codecs of one recording are, but for what they add at the ends."""
    longest = max(first.duration_s, second.duration_s)
    return abs(first.duration_s - second.duration_s) <= _ENDS_S + _ENDS_SHARE * longest


def _remove_all_but(files: set[Path], *, folder: Path) -> None:
    """What an interrupted call converted, and this one has no use for."""
    for left in (folder / "audio").rglob("*.flac"):
        if left not in files and left.is_file():
            left.unlink()


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
        cut_of=job.cut_of,
        audio_hash=converted.audio_hash,
    )


def _check_names(jobs: Sequence[Job]) -> None:
    seen = set[str]()
    for job in jobs:
        if job.id in seen:
            raise CorpusError(f"two recordings have the id {job.id!r}; each must have its own.")
        if not job.id or job.id.startswith("/") or ".." in Path(job.id).parts or not job.id.isprintable():
            raise CorpusError(f"{job.id!r} cannot be a recording's id: it names its audio file.")
        seen.add(job.id)


def _run(jobs: Sequence[Job], *, folder: Path, progress: Progress) -> dict[str, Converted | str]:
    """Job's id -> its recording, or why there is none."""
    marks = {job.id: _mark(job) for job in jobs}
    noted = _read_journal(folder / JOURNAL)
    results = {
        name: result
        for name, (mark, result) in noted.items()
        if marks.get(name) == mark and (isinstance(result, str) or audio_file(folder, name).exists())
    }
    left = [job for job in jobs if job.id not in results]
    chunks = [left[start : start + _CHUNK] for start in range(0, len(left), _CHUNK)]
    if not chunks:
        return results
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        for chunk, converted in _all_converted(chunks, folder):
            for job, result in zip(chunk, converted, strict=True):
                results[job.id] = result
                if result != TOO_LARGE:  # which says as much of the machine as of the file
                    journal.write(json.dumps([job.id, marks[job.id], result]) + "\n")
            journal.flush()
            progress("converting recordings", len(results), len(jobs))
    return results


def _all_converted(chunks: Sequence[Sequence[Job]], folder: Path) -> Iterator[tuple[Sequence[Job], Results]]:
    """Each chunk with its results, on all cores; where a worker is killed, what was under way goes on file by file."""
    num_workers = min(os.cpu_count() or 1, len(chunks))
    num_done = 0
    while num_done < len(chunks):
        left = chunks[num_done:]
        try:
            with worker_pool(num_workers) as pool:
                for chunk, results in zip(left, pool.map(_convert_chunk, left, [folder] * len(left)), strict=True):
                    yield chunk, results
                    num_done += 1
        except BrokenProcessPool:
            for chunk in chunks[num_done : num_done + num_workers]:
                yield chunk, _converted_alone(chunk, folder)
                num_done += 1


def _converted_alone(jobs: Sequence[Job], folder: Path) -> Results:
    """Results of a chunk, one after another; a file over which its process is killed even so is too large."""
    results: Results = []
    while len(results) < len(jobs):
        try:
            with worker_pool(1) as pool:
                for job in jobs[len(results) :]:
                    results.append(pool.submit(_convert_one, job, folder).result())
        except BrokenProcessPool:
            results.append(TOO_LARGE)
    return results


def _mark(job: Job) -> str:
    """What a result was made of: another file in the same place is another."""
    try:
        facts = job.file.stat()
    except (OSError, ValueError):  # a name that no file can have
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns} {job.file} {job.stretch} {job.activity}"


def _read_journal(path: Path) -> dict[str, tuple[str, Converted | str]]:
    """Id -> (mark, result); a line that was cut off, and what was written after it on the same line, is done again."""
    if not path.exists():
        return {}
    noted: dict[str, tuple[str, Converted | str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            name, mark, result = json.loads(line)
            noted[name] = (mark, result if isinstance(result, str) else Converted(*result))
    return noted


def _convert_chunk(jobs: Sequence[Job], folder: Path) -> Results:
    with _silent_decoders():
        return [_convert_one(job, folder) for job in jobs]


@contextlib.contextmanager
def _silent_decoders() -> Iterator[None]:
    """Keeps what libraries in C print of damaged files from the terminal, of this process, which does nothing else."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed, as of some services
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _convert_one(job: Job, folder: Path) -> Converted | str:
    try:
        decoded, rate_hz = decode(job.file, job.stretch)
        samples = clean(decoded, rate_hz=rate_hz, cut=lambda speech: only_speech(speech, job.activity))
    except NotSpeechError as error:
        return str(error)
    except MemoryError:
        return TOO_LARGE
    return Converted(
        duration_s=round(samples.size / SAMPLE_RATE_HZ, 4),
        audio_hash=write_flac(audio_file(folder, job.id), samples),
        head_hash=_head_hash(decoded, rate_hz=rate_hz),
        damage=damage_of(job.file, decoded, rate_hz=rate_hz, stretch=job.stretch),
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
    loud = min(_LOUD, max(float(samples.max()), -float(samples.min())) / 2)
    blocks = range(0, samples.size, _BLOCK)  # an hour at 192 kHz takes 2.8 GB, and as much again for its loudness
    found = ((each, np.flatnonzero(np.abs(samples[each : each + _BLOCK]) > loud)) for each in blocks)
    start = next((each + int(places[0]) for each, places in found if places.size), 0)
    head = samples[start : start + round(_HEAD_S * rate_hz)]
    return hashlib.sha256(np.round(head * 32767.0).astype("<i2").tobytes()).hexdigest()
