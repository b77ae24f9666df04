"""Controlled ablations: which arms there are, that none is favoured, and one from a sweep to its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.ablation import compare
from reports.power import smallest_separable_effect
from reports.records import TrialState
from reports.statistics import PooledSd
from search_spaces.space import load_space, space_from_json
from study.ablation import Ablation, comparison_study, plan_ablation, tuned_values, tuning_study
from study.ablation_config import AblationOptions, Design
from study.ablation_factors import Base
from study.combinations import check_combination
from study.commands.ablate import ablate, alias_lines, left_in, power_lines
from study.commands.control import enqueue
from study.commands.sweep import SweepOptions, resume, run
from study.config import StudyConfig, load_study_config, preset_names
from study.samplers import sample_params
from study.settling import read_manifest
from study.trials import TrialSummary
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, trials_of

pytestmark = pytest.mark.timeout(600)

SPACE = {
    "space": {
        "encoder.cell": {"choices": ["rnn_tanh", "gru", "lstm"]},
        "encoder.bidirectional": {"choices": [False, True]},
        "clipping.kind": {"choices": ["none", "norm", "value"]},
        "clipping.max_norm": {"float": [0.05, 20.0], "log": True, "when": {"clipping.kind": ["norm"]}},
        "clipping.max_value": {"float": [0.001, 1.0], "log": True, "when": {"clipping.kind": ["value"]}},
        "optimizer.learning_rate": {"float": [0.0003, 0.01], "log": True},
    }
}
VALUES = {
    "encoder": {"cell": "gru", "bidirectional": True},
    "clipping": {"kind": "norm", "max_norm": 1.5},
    "optimizer": {"learning_rate": 0.002},
    "training": {"label_smoothing": 0.1},
}


def base(values: dict[str, Any] | None = None) -> Base:
    return Base(
        config=StudyConfig(name="demo", space="demo", trials=9, seed=4),
        space=space_from_json(SPACE, name="demo"),
        trial=7,
        values=TrialConfig.model_validate(VALUES | (values or {}) | {"seed": 6}),
        last_seed=9,
    )


def planned(*factors: str, **options: Any) -> Ablation:
    return plan_ablation(base(), AblationOptions(factors=factors, **options))


def test_the_studys_choices_are_the_factors_and_each_level_is_an_arm() -> None:
    ablation = planned()
    assert list(ablation.arms) == [
        "base",
        "encoder.cell rnn_tanh",
        "encoder.cell lstm",
        "encoder.bidirectional false",
        "clipping.kind none",
        "clipping.kind value",
    ]
    assert ablation.arms["base"] == {"encoder.cell": "gru", "encoder.bidirectional": True, "clipping.kind": "norm"}


@pytest.mark.parametrize(
    ("design", "factors", "arms"),
    [
        (
            "leave_one_out",
            ("clipping.kind", "encoder.bidirectional", "training.label_smoothing"),
            {"base", "without clipping.kind", "without encoder.bidirectional", "without training.label_smoothing"},
        ),
        (
            "factorial",
            ("encoder.cell=lstm,rnn_tanh", "clipping.kind=none"),
            {
                "base",
                "clipping.kind none",
                "encoder.cell lstm",
                "encoder.cell lstm, clipping.kind none",
                "encoder.cell rnn_tanh",
                "encoder.cell rnn_tanh, clipping.kind none",
            },
        ),
        (
            "fractional",
            ("encoder.cell=lstm", "clipping.kind=none", "training.label_smoothing=0.0"),
            {
                "base",
                "encoder.cell lstm, training.label_smoothing 0.0",
                "clipping.kind none, training.label_smoothing 0.0",
                "encoder.cell lstm, clipping.kind none",
            },
        ),
    ],
)
def test_designs(design: str, factors: tuple[str, ...], arms: set[str]) -> None:
    ablation = planned(*factors, design=design)
    assert set(ablation.arms) == arms
    assert next(iter(ablation.arms)) == "base"
    assert ablation.config.halvings == (1 if design == "fractional" else 0)
    for study, space in (tuning_study(ablation), comparison_study(ablation, {})):
        check_combination(study, space)


@pytest.mark.parametrize("name", ["two words", "../up", "x" * 60])
def test_a_name_that_no_study_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"an ablation cannot be called .* choose a --name"):
        planned("encoder.cell", name=name)


@pytest.mark.parametrize(
    ("factor", "complaint"),
    [
        ("clipping.kin", r"--factor clipping\.kin: .*near it"),
        ("clipping.max_value=1", "does not exist in trial 7, which is the base"),
        ("training.label_smoothing", "is no choice of the study; name its levels"),
        ("encoder.cell=gru", "factor encoder.cell has no level besides 'gru'"),
        ("encoder.cell=grue", "arm 'encoder.cell grue' cannot be trained"),
        ("encoder.cell=lstm,lstm", "has a level twice"),
    ],
)
def test_what_cannot_be_a_factor_is_refused(factor: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        planned(factor)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("optimizer.learnin_rate", "--tune optimizer.learnin_rate: "),
        ("encoder.cell", "--tune encoder.cell: it is a factor"),
    ],
)
def test_what_no_arm_could_be_tuned_in_is_refused(path: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        planned("encoder.cell=gru,lstm", tuned=(path,))


def test_all_arms_are_tuned_with_the_same_draws_and_the_base_with_no_others() -> None:
    ablation = planned("clipping.kind", tuning=4)
    study, space = tuning_study(ablation)
    check_combination(study, space)
    arms = [arm.params for arm in study.sampler.arms]  # type: ignore[union-attr]
    assert len(arms) == 4 * 3 == study.trials
    rates = {
        kind: [arm["optimizer.learning_rate"] for arm in arms if arm["clipping.kind"] == kind]
        for kind in ("none", "norm", "value")
    }
    assert rates["none"] == rates["norm"] == rates["value"]
    assert len(set(rates["norm"])) == 4
    assert 0.002 not in rates["norm"], "the base's own would be one draw more, which a sweep has made"
    assert all(isinstance(rate, float) and 0.0003 < rate < 0.01 for rate in rates["norm"])
    norms = [arm["clipping.max_norm"] for arm in arms if arm["clipping.kind"] == "norm"]
    values = [arm["clipping.max_value"] for arm in arms if arm["clipping.kind"] == "value"]
    assert len(set(norms)) == len(set(values)) == 4, "a rule's own threshold is tuned, the base's too"
    assert not any("clipping.max_norm" in arm for arm in arms if arm["clipping.kind"] != "norm")


def test_the_best_draw_is_taken_and_seeds_are_fresh() -> None:
    ablation = planned("clipping.kind=none", tuning=3, seeds=5)
    tuning, _ = tuning_study(ablation)
    arms = tuning.sampler.arms  # type: ignore[union-attr]
    trials = [
        TrialSummary(number=number, state=TrialState.COMPLETE, value=abs(number - 3.5), params=dict(arm.params))
        for number, arm in enumerate(arms)
    ]
    tuned = tuned_values(ablation, trials)
    assert tuned["base"].values["optimizer.learning_rate"] == arms[4].params["optimizer.learning_rate"]
    assert tuned["clipping.kind none"].values["optimizer.learning_rate"] == arms[3].params["optimizer.learning_rate"]
    comparison, _ = comparison_study(ablation, tuned)
    assert comparison.trials == 10
    assert (tuning.seed, comparison.seed) == (10, 11), "the study's last was 9"
    assert comparison.ablation is not None
    assert comparison.ablation.untuned == ()
    assert comparison.ablation.draws == {"base": 3, "clipping.kind none": 3}


def test_an_arm_of_which_no_draw_came_to_an_end_has_the_middle_of_each_range_and_is_named() -> None:
    ablation = planned("clipping.kind=none", tuning=3)
    arms = tuning_study(ablation)[0].sampler.arms  # type: ignore[union-attr]
    trials = [
        TrialSummary(
            number=number,
            state=TrialState.DIVERGED if arm.params["clipping.kind"] == "none" else TrialState.COMPLETE,
            value=2.0,
            params=dict(arm.params),
        )
        for number, arm in enumerate(arms)
    ]
    tuned = tuned_values(ablation, trials)
    assert set(tuned) == {"base"}
    study, _ = comparison_study(ablation, tuned)
    assert study.ablation is not None
    assert study.ablation.untuned == ("clipping.kind none",)
    untuned = study.sampler.arms[1].params  # type: ignore[union-attr]
    assert untuned["optimizer.learning_rate"] == pytest.approx((0.0003 * 0.01) ** 0.5, rel=1e-4)


def test_without_tuning_every_arm_keeps_the_bases_values() -> None:
    ablation = planned("encoder.cell", tuning=0)
    study, _ = comparison_study(ablation, {})
    arms = study.sampler.arms  # type: ignore[union-attr]
    assert {arm.name for arm in arms} == set(ablation.arms)
    assert all(set(arm.params) == {"encoder.cell"} for arm in arms)
    assert study.ablation is not None
    assert study.ablation.tuned == ()


@pytest.mark.parametrize(
    ("path", "values", "low", "high", "kind"),
    [
        ("training.label_smoothing", {}, 0.025, 0.4, float),
        ("encoder.dropout", {"encoder": {"cell": "gru", "dropout": 0.5}}, 0.125, 0.99, float),
        ("training.batch_size", {"training": {"batch_size": 8}}, 2, 32, int),
        ("training.accumulation", {}, 1, 4, int),
    ],
)
def test_what_the_study_did_not_search_is_tuned_among_its_neighbours_as_far_as_they_can_be(
    path: str, values: dict[str, Any], low: float, high: float, kind: type
) -> None:
    options = AblationOptions(factors=("clipping.kind=none",), tuned=(path,), tuning=6)
    ablation = plan_ablation(base(values), options)
    study, space = tuning_study(ablation)
    check_combination(study, space)
    found = [arm.params[path] for arm in study.sampler.arms]  # type: ignore[union-attr]
    assert all(type(value) is kind and low <= float(str(value)) <= high for value in found)
    assert len(set(found)) > 2


@pytest.mark.parametrize(
    ("path", "what"), [("training.label_smoothing", "it is 0.0"), ("encoder.initialisation", "no neighbours")]
)
def test_what_has_no_neighbours_cannot_be_tuned(path: str, what: str) -> None:
    nothing = base({"training": {"label_smoothing": 0.0}})
    ablation = plan_ablation(nothing, AblationOptions(factors=("clipping.kind=none",), tuned=(path,)))
    with pytest.raises(ConfigError, match=f"--tune {path}: .*{what}"):
        tuning_study(ablation)


def test_a_threshold_that_a_level_brings_is_tuned_though_the_study_did_not_search_it() -> None:
    ablation = planned("clipping.kind=agc", tuning=4)
    arms = tuning_study(ablation)[0].sampler.arms  # type: ignore[union-attr]
    ratios = {arm.params["clipping.max_ratio"] for arm in arms if arm.params["clipping.kind"] == "agc"}
    assert len(ratios) == 4
    assert all(0.005 <= float(ratio) <= 0.08 for ratio in ratios)


def test_a_whole_number_is_a_level_of_a_fraction_too() -> None:
    ablation = planned("training.label_smoothing=0")
    assert ablation.arms["training.label_smoothing 0.0"] == {"training.label_smoothing": 0.0}
    with pytest.raises(ConfigError, match="has a level twice"):
        planned("training.label_smoothing=0,0.0")


def test_halvings_belong_to_a_fraction() -> None:
    with pytest.raises(ConfigError, match="--halvings is for --design fractional"):
        planned("encoder.cell=lstm", design="factorial", halvings=1)


@pytest.mark.parametrize(("design", "more"), [("factorial", ()), ("fractional", ("training.label_smoothing=0.0",))])
def test_where_factors_vary_together_none_does_another_away(design: str, more: tuple[str, ...]) -> None:
    factors = ("clipping.kind=none", "clipping.max_norm=3.0", *more)
    with pytest.raises(ConfigError, match=r"there is no clipping\.max_norm in arm 'clipping.kind none"):
        planned(*factors, design=design)


def test_a_plan_of_main_effects_counts_factors_and_halves_of_arms() -> None:
    noise = PooledSd(sd=0.1, degrees=9)
    factors = ("encoder.cell=lstm", "clipping.kind=none", "training.label_smoothing=0.0")
    factorial = planned(*factors, design="factorial")
    first, together, second = power_lines(factorial, num_seeds=8, num_looks=1, noise=noise)
    assert together == "3 interactions over 8 seeds: the smallest p, corrected (Holm), is 0.0234"
    assert first == "3 main effects over 8 seeds: the smallest p, corrected (Holm), is 0.0234"
    expected = smallest_separable_effect(0.1 * 2 / 8**0.5, num_pairs=8, num_comparisons=3)
    assert f"an effect of {expected:.3g} is shown" in second
    of_levels = planned("encoder.cell=lstm,rnn_tanh", "clipping.kind=none", design="factorial")
    first, together, second = power_lines(of_levels, num_seeds=8, num_looks=1, noise=noise)
    assert together.startswith("2 interactions over 8 seeds")
    assert first.startswith("3 main effects over 8 seeds")
    expected = smallest_separable_effect(0.1, num_pairs=8, num_comparisons=3)  # means of two arms each
    assert f"an effect of {expected:.3g} is shown" in second
    late = power_lines(planned(*factors), num_seeds=6, num_looks=2, noise=noise)
    assert late[0].endswith("is 0.188, so none can be shown at 0.05; it takes 8 seeds")
    assert "an effect of" not in " ".join(late)
    looked = power_lines(planned(*factors), num_seeds=8, num_looks=2, noise=noise)
    expected = smallest_separable_effect(0.1 * 2**0.5, num_pairs=8, num_comparisons=3, alpha=0.025)
    assert f"an effect of {expected:.3g} is shown" in looked[1]
    alone = power_lines(planned(*factors), num_seeds=8, num_looks=2, noise=noise)
    assert alone[0].startswith("3 comparisons over 8 seeds: the smallest p, corrected (Holm, times 2 looks), is 0.0469")


def test_there_are_as_many_seeds_as_can_show_anything_if_nobody_says_how_many() -> None:
    assert planned("encoder.cell=lstm").config.seeds == 8
    many = planned("encoder.hidden_size=4,8,12,16,20,24,28,32,40,48")
    (line, *_) = power_lines(many, num_seeds=many.config.seeds, num_looks=1, noise=None)
    assert line == "10 comparisons over 9 seeds: the smallest p, corrected (Holm), is 0.0391"
    unknown = power_lines(planned("encoder.cell=lstm"), num_seeds=8, num_looks=1, noise=None)[-1]
    expected = smallest_separable_effect(2**0.5, num_pairs=8)
    assert unknown.startswith(f"an effect of {expected:.2g} times what seeds of one configuration differ by")
    assert planned("encoder.hidden_size=4,8,12,16,20,24,28,32,40,48", seeds=3).config.seeds == 3
    pairs = planned("encoder.hidden_size=4,8,12,16", "training.batch_size=2,3,4,5", design="factorial")
    assert pairs.config.seeds == 10, "16 interactions take more than 8 main effects do"


def test_a_plan_names_what_a_fraction_cannot_tell_apart() -> None:
    factors = ("encoder.cell=lstm", "clipping.kind=none", "training.label_smoothing=0.0")
    assert alias_lines(planned(*factors, design="fractional"))[0] == (
        "in this fraction encoder.cell cannot be told from minus clipping.kind × training.label_smoothing"
    )
    assert alias_lines(planned(*factors, design="factorial")) == []


def test_what_cannot_be_left_out_is_named() -> None:
    assert left_in(planned(design="leave_one_out")) == ["encoder.cell"]
    assert left_in(planned("clipping.kind", design="leave_one_out")) == []
    assert left_in(planned()) == []


def test_a_factor_with_an_empty_level_is_refused() -> None:
    for text in ("encoder.cell=", "encoder.cell=lstm,"):
        with pytest.raises(ConfigError, match=r"--factor encoder\.cell=.*: a level is empty"):
            planned(text)


@pytest.mark.parametrize("design", ["one_at_a_time", "leave_one_out"])
@pytest.mark.parametrize("name", preset_names())
def test_what_any_preset_may_find_can_be_ablated_without_naming_factors(name: str, design: Design) -> None:
    """Or it is said that there is nothing to leave out."""
    study = load_study_config(name)
    space = load_space(study.space, around_defaults=False)
    nested = study.trial.model_dump(mode="json", exclude={"seed"})
    num_planned = 0
    for number, values in enumerate(sample_params(space, 8, seed=1)):
        found = Base(config=study, space=space, trial=number, values=space.apply(nested, values), last_seed=3)
        try:
            ablation = plan_ablation(found, AblationOptions(design=design))
        except ConfigError as error:
            said = str(error)  # some presets have nothing to leave out
            assert "searches no choice that trial" in said or "can be switched off in trial" in said
            continue
        num_planned += 1
        for config, arms in (tuning_study(ablation), comparison_study(ablation, {})):
            check_combination(config, arms)
            for arm in config.sampler.arms:  # type: ignore[union-attr]
                arms.apply(config.trial.model_dump(mode="json"), arm.params)
    assert num_planned or design == "leave_one_out"


# --- from a sweep to a report -----------------------------------------------------------------------------------------


@pytest.fixture
def compared(workspace: Path, tmp_path: Path) -> Callable[..., int]:
    """Sweeps a tiny study once, and ablates it as often as it is called."""
    assert run(str(write_tiny_study(tmp_path, trials=2, epochs=1)), SweepOptions(slots=2), folder=workspace) == 0

    def call(*, dry_run: bool = False, **options: Any) -> int:
        wanted = AblationOptions(factors=("encoder.cell=gru,lstm",), tuning=2, **options)
        return ablate("tiny", wanted, SweepOptions(slots=2), folder=workspace, dry_run=dry_run)

    return call


def test_an_ablation_tunes_compares_goes_on_and_is_reported(
    compared: Callable[..., int], workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert compared(seeds=2, dry_run=True) == 0
    said = capsys.readouterr().out
    assert "2 arms (one at a time) around trial" in said
    assert "1 comparison over 2 seeds: the smallest p, corrected (Holm), is 0.5, so none can be shown at 0.05" in said
    assert "study tiny-ablation-tuning: 4 trials, 0 of them done" in said
    assert not (workspace / "studies" / "tiny-ablation").exists()

    assert compared(seeds=2) == 0
    tuning, trials = trials_of(workspace, "tiny-ablation-tuning"), trials_of(workspace, "tiny-ablation")
    assert len(tuning) == 4
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    record = record_of(workspace, "tiny-ablation")
    seeds = [trial.seed for trial in record.trials]
    assert seeds[0] == seeds[1] == seeds[2] - 1 == seeds[3] - 1, "every arm under one seed, then under the next"
    used = {
        trial.seed for trial in (*record_of(workspace).trials, *record_of(workspace, "tiny-ablation-tuning").trials)
    }
    assert not used & set(seeds), "nothing was chosen by the seeds that compare"
    assert record.test_metrics == {}

    assert run(str(tmp_path / "tiny.toml"), SweepOptions(slots=2, trials=4), folder=workspace) == 0
    assert compared(seeds=3, margin=0.5) == 0, "with the seeds and draws of the first time, though the study went on"
    assert trials_of(workspace, "tiny-ablation-tuning") == tuning
    said = record_of(workspace, "tiny-ablation").manifest.config["ablation"]
    assert (said["seeds"], said["looks"], said["margin"], said["margin_after"]) == (3, [2], 0.5, 4)
    assert trials_of(workspace, "tiny-ablation")[:4] == trials
    found = compare(record_of(workspace, "tiny-ablation"))
    assert found is not None
    assert resume("tiny-ablation", SweepOptions(slots=2), folder=workspace, failed=False) == 0
    assert [len(arm.objectives) for arm in found.arms] == [3, 3]
    (comparison,) = found.comparisons
    values = {trial.number: trial.value or 0.0 for trial in trials_of(workspace, "tiny-ablation")}
    assert comparison.effect.differences == pytest.approx(
        [values[1] - values[0], values[3] - values[2], values[5] - values[4]]
    )

    with pytest.raises(ConfigError, match="'tiny-ablation' exists and compares something else"):
        ablate(
            "tiny",
            AblationOptions(factors=("encoder.hidden_size=8,16",), tuning=0),
            SweepOptions(slots=2),
            folder=workspace,
            dry_run=False,
        )


def test_each_ablation_of_a_study_has_seeds_of_its_own(
    compared: Callable[..., int], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(seeds=2, name="one") == 0
    assert compared(seeds=1, name="two", trial=0) == 0
    one, two = ({trial.seed for trial in record_of(workspace, name).trials} for name in ("one", "two"))
    tuned = {trial.seed for trial in record_of(workspace, "two-tuning").trials}
    assert not one & (two | tuned)
    said = record_of(workspace, "two").manifest.config["ablation"]
    assert said["named_after_looks"] == len(record_of(workspace).ledger) == 1
    assert record_of(workspace, "one").manifest.config["ablation"]["named_after_looks"] == 0
    capsys.readouterr()
    assert compared(seeds=2, name="one", dry_run=True) == 0
    assert "study one: 4 trials, 4 of them done" in capsys.readouterr().out


def test_a_retry_is_no_trial_of_the_design(
    compared: Callable[..., int], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(seeds=1) == 0
    enqueue("tiny-ablation", '{"encoder.cell": "gru"}', workspace, seed=99)
    assert resume("tiny-ablation", SweepOptions(slots=2), folder=workspace, failed=False) == 0
    assert len(trials_of(workspace, "tiny-ablation")) == 3
    capsys.readouterr()
    assert compared(seeds=2, dry_run=True) == 0
    assert "study tiny-ablation: 4 trials, 2 of them done" in capsys.readouterr().out
    assert compared(dry_run=True) == 0
    assert "study tiny-ablation: 2 trials, 2 of them done" in capsys.readouterr().out, "no more than were asked for"


def test_arms_are_written_down_as_json(compared: Callable[..., int], workspace: Path) -> None:
    assert compared(seeds=1, name="cells", margin=0.1) == 0
    written = json.loads((workspace / "studies" / "cells" / "study.json").read_text())["given"]["ablation"]
    assert written["of_command"] == read_manifest(Workspace(workspace).study("tiny"))["command"]
    assert written["of"] == "tiny"
    assert written["tuning_study"] == "cells-tuning"
    assert written["margin"] == 0.1
