"""The manifest: what a prepared corpus holds, one recording a row, and how recordings become utterances.

A prepared corpus is a folder with `manifest.csv`, `corpus.json` (card, hash, what was skipped) and `audio/`, mono FLAC
at 8 kHz.
"""

import csv
import hashlib
import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from lightning_modules.errors import CorpusError

Split = Literal["train", "dev", "test"]
_SPLITS: Final[tuple[Split, ...]] = get_args(Split)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One audio file of one speaker in one language.

    Attributes:
        id: unique within the corpus; the order of ids is the order of the feature store.
        path: audio file, relative to the corpus folder.
        language: ISO 639-1 code.
        source: where it comes from (a package, a data set); what splits keep apart.
        speaker: unique over the whole corpus (`drascula/BJ`).
        duration_s: seconds of speech.
        split: train, dev or test.
        condition: duration, noise or channel; "clean" where nothing was done.
        cut_of: the longer recording that this and others were cut from; "" where there is none.
        audio_hash: of its 16-bit samples.
    """

    id: str
    path: str
    language: str
    source: str
    speaker: str
    duration_s: float
    split: Split
    condition: str = "clean"
    cut_of: str = ""
    audio_hash: str = ""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One or more recordings of one speaker in one split, joined in order, or a stretch of one.

    Attributes:
        id: `<speaker>#<number>`, with source and language before it where the speaker has several.
        recordings: ids of the joined recordings.
        duration_s: seconds of what is heard.
        start_s: where a stretch of its only recording begins; None: all of them is heard.
    """

    id: str
    language: str
    source: str
    speaker: str
    split: Split
    recordings: tuple[str, ...]
    duration_s: float
    start_s: float | None = None


_LAST: Final = ("cut_of", "audio_hash")
_COLUMNS: Final = tuple(field.name for field in fields(Recording) if field.name not in _LAST)


def manifest_text(recordings: Iterable[Recording]) -> str:
    """The manifest as CSV, one row a recording in the order of ids; column `cut_of` is there if anything was cut."""
    rows = sorted(recordings, key=lambda recording: recording.id)
    last = _LAST if any(recording.cut_of for recording in rows) else _LAST[1:]
    columns = (*_COLUMNS, *last)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([getattr(recording, column) for column in columns] for recording in rows)
    return buffer.getvalue()


def samples_hash(pcm: npt.NDArray[np.int16]) -> str:
    """16 hexadecimal digits of a hash of 16-bit samples."""
    return hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()[:16]


def read_manifest(text: str) -> tuple[Recording, ...]:
    """Recordings of a manifest written by `manifest_text`.

    Raises:
        CorpusError: a column is missing or a value is not what it must be.
    """
    rows = csv.reader(io.StringIO(text))
    try:
        columns = next(rows)
        return tuple(_recording(dict(zip(columns, row, strict=True))) for row in rows)
    except (KeyError, StopIteration, TypeError, ValueError) as error:
        raise CorpusError(f"the manifest cannot be read ({error}); prepare the corpus again.") from error


def _recording(row: Mapping[str, str]) -> Recording:
    """What many recordings share is one string, so that a million of them fit."""
    split = row["split"]
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)} but got {split!r}")
    return Recording(
        id=row["id"],
        path=row["path"],
        language=sys.intern(row["language"]),
        source=sys.intern(row["source"]),
        speaker=sys.intern(row["speaker"]),
        duration_s=float(row["duration_s"]),
        split=cast("Split", sys.intern(split)),
        condition=sys.intern(row["condition"]),
        cut_of=sys.intern(row.get("cut_of", "")),
        audio_hash=row["audio_hash"],
    )
