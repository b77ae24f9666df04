"""What a trial's attention finds relevant under one condition, gathered batch by batch. Imports torch."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from lightning_modules.config import DataConfig
from lightning_modules.data.batches import Batch
from lightning_modules.data.conditions import Condition, Cut
from lightning_modules.language_id import LanguageId
from lightning_modules.lid_module import Scored
from lightning_modules.open_set import OUT_OF_SET
from lightning_modules.relevance import SHARE, WINDOW_S, Relevance, relevance
from reports.evaluation_records import AttentionResult, RelevanceExample

SEED: Final = 1
COLUMN_S: Final = 0.1
"""Of a spectrogram that is shown: finer than a reader can see at the width of a page."""
DIGITS: Final = 3


class _Heard(NamedTuple):
    """One utterance: was it recognised whole, without the most relevant, and without what chance chose."""

    language: int
    source: str
    clean_share: float
    is_right: tuple[bool, bool, bool]


class AttentionTally:
    """Weights and deletions of utterances in the trial's languages, of batches that are scored in one piece.

    Args:
        module: a network that attends.
        cuts: all that is scored.
        condition: how it is heard.
    """

    def __init__(self, module: LanguageId, cuts: Sequence[Cut], condition: Condition) -> None:
        self._module = module
        self._cuts = cuts
        self._has_clean_half = condition.first_half
        self._heard: list[_Heard] = []
        self._examples: dict[str, tuple[int, RelevanceExample]] = {}

    def score(self, batch: Batch) -> Scored:
        """Scores a batch as the network does, and takes what its attention found in it."""
        found = relevance(self._module, batch, seed=SEED)
        if found is None:
            return self._module.score(batch)
        self._take(batch, found)
        return Scored(batch.indices, found.log_likelihoods, batch.languages)

    def _take(self, batch: Batch, found: Relevance) -> None:
        guesses = [
            scores.argmax(dim=-1).tolist()
            for scores in (found.log_likelihoods, found.without_relevant, found.without_random)
        ]
        for row, (place, language) in enumerate(zip(batch.indices.tolist(), batch.languages.tolist(), strict=True)):
            if language == OUT_OF_SET:
                continue
            weights, length = found.weights[row], int(batch.lengths[row])
            self._heard.append(
                _Heard(
                    language,
                    self._cuts[place].row.source,
                    self._weight_of_second_half(weights, length),
                    (guesses[0][row] == language, guesses[1][row] == language, guesses[2][row] == language),
                )
            )
            self._keep_first(place, weights, batch.features[row, :length], recognised=guesses[0][row])

    def result(self) -> AttentionResult | None:
        """What was found; None where nothing could be tested."""
        if not self._heard:
            return None
        by_source = defaultdict[str, list[tuple[bool, bool, bool]]](list)
        for each in self._heard:
            by_source[each.source].append(each.is_right)
        costs = [
            sum(random for *_, random in right) - sum(kept for _, kept, _ in right) for right in by_source.values()
        ]
        return AttentionResult(
            num_utterances=len(self._heard),
            dropped=SHARE,
            window_s=WINDOW_S,
            clean_share=float(np.mean([each.clean_share for each in self._heard])) if self._has_clean_half else None,
            accuracy=self._accuracy(0),
            without_relevant=self._accuracy(1),
            without_random=self._accuracy(2),
            num_sources=len(by_source),
            num_sources_worse=sum(cost > 0 for cost in costs),
            num_sources_better=sum(cost < 0 for cost in costs),
            examples=tuple(example for _, (_, example) in sorted(self._examples.items())),
        )

    def _accuracy(self, which: int) -> float:
        """Mean over languages of the share that is recognised."""
        by_language = defaultdict[int, list[bool]](list)
        for each in self._heard:
            by_language[each.language].append(each.is_right[which])
        return float(np.mean([np.mean(right) for right in by_language.values()]))

    def _weight_of_second_half(self, weights_S: np.ndarray, num_frames: int) -> float:
        """A step in which noise ends counts by the share of it that is clean."""
        step = self._module.encoder.frames_per_step
        starts_S = step * np.arange(len(weights_S))
        ends_S = np.append(starts_S[1:], max(num_frames, int(starts_S[-1]) + 1))
        clean_S = np.clip((ends_S - num_frames / 2) / (ends_S - starts_S), 0.0, 1.0)
        return float(weights_S @ clean_S)

    def _keep_first(self, place: int, weights_S: np.ndarray, features_TD: Tensor, *, recognised: int) -> None:
        """The first utterance of each language, whatever the order of batches."""
        row, data = self._cuts[place].row, self._module.config.data
        if row.language in self._examples and self._examples[row.language][0] <= place:
            return
        column = max(1, round(COLUMN_S * data.features.frames_per_s))
        self._examples[row.language] = (
            place,
            RelevanceExample(
                utterance=row.id,
                language=row.language,
                recognised=data.languages[recognised],
                duration_s=row.duration_s,
                weights=tuple(weights_S.round(DIGITS + 3).tolist()),
                column_s=column / data.features.frames_per_s,
                bands=_columns(features_TD[:, : data.features.num_bands], width=column) if _is_filterbank(data) else (),
            ),
        )


def _is_filterbank(data: DataConfig) -> bool:
    """Whether the first values of a frame are its bands."""
    return data.features.kind != "self_supervised" and data.features.cepstra == 0


def _columns(bands_TD: Tensor, *, width: int) -> tuple[tuple[float, ...], ...]:
    """Means over so many frames each, rounded."""
    starts = np.arange(0, len(bands_TD), width)
    sums = np.add.reduceat(bands_TD.double().cpu().numpy(), starts, axis=0)
    counts = np.diff(np.append(starts, len(bands_TD)))
    return tuple(map(tuple, (sums / counts[:, None]).round(DIGITS - 1).tolist()))
