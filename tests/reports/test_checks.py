import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from reports import checks
from reports.checks import (
    CHECKS,
    commits,
    convergence,
    diverged,
    dropped,
    edge,
    evaluations,
    failures,
    first_epoch,
    heads,
    learned,
    levels,
    seeds,
    single_source,
    split,
)
from reports.records import (
    BEST_EPOCH,
    GRAD_NON_FINITE,
    GRAD_NORM_AFTER,
    OBJECTIVE,
    TAG_COMMIT,
    TAG_DIFF,
    TAG_VERSIONS,
    MetricPoint,
    SearchedParameter,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from tests.reports.helpers import MakeStudy, MakeTrial, searching


def with_corpus(study: StudyRecord, **corpus: Any) -> StudyRecord:
    return dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, corpus=corpus))


def with_curve(trial: TrialRecord, *values: float) -> TrialRecord:
    points = tuple(MetricPoint(step=i, value=value, time_ms=0) for i, value in enumerate(values))
    return dataclasses.replace(trial, history={OBJECTIVE: points})


def test_every_file_is_registered() -> None:
    files = {path.stem for path in Path(checks.__file__).parent.glob("[!_]*.py")}
    assert {check.look.__module__.rpartition(".")[2] for check in CHECKS} == files
    assert len({check.code for check in CHECKS}) == len(CHECKS)


def test_a_study_without_trials_is_skipped_throughout(make_study: MakeStudy) -> None:
    study = with_corpus(make_study())
    assert {check.run(study).status for check in CHECKS} == {"skipped"}


@pytest.mark.parametrize(
    ("objectives", "status", "text"),
    [
        ((1.9, 2.0, 2.1), "passed", "0 of 3 complete trials are no better than scores that say nothing (2.322)."),
        ((1.9, 2.3219, 2.4), "warning", "2 of 3 complete trials are no better"),
        ((2.3219, 2.33), "warning", "the chosen one among them: nothing was learned here."),
        ((math.nan,), "skipped", "No complete trial"),
    ],
)
def test_trials_at_chance_are_counted(
    trial: MakeTrial, make_study: MakeStudy, objectives: tuple[float, ...], status: str, text: str
) -> None:
    found = learned.CHECK.run(make_study(*(trial(i, objective=value) for i, value in enumerate(objectives))))
    assert found.status == status
    assert text in found.message


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"encoder.hidden_size": 64, "optimizer.learning_rate": 1e-3, "training.batch_size": 30}, "passed"),
        ({"encoder.hidden_size": 128, "optimizer.learning_rate": 1e-3, "training.batch_size": 30}, "warning"),
        ({"encoder.hidden_size": 64, "optimizer.learning_rate": 9e-2, "training.batch_size": 30}, "warning"),
        ({"encoder.hidden_size": 64, "optimizer.learning_rate": 1e-3, "training.batch_size": 8}, "warning"),
    ],
)
def test_the_edge_is_seen_on_the_searched_scale(
    trial: MakeTrial, make_study: MakeStudy, params: dict[str, Any], status: str
) -> None:
    study = make_study(trial(0, params={**params, "clipping.kind": "none"}))
    assert edge.CHECK.run(study).status == status


def test_a_parameter_that_does_not_exist_has_no_edge(trial: MakeTrial, make_study: MakeStudy) -> None:
    inside = {"encoder.hidden_size": 64, "optimizer.learning_rate": 1e-3, "training.batch_size": 30}
    study = make_study(trial(0, params={**inside, "clipping.kind": "none", "clipping.max_norm": 0.05}))
    assert edge.CHECK.run(study).status == "passed"


def test_seeds_of_the_chosen_configuration_count(trial: MakeTrial, make_study: MakeStudy) -> None:
    replicates = [trial(i, params=trial(0).params, objective=1.0 + i, seed=i) for i in range(3)]
    assert seeds.CHECK.run(make_study(*replicates[:2])).status == "warning"
    assert seeds.CHECK.run(make_study(*replicates)).status == "passed"


def test_a_level_that_no_complete_trial_has_is_named(trial: MakeTrial, make_study: MakeStudy) -> None:
    def having(number: int, cell: str, size: int, rule: str, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
        params = {"encoder.cell": cell, "encoder.hidden_size": size, "clipping.kind": rule}
        return trial(number, state, params=trial(0).params | params)

    first, second = having(0, "rnn_tanh", 32, "none"), having(1, "gru", 64, "norm")
    pruned = having(2, "lstm", 128, "value", TrialState.PRUNED)
    found = levels.CHECK.run(make_study(first, second, pruned))
    assert found.status == "warning"
    assert (
        "with encoder.cell = lstm (1 pruned), encoder.hidden_size = 128 (1 pruned) and clipping.kind = value (1 pruned)"
    ) in found.message
    assert "Prune later, or run more trials." in found.message
    diverged = having(2, "lstm", 128, "value", TrialState.DIVERGED)
    message = levels.CHECK.run(make_study(first, second, diverged)).message
    assert "encoder.cell = lstm (1 diverged)" in message
    assert "Prune" not in message
    assert levels.CHECK.run(make_study(first, second, having(2, "lstm", 128, "value"))).status == "passed"


def test_a_shared_source_is_seen_in_the_rows_and_in_the_manifest(make_study: MakeStudy) -> None:
    rows = [{"split": "dev", "language": "fr", "source": "a"}, {"split": "test", "language": "it", "source": "a"}]
    assert "dev and test share a" in split.CHECK.run(with_corpus(make_study(), rows=rows)).message
    assert split.CHECK.run(with_corpus(make_study(), shared=["one announcer"])).status == "warning"
    assert split.CHECK.run(make_study()).status == "passed"


def test_a_best_epoch_at_the_end_is_unconverged(trial: MakeTrial, make_study: MakeStudy) -> None:
    falling = with_curve(trial(0, objective=1.0), 3.0, 2.0, 1.0)
    settled = with_curve(trial(1, objective=0.9), 3.0, 0.9, 1.0)
    also_settled = with_curve(trial(2, objective=1.1), 3.0, 1.1, 1.1)
    assert convergence.CHECK.run(make_study(falling)).status == "warning"
    assert convergence.CHECK.run(make_study(falling, settled, also_settled)).status == "passed"
    assert convergence.CHECK.run(make_study(trial(0, TrialState.PRUNED))).status == "skipped"
    as_good_at_first = with_curve(trial(3, objective=1.0), 1.0, 2.0, 1.0)
    assert convergence.CHECK.run(make_study(as_good_at_first)).status == "passed", "that is best after the first epoch"


def test_a_winner_that_only_got_worse_is_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    def best_at(number: int, epoch: int, objective: float) -> TrialRecord:
        values = [objective if i == epoch else 3.0 for i in range(4)]
        return with_curve(trial(number, objective=objective, metrics={BEST_EPOCH: float(epoch)}), *values)

    winner, second, third = best_at(0, 0, 1.0), best_at(1, 2, 1.1), best_at(2, 3, 1.2)
    found = first_epoch.CHECK.run(make_study(winner, second, third))
    assert found.status == "warning"
    assert "trial 0, the chosen one" in found.message
    assert first_epoch.CHECK.run(make_study(second, third, best_at(3, 0, 1.3))).status == "passed"
    assert first_epoch.CHECK.run(make_study(second, best_at(3, 0, 1.3), best_at(4, 0, 1.4))).status == "warning"


def test_a_trial_of_one_epoch_has_no_first_among_several(trial: MakeTrial, make_study: MakeStudy) -> None:
    only = with_curve(trial(0, objective=1.0, metrics={BEST_EPOCH: 0.0}), 1.0)
    assert first_epoch.CHECK.run(make_study(only)).status == "skipped"


def test_where_all_failed_nothing_is_said_of_divergence(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = diverged.CHECK.run(make_study(trial(0, TrialState.FAILED)))
    assert found.status == "skipped"
    assert "has ended" not in found.message


def test_test_data_may_be_looked_at_once(demo: StudyRecord) -> None:
    assert evaluations.CHECK.run(demo).status == "passed"
    assert evaluations.CHECK.run(dataclasses.replace(demo, ledger=demo.ledger * 2)).status == "warning"
    assert evaluations.CHECK.run(dataclasses.replace(demo, ledger=())).status == "warning"


def test_many_diverged_trials_are_a_sign(trial: MakeTrial, make_study: MakeStudy) -> None:
    complete = [trial(i) for i in range(9)]
    bad = [trial(i, TrialState.DIVERGED) for i in (10, 11)]
    assert diverged.CHECK.run(make_study(*complete, bad[0])).status == "passed"
    assert diverged.CHECK.run(make_study(*complete, *bad)).status == "warning"


def test_any_failure_is_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    assert failures.CHECK.run(make_study(trial(0), trial(1, TrialState.DIVERGED))).status == "passed"
    assert failures.CHECK.run(make_study(trial(0), trial(1, TrialState.TIMED_OUT))).status == "warning"


def test_code_that_changed_between_trials_is_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    other = dataclasses.replace(trial(1), tags={TAG_COMMIT: "fffffff"})
    dirty = dataclasses.replace(trial(2), tags={TAG_COMMIT: "0123abc", TAG_DIFF: "1"})
    assert commits.CHECK.run(make_study(trial(0))).status == "passed"
    assert commits.CHECK.run(make_study(trial(0), other)).status == "warning"
    assert commits.CHECK.run(make_study(dirty)).status == "warning"
    newer = dataclasses.replace(trial(3), tags=trial(3).tags | {TAG_VERSIONS: '{"torch": "3"}'})
    older = dataclasses.replace(trial(4), tags=trial(4).tags | {TAG_VERSIONS: '{"torch": "2"}'})
    assert commits.CHECK.run(make_study(newer)).status == "passed"
    assert "library versions" in commits.CHECK.run(make_study(newer, older)).message


def test_a_trial_whose_every_step_was_dropped_is_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    def with_norms(number: int, *values: float) -> TrialRecord:
        points = tuple(MetricPoint(step=i, value=value, time_ms=i) for i, value in enumerate(values))
        return dataclasses.replace(trial(number), history={GRAD_NORM_AFTER: points})

    found = dropped.CHECK.run(make_study(with_norms(0, 0.0, 0.0), with_norms(1, 0.0, 0.3)))
    assert found.status == "warning"
    assert "every step of trial 0, so that nothing was trained" in found.message
    assert dropped.CHECK.run(make_study(with_norms(1, 0.0, 0.3))).status == "passed"
    points = (MetricPoint(step=0, value=40.0, time_ms=0),)
    nothing_finite = dataclasses.replace(trial(2), history={GRAD_NON_FINITE: points})
    assert dropped.CHECK.run(make_study(nothing_finite)).status == "warning"


@pytest.mark.parametrize(
    ("border_s", "status", "said"),
    [(6.5, "passed", "of 120 "), (5.0, "warning", "the short head"), (9.0, "warning", "the long head")],
)
def test_a_head_that_no_development_utterance_reaches_is_told(
    demo: StudyRecord, border_s: float, status: str, said: str
) -> None:
    """Those of the demo have six to seven seconds."""
    assert heads.CHECK.run(demo).status == "skipped"
    with_heads = tuple(
        dataclasses.replace(each, params=each.params | {"head.kind": "by_duration", "head.border_s": border_s})
        for each in demo.trials
    )
    found = heads.CHECK.run(dataclasses.replace(demo, trials=with_heads))
    assert found.status == status
    assert said in found.message


def test_languages_of_a_single_source_are_named(demo: StudyRecord) -> None:
    """The demo has two test sources a language, and one for development."""
    assert single_source.CHECK.run(demo).status == "passed"
    untested = single_source.CHECK.run(dataclasses.replace(demo, test_metrics={}))
    assert untested.status == "warning"
    assert "en, es, fr, it and ru have one development source" in untested.message
    rows = [{"split": "test", "language": "fr", "source": "a"}]
    assert "fr has one test source" in single_source.CHECK.run(with_corpus(demo, rows=rows)).message
    assert single_source.CHECK.run(with_corpus(demo, rows=[])).status == "skipped"


def test_failures_that_go_with_a_level_are_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    def with_cell(number: int, cell: str, state: TrialState) -> TrialRecord:
        return trial(number, state, params=trial(0).params | {"encoder.cell": cell})

    fine = [with_cell(number, "gru", TrialState.COMPLETE) for number in range(12)]
    broken = [with_cell(number, "lstm", TrialState.FAILED) for number in range(12, 18)]
    found = failures.CHECK.run(make_study(*fine, *broken))
    assert "6 trials of 18 failed" in found.message
    assert "They are no random part: 6 of 6 with encoder.cell = lstm did" in found.message
    spread = [with_cell(18, "gru", TrialState.FAILED), with_cell(19, "lstm", TrialState.COMPLETE)]
    assert "no random part" not in failures.CHECK.run(make_study(*fine, broken[0], *spread)).message


def test_failures_that_go_with_large_values_are_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    def of_size(number: int) -> TrialRecord:
        state = TrialState.FAILED if number >= 8 else TrialState.COMPLETE
        return trial(number, state, params=trial(0).params | {"encoder.hidden_size": 8 * (number + 1)})

    size = SearchedParameter(path="encoder.hidden_size", kind="int", choices=(), low=8, high=96, log=True)
    study = searching(make_study(*map(of_size, range(12))), size)
    assert "4 of 4 with encoder.hidden_size = 72 to 96 did" in failures.CHECK.run(study).message
