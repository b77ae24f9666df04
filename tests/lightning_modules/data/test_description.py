"""A corpus in numbers, and its drawing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.data.cards import Progress
from lightning_modules.data.description import describe, range_db
from lightning_modules.data.prepared import prepare_corpus
from lightning_modules.errors import CorpusError
from reports.figures import corpus_figure, to_svg


def test_the_numbers_add_up_to_the_corpus_and_can_be_drawn(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    corpus = prepare_corpus("tiny", tmp_path, progress=quiet)
    found = describe(corpus.recordings, corpus=corpus.root, num_leaks=3)
    assert sum(map(len, found.durations_s.values())) == len(corpus.recordings)
    assert sum(found.hours.values()) * 3600 == pytest.approx(sum(each.duration_s for each in corpus.recordings))
    assert found.speakers.keys() == {(each.split, each.language) for each in corpus.recordings}
    assert {(each.language, each.source) for each in found.sounds} == {
        (each.language, each.source) for each in corpus.recordings
    }
    assert found.shared["training: speakers"] == 0
    assert found.shared["same audio"] == 3
    unknown = describe(corpus.recordings, corpus=corpus.root, num_leaks=None)
    assert "same audio" not in unknown.shared, "nobody has looked, which is not none"
    drawn = to_svg(corpus_figure(found))
    assert "same audio: 3" in drawn
    assert all(f"{each.language} {each.source}" in drawn for each in found.sounds)


@pytest.mark.parametrize("snr_db", [10.0, 30.0])
def test_noise_in_the_pauses_is_what_the_range_shows(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    speech = np.repeat([1.0, 0.0] * 25, 1600) * rng.standard_normal(80_000)
    noise = rng.standard_normal(80_000) * 10 ** (-snr_db / 20)
    found = range_db(0.1 * (speech + noise))
    assert found == pytest.approx(snr_db, abs=2.5)


def test_what_is_short_has_no_range() -> None:
    assert range_db(np.ones(19 * 160)) is None


def test_a_missing_file_is_told(tiny: Any, tmp_path: Path, quiet: Progress) -> None:
    corpus = prepare_corpus("tiny", tmp_path, progress=quiet)
    corpus.audio_path(corpus.recordings[0]).unlink()
    with pytest.raises(CorpusError, match="prepare the corpus again"):
        describe(corpus.recordings, corpus=corpus.root, num_leaks=3)
