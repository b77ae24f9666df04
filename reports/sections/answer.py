"""The question and what the study answers, in a few lines that are drawn from the numbers alone."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from reports import selection as select
from reports.records import TEST_P_CALIBRATED, TEST_P_VALUE, ScoreTable, StudyRecord, chosen
from reports.sections import _difference, ablation, data, gradient_flow
from reports.sections._ablation_sentences import in_a_sentence
from reports.sections._blocks import Block, Items, Section
from reports.sections._scores import chance
from reports.wording import (
    count,
    listing,
    number,
    p_value,
    parameter,
    share,
    short_names,
    states_text,
    times,
)

SIGNIFICANT: Final = 0.05
ACCURACY: Final = "test/accuracy"
CALIBRATED_ACCURACY: Final = "test/accuracy_calibrated"
C_PRIMARY: Final = "test/c_primary"
FAR_APART: Final = 0.05  # raw and calibrated accuracy


@dataclass(frozen=True, kw_only=True)
class TestScore:
    """What the chosen trial reached on test data.

    Attributes:
        accuracy: of raw decisions; `accuracy_calibrated` of those after calibration on development data.
        p_value: of raw accuracy under languages permuted over sources, or None if it was not computed; `p_calibrated`
            of the other, a second test, by which nothing is called above chance.
        num_evaluations: looks at test data so far; each was a chance of a small p-value.
        trained_on: test sources that training had too, or None if that is not recorded.
        chosen_on: test sources that development data, which chose the trial, had too; they share no recording.
        below_guessing: (language, recall) of those recognised less often than guessing would, the worst last.
    """

    __test__ = False  # no test of pytest's

    accuracy: float | None
    accuracy_calibrated: float | None
    c_primary: float | None
    p_value: float | None
    p_calibrated: float | None
    num_evaluations: int
    scored: str
    num_scored: int
    num_sources: int
    num_speakers: int
    trained_on: tuple[str, ...] | None
    chosen_on: tuple[str, ...]
    below_guessing: tuple[tuple[str, float], ...] = ()

    @property
    def corrected_p(self) -> float | None:
        """The p-value times the looks at test data (Bonferroni), at most 1; None if none was computed."""
        return None if self.p_value is None else min(1.0, self.p_value * self.num_evaluations)

    @property
    def above_chance(self) -> bool:
        """Whether it may be called above chance, whichever of the looks one reports."""
        return self.corrected_p is not None and self.corrected_p < SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The lines in numbers.

    Attributes:
        chosen: number of the trial that development data chose.
        gone: number of the trial that development data chose where its run has been deleted: `test` is its own, and
            `chosen` is the best of those that are left.
        least: number of the trial with the least objective, which is another where a trial was named by hand.
        num_compared: complete trials with an objective.
        untested: why there are no scores on test data; "" where there are.
        comparison: what the changes of an ablation did; "" of a study that compares no arms.
        gradients: how far gradients reached, where the study measured them over time; "" where it did not.
    """

    question: str
    corpus: str
    languages: tuple[str, ...]
    searched: tuple[str, ...]
    states: Counter[str]
    budget: int
    objective_name: str
    chosen: int | None
    chosen_objective: float | None
    chosen_params: dict[str, object]
    num_compared: int
    gone: int | None
    least: int | None
    test: TestScore | None
    untested: str
    num_evaluations: int
    difference: _difference.Difference
    comparison: str
    gradients: str

    @property
    def chance_accuracy(self) -> float:
        """Accuracy of guessing."""
        return 1.0 / len(self.languages)

    @property
    def nothing_known(self) -> float | None:
        """The objective of scores that say nothing, where it is known: log2 L bits for Cllr."""
        return chance(self.objective_name, len(self.languages))


def summarise(study: StudyRecord) -> Answer:
    """The answer's numbers."""
    trial = select.chosen(study)
    searched = study.manifest.parameters
    return Answer(
        question=study.manifest.question,
        corpus=str(study.manifest.corpus.get("name", "an unnamed corpus")),
        languages=study.manifest.languages,
        searched=tuple(each.path for each in searched),
        states=Counter(t.state.value for t in study.trials),
        budget=study.manifest.num_trials,
        objective_name=study.manifest.objective,
        chosen=trial.number if trial else None,
        chosen_objective=trial.objective if trial else None,
        chosen_params=chosen(searched, trial.params) if trial else {},
        num_compared=len(select.scored(study)),
        gone=select.gone(study),
        least=least.number if (least := select.best(study)) else None,
        test=_test(study),
        untested="" if study.test_metrics else _untested(study),
        num_evaluations=len(study.looks),
        difference=_difference.summarise(study),
        comparison=in_a_sentence(ablation.summarise(study)),
        gradients=gradient_flow.in_a_sentence(gradient_flow.summarise(study)),
    )


def _untested(study: StudyRecord) -> str:
    if study.manifest.config.get("evaluate") is False:
        return "Test data was left alone, as the study's file says (evaluate = false)."
    if len(study.trials) >= study.manifest.num_trials and select.chosen(study) is None:
        return "No trial is complete, so that none was evaluated on test data."
    return "No trial was evaluated on test data yet: a sweep does it, once, when its budget is spent."


def _test(study: StudyRecord) -> TestScore | None:
    if not study.test_metrics:
        return None
    corpus = data.summarise(study)
    table, entry = study.scores_test, study.looks[-1] if study.looks else None
    if table:
        counts = len(table.utterance), len(set(table.source)), len(set(table.speaker))
    else:
        counts = (entry.num_utterances, entry.num_sources, entry.num_speakers) if entry else (0, 0, 0)
    return TestScore(
        accuracy=study.test_metrics.get(ACCURACY),
        accuracy_calibrated=study.test_metrics.get(CALIBRATED_ACCURACY),
        c_primary=study.test_metrics.get(C_PRIMARY),
        p_value=study.test_metrics.get(TEST_P_VALUE),
        p_calibrated=study.test_metrics.get(TEST_P_CALIBRATED),
        num_evaluations=max(1, len(study.looks)),  # there are metrics, so somebody looked
        scored=study.manifest.scored,
        num_scored=counts[0],
        num_sources=counts[1],
        num_speakers=counts[2],
        trained_on=_common(corpus, "train") if corpus.portions else None,
        chosen_on=_common(corpus, "dev"),
        below_guessing=_below_guessing(table) if table else (),
    )


def _below_guessing(table: ScoreTable) -> tuple[tuple[str, float], ...]:
    spoken = Counter(table.language)
    hits = Counter(
        guess for guess, language in zip(select.recognised(table), table.language, strict=True) if guess == language
    )
    recalls = {language: hits[language] / spoken[language] for language in table.targets if spoken[language]}
    below = ((language, recall) for language, recall in recalls.items() if recall < 1 / len(table.targets))
    return tuple(sorted(below, key=lambda pair: -pair[1]))


def _common(corpus: data.Data, split: str) -> tuple[str, ...]:
    return tuple(sorted(corpus.sources(split) & corpus.sources("test")))


def lines(answer: Answer) -> tuple[str, ...]:
    """Asked, chosen, found on test data, whether the choice matters; and how far gradients reach, if that was asked."""
    if answer.comparison:  # arms are compared, and none is chosen
        said: tuple[str, ...] = (_asked(answer), answer.comparison, _found(answer))
    else:
        said = (_asked(answer), _chosen(answer), _found(answer), _difference.sentence(answer.difference))
    return (*said, answer.gradients) if answer.gradients else said


def _asked(answer: Answer) -> str:
    names = short_names(answer.searched)
    trials = f"{sum(answer.states.values()):,} of {count(answer.budget, 'trial')}"
    over = f" over {listing(names[path] for path in answer.searched)}" if answer.searched else ""
    question = f"{answer.question.strip()} " if answer.question.strip() else ""
    return (
        f"{question}Asked of {count(len(answer.languages), 'language')} ({', '.join(answer.languages)}) in the "
        f"corpus {answer.corpus}: {trials}{over} ({states_text(answer.states) or 'none yet'})."
    )


def _chosen(answer: Answer) -> str:
    if answer.chosen is None and answer.gone is not None:
        return f"Development data chose trial {answer.gone}, whose run is gone from MLflow."
    if answer.chosen is None:
        return "No trial is complete with a finite objective, so development data chose none."
    names = short_names(answer.searched)
    params = ", ".join(f"{names[path]} {parameter(value)}" for path, value in answer.chosen_params.items())
    nothing = f" (scores that say nothing: {number(answer.nothing_known)})" if answer.nothing_known is not None else ""
    chose = f"Development data chose trial {answer.chosen}"
    if answer.gone is not None:
        chose = (
            f"Development data chose trial {answer.gone}, whose run is gone from MLflow. Of what is left, the best is "
            f"trial {answer.chosen}"
        )
    return (
        f"{chose}{f' ({params})' if params else ''}, with {answer.objective_name} "
        f"= {number(answer.chosen_objective)}{nothing}, {_rank(answer)}."
    )


def _rank(answer: Answer) -> str:
    if answer.num_compared < 2:  # noqa: PLR2004 - with one there was no choice
        return "the only complete trial"
    if answer.least != answer.chosen:
        return f"not the least of {answer.num_compared:,} complete trials, which trial {answer.least} has"
    return f"the least of {answer.num_compared:,} complete trials: as the best of many, this number is optimistic"


def _found(answer: Answer) -> str:
    test = answer.test
    if test is None:
        return answer.untested
    reached = f"a mean accuracy over languages of {number(test.accuracy)} (chance {number(answer.chance_accuracy)})"
    if test.c_primary is not None:
        reached += f" and a C_primary of {number(test.c_primary)} (chance 1.000)"
    who = "it" if answer.gone is None else f"trial {answer.gone}"
    return (
        f"On {count(test.num_scored, f'test {test.scored}')} from {count(test.num_sources, 'source')} and "
        f"{count(test.num_speakers, 'speaker')}, {_independence(test)}, {who} reached {reached}; "
        f"{_verdict(test)}{_dependence(test)}. {_below(test)}{_calibration(test)}"
        f"Test data was evaluated {times(answer.num_evaluations)}."
    )


def _calibration(test: TestScore) -> str:
    """What raw decisions hide, or flatter: a sweep's objective is that of calibrated scores."""
    raw, calibrated = test.accuracy, test.accuracy_calibrated
    if raw is None or calibrated is None or abs(calibrated - raw) < FAR_APART:
        return ""
    tested = "which was not tested against chance"
    if test.p_calibrated is not None:
        tested = f"{p_value(test.p_calibrated)} by a second test, by which nothing is called above chance here"
    return (
        f"All this is of raw decisions; calibrated on development data, its scores reach an accuracy of "
        f"{number(calibrated)}, {tested}. "
    )


def _below(test: TestScore) -> str:
    """What an accuracy over all languages hides."""
    if not test.below_guessing:
        return ""
    languages = listing(f"{language} ({share(recall)})" for language, recall in test.below_guessing)
    verb = "is" if len(test.below_guessing) == 1 else "are"
    return f"But {languages} {verb} recognised less often than by guessing. "


def _independence(test: TestScore) -> str:
    if test.trained_on is None:
        return "whose independence of the training data is not recorded"
    return f"{listing(test.trained_on)} heard in training" if test.trained_on else "none of them heard in training"


def _dependence(test: TestScore) -> str:
    """What the reader must know of the choice."""
    if not test.chosen_on:
        return ""
    sources = count(len(test.chosen_on), "of these sources", "of these sources")
    return f"; other recordings of {sources} were in the development data that chose the trial, so this is optimistic"


def tested_p(test: TestScore) -> str:
    """The p-value, and after several looks at test data what is left of it: `p = 0.011, times 2 evaluations: 0.022`."""
    if test.p_value is None or test.corrected_p is None:
        return "p not computed"
    if test.num_evaluations == 1:
        return p_value(test.p_value)
    corrected = p_value(test.corrected_p).removeprefix("p").removeprefix("\N{NO-BREAK SPACE}=").strip()
    return f"{p_value(test.p_value)}, times {count(test.num_evaluations, 'evaluation')}: {corrected}"


def _verdict(test: TestScore) -> str:
    if test.p_value is None:
        return "whether that is above chance was not tested, so it is not shown"
    tested = f"{tested_p(test)}, languages permuted over sources"
    return f"this is above chance ({tested})" if test.above_chance else f"above chance is not shown ({tested})"


def present(answer: Answer) -> tuple[Block, ...]:
    """An item a line."""
    return (Items(lines(answer)),)


SECTION = Section(key="answer", title="Question and answer", summarise=summarise, present=present)
