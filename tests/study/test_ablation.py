"""Controlled ablations: which arms there are, that none is favoured, and one from a sweep to its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.ablation import compare
from reports.records import TrialState
from search_spaces.space import space_from_json
from study.ablation import Ablation, Base, comparison_study, plan_ablation, tuned_values, tuning_study
from study.ablation_config import AblationOptions
from study.combinations import check_combination
from study.commands.ablate import ablate
from study.commands.sweep import SweepOptions, resume, run
from study.config import StudyConfig
from study.trials import TrialSummary
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
        "encoder.bidirectional False",
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
            ("encoder.cell=lstm", "clipping.kind=none"),
            {"base", "encoder.cell lstm", "clipping.kind none", "encoder.cell lstm, clipping.kind none"},
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
    assert tuned["base"]["optimizer.learning_rate"] == arms[4].params["optimizer.learning_rate"]
    assert tuned["clipping.kind none"]["optimizer.learning_rate"] == arms[3].params["optimizer.learning_rate"]
    comparison, _ = comparison_study(ablation, tuned)
    assert comparison.trials == 10
    assert (tuning.seed, comparison.seed) == (10, 11), "the study's last was 9"
    diverged = [TrialSummary(number=0, state=TrialState.DIVERGED, value=4.6, params=dict(arms[0].params))]
    assert tuned_values(ablation, diverged)["base"] == tuned_values(ablation, ())["base"]


def test_without_tuning_every_arm_keeps_the_bases_values() -> None:
    ablation = planned("encoder.cell", tuning=0)
    study, _ = comparison_study(ablation, {})
    arms = study.sampler.arms  # type: ignore[union-attr]
    assert {arm.name for arm in arms} == set(ablation.arms)
    assert all(set(arm.params) == {"encoder.cell"} for arm in arms)
    assert study.ablation is not None
    assert study.ablation.tuned == ()


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
    compared: Callable[..., int], workspace: Path, capsys: pytest.CaptureFixture[str]
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

    assert compared(seeds=3) == 0
    assert trials_of(workspace, "tiny-ablation-tuning") == tuning
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


def test_arms_are_written_down_as_json(compared: Callable[..., int], workspace: Path) -> None:
    assert compared(seeds=1, name="cells", margin=0.1) == 0
    written = json.loads((workspace / "studies" / "cells" / "study.json").read_text())["given"]["ablation"]
    assert written["of"] == "tiny"
    assert written["tuning_study"] == "cells-tuning"
    assert written["margin"] == 0.1
