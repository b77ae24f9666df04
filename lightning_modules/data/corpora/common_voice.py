"""Mozilla Common Voice, by Lhotse's recipe (Ardila et al., LREC 2020)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard
from lightning_modules.data.corpora.lhotse import by_recipe, import_lhotse, in_silence
from lightning_modules.errors import CorpusError

_TABLES = ("train.tsv", "dev.tsv", "test.tsv")


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
        """Clips that its tables name; clips without a file are left out by the recipe."""
        languages = [
            folder.name
            for folder in (sorted(path.iterdir()) if path.is_dir() else [])
            if all((folder / table).is_file() for table in _TABLES)
        ]
        if not languages:
            raise CorpusError(
                f"{path} holds no language of Common Voice: a folder with {', '.join(_TABLES)} and clips."
            )
        recipe = import_lhotse("lhotse.recipes.commonvoice")
        with tempfile.TemporaryDirectory() as manifests:
            try:
                with in_silence():
                    found = recipe.prepare_commonvoice(path, manifests, languages=languages)
            except KeyError as error:
                raise CorpusError(f"a table of Common Voice below {path} has no column {error}.") from None
        yield from by_recipe(found, source="common_voice", knows_speakers=True)
