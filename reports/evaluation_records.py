"""What `lidstudy evaluate` found of a trial: on a corpus, condition by condition; written by it, read by reports."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LanguageResult:
    """One language under one condition.

    Attributes:
        num_utterances: scored.
        recall: share of them that were recognised; None of a language that is no target.
        taken_for: what most of the others were taken for; "" of none.
        eer: of its detector, tried on the targets that were spoken; None of a language that is no target, and where
            it alone was spoken: then so are the others.
        p_miss: share of its utterances that the detector rejects at even odds.
        p_fa: share of the other languages' that it accepts.
        cllr: bits, of its utterances.
    """

    language: str
    num_utterances: int
    num_sources: int
    num_speakers: int
    recall: float | None
    taken_for: str = ""
    eer: float | None = None
    p_miss: float | None = None
    p_fa: float | None = None
    cllr: float | None = None


@dataclass(frozen=True, kw_only=True)
class RelevanceExample:
    """One utterance as attention sees it.

    Attributes:
        recognised: the language of the largest score.
        duration_s: seconds.
        weights: of each step, in time order; they sum to 1.
        bands: a column every `column_s`, a value a band of the normalised features, low to high; none where features
            are no filterbank.
    """

    utterance: str
    language: str
    recognised: str
    duration_s: float
    weights: tuple[float, ...]
    column_s: float
    bands: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class AttentionResult:
    """What a trial's attention finds relevant under one condition, and what that is worth.

    Attributes:
        num_utterances: in the trial's languages, and short enough to be scored in one piece.
        dropped: share of each utterance's windows that were dropped.
        window_s: their length, in seconds.
        clean_share: mean weight on the half without noise; None where the noise has no end.
        accuracy: mean over languages, of all that is heard; raw scores.
        without_relevant: the same without the windows of most weight.
        without_random: the same without as many that chance chose.
        num_sources: that the utterances are from.
        num_sources_worse: of these, where dropping what is relevant cost more than chance did.
        num_sources_better: where it cost less.
        examples: an utterance a language.
    """

    num_utterances: int
    dropped: float
    window_s: float
    clean_share: float | None
    accuracy: float
    without_relevant: float
    without_random: float
    num_sources: int
    num_sources_worse: int
    num_sources_better: int
    examples: tuple[RelevanceExample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """A trial under one condition.

    Attributes:
        condition: its name, as `lidstudy evaluate` takes it.
        scores: name -> value; those of calibrated scores end in `_calibrated`.
        mean_s: mean duration, in seconds.
        joined: share of the utterances that were joined from several recordings.
        attention: of a network that attends; None of others.
        num_speakers: that were heard; None of what was scored before they were counted.
        intervals: score -> the ends of its 95 % interval for sources at large, of accuracy and cllr.
        no_intervals: why there are none; "" where there are.
    """

    condition: str
    scores: dict[str, float]
    num_utterances: int
    num_out_of_set: int
    num_sources: int
    mean_s: float
    joined: float
    languages: tuple[LanguageResult, ...]
    attention: AttentionResult | None = None
    num_speakers: int | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    no_intervals: str = ""

    @property
    def is_joined(self) -> bool:
        """Whether some utterances were joined because recordings were too short, and not to have two speakers."""
        return self.joined > 0 and "two-speakers" not in self.condition

    def missing(self, targets: Sequence[str]) -> list[str]:
        """Target languages that were not spoken."""
        spoken = {each.language for each in self.languages}
        return [language for language in targets if language not in spoken]


def why_no_intervals(results: Sequence[ConditionResult]) -> list[str]:
    """Each reason once, with the conditions that it is of where there are several."""
    reasons: dict[str, list[str]] = {}
    for each in results:
        if each.no_intervals:
            reasons.setdefault(each.no_intervals, []).append(each.condition)
    if len(reasons) == 1:
        return list(reasons)
    return [f"{', '.join(conditions)}: {reason}" for reason, conditions in reasons.items()]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A trial on a corpus, as `lidstudy evaluate` leaves it: content of `evaluation_artifact`.

    Attributes:
        same_corpus: whether the trial was trained on other parts of it.
        known: what of the speech scored the trial was trained on, though a user was warned: recordings, speakers,
            sources.
    """

    trial: int
    corpus: str
    data_hash: str
    split: str
    same_corpus: bool
    conditions: tuple[ConditionResult, ...]
    known: tuple[str, ...] = ()


def evaluation_artifact(corpus: str, data_hash: str, split: str, suffix: str) -> str:
    """Where a trial's run keeps an evaluation: `.json` the results, `.parquet` the scores of each utterance."""
    return f"evaluations/{corpus}-{data_hash}-{split}{suffix}"


def parse_evaluation(text: str) -> Evaluation:
    """What a file holds; ValueError where it is broken."""
    try:
        content = json.loads(text)
        conditions = tuple(_condition_result(each) for each in content["conditions"])
        return Evaluation(**{**content, "conditions": conditions, "known": tuple(content.get("known", ()))})
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def _condition_result(content: dict[str, Any]) -> ConditionResult:
    languages = tuple(LanguageResult(**each) for each in content["languages"])
    attention = content.get("attention")
    if attention is not None:
        examples = tuple(
            RelevanceExample(**{**each, "weights": tuple(each["weights"]), "bands": tuple(map(tuple, each["bands"]))})
            for each in attention["examples"]
        )
        attention = AttentionResult(**{**attention, "examples": examples})
    intervals = {name: tuple(ends) for name, ends in content.get("intervals", {}).items()}
    return ConditionResult(**{**content, "languages": languages, "attention": attention, "intervals": intervals})
