"""What each task trains on and is scored on, so that nobody else needs to know which tasks there are."""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from lightning_modules.config import ClassificationConfig, LabellingConfig, SequenceConfig, TrialConfig
from lightning_modules.data.batches import AnyBatch, TrainingBatches, TrainingData, evaluation_batches
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording, Split, Utterance
from lightning_modules.data.switched import SwitchedTrainingBatches, switched_evaluation_batches
from lightning_modules.data.switched_utterances import join_switched, part_rows
from lightning_modules.data.utterances import join_utterances


class ScoredSpeech(NamedTuple):
    """What is scored of a split.

    Attributes:
        rows: N, each in one language.
        batches: hold all of them; their indices are places in `rows`.
    """

    rows: tuple[Utterance, ...]
    batches: Sequence[AnyBatch]


def training_batches(recordings: Sequence[Recording], *, store: FeatureStore, config: TrialConfig) -> TrainingData:
    """Training batches of the configured task, by (epoch, step).

    Raises:
        CorpusError: a language has no training speech.
    """
    match config.task:
        case ClassificationConfig():
            return TrainingBatches(recordings, store=store, config=config)
        case LabellingConfig(switching=switching) | SequenceConfig(switching=switching):
            return SwitchedTrainingBatches(recordings, store=store, config=config, switching=switching)
        case _:
            assert_never(config.task)


def scored_speech(
    recordings: Sequence[Recording], *, split: Split, store: FeatureStore, config: TrialConfig
) -> ScoredSpeech:
    """Development or test speech of the configured task; its rows are those of `scored_rows`.

    Raises:
        CorpusError: a language has none.
    """
    data = config.data
    utterances = join_utterances(recordings, split=split, data=data)
    match config.task:
        case ClassificationConfig():
            return ScoredSpeech(utterances, evaluation_batches(utterances, store=store, data=data))
        case LabellingConfig(switching=switching) | SequenceConfig(switching=switching):
            joined = join_switched(utterances, switching=switching)
            return ScoredSpeech(part_rows(joined), switched_evaluation_batches(joined, store=store, data=data))
        case _:
            assert_never(config.task)
