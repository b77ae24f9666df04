"""Ablations in reports: replicates are paired by seed, endings kept apart, and sentences say no more than is shown."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reports import render
from reports.ablation import Ablation, compare
from reports.ablation_statistics import Verdict
from reports.checks import budget, edge
from reports.figures import to_svg
from reports.load import load_study
from reports.records import TAG_STATE, SearchedParameter, StudyRecord, StudyState, TrialRecord, TrialState
from reports.render import write_report
from reports.sections import ablation as section
from reports.sections import answer, effects
from reports.sections._ablation_sentences import in_a_sentence, sentences
from reports.sections._blocks import Drawing, Items, Table, Text
from reports.selection import chosen
from tests.reports.conftest import WriteStudy
from tests.reports.helpers import MakeStudy, MakeTrial, searching, table

ARMS = {
    "base": {"encoder.cell": "gru", "clipping.kind": "none", "optimizer.learning_rate": 0.002},
    "encoder.cell lstm": {"encoder.cell": "lstm", "clipping.kind": "none", "optimizer.learning_rate": 0.004},
    "clipping.kind norm": {
        "encoder.cell": "gru",
        "clipping.kind": "norm",
        "clipping.max_norm": 1.0,
        "optimizer.learning_rate": 0.002,
    },
}
FACTORS = {"encoder.cell": ["gru", "lstm"], "clipping.kind": ["none", "norm"]}
Results = Mapping[str, Mapping[int, float | None]]
"""Arm -> seed -> objective; None where it diverged."""


@pytest.fixture
def study_of(trial: MakeTrial, make_study: MakeStudy) -> Callable[..., StudyRecord]:
    """A study that compares arms."""

    def make(results: Results, arms: Mapping[str, Mapping[str, Any]] = ARMS, **changes: Any) -> StudyRecord:
        trials: list[TrialRecord] = []
        for name, replicates in results.items():
            for seed, value in replicates.items():
                state = TrialState.DIVERGED if value is None else TrialState.COMPLETE
                params = {**trial(0).params, **arms[name]}
                trials.append(trial(len(trials), state, params=params, objective=value, seed=seed))
        config = {
            "of": "demo",
            "trial": 4,
            "design": "one_at_a_time",
            "halvings": 0,
            "factors": FACTORS,
            "arms": {name: {path: params[path] for path in FACTORS} for name, params in arms.items()},
            "tuned": ["optimizer.learning_rate"],
            "tuning": 6,
            "tuning_study": "demo-ablation-tuning",
            "margin": None,
            "draws": dict.fromkeys(arms, 6),
            "first_seed": min(results["base"]),
            "seeds": len(results["base"]),
            **changes,
        }
        sampler = {"kind": "design", "arms": [{"name": name, "params": params} for name, params in arms.items()]}
        study = make_study(*trials)
        manifest = dataclasses.replace(
            study.manifest,
            config={"ablation": config, "sampler": sampler, "evaluate": False},
            num_trials=len(arms) * len(results["base"]),
        )
        return dataclasses.replace(study, manifest=manifest, tags={TAG_STATE: StudyState.COMPLETE.value})

    return make


def found(study: StudyRecord) -> Ablation:
    ablation = compare(study)
    assert ablation is not None
    return ablation


BASE = {seed: 2.0 + 0.1 * (seed % 3) for seed in range(8)}
WORSE = {seed: value + 0.3 + 0.01 * seed for seed, value in BASE.items()}
NEAR = {seed: value + (0.02 if seed % 2 else -0.02) for seed, value in BASE.items()}


def test_effects_are_paired_by_seed_and_corrected_over_the_table(study_of: Callable[..., StudyRecord]) -> None:
    ablation = found(study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}))
    lstm, norm = ablation.comparisons
    assert lstm.effect.differences == pytest.approx([0.3 + 0.01 * seed for seed in range(8)])
    assert lstm.effect.correlation == pytest.approx(1.0, abs=0.1)
    assert (lstm.verdict, norm.verdict) == (Verdict.WORSE, Verdict.UNDECIDED)
    assert lstm.adjusted_p == pytest.approx(2 * 2 / 256)
    assert ablation.smallest_p == pytest.approx(2 * 2 / 256)
    assert [arm.tuned for arm in ablation.arms][2] == {"clipping.max_norm": 1.0, "optimizer.learning_rate": 0.002}
    first, second = sentences(ablation)
    assert first.startswith("cell lstm is worse than the base: val/cllr_calibrated +0.335 (95 % interval +0.315 to")
    assert "8 paired seeds, p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.016 after correction" in first
    assert second.startswith("clipping.kind norm against the base is undecided")


def test_what_was_asked_for_beside_the_plan_is_in_no_comparison(study_of: Callable[..., StudyRecord]) -> None:
    """More seeds, once results could be seen, are another look that nobody counts."""
    few, more = ({seed: each[seed] for seed in range(5)} for each in (BASE, WORSE))
    planned = {"base": few, "encoder.cell lstm": more, "clipping.kind norm": few}
    beside = {arm: {**each, 99: 2.0, 100: 2.1} for arm, each in planned.items()}
    one, other = found(study_of(planned)), found(study_of(beside, seeds=5))
    assert other.comparisons == one.comparisons
    assert (one.num_beside, other.num_beside) == (0, 6)
    assert "6 trials under seeds beside the plan are in no comparison." in notes_of(other)


def test_a_training_beside_the_plan_ends_no_other(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of({"base": {**BASE, 99: 2.0}, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}, seeds=8)
    last = dataclasses.replace(study.trials[-1], state=TrialState.RUNNING, metrics={})
    manifest = dataclasses.replace(study.manifest, num_trials=24)
    tags = {TAG_STATE: StudyState.RUNNING.value}
    running = found(dataclasses.replace(study, trials=(*study.trials[:-1], last), manifest=manifest, tags=tags))
    assert (running.num_ended, running.is_interim) == (23, True)
    failed = dataclasses.replace(last, state=TrialState.FAILED)
    again = dataclasses.replace(last, number=99)
    retried = dataclasses.replace(study, trials=(*study.trials[:-1], failed, again), manifest=manifest, tags=tags)
    assert (found(retried).num_ended, found(retried).is_interim) == (23, True), "its retry is at work"


def test_small_effects_have_as_many_digits_as_their_intervals(study_of: Callable[..., StudyRecord]) -> None:
    tiny = {seed: value + (0.0004 if seed % 2 else -0.0001) for seed, value in BASE.items()}
    said = sentences(found(study_of({"base": BASE, "encoder.cell lstm": tiny, "clipping.kind norm": NEAR})))[0]
    assert "+0.00015 (95 % interval \N{MINUS SIGN}0.00007 to +0.00037" in said


def test_what_seldom_acts_is_said_to_and_no_seeds_are_advised(study_of: Callable[..., StudyRecord]) -> None:
    seldom = {seed: value + (0.3 if seed < 2 else 0.0) for seed, value in BASE.items()}
    (said, often) = sentences(found(study_of({"base": BASE, "encoder.cell lstm": seldom, "clipping.kind norm": NEAR})))
    assert "8 paired seeds, the same under 6 of them" in said
    assert "would probably show it" not in said
    assert "the same under" not in often


def test_equivalence_after_a_second_look_takes_a_wider_interval(study_of: Callable[..., StudyRecord]) -> None:
    results = {"base": BASE, "encoder.cell lstm": NEAR, "clipping.kind norm": BASE}
    once = found(study_of(results, margin=0.019))
    twice = found(study_of(results, margin=0.019, looks=[4]))
    assert (once.comparisons[0].verdict, twice.comparisons[0].verdict) == (Verdict.EQUIVALENT, Verdict.UNDECIDED)
    assert any("which is that of 97.5 % after 2 looks" in note for note in notes_of(twice))


def test_arms_that_cannot_be_told_from_knowing_nothing_are_named(study_of: Callable[..., StudyRecord]) -> None:
    said = notes_of(found(study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})))
    nothing = "scores that say nothing have an objective of 2.322"
    assert f"Of cell lstm it is not shown that anything was learned: {nothing}." in said
    learned = notes_of(found(study_of({"base": BASE, "encoder.cell lstm": NEAR, "clipping.kind norm": NEAR})))
    assert not any("anything was learned" in note for note in learned)


def test_the_trial_that_is_shown_is_the_bases_and_neither_its_best_nor_its_worst(
    study_of: Callable[..., StudyRecord], write_study: WriteStudy, tracking_uri: str
) -> None:
    base = {0: 2.0, 1: 1.2, 2: 2.1, 3: 2.3}
    better = {seed: value - 1.0 for seed, value in BASE.items()}
    study = study_of({"base": base, "encoder.cell lstm": better, "clipping.kind norm": {}})
    assert chosen(study) == study.trials[0]
    assert "it is trial 0, the base's replicate with the middle objective" in notes_of(found(study))[-1]
    other = table(("en", "a", (1.0, 0.0)))
    write_study(dataclasses.replace(study, scores_dev=other), tracking_uri)
    assert load_study("demo", tracking_uri=tracking_uri).scores_dev == other
    named = dataclasses.replace(study, champion=2)
    assert chosen(named) == study.trials[2]
    assert not any("more detail" in note for note in notes_of(found(named)))


def test_a_margin_makes_equivalence_sayable(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}, margin=0.05)
    assert [each.verdict for each in found(study).comparisons] == [Verdict.WORSE, Verdict.EQUIVALENT]
    assert in_a_sentence(found(study)) == (
        "Of 2 changes to the base, each alone and tuned like the base, within 0.050, 1 is worse (cell lstm) and 1 is "
        "equivalent (clipping.kind norm)."
    )
    said = answer.lines(answer.summarise(study))
    assert said[1] == in_a_sentence(found(study))
    assert not any("chose" in line for line in said), "arms are compared, and none is chosen"


def test_the_sentence_does_not_claim_what_was_not_done(study_of: Callable[..., StudyRecord]) -> None:
    results = {"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}
    said = in_a_sentence(found(study_of(results, tuning=0)))
    assert said.startswith("Of 2 changes to the base, each alone, with the values that were chosen for it, 1 is worse")
    assert "tuned" not in said


def test_divergence_stands_beside_the_effect_and_is_no_part_of_it(study_of: Callable[..., StudyRecord]) -> None:
    diverging: dict[int, float | None] = {**WORSE, 2: None, 5: None}
    ablation = found(study_of({"base": BASE, "encoder.cell lstm": diverging, "clipping.kind norm": {}}))
    lstm, norm = ablation.comparisons
    assert lstm.effect.seeds == (0, 1, 3, 4, 6, 7)
    assert (lstm.effect.arm_divergence.diverged, lstm.effect.arm_divergence.trained) == (2, 8)
    assert norm.verdict is Verdict.UNDECIDED
    blocks = section.present(ablation)
    notes = [item for block in blocks if isinstance(block, Items) for item in block.items]
    assert any("cell lstm: without seeds 2 and 5, where one side diverged" in note for note in notes)
    assert any("clipping.kind norm: nothing can be said" in note for note in notes)
    assert any(note.startswith("Not every seed of clipping.kind norm has a result") for note in notes)


def test_one_seed_gives_no_interval_no_spread_and_no_verdict(study_of: Callable[..., StudyRecord]) -> None:
    one = {"base": {0: 2.0}, "encoder.cell lstm": {0: 2.5}, "clipping.kind norm": {0: 2.1}}
    ablation = found(study_of(one))
    assert [each.verdict for each in ablation.comparisons] == [Verdict.UNDECIDED] * 2
    assert "one seed gives no interval" in sentences(ablation)[0]
    tables = [block for block in section.present(ablation) if isinstance(block, Table)]
    assert not any("±" in cell.text for table in tables for row in table.rows for cell in row)


def test_a_factorial_shows_main_effects_of_factors(study_of: Callable[..., StudyRecord]) -> None:
    both = {"encoder.cell lstm, clipping.kind norm": ARMS["clipping.kind norm"] | {"encoder.cell": "lstm"}}
    arms = {name: ARMS.get(name) or both[name] for name in ("base", "clipping.kind norm", "encoder.cell lstm", *both)}
    results = {
        "base": BASE,
        "encoder.cell lstm": {seed: value + 0.3 for seed, value in BASE.items()},
        "clipping.kind norm": {seed: value - 0.1 for seed, value in BASE.items()},
        next(iter(both)): {seed: value + 0.2 for seed, value in BASE.items()},
    }
    ablation = found(study_of(results, arms, design="factorial"))
    cell, clipping = ablation.comparisons
    assert cell.effect.mean == pytest.approx(0.3)
    assert clipping.effect.mean == pytest.approx(-0.1)
    assert "cell lstm instead of gru is worse" in sentences(ablation)[0]
    assert "to the base, averaged over the other factors and tuned" in in_a_sentence(ablation)


def test_a_factorial_of_several_levels_shows_what_does_not_add_up(study_of: Callable[..., StudyRecord]) -> None:
    factors = {"encoder.cell": ["gru", "lstm", "rnn_tanh"], "clipping.kind": ["none", "norm"]}
    costs = {"gru": 0.0, "lstm": 0.1, "rnn_tanh": 0.2, "none": 0.0, "norm": -0.05}
    arms, results = {}, {}
    for cell in factors["encoder.cell"]:
        for kind in factors["clipping.kind"]:
            name = "base" if (cell, kind) == ("gru", "none") else f"encoder.cell {cell}, clipping.kind {kind}"
            arms[name] = {"encoder.cell": cell, "clipping.kind": kind, "optimizer.learning_rate": 0.002}
            both = -0.3 if (cell, kind) == ("rnn_tanh", "norm") else 0.0
            noise = 1e-3 * len(arms)  # no two arms move alike
            results[name] = {
                seed: value + costs[cell] + costs[kind] + both + noise * (seed % 2) for seed, value in BASE.items()
            }
    ablation = found(study_of(results, arms, design="factorial", factors=factors))
    assert [each.name for each in ablation.comparisons] == [
        "encoder.cell lstm",
        "encoder.cell rnn_tanh",
        "clipping.kind norm",
    ]
    assert [each.effect.mean for each in ablation.comparisons] == pytest.approx([0.1, 0.05, -0.15], abs=4e-3)
    assert [each.is_shown for each in ablation.interactions] == [False, True]
    assert [each.effect.mean for each in ablation.interactions] == pytest.approx([0.0, -0.3], abs=4e-3)
    assert (
        "cell rnn_tanh instead of gru and clipping.kind norm instead of none do not add up: what they do "
        in (sentences(ablation)[-1])
    )
    tables = {block.caption: block for block in section.present(ablation) if isinstance(block, Table)}
    assert len(tables["Whether changes add up"].rows) == 2
    (grid,) = (table for caption, table in tables.items() if caption.startswith("cell against clipping.kind; "))
    assert [column.title for column in grid.columns] == ["cell", "clipping.kind none", "clipping.kind norm"]
    assert [row[0].text for row in grid.rows] == ["gru", "lstm", "rnn_tanh"]
    assert ablation.arms[5].mean is not None
    assert grid.rows[2][2].sort == pytest.approx(ablation.arms[5].mean.mean)


def test_effects_that_add_up_are_said_to(study_of: Callable[..., StudyRecord]) -> None:
    lstm, norm = ARMS["encoder.cell lstm"], ARMS["clipping.kind norm"]
    arms = {"base": ARMS["base"], "norm": norm, "lstm": lstm, "both": norm | {"encoder.cell": "lstm"}}
    results = {"base": BASE, "norm": NEAR, "lstm": WORSE, "both": {s: WORSE[s] + NEAR[s] - BASE[s] for s in BASE}}
    said = sentences(found(study_of(results, arms, design="factorial")))
    assert said[-1].startswith("That one change does more or less where another is made is not shown for any of 1 comb")


def test_the_figure_is_drawn_and_a_plain_study_has_no_such_section(
    study_of: Callable[..., StudyRecord], demo: StudyRecord
) -> None:
    blocks = section.present(found(study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})))
    (drawing,) = (block for block in blocks if isinstance(block, Drawing))
    assert "difference in val/cllr_calibrated" in to_svg(drawing.draw())
    assert section.present(section.summarise(demo)) == ()
    assert in_a_sentence(None) == ""


def test_the_whole_report_has_the_figure_of_effects_beside_that_of_all_trials(
    study_of: Callable[..., StudyRecord], tmp_path: Path
) -> None:
    study = study_of(dict.fromkeys(ARMS, BASE))
    cell = SearchedParameter(path="encoder.cell", kind="choices", choices=("gru", "lstm"))
    files = write_report(searching(study, cell), tmp_path)
    assert "lstm" in (files.figures / "effects.svg").read_text()
    assert "difference in" in (files.figures / "ablation.svg").read_text()


def test_every_look_at_results_counts_and_what_was_named_after_them_is_said(
    study_of: Callable[..., StudyRecord],
) -> None:
    results = {"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}
    once, again = found(study_of(results)), found(study_of(results, looks=[4], margin=0.05, margin_after=12))
    for one, other in zip(once.comparisons, again.comparisons, strict=True):
        assert one.adjusted_p is not None
        assert other.adjusted_p == pytest.approx(min(1.0, 2 * one.adjusted_p))
    assert again.smallest_p == pytest.approx(2 * once.smallest_p)
    notes = notes_of(again)
    assert any(note.startswith("Results could be seen with 4 seeds, and more were asked for: each p") for note in notes)
    assert "The margin was named when 12 trials had ended already." in notes
    assert not any("could be seen" in note or "was named" in note for note in notes_of(once))


def notes_of(ablation: Ablation) -> list[str]:
    return [item for block in section.present(ablation) if isinstance(block, Items) for item in block.items]


def test_divergence_is_in_the_sentences(study_of: Callable[..., StudyRecord]) -> None:
    diverging: dict[int, float | None] = {**WORSE, 2: None}
    ablation = found(study_of({"base": BASE, "encoder.cell lstm": diverging, "clipping.kind norm": NEAR}))
    assert "Of its trainings 1 of 8 diverged, of the base's 0 of 8." in sentences(ablation)[0]
    assert in_a_sentence(ablation).endswith("Some trainings diverged with cell lstm.")


def test_a_tie_is_said_to_be_one_of_the_objective_with_all_that_belongs_to_it(
    study_of: Callable[..., StudyRecord],
) -> None:
    """A coarse objective ties where networks differ, and so do the seeds that divergence leaves."""
    ablation = found(study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": dict(BASE)}))
    assert sentences(ablation)[1] == (
        "clipping.kind norm: the objective came out the same as the base's under each of 8 seeds that both have one "
        "for."
    )
    within = found(study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": dict(BASE)}, margin=0.05))
    assert within.comparisons[1].verdict is Verdict.UNDECIDED, "what never acted has not been shown to be harmless"
    rescued: dict[int, float | None] = {**BASE, 2: None, 5: None}
    ablation = found(study_of({"base": rescued, "encoder.cell lstm": WORSE, "clipping.kind norm": dict(BASE)}))
    assert sentences(ablation)[1].endswith(
        "under each of 6 seeds that both have one for. Of its trainings 0 of 8 diverged, of the base's 2 of 8."
    )
    assert in_a_sentence(ablation).endswith(" The base diverged under 2 of 8 seeds.")
    one = {name: {0: 2.0} for name in ARMS}
    assert "came out the same as the base's under the one seed" in sentences(found(study_of(one)))[0]


def test_effects_that_cancel_over_the_other_factors_are_not_said_to_be_none(
    study_of: Callable[..., StudyRecord],
) -> None:
    lstm, norm = ARMS["encoder.cell lstm"], ARMS["clipping.kind norm"]
    arms = {"base": ARMS["base"], "norm": norm, "lstm": lstm, "both": norm | {"encoder.cell": "lstm"}}
    higher = dict.fromkeys(BASE, 4.0)
    lower = dict.fromkeys(BASE, 2.0)
    ablation = found(study_of({"base": lower, "norm": higher, "lstm": higher, "both": lower}, arms, design="factorial"))
    first, second, together = sentences(ablation)
    for said in (first, second):
        assert said.endswith("on average over the other factors it changed the objective under no seed.")
    assert "do not add up" in together


def test_more_seeds_are_advised_only_where_they_could_decide_after_another_look(
    study_of: Callable[..., StudyRecord],
) -> None:
    five = {name: {seed: values[seed] for seed in range(5)} for name, values in (("base", BASE), ("lstm", WORSE))}
    arms = {"base": ARMS["base"], "lstm": ARMS["encoder.cell lstm"]}
    (each,) = found(study_of(five, arms)).comparisons
    assert each.verdict is Verdict.UNDECIDED
    assert each.seeds_needed == 7, "six would reach 2 x 0.031"
    for each in found(
        study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": WORSE}, looks=[5, 6, 7])
    ).comparisons:
        assert (each.verdict, each.seeds_needed) == (Verdict.UNDECIDED, 9), "eight reach 4 x 0.0156 and five looks more"


def test_of_what_changes_do_together_the_least_p_is_told_apart(study_of: Callable[..., StudyRecord]) -> None:
    factors = {"encoder.cell": ["gru", "lstm", "rnn_tanh"], "clipping.kind": ["none", "norm", "value"]}
    arms, results = {}, {}
    for cell in factors["encoder.cell"]:
        for kind in factors["clipping.kind"]:
            name = "base" if (cell, kind) == ("gru", "none") else f"encoder.cell {cell}, clipping.kind {kind}"
            arms[name] = {"encoder.cell": cell, "clipping.kind": kind, "optimizer.learning_rate": 0.002}
            results[name] = {seed: value + 0.1 * len(arms) for seed, value in BASE.items() if seed < 7}
    ablation = found(study_of(results, arms, design="factorial", factors=factors))
    assert ablation.smallest_p == pytest.approx(4 / 64)
    assert ablation.smallest_interaction_p == pytest.approx(4 / 64)
    assert sentences(ablation)[-1] == ("Whether changes add up could not be shown with 7 seeds, whatever they do.")
    assert any("Each of the two tables is corrected by itself" in note for note in notes_of(ablation))


def test_a_base_that_was_named_after_looks_at_test_data_is_said_to_be(study_of: Callable[..., StudyRecord]) -> None:
    results = {"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}
    notes = notes_of(found(study_of(results, named_after_looks=2)))
    assert any(note.startswith("The base was named by hand when test data of study demo had been") for note in notes)
    assert not any("named by hand" in note for note in notes_of(found(study_of(results))))


def test_equivalence_is_said_to_be_each_by_itself(study_of: Callable[..., StudyRecord]) -> None:
    results = {"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}
    (note,) = (each for each in notes_of(found(study_of(results, margin=0.05))) if "What is called equivalent" in each)
    assert note.endswith("not corrected for the number of changes.")


def test_a_trial_that_lost_its_value_is_counted(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})
    lost = dataclasses.replace(study.trials[-1], metrics={}, history={})
    ablation = found(dataclasses.replace(study, trials=(*study.trials[:-1], lost)))
    assert [arm.num_failed for arm in ablation.arms] == [0, 0, 1]
    assert any(
        note == "Not every seed of clipping.kind norm has a result: trials failed, or their runs or values are gone."
        for note in notes_of(ablation)
    )


def test_what_is_said_of_sweeps_is_not_said_of_an_ablation(
    study_of: Callable[..., StudyRecord], tmp_path: Path
) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})
    cell = SearchedParameter(path="encoder.cell", kind="choices", choices=("gru", "lstm"))
    rate = SearchedParameter(path="optimizer.learning_rate", kind="choices", choices=(0.001, 0.002, 0.004))
    study = searching(study, cell, rate)
    said = " ".join(block.text for block in effects.SECTION.blocks(study) if isinstance(block, Text))
    assert "what a change does is said above" in said
    assert "sampler" not in said
    assert edge.CHECK.run(study).status == "skipped"
    cards = {card.title: card for card in render.cards(study)}
    assert cards["Objective of the base, development"].value == "2.088 ± 0.083"
    assert "8 seeds" in cards["Objective of the base, development"].note
    assert "Objective, development" not in cards


def test_there_is_no_verdict_before_all_that_was_planned_has_ended(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})
    manifest = dataclasses.replace(study.manifest, num_trials=3 * 16)
    under_way = dataclasses.replace(study, manifest=manifest, tags={})
    ablation = found(under_way)
    assert {each.verdict for each in ablation.comparisons} == {Verdict.UNDECIDED}
    assert in_a_sentence(ablation) == (
        "2 changes to the base, each alone and tuned like the base: 24 of 48 trials have ended, and there is no "
        "verdict before all have."
    )
    assert sentences(ablation)[0].startswith("cell lstm against the base, so far: val/cllr_calibrated +0.335")
    assert "after correction" not in " ".join(sentences(ablation))
    table = next(block for block in section.present(ablation) if isinstance(block, Table))
    assert {row[3].text for row in table.rows} == {"\N{EN DASH}"}
    assert any("24 of 48 trials have ended" in note for note in notes_of(ablation))
    spent = dataclasses.replace(under_way, tags={TAG_STATE: StudyState.COMPLETE.value})
    assert found(spent).comparisons[0].verdict is Verdict.WORSE, "the rest is gone for good"


def test_test_data_that_was_looked_at_is_not_denied(study_of: Callable[..., StudyRecord], demo: StudyRecord) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})
    assert any(note.endswith("test data was not looked at.") for note in notes_of(found(study)))
    looked = found(dataclasses.replace(study, ledger=demo.ledger))
    assert looked.num_test_looks == len(demo.looks) == 1
    assert any(note.endswith("test data was evaluated once.") for note in notes_of(looked))


def with_sources(study: StudyRecord, *, num_sources: int, worse: float) -> StudyRecord:
    """Of every language; each costs `worse` more under lstm, and the tenth twice that."""
    names = {f"{language}-{i}": language for language in study.manifest.languages for i in range(num_sources)}
    rows = [{"split": "dev", "language": language, "source": source} for source, language in names.items()]
    costs = {}
    for each in study.trials:
        added = worse if each.params["encoder.cell"] == "lstm" else 0.0
        costs[each.number] = {name: 1.0 + added * (2.0 if name.endswith("-9") else 1.0) for name in names}
    manifest = dataclasses.replace(study.manifest, corpus=dict(study.manifest.corpus) | {"rows": rows})
    return dataclasses.replace(study, manifest=manifest, source_costs=costs)


def test_where_there_are_enough_sources_others_are_spoken_of(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of({"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR})
    lstm, norm = found(with_sources(study, num_sources=10, worse=0.2)).comparisons
    assert lstm.over_sources is not None
    assert lstm.over_sources.mean == pytest.approx(0.22)
    assert lstm.over_sources.interval is not None
    assert 0.15 < lstm.over_sources.interval.low < 0.22 < lstm.over_sources.interval.high
    assert norm.over_sources is not None
    assert norm.over_sources.mean == 0.0
    ablation = found(with_sources(study, num_sources=10, worse=0.2))
    assert (
        "Of calibrated Cllr, over other sources of these languages: +0.220 bits (95 % interval "
        in (sentences(ablation)[0])
    )
    assert any("what other sources would show is said beside each effect" in note for note in notes_of(ablation))
    few = found(with_sources(study, num_sources=9, worse=0.2))
    assert few.comparisons[0].over_sources is not None
    assert few.comparisons[0].over_sources.interval is None
    assert any("they say nothing about speakers at large" in note for note in notes_of(few))


def test_costs_of_sources_come_back_from_mlflow(
    study_of: Callable[..., StudyRecord], tracking_uri: str, write_study: WriteStudy
) -> None:
    study = study_of({"base": {0: 2.0}, "encoder.cell lstm": {0: 2.5}, "clipping.kind norm": {0: None}})
    study = with_sources(study, num_sources=10, worse=0.2)
    study = dataclasses.replace(study, source_costs={number: study.source_costs[number] for number in (0, 1)})
    write_study(study, tracking_uri)
    assert load_study(study.manifest.name, tracking_uri=tracking_uri).source_costs == study.source_costs


def test_arms_with_unequal_budgets_are_told(study_of: Callable[..., StudyRecord], demo: StudyRecord) -> None:
    results = {"base": BASE, "encoder.cell lstm": WORSE, "clipping.kind norm": NEAR}
    assert budget.CHECK.run(study_of(results)).status == "passed"
    assert budget.CHECK.run(demo).status == "skipped"
    assert "Nothing was tuned" in budget.CHECK.run(study_of(results, tuning=0)).message
    draws = {"base": 6, "encoder.cell lstm": 2, "clipping.kind norm": 0}
    unequal = budget.CHECK.run(study_of(results, draws=draws))
    assert "fewer than the 6 draws" in unequal.message
    assert unequal.message.endswith("encoder.cell lstm (2) and clipping.kind norm (0).")
    fewer = budget.CHECK.run(study_of({**results, "clipping.kind norm": {0: 2.0}}))
    assert (fewer.status, fewer.message) == (
        "warning",
        "Of some arms fewer than 8 seeds have a result: clipping.kind norm (1).",
    )
