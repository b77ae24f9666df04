"""What is computed of test scores: raw, calibrated on development data alone, and tested over sources."""

import dataclasses

import numpy as np
import pytest

from lightning_modules import scoring
from reports.records import ScoreTable
from study.held_out import metrics_on_test

LANGUAGES = ("en", "es", "fr", "it", "ru")


def table_of(*, seed: int, favoured: float) -> ScoreTable:
    """Four utterances of one source a language, told apart, but with one language favoured throughout."""
    language = tuple(name for name in LANGUAGES for _ in range(4))
    truth = np.array([LANGUAGES.index(name) for name in language])
    scores = np.random.default_rng(seed).normal(size=(len(language), len(LANGUAGES))) * 0.3
    scores[np.arange(len(truth)), truth] += 3.0
    scores[:, 0] += favoured
    llr = scoring.llr_from_log_likelihoods(scores)
    names = tuple(f"{each}-{place}" for place, each in enumerate(language))
    return ScoreTable(
        utterance=names,
        language=language,
        source=tuple(f"source-{each}" for each in language),
        speaker=names,
        duration_s=(4.0,) * len(language),
        targets=LANGUAGES,
        llr=tuple(map(tuple, llr.tolist())),
    )


def test_p_values_are_of_raw_and_of_calibrated_decisions() -> None:
    development = dataclasses.asdict(table_of(seed=1, favoured=20.0))
    found = metrics_on_test(table_of(seed=2, favoured=20.0), development, tallies={})
    assert found["test/accuracy"] == pytest.approx(0.2)
    assert found["test/accuracy_calibrated"] == 1.0
    assert found["test/p_above_chance"] == 1.0
    assert found["test/p_above_chance_calibrated"] == pytest.approx(1 / 120)
