"""The speech of an attempt: what it trains on, and its development batches, ready to be scored.

An attempt opens it by itself, or gets it from the warm server, which has opened it once for all that it forks.
"""

from pathlib import Path
from typing import NamedTuple

from lightning_modules.config import DataConfig
from lightning_modules.data.batches import Batch, evaluation_batches
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.data.prepared import open_corpus
from lightning_modules.data.utterances import join_utterances


class Speech(NamedTuple):
    """A corpus, its features, the development utterances, and these as padded batches."""

    recordings: tuple[Recording, ...]
    store: FeatureStore
    development: tuple[Utterance, ...]
    batches: list[Batch]


def open_speech(data: DataConfig, workspace: Path) -> Speech:
    """Opens what `data` names.

    Raises:
        CorpusError: it is not prepared, or damaged.
    """
    corpus = open_corpus(data.corpus, workspace)
    store = FeatureStore.open(feature_store_path(corpus, data.features, workspace))
    development = join_utterances(corpus.recordings, split="dev", data=data)
    batches = evaluation_batches(development, store=store, languages=data.languages)
    return Speech(corpus.recordings, store, development, batches)
