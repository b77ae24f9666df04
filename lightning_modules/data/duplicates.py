"""Near-duplicates: recordings of different splits that hold the same audio, though not the same samples.

Copies that went through another codec, level or cut have other samples and other hashes, and a model that has trained
on one knows the other. Each 10 ms of speech gets a word of 32 bits, the signs of how energy differences between
neighbouring bands change, taken over a third of a second (Haitsma & Kalker, "A highly robust audio fingerprinting
system", ISMIR 2002), which noise and coding change little. Pairs that share parts of some words at one offset are
compared bit by bit there.

It works on the feature store, whatever was prepared. Imports no torch.

Shape legend: T frames, D bands, W words, H hits.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_modules.data.cards import Progress
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording
from lightning_modules.processes import in_order, worker_pool

Words = npt.NDArray[np.uint32]

METHOD: Final = 2
"""Counts up where what is found changes, so that who has looked before looks again."""
NUM_BITS: Final = 32
SMOOTHED: Final = 32
"""Frames that a word sees: what is shorter does not survive another cut or codec."""
SHORTEST: Final = 100
"""Words, one each 10 ms, that two recordings must have in common."""
LARGEST_ERROR: Final = 0.35
"""Share of bits that may differ, as Haitsma and Kalker have it. Of unrelated speech half of them do."""
PASSAGE: Final = 150
"""Words of a passage that two recordings share between others."""
LARGEST_ERROR_OF_PASSAGE: Final = 0.2
"""Less, since it is looked for in many places: the same phrase by two voices of a synthesiser has 0.21 and more."""
PARTS: Final = ((0, 20), (12, 20))
"""First bit and number of bits of what is looked up: few enough that some survive where a quarter of all do not."""
FEWEST_HITS: Final = 2
COMMON: Final = 50
"""What more frames of a block have in common says nothing: it is silence, or a steady vowel. Of a jingle that more
recordings share, few pairs are found."""
BLOCK: Final = 2_000_000
"""Words, one a frame, that are looked up at a time: an index takes some sixty bytes a word."""
FEW: Final = 2
"""Blocks that are not worth processes of their own."""
OFFSETS: Final = 1 << 32
"""More than there can be of two recordings, either way."""
STAGE: Final = "looking for leaks"


class NearDuplicate(NamedTuple):
    """Two recordings with the same audio.

    Attributes:
        first: id of the one that trains, or of the development one where the other is test.
        second: id of the other.
        seconds: of audio that they share, about.
        error: share of bits that differ there.
    """

    first: str
    second: str
    seconds: float
    error: float


class _Task(NamedTuple):
    """A block of recordings, and those that are looked up in it."""

    store: Path
    block: tuple[str, ...]
    asked: tuple[str, ...]
    frames_per_s: float


def near_duplicates(
    recordings: Sequence[Recording],
    store: FeatureStore,
    *,
    frames_per_s: float,
    progress: Progress = lambda _stage, _done, _total: None,
) -> tuple[NearDuplicate, ...]:
    """Pairs of recordings in different splits that hold the same audio, the longest first.

    Of a second or more where all that overlaps is the same, of two where other speech is before or after it in both.

    On all cores where there are several blocks; only so many are in memory. Time grows with the speech of training
    times that of development and test: an hour against a block takes some three seconds of a core.

    Args:
        recordings: of a whole corpus.
        store: their features.
        frames_per_s: of the store.
        progress: told how far it is.
    """
    of_split = {
        split: tuple(each.id for each in recordings if each.split == split) for split in ("train", "dev", "test")
    }
    of_all = {"train": of_split["dev"] + of_split["test"], "dev": of_split["test"]}
    blocks = [(known, block) for known in of_all for block in _blocks(of_split[known], store)]
    tasks = (_Task(store.path, tuple(block), of_all[known], frames_per_s) for known, block in blocks)
    found: list[NearDuplicate] = []
    progress(STAGE, 0, max(1, len(blocks)))
    with ExitStack() as stack:
        results: Iterator[list[NearDuplicate]] = map(_matches, tasks)
        if len(blocks) > FEW:
            num_workers = min(os.cpu_count() or 1, len(blocks))
            results = in_order(stack.enter_context(worker_pool(num_workers)), _matches, tasks, ahead=num_workers)
        for done, matches in enumerate(results, start=1):
            found += matches
            progress(STAGE, done, len(blocks))
    return tuple(sorted(found, key=lambda match: (-match.seconds, match)))


def _matches(task: _Task) -> list[NearDuplicate]:
    store = FeatureStore.open(task.store)
    index = _Index(task.block, [fingerprint(store.frames(name)) for name in task.block])
    return [
        match
        for name in task.asked
        for match in index.matches(name, fingerprint(store.frames(name)), frames_per_s=task.frames_per_s)
    ]


def fingerprint(frames_TD: npt.NDArray[np.floating]) -> Words:
    """A word a frame, but for the last third of a second: (W,); none of what is shorter.

    Bit i is set where band i gets louder, against the next band, from one third of a second to the one a frame later.
    """
    if len(frames_TD) <= SMOOTHED + 1:
        return np.zeros(0, np.uint32)
    energies_TD = np.exp(frames_TD.astype(np.float64))
    total_TD = np.concatenate([np.zeros((1, energies_TD.shape[1])), np.cumsum(energies_TD, axis=0)])
    log_WD = np.log(total_TD[SMOOTHED:] - total_TD[:-SMOOTHED] + 1e-9)
    chosen = np.linspace(0, log_WD.shape[1] - 1, NUM_BITS + 1).round().astype(int)
    bits_W32 = np.diff(np.diff(log_WD[:, chosen], axis=1), axis=0) > 0
    weights = np.left_shift(np.uint64(1), np.arange(NUM_BITS, dtype=np.uint64))
    return np.asarray((bits_W32 * weights).sum(axis=1), dtype=np.uint32)


def _blocks(names: Sequence[str], store: FeatureStore) -> Iterator[list[str]]:
    """Recordings in their order, so many at a time that their frames fill a block, or one that is longer."""
    block, size = list[str](), 0
    for name in names:
        length = len(store.frames(name))
        if block and size + length > BLOCK:
            yield block
            block, size = [], 0
        block.append(name)
        size += length
    if block:
        yield block


class _Index:
    """Parts of words of many recordings, and where they stand."""

    def __init__(self, names: Sequence[str], words: Sequence[Words]) -> None:
        self._names, self._words = names, words
        lengths = [len(each) for each in self._words]
        joined = np.concatenate([np.zeros(0, np.uint32), *self._words])
        self._owner = np.repeat(np.arange(len(names)), lengths)
        self._place = np.concatenate([np.zeros(0, np.int64), *(np.arange(length) for length in lengths)])
        self._tables = [(order := np.argsort(part, kind="stable"), part[order]) for part in _parts_of(joined)]

    def matches(self, name: str, words: Words, *, frames_per_s: float) -> Iterator[NearDuplicate]:
        """What shares audio with a recording, each once."""
        owners, offsets = (np.concatenate(each) for each in zip(*self._hits(words), strict=True))
        # One number a pair: to sort rows takes several times as long.
        pairs, counts = np.unique(owners * OFFSETS + offsets + OFFSETS // 2, return_counts=True)
        best: dict[int, NearDuplicate] = {}
        for pair in pairs[counts >= FEWEST_HITS].tolist():
            owner, offset = pair // OFFSETS, pair % OFFSETS - OFFSETS // 2
            match = self._compared(owner, offset, name, words, frames_per_s=frames_per_s)
            if match is not None and (owner not in best or match.error < best[owner].error):
                best[owner] = match
        yield from best.values()

    def _hits(self, words: Words) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Of each table (H,): whose a part of a word is too, and how much later it stands there."""
        for (order, entries), part in zip(self._tables, _parts_of(words), strict=True):
            first = np.searchsorted(entries, part, side="left")
            counts = np.searchsorted(entries, part, side="right") - first
            counts[counts > COMMON] = 0
            ends = np.cumsum(counts)
            within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
            where = order[np.repeat(first, counts) + within]
            yield self._owner[where], self._place[where] - np.repeat(np.arange(len(part)), counts)

    def _compared(
        self, owner: int, offset: int, name: str, words: Words, *, frames_per_s: float
    ) -> NearDuplicate | None:
        """Bit by bit where the two overlap at that offset, or over the longest passage in which they agree."""
        theirs, ours = self._words[owner][max(0, offset) :], words[max(0, -offset) :]
        length = min(len(theirs), len(ours))
        errors_W = np.bitwise_count(theirs[:length] ^ ours[:length]) / NUM_BITS
        if not (part := _agreeing(errors_W)):
            return None
        error = float(errors_W[part.start : part.stop].mean())
        return NearDuplicate(self._names[owner], name, round((len(part) + SMOOTHED) / frames_per_s, 2), round(error, 3))


def _agreeing(errors_W: npt.NDArray[np.float64]) -> range:
    """All words where they agree in the mean, else the longest run of passages that do; or none."""
    if len(errors_W) < SHORTEST:
        return range(0)
    if errors_W.mean() <= LARGEST_ERROR:
        return range(len(errors_W))
    total_W = np.concatenate([[0.0], np.cumsum(errors_W)])
    agrees = (total_W[PASSAGE:] - total_W[:-PASSAGE]) / PASSAGE <= LARGEST_ERROR_OF_PASSAGE
    changes = np.flatnonzero(np.diff(np.concatenate([[False], agrees, [False]]).astype(np.int8)))
    starts, stops = changes[::2], changes[1::2]
    if not len(starts):
        return range(0)
    longest = int(np.argmax(stops - starts))
    return range(int(starts[longest]), int(stops[longest]) - 1 + PASSAGE)


def _parts_of(words: Words) -> list[Words]:
    return [(words >> np.uint32(first)) & np.uint32((1 << size) - 1) for first, size in PARTS]
