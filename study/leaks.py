"""The same audio on both sides of a split: looked for once, and kept beside the corpus's manifest.

When a corpus is prepared, and again before the first trial of a study that divides it anew.
"""

import json
from pathlib import Path

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.cards import Progress
from lightning_modules.data.duplicates import NearDuplicate, near_duplicates
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.prepared import PreparedCorpus
from study.workspace import write_json


def look_for_leaks(corpus: PreparedCorpus, store: FeatureStore, *, progress: Progress) -> tuple[NearDuplicate, ...]:
    """What was found, now or before.

    Args:
        corpus: as it was prepared, or as a study divides it.
        store: its features under the default configuration.
        progress: told how far it is.
    """
    path = _file(corpus)
    if not path.exists():
        frames_per_s = FeaturesConfig().frames_per_s
        found = near_duplicates(corpus.recordings, store, frames_per_s=frames_per_s, progress=progress)
        write_json(path, [each._asdict() for each in found])
    return known_leaks(corpus) or ()


def known_leaks(corpus: PreparedCorpus) -> tuple[NearDuplicate, ...] | None:
    """What was found; None where nobody has looked."""
    try:
        return tuple(NearDuplicate(**each) for each in json.loads(_file(corpus).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _file(corpus: PreparedCorpus) -> Path:
    return corpus.root / f"near_duplicates{corpus.division and '-'}{corpus.division}.json"


def in_words(leaks: tuple[NearDuplicate, ...]) -> str:
    """One sentence; "" of none."""
    if not leaks:
        return ""
    first = leaks[0]
    pairs = "1 pair of recordings holds" if len(leaks) == 1 else f"{len(leaks)} pairs of recordings hold"
    return (
        f"{pairs} the same audio on both sides of a split, such as {first.first} and {first.second} "
        f"({first.seconds:.1f} s)"
    )
