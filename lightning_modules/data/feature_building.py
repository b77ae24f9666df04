"""Builds feature stores: of a corpus, and of copies of its speech. Building imports torch.

A store is written in a hidden folder beside its place and renamed into it, under a lock.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from lightning_modules.config import CopyKind, FeaturesConfig
from lightning_modules.data.audio import Samples
from lightning_modules.data.cards import Progress
from lightning_modules.data.copies import Change, change_of
from lightning_modules.data.feature_store import MODELS, copy_path, feature_store_path
from lightning_modules.data.features import FULL_SCALE, Frames, filterbank
from lightning_modules.data.manifest import samples_hash
from lightning_modules.data.noises import fetch_music
from lightning_modules.data.prepared import PreparedCorpus, locked
from lightning_modules.errors import CorpusError
from lightning_modules.processes import in_order, worker_pool

REAL_TIME: Final = {"features": 3000.0, "pitch": 100.0, "copies": 100.0}
"""Seconds of speech that a core does in one, about; copies through codecs are the slowest."""
WORTH_S: Final = 10.0
"""Work of one core below which starting processes costs more than they save."""
_CHUNK: Final = 64
_CHUNK_S: Final = 600.0


class _Item(NamedTuple):
    """One recording to compute."""

    id: str
    path: Path
    audio_hash: str
    duration_s: float


class _Work(NamedTuple):
    """What is computed of each recording: features, of it or of a copy of it."""

    features: FeaturesConfig
    kind: CopyKind | None
    workspace: Path


def build_feature_store(
    corpus: PreparedCorpus, features: FeaturesConfig, *, workspace: Path, progress: Progress
) -> Path:
    """Computes the features of a whole corpus unless they are there; safe to call from several processes at once.

    Returns:
        the store's folder.

    Raises:
        CorpusError: an audio file is missing or damaged.
    """
    path = feature_store_path(corpus, features, workspace)
    return _build(path, corpus, _Work(features, None, workspace), progress=progress)


def build_copy(
    kind: CopyKind, corpus: PreparedCorpus, features: FeaturesConfig, *, workspace: Path, progress: Progress
) -> Path:
    """Computes the features of a copy of a corpus, within the store of the corpus itself, which must be there.

    Raises:
        CorpusError: an audio file is missing or damaged, or the music cannot be fetched.
    """
    if kind == "music":
        fetch_music("train", workspace, progress=progress)  # once, before several processes ask for it
    path = copy_path(feature_store_path(corpus, features, workspace), kind)
    return _build(path, corpus, _Work(features, kind, workspace), progress=progress)


def _build(path: Path, corpus: PreparedCorpus, work: _Work, *, progress: Progress) -> Path:
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / f".{path.name}.lock"):
        if not path.exists():
            partial = path.parent / f".{path.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            partial.mkdir()
            _write(corpus, work, partial, progress=progress)
            for file in partial.iterdir():
                _to_disk(file)
            partial.rename(path)
    return path


def _to_disk(path: Path) -> None:
    """So that a power cut leaves no store whose parts are empty."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _blame_the_corpus(corpus: PreparedCorpus) -> Iterator[None]:
    """Turns errors of reading audio into one clear line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise CorpusError(f"{str(error).rstrip('.')}; remove {corpus.root} and prepare the corpus again.") from error


def _write(corpus: PreparedCorpus, work: _Work, folder: Path, *, progress: Progress) -> None:
    import soundfile

    items = [_Item(each.id, corpus.audio_path(each), each.audio_hash, each.duration_s) for each in corpus.recordings]
    num_frames = filterbank(work.features, models=work.workspace / MODELS).num_frames
    with _blame_the_corpus(corpus):
        lengths = [num_frames(soundfile.info(item.path).frames) for item in items]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    frames = _allocate(folder / "frames.npy", shape=(int(offsets[-1]), work.features.stored_size))
    what = "computing features" if work.kind is None else f"making copies ({work.kind})"
    with _blame_the_corpus(corpus):
        for done, block in enumerate(_blocks(items, work, num_workers=_workers(corpus, work)), start=1):
            frames[offsets[done - 1] : offsets[done]] = block
            progress(what, done, len(items))
    frames.flush()
    np.save(folder / "offsets.npy", offsets)
    index = {"ids": [item.id for item in items], "features": work.features.stored()}
    (folder / "index.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


def _allocate(path: Path, *, shape: tuple[int, int]) -> "np.memmap[Any, np.dtype[np.float16]]":
    """A new array in a file; an OSError where the disk is full, since writing to a sparse map would be fatal."""
    frames = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return frames


def _workers(corpus: PreparedCorpus, work: _Work) -> int:
    """Processes that are worth their start; 0 for this one alone, in which a pretrained network uses all cores."""
    if work.features.kind == "self_supervised":
        return 0
    seconds = sum(recording.duration_s for recording in corpus.recordings)
    what = "copies" if work.kind is not None else "pitch" if work.features.pitch else "features"
    is_worth_it = seconds / REAL_TIME[what] > WORTH_S
    num_cores = len(os.sched_getaffinity(0))
    return num_cores if is_worth_it and num_cores > 1 else 0


def _blocks(items: list[_Item], work: _Work, *, num_workers: int) -> Iterator[Frames]:
    """Features of each recording in turn, a core a process.

    On recordings of a few seconds a second thread gains nothing, and on a machine that is busy with other trainings it
    makes every step wait for it.
    """
    chunks = list(_chunks(items))
    if not num_workers:
        with _threads(None if work.features.kind == "self_supervised" else 1):
            compute = _compute(work)
            for chunk in chunks:
                yield from map(compute, chunk)
        return
    with worker_pool(min(num_workers, len(chunks))) as pool:
        for blocks in in_order(pool, partial(_computed, work=work), chunks, ahead=2 * num_workers):
            yield from blocks


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """So many recordings or so many seconds, whichever comes first: what a process holds at a time."""
    chunk, seconds = list[_Item](), 0.0
    for item in items:
        chunk.append(item)
        seconds += item.duration_s
        if len(chunk) == _CHUNK or seconds > _CHUNK_S:
            yield chunk
            chunk, seconds = [], 0.0
    if chunk:
        yield chunk


def _computed(items: list[_Item], work: _Work) -> list[Frames]:
    """(T, bands) of each."""
    with _threads(1):
        return list(map(_compute(work), items))


def _compute(work: _Work) -> Callable[[_Item], Frames]:
    compute, change = filterbank(work.features, models=work.workspace / MODELS), _change(work)
    return lambda item: compute(change(_samples(item), item.id))


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """So many of torch's; None: as many as there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _change(work: _Work) -> Change:
    if work.kind is None:
        return lambda samples, _: samples
    return change_of(work.kind, work.workspace, progress=lambda *_: None)


def _samples(item: _Item) -> Samples:
    """Of one file, which must hold the samples that the manifest speaks of."""
    import soundfile

    pcm, _ = soundfile.read(item.path, dtype="int16")
    if samples_hash(pcm) != item.audio_hash:
        raise OSError(f"{item.path} is not the recording that was prepared")
    return np.asarray(pcm.astype(np.float32) / FULL_SCALE)
