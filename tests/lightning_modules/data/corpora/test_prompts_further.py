"""How five more packages become training speech: languages within a package, cries, a zip, and the real thing."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest

from lightning_modules.data.cards import CorpusCard, Progress, Skipped
from lightning_modules.data.conversion import Job
from lightning_modules.data.corpora.prompts import SOURCES, PromptSource, packages_of, read_source
from lightning_modules.data.corpora.prompts_further import FURTHER, PromptsFurther
from lightning_modules.data.prepared import describe_corpus, prepare_corpus
from lightning_modules.errors import CorpusError

TARGETS = {"en", "es", "fr", "it", "ru"}


def source(name: str) -> PromptSource:
    return next(each for each in FURTHER if each.card.name == name)


def read(name: str, tree: Path, files: list[str]) -> dict[str, str]:
    """Id -> speaker of what is to be converted."""
    for file in files:
        path = tree / source(name).folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return {job.id: job.speaker for job in read_source(source(name), tree) if isinstance(job, Job)}


def test_a_stamp_is_named_in_the_language_of_its_file(tmp_path: Path) -> None:
    files = ["animals/cow.ogg", "animals/cow_desc.ogg", "animals/cow_desc_es.ogg", "animals/cow_desc_fr.ogg"]
    assert read("tuxpaint-stamps-default-es", tmp_path, [*files, "symbols/1_desc_es.ogg"]) == {
        "tuxpaint-stamps-default-es/animals/cow_desc_es": "tuxpaint-stamps-default-es/volunteer"
    }


def test_hedgehogs_speak_the_language_of_their_folder(tmp_path: Path) -> None:
    files = ["British/Hello.ogg", "Default_es/Hello.ogg", "Robot/Hello.ogg"]
    assert read("hedgewars-data-en", tmp_path, files) == {
        "hedgewars-data-en/British/Hello": "hedgewars-data-en/British"
    }


def test_cries_are_skipped_with_a_reason(tmp_path: Path) -> None:
    cries = [f"British/{name}.ogg" for name in ("Ow1", "Ooff2", "Laugh", "Jump3", "Uh-oh", "Nooo", "PoisonCough")]
    assert read("hedgewars-data-en", tmp_path, cries) == {}
    found = list(read_source(source("hedgewars-data-en"), tmp_path))
    assert {each.reason for each in found if isinstance(each, Skipped)} == {"music or an effect, by its name"}
    assert len(found) == len(cries)


def test_letters_of_two_englishes_are_two_voices(tmp_path: Path) -> None:
    files = ["en/alpha/a.ogg", "en_GB/alpha/a.ogg", "es/alpha/a.ogg"]
    assert set(read("klettres-data-en", tmp_path, files).values()) == {"klettres-data-en/en", "klettres-data-en/en_GB"}


def test_orders_are_read_from_a_zip(tmp_path: Path) -> None:
    orders = source("warzone2100-data-en")
    archive = tmp_path / orders.archive
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("audio/memressp/status/pcv1.ogg", b"")
        file.writestr("audio/sfx/weapons/bang.ogg", b"")
    found = [job for job in read_source(orders, tmp_path) if isinstance(job, Job)]
    assert [(job.id, job.speaker) for job in found] == [
        ("warzone2100-data-en/memressp/status/pcv1", "warzone2100-data-en/memressp")
    ]


def test_a_package_whose_zip_is_none_is_refused(tmp_path: Path) -> None:
    orders = source("warzone2100-data-en")
    (tmp_path / orders.archive).parent.mkdir(parents=True)
    (tmp_path / orders.archive).write_bytes(b"no zip")
    with pytest.raises(CorpusError, match=r"base\.wz cannot be unpacked .*another version"):
        list(read_source(orders, tmp_path))


def test_everything_further_trains_a_language_that_is_scored() -> None:
    assert {each.card.splits for each in FURTHER} == {("train",)}
    assert {each.card.language for each in FURTHER} == TARGETS
    names = [each.card.name for each in (*SOURCES, *FURTHER)]
    assert len(set(names)) == len(names)


def test_the_sources_that_are_scored_in_the_first_folds_are_those_of_prompts() -> None:
    """Folds go by the order of names."""
    for language in TARGETS:
        own = [each.card.name for each in SOURCES if each.card.language == language and each.package.size_bytes > 5e5]
        further = [each.card.name for each in FURTHER if each.card.language == language]
        assert sorted((*own, *further))[:2] == sorted(own)[:2]


def test_a_package_of_several_languages_is_fetched_once() -> None:
    names = [package.name for package in packages_of(PromptsFurther.sources)]
    assert len(set(names)) == len(names)
    assert PromptsFurther.card.download_bytes == pytest.approx(928e6, rel=0.1)


@pytest.mark.services
@pytest.mark.timeout(900)
def test_the_real_packages_become_training_speech(tmp_path: Path, quiet: Progress) -> None:
    class Alone(PromptsFurther):
        sources: ClassVar = FURTHER
        card = CorpusCard(name="alone", title="", about="", sources=tuple(each.card for each in FURTHER))

    corpus = prepare_corpus(Alone(), tmp_path, progress=quiet)
    minutes = Counter[str]()
    for row in describe_corpus(corpus):
        assert row.split == "train"
        minutes[row.language] += round(row.minutes)
    assert all(minutes[language] >= 14 for language in ("en", "es", "fr", "ru"))
    assert minutes["it"] >= 1
