"""Small trees of users' corpora, and their preparation."""

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_modules.data.audio import SAMPLE_RATE_HZ
from lightning_modules.data.cards import Progress
from lightning_modules.data.prepared import PreparedCorpus, prepare_corpus
from lightning_modules.data.splits import check_splits
from study.corpus_file import load_corpus
from tests.lightning_modules.data.corpora.helpers import Prepare, Write

SUBTYPES = {".opus": ("OGG", "OPUS"), ".sph": ("NIST", "ULAW"), ".mp3": ("MP3", "MPEG_LAYER_III")}
SECONDS = 1.6


@pytest.fixture
def write(shared_speech: Path) -> Write:
    """Speech of corpus espeak, never the same twice."""
    files = cycle(sorted((shared_speech / "corpora" / "espeak" / "audio").rglob("*.flac")))

    def write_next(path: Path, *, rate_hz: int = 16000, channels: int = 1, seconds: float = SECONDS) -> Path:
        samples = np.zeros(0, np.float32)
        while len(samples) < seconds * SAMPLE_RATE_HZ:
            samples = np.concatenate([samples, soundfile.read(next(files), dtype="float32")[0]])
        samples = samples[: round(seconds * SAMPLE_RATE_HZ)]
        if rate_hz != SAMPLE_RATE_HZ:
            samples = np.repeat(samples, rate_hz // SAMPLE_RATE_HZ)  # steps, whose images lie above 4 kHz
        path.parent.mkdir(parents=True, exist_ok=True)
        file_format, subtype = SUBTYPES.get(path.suffix, (None, None))
        soundfile.write(path, np.stack([samples] * channels, axis=1), rate_hz, format=file_format, subtype=subtype)
        return path

    return write_next


@pytest.fixture
def prepare(tmp_path: Path, quiet: Progress) -> Prepare:
    """Prepares a corpus of the file's text in a workspace."""

    def prepare_it(
        kind: str, path: str | dict[str, str], *, top: str = "", splits: str = "", name: str = "mine"
    ) -> PreparedCorpus:
        places = path if isinstance(path, dict) else {}
        table = "{ " + ", ".join(f'{split} = "{place}"' for split, place in places.items()) + " }"
        file = tmp_path / f"{name}.toml"
        file.write_text(
            f'name = "{name}"\n{top}\n[reader]\nkind = "{kind}"\npath = {table if places else json.dumps(path)}\n'
            + (f"[splits]\n{splits}\n" if splits else "")
        )
        corpus = prepare_corpus(load_corpus(str(file)), tmp_path / "workspace", progress=quiet)
        check_splits(corpus.recordings, allow_shared=corpus.allow_shared)
        return corpus

    return prepare_it
