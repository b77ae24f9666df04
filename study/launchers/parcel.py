"""What a node needs of the speech: a corpus's manifest and features, addressed by content and unpacked once a node.

The parcel's name is that of the feature store, which holds the corpus's data hash and the features' own, and of the
copies in it. It is unpacked into a workspace of its own, where `open_corpus` and `FeatureStore.open` find everything;
audio stays at home.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.config import DataConfig
from lightning_modules.data.feature_store import feature_store_path
from lightning_modules.data.prepared import corpus_folder, locked, open_corpus
from lightning_modules.errors import TrialError

CHUNK_BYTES = 32 * 1024 * 1024
CORPUS_FILES = ("corpus.json", "manifest.csv")


@dataclass(frozen=True)
class Parcel:
    """Files to ship.

    Attributes:
        name: says what is in it; equal names are equal content.
        workspace: where the files are at home.
        paths: relative to the workspace.
    """

    name: str
    workspace: Path
    paths: tuple[str, ...]

    def chunks(self, path: str) -> Iterator[bytes]:
        """Content of one file, piece by piece."""
        with (self.workspace / path).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def make_parcel(data: DataConfig, workspace: Path) -> Parcel:
    """What trainings on that data need.

    Raises:
        CorpusError: the corpus is not prepared.
    """
    corpus = open_corpus(data.corpus, workspace)
    store = feature_store_path(corpus, data.features, workspace)
    files = [corpus_folder(corpus.name, workspace) / name for name in CORPUS_FILES]
    files += sorted(path for path in store.rglob("*") if path.is_file() and ".partial" not in str(path.parent))
    copies = sorted(path.name for path in store.glob("copies/[!.]*"))
    return Parcel("-".join([store.name, *copies]), workspace, tuple(str(path.relative_to(workspace)) for path in files))


def data_workspace(name: str, node: Path) -> Path:
    """Where that parcel is, or would be, on a node."""
    return node / "data" / name


def unpack(name: str, content: Mapping[str, Iterable[bytes]], *, node: Path) -> Path:
    """Puts a parcel where it belongs unless it is there; safe to call from several processes at once.

    Args:
        name: the parcel's.
        content: path -> its pieces, which are asked for only if they are needed.
        node: the node's folder.

    Raises:
        TrialError: there is no content, and the parcel is not there.
    """
    place = data_workspace(name, node)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / f".{name}.lock"):
        if not place.exists():
            if not content:
                raise TrialError(f"{place} is gone from {os.uname().nodename}.")
            partial = place.parent / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            for path, pieces in content.items():
                _write(partial / path, pieces)
            partial.rename(place)
    return place


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
