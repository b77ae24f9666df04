"""NIST's Language Recognition Evaluation 2017: LDC2017E22 (training) and LDC2017E23 (development, evaluation).

The telephone cuts of 3, 10 and 30 s (`mls14`) are contained in one another, and nothing in these folders says which:
the table of sessions that NIST sent out afterwards does. Without it, development cuts must not be divided any further.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, lines_of
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

_TRAINING: Final = "docs/filename_language_key.tab"
_KEYS: Final[tuple[tuple[str, str, Split], ...]] = (
    ("docs/lre17_dev_segments.key", "data/dev", "dev"),
    ("docs/lre17_eval_segments.key", "data/eval", "test"),
)
_SESSIONS: Final = "docs/lre17_dev_eval_sessionids.tsv"


class LRE17(Layout):
    """A key in `docs`, audio in `data`."""

    card = LayoutCard(
        kind="lre17",
        title="NIST Language Recognition Evaluation 2017",
        layout=(
            f"{_TRAINING} and data/<language>/<file>; docs/lre17_<dev|eval>_segments.key and data/<dev|eval>/<file>; "
            "one folder for each split in `path`, or all three merged into one"
        ),
        speakers="not known: each file stands for one, or each session where docs/lre17_dev_eval_sessionids.tsv is",
        has_splits=True,
        licence="LDC",
        url="https://www.nist.gov/itl/iad/mig/nist-2017-language-recognition-evaluation",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Training, development and evaluation, as far as their keys are there."""
        keys = [key for key, _, _ in _KEYS if (path / key).is_file()]
        if not keys and not (path / _TRAINING).is_file():
            wanted = ", ".join((_TRAINING, *(key for key, _, _ in _KEYS)))
            raise CorpusError(f"{path} holds none of the keys of LRE17: {wanted}.")
        if (path / _TRAINING).is_file():
            yield from _training(path)
        for key, audio, split in _KEYS:
            if (path / key).is_file():
                yield from _segments(path / key, audio=path / audio, split=split, sessions=_sessions(path / _SESSIONS))


def _training(path: Path) -> Iterator[Found | Skipped]:
    for columns in _lines(path / _TRAINING):
        file, language = columns[:2]
        yield Found(
            id=f"train/{language}/{_stem(file)}",
            file=path / "data" / language / file,
            language=language,
            source="lre17-train",
            speaker=f"train/{language}/{_stem(file)}",
            recording=f"train/{language}/{_stem(file)}",
            split="train",
        )


def _segments(key: Path, *, audio: Path, split: Split, sessions: Mapping[str, str]) -> Iterator[Found | Skipped]:
    for columns in _lines(key):
        segment, language, origin = columns[:3]
        if segment == "segmentid":
            continue
        recording = f"{split}/{sessions.get(_stem(segment), _stem(segment))}"
        yield Found(
            id=f"{split}/{_stem(segment)}",
            file=audio / segment,
            language=language,
            source=f"lre17-{origin}-{split}",
            speaker=recording,
            recording=recording,
            split=split,
        )


def _sessions(table: Path) -> dict[str, str]:
    """Segment -> session; nothing where there is no such table."""
    if not table.is_file():
        return {}
    try:
        rows = [(row["segmentid"], row["sessionid"]) for row in csv.DictReader(lines_of(table), delimiter="\t")]
    except (KeyError, csv.Error) as error:
        raise CorpusError(f"{table} is no table of segmentid and sessionid: {error}.") from None
    return {_stem(segment): session for segment, session in rows if segment and session}


def _lines(table: Path) -> Iterator[Sequence[str]]:
    """Columns of each line.

    Raises:
        CorpusError: a line has too few.
    """
    for number, line in enumerate(lines_of(table), start=1):
        columns = line.split()
        if columns and len(columns) < (2 if table.name.endswith(".tab") else 3):
            raise CorpusError(f"{table}, line {number}: too few columns: {line!r}.")
        if columns:
            yield columns


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix()
