"""The look at test data: an attempt that scores a trial's best checkpoint on speech that nothing was chosen by."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lightning_modules import scoring
from lightning_modules.build import load_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import evaluation_batches
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Utterance
from lightning_modules.data.prepared import PreparedCorpus, open_corpus
from lightning_modules.data.utterances import join_utterances
from lightning_modules.lid_module import LidModule
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
    corpus = open_corpus(config.data.corpus, spec.workspace)
    module = load_module(spec.checkpoint)
    table = _scored("test", module, corpus, spec)
    write_json(TrialFolder(spec.trial_folder).scores, dataclasses.asdict(table), sync=True)
    metrics = metrics_on_test(table, _development_scores(module, corpus, spec))
    return Ended(time_ms=log.now_ms(), outcome="complete", metrics=metrics)


def _scored(split: Literal["dev", "test"], module: LidModule, corpus: PreparedCorpus, spec: AttemptSpec) -> ScoreTable:
    config = spec.config
    utterances = join_utterances(corpus.recordings, split=split, data=config.data)
    scores = score_split(module, corpus, utterances, config=config, workspace=spec.workspace)
    return score_table(scores, utterances, config.data.languages)


def _development_scores(module: LidModule, corpus: PreparedCorpus, spec: AttemptSpec) -> dict[str, Any]:
    """As training left them; made again where a power cut tore them, since training waits for no disk."""
    assert spec.development_scores is not None
    kept: dict[str, Any] | None = read_whole_json(spec.development_scores)
    return dataclasses.asdict(_scored("dev", module, corpus, spec)) if kept is None else kept


def score_split(
    module: LidModule,
    corpus: PreparedCorpus,
    utterances: Sequence[Utterance],
    *,
    config: TrialConfig,
    workspace: Path,
) -> np.ndarray:
    """Log-likelihoods (N, L) of utterances, in their order."""
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, workspace))
    scores = np.zeros((len(utterances), len(config.data.languages)))
    with torch.inference_mode():
        for batch in evaluation_batches(utterances, store=store, languages=config.data.languages):
            scored = module.score(batch)
            scores[scored.indices.numpy()] = scored.log_likelihoods.numpy()
    return scores


def metrics_on_test(table: ScoreTable, development: dict[str, Any]) -> dict[str, float]:
    """The `test/` metrics: raw, calibrated on development data, and the permutation p-value over sources."""
    languages = list(table.targets)
    llr, truth = np.array(table.llr), _indices(table.language, languages)
    calibration = scoring.fit_calibration(
        scoring.log_posteriors_from_llr(development["llr"]), _indices(development["language"], languages)
    )
    calibrated = scoring.llr_from_log_likelihoods(calibration.apply(scoring.log_posteriors_from_llr(llr)))
    permutation = permutation_p_value(truth.tolist(), llr.argmax(axis=1).tolist(), table.source)
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
    }


def _indices(names: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    return np.array([languages.index(name) for name in names])
