"""Mozilla Common Voice (Ardila et al., LREC 2020)."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, lines_of
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

_TABLES: Final = ("train.tsv", "dev.tsv", "test.tsv")
_NEEDED: Final = ("client_id", "path")


class CommonVoice(Layout):
    """`<language>/clips/<file>.mp3`, `<language>/<train|dev|test>.tsv`."""

    card = LayoutCard(
        kind="common_voice",
        title="Mozilla Common Voice",
        layout="<language>/clips/<file>.mp3 and <language>/<train|dev|test>.tsv: the folder cv-corpus-… of a release",
        speakers="client ids: mostly one person each",
        has_splits=True,
        licence="CC0-1.0",
        url="https://commonvoice.mozilla.org",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Clips that its tables name, of any release: two columns are enough."""
        languages = [
            folder
            for folder in (sorted(path.iterdir()) if path.is_dir() else [])
            if all((folder / table).is_file() for table in _TABLES)
        ]
        if not languages:
            raise CorpusError(
                f"{path} holds no language of Common Voice: a folder with {', '.join(_TABLES)} and clips."
            )
        for folder in languages:
            for split in get_args(Split):
                yield from _clips(folder, split)


def _clips(folder: Path, split: Split) -> Iterator[Found | Skipped]:
    table = folder / f"{split}.tsv"
    rows = csv.DictReader(lines_of(table), delimiter="\t", quoting=csv.QUOTE_NONE)  # sentences have single quotes
    try:
        yield from _found(rows, table=table, folder=folder, split=split)
    except csv.Error as error:
        raise CorpusError(f"{table}, line {rows.line_num} cannot be read: {error}.") from None


def _found(rows: "csv.DictReader[str]", *, table: Path, folder: Path, split: Split) -> Iterator[Found | Skipped]:
    if missing := [name for name in _NEEDED if name not in (rows.fieldnames or ())]:
        raise CorpusError(f"{table} has no column {missing[0]!r}.")
    for row in rows:
        if not row["path"] or not row["client_id"]:
            yield Skipped(path=f"{folder.name}/{table.name}, line {rows.line_num}", reason="no path or client_id")
            continue
        name = f"{folder.name}/{split}/{Path(row['path']).stem}"
        yield Found(
            id=name,
            file=folder / "clips" / row["path"],
            language=folder.name,
            source="common_voice",
            speaker=row["client_id"],
            recording=name,
            split=split,
        )
