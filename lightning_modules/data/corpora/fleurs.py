"""FLEURS, by Lhotse's recipe and in the layout of its downloader (Conneau et al., SLT 2022)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard
from lightning_modules.data.corpora.lhotse import by_recipe, import_lhotse, in_silence
from lightning_modules.errors import CorpusError


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
        """Languages that have a folder in `metadata`."""
        metadata = path / "metadata"
        languages = [
            folder.name for folder in (sorted(metadata.iterdir()) if metadata.is_dir() else []) if folder.is_dir()
        ]
        if not languages:
            raise CorpusError(
                f"{path} is no FLEURS: it has no folder metadata/<language>, as `lhotse download fleurs` makes."
            )
        recipe = import_lhotse("lhotse.recipes.fleurs")
        with tempfile.TemporaryDirectory() as manifests:
            try:
                with in_silence():
                    found = recipe.prepare_fleurs(path, manifests, languages=languages)
            except (FileNotFoundError, ValueError) as error:
                raise CorpusError(f"{path} is no whole FLEURS: {error}.") from None
        yield from by_recipe(found, source="fleurs", knows_speakers=False)
