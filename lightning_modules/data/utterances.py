"""Utterances of about one length, joined from recordings of one speaker. Imports no torch.

Prompts are short (half of the Italian ones last less than 1.2 s), while results are asked for at 3 s, 10 s, 30 s.
Long recordings are left out, or cut within their split, so that no recording stands on both sides of anything.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, cycle
from typing import Final, TypeVar

from lightning_modules.config import DataConfig
from lightning_modules.data.manifest import Recording, Split, Utterance
from lightning_modules.errors import CorpusError

Item = TypeVar("Item")

LONGEST: Final = 3.0
"""A recording of more than this many times the wanted length is left out or cut: a condition of 3 s means about 3 s."""


def join_utterances(recordings: Sequence[Recording], *, split: Split, data: DataConfig) -> tuple[Utterance, ...]:
    """Joins recordings into utterances; the same ones whatever the order of the recordings.

    Each speaker's recordings are joined in the order of ids until they reach `utterance_s`, so what is joined stays
    below twice that. A recording that reaches it alone stays alone; beyond three times the length it is left out, or
    cut into stretches of the length where `data.long_recordings` says so.
    Utterances below `minimum_s` are left out. Where a language has more than `max_utterances`, each speaker gives as
    equal a number as it can, spread evenly over what it has.

    Returns:
        by language in the order of `data.languages`, then by speaker, then by number.

    Raises:
        CorpusError: a language has no utterance in that split.
    """
    by_language = {language: _language(recordings, language, split=split, data=data) for language in data.languages}
    missing = [language for language, utterances in by_language.items() if not utterances]
    if missing:
        raise CorpusError(
            f"there is no {split} utterance of {data.minimum_s:g} to {LONGEST * data.utterance_s:g} s in "
            f"{', '.join(missing)}; {split} speech exists in "
            f"{', '.join(_languages_of(recordings, split)) or 'no language'}. Choose other languages (data.languages) "
            "or another length (data.utterance_s, data.minimum_s), or cut long recordings (data.long_recordings)."
        )
    return tuple(with_own_ids(chain.from_iterable(by_language.values())))


def with_own_ids(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Where a speaker has several languages or sources, these are named in the ids, too, which else would repeat."""
    rows = list(utterances)
    counts = Counter(row.id for row in rows)
    for row in rows:
        yield row if counts[row.id] == 1 else replace(row, id=f"{row.source}/{row.language}/{row.id}")


def _languages_of(recordings: Sequence[Recording], split: Split) -> list[str]:
    return sorted({recording.language for recording in recordings if recording.split == split})


def _language(recordings: Sequence[Recording], language: str, *, split: Split, data: DataConfig) -> list[Utterance]:
    speakers = defaultdict[tuple[str, str], list[Recording]](list)
    for recording in recordings:
        if recording.split == split and recording.language == language:
            speakers[recording.speaker, recording.source].append(recording)
    joined = [list(_join(speakers[speaker], data=data)) for speaker in sorted(speakers)]
    shares = equal_shares([len(utterances) for utterances in joined], total=data.max_utterances)
    return [chosen for utterances, share in zip(joined, shares, strict=True) for chosen in spread(utterances, share)]


def _join(recordings: Sequence[Recording], *, data: DataConfig) -> Iterator[Utterance]:
    """Utterances of one speaker, numbered from 0."""
    number = 0
    for group in _groups(sorted(recordings, key=lambda recording: recording.id), data=data):
        if sum(recording.duration_s for recording in group) > LONGEST * data.utterance_s:
            for stretch in range(int(group[0].duration_s // data.utterance_s)):
                yield _utterance(group, number=number, duration_s=data.utterance_s, start_s=stretch * data.utterance_s)
                number += 1
            continue
        duration_s = sum(recording.duration_s for recording in group)
        if duration_s >= data.minimum_s:
            yield _utterance(group, number=number, duration_s=duration_s)
            number += 1


def _groups(recordings: Sequence[Recording], *, data: DataConfig) -> Iterator[list[Recording]]:
    pending: list[Recording] = []
    for recording in recordings:
        if recording.duration_s > LONGEST * data.utterance_s and data.long_recordings == "leave_out":
            continue
        if recording.duration_s >= data.utterance_s:
            yield [recording]
            continue
        pending.append(recording)
        if sum(part.duration_s for part in pending) >= data.utterance_s:
            yield pending
            pending = []
    if pending:
        yield pending


def _utterance(
    group: Sequence[Recording], *, number: int, duration_s: float, start_s: float | None = None
) -> Utterance:
    first = group[0]
    return Utterance(
        id=f"{first.speaker}#{number}",
        language=first.language,
        source=first.source,
        speaker=first.speaker,
        split=first.split,
        recordings=tuple(recording.id for recording in group),
        duration_s=duration_s,
        start_s=start_s,
    )


def equal_shares(available: Sequence[int], *, total: int) -> list[int]:
    """How many to take of each, at most `total` together: one in turn from all that have any left."""
    shares = [0] * len(available)
    left = min(total, sum(available))
    for place in cycle(range(len(available))) if left else ():
        if shares[place] < available[place]:
            shares[place] += 1
            left -= 1
        if left == 0:
            break
    return shares


def spread(items: Sequence[Item], share: int) -> list[Item]:
    """So many of them, evenly spaced."""
    return [items[place * len(items) // share] for place in range(share)]
