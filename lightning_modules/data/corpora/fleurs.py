"""FLEURS, in the layout of Lhotse's downloader (Conneau et al., SLT 2022)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, lines_of
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

_NAME_COLUMN: Final = 1


class Fleurs(Layout):
    """`<language>/<train|dev|test>/<file>.wav`, `metadata/<language>/<split>.tsv`."""

    card = LayoutCard(
        kind="fleurs",
        title="FLEURS",
        layout="<language>/<train|dev|test>/<file>.wav and metadata/<language>/<split>.tsv, as `lhotse download "
        "fleurs` leaves them; languages are named as en_us",
        speakers="not known: each recording stands for one. The sentences are the same in all languages",
        has_splits=True,
        licence="CC-BY-4.0",
        url="https://arxiv.org/abs/2205.12446",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Files that the tables in `metadata` name."""
        metadata = path / "metadata"
        tables = [
            (folder.name, split, folder / f"{split}.tsv")
            for folder in (sorted(metadata.iterdir()) if metadata.is_dir() else [])
            for split in get_args(Split)
            if (folder / f"{split}.tsv").is_file()
        ]
        if not tables:
            raise CorpusError(
                f"{path} is no FLEURS: it has no metadata/<language>/<split>.tsv, as `lhotse download fleurs` makes."
            )
        for language, split, table in tables:
            yield from _rows(path / language / split, table, language=language, split=split)


def _rows(audio: Path, table: Path, *, language: str, split: Split) -> Iterator[Found | Skipped]:
    for number, line in enumerate(lines_of(table), start=1):
        columns = line.split("\t")
        if len(columns) <= _NAME_COLUMN:
            yield Skipped(path=f"metadata/{language}/{table.name}, line {number}", reason="names no file")
            continue
        file = columns[_NAME_COLUMN]
        name = f"{language}/{split}/{Path(file).stem}"
        yield Found(
            id=name,
            file=audio / file,
            language=language,
            source="fleurs",
            speaker=name,
            recording=name,
            split=split,
        )
