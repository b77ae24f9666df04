"""All features of a corpus in one memory-mapped array, computed once and shared by every process on the machine.

Attempts open it in milliseconds and read only what they touch, and the operating system keeps one copy in memory for
all of them. Opening imports no torch; building does.

    workspace/features/<corpus>-<data hash>-<features hash>/
        frames.npy     (total_frames, num_bands) float16, recordings one after another
        offsets.npy    (num_recordings + 1,) int64, where each begins and ends
        index.json     ids in that order, and what the features are
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt

from lightning_modules.config import FeaturesConfig, content_hash
from lightning_modules.data.cards import Progress
from lightning_modules.data.features import FULL_SCALE
from lightning_modules.data.manifest import read_audio_hashes, samples_hash
from lightning_modules.data.prepared import PreparedCorpus, locked
from lightning_modules.errors import CorpusError

if TYPE_CHECKING:
    from lightning_modules.data.features import Filterbank

_VERSION: Final = 1  # raise when the computation changes, so that old stores are not taken for new ones


def feature_store_path(corpus: PreparedCorpus, features: FeaturesConfig, workspace: Path) -> Path:
    """Where the features of that corpus are, or would be."""
    features_hash = content_hash({"version": _VERSION, **features.stored()})
    return workspace / "features" / f"{corpus.name}-{corpus.data_hash}-{features_hash}"


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
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / f".{path.name}.lock"):
        if not path.exists():
            partial = path.parent / f".{path.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            partial.mkdir()
            _write(corpus, features, partial, progress=progress)
            partial.rename(path)
    return path


class FeatureStore:
    """Features of a corpus, by recording.

    Attributes:
        path: the store's folder.
        num_bands: F.
        total_frames: frames of all recordings.
    """

    def __init__(
        self, path: Path, *, frames: npt.NDArray[np.float16], offsets: npt.NDArray[np.int64], ids: list[str]
    ) -> None:
        self.path = path
        self._frames = frames
        self._offsets = offsets
        self._rows = {name: row for row, name in enumerate(ids)}
        self.total_frames, self.num_bands = frames.shape

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a store that `build_feature_store` has made.

        Raises:
            CorpusError: there is none, or it is damaged.
        """
        try:
            index = json.loads((path / "index.json").read_text(encoding="utf-8"))
            frames = np.load(path / "frames.npy", mmap_mode="r")
            offsets = np.load(path / "offsets.npy")
            _check_parts(index["ids"], offsets=offsets, num_frames=len(frames))
        except (OSError, ValueError, KeyError) as error:
            raise CorpusError(
                f"there is no usable feature store in {path} ({error}); remove that folder if it exists and run the "
                "command again."
            ) from error
        return cls(path, frames=frames, offsets=offsets, ids=index["ids"])

    def frames(self, recording_id: str) -> npt.NDArray[np.float16]:
        """Features of one recording: (T, F), a read-only view on the file, in nepers, not normalised.

        Raises:
            CorpusError: the store has no such recording.
        """
        row = self._row(recording_id)
        view: npt.NDArray[np.float16] = self._frames[self._offsets[row] : self._offsets[row + 1]]
        return view

    def num_frames(self, recording_id: str) -> int:
        """T of one recording, without touching its features."""
        row = self._row(recording_id)
        return int(self._offsets[row + 1] - self._offsets[row])

    def __contains__(self, recording_id: object) -> bool:
        return recording_id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, recording_id: str) -> int:
        if recording_id not in self._rows:
            raise CorpusError(f"recording {recording_id!r} is not in the feature store {self.path}.")
        return self._rows[recording_id]


def _check_parts(ids: list[str], *, offsets: npt.NDArray[np.int64], num_frames: int) -> None:
    """A copy that broke off in between leaves parts that do not fit together."""
    if len(offsets) != len(ids) + 1 or offsets[-1] != num_frames:
        raise ValueError(f"{len(ids)} recordings and {num_frames} frames do not fit its offsets")


def _write(corpus: PreparedCorpus, features: FeaturesConfig, folder: Path, *, progress: Progress) -> None:
    import soundfile

    from lightning_modules.data.features import filterbank

    log_mel = filterbank(features)
    paths = [corpus.audio_path(recording) for recording in corpus.recordings]
    with _blame_the_corpus(corpus):
        lengths = [log_mel.num_frames(soundfile.info(path).frames) for path in paths]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    frames = _allocate(folder / "frames.npy", shape=(int(offsets[-1]), features.num_bands))
    hashes = read_audio_hashes((corpus.root / "manifest.csv").read_text(encoding="utf-8"))
    with _blame_the_corpus(corpus):
        expected = [hashes[recording.id] for recording in corpus.recordings]
        for done, block in enumerate(_blocks(paths, expected, log_mel=log_mel), start=1):
            frames[offsets[done - 1] : offsets[done]] = block
            progress("computing features", done, len(paths))
    frames.flush()
    np.save(folder / "offsets.npy", offsets)
    index = {"ids": [recording.id for recording in corpus.recordings], "features": features.stored()}
    (folder / "index.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


@contextmanager
def _blame_the_corpus(corpus: PreparedCorpus) -> Iterator[None]:
    """Turns errors of reading audio into one clear line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise CorpusError(f"{error}: remove {corpus.root} and prepare the corpus again.") from error


def _allocate(path: Path, *, shape: tuple[int, int]) -> "np.memmap[Any, np.dtype[np.float16]]":
    """A new array in a file; an OSError where the disk is full, since writing to a sparse map would be fatal."""
    frames = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return frames


def _blocks(
    paths: Sequence[Path], hashes: Sequence[str], *, log_mel: "Filterbank"
) -> Iterator[npt.NDArray[np.float32]]:
    """Features of each file in turn, on one core; a file must hold the samples that the manifest speaks of.

    On recordings of a few seconds a second thread gains nothing, and on a machine that is busy with other trainings it
    makes every step wait for it.
    """
    import soundfile
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for path, expected in zip(paths, hashes, strict=True):
            pcm, _ = soundfile.read(path, dtype="int16")
            if samples_hash(pcm) != expected:
                raise OSError(f"{path} is not the recording that was prepared")
            yield log_mel(pcm.astype(np.float32) / FULL_SCALE)
    finally:
        torch.set_num_threads(num_threads)
