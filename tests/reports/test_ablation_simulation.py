"""Whole ablations, simulated many times: what the statistics say is as often wrong as they promise, and no oftener.

A study has a base and five arms under the same seeds. What a seed does to all of them is larger than what is left over,
so that pairs correlate as they do in training; what is left over is normal, or of heavier tails (t of 5 degrees).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from reports.ablation_statistics import PairedEffect, Verdict, paired_effect, verdict
from reports.factorial_effects import Training, changes, interaction, interactions, main_effect
from reports.multiple_comparisons import holm
from reports.power import smallest_detectable_effect
from reports.statistics import Floats
from search_spaces.designs import Assignment, Factor, full_factorial

STUDIES = 2_000
ARMS = 5
NULL = (0.0,) * ARMS
SEED_SD = 0.04
NOISE_SD = 0.03
DIFFERENCE_SD = NOISE_SD * 2**0.5
TAILS = ("normal", "heavy")

Study = tuple[PairedEffect, ...]


def noise(generator: np.random.Generator, shape: tuple[int, ...], tails: str) -> Floats:
    """Standard deviation 1."""
    drawn = generator.standard_normal(shape) if tails == "normal" else generator.standard_t(5, shape) / (5 / 3) ** 0.5
    return np.asarray(drawn, dtype=np.float64)


@cache
def simulate(effects: tuple[float, ...], num_seeds: int, tails: str) -> tuple[Study, ...]:
    """Each study's comparisons of its arms with its base, under these true effects."""
    generator = np.random.default_rng(20)
    seeds = SEED_SD * generator.standard_normal((STUDIES, 1, num_seeds))
    objectives = 0.6 + seeds + NOISE_SD * noise(generator, (STUDIES, 1 + len(effects), num_seeds), tails)
    objectives[:, 1:] += np.array(effects)[:, None]
    return tuple(
        tuple(paired_effect(dict(enumerate(base)), dict(enumerate(arm))) for arm in arms)
        for base, *arms in objectives.tolist()
    )


def verdicts(study: Study, *, corrected: bool = True, margin: float | None = None) -> list[Verdict]:
    p_values = [effect.p_value for effect in study]
    adjusted = holm(p_values) if corrected else p_values
    return [verdict(effect, adjusted_p=p, margin=margin) for effect, p in zip(study, adjusted, strict=True)]


def share_with_a_claim(studies: tuple[Study, ...], *, arms: slice, corrected: bool = True) -> float:
    """Studies that call at least one of some arms better or worse."""
    said = [set(verdicts(study, corrected=corrected)[arms]) for study in studies]
    return sum(bool(each & {Verdict.BETTER, Verdict.WORSE}) for each in said) / len(studies)


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("num_seeds", [3, 5, 8])
def test_intervals_cover_the_true_effect(num_seeds: int, tails: str) -> None:
    truth = -0.02
    covered = [
        effect.interval.low <= truth <= effect.interval.high
        for (effect,) in simulate((truth,), num_seeds, tails)
        if effect.interval is not None
    ]
    assert len(covered) == STUDIES
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("tails", TAILS)
def test_each_table_of_a_factorial_is_wrong_as_rarely_as_it_promises(tails: str) -> None:
    """Three levels by three, ten seeds: four main effects, four interactions; without any, and with main effects."""
    factors = [Factor("cell", "gru", ("lstm", "rnn")), Factor("rule", "none", ("norm", "value"))]
    assignments = full_factorial(factors)
    generator = np.random.default_rng(21)
    seeds = SEED_SD * generator.standard_normal((STUDIES, 1, 10))
    objectives = 0.6 + seeds + NOISE_SD * noise(generator, (STUDIES, len(assignments), 10), tails)
    added = np.array([0.1 * (each["cell"] == "lstm") - 0.1 * (each["rule"] == "norm") for each in assignments])
    main, together = 0, {"null": 0, "main effects": 0}
    for study in objectives:
        trainings = trainings_of(assignments, study)
        main += is_any_claimed([main_effect(change, trainings) for change in changes(factors)])
        for truth, values in (("null", study), ("main effects", study + added[:, None])):
            trainings = trainings_of(assignments, values)
            together[truth] += is_any_claimed([interaction(pair, trainings) for pair in interactions(factors)])
    assert main <= 0.065 * STUDIES
    assert max(together.values()) <= 0.065 * STUDIES


def trainings_of(assignments: Sequence[Assignment], values: Floats) -> list[Training]:
    return [Training(levels, dict(enumerate(row))) for levels, row in zip(assignments, values.tolist(), strict=True)]


def is_any_claimed(effects: list[PairedEffect]) -> bool:
    return bool({Verdict.BETTER, Verdict.WORSE} & set(verdicts(tuple(effects))))


def test_pairs_correlate_as_simulated() -> None:
    correlations = [effect.correlation for (effect,) in simulate((-0.02,), 8, "normal")]
    assert np.median([each for each in correlations if each is not None]) == pytest.approx(
        SEED_SD**2 / (SEED_SD**2 + NOISE_SD**2), abs=0.05
    )


@pytest.mark.parametrize("tails", TAILS)
def test_false_claims_in_a_study_stay_rare(tails: str) -> None:
    studies = simulate(NULL, 8, tails)
    assert share_with_a_claim(studies, arms=slice(ARMS)) <= 0.065
    assert share_with_a_claim(studies, arms=slice(ARMS), corrected=False) > 0.1, "there is nothing to correct"


@pytest.mark.parametrize("tails", TAILS)
def test_false_claims_stay_rare_where_other_arms_have_effects(tails: str) -> None:
    studies = simulate((-0.2, 0.2, 0.0, 0.0, 0.0), 8, tails)
    assert share_with_a_claim(studies, arms=slice(2, None)) <= 0.065
    said = [verdicts(study)[:2] for study in studies]
    assert said.count([Verdict.BETTER, Verdict.WORSE]) / STUDIES > 0.98


def test_five_seeds_never_separate_five_arms() -> None:
    studies = simulate((-1.0,) * ARMS, 5, "normal")[:200]
    assert {each for study in studies for each in verdicts(study)} == {Verdict.UNDECIDED}


@pytest.mark.parametrize("tails", TAILS)
def test_equivalence_is_rarely_said_of_an_effect_of_the_margins_size(tails: str) -> None:
    margin = 2 * DIFFERENCE_SD
    said = [verdicts(study, margin=margin)[0] for study in simulate((margin,), 8, tails)]
    assert 0.01 <= said.count(Verdict.EQUIVALENT) / STUDIES <= 0.04
    said = [verdicts(study, margin=margin)[0] for study in simulate((0.0,), 8, tails)]
    assert said.count(Verdict.EQUIVALENT) / STUDIES > 0.95


@pytest.mark.parametrize("num_seeds", [5, 8])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_a_detectable_effect_is_detected_as_often_as_promised(num_seeds: int, power: float) -> None:
    effect = smallest_detectable_effect(DIFFERENCE_SD, num_pairs=num_seeds, power=power)
    assert effect is not None
    found = [
        compared.interval.low > 0
        for (compared,) in simulate((effect,), num_seeds, "normal")
        if compared.interval is not None
    ]
    assert np.mean(found) == pytest.approx(power, abs=0.03)


def claims_once_decided(objectives: Floats, looks: tuple[int, ...], *, times_looks: bool) -> bool:
    """Whether a user who raises the seeds until something is decided ends with a claim."""
    base, *arms = objectives
    for number, num_seeds in enumerate(looks, start=1):
        effects = [
            paired_effect(dict(enumerate(base[:num_seeds].tolist())), dict(enumerate(arm[:num_seeds].tolist())))
            for arm in arms
        ]
        factor = number if times_looks else 1
        adjusted = [min(1.0, factor * (p or 0.0)) for p in holm([effect.p_value for effect in effects])]
        if any(
            verdict(effect, adjusted_p=p) is not Verdict.UNDECIDED for effect, p in zip(effects, adjusted, strict=True)
        ):
            return True
    return False


def test_raising_the_seeds_until_something_is_decided_makes_false_claims_unless_looks_are_counted() -> None:
    objectives = np.random.default_rng(21).standard_normal((500, 1 + ARMS, 16))
    counted, uncounted = (
        np.mean([claims_once_decided(each, (8, 12, 16), times_looks=times_looks) for each in objectives])
        for times_looks in (True, False)
    )
    assert counted <= 0.065
    assert uncounted > 0.065, "there is something to count"
