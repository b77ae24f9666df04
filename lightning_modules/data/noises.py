"""Noise and music that speech is mixed with: one set for training, another for tests, so that no test noise is known.

Noises are synthesised, so that a machine needs nothing for them; music comes from two Debian packages of different
makers. Every function is a function of its generator alone.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import numpy as np

from lightning_modules.data.audio import SAMPLE_RATE_HZ, NotSpeechError, Samples, decode, to_telephone_band
from lightning_modules.data.cards import Progress
from lightning_modules.data.debian import DebianPackage, fetch_packages, unpack
from lightning_modules.data.prepared import locked
from lightning_modules.errors import CorpusError

NoiseSplit = Literal["train", "test"]
Generate = Callable[[np.random.Generator, int], Samples]

MAINS_HZ: Final = 50.0
OCTAVES: Final = 0.7
"""Standard deviation of the band of surf."""
_HEARD_HZ: Final = (100.0, 3400.0)
_EDGE_HZ: Final = 20.0  # coloured noise is flat below, or brown noise would be one slow drift

MUSIC: Final[dict[NoiseSplit, DebianPackage]] = {
    "train": DebianPackage(
        name="drascula-music",
        version="1.0+ds4-2",
        sha256="340e0beb1bacf005cbabebc07ebdd88adf6aee363d437f8a7d73cb0c77a93e79",
        size_bytes=36429732,
    ),
    "test": DebianPackage(
        name="asterisk-moh-opsound-wav",
        version="2.03-1.1",
        sha256="8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c",
        size_bytes=13969212,
    ),
}
"""Music of an adventure game trains; telephone music on hold, by other musicians, tests."""
_SUFFIXES: Final = {".ogg", ".wav"}


def coloured(rng: np.random.Generator, num_samples: int, *, exponent: float) -> Samples:
    """Gaussian noise whose power falls as 1 / f^exponent above 20 Hz; unit variance, about."""
    return _shaped(rng, num_samples, gain=lambda frequency_hz: frequency_hz ** (-exponent / 2.0))


def _shaped(rng: np.random.Generator, num_samples: int, *, gain: Callable[[np.ndarray], np.ndarray]) -> Samples:
    """Gaussian noise with a gain by frequency, in Hz, of 20 at least."""
    length = max(2, 1 << max(0, num_samples - 1).bit_length())  # a power of two: other lengths may be slow
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency_hz = np.maximum(np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE_HZ), _EDGE_HZ)
    return unit_power(np.fft.irfft(spectrum * gain(frequency_hz), length)[:num_samples])


def hum(rng: np.random.Generator, num_samples: int) -> Samples:
    """Mains hum: harmonics of 50 Hz in random proportion over a little hiss."""
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    total = 0.1 * rng.standard_normal(num_samples)
    for harmonic in range(1, 40):
        amplitude, phase = rng.exponential() / harmonic**0.5, rng.uniform(0.0, 2.0 * np.pi)
        total += amplitude * np.sin(2.0 * np.pi * harmonic * MAINS_HZ * time_s + phase)
    return unit_power(total)


def crackle(rng: np.random.Generator, num_samples: int) -> Samples:
    """A bad line: clicks, some twenty a second, over pink noise."""
    clicks = rng.standard_normal(num_samples) * (rng.random(num_samples) < 20.0 / SAMPLE_RATE_HZ)
    return unit_power(unit_power(clicks) + 0.3 * coloured(rng, num_samples, exponent=1.0))


def surf(rng: np.random.Generator, num_samples: int) -> Samples:
    """A broad band about 400 to 1,200 Hz that swells and falls every two to five seconds, as waves and cars do."""
    centre_hz = 400.0 * 3.0 ** rng.uniform()
    band = _shaped(
        rng, num_samples, gain=lambda frequency_hz: np.exp(-np.square(np.log2(frequency_hz / centre_hz) / OCTAVES) / 2)
    )
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    swell = 0.55 + 0.45 * np.sin(2.0 * np.pi * time_s / rng.uniform(2.0, 5.0) + rng.uniform(0.0, 2.0 * np.pi))
    return unit_power(band * swell)


def engine(rng: np.random.Generator, num_samples: int) -> Samples:
    """Harmonics of a fundamental of 60 to 120 Hz that wanders, over brown noise."""
    wander = 0.03 * coloured(rng, num_samples, exponent=2.0)
    phase = 2.0 * np.pi * np.cumsum(rng.uniform(60.0, 120.0) * (1.0 + wander)) / SAMPLE_RATE_HZ
    tones = sum(rng.exponential() / k * np.sin(k * phase + rng.uniform(0.0, 2.0 * np.pi)) for k in range(1, 16))
    return unit_power(unit_power(np.asarray(tones)) + 0.5 * coloured(rng, num_samples, exponent=2.0))


NOISES: Final[dict[NoiseSplit, dict[str, Generate]]] = {
    "train": {
        "white": lambda rng, num_samples: coloured(rng, num_samples, exponent=0.0),
        "pink": lambda rng, num_samples: coloured(rng, num_samples, exponent=1.0),
        "hum": hum,
        "crackle": crackle,
    },
    "test": {
        "brown": lambda rng, num_samples: coloured(rng, num_samples, exponent=2.0),
        "surf": surf,
        "engine": engine,
    },
}


def noise(rng: np.random.Generator, num_samples: int, *, split: NoiseSplit) -> Samples:
    """(num_samples,) of one of a split's noises, of about unit variance."""
    kinds = NOISES[split]
    return kinds[sorted(kinds)[rng.integers(len(kinds))]](rng, num_samples)


def music_stretch(rng: np.random.Generator, num_samples: int, *, music: Samples) -> Samples:
    """(num_samples,) of music from a random place on, begun again where it ends; unit variance, about."""
    start = int(rng.integers(len(music)))
    places = np.arange(start, start + num_samples) % len(music)
    return unit_power(music[places])


def in_band(samples: Samples) -> Samples:
    """What of it lies between 100 and 3,400 Hz, of unit variance."""
    spectrum = np.fft.rfft(samples)
    frequency_hz = np.fft.rfftfreq(len(samples), 1.0 / SAMPLE_RATE_HZ)
    spectrum[(frequency_hz < _HEARD_HZ[0]) | (frequency_hz > _HEARD_HZ[1])] = 0.0
    return unit_power(np.fft.irfft(spectrum, len(samples)))


def unit_power(samples: np.ndarray) -> Samples:
    """Scaled to a mean square of 1; silence stays silence."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return np.asarray(samples / np.sqrt(power) if power > 0.0 else samples, dtype=np.float32)


def fetch_music(split: NoiseSplit, workspace: Path, *, progress: Progress) -> Samples:
    """Music of a split at 8 kHz, fetched and decoded once; a read-only view on the file that keeps it.

    Raises:
        CorpusError: no apt, no network, or the package is not what was pinned.
    """
    package = MUSIC[split]
    path = workspace / "noises" / f"{package.name}-{package.version}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent / f".{package.name}.lock"):
            if not path.exists():
                _fetch(package, path, downloads=workspace / "downloads", progress=progress)
    music: Samples = np.load(path, mmap_mode="r")
    return music


def _fetch(package: DebianPackage, path: Path, *, downloads: Path, progress: Progress) -> None:
    downloads.mkdir(parents=True, exist_ok=True)
    (fetched,) = fetch_packages([package], downloads=downloads, progress=progress)
    folder = path.with_name(f".{package.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    unpack(fetched.file, folder)
    pieces = [_decoded(file) for file in sorted(folder.rglob("*")) if file.suffix.lower() in _SUFFIXES]
    pieces = [piece for piece in pieces if piece.size]
    if not pieces:
        raise CorpusError(f"package {package.name} holds no music that can be decoded; remove {fetched.file}.")
    partial = folder / "music.npy"
    np.save(partial, np.concatenate([unit_power(piece) for piece in pieces]))
    partial.replace(path)
    shutil.rmtree(folder, ignore_errors=True)
    fetched.file.unlink(missing_ok=True)  # all of it that is needed is decoded


def _decoded(file: Path) -> Samples:
    try:
        samples, rate_hz = decode(file)
    except NotSpeechError:
        return np.zeros(0, dtype=np.float32)
    return to_telephone_band(samples, rate_hz=rate_hz)
