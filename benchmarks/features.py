"""How fast features are, and how a store of a thousand hours opens and feeds.

    lidstudy corpus prepare prompts --workspace W
    OMP_NUM_THREADS=1 python -m benchmarks.features --workspace W

Features: hours of speech an hour of one core, decoding left out, against torchaudio's and Lhotse's own over the same
samples, in turns. Store: recordings of five seconds up to a thousand hours, their frames a sparse file. Epochs: all
development recordings, normalised and in batches of similar length, against Lhotse's dynamic bucketing over features
that it has stored.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
import torch

from lightning_modules.config import CopiesConfig, DataConfig, FeaturesConfig
from lightning_modules.data.batches import evaluation_batches
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.features import filterbank
from lightning_modules.data.manifest import Recording, Utterance, manifest_text, read_manifest
from lightning_modules.data.prepared import PreparedCorpus, open_corpus
from lightning_modules.data.segments import Segments

RATE: Final = 8000
ROUNDS: Final = 5
HOURS: Final = 1000
RECORDING_FRAMES: Final = 500
NUM_SEGMENTS: Final = 6400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus = open_corpus("prompts", arguments.workspace)
    features(corpus)
    store()
    epochs(corpus, arguments.workspace)


def features(corpus: PreparedCorpus) -> None:
    """Times real time, the median of some rounds."""
    chosen = corpus.recordings[:: max(1, len(corpus.recordings) // 400)]
    speech = [soundfile.read(corpus.audio_path(each), dtype="float32")[0] for each in chosen]
    seconds = sum(len(each) for each in speech) / RATE
    ways: dict[str, Callable[[np.ndarray], Any]] = {
        "log_mel": filterbank(FeaturesConfig(), models=Path()),
        "kaldi": filterbank(FeaturesConfig(kind="kaldi"), models=Path()),
        "torchaudio MelSpectrogram": _torchaudio(),
        "torchaudio kaldi.fbank": _torchaudio_kaldi(),
        "Lhotse Fbank": _lhotse(),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(_timed(way, speech))
    for name, each in times.items():
        print(f"{name:<28} {seconds / statistics.median(each):8,.0f} x real time")


def _timed(way: Callable[[np.ndarray], Any], speech: Iterable[np.ndarray]) -> float:
    began = time.perf_counter()
    for samples in speech:
        way(samples)
    return time.perf_counter() - began


def _torchaudio() -> Callable[[np.ndarray], Any]:
    import torchaudio

    mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=256, win_length=200, hop_length=80, n_mels=40)
    return lambda samples: (mel(torch.from_numpy(samples)) + 1e-5).log()


def _torchaudio_kaldi() -> Callable[[np.ndarray], Any]:
    from torchaudio.compliance.kaldi import fbank

    return lambda samples: fbank(
        torch.from_numpy(samples[None] if len(samples) > 200 else np.pad(samples, (0, 200))[None]),
        sample_frequency=RATE,
        num_mel_bins=40,
        dither=0.0,
    )


def _lhotse() -> Callable[[np.ndarray], Any]:
    from lhotse import Fbank, FbankConfig

    extractor = Fbank(FbankConfig(sampling_rate=RATE, num_filters=40, high_freq=-200.0))
    return lambda samples: extractor.extract(samples, RATE)


def store() -> None:
    """Opening and feeding, at a tenth of the size and at all of it."""
    folder = Path(tempfile.mkdtemp(prefix="lidstudy-store-"))
    try:
        for hours in (HOURS // 10, HOURS):
            path = folder / str(hours)
            recordings = _sparse(path, hours)
            text, began = manifest_text(recordings), time.perf_counter()
            recordings = list(read_manifest(text))
            read_s = time.perf_counter() - began
            print(f"manifest of {hours:5} h ({len(recordings):,} recordings): read in {read_s:.1f} s")
            began = time.perf_counter()
            opened = FeatureStore.open(path)
            open_s = time.perf_counter() - began
            segments = Segments(
                recordings, store=opened, languages=["a", "b"], copies=CopiesConfig(), source_exponent=0.0
            )
            before, rng, began = _own_mb(), np.random.default_rng(0), time.perf_counter()
            for number in range(NUM_SEGMENTS):
                segments.draw(rng, number % 2, num_frames=200)
            draw_us = (time.perf_counter() - began) / NUM_SEGMENTS * 1e6
            print(
                f"store of {hours:5} h: opens in {open_s:.2f} s, a segment of 2 s in {draw_us:.0f} us, "
                f"{NUM_SEGMENTS} of them add {_own_mb() - before:.0f} MB"
            )
    finally:
        shutil.rmtree(folder)


def _sparse(path: Path, hours: int) -> list[Recording]:
    """A store whose frames are all zero and take no room."""
    path.mkdir(parents=True)
    num = hours * 3600 * 100 // RECORDING_FRAMES
    ids = [f"r{number:07}" for number in range(num)]
    np.lib.format.open_memmap(path / "frames.npy", mode="w+", dtype=np.float16, shape=(num * RECORDING_FRAMES, 40))
    np.save(path / "offsets.npy", np.arange(num + 1, dtype=np.int64) * RECORDING_FRAMES)
    (path / "index.json").write_text(json.dumps({"ids": ids, "features": {}}))
    return [
        Recording(
            id=name,
            path="",
            language="ab"[number % 2],
            source=f"{'ab'[number % 2]}{number % 50}",
            speaker=f"s{number % 5000}",
            duration_s=5.0,
            split="train",
        )
        for number, name in enumerate(ids)
    ]


def epochs(corpus: PreparedCorpus, workspace: Path) -> None:
    """Seconds to go through the development speech once, batched by length."""
    opened = FeatureStore.open(feature_store_path(corpus, FeaturesConfig(), workspace))
    data = DataConfig()
    utterances = [
        Utterance(
            id=each.id,
            language=each.language,
            source=each.source,
            speaker=each.speaker,
            split="dev",
            recordings=(each.id,),
            duration_s=each.duration_s,
        )
        for each in corpus.recordings
        if each.split == "dev"
    ]
    warnings.simplefilter("ignore")
    cuts, bins = _cuts(corpus, Path(tempfile.mkdtemp(prefix="lidstudy-lhotse-")))
    ours, theirs = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        frames = sum(int(batch.lengths.sum()) for batch in evaluation_batches(utterances, store=opened, data=data))
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        other = sum(int(lengths.sum()) for lengths in bins(cuts))
        theirs.append(time.perf_counter() - began)
    mine, their = frames / statistics.median(ours), other / statistics.median(theirs)
    print(f"development epoch: {mine:,.0f} frames/s, normalised and batched by length")
    print(f"Lhotse's dynamic bucketing over stored features: {their:,.0f} frames/s; ratio {mine / their:.1f}")


def _cuts(corpus: PreparedCorpus, folder: Path) -> tuple[Any, Callable[[Any], Iterable[torch.Tensor]]]:
    from lhotse import CutSet, Fbank, FbankConfig, MonoCut, NumpyFilesWriter
    from lhotse import Recording as LhotseRecording
    from lhotse.dataset import DynamicBucketingSampler
    from lhotse.dataset.collation import collate_features

    chosen = [each for each in corpus.recordings if each.split == "dev"]
    cuts = CutSet.from_cuts(
        MonoCut(id=f"c{place}", start=0.0, duration=recording.duration, channel=0, recording=recording)
        for place, recording in enumerate(LhotseRecording.from_file(corpus.audio_path(each)) for each in chosen)
    )
    extractor = Fbank(FbankConfig(sampling_rate=RATE, num_filters=40, high_freq=-200.0))
    stored = cuts.compute_and_store_features(
        extractor, folder, num_jobs=1, storage_type=NumpyFilesWriter, progress_bar=False
    ).to_eager()

    def go(all_cuts: Any) -> Iterable[torch.Tensor]:
        sampler = DynamicBucketingSampler(all_cuts, max_duration=400.0, num_buckets=10, shuffle=False)
        for batch in sampler:
            features, lengths = collate_features(batch)
            means = features.sum(dim=1, keepdim=True) / lengths.view(-1, 1, 1)  # padding's value is no matter here
            features.sub_(means).div_(features.std(dim=1, keepdim=True) + 1e-4)
            yield lengths

    return stored, go


def _own_mb() -> float:
    """Memory that is this process's own: pages of the store are the system's, and given back when others need them."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


if __name__ == "__main__":
    main()
