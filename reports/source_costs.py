"""What each development source costs under each trial of a comparison, from the events that MLflow has."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from reports.records import BEST_EPOCH, StudyManifest, TrialRecord
from reports.source_bootstrap import ENOUGH_SOURCES


def has_enough_sources(manifest: StudyManifest) -> bool:
    """Whether a study compares arms, on development sources that others could be spoken of by."""
    counts = Counter(languages_of_sources(manifest.corpus).values())
    return bool(manifest.config.get("ablation")) and all(
        counts[language] >= ENOUGH_SOURCES for language in manifest.languages
    )


def languages_of_sources(corpus: Mapping[str, Any]) -> dict[str, str]:
    """Development source -> its language."""
    return {str(row["source"]): str(row["language"]) for row in corpus.get("rows", ()) if row.get("split") == "dev"}


def parse_source_costs(lines: Iterable[str], trial: TrialRecord) -> dict[str, float]:
    """Those of the trial's best epoch; nothing where no event tells them.

    Lines that are no events are passed over: an attempt that was killed may leave one that is torn.
    """
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            event = json.loads(line)
            if event["type"] == "epoch" and event["epoch"] == trial.metrics.get(BEST_EPOCH):
                return {str(source): float(cost) for source, cost in event["sources"].items()}
    return {}
