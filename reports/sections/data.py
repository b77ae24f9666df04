"""Which speech the study heard, split how."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from reports.records import StudyRecord
from reports.sections._blocks import Block, Cell, Column, Items, Section, Table, Text, numeric
from reports.wording import count, listing, number

ROW_KEYS: Final = ("split", "language", "source")
SPLITS: Final = ("train", "dev", "test")
SPLIT_RULE: Final = "Splits are made on source and speaker, never on files."


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What one split holds of one language from one source."""

    split: str
    language: str
    source: str
    recordings: int | None
    hours: float | None
    speakers: int | None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The corpus; `shared` says what stands on both sides of a split."""

    name: str
    data_hash: str
    split_rule: str
    shared: tuple[str, ...]
    portions: tuple[Portion, ...]

    def sources(self, split: str) -> frozenset[str]:
        """The sources of a split, over all languages: one announcer may speak several."""
        return frozenset(portion.source for portion in self.portions if portion.split == split)

    @property
    def overlaps(self) -> tuple[str, ...]:
        """What stands on both sides of a split: what the manifest says, and what its rows show."""
        found = list(self.shared)
        for one, other in combinations(SPLITS, 2):
            common = sorted(self.sources(one) & self.sources(other))
            if common:
                found.append(f"{one} and {other} share {listing(common)}")
        return tuple(found)


def summarise(study: StudyRecord) -> Data:
    """The corpus as the manifest tells it; rows without a split, a language and a source are passed over."""
    corpus = study.manifest.corpus
    rows = [row for row in corpus.get("rows", ()) if all(key in row for key in ROW_KEYS)]
    order = {split: i for i, split in enumerate(SPLITS)}
    portions = sorted(map(_portion, rows), key=lambda p: (order.get(p.split, len(order)), p.language, p.source))
    return Data(
        name=str(corpus.get("name", "")),
        data_hash=str(corpus.get("data_hash", "")),
        split_rule=str(corpus.get("split_rule", SPLIT_RULE)),
        shared=tuple(str(item) for item in corpus.get("shared", ())),
        portions=tuple(portions),
    )


def _portion(row: dict[str, Any]) -> Portion:
    return Portion(
        split=str(row["split"]),
        language=str(row["language"]),
        source=str(row["source"]),
        recordings=row.get("recordings"),
        hours=row.get("hours"),
        speakers=row.get("speakers"),
    )


def present(data: Data) -> tuple[Block, ...]:
    """The rule, what breaks it, and a row a portion."""
    if not data.portions:
        return (Text("The study's record holds no table of its corpus.", tone="warn"),)
    totals: dict[str, float] = defaultdict(float)
    for portion in data.portions:
        totals[portion.split] += portion.hours or 0.0
    amounts = listing(f"{hours:.2f} h {split}" for split, hours in totals.items())
    head = f"Corpus {data.name}, data hash {data.data_hash or 'not recorded'}: {amounts}. {data.split_rule}"
    blocks: list[Block] = [Text(head)]
    if data.shared:
        blocks += [Text("Shared all the same:", tone="warn"), Items(data.shared)]
    columns = (
        *(Column(key, numeric=False) for key in ROW_KEYS),
        Column("recordings"),
        Column("hours"),
        Column("speakers"),
    )
    title = f"{count(len({p.source for p in data.portions}), 'source')} by split and language"
    return (*blocks, Table(caption=title, columns=columns, rows=tuple(_cells(p) for p in data.portions)))


def _cells(portion: Portion) -> tuple[Cell, ...]:
    return (
        Cell(portion.split),
        Cell(portion.language),
        Cell(portion.source),
        numeric(portion.recordings, number(portion.recordings, 0)),
        numeric(portion.hours, number(portion.hours, 2)),
        numeric(portion.speakers, number(portion.speakers, 0)),
    )


SECTION = Section(key="data", title="Data", summarise=summarise, present=present)
