"""What tests of reports build their records of."""

import dataclasses
from collections.abc import Callable
from typing import Any

from reports.evaluation_records import ConditionResult, Evaluation, LanguageResult
from reports.records import ScoreTable, SearchedParameter, StudyRecord, TrialRecord

MakeTrial = Callable[..., TrialRecord]
MakeStudy = Callable[..., StudyRecord]


def replicates(trial: MakeTrial, first: int, objectives: tuple[float, ...], **params: Any) -> list[TrialRecord]:
    """Trials of one configuration with given objectives."""
    config = {**trial(first).params, **params}
    return [trial(first + i, params=config, objective=value, seed=i) for i, value in enumerate(objectives)]


def table(*rows: tuple[str, str, tuple[float, ...]]) -> ScoreTable:
    """Scores of utterances given as language, source, LLRs of en and es."""
    languages, sources, llr = zip(*rows, strict=True)
    ids = tuple(str(i) for i in range(len(rows)))
    columns = {"language": languages, "source": sources, "speaker": sources, "duration_s": (1.0,) * len(rows)}
    return ScoreTable(utterance=ids, targets=("en", "es"), llr=llr, **columns)


def searching(study: StudyRecord, *parameters: SearchedParameter) -> StudyRecord:
    return dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, parameters=parameters))


def result(condition: str, accuracy: float, *, out_of_set: int = 0, joined: float = 0.0) -> ConditionResult:
    """A condition in which two languages are recognised alike."""
    languages = [
        LanguageResult(language="en", num_utterances=4, num_sources=1, num_speakers=2, recall=accuracy),
        LanguageResult(language="es", num_utterances=4, num_sources=1, num_speakers=2, recall=accuracy),
    ]
    if out_of_set:
        languages.append(
            LanguageResult(language="nl", num_utterances=out_of_set, num_sources=1, num_speakers=1, recall=None)
        )
    return ConditionResult(
        condition=condition,
        scores={"accuracy": accuracy, "c_avg": 0.2, "c_primary": 0.4, "cllr": 0.9},
        num_utterances=8,
        num_out_of_set=out_of_set,
        num_sources=2,
        mean_s=3.0,
        joined=joined,
        languages=tuple(languages),
    )


def evaluation(trial: int, *results: ConditionResult, corpus: str = "prompts") -> Evaluation:
    """A trial on the test part of a corpus."""
    return Evaluation(
        trial=trial, corpus=corpus, data_hash="d", split="test", same_corpus=corpus == "prompts", conditions=results
    )
