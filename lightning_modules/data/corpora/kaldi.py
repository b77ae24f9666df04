"""Kaldi's data folders: wav.scp, segments, utt2spk, utt2lang."""

import math
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, lines_of
from lightning_modules.errors import CorpusError

_SPH2PIPE: Final = "sph2pipe"
_CHANNEL: Final = re.compile(r"[1-9]")


class Wave(NamedTuple):
    """What a line of wav.scp names: a file, and one of its channels counted from 0, or None for all."""

    file: Path
    channel: int | None = None


class Kaldi(Layout):
    """A data folder, or one for each split."""

    card = LayoutCard(
        kind="kaldi",
        title="Kaldi data folder",
        layout="wav.scp, utt2lang, utt2spk, and segments where utterances are stretches of recordings; paths as Kaldi "
        "takes them, relative to where it would run: the folder above `data`, else the data folder itself",
        speakers="utt2spk; without it, each recording is a speaker of its own",
        has_splits=False,
        url="https://kaldi-asr.org/doc/data_prep.html",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Utterances in the order of their names; of pipes, only those of sph2pipe are understood, and none is run."""
        waves, languages = _table(path / "wav.scp"), _table(path / "utt2lang")
        speakers = _table(path / "utt2spk") if (path / "utt2spk").exists() else {}
        segments = _table(path / "segments") if (path / "segments").exists() else {}
        for utterance in sorted(segments or waves):
            stretch = _stretch(segments.get(utterance, utterance))
            if stretch is None:
                yield Skipped(path=utterance, reason="its line in segments is not: recording, start, end")
                continue
            recording, start_s, end_s = stretch
            wave = _wave(waves[recording], path) if recording in waves else None
            if wave is None or utterance not in languages:
                yield Skipped(path=utterance, reason=_why(recording, waves, has_language=utterance in languages))
                continue
            yield Found(
                id=utterance,
                file=wave.file,
                language=languages[utterance],
                speaker=speakers.get(utterance, recording),
                recording=recording,
                start_s=start_s,
                end_s=end_s,
                channel=wave.channel,
            )


def _why(recording: str, waves: dict[str, str], *, has_language: bool) -> str:
    if recording not in waves:
        return "its recording is not in wav.scp"
    return "a pipe in wav.scp that is not sph2pipe -f -p -c" if has_language else "no language in utt2lang"


def _table(path: Path) -> dict[str, str]:
    """Key and the rest of each line.

    Raises:
        CorpusError: a key stands twice, which Kaldi does not take either.
    """
    table: dict[str, str] = {}
    for key, *rest in (line.split(maxsplit=1) for line in lines_of(path) if line.strip()):
        if key in table:
            raise CorpusError(f"{path}: {key} stands there twice.")
        table[key] = rest[0].strip() if rest else ""
    return table


def _stretch(line: str) -> tuple[str, float, float | None] | None:
    """Recording, start and end in seconds, of a line of segments; a whole recording has no end."""
    parts = line.split()
    if len(parts) == 1:
        return parts[0], 0.0, None
    try:
        recording, start, end = parts[:3]
        start_s, end_s = float(start), float(end)
    except ValueError:
        return None
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return None
    # Kaldi writes -1 for the end of the recording.
    return (
        (recording, start_s, None if end_s < 0 else end_s) if start_s >= 0 and (end_s < 0 or end_s > start_s) else None
    )


def _wave(line: str, folder: Path) -> Wave | None:
    """What a line of wav.scp stands for; None for a pipe that would have to be run."""
    if not line.endswith("|"):
        return Wave(_located(line, folder))
    try:
        words = shlex.split(line.removesuffix("|"))
    except ValueError:  # a quotation that does not end
        return None
    if len(words) < 2 or Path(words[0]).name != _SPH2PIPE or "|" in words:  # noqa: PLR2004 - itself and a file
        return None
    if any(word.startswith("-") and word not in ("-f", "-p", "-c") for word in words[1:-1]):
        return None  # such as -t, which takes a part of the file
    options = dict(pairwise(words))
    channel = int(options["-c"]) - 1 if _CHANNEL.fullmatch(options.get("-c", "")) else None
    return Wave(_located(words[-1], folder), channel)


def _located(name: str, folder: Path) -> Path:
    """Where Kaldi would have found the file: it runs in the folder above `data`."""
    file = Path(name)
    if file.is_absolute():
        return file
    here = folder.resolve()
    above = next((each.parent for each in (here, *here.parents) if each.name == "data"), folder)
    return folder / file if (folder / file).exists() else above / file
