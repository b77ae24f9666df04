"""The speech of an attempt: what it trains on, and its development batches, ready to be scored.

An attempt opens it by itself, or gets it from the warm server, which has opened it once for all that it forks.
"""

from pathlib import Path
from typing import NamedTuple

from lightning_modules.config import TrialConfig
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Recording
from lightning_modules.data.prepared import open_corpus_of
from lightning_modules.data.tasks import ScoredSpeech, scored_speech


class Speech(NamedTuple):
    """A corpus, its features, and what is scored of its development data."""

    recordings: tuple[Recording, ...]
    store: FeatureStore
    development: ScoredSpeech


def open_speech(config: TrialConfig, workspace: Path) -> Speech:
    """Opens what a configuration names.

    Raises:
        CorpusError: it is not prepared, or damaged.
    """
    corpus = open_corpus_of(config.data, workspace)
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, workspace))
    development = scored_speech(corpus.recordings, split="dev", store=store, config=config)
    return Speech(corpus.recordings, store, development)
