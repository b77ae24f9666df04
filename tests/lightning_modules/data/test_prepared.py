"""Corpora in a workspace: whole or not there, whatever happens in between."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.data.cards import Progress
from lightning_modules.data.conversion import write_flac
from lightning_modules.data.prepared import corpus_folder, describe_corpus, open_corpus, prepare_corpus, verify
from lightning_modules.errors import CorpusError


def test_a_prepared_corpus_opens_as_it_was(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    prepared = prepare_corpus("tiny", tmp_path, progress=quiet)
    assert open_corpus("tiny", tmp_path) == prepared
    assert len(prepared.recordings) == 18
    assert [recording.id for recording in prepared.recordings] == sorted(row.id for row in prepared.recordings)
    assert all(prepared.audio_path(recording).is_file() for recording in prepared.recordings)
    assert prepared.versions == {"noise": "1"}


def test_preparing_again_does_nothing(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    first = prepare_corpus("tiny", tmp_path, progress=quiet)
    assert prepare_corpus("tiny", tmp_path, progress=quiet) == first
    assert tiny.num_calls == 1


def test_the_hash_depends_on_the_data_alone(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    hashes = {prepare_corpus("tiny", tmp_path / name, progress=quiet).data_hash for name in ("a", "b")}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 12


def test_what_a_killed_process_left_is_no_corpus(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    tiny.fails = True
    with pytest.raises(KeyboardInterrupt):
        prepare_corpus("tiny", tmp_path, progress=quiet)
    with pytest.raises(CorpusError, match="not prepared"):
        open_corpus("tiny", tmp_path)
    tiny.fails = False
    assert len(prepare_corpus("tiny", tmp_path, progress=quiet).recordings) == 18
    assert sorted(path.name for path in (tmp_path / "corpora").iterdir()) == [".tiny.lock", "tiny"]


@pytest.mark.parametrize("left", [["audio"], ["audio", "manifest.csv"]])
def test_a_folder_without_its_last_file_is_made_afresh(
    tiny: Any, tmp_path: Path, quiet: Progress, left: list[str]
) -> None:
    prepare_corpus("tiny", tmp_path, progress=quiet)
    for path in corpus_folder("tiny", tmp_path).iterdir():
        if path.name not in left:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    assert len(prepare_corpus("tiny", tmp_path, progress=quiet).recordings) == 18


def test_a_missing_corpus_is_refused_with_the_command_that_makes_it(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus 'tiny' is not prepared in .*; run `lidstudy corpus prepare tiny`"):
        open_corpus("tiny", tmp_path)


def test_an_unknown_corpus_is_refused_with_the_choices(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(CorpusError, match="there is no corpus 'promts'; choose one of espeak, prompts"):
        prepare_corpus("promts", tmp_path, progress=quiet)


def test_a_changed_manifest_is_refused(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    manifest = prepare_corpus("tiny", tmp_path, progress=quiet).root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",train,", ",dev,"))
    with pytest.raises(CorpusError, match="was changed"):
        open_corpus("tiny", tmp_path)


def test_a_damaged_card_is_refused(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    (prepare_corpus("tiny", tmp_path, progress=quiet).root / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="damaged"):
        open_corpus("tiny", tmp_path)


def test_an_empty_harvest_is_refused(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    tiny.card = dataclasses.replace(tiny.card, sources=())
    with pytest.raises(CorpusError, match="came out empty"):
        prepare_corpus("tiny", tmp_path, progress=quiet)


def test_the_card_is_written_beside_the_data(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    facts = json.loads((prepare_corpus("tiny", tmp_path, progress=quiet).root / "corpus.json").read_text())
    assert facts["card"]["languages"] == ["en", "fr"]
    assert facts["card"]["licences"] == ["none"]


def test_a_description_has_a_row_a_split_language_and_source(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    rows = describe_corpus(prepare_corpus("tiny", tmp_path, progress=quiet))
    assert [(row.split, row.language) for row in rows] == [
        (split, language) for split in ("train", "dev", "test") for language in ("en", "fr")
    ]
    assert rows[0].source == "en-train"
    assert rows[0].num_recordings == 3
    assert rows[0].num_speakers == 1
    assert rows[0].minutes == pytest.approx((0.5 + 0.75 + 1.0) / 60)


def test_opening_a_corpus_or_a_store_imports_nothing_heavy() -> None:
    code = (
        "import sys; import lightning_modules.data.prepared, lightning_modules.data.feature_store, "
        "lightning_modules.data.utterances, lightning_modules.data.splits; "
        "print([name for name in ('torch', 'torchaudio', 'pandas', 'scipy', 'babel') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]"


def _other_speech(path: Path) -> None:
    write_flac(path, np.zeros(8000, np.float32))


@pytest.mark.parametrize("break_it", [Path.unlink, lambda path: path.write_bytes(b"fLaC"), _other_speech])
def test_audio_that_is_missing_or_another_is_found(
    break_it: Callable[[Path], object], tiny: Any, tmp_path: Path, quiet: Progress
) -> None:
    corpus = prepare_corpus("tiny", tmp_path, progress=quiet)
    verify(corpus, progress=quiet)
    path = corpus.audio_path(corpus.recordings[1])
    break_it(path)
    with pytest.raises(CorpusError, match=f"1 of {len(corpus.recordings)} recordings .* such as {path}; remove"):
        verify(corpus, progress=quiet)
