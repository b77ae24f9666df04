"""Scores where not every target language was spoken, and where languages were spoken that are no targets. Numpy only.

Log-likelihood ratios are still those of each target against all the others. A language without trials has no misses to
count, so means are taken over the languages that have some; what is recognised as it still counts as wrong.

Source of the open-set cost: NIST LRE 2007 evaluation plan, section 4.1: P_target = 0.5, P_out-of-set = 0.2.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from lightning_modules import scoring
from lightning_modules.calibration import Ints, Trials, check_scores

OUT_OF_SET: Final = -1
"""The language index of an utterance in no target language."""
P_TARGET: Final = 0.5
P_OUT_OF_SET: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class OpenSetScores:
    """Scores of utterances of any language; None where there is nothing to take them from.

    Attributes:
        num_utterances: in target languages.
        num_languages: target languages that were spoken.
        num_out_of_set: utterances in other languages.
        accuracy: share recognised of each language spoken, among all targets; the mean over languages.
        c_avg: of LRE07, closed set; None with fewer than two languages.
        c_primary: of LRE17; None with fewer than two languages.
        eer: mean over languages; None with fewer than two.
        cllr: bits; ln L / ln 2 for scores that say nothing.
        c_avg_open_set: of LRE07 with out-of-set trials; None without such, or with fewer than two languages.
        accepted_out_of_set: share of (out-of-set utterance, target) pairs accepted at equal odds; None without such.
    """

    num_utterances: int
    num_languages: int
    num_out_of_set: int
    accuracy: float | None
    c_avg: float | None
    c_primary: float | None
    eer: float | None
    cllr: float | None
    c_avg_open_set: float | None
    accepted_out_of_set: float | None

    def known(self) -> dict[str, float]:
        """Name -> score, of those that there are."""
        names = ("accuracy", "c_avg", "c_primary", "eer", "cllr", "c_avg_open_set", "accepted_out_of_set")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def open_set_scores(llr: ArrayLike, truth: ArrayLike) -> OpenSetScores:
    """Every score of utterances in any languages.

    Args:
        llr: log-likelihood ratios (N, L), in nats.
        truth: language index of each utterance (N,), or OUT_OF_SET.

    Raises:
        ValueError: for scores that are not finite, or indices of no language.
    """
    scores, truths = _checked(llr, truth)
    inside = truths != OUT_OF_SET
    present = np.unique(truths[inside])
    is_closed = len(present) > 1
    closed, place = scores[inside][:, present], np.searchsorted(present, truths[inside])
    c_avg = scoring.c_avg_lre07(closed, place) if is_closed else None
    accepted = float((scores[~inside] >= 0.0).mean()) if not inside.all() else None
    return OpenSetScores(
        num_utterances=int(inside.sum()),
        num_languages=len(present),
        num_out_of_set=int((~inside).sum()),
        accuracy=_accuracy(scores[inside], truths[inside]) if len(present) else None,
        c_avg=c_avg,
        c_primary=scoring.c_primary(closed, place) if is_closed else None,
        eer=scoring.eer(closed, place) if is_closed else None,
        cllr=_cllr(scores[inside], truths[inside]) if len(present) else None,
        c_avg_open_set=None
        if accepted is None or not is_closed
        else _open_set_cost(closed, place, accepted=float((scores[~inside][:, present] >= 0.0).mean())),
        accepted_out_of_set=accepted,
    )


def open_set_per_language(llr: ArrayLike, truth: ArrayLike) -> dict[int, scoring.LanguageScore]:
    """Scores of each target language that was spoken: index -> its scores; none where fewer than two were.

    A language's recall and Cllr are among all targets; its detector is tried on the target languages that were spoken.

    Args:
        llr: log-likelihood ratios (N, L), in nats.
        truth: language index of each utterance (N,), or OUT_OF_SET.

    Raises:
        ValueError: for scores that are not finite, or indices of no language.
    """
    scores, truths = _checked(llr, truth)
    inside, truths = scores[truths != OUT_OF_SET], truths[truths != OUT_OF_SET]
    present = np.unique(truths)
    if len(present) <= 1:
        return {}
    detectors = scoring.score_per_language(inside[:, present], np.searchsorted(present, truths))
    return {
        int(language): detector._replace(
            recall=_accuracy(inside[truths == language], truths[truths == language]),
            cllr=_cllr(inside[truths == language], truths[truths == language]),
        )
        for language, detector in zip(present, detectors, strict=True)
    }


def _checked(llr: ArrayLike, truth: ArrayLike) -> Trials:
    scores, truths = check_scores(llr), np.asarray(truth, dtype=np.int64)
    num_rows, num_languages = scores.shape
    if truths.shape != (num_rows,):
        raise ValueError(f"truth must name one language an utterance: {num_rows} but got shape {truths.shape}.")
    if truths.size and not (truths.min() >= OUT_OF_SET and truths.max() < num_languages):
        raise ValueError(f"truth must lie between {OUT_OF_SET} and {num_languages - 1} but got {np.unique(truths)}.")
    return Trials(scores, truths)


def _accuracy(scores: np.ndarray, truth: Ints) -> float:
    right = scores.argmax(axis=1) == truth
    return float(np.mean([right[truth == language].mean() for language in np.unique(truth)]))


def _cllr(scores: np.ndarray, truth: Ints) -> float:
    lost = -scoring.log_posteriors_from_llr(scores)[np.arange(len(truth)), truth] / np.log(2.0)
    return float(np.mean([lost[truth == language].mean() for language in np.unique(truth)]))


def _open_set_cost(closed: np.ndarray, place: Ints, *, accepted: float) -> float:
    """C_avg with a share of out-of-set trials: the closed set's false alarms give way to them.

    (1/L) sum_T { P_target P_miss(T) + sum_n P_non-target P_fa(T,n) + P_oos P_fa(T,O) }, with P_non-target =
    (1 - P_target - P_oos) / (L - 1). As C_avg(1) = P_miss + P_fa in the mean, its parts are taken from confusions.
    """
    num_languages = closed.shape[1]
    misses = float(np.mean([(closed[place == each, each] < 0.0).mean() for each in range(num_languages)]))
    pairs = [
        (closed[place == other, each] >= 0.0).mean()
        for each in range(num_languages)
        for other in range(num_languages)
        if other != each
    ]
    false_alarms = float(np.mean(pairs))
    return P_TARGET * misses + (1.0 - P_TARGET - P_OUT_OF_SET) * false_alarms + P_OUT_OF_SET * accepted
