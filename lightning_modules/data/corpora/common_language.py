"""CommonLanguage: 45 languages of Common Voice, an hour each (Sinisetty et al., 2021)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, audio_files
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

CODES: Final = {
    "Arabic": "ar", "Basque": "eu", "Breton": "br", "Catalan": "ca", "Chinese_China": "zh-CN",
    "Chinese_Hongkong": "zh-HK", "Chinese_Taiwan": "zh-TW", "Chuvash": "cv", "Czech": "cs", "Dhivehi": "dv",
    "Dutch": "nl", "English": "en", "Esperanto": "eo", "Estonian": "et", "French": "fr", "Frisian": "fy",
    "Georgian": "ka", "German": "de", "Greek": "el", "Hakha_Chin": "cnh", "Indonesian": "id", "Interlingua": "ia",
    "Italian": "it", "Japanese": "ja", "Kabyle": "kab", "Kinyarwanda": "rw", "Kyrgyz": "ky", "Latvian": "lv",
    "Maltese": "mt", "Mangolian": "mn", "Persian": "fa", "Polish": "pl", "Portuguese": "pt", "Romanian": "ro",
    "Romansh_Sursilvan": "rm", "Russian": "ru", "Sakha": "sah", "Slovenian": "sl", "Spanish": "es", "Swedish": "sv",
    "Tamil": "ta", "Tatar": "tt", "Turkish": "tr", "Ukranian": "uk", "Welsh": "cy",
}  # fmt: skip
"""Folder, spelt as the corpus spells it -> code."""


class CommonLanguage(Layout):
    """`<Language>/<train|dev|test>/<speaker>/<file>.wav`."""

    card = LayoutCard(
        kind="common_language",
        title="CommonLanguage",
        layout="<Language>/<train|dev|test>/<client>/<file>.wav, below common_voice_kpd in the archive",
        speakers="clients of Common Voice: mostly one person each",
        has_splits=True,
        licence="CC-BY-4.0",
        url="https://zenodo.org/records/5036977",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """The folders say everything; the tables beside them hold what was said, and are not needed."""
        inner = path / "common_voice_kpd"
        root = inner if inner.is_dir() else path
        languages = [folder for folder in sorted(root.iterdir()) if folder.is_dir()] if root.is_dir() else []
        if not any(folder.name in CODES for folder in languages):
            raise CorpusError(f"{path} holds no folder of a language of CommonLanguage, such as {root / 'English'}.")
        for folder in languages:
            for split in get_args(Split):
                for file in audio_files(folder / split):
                    name = file.relative_to(root).with_suffix("").as_posix()
                    if folder.name not in CODES:
                        yield Skipped(path=name, reason=f"{folder.name} is no language of CommonLanguage")
                        continue
                    client = file.relative_to(folder / split).parts[0]
                    yield Found(
                        id=name,
                        file=file,
                        language=CODES[folder.name],
                        source="common_language",
                        speaker=client,
                        recording=name,
                        split=cast("Split", split),
                    )
