"""Figures from elsewhere that a report can show beside its own: of other data and other features."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Published:
    """A table of a paper.

    Attributes:
        source: who published it, and where.
        note: what keeps it from being compared.
        systems: its columns.
        rows: condition -> (accuracy in percent, cost) of each system; the cost on the scale of C_primary.
    """

    source: str
    note: str
    systems: tuple[str, ...]
    rows: dict[str, tuple[tuple[float, float], ...]]


PUBLISHED: Final[dict[str, Published]] = {
    "padi2019": Published(
        source="Padi, Mohan & Ganapathy, ICASSP 2019, on NIST LRE17 (14 languages)",
        note="Figures from elsewhere: telephone and video speech in 14 languages, 80 bottleneck features of a "
        "recogniser trained on 2,000 hours; they say nothing about the networks on other data. The cost is what the "
        "paper calls C_avg. It lies on the scale of LRE17's, C_primary here: with 42.8 % right of 14 languages, "
        "decisions by the largest score cost 0.79 on that scale, as printed, and 0.31 on that of LRE07.",
        systems=("i-vector LDA-SVM", "LSTM 2×512", "HGRU"),
        rows={
            "3s": ((53.8, 0.53), (54.7, 0.55), (55.1, 0.55)),
            "10s": ((72.3, 0.27), (72.1, 0.35), (74.1, 0.32)),
            "30s": ((83.0, 0.13), (76.1, 0.28), (83.0, 0.23)),
            "1000s": ((56.2, 0.54), (42.8, 0.79), (53.5, 0.62)),
            "all": ((67.9, 0.37), (64.3, 0.48), (68.5, 0.42)),
        },
    )
}
"""By the name that a study's key `published` takes."""
