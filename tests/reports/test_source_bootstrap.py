"""Effects over sources: when they have an interval, and what it covers."""

import numpy as np
import pytest

from reports import source_bootstrap
from reports.source_bootstrap import effect_over_sources, intervals_of_scores


def normal_sources(*counts: int, seed: int = 0, scale: float = 1.0) -> dict[str, list[float]]:
    generator = np.random.default_rng(seed)
    return {
        f"language {place}": generator.normal(scale=scale, size=count).tolist() for place, count in enumerate(counts)
    }


def test_mean_is_over_languages_and_not_over_sources() -> None:
    effect = effect_over_sources({"en": [1.0] * 30, "es": [0.0] * 10})
    assert effect.mean == 0.5


def test_a_language_with_too_few_sources_is_named() -> None:
    effect = effect_over_sources({"en": [0.1] * 10, "es": [0.1] * 9, "fr": [0.2]})
    assert effect.interval is None
    assert effect.reason == "sources at large can be spoken of from 10 a language; too few: es (9), fr (1)."
    assert effect.num_sources == {"en": 10, "es": 9, "fr": 1}
    assert effect.mean == pytest.approx(0.4 / 3)


def test_ten_sources_in_every_language_are_enough() -> None:
    effect = effect_over_sources(normal_sources(10, 12))
    assert effect.reason is None
    assert effect.interval is not None
    assert effect.interval.low < effect.mean < effect.interval.high


def test_the_same_seed_gives_the_same_interval() -> None:
    sources = normal_sources(10, 12)
    assert effect_over_sources(sources) == effect_over_sources(sources)
    assert effect_over_sources(sources) != effect_over_sources(sources, seed=1)


def test_sources_are_drawn_within_their_language() -> None:
    """What languages differ by is no part of the interval: any shift of a whole language leaves its width."""
    near, far = normal_sources(10, 10), normal_sources(10, 10)
    far["language 1"] = [value + 1_000.0 for value in far["language 1"]]
    widths = [
        each.interval.high - each.interval.low
        for each in map(effect_over_sources, (near, far))
        if each.interval is not None
    ]
    assert widths[0] == pytest.approx(widths[1])


def test_interval_is_close_to_students_for_many_normal_sources() -> None:
    sources = normal_sources(200, 200)
    effect = effect_over_sources(sources)
    error = sum(np.var(values, ddof=1) / 200 for values in sources.values()) ** 0.5 / 2
    assert effect.interval == pytest.approx((effect.mean - 1.966 * error, effect.mean + 1.966 * error), abs=0.006)


def test_equal_sources_do_not_show_how_far_others_may_differ() -> None:
    effect = effect_over_sources({"en": [1.0] * 10, "es": [1.0] * 10})
    assert effect.interval is None
    assert effect.reason == "too many sources show exactly the same effect for an interval."


def test_an_effect_that_one_source_makes_has_no_interval() -> None:
    effect = effect_over_sources({"en": [0.0] * 9 + [1.0], "es": [0.0] * 10})
    assert effect.interval is None
    assert effect.reason == "too many sources show exactly the same effect for an interval."


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_the_truth_with_ten_sources_a_language(
    monkeypatch: pytest.MonkeyPatch,
    skewed: bool,  # noqa: FBT001 - pytest passes by name
) -> None:
    """Percentile and BCa intervals cover 89 to 94 % of such studies."""
    monkeypatch.setattr(source_bootstrap, "RESAMPLES", 1_000)
    generator = np.random.default_rng(7)
    draw = generator.standard_exponential if skewed else generator.standard_normal
    truth = 1.0 if skewed else 0.0
    covered = 0
    for _ in range(1_000):
        interval = effect_over_sources({language: draw(10).tolist() for language in ("en", "es", "fr")}).interval
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.94 <= covered / 1_000 <= 0.975


@pytest.mark.parametrize("effects", [{"en": []}, {"en": [float("inf")] * 10}])
def test_a_language_without_finite_effects_is_refused(effects: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="en: finite effects"):
        effect_over_sources(effects)


def test_no_languages_or_an_impossible_confidence_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one language"):
        effect_over_sources({})
    with pytest.raises(ValueError, match="between 0 and 1"):
        effect_over_sources({"en": [1.0]}, confidence=95)


def scores_of_sources(num_sources: int, *, right: int) -> tuple[np.ndarray, list[int], list[str]]:
    """Four utterances of each source of two languages, of which so many are recognised."""
    truth = [language for language in (0, 1) for _ in range(num_sources * 4)]
    sources = [f"{language}-{place // 4}" for language in (0, 1) for place in range(num_sources * 4)]
    signs = [1.0 if place % 4 < right + (place // 4) % 2 else -1.0 for _ in (0, 1) for place in range(num_sources * 4)]
    target = np.array(signs) * np.where(np.array(truth) == 0, 1.0, -1.0)
    return np.stack([target, -target], axis=1), truth, sources


def test_scores_have_intervals_from_ten_sources_a_language_on() -> None:
    found = intervals_of_scores(*scores_of_sources(12, right=2), languages=("en", "es"))
    assert found.reason is None
    assert found.accuracy is not None
    assert found.cllr is not None
    assert found.accuracy.low < 0.625 < found.accuracy.high, "half of the sources at 0.5, half at 0.75"
    assert found.accuracy.high - found.accuracy.low < 0.2
    assert found.cllr.low < found.cllr.high


def test_fewer_sources_give_a_reason_and_so_do_scores_without_names() -> None:
    llr, truth, sources = scores_of_sources(9, right=2)
    found = intervals_of_scores(llr, truth, sources, languages=("en", "es"))
    assert (found.accuracy, found.cllr) == (None, None)
    assert found.reason is not None
    assert "from 10 a language; too few: en (9), es (9)" in found.reason
    unnamed = intervals_of_scores(llr, truth, ["", *sources[1:]], languages=("en", "es"))
    assert "do not name their sources" in str(unnamed.reason)
