"""The look at test data: an attempt that scores a trial's best checkpoint on speech that nothing was chosen by."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from lightning_modules import scoring
from lightning_modules.build import load_module
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.prepared import PreparedCorpus, open_corpus_of
from lightning_modules.data.tasks import ScoredSpeech, scored_speech
from lightning_modules.lid_module import LidModule, Scored, joined
from reports.records import ScoreTable
from reports.statistics import permutation_p_value
from study.events import Ended, EventLog
from study.progress import score_table
from study.spec import AttemptSpec
from study.workspace import TrialFolder, read_whole_json, write_json


def evaluate(spec: AttemptSpec, log: EventLog) -> Ended:
    """Scores a trial's best checkpoint on test data, calibrated on its development scores alone."""
    assert spec.checkpoint is not None
    config = spec.config
    corpus = open_corpus_of(config.data, spec.workspace)
    module = load_module(spec.checkpoint)
    table, tallies = _scored("test", module, corpus, spec)
    write_json(TrialFolder(spec.trial_folder).scores, dataclasses.asdict(table), sync=True)
    metrics = metrics_on_test(table, _development_scores(module, corpus, spec), tallies=tallies)
    return Ended(time_ms=log.now_ms(), outcome="complete", metrics=metrics)


def _scored(
    split: Literal["dev", "test"], module: LidModule, corpus: PreparedCorpus, spec: AttemptSpec
) -> tuple[ScoreTable, Mapping[str, tuple[float, float]]]:
    """Scores of a split, and its tallies of errors."""
    config = spec.config
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, spec.workspace))
    speech = scored_speech(corpus.recordings, split=split, store=store, config=config)
    scored = score_all(module, speech)
    return score_table(scored.log_likelihoods.double().numpy(), speech.rows, config.data.languages), scored.tallies


def _development_scores(module: LidModule, corpus: PreparedCorpus, spec: AttemptSpec) -> dict[str, Any]:
    """As training left them; made again where a power cut tore them, since training waits for no disk."""
    assert spec.development_scores is not None
    kept: dict[str, Any] | None = read_whole_json(spec.development_scores)
    if kept is not None:
        return kept
    table, _ = _scored("dev", module, corpus, spec)
    return dataclasses.asdict(table)


def score_all(module: LidModule, speech: ScoredSpeech) -> Scored:
    """All rows of a split, in their order."""
    with torch.inference_mode():
        return joined([module.score(batch) for batch in speech.batches])


def metrics_on_test(
    table: ScoreTable, development: dict[str, Any], *, tallies: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """The `test/` metrics: raw, calibrated on development data, the permutation p-value over sources, and tallies."""
    languages = list(table.targets)
    llr, truth = np.array(table.llr), _indices(table.language, languages)
    calibrated = scoring.calibrated_llr(
        llr, development=development["llr"], truth=_indices(development["language"], languages)
    )
    permutation, of_calibrated = (
        permutation_p_value(truth.tolist(), each.argmax(axis=1).tolist(), table.source) for each in (llr, calibrated)
    )
    return {
        "test/accuracy": scoring.macro_accuracy(llr, truth),
        "test/accuracy_calibrated": scoring.macro_accuracy(calibrated, truth),
        "test/c_avg": scoring.c_avg_lre07(llr, truth),
        "test/c_primary": scoring.c_primary(llr, truth),
        "test/c_primary_calibrated": scoring.c_primary(calibrated, truth),
        "test/eer": scoring.eer(llr, truth),
        "test/cllr": scoring.cllr(llr, truth),
        "test/cllr_calibrated": min(scoring.cllr(calibrated, truth), scoring.cllr_bound(len(languages))),
        "test/p_above_chance": permutation.p_value,
        "test/p_above_chance_calibrated": of_calibrated.p_value,
        **{f"test/{name}": errors / count for name, (errors, count) in tallies.items() if count},
    }


def _indices(names: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    return np.array([languages.index(name) for name in names])
