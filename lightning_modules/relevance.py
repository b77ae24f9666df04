"""What attention finds relevant: where an utterance's weight lies, and what the scores are without it.

Where weights say what a network goes by, scores lose more by the windows of most weight than by others of the same
number, as in the deletion tests of image classification (Samek et al., 2017).

Shape legend: B utterances, T frames, D bands, A attention heads, S steps, W windows, L languages.
"""

from typing import Final, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.data.batches import Batch
from lightning_modules.language_id import MAX_FRAMES, LanguageId

WINDOW_S: Final = 0.5
SHARE: Final = 0.3
"""Of an utterance's windows that are dropped."""


class Relevance(NamedTuple):
    """Attention in the utterances of a batch.

    Attributes:
        weights: of each utterance (S,), the mean over heads, in float64; they sum to 1.
        log_likelihoods: (B, L), up to a constant, of what was heard.
        without_relevant: (B, L) the same without the windows of most weight.
        without_random: (B, L) the same without as many windows that chance has chosen.
    """

    weights: tuple[np.ndarray, ...]
    log_likelihoods: Tensor
    without_relevant: Tensor
    without_random: Tensor


def attends(module: nn.Module) -> TypeGuard[LanguageId]:
    """Whether a network weighs its steps by attention before it pools them."""
    return isinstance(module, LanguageId) and module.pooling.attention is not None


def relevance(module: LanguageId, batch: Batch, *, seed: int) -> Relevance | None:
    """Weights and deletions of a batch; None where its utterances are longer than what is scored in one piece.

    Args:
        module: one that attends.
        batch: normalised features.
        seed: of the windows that chance chooses, with each utterance's place.
    """
    if batch.features.shape[1] > MAX_FRAMES:
        return None
    with torch.inference_mode():
        return _relevance(module, batch, seed=seed)


def _relevance(module: LanguageId, batch: Batch, *, seed: int) -> Relevance:
    scores = module(batch.features, batch.lengths)
    steps = scores.encoded.steps.tolist()
    mean_BS = scores.attention.mean(dim=1).double().cpu().numpy()
    weights = tuple(row[:count] / row[:count].sum() for row, count in zip(mean_BS, steps, strict=True))
    window = max(1, round(WINDOW_S * module.config.data.features.frames_per_s))
    relevant, random = [], []
    for row, length in enumerate(batch.lengths.tolist()):
        features_TD = batch.features[row, :length]
        weight_W = weight_of_windows(
            weights[row], num_frames=length, window=window, frames_per_step=module.encoder.frames_per_step
        )
        order_W = np.random.default_rng([seed, int(batch.indices[row])]).permutation(len(weight_W))
        relevant.append(without_windows(features_TD, np.argsort(-weight_W, kind="stable"), window=window))
        random.append(without_windows(features_TD, order_W, window=window))
    without = [_scores(module, each, batch.lengths) for each in (relevant, random)]
    return Relevance(weights, scores.log_likelihoods, *without)


def weight_of_windows(weights_S: np.ndarray, *, num_frames: int, window: int, frames_per_step: int) -> np.ndarray:
    """(W,) the weight of each window; a step's is spread evenly over the frames up to the next step, or to the end."""
    frames_S = np.full(len(weights_S), frames_per_step)
    frames_S[-1] = max(1, num_frames - frames_per_step * (len(weights_S) - 1))
    weight_T = np.repeat(weights_S / frames_S, frames_S)
    return np.add.reduceat(weight_T, np.arange(0, num_frames, window))


def without_windows(features_TD: Tensor, order_W: np.ndarray, *, window: int) -> Tensor:
    """The frames that are left without the first windows of an order, `SHARE` of them, rounded; one is always left."""
    num_dropped = min(round(SHARE * len(order_W)), len(order_W) - 1)
    is_dropped_W = np.isin(np.arange(len(order_W)), order_W[:num_dropped])
    is_kept_T = ~np.repeat(is_dropped_W, window)[: len(features_TD)]
    return features_TD[torch.from_numpy(is_kept_T).to(features_TD.device)]


def _scores(module: LanguageId, features: list[Tensor], whole_B: Tensor) -> Tensor:
    """(B, L) by the head that the whole utterance has."""
    lengths_B = torch.tensor([len(each) for each in features], device=features[0].device)
    padded_BTD = nn.utils.rnn.pad_sequence(features, batch_first=True)
    encoded = module.encoder(padded_BTD, lengths_B)
    log_posteriors_BL = module.head(module.pooling(encoded.states, encoded.steps).embedding, whole_B)
    return module.of_targets(module.without_prior(log_posteriors_BL))
