"""All features of a corpus in one memory-mapped array, computed once and shared by every process on the machine.

Attempts open it in milliseconds and read only what they touch, and the operating system keeps one copy in memory for
all of them. Imports no torch.

    workspace/features/<corpus>-<data hash>-<features hash>/
        frames.npy     (total_frames, num_bands) float16, recordings one after another
        offsets.npy    (num_recordings + 1,) int64, where each begins and ends
        index.json     ids in that order, and what the features are
        copies/        a store of the same recordings for each kind of copy that a study has asked for

`feature_building.py` makes them.
"""

import json
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from lightning_modules.config import CopyKind, FeaturesConfig, content_hash
from lightning_modules.data.manifest import Utterance
from lightning_modules.data.prepared import PreparedCorpus
from lightning_modules.errors import CorpusError

MODELS: Final = "models"
"""Folder of the workspace that pretrained networks lie in."""
_VERSIONS: Final = {
    "self_supervised": 2
}  # raise when the computation changes, so that old stores are not taken for new
_COPY_VERSION: Final = 1


def feature_store_path(corpus: PreparedCorpus, features: FeaturesConfig, workspace: Path) -> Path:
    """Where the features of that corpus are, or would be."""
    features_hash = content_hash({"version": _VERSIONS.get(features.kind, 1), **features.stored()})
    return workspace / "features" / f"{corpus.name}-{corpus.data_hash}-{features_hash}"


def copy_path(store: Path, kind: CopyKind) -> Path:
    """Where a store's copies of a kind are, or would be."""
    return store / "copies" / f"{kind}-{_COPY_VERSION}"


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
        """Opens a store that was built.

        Raises:
            CorpusError: there is none, or it is damaged.
        """
        try:
            index = json.loads((path / "index.json").read_text(encoding="utf-8"))
            frames = np.asarray(np.load(path / "frames.npy", mmap_mode="r"))  # slices of a memmap are slow to make
            offsets = np.load(path / "offsets.npy")
            _check_parts(index["ids"], offsets=offsets, num_frames=len(frames))
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
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

    def copy(self, kind: CopyKind) -> "FeatureStore":
        """The same recordings as other surroundings would have left them.

        Raises:
            CorpusError: nobody has made them, or they are damaged.
        """
        return FeatureStore.open(copy_path(self.path, kind))

    def num_frames(self, recording_id: str) -> int:
        """T of one recording, without touching its features."""
        row = self._row(recording_id)
        return int(self._offsets[row + 1] - self._offsets[row])

    def utterance(self, utterance: Utterance, *, frames_per_s: float) -> npt.NDArray[np.float16]:
        """Features of what is heard of an utterance: (T, F)."""
        frames = [self.frames(recording) for recording in utterance.recordings]
        if utterance.start_s is None:
            return np.concatenate(frames)
        start = round(utterance.start_s * frames_per_s)
        return frames[0][start : start + round(utterance.duration_s * frames_per_s)]

    def utterance_frames(self, utterance: Utterance, *, frames_per_s: float) -> int:
        """T of that, without touching its features."""
        total = sum(self.num_frames(recording) for recording in utterance.recordings)
        if utterance.start_s is None:
            return total
        return min(round(utterance.duration_s * frames_per_s), total - round(utterance.start_s * frames_per_s))

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
