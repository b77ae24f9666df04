"""Which split each stretch of speech of a user's corpus belongs to."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from lightning_modules.config.corpus import (
    GivenSplitsConfig,
    SourceSplitsConfig,
    SpeakerSplitsConfig,
    SplitsConfig,
)
from lightning_modules.data.corpora._layout import Found
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError


def assign_splits(found: Sequence[Found], splits: SplitsConfig) -> list[Found]:
    """All of it, each with a split.

    Raises:
        CorpusError: the splits cannot be made of this corpus.
    """
    match splits:
        case GivenSplitsConfig():
            return _given(found)
        case SpeakerSplitsConfig():
            return _by_speaker(found, splits)
        case SourceSplitsConfig():
            return _by_source(found, splits)
        case _:
            assert_never(splits)


def _given(found: Sequence[Found]) -> list[Found]:
    for each in found:
        if each.split is None:
            raise CorpusError(
                f"{each.id} has no split of its own: name a path each (path = {{ train = …, dev = …, test = … }}), or "
                'divide the speakers ([splits] kind = "speakers") or the sources (kind = "sources").'
            )
    return list(found)


def _by_source(found: Sequence[Found], splits: SourceSplitsConfig) -> list[Found]:
    sources = {each.source for each in found}
    if unknown := [name for name in (*splits.dev, *splits.test) if name not in sources]:
        raise CorpusError(f"splits name the source {unknown[0]!r}; this corpus has {', '.join(sorted(sources))}.")
    return [replace(each, split=_split_of(each.source, splits)) for each in found]


def _split_of(source: str, splits: SourceSplitsConfig) -> Split:
    if source in splits.dev:
        return "dev"
    return "test" if source in splits.test else "train"


def _by_speaker(found: Sequence[Found], splits: SpeakerSplitsConfig) -> list[Found]:
    """Groups of a language, in an order that their names and the seed decide, fill test, then development.

    A language's last groups train whatever the shares are, so that every language that has three groups is in all
    splits. What the layout keeps apart as test already stays there, and such a language gets no other test data.
    Languages of few groups choose first, and those that share groups with them count these as given.
    """
    group_of = _groups(found)
    by_language: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        if each.split is None:
            by_language[each.language][group_of[each.id]].append(each)
    tested = {each.language for each in found if each.split == "test"}
    chosen: dict[str, Split] = {}
    for language, groups in sorted(by_language.items(), key=lambda item: (len(item[1]), item[0])):
        shares: dict[Split, float] = {"test": 0.0 if language in tested else splits.test, "dev": splits.dev}
        sizes = {name: len(rows) for name, rows in groups.items()}
        chosen |= _fill(sizes, given=chosen, shares=shares, seed=splits.seed)
    return [each if each.split else replace(each, split=chosen[group_of[each.id]]) for each in found]


def _fill(
    sizes: dict[str, int], *, given: Mapping[str, Split], shares: dict[Split, float], seed: int
) -> dict[str, Split]:
    """Group -> split; test and development get at least one group each where there are three, and share alike.

    Each takes the first group that its share has room for, and the smallest where it has none for any.
    """
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    waiting = [name for name in order if name not in given]
    total, chosen = sum(sizes.values()), dict[str, Split]()
    taken = {split: sum(size for name, size in sizes.items() if given.get(name) == split) for split in shares}
    least = 0 if any(given.get(name) == "train" for name in sizes) else 1  # one group has to train
    wanted = [split for split, share in shares.items() if share > 0]
    for place, split in enumerate(wanted):
        needy = sum(not taken[later] for later in wanted[place + 1 :])
        room = len(waiting) - least - needy  # so many of them at most, or one where nothing else is there
        for name in waiting:  # in one pass: what has no room now has none later
            if room > 0 and taken[split] + sizes[name] <= shares[split] * total:
                taken[split], room, chosen[name] = taken[split] + sizes[name], room - 1, split
        if not taken[split] and len(waiting) > least:
            name = min(waiting, key=sizes.__getitem__)
            taken[split], chosen[name] = sizes[name], split
        waiting = [name for name in waiting if name not in chosen]
    return chosen | dict.fromkeys(waiting, "train")


def _groups(found: Sequence[Found]) -> dict[str, str]:
    """Id -> the name of its group: what shares a speaker, a recording or a file, by any number of steps."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for each in found:
        for name in (f"recording {each.recording}", f"file {each.file}"):  # the sides of a call are of one file
            speaker, other = root(f"speaker {each.speaker}"), root(name)
            parent[max(speaker, other)] = min(speaker, other)
    return {each.id: root(f"speaker {each.speaker}") for each in found}
