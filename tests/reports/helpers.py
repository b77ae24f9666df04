"""What tests of reports build their records of."""

import dataclasses
from collections.abc import Callable
from typing import Any

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
