"""The same audio on both sides of a split: looked for once, and kept beside the corpus's manifest.

When a corpus is prepared, and again before the first trial of a study that divides it anew.
"""

from pathlib import Path

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.cards import Progress
from lightning_modules.data.duplicates import METHOD, NearDuplicate, near_duplicates
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.prepared import PreparedCorpus
from study.workspace import read_whole_json, write_json


def look_for_leaks(corpus: PreparedCorpus, store: FeatureStore, *, progress: Progress) -> tuple[NearDuplicate, ...]:
    """What was found, now or before.

    Args:
        corpus: as it was prepared, or as a study divides it.
        store: its features under the default configuration.
        progress: told how far it is.
    """
    if (found := known_leaks(corpus)) is None:
        frames_per_s = FeaturesConfig().frames_per_s
        found = near_duplicates(corpus.recordings, store, frames_per_s=frames_per_s, progress=progress)
        write_json(leaks_file(corpus), {"method": METHOD, "found": [each._asdict() for each in found]}, sync=True)
    return found


def known_leaks(corpus: PreparedCorpus) -> tuple[NearDuplicate, ...] | None:
    """What was found; None where nobody has looked, or not as it is done now."""
    content = read_whole_json(leaks_file(corpus))
    if not isinstance(content, dict) or content.get("method") != METHOD:
        return None
    return tuple(NearDuplicate(**each) for each in content["found"])


def needs_a_look(corpus: PreparedCorpus) -> bool:
    """Whether nobody has looked through it as a study divides it, or who did looked in another way than now."""
    return known_leaks(corpus) is None


def leaks_file(corpus: PreparedCorpus) -> Path:
    """Where what was found is listed."""
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
