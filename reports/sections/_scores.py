"""The scores that a report speaks of: how each is read, and what scores that say nothing would get.

Definitions and sources are those of lightning_modules/scoring.py.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from lightning_modules import scoring
from reports.records import ScoreTable

_CALIBRATED: Final = "_calibrated"
_SEGMENT: Final = "The part of a code-switched recording that is in one language. Its scores are"
SEGMENTS: Final = {
    "labelling": f"{_SEGMENT} the mean over the steps between its borders, which are known.",
    "sequence": f"{_SEGMENT} those of the language at its place, after what the decoder itself said before.",
}
"""Task -> what a segment is in it."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One kind of score.

    Attributes:
        name: as tables call it.
        unit: of its numbers, or "".
        lower_is_better: false of accuracy alone.
        meaning: one sentence for a reader who has not met it; `{scored}` stands for `utterance` or `segment`.
    """

    name: str
    meaning: str
    unit: str = ""
    lower_is_better: bool = True

    @property
    def direction(self) -> str:
        """Which way is up."""
        return "lower is better" if self.lower_is_better else "higher is better"


SCORES: Final[dict[str, Score]] = {
    "accuracy": Score(
        name="accuracy",
        meaning="Share of {scored}s whose language has the largest score, averaged over languages, each counting "
        "the same.",
        lower_is_better=False,
    ),
    "error_rate": Score(name="error rate", meaning="1 less the accuracy."),
    "c_primary": Score(
        name="C_primary",
        meaning="Cost of saying yes or no to each language at fixed thresholds, for two costs of a false alarm (NIST "
        "LRE 2017). Always saying no costs 1; overconfident scores can cost more.",
    ),
    "c_avg": Score(
        name="C_avg (LRE07)",
        meaning="Half the misses and half the false alarms, averaged over languages, at the threshold for equal odds "
        "(NIST LRE 2007).",
    ),
    "eer": Score(
        name="EER",
        meaning="Equal error rate: misses and false alarms where the threshold makes them equal. Blind to whether the "
        "scores are calibrated.",
    ),
    "cllr": Score(
        name="Cllr",
        unit="bits",
        meaning="Bits that the scores leave unknown of the language of each {scored}, on average. 0 is certainty; "
        "more than knowing nothing costs means overconfidence.",
    ),
    "frame_error_rate": Score(
        name="frame error rate", meaning="Share of all frames of code-switched recordings that got another language."
    ),
    "sequence_error_rate": Score(
        name="sequence error rate",
        meaning="Languages that must be inserted, deleted or replaced to get a recording's languages in order from "
        "those that the decoder emitted, over the number of languages. Emitting none costs 1; too many can cost more.",
    ),
    "sequence_wrong": Score(
        name="wrong sequences", meaning="Share of recordings whose languages were not emitted exactly as they follow."
    ),
}
"""By the end of their metric's name, in the order of a table."""


def key_of(metric: str) -> str:
    """`cllr` of `val/cllr_calibrated`."""
    return metric.rpartition("/")[2].removesuffix(_CALIBRATED)


def is_calibrated(metric: str) -> bool:
    """Whether a metric is of calibrated scores."""
    return metric.endswith(_CALIBRATED)


def chance(metric: str, num_languages: int) -> float | None:
    """What scores that say nothing get; None for a metric that is none of these scores."""
    return {
        "accuracy": 1 / num_languages,
        "error_rate": 1 - 1 / num_languages,
        "c_primary": 1.0,
        "c_avg": 0.5,
        "eer": 0.5,
        "cllr": math.log2(num_languages),
    }.get(key_of(metric))


def calibrated_on(development: ScoreTable, test: ScoreTable) -> np.ndarray | None:
    """Test log-likelihood ratios (N, L), calibrated on development scores; None where these lack a language.

    Args:
        development: scores that the calibration is fitted on.
        test: scores of the same trial.
    """
    if development.targets != test.targets or set(development.language) != set(development.targets):
        return None
    truth = np.array([development.targets.index(language) for language in development.language])
    return scoring.calibrated_llr(test.llr, development=development.llr, truth=truth)
