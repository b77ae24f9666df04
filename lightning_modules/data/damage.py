"""Files that decode, and yet are not whole: cut short, or clipped.

Both still hold speech, so they are used; a corpus lists them.
"""

import re
from pathlib import Path
from typing import Final

import numpy as np

from lightning_modules.data.audio import WHOLE, Samples, Stretch

_LEAST_SHARE: Final = 0.99
"""Of what a header announces: less is missing where an encoder pads its last block."""
_UNKNOWN: Final = 0x7FFF0000
"""Bytes from here on are what a program writes that does not know the length yet."""
_LIMIT: Final = 0.99
"""Of the largest sample: what lies above it is at the limit."""
_CLIPPED_SHARE: Final = 0.01
_LEAST_PEAK: Final = 0.1
"""Of full scale: below it 8 bits have a dozen steps, and some are at the top by chance."""
_BLOCK: Final = 4_000_000
_BYTES: Final = re.compile(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")
_RF64: Final = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
_OGG: Final = ("Last page lacks an end-of-stream bit", "Junk after the last page")
_SAMPLE_COUNT: Final = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
_SPHERE_HEADER: Final = 1024
_FIRST_FRAME: Final = 256


def damage_of(path: Path, samples: Samples, *, rate_hz: int, stretch: Stretch = WHOLE) -> str:
    """What is wrong with audio that was decoded, in a few words; "" where nothing is.

    It is cut short where its header announces more than there is, an Ogg stream has no last page, or a stretch ends
    before it should. It is clipped where 1 % of its samples lie within 1 % of the largest: of speech with its peaks one
    in a thousand does.

    Args:
        path: the file, as `decode` takes it.
        samples: (num_samples,) of the stretch.
        rate_hz: their rate.
        stretch: which part was decoded.
    """
    if stretch.end_s is None:
        is_cut_short = _is_cut_short(path, samples.size if stretch == WHOLE else None)
    else:
        is_cut_short = samples.size < _LEAST_SHARE * (stretch.end_s - stretch.start_s) * rate_hz
    found = ["cut short"] if is_cut_short else []
    share = clipped_share(samples)
    found += [f"clipped ({share:.0%} of its samples lie at the limit)"] if share >= _CLIPPED_SHARE else []
    return ", ".join(found)


def clipped_share(samples: Samples) -> float:
    """Share of (num_samples,) within 1 % of the largest magnitude, without their mean; 0.0 of what is quiet."""
    mean = float(samples.mean(dtype=np.float64))
    peak = max(float(samples.max()) - mean, mean - float(samples.min()))
    if peak < _LEAST_PEAK:
        return 0.0
    blocks = (samples[start : start + _BLOCK] - mean for start in range(0, samples.size, _BLOCK))
    return sum(int(np.count_nonzero(np.abs(block) >= _LIMIT * peak)) for block in blocks) / samples.size


def _is_cut_short(path: Path, num_samples: int | None) -> bool:
    """Whether a file ends before its header says; num_samples: that it holds, None if unknown."""
    import soundfile

    if path.suffix.lower() in (".als", ".gsm"):  # they have no header
        return False
    with soundfile.SoundFile(path) as file:
        log, announced = file.extra_info, file.frames
        if file.format == "NIST":
            with path.open("rb") as header:
                said = _SAMPLE_COUNT.search(header.read(_SPHERE_HEADER))
            return said is not None and announced < _LEAST_SHARE * int(said[1])
        if file.format == "MP3":  # else their number is a guess, by the size of the file
            return num_samples is not None and num_samples < _LEAST_SHARE * announced and _says_how_many_frames(path)
    if any(sign in log for sign in _OGG):
        return True
    found = [(int(said), int(there)) for said, there in _BYTES.findall(log)]
    found += [(int(said), int(there)) for there, said in _RF64.findall(log)]
    return any(there < _LEAST_SHARE * said < _UNKNOWN for said, there in found)


def _says_how_many_frames(path: Path) -> bool:
    """Whether the first frame of an MP3, behind tags, is a header: `Xing`, or `Info` of a constant rate."""
    with path.open("rb") as file:
        head = file.read(10)
        tag = 10 + int("".join(f"{byte:07b}" for byte in head[6:10]), 2) if head[:3] == b"ID3" else 0
        file.seek(tag)
        first = file.read(_FIRST_FRAME)
    return b"Xing" in first or b"Info" in first
