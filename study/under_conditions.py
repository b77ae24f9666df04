"""A trial's best checkpoint on speech under conditions: what `lidstudy evaluate` computes. Imports torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lightning_modules import scoring
from lightning_modules.build import load_module
from lightning_modules.data.audio import Samples
from lightning_modules.data.conditioned import conditioned_batches
from lightning_modules.data.conditions import Condition, Cut, cut
from lightning_modules.data.manifest import Recording
from lightning_modules.lid_module import LidModule, joined
from lightning_modules.open_set import OUT_OF_SET, open_set_per_language, open_set_scores
from lightning_modules.relevance import attends
from reports.evaluation_records import ConditionResult, LanguageResult
from reports.records import ScoreTable
from reports.source_bootstrap import intervals_of_scores
from reports.statistics import permutation_p_value
from study.attention_tally import AttentionTally
from study.progress import score_table

CALIBRATED = ("c_primary", "cllr", "c_avg", "accuracy")
"""Scores that are also taken of calibrated log-likelihoods."""


class Speech(NamedTuple):
    """What is scored.

    Attributes:
        recordings: that may be.
        corpus: the folder that their paths are relative to.
        music: of the test set, where a condition asks for it.
        models: the folder of pretrained networks.
        max_utterances: of a language under each condition.
    """

    recordings: tuple[Recording, ...]
    corpus: Path
    music: Samples
    models: Path
    max_utterances: int


class Scored(NamedTuple):
    """A condition's result, the scores of each utterance, and who was heard: (source, speaker)."""

    result: ConditionResult
    table: ScoreTable
    speakers: frozenset[tuple[str, str]]


def score_conditions(
    checkpoint: Path,
    development: ScoreTable | None,
    speech: Speech,
    conditions: Sequence[Condition],
    *,
    progress: Callable[[str, int, int], None],
) -> Iterator[Scored]:
    """Scores one condition after another; those that no speech fits give nothing.

    Args:
        checkpoint: of a module of the classification task.
        development: its scores on development data, which calibration is fitted on; None: nothing is calibrated.
        speech: what is scored.
        conditions: how.
        progress: told how far each condition is.
    """
    module = load_module(checkpoint)
    languages = sorted({recording.language for recording in speech.recordings})
    for condition in conditions:
        cuts = cut(speech.recordings, condition, languages=languages, max_utterances=speech.max_utterances)
        if cuts:
            yield _score(module, development, cuts, condition, speech, progress=progress)


def _score(
    module: LidModule,
    development: ScoreTable | None,
    cuts: Sequence[Cut],
    condition: Condition,
    speech: Speech,
    *,
    progress: Callable[[str, int, int], None],
) -> Scored:
    log_likelihoods, attention = scores_of(module, cuts, condition, speech, progress=progress)
    table = score_table(log_likelihoods, [each.row for each in cuts], module.config.data.languages)
    speakers = frozenset((piece.recording.source, piece.recording.speaker) for each in cuts for piece in each.pieces)
    result = replace(
        _result(table, development, cuts, condition),
        attention=attention.result() if attention is not None else None,
        num_speakers=len(speakers),
    )
    return Scored(result, table, speakers)


def scores_of(
    module: LidModule,
    cuts: Sequence[Cut],
    condition: Condition,
    speech: Speech,
    *,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
) -> tuple[np.ndarray, AttentionTally | None]:
    """Log-likelihoods (N, L) of cuts, and what their attention is worth where the network has any."""
    parts, done = [], 0
    attention = AttentionTally(module, cuts, condition) if attends(module) else None
    batches = conditioned_batches(
        cuts, condition, corpus=speech.corpus, data=module.config.data, music=speech.music, models=speech.models
    )
    with torch.inference_mode():
        for batch in batches:
            parts.append((attention or module).score(batch))
            done += len(batch.lengths)
            progress(condition.name, done, len(cuts))
    return joined(parts).log_likelihoods.double().numpy(), attention


def _result(
    table: ScoreTable, development: ScoreTable | None, cuts: Sequence[Cut], condition: Condition
) -> ConditionResult:
    llr = np.array(table.llr)
    truth = np.array([_index(language, table.targets) for language in table.language])
    raw = open_set_scores(llr, truth)
    scores = raw.known()
    if development is not None:
        scores |= _calibrated(llr, truth, development)
    scores |= _p_above_chance(table, truth)
    found = intervals_of_scores(llr, truth, table.source, languages=table.targets)
    intervals = {"accuracy": found.accuracy, "cllr": found.cllr}
    return ConditionResult(
        condition=condition.name,
        scores=scores,
        num_utterances=raw.num_utterances,
        num_out_of_set=raw.num_out_of_set,
        num_sources=len(set(table.source)),
        intervals={name: (each.low, each.high) for name, each in intervals.items() if each is not None},
        no_intervals=found.reason or "",
        mean_s=float(np.mean(table.duration_s)),
        joined=float(np.mean([len({piece.recording.id for piece in each.pieces}) > 1 for each in cuts])),
        languages=_languages(table),
    )


def _calibrated(llr: np.ndarray, truth: np.ndarray, development: ScoreTable) -> dict[str, float]:
    known = np.array([development.targets.index(language) for language in development.language])
    calibrated = open_set_scores(scoring.calibrated_llr(llr, development=development.llr, truth=known), truth).known()
    if "cllr" in calibrated:
        calibrated["cllr"] = min(calibrated["cllr"], scoring.cllr_bound(len(development.targets)))
    return {f"{name}_calibrated": value for name, value in calibrated.items() if name in CALIBRATED}


def _p_above_chance(table: ScoreTable, truth: np.ndarray) -> dict[str, float]:
    """Permutation over sources; nothing where fewer than two languages were spoken, or a source speaks several."""
    rows = np.flatnonzero(truth != OUT_OF_SET)
    if len(set(truth[rows])) < 2:  # noqa: PLR2004
        return {}
    guesses = np.array(table.llr).argmax(axis=1)
    try:
        test = permutation_p_value(truth[rows].tolist(), guesses[rows].tolist(), [table.source[row] for row in rows])
    except ValueError:
        return {}
    return {"p_above_chance": test.p_value}


def _languages(table: ScoreTable) -> tuple[LanguageResult, ...]:
    guesses = [table.targets[place] for place in np.array(table.llr).argmax(axis=1)]
    details = _details(table)
    results = []
    for language in dict.fromkeys(table.language):
        rows = [row for row, spoken in enumerate(table.language) if spoken == language]
        taken = Counter(guesses[row] for row in rows if guesses[row] != language)
        is_target = language in table.targets
        results.append(
            LanguageResult(
                language=language,
                num_utterances=len(rows),
                num_sources=len({table.source[row] for row in rows}),
                num_speakers=len({table.speaker[row] for row in rows}),
                recall=(len(rows) - taken.total()) / len(rows) if is_target else None,
                taken_for=min(taken, key=lambda guess: (-taken[guess], guess), default=""),
                **details.get(language, {}),
            )
        )
    return tuple(results)


def _details(table: ScoreTable) -> dict[str, dict[str, float]]:
    """Target language that was spoken -> its detector's scores."""
    found = open_set_per_language(table.llr, [_index(language, table.targets) for language in table.language])
    return {
        table.targets[language]: {"eer": each.eer, "p_miss": each.p_miss, "p_fa": each.p_fa, "cllr": each.cllr}
        for language, each in found.items()
    }


def _index(language: str, targets: Sequence[str]) -> int:
    return targets.index(language) if language in targets else OUT_OF_SET
