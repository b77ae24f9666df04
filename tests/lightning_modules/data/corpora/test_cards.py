"""What every corpus must say of itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_modules.data import corpora
from lightning_modules.data.corpora import CORPORA, LAYOUTS
from lightning_modules.data.corpora._base import Corpus


def test_each_file_is_registered() -> None:
    files = {path.stem for path in Path(corpora.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    assert set(CORPORA) | set(LAYOUTS) == files


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_corpus_is_registered_under_its_own_name_and_file(name: str) -> None:
    assert isinstance(CORPORA[name], Corpus)
    assert CORPORA[name].card.name == name
    assert type(CORPORA[name]).__module__.endswith(f".{name}")


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_card_is_complete(name: str) -> None:
    card = CORPORA[name].card
    assert card.title
    assert len(card.about) > 100
    assert all(source.name and source.licence and source.splits for source in card.sources)
    assert all(len(language) == 2 and language.islower() for language in card.languages)


@pytest.mark.parametrize("name", list(CORPORA))
def test_five_languages_can_be_trained_and_scored(name: str) -> None:
    sources = CORPORA[name].card.sources
    for language in ("en", "es", "fr", "it", "ru"):
        assert {split for source in sources if source.language == language for split in source.splits} == {
            "train",
            "dev",
            "test",
        }


@pytest.mark.parametrize("name", list(CORPORA))
def test_no_source_serves_training_and_scoring(name: str) -> None:
    for source in CORPORA[name].card.sources:
        assert "train" not in source.splits or source.splits == ("train",)


def test_listing_corpora_imports_nothing_heavy() -> None:
    code = (
        "import sys; import lightning_modules.data.corpora; "
        "print([name for name in ('torch', 'pandas', 'scipy', 'soundfile', 'babel') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]"
