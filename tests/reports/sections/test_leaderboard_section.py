import dataclasses
import math

import pytest

from reports.records import GRAD_SHARE_CLIPPED, MetricPoint, TrialRecord, TrialState
from reports.sections import leaderboard
from reports.sections._blocks import Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial, replicates


def test_replicates_share_a_row(trial: MakeTrial, make_study: MakeStudy) -> None:
    many = replicates(trial, 0, (1.0, 1.2, 1.4))
    board = leaderboard.summarise(make_study(*many, trial(5, objective=2.0)))
    first, second = board.rows
    assert first.numbers == (0, 1, 2)
    assert first.objective == pytest.approx(1.2)
    assert first.sd == pytest.approx(0.2)
    assert first.interval is not None
    assert (first.interval.high - first.interval.low) / 2 == pytest.approx(4.302653 * 0.2 / math.sqrt(3), rel=1e-5)
    assert (second.n, second.sd, second.interval) == (1, None, None)


def test_one_seed_shows_no_spread_and_nothing_bold(trial: MakeTrial, make_study: MakeStudy) -> None:
    board = leaderboard.summarise(make_study(trial(0, objective=1.0), trial(1, objective=2.0)))
    assert [row.separated for row in board.rows] == [False, False]
    (shown,) = (block for block in leaderboard.present(board) if isinstance(block, Table))
    cells = [cell for row in shown.rows for cell in row]
    assert not any("±" in cell.text or cell.strong for cell in cells)


@pytest.mark.parametrize(("other", "separated"), [((2.0, 2.01, 2.02), True), ((1.0, 1.3, 1.6), False), ((2.0,), False)])
def test_only_an_interval_separates(
    trial: MakeTrial,
    make_study: MakeStudy,
    other: tuple[float, ...],
    separated: bool,  # noqa: FBT001
) -> None:
    best = replicates(trial, 0, (1.0, 1.01, 1.02))
    board = leaderboard.summarise(make_study(*best, *replicates(trial, 5, other)))
    assert board.rows[0].separated is separated


def test_pruned_and_diverged_trials_enter_no_mean(trial: MakeTrial, make_study: MakeStudy) -> None:
    config = trial(0).params
    study = make_study(
        trial(0, objective=1.0),
        trial(1, TrialState.PRUNED, params=config, objective=0.1, seed=1),
        trial(2, TrialState.DIVERGED, params=config, seed=2),
    )
    (row,) = leaderboard.summarise(study).rows
    assert (row.n, row.objective) == (1, 1.0)
    assert row.states == {"complete": 1, "pruned": 1, "diverged": 1}


def test_only_what_has_an_objective_has_a_rank(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0, TrialState.PRUNED), trial(1, objective=2.0), trial(2, TrialState.FAILED), trial(3))
    board = leaderboard.summarise(study)
    assert [(row.rank, row.state) for row in board.rows] == [
        (1, "complete"),
        (2, "complete"),
        (None, "pruned"),
        (None, "failed"),
    ]


def test_results_stand_left_of_parameters(trial: MakeTrial, make_study: MakeStudy) -> None:
    one_each = leaderboard.summarise(make_study(trial(0), trial(1)))
    titles = [column.title for column in leaderboard.columns(one_each)]
    assert titles[:4] == ["#", "trial", "objective", "accuracy"]
    assert titles[4:9] == ["cell", "hidden_size", "clipping", "learning_rate", "batch_size"]


def test_what_exists_under_a_choice_stands_beside_it(trial: MakeTrial, make_study: MakeStudy) -> None:
    norm = trial(0, params={"clipping.kind": "norm", "clipping.max_norm": 14.26})
    board = leaderboard.summarise(make_study(norm, trial(1, params={"clipping.kind": "none"})))
    column = next(column for column in board.parameters if column.title == "clipping")
    assert column.details == (("clipping.max_norm", "max_norm"),)
    assert {column.cell(row.params).text for row in board.rows} == {"norm, 14.3", "none"}


@pytest.mark.parametrize(("share", "said"), [(0.0, True), (0.4, False)])
def test_equal_results_share_a_rank(trial: MakeTrial, make_study: MakeStudy, share: float, said: bool) -> None:  # noqa: FBT001
    def clipped_at(number: int, norm: float, objective: float, **others: str) -> TrialRecord:
        params = trial(0).params | {"clipping.kind": "norm", "clipping.max_norm": norm} | others
        found = trial(number, params=params, objective=objective)
        points = (MetricPoint(step=0, value=share, time_ms=0),)
        return dataclasses.replace(found, history={GRAD_SHARE_CLIPPED: points})

    norm_cell = trial(0).params["encoder.cell"]
    study = make_study(clipped_at(0, 9.0, 1.5), clipped_at(1, 5.0, 1.5), trial(2, objective=1.7))
    board = leaderboard.summarise(study)
    assert [row.rank for row in board.rows] == [1, 1, 3]
    assert [[row.numbers for row in rows] for rows in board.ties] == [[(0,), (1,)]]
    note = leaderboard.present(board)[0]
    assert isinstance(note, Text)
    assert "Trials 0 and 1 have the very same objective" in note.text
    assert ("never reached" in note.text) is said
    other_cell = clipped_at(1, 5.0, 1.5, **{"encoder.cell": "lstm" if norm_cell != "lstm" else "gru"})
    note = leaderboard.present(leaderboard.summarise(make_study(clipped_at(0, 9.0, 1.5), other_cell)))[0]
    assert isinstance(note, Text)
    assert "never reached" not in note.text, "they differ in more than clipping"


def test_configurations_whose_means_are_equal_are_named_as_such(trial: MakeTrial, make_study: MakeStudy) -> None:
    other = [
        dataclasses.replace(each, configuration_hash="other", number=each.number + 2)
        for each in replicates(trial, 0, (1.2, 1.0))
    ]
    board = leaderboard.summarise(make_study(*replicates(trial, 0, (1.0, 1.2)), *other))
    note = leaderboard.present(board)[0]
    assert isinstance(note, Text)
    assert "The configurations of trials 0, 1 and of trials 2, 3 have the very same mean objective, 1.100" in note.text


def test_intervals_have_a_column_where_there_are_replicates(trial: MakeTrial, make_study: MakeStudy) -> None:
    board = leaderboard.summarise(make_study(*replicates(trial, 0, (1.0, 1.2)), trial(5, TrialState.PRUNED)))
    assert board.replicated
    assert {"95 %", "n"} <= {column.title for column in leaderboard.columns(board)}
    assert board.rows[0].state == "2 complete"
    (shown,) = (block for block in leaderboard.present(board) if isinstance(block, Table))
    assert {len(row) for row in shown.rows} == {len(shown.columns)}
