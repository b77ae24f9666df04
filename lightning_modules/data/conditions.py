"""Conditions that speech is scored under: how long it is, what lies over it, and how many speak. Imports no torch.

Durations are of speech. A speaker's recordings are joined, or long ones cut, to stretches of 30 s; those of 10 s are
cut from them, and those of 3 s from these, so that a shorter set is contained in the longer ones, as in NIST's
evaluations. A recording, or joined ones, of less than 30 s still give stretches of 10 s and 3 s; what is left over
behind stretches of a duration gives none. `whole` is each recording as it is.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.data.utterances import equal_shares, spread, with_own_ids
from lightning_modules.errors import ConfigError

SAMPLE_RATE_HZ: Final = 8000
DURATIONS_S: Final = (30, 10, 3)
SNRS_DB: Final = (5, 10, 15, 20)
SHORTEST_WHOLE_S: Final = 1.0
_GRAMMAR: Final = re.compile(
    r"(?P<duration>whole|30s|10s|3s)(?P<two>-two-speakers)?"
    r"(?:-(?P<over>noise|music)-(?P<snr>\d+)db(?P<half>-first-half)?)?"
)
EXAMPLES: Final = (
    "3s, 10s, 30s or whole, then -two-speakers, then -noise-10db or -music-10db (0 to 40), then -first-half; "
    "such as 10s-noise-5db-first-half"
)
MAX_SNR_DB: Final = 40
MAX_UTTERANCES: Final = 200
"""Of a language under a condition, where a user does not say otherwise."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way that speech is heard.

    Attributes:
        duration_s: seconds; None for whole recordings.
        over: what lies over the speech; None for nothing.
        snr_db: of the speech over that.
        first_half: whether it ends half-way.
        two_speakers: whether the second half is another speaker's, of the same language and source.
    """

    duration_s: int | None = None
    over: Literal["noise", "music"] | None = None
    snr_db: int = 0
    first_half: bool = False
    two_speakers: bool = False

    @property
    def name(self) -> str:
        """As `parse_condition` reads it."""
        name = "whole" if self.duration_s is None else f"{self.duration_s}s"
        name += "-two-speakers" if self.two_speakers else ""
        if self.over:
            name += f"-{self.over}-{self.snr_db}db" + ("-first-half" if self.first_half else "")
        return name

    @property
    def order(self) -> tuple[float, bool, str, int, bool]:
        """Where it stands among others: the shortest first, and what is plain before what is not."""
        duration_s = float("inf") if self.duration_s is None else float(self.duration_s)
        return duration_s, self.two_speakers, self.over or "", -self.snr_db, self.first_half


class Piece(NamedTuple):
    """A part of a recording, in samples."""

    recording: Recording
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is scored as one.

    Attributes:
        row: who speaks, and how long.
        pieces: of which recordings, in order.
    """

    row: Utterance
    pieces: tuple[Piece, ...]


def parse_condition(text: str) -> Condition:
    """The inverse of `Condition.name`.

    Raises:
        ConfigError: it is none.
    """
    found = _GRAMMAR.fullmatch(text)
    if not found or int(found["snr"] or 0) > MAX_SNR_DB:
        raise ConfigError(f"{text!r} is no condition; allowed: {EXAMPLES}.")
    return Condition(
        duration_s=None if found["duration"] == "whole" else int(found["duration"].removesuffix("s")),
        over="noise" if found["over"] == "noise" else "music" if found["over"] else None,
        snr_db=int(found["snr"] or 0),
        first_half=bool(found["half"]),
        two_speakers=bool(found["two"]),
    )


def cut(
    recordings: Sequence[Recording], condition: Condition, *, languages: Sequence[str], max_utterances: int
) -> tuple[Cut, ...]:
    """What a condition scores of recordings; the same whatever their order. Noise is added later, to the samples.

    Args:
        recordings: those that may be scored.
        condition: which stretches of them.
        languages: which languages; those that have no such stretch are not in what comes back.
        max_utterances: of a language at most, spread evenly over its speakers, and over each speaker's stretches within
            those of the next longer duration.

    Returns:
        by language in their order, then by source and speaker, then by place.
    """
    cuts: list[Cut] = []
    for language in languages:
        speakers = _by_speaker(recordings, language)
        cuts += [each for group in _chosen(speakers, condition, total=max_utterances) for each in group]
    rows = with_own_ids(each.row for each in cuts)
    return tuple(replace(each, row=row) for each, row in zip(cuts, rows, strict=True))


def _chosen(speakers: dict[tuple[str, str], list[Recording]], condition: Condition, *, total: int) -> list[list[Cut]]:
    """Of each speaker, or pair of them, the stretches that are scored."""
    groups = _pairs(speakers, condition) if condition.two_speakers else _singles(speakers, condition)
    shares = equal_shares([len(group) for group in groups], total=total)
    longer = [each for each in DURATIONS_S if condition.duration_s is not None and each > condition.duration_s]
    if condition.two_speakers or not longer:
        return [spread(group, share) for group, share in zip(groups, shares, strict=True)]
    around = _chosen(speakers, replace(condition, duration_s=min(longer)), total=total)
    return [_inside_first(*each) for each in zip(groups, around, shares, strict=True)]


def _inside_first(group: Sequence[Cut], longer: Sequence[Cut], share: int) -> list[Cut]:
    """So many of them, in their order: those within longer ones, and others only where these are too few."""
    places: dict[str, list[Piece]] = {}
    for each in longer:
        for piece in each.pieces:
            places.setdefault(piece.recording.id, []).append(piece)

    def is_inside(piece: Piece) -> bool:
        around = places.get(piece.recording.id, ())
        return any(each.start <= piece.start and piece.stop <= each.stop for each in around)

    inside = {each.row.id for each in group if all(map(is_inside, each.pieces))}
    within, others = ([each for each in group if (each.row.id in inside) is wanted] for wanted in (True, False))
    num_within = min(share, len(within))
    kept = {each.row.id for each in (*spread(within, num_within), *spread(others, share - num_within))}
    return [each for each in group if each.row.id in kept]


def _by_speaker(recordings: Sequence[Recording], language: str) -> dict[tuple[str, str], list[Recording]]:
    """(source, speaker) -> recordings in the order of ids, in the order of names."""
    speakers = defaultdict[tuple[str, str], list[Recording]](list)
    for recording in sorted(recordings, key=lambda each: each.id):
        if recording.language == language:
            speakers[recording.source, recording.speaker].append(recording)
    return dict(sorted(speakers.items()))


def _singles(speakers: dict[tuple[str, str], list[Recording]], condition: Condition) -> list[list[Cut]]:
    return [
        [_cut(stretch, condition, number) for number, stretch in enumerate(_stretches(recordings, condition))]
        for recordings in speakers.values()
    ]


def _pairs(speakers: dict[tuple[str, str], list[Recording]], condition: Condition) -> list[list[Cut]]:
    """The first half of one speaker's stretch and the second of another's; speakers of a source in a ring."""
    groups: list[list[Cut]] = []
    for source in sorted({source for source, _ in speakers}):
        ring = [recordings for (of, _), recordings in speakers.items() if of == source]
        for first, second in zip(ring, [*ring[1:], ring[0]], strict=True):
            if first is second:
                continue
            both = zip(_stretches(first, condition), _stretches(second, condition), strict=False)
            groups.append([_cut(_joined(*each), condition, number) for number, each in enumerate(both)])
    return groups


def _joined(first: tuple[Piece, ...], second: tuple[Piece, ...]) -> tuple[Piece, ...]:
    half_first, half_second = _length(first) // 2, _length(second) // 2
    return (*_within(first, 0, half_first), *_within(second, half_second, _length(second)))


def _stretches(recordings: Sequence[Recording], condition: Condition) -> list[tuple[Piece, ...]]:
    if condition.duration_s is None:
        wholes = [_whole(recording) for recording in recordings]
        return [(whole,) for whole in wholes if whole.stop >= SHORTEST_WHOLE_S * SAMPLE_RATE_HZ]
    return [
        _within(block, start, stop)
        for block in _blocks(recordings)
        for start, stop in nested(_length(block), condition.duration_s * SAMPLE_RATE_HZ)
    ]


def _blocks(recordings: Sequence[Recording]) -> Iterator[tuple[Piece, ...]]:
    """Recordings of the longest duration alone, shorter ones joined until they reach it."""
    longest, pending = DURATIONS_S[0] * SAMPLE_RATE_HZ, list[Piece]()
    for piece in map(_whole, recordings):
        if piece.stop >= longest:
            yield (piece,)
            continue
        pending.append(piece)
        if _length(pending) >= longest:
            yield tuple(pending)
            pending = []
    if pending:
        yield tuple(pending)


def nested(length: int, wanted: int) -> list[tuple[int, int]]:
    """Where stretches of a wanted length lie within a block, in samples, each within one of the next longer duration.

    A block too short for a duration gives its whole length to the next shorter one.
    """
    regions = [(0, length)]
    for duration in (each * SAMPLE_RATE_HZ for each in DURATIONS_S):
        tiles = [
            (start + number * duration, start + (number + 1) * duration)
            for start, stop in regions
            for number in range((stop - start) // duration)
        ]
        if duration == wanted:
            return tiles
        regions = tiles or regions
    return []


def _within(pieces: Sequence[Piece], start: int, stop: int) -> tuple[Piece, ...]:
    """The samples from `start` to `stop` of pieces that follow each other."""
    found, begins = list[Piece](), 0
    for piece in pieces:
        size = piece.stop - piece.start
        first, last = max(0, start - begins), min(size, stop - begins)
        if first < last:
            found.append(Piece(piece.recording, piece.start + first, piece.start + last))
        begins += size
    return tuple(found)


def _whole(recording: Recording) -> Piece:
    return Piece(recording, 0, round(recording.duration_s * SAMPLE_RATE_HZ))


def _length(pieces: Sequence[Piece]) -> int:
    return sum(piece.stop - piece.start for piece in pieces)


def _cut(pieces: tuple[Piece, ...], condition: Condition, number: int) -> Cut:
    first = pieces[0].recording
    speakers = dict.fromkeys(piece.recording.speaker for piece in pieces)
    return Cut(
        row=Utterance(
            id=f"{'+'.join(speakers)}#{condition.name}#{number}",
            language=first.language,
            source=first.source,
            speaker="+".join(speakers),
            split=first.split,
            recordings=tuple(piece.recording.id for piece in pieces),
            duration_s=_length(pieces) / SAMPLE_RATE_HZ,
        ),
        pieces=pieces,
    )
