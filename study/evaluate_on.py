"""A trial on any corpus, condition by condition: what `lidstudy evaluate` computes, records and enters in the ledger.

Imports torch. Whoever calls holds the study's lease.
"""

import dataclasses
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from lightning_modules.config import FRESH, ClassificationConfig, TrialConfig
from lightning_modules.config.corpus import Shared
from lightning_modules.data.conditions import MAX_UTTERANCES, Condition, parse_condition
from lightning_modules.data.feature_store import MODELS
from lightning_modules.data.manifest import Recording
from lightning_modules.data.noises import fetch_music
from lightning_modules.data.prepared import PreparedCorpus, open_corpus, open_corpus_of
from lightning_modules.errors import ConfigError, CorpusError
from reports.evaluation_records import ConditionResult, Evaluation, parse_evaluation
from reports.records import LedgerEntry, ScoreTable
from study.evaluation import read_ledger
from study.mlflow_evaluations import EvaluatedTrial
from study.pretrained import heard_before
from study.recording import table_parquet
from study.recovery import read_config
from study.under_conditions import Scored, Speech, score_conditions
from study.workspace import StudyFolder, Workspace, read_whole_json, write_atomic, write_json

Split = Literal["dev", "test", "all"]
Progress = Callable[[str, int, int], None]

DEFAULT_CONDITIONS: Final = ("3s", "10s", "30s", "whole")


class Asked(NamedTuple):
    """What the command line says.

    Attributes:
        corpus: a prepared one.
        split: which part of it.
        conditions: by name.
        max_utterances: of a language under each condition.
        allow_shared: whether sources and speakers of the training may be scored.
        is_declared: whether the study's file named trial and conditions before anything was scored.
    """

    corpus: str
    split: Split = "test"
    conditions: tuple[str, ...] = DEFAULT_CONDITIONS
    max_utterances: int = MAX_UTTERANCES
    allow_shared: bool = False
    is_declared: bool = False


def evaluate_on(
    study: str, number: int, asked: Asked, *, workspace: Workspace, progress: Progress
) -> tuple[Evaluation, tuple[str, ...]]:
    """Scores a trial, enters that in its study's ledger, and tells MLflow.

    Returns:
        what was found, and the conditions that no speech fits.

    Raises:
        ConfigError: no such trial or condition, or a task that has none.
        CorpusError: the corpus is not prepared, or holds what the trial was trained on, or nothing fits.
    """
    conditions = [parse_condition(text) for text in dict.fromkeys(asked.conditions)]
    folder = workspace.existing_study(study)
    config = _config(folder, study, number)
    development = _development(folder, study, number)
    corpus = open_corpus(asked.corpus, workspace.root)
    own = open_corpus_of(config.data, workspace.root)
    trained = trained_on(own, config, workspace=workspace, study=folder)
    wanted = _wanted(corpus, own, trained, asked)
    speech = _speech(wanted, corpus, asked, conditions, workspace=workspace, progress=progress)
    trial = EvaluatedTrial(workspace, study, number)
    checkpoint = folder.trial(number).best_checkpoint
    if not checkpoint.exists():
        trial.fetch_checkpoint(checkpoint)
    has = {
        split: bool(_hashes(wanted) & _hashes(each for each in own.recordings if each.split == split))
        for split in ("dev", "test")
    }
    calibrates = None if has["dev"] else development  # a fit on what it is scored on says nothing
    scored = list(score_conditions(checkpoint, calibrates, speech, conditions, progress=progress))
    if not scored:
        raise CorpusError(f"corpus {corpus.name} has no {asked.split} speech for {', '.join(asked.conditions)}.")
    known = _known(wanted, trained)
    evaluation = _evaluation(scored, corpus=corpus, config=config, number=number, split=asked.split, known=known)
    asked = asked._replace(conditions=tuple(condition.name for condition in conditions))
    _record(evaluation, scored, asked=asked, trial=trial, folder=folder, has_test=has["test"])
    found = {each.condition for each in evaluation.conditions}
    return evaluation, tuple(condition.name for condition in conditions if condition.name not in found)


def _config(folder: StudyFolder, study: str, number: int) -> TrialConfig:
    if not folder.trial(number).is_frozen:
        raise ConfigError(f"study '{study}' has no trial {number}; `lidstudy report {study}` lists them.")
    config = read_config(folder, number)
    if not isinstance(config.task, ClassificationConfig):
        raise ConfigError(
            f"trial {number} of study '{study}' has task.kind {config.task.kind}; conditions are for recordings in one "
            "language, which task.kind classification tells."
        )
    return config


def _development(folder: StudyFolder, study: str, number: int) -> ScoreTable:
    content = read_whole_json(folder.trial(number).scores)
    if content is None:
        raise ConfigError(f"trial {number} of study '{study}' has no scores: it has not come to the end of an epoch.")
    return _table(content)


def _table(content: dict[str, Any]) -> ScoreTable:
    columns: dict[str, Any] = {each.name: tuple(content.get(each.name, ())) for each in dataclasses.fields(ScoreTable)}
    return ScoreTable(**{**columns, "llr": tuple(map(tuple, content["llr"]))})


def _wanted(
    corpus: PreparedCorpus, own: PreparedCorpus, trained: Sequence[Recording], asked: Asked
) -> tuple[Recording, ...]:
    """The recordings to be scored, none of which the trial may know."""
    recordings = own.recordings if own.data_hash == corpus.data_hash else corpus.recordings  # with the trial's splits
    wanted = tuple(each for each in recordings if asked.split in ("all", each.split))
    if not wanted:
        raise CorpusError(f"corpus {corpus.name} has no {asked.split} recordings.")
    if not asked.allow_shared:
        excused = own.allow_shared if own.data_hash == corpus.data_hash else ()  # the corpus's file insists already
        _refuse_known(wanted, trained, corpus=corpus.name, excused=excused)
    return wanted


def _speech(
    recordings: tuple[Recording, ...],
    corpus: PreparedCorpus,
    asked: Asked,
    conditions: Sequence[Condition],
    *,
    workspace: Workspace,
    progress: Progress,
) -> Speech:
    needs_music = any(condition.over == "music" for condition in conditions)
    music = fetch_music("test", workspace.root, progress=progress) if needs_music else np.zeros(1, np.float32)
    return Speech(recordings, corpus.root, music, workspace.root / MODELS, asked.max_utterances)


def trained_on(
    own: PreparedCorpus, config: TrialConfig, *, workspace: Workspace, study: StudyFolder
) -> list[Recording]:
    """What a trial of a study may have heard in training, of its own corpus and of those of trials it began with."""
    languages, before = config.data.trained_languages, config.training.pretrained
    heard = [each for each in own.recordings if each.split == "train" and each.language in languages]
    if before == FRESH:
        return heard
    return [*heard, *(each for each in heard_before(before, workspace, own=study) if each.split == "train")]


def _hashes(recordings: Iterable[Recording]) -> set[str]:
    return {each.audio_hash for each in recordings}


_SAME: Final[dict[str, Callable[[Recording], Hashable]]] = {
    "recording": lambda each: each.audio_hash,
    "speaker": lambda each: (each.source, each.speaker),
    "source": lambda each: each.source,
}
"""What makes two the same, also across corpora: `speaker 1` of two sources are two people."""


def _known(scored: Sequence[Recording], trained: Sequence[Recording]) -> tuple[str, ...]:
    """What of it the trial was trained on: recordings, speakers, sources."""
    return tuple(f"{what}s" for what, key in _SAME.items() if set(map(key, scored)) & set(map(key, trained)))


def _refuse_known(
    wanted: Sequence[Recording], trained: Sequence[Recording], *, corpus: str, excused: Sequence[Shared]
) -> None:
    """A score on what a network was trained on says nothing."""
    for what in ("source", "speaker", "recording"):
        if what in excused:
            continue
        known = set(map(_SAME[what], trained))
        if shared := next((each for each in wanted if _SAME[what](each) in known), None):
            name = shared.id if what == "recording" else getattr(shared, what)
            raise CorpusError(
                f"the trial was trained on {what} {name}, which corpus {corpus} would score; choose another "
                "--split, or insist with --allow-shared: the score then rewards knowing it."
            )


def _evaluation(
    scored: Sequence[Scored],
    *,
    corpus: PreparedCorpus,
    config: TrialConfig,
    number: int,
    split: str,
    known: tuple[str, ...],
) -> Evaluation:
    return Evaluation(
        trial=number,
        corpus=corpus.name,
        data_hash=corpus.data_hash,
        split=split,
        same_corpus=config.data.corpus == corpus.name,
        conditions=tuple(each.result for each in scored),
        known=known,
    )


def _record(
    evaluation: Evaluation,
    scored: Sequence[Scored],
    *,
    asked: Asked,
    trial: EvaluatedTrial,
    folder: StudyFolder,
    has_test: bool,
) -> None:
    """The ledger first: what was seen was seen, whatever becomes of MLflow."""
    now = datetime.now(tz=UTC)
    tables = [each.table for each in scored]
    entry = LedgerEntry(
        time=now.isoformat(),
        trial=evaluation.trial,
        run_id=trial.run_id,
        data_hash=evaluation.data_hash,
        metrics={
            f"{result.condition}/{name}": value
            for result in evaluation.conditions
            for name, value in result.scores.items()
        },
        num_sources=len({source for table in tables for source in table.source}),
        num_speakers=len(frozenset[tuple[str, str]]().union(*(each.speakers for each in scored))),
        num_utterances=sum(len(table.utterance) for table in tables),
        corpus=evaluation.corpus,
        split=evaluation.split,
        conditions=asked.conditions,
        is_declared=asked.is_declared,
        known=evaluation.known,
        has_test=has_test,
    )
    lines = [json.dumps(dataclasses.asdict(each)) for each in (*read_ledger(folder), entry)]
    write_atomic(folder.ledger, "\n".join(lines) + "\n", sync=True)
    place = folder.evaluation(evaluation.trial).root / f"{evaluation.corpus}-{evaluation.data_hash}-{evaluation.split}"
    whole, by_condition = _with_earlier(evaluation, tables, place=place)
    trial.log(whole, scores=_parquet(by_condition), ledger=folder.ledger, time_ms=int(now.timestamp() * 1000))


def _with_earlier(
    evaluation: Evaluation, tables: Sequence[ScoreTable], *, place: Path
) -> tuple[Evaluation, dict[str, ScoreTable]]:
    """Conditions that were scored before stay, and so do those that were scored on more utterances than now."""
    results_path, scores_path = place.with_suffix(".json"), place.with_suffix(".scores.json")
    results = {each.condition: each for each in evaluation.conditions}
    scores = {each.condition: table for each, table in zip(evaluation.conditions, tables, strict=True)}
    if (earlier := read_whole_json(results_path)) is not None:
        before = {each.condition: each for each in parse_evaluation(json.dumps(earlier)).conditions}
        kept = _larger(before, results)
        results = before | {name: each for name, each in results.items() if name not in kept}
        tables_before = {name: _table(rows) for name, rows in (read_whole_json(scores_path) or {}).items()}
        scores = tables_before | {name: table for name, table in scores.items() if name not in kept}
    in_order = sorted(results.values(), key=lambda each: parse_condition(each.condition).order)
    whole = dataclasses.replace(evaluation, conditions=tuple(in_order))
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(scores_path, {name: dataclasses.asdict(table) for name, table in scores.items()})
    write_json(results_path, dataclasses.asdict(whole), sync=True)
    return whole, scores


def _larger(before: Mapping[str, ConditionResult], now: Mapping[str, ConditionResult]) -> set[str]:
    """Names of conditions that rest on more utterances than they would now."""
    return {
        name
        for name, each in before.items()
        if name in now
        and each.num_utterances + each.num_out_of_set > now[name].num_utterances + now[name].num_out_of_set
    }


def _parquet(by_condition: dict[str, ScoreTable]) -> bytes:
    """All conditions one after another."""
    tables = list(by_condition.values())
    columns = {
        field.name: tuple(value for table in tables for value in getattr(table, field.name))
        for field in dataclasses.fields(ScoreTable)
        if field.name not in ("targets", "condition")
    }
    conditions = tuple(name for name, table in by_condition.items() for _ in table.utterance)
    return table_parquet(ScoreTable(**columns, targets=tables[0].targets, condition=conditions))
