"""What is gathered of attention: which half has the weight, and what deletions cost in which source."""

import numpy as np
import pytest
import torch

from lightning_modules.data.batches import Batch
from lightning_modules.data.conditions import Cut, parse_condition
from lightning_modules.data.manifest import Utterance
from lightning_modules.language_id import MAX_FRAMES
from lightning_modules.open_set import OUT_OF_SET
from lightning_modules.relevance import Relevance
from study.attention_tally import AttentionTally
from tests.lightning_modules.helpers import attending

RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]
LENGTH = 9  # frames: three steps of three, so that half-way lies in the second


def cut_of(place: int, source: str) -> Cut:
    row = Utterance(
        id=f"u{place}", language="en", source=source, speaker="s", split="dev", recordings=("r",), duration_s=0.09
    )
    return Cut(row=row, pieces=())


def heard(
    monkeypatch: pytest.MonkeyPatch,
    *utterances: tuple[str, int, list[float], list[float], list[float]],
    weights: tuple[float, ...] = (0.2, 0.3, 0.5),
    condition: str = "10s-noise-5db-first-half",
) -> AttentionTally:
    """(source, language, scores whole, without what is relevant, without what chance chose) of each utterance."""
    sources, languages, whole, relevant, random = zip(*utterances, strict=True)
    found = Relevance(
        (np.array(weights),) * len(sources), torch.tensor(whole), torch.tensor(relevant), torch.tensor(random)
    )
    monkeypatch.setattr("study.attention_tally.relevance", lambda *_, **__: found)
    cuts = [cut_of(place, source) for place, source in enumerate(sources)]
    tally = AttentionTally(attending(), cuts, parse_condition(condition))
    places, lengths = torch.arange(len(cuts)), torch.full((len(cuts),), LENGTH)
    batch = Batch(torch.zeros(len(cuts), LENGTH, 40), lengths, torch.tensor(languages), places)
    assert tally.score(batch).log_likelihoods is found.log_likelihoods, "the network is not asked twice"
    return tally


def test_what_is_too_long_for_one_piece_is_scored_in_pieces_and_not_tallied() -> None:
    module, lengths = attending(), torch.tensor([MAX_FRAMES + 1])
    tally = AttentionTally(module, [cut_of(0, "a")], parse_condition("10s"))
    batch = Batch(torch.randn(1, MAX_FRAMES + 1, 40), lengths, torch.tensor([0]), torch.tensor([0]))
    assert torch.equal(tally.score(batch).log_likelihoods, module.score(batch).log_likelihoods)
    assert tally.result() is None


def test_the_step_in_which_noise_ends_counts_by_its_clean_share(monkeypatch: pytest.MonkeyPatch) -> None:
    found = heard(monkeypatch, ("a", 0, RIGHT, RIGHT, RIGHT)).result()
    assert found is not None
    assert found.clean_share == pytest.approx(0.3 / 2 + 0.5)


def test_without_noise_that_ends_there_is_no_clean_half(monkeypatch: pytest.MonkeyPatch) -> None:
    found = heard(monkeypatch, ("a", 0, RIGHT, RIGHT, RIGHT), condition="10s-noise-5db").result()
    assert found is not None
    assert found.clean_share is None


def test_costs_are_counted_by_source_and_accuracy_by_language(monkeypatch: pytest.MonkeyPatch) -> None:
    found = heard(
        monkeypatch,
        ("a", 0, RIGHT, WRONG, RIGHT),  # what is relevant cost more
        ("b", 0, RIGHT, WRONG, RIGHT),
        ("b", 0, RIGHT, RIGHT, WRONG),  # and here less, so that the source is even
        ("c", 0, WRONG, RIGHT, WRONG),  # less
        ("c", 1, WRONG, WRONG, WRONG),  # the second score is larger: right three times
        ("c", OUT_OF_SET, RIGHT, RIGHT, RIGHT),  # no target
    ).result()
    assert found is not None
    assert (found.num_utterances, found.num_sources) == (5, 3)
    assert (found.num_sources_worse, found.num_sources_better) == (1, 1)
    assert found.accuracy == pytest.approx((3 / 4 + 1) / 2)
    assert found.without_relevant == pytest.approx((2 / 4 + 1) / 2)
    assert found.without_random == pytest.approx((2 / 4 + 1) / 2)


def test_an_utterance_of_each_language_is_kept_to_be_drawn_the_first_whatever_the_order_of_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = heard(monkeypatch, ("a", 0, RIGHT, RIGHT, RIGHT), ("b", 0, WRONG, RIGHT, RIGHT))
    found = test.result()
    assert found is not None
    (example,) = found.examples
    assert (example.utterance, example.recognised) == ("u0", "en")
    assert example.weights == (0.2, 0.3, 0.5)


def test_where_nothing_was_in_a_target_language_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heard(monkeypatch, ("a", OUT_OF_SET, RIGHT, RIGHT, RIGHT)).result() is None
